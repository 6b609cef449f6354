package object

import (
	"cmp"
	"math"
	"slices"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// maxKeys is how many hashes a distinct holds.
const maxKeys = 1024

// distinct counts distinct hashes. Up to maxKeys it holds all of them, beyond
// that the smallest, from whose spread the number is estimated (Bar-Yossef et
// al., "Counting Distinct Elements in a Data Stream", 2002). What it holds is a
// function of the set, and the union of two is that of their lists.
type distinct struct {
	list []uint64 // ascending
	more bool     // others were left out
}

func (d *distinct) add(h uint64) {
	i, found := slices.BinarySearch(d.list, h)
	switch {
	case found:
		return
	case len(d.list) < maxKeys:
		d.list = slices.Insert(d.list, i, h)
		return
	}
	d.more = true
	if i < maxKeys {
		copy(d.list[i+1:], d.list[i:])
		d.list[i] = h
	}
}

func (d *distinct) merge(o *distinct) {
	d.more = d.more || o.more
	for _, h := range o.list {
		d.add(h)
	}
}

func (d *distinct) count() uint64 {
	if !d.more || len(d.list) < 2 {
		return uint64(len(d.list))
	}
	share := (float64(d.list[len(d.list)-1]) + 1) / math.Exp2(64)
	return uint64(float64(len(d.list)-1) / share)
}

func (d *distinct) append(dst []byte) []byte {
	dst = operator.AppendUint(operator.AppendBool(dst, d.more), len(d.list))
	last := uint64(0)
	for _, h := range d.list {
		dst = operator.AppendUint(dst, h-last)
		last = h
	}
	return dst
}

func (d *distinct) load(r *operator.Reader) {
	d.more = r.Bool()
	last := uint64(0)
	for range r.Count() {
		last += r.Uint()
		d.list = append(d.list, last)
	}
}

func (d *distinct) sound() bool {
	return len(d.list) <= maxKeys && slices.IsSorted(d.list)
}

// tally adds up reads by a name: of a bucket, an address, a session. Beyond its
// limit it keeps the names of the smallest hashes. An entry that is held has
// been since its first read, so its sums are complete.
type tally struct {
	list []entry // by hash
	more bool    // others were left out
}

type entry struct {
	hash  uint64
	name  string
	reads uint64
	bytes uint64
}

// find returns the entry of a hash, nil if it is not held, and where it would
// stand.
func (t *tally) find(h uint64) (*entry, int) {
	i, found := slices.BinarySearchFunc(t.list, h, func(e entry, h uint64) int { return cmp.Compare(e.hash, h) })
	if found {
		return &t.list[i], i
	}
	return nil, i
}

// add adds reads; name is asked for only where the entry is new, and kept.
func (t *tally) add(h, reads, bytes uint64, limit int, name func() string) {
	e, i := t.find(h)
	switch {
	case e != nil:
		e.reads += reads
		e.bytes += bytes
		return
	case len(t.list) == limit:
		t.more = true
		if i == limit {
			return
		}
		t.list = t.list[:limit-1]
	}
	t.list = slices.Insert(t.list, i, entry{h, name(), reads, bytes})
}

func (t *tally) merge(o *tally, limit int) {
	t.more = t.more || o.more
	for i := range o.list {
		e := &o.list[i]
		t.add(e.hash, e.reads, e.bytes, limit, func() string { return e.name })
	}
}

// ranked are the entries, most reads first.
func (t *tally) ranked() []entry {
	out := slices.Clone(t.list)
	slices.SortFunc(out, func(a, b entry) int {
		return cmp.Or(cmp.Compare(b.reads, a.reads), cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.name, b.name), cmp.Compare(a.hash, b.hash))
	})
	return out
}

func (t *tally) append(dst []byte) []byte {
	dst = operator.AppendUint(operator.AppendBool(dst, t.more), len(t.list))
	for i := range t.list {
		e := &t.list[i]
		dst = operator.AppendString(operator.AppendUint(dst, e.hash), e.name)
		dst = operator.AppendUint(operator.AppendUint(dst, e.reads), e.bytes)
	}
	return dst
}

func (t *tally) load(r *operator.Reader) {
	t.more = r.Bool()
	for range r.Count() {
		t.list = append(t.list, entry{r.Uint(), r.String(), r.Uint(), r.Uint()})
	}
}

func (t *tally) sound(limit int) bool {
	return len(t.list) <= limit && slices.IsSortedFunc(t.list, func(a, b entry) int { return cmp.Compare(a.hash, b.hash) })
}
