package detect

import "github.com/ebbwatch/ebbwatch/pkg/operator"

// Bounds limit what a Set keeps of one partition. Zero values are the defaults.
type Bounds struct {
	// Keys are the record keys.
	Keys int
	// Bytes is about how much memory they may take together, reckoned from
	// what their states are when written, so that it is the same after a
	// restore. What the garbage collector needs comes on top.
	Bytes int64
}

// Defaults of Bounds.
const (
	DefaultMaxKeys  = 500_000
	DefaultMaxBytes = 2 << 30
)

// withDefaults fills in what is not set.
func (b Bounds) withDefaults() Bounds {
	if b.Keys == 0 {
		b.Keys = DefaultMaxKeys
	}
	if b.Bytes == 0 {
		b.Bytes = DefaultMaxBytes
	}
	return b
}

// What a key takes in memory, measured from 100 000 keys of two flow records
// (3.3 KB) to 300 of thousands (111 KB): what all have, and 8/5 of what its
// states are when they are written. A new key counts as one of few records.
const (
	keyWeight    = 2048
	newKeyWeight = keyWeight + 1024
)

// weighing reports whether a key is to be weighed after this many records of
// an hour: after the first, and each time that there are eight times as many.
// What a flood can add to a key meanwhile, each of its states bounds.
func weighing(records uint32) bool {
	for records >= 8 && records%8 == 0 {
		records /= 8
	}
	return records == 1
}

// weigh notes what a key takes by now and, where all keys together take too
// much, evicts others.
func (s *Set) weigh(src *source, weight int64, ctx operator.Context) {
	s.heavier(src, weight-src.weight)
	for s.weight > s.cfg.Bytes {
		victim := s.lru.victim()
		if victim == src { // the only one of its list
			if victim = s.lru.other(src).head; victim == nil {
				return
			}
		}
		s.evict(victim, "memory", ctx)
	}
}

func (s *Set) weightOf(src *source) int64 {
	n := len(src.key)
	for i := range src.sent {
		n += len(src.sent[i].id) + 8
	}
	for i := range src.held {
		n += 16
		if w, ok := src.held[i].state.(Weighed); ok {
			n += w.Weight()
			continue
		}
		s.buf = src.held[i].state.Append(s.buf[:0])
		n += len(s.buf)
	}
	return keyWeight + int64(n)*8/5
}

func (s *Set) heavier(src *source, by int64) {
	src.weight += by
	s.weight += by
}

// evict forgets a key for want of room.
func (s *Set) evict(victim *source, why string, ctx operator.Context) {
	ctx.Touch(int(victim.bucket))
	s.forget(victim)
	ctx.Count("keys_evicted", why, 1)
}

// Weight is about how many bytes the keys take: what Bounds.Bytes bounds.
func (s *Set) Weight() int64 { return s.weight }
