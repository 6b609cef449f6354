package baseline

import (
	"fmt"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// formatVersion is that of Append.
const formatVersion = 1

// Append encodes a series for a snapshot, deterministically.
func (s *Series) Append(dst []byte) []byte {
	dst = operator.AppendUint(dst, uint32(formatVersion))
	dst = operator.AppendInt(operator.AppendInt(dst, s.first), s.last)
	if s.last == 0 {
		return dst
	}
	// Runs: how many idle plain hours, then how many others, then these.
	idle := func(h int32) bool { return s.codes[h%Hours] == 0 && s.state(h) == Plain }
	for h := s.First(); h <= s.last; {
		from := h
		for h <= s.last && idle(h) {
			h++
		}
		dst = operator.AppendUint(dst, uint32(h-from))
		from = h
		for h <= s.last && !idle(h) {
			h++
		}
		dst = operator.AppendUint(dst, uint32(h-from))
		for ; from < h; from++ {
			dst = append(dst, s.codes[from%Hours], byte(s.state(from)))
		}
	}
	dst = operator.AppendBool(dst, s.ceilings != nil)
	if s.ceilings != nil {
		for _, c := range s.ceilings {
			dst = operator.AppendUint(dst, c)
		}
	}
	return dst
}

// Load reads what Append wrote into an empty series. What is damaged beyond
// what the reader notices is ErrState.
func (s *Series) Load(r *operator.Reader) error {
	*s = Series{}
	if v := r.Uint(); v != formatVersion && r.Err() == nil {
		return fmt.Errorf("baseline: %w: version %d", operator.ErrState, v)
	}
	first, last := r.Int(), r.Int()
	if last == 0 || r.Err() != nil {
		return r.Err()
	}
	if first < 1 || first > last || last > 1<<30 {
		return fmt.Errorf("baseline: %w: hours %d to %d", operator.ErrState, first, last)
	}
	s.first, s.last = int32(first), int32(last)
	for h := s.First(); h <= s.last; {
		skip, n := r.Uint(), r.Uint()
		if r.Err() != nil {
			return r.Err()
		}
		left := uint64(s.last-h) + 1
		if skip > left || n > left-skip || skip+n == 0 {
			return fmt.Errorf("baseline: %w: run of %d and %d hours", operator.ErrState, skip, n)
		}
		h += int32(skip)
		for range n {
			s.codes[h%Hours] = r.Byte()
			s.setState(h, State(r.Byte()&3))
			h++
		}
	}
	if r.Bool() {
		s.ceilings = new([slots]uint32)
		for i := range s.ceilings {
			s.ceilings[i] = uint32(r.Uint())
		}
	}
	return r.Err()
}

// Append encodes a group.
func (g *Group) Append(dst []byte) []byte {
	dst = operator.AppendInt(dst, g.week)
	for _, m := range g.members {
		dst = operator.AppendUint(dst, m)
	}
	return g.past.append(g.now.append(dst))
}

// Load reads what Append wrote.
func (g *Group) Load(r *operator.Reader) {
	*g = Group{week: int32(r.Int())}
	for i := range g.members {
		g.members[i] = uint32(r.Uint())
	}
	g.now.load(r)
	g.past.load(r)
}

func (h *counts) append(dst []byte) []byte {
	n := 0
	for _, x := range h.of {
		if x != 0 {
			n++
		}
	}
	dst = operator.AppendUint(dst, n)
	for c, x := range h.of {
		if x != 0 {
			dst = operator.AppendUint(append(dst, byte(c)), x)
		}
	}
	return dst
}

func (h *counts) load(r *operator.Reader) {
	for range r.Count() {
		c, n := r.Byte(), uint32(r.Uint())
		h.of[c] += n
		h.n += n
	}
}
