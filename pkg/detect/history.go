package detect

import (
	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// Historian is a Detector that knows what is usual by hours, and takes it from
// the time before the log too.
type Historian interface {
	Detector
	// Remembers reports whether a history of an observer's type means anything
	// to its states.
	Remembers(observer string) bool
}

// Rememberer is a State of a Historian. A history may come twice, and late:
// what is known from events is not made less by it.
type Rememberer interface {
	State
	Remember(h *signal.History, env *Env)
}

// applyHistory hands the hours of a source to the states that take them, made
// for it where there are none.
func (s *Set) applyHistory(r *operator.Record, ctx operator.Context) error {
	var h signal.History
	if err := signal.DecodeHistory(r.Value, &h); err != nil {
		return err
	}
	used := false
	for i, d := range s.detectors {
		if hist, ok := d.(Historian); ok && s.infos[i].Within == "" && hist.Remembers(h.Observer) {
			s.remember(i, &h, r, ctx)
			used = true
		}
	}
	if !used {
		ctx.Count("histories", "unused", 1)
		return nil
	}
	ctx.Count("histories", h.Observer, 1)
	return nil
}

func (s *Set) remember(detector int, h *signal.History, r *operator.Record, ctx operator.Context) {
	b := int(xxhash.Sum64(r.Key) % buckets)
	ctx.Touch(b)
	src := s.sources[b][string(r.Key)]
	if src == nil {
		src = s.admit(string(r.Key), b, ctx)
	}
	src.last = r.Offset
	s.lru.touch(src)
	held := src.find(detector)
	if held == nil {
		held = src.put(detector, s.detectors[detector].New())
	}
	s.env = Env{Site: s.site, Key: src.key, set: s, src: src, rec: r, ctx: ctx, info: &s.infos[detector], base: s.bases[detector]}
	if st, ok := held.state.(Rememberer); ok {
		st.Remember(h, &s.env)
	}
	s.arm(src, held)
}
