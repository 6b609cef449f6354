package tail

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
)

// trial is the state of the world in which a file was judged: the judgement
// holds until it changes.
type trial struct {
	epoch    uint64
	size     int64
	modified time.Time
}

// unknownSize is the size of no file.
const unknownSize = -1

func hashOf(s string) uint64 { return xxhash.Sum64String(s) }

// observe takes what a scan found of a known file.
func (s *Set) observe(f *File, c candidate) {
	if f.path != c.path {
		f.path, f.root = c.path, c.root
		f.rotated = f.print.span > 0 // or it may be another file with the inode
		f.dirty = f.dirty || f.key != ""
		if f.dirty && f.done {
			s.touched = append(s.touched, f)
		}
	}
	if f.beside && !c.beside {
		f.beside, f.tried = false, trial{}
	}
	if c.info.Size() != f.size || !c.info.ModTime().Equal(f.modified) {
		s.change(f, c.info)
	}
}

// change takes a new size or time of a file.
func (s *Set) change(f *File, info os.FileInfo) {
	f.size, f.modified, f.changed = info.Size(), info.ModTime(), s.now
	switch {
	case f.waiting:
	case !f.kind.Follow:
		// Compressed files and the like are judged as a whole once they rest.
		f.close()
		if f.group != nil {
			f.group.remove(f)
		}
		f.waiting, f.more, f.done = true, false, false
	case f.print.span == 0, !s.same(f):
		// Of a file that nothing was read of, nothing says that it is the
		// same: another may have its inode.
		s.replace(f)
	default:
		f.more = true
		if f.reader != nil {
			if err := f.reader.Again(); err != nil {
				f.failed(err)
			}
		}
		if f.done {
			f.done, f.rotated = false, false
			f.group.add(f)
		}
	}
}

// same reports whether a file that is followed still has the content that was
// read.
func (s *Set) same(f *File) bool {
	if f.size < f.at.Offset {
		return false
	}
	// What was read may be no more than a header that many have: what else is
	// known of the beginning must be there as well, or the fingerprint would go
	// on with the one content while the position moves in the other.
	head, err := f.beginning(max(f.print.span, len(f.prefix)))
	return err != nil || f.print.matches(head) && bytes.HasPrefix(head, f.prefix) // what cannot be read now is judged later
}

// beginning reads the first n bytes of a plain file.
func (f *File) beginning(n int) ([]byte, error) {
	file := f.file
	if file == nil {
		var err error
		if file, err = os.Open(f.path); err != nil {
			return nil, err
		}
		defer file.Close()
	}
	head := make([]byte, n)
	got, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return head[:got], nil
}

// replace makes a new file of one whose content was exchanged. The position
// of the old content is kept, for a copy of it.
func (s *Set) replace(f *File) {
	old := &File{
		set: s, key: f.key, id: f.id, path: f.path, at: f.at, print: f.print, dirty: f.dirty, group: f.group, kind: f.kind,
		size: unknownSize, // what is known now is that of the new content
	}
	f.close()
	if f.group != nil {
		f.group.remove(f)
	}
	s.unregister(f)
	*f = File{
		set: s, id: f.id, path: f.path, root: f.root, size: f.size, modified: f.modified, changed: f.changed,
		order: f.modified, seen: f.seen, waiting: true,
	}
	s.lose(old)
}

// lose keeps the position of a content that is not there.
func (s *Set) lose(f *File) {
	s.epoch++
	f.lost = s.now
	f.prefix = nil
	if f.print.span == 0 {
		return // nothing could ever be recognised by it
	}
	s.losses.add(f)
	if f.key != "" {
		s.keys[f.key] = f
	}
	if f.dirty {
		s.touched = append(s.touched, f)
	}
}

// vanish takes note that a file is not there any more. What is open is read
// to its end.
func (s *Set) vanish(f *File) {
	delete(s.disk, f.id)
	s.unregister(f)
	s.epoch++
	switch {
	case f.reader != nil:
		f.gone, f.more, f.changed = true, true, s.now
		return
	case f.more && !f.waiting:
		s.log.Warn("file vanished before it was read to its end", "file", f.path, "offset", f.at.Offset)
	}
	if f.group != nil {
		f.group.remove(f)
	}
	s.lose(f)
}

// meet takes a file that was not there before.
func (s *Set) meet(c candidate) {
	id, known := inodeOf(c.info)
	if !known {
		id = inode{number: hashOf(c.path)}
	}
	if s.disk[id] != nil {
		return // a second name
	}
	if len(s.disk) >= s.cfg.MaxFiles {
		if !s.full {
			s.full = true
			s.log.Error("more files than max_files: the rest is not read", "max_files", s.cfg.MaxFiles, "file", c.path)
		}
		s.Errors++
		return
	}
	s.disk[id] = &File{
		set: s, id: id, path: c.path, root: c.root, size: c.info.Size(), modified: c.info.ModTime(),
		changed: s.now, order: c.info.ModTime(), seen: s.scans, waiting: true, beside: c.beside,
	}
}

// admit takes up a file that waits, if it is time. With own it does so only
// for a file that goes on where it was left itself.
func (s *Set) admit(f *File, own bool) {
	if f.size == 0 {
		if f.print.span > 0 {
			s.replace(f)
		}
		return
	}
	now := trial{s.epoch, f.size, f.modified}
	if f.copied && f.tried == now {
		return
	}
	if f.key == "" && s.unchanged(f) {
		return
	}
	kind, err := s.sniff(f)
	if err != nil {
		f.failed(err)
		return
	}
	if f.print.span > 0 && !f.print.matches(kind.Prefix) {
		s.replace(f)
	}
	begun := kind.Lines || f.size >= input.HeadBytes || kind.Format != input.Unknown || f.quiet(s.cfg.FinishAfter)
	if !s.cfg.Once && (!kind.Follow && !f.quiet(s.cfg.Settle) || !begun) {
		if old := s.losses.match(f.id, kind.Prefix); old != nil && old.at.Offset > 0 {
			// It will go on where another was left, with what is older.
			f.kind = kind
			s.groupOf(f).held = s.scans
			f.kind = input.Kind{}
		}
		return
	}
	if s.refuse(kind.Format) {
		s.log.Warn("file of a format that is not for this service", "file", f.path, "format", kind.Format.String())
		kind.Format = input.Unknown
	}
	if f.print.span == 0 {
		switch old := s.losses.match(f.id, kind.Prefix); {
		case old != nil && old.id == f.id:
			s.adopt(f, old)
		case own:
			return
		case !s.place(f, kind, old):
			f.copied, f.tried = true, now
			return
		}
	}
	f.take(kind)
}

// place decides what content a file without a position has: one that was
// read before, to the position old, or a new one, or, false, that of another
// file.
func (s *Set) place(f *File, kind input.Kind, old *File) bool {
	if o := s.original(f, kind.Prefix); o != nil {
		// Of two with the same beginning the longer one goes on.
		longer := kind.Follow && (o.kind.Follow && f.size > o.size || o.done && f.size > o.at.Offset)
		if !longer || o.gone || f.beside {
			return false
		}
		s.hand(o, f)
		return true
	}
	if old != nil {
		s.adopt(f, old)
		return true
	}
	return !f.beside
}

// hand gives the position of a file to another with the same content. The
// first one is the copy from then on.
func (s *Set) hand(from, to *File) {
	to.key, to.at, to.print = from.key, from.at, from.print
	to.dirty = true
	if to.key != "" {
		s.keys[to.key] = to
	}
	from.close()
	from.group.remove(from)
	s.unregister(from)
	s.touched = slices.DeleteFunc(s.touched, func(o *File) bool { return o == from })
	*from = File{
		set: s, id: from.id, path: from.path, root: from.root, size: from.size, modified: from.modified, changed: from.changed,
		order: from.modified, seen: from.seen, waiting: true,
	}
}

// take begins to read the file, or goes on with it.
func (f *File) take(kind input.Kind) {
	f.kind = kind
	f.waiting, f.copied, f.beside, f.more = false, false, false, true
	if f.print.span < input.PrefixBytes {
		f.prefix = bytes.Clone(kind.Prefix)
	}
	if kind.Format.Readable() {
		f.kind.Prefix = nil // of what is refused it is the evidence
	}
	f.set.register(f, printOf(kind.Prefix))
	f.group = f.set.groupOf(f)
	f.group.add(f)
}

func (s *Set) sniff(f *File) (input.Kind, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return input.Kind{}, err
	}
	defer file.Close()
	return input.Sniff(file, s.options(f.path))
}

// unchanged takes up a file that was complete before a restart and has not
// changed since, without opening it.
func (s *Set) unchanged(f *File) bool {
	for _, old := range s.losses.byInode[f.id] {
		if old.done && old.size == f.size && old.modified.Equal(f.modified) {
			s.adopt(f, old)
			f.waiting, f.done, f.beside = false, true, false
			if f.print.span == input.PrefixBytes || int64(f.print.span) == f.at.Offset {
				s.register(f, f.print) // it is all of the beginning
			}
			return true
		}
	}
	return false
}

// adopt gives a file the position of a content.
func (s *Set) adopt(f, old *File) {
	s.losses.remove(old)
	s.touched = slices.DeleteFunc(s.touched, func(o *File) bool { return o == old })
	f.key, f.at, f.print = old.key, old.at, old.print
	if old.path != f.path {
		f.order = time.Time{} // what was begun comes first
		// A short fingerprint may be no more than a header that many have.
		f.rotated = old.print.span == input.PrefixBytes
	}
	f.dirty = old.dirty || old.path != f.path || old.id != f.id
	if f.key != "" {
		s.keys[f.key] = f
	}
}

// original returns the file that f is the copy, or a part of the copy, of: one
// that is there, or still being read.
func (s *Set) original(f *File, prefix []byte) *File {
	if o := s.heads[printOf(prefix)]; o != nil && o != f && !o.waiting {
		return o
	}
	for _, g := range s.groups {
		for _, o := range g.files {
			if o == f || o.at.Offset == 0 && o.reader == nil || !o.kind.Follow {
				continue
			}
			if head, err := o.beginning(input.PrefixBytes); err == nil && bytes.HasPrefix(head, prefix) {
				return o
			}
		}
	}
	return nil
}

// register makes a file known by its beginning.
func (s *Set) register(f *File, p fingerprint) {
	s.unregister(f)
	if s.heads[p] == nil && s.disk[f.id] == f {
		s.heads[p] = f
		f.head = p
	}
}

func (s *Set) unregister(f *File) {
	if s.heads[f.head] == f {
		delete(s.heads, f.head)
	}
	f.head = fingerprint{}
}
