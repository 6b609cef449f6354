// Package sketch counts what is distinct in bounded memory.
//
// Invariants: what a sketch holds is a function of the set that it was given,
// not of the order; no two machines differ.
package sketch

import (
	"cmp"
	"math/bits"
	"slices"
	"unsafe"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// Hashed is an entry of a Sample. Its key is a 64-bit hash that is not 0.
type Hashed interface{ Key() uint64 }

// Key makes a hash usable as a key.
func Key(hash uint64) uint64 { return max(hash, 1) }

// Sample is a set of entries by the hash of what they stand for. Up to its
// limit it holds all; beyond that it keeps those whose hash begins with Level
// zero bits, which are one in 2^Level, and what is counted of them stands for
// 2^Level times as much (Gibbons and Tirthapura, "Estimating Simple Functions
// on the Union of Data Streams", 2001). An entry that is held has been since it
// was first added, so that what was counted in it is complete. The relative
// error of a count of n held entries is about 1/√n.
//
// The hash is not secret: who knows it can keep what he sends out of the
// sample, once the sample is full.
//
// The zero value is empty and ready.
type Sample[E Hashed] struct {
	slots []E // open addressing; key 0 is free
	n     int
	level uint8
}

// Len returns how many entries are held.
func (s *Sample[E]) Len() int { return s.n }

// Level tells the share that is held: one in 2^Level.
func (s *Sample[E]) Level() uint8 { return s.level }

// Scale is a count of held entries as a count of all.
func (s *Sample[E]) Scale(n uint64) uint64 { return n << s.level }

// Holds reports whether the sample takes a key.
func (s *Sample[E]) Holds(key uint64) bool { return bits.LeadingZeros64(key) >= int(s.level) }

// Find returns the entry of a key, nil if there is none. It is valid until the
// next Add.
func (s *Sample[E]) Find(key uint64) *E {
	if len(s.slots) == 0 {
		return nil
	}
	mask := uint64(len(s.slots) - 1)
	for i := key & mask; ; i = (i + 1) & mask {
		switch s.slots[i].Key() {
		case key:
			return &s.slots[i]
		case 0:
			return nil
		}
	}
}

// Add puts in an entry that is not there and whose key the sample Holds. It
// reports false where that went beyond the limit and the level rose: then
// entries are gone, perhaps this one too, and whatever is summed over the
// sample must be summed anew.
func (s *Sample[E]) Add(e E, limit int) bool {
	if s.n < limit {
		s.grow()
		s.put(e)
		return true
	}
	for s.n > limit || s.n == limit && s.Holds(e.Key()) {
		s.level++
		s.rehash(len(s.slots))
	}
	if s.Holds(e.Key()) {
		s.grow()
		s.put(e)
	}
	return false
}

func (s *Sample[E]) grow() {
	if 4*(s.n+1) > 3*len(s.slots) {
		s.rehash(max(4, 2*len(s.slots)))
	}
}

func (s *Sample[E]) put(e E) {
	mask := uint64(len(s.slots) - 1)
	i := e.Key() & mask
	for s.slots[i].Key() != 0 {
		i = (i + 1) & mask
	}
	s.slots[i] = e
	s.n++
}

// rehash moves what the level holds into new slots.
func (s *Sample[E]) rehash(slots int) {
	old := s.slots
	s.slots, s.n = make([]E, slots), 0
	for i := range old {
		if k := old[i].Key(); k != 0 && s.Holds(k) {
			s.put(old[i])
		}
	}
}

// All hands out the entries in no order.
func (s *Sample[E]) All(yield func(*E) bool) {
	for i := range s.slots {
		if s.slots[i].Key() != 0 && !yield(&s.slots[i]) {
			return
		}
	}
}

// Clone returns a sample of its own that holds the same.
func (s *Sample[E]) Clone() Sample[E] {
	c := *s
	c.slots = slices.Clone(s.slots)
	return c
}

// Reset makes the sample empty and leaves its room for what is added next.
func (s *Sample[E]) Reset() {
	clear(s.slots)
	s.n, s.level = 0, 0
}

// Size is how many bytes of memory the entries take.
func (s *Sample[E]) Size() int {
	var e E
	return len(s.slots) * int(unsafe.Sizeof(e))
}

// Append encodes the sample, by key; entry encodes one entry.
func (s *Sample[E]) Append(dst []byte, entry func(dst []byte, e *E) []byte) []byte {
	list := make([]E, 0, s.n)
	for e := range s.All {
		list = append(list, *e)
	}
	slices.SortFunc(list, func(a, b E) int { return cmp.Compare(a.Key(), b.Key()) })
	dst = operator.AppendUint(dst, s.level)
	dst = operator.AppendUint(dst, len(list))
	for i := range list {
		dst = entry(dst, &list[i])
	}
	return dst
}

// Load reads what Append wrote, into an empty Sample. Damage ends it early.
func (s *Sample[E]) Load(r *operator.Reader, entry func(r *operator.Reader) E) {
	s.level = uint8(min(r.Uint(), 63))
	for range r.Count() {
		e := entry(r)
		if r.Err() != nil || e.Key() == 0 || s.Find(e.Key()) != nil {
			return
		}
		s.grow()
		s.put(e)
	}
}
