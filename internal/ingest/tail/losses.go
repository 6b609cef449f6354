package tail

import (
	"slices"

	"github.com/cespare/xxhash/v2"
)

// losses are the positions of contents that are not there, found by
// fingerprint and by inode.
type losses struct {
	all     map[*File]bool
	byPrint map[fingerprint][]*File
	byInode map[inode][]*File
	spans   map[int]int // how many have a fingerprint of that length
}

func newLosses() losses {
	return losses{map[*File]bool{}, map[fingerprint][]*File{}, map[inode][]*File{}, map[int]int{}}
}

func (l *losses) add(f *File) {
	if l.all[f] {
		return
	}
	l.all[f] = true
	l.byPrint[f.print] = append(l.byPrint[f.print], f)
	l.byInode[f.id] = append(l.byInode[f.id], f)
	l.spans[f.print.span]++
}

func (l *losses) remove(f *File) {
	if !l.all[f] {
		return
	}
	delete(l.all, f)
	drop(l.byPrint, f.print, f)
	drop(l.byInode, f.id, f)
	if l.spans[f.print.span]--; l.spans[f.print.span] == 0 {
		delete(l.spans, f.print.span)
	}
}

func drop[K comparable](m map[K][]*File, key K, f *File) {
	rest := slices.DeleteFunc(m[key], func(o *File) bool { return o == f })
	if len(rest) == 0 {
		delete(m, key)
	} else {
		m[key] = rest
	}
}

// match finds the position that content with this beginning was read to: of
// several the one with the longest fingerprint, then that of the same inode,
// then the furthest.
func (l *losses) match(id inode, prefix []byte) *File {
	var best *File
	for span := range l.spans {
		if span == 0 || span > len(prefix) {
			continue
		}
		for _, old := range l.byPrint[fingerprint{span, xxhash.Sum64(prefix[:span])}] {
			if best == nil || old.closer(best, id) {
				best = old
			}
		}
	}
	return best
}

// closer is a total order: what is found depends on no map.
func (f *File) closer(other *File, id inode) bool {
	switch {
	case f.print.span != other.print.span:
		return f.print.span > other.print.span
	case (f.id == id) != (other.id == id):
		return f.id == id
	case f.at.Offset != other.at.Offset:
		return f.at.Offset > other.at.Offset
	}
	return f.key < other.key
}
