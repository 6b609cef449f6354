package detect

import (
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// Purger is a State that knows what is usual, and from which hours can be taken
// out by hand.
type Purger interface {
	Purge(p *signal.Purge, env *Env)
}

// Baseliner is a State that shows what it knows to be usual.
type Baseliner interface {
	Baselines(env *Env, yield func(Baseline))
}

// Baseline is what is usual for one source as one kind of observer counts it.
type Baseline struct {
	Key string
	// Observer is the kind of observer; empty where all are taken together.
	Observer string
	// What is counted, one of the constants below.
	What string
	// Series must not be changed. Params are those for the source now.
	Series *baseline.Series
	Params baseline.Params
}

// What is counted by baselines.
const (
	Sent       = "sent"       // outwards
	Sanctioned = "sanctioned" // to sanctioned destinations
	Collected  = "collected"  // from internal peers
)

// Baselines hands out what is usual for all sources, in the order of their keys,
// or for the one of a key where that is not empty.
func (s *Set) Baselines(key string, yield func(Baseline) bool) {
	var keys []string
	if key != "" {
		keys = []string{key}
	} else {
		for i := range s.sources {
			keys = slices.AppendSeq(keys, maps.Keys(s.sources[i]))
		}
		slices.Sort(keys)
	}
	for _, k := range keys {
		src := s.sources[xxhash.Sum64String(k)%buckets][k]
		if src == nil {
			continue
		}
		more := true
		for i := range src.held {
			h := &src.held[i]
			st, ok := h.state.(Baseliner)
			if !ok {
				continue
			}
			env := Env{Site: s.site, Key: src.key, set: s, src: src, info: &s.infos[h.detector], base: s.bases[h.detector]}
			st.Baselines(&env, func(b Baseline) {
				b.Key = src.key
				more = more && yield(b)
			})
		}
		if !more {
			return
		}
	}
}

// applyPurge hands a purge to the states of its key. One about a key that is
// not known any more changes nothing.
func (s *Set) applyPurge(r *operator.Record, ctx operator.Context) error {
	var p signal.Purge
	if err := signal.DecodePurge(r.Value, &p); err != nil {
		return err
	}
	b := int(xxhash.Sum64(r.Key) % buckets)
	src := s.sources[b][string(r.Key)]
	if src == nil {
		ctx.Count("purges", "unknown", 1)
		return nil
	}
	ctx.Touch(b)
	ctx.Count("purges", "applied", 1)
	for i := range src.held {
		h := &src.held[i]
		if st, ok := h.state.(Purger); ok {
			s.env = Env{Site: s.site, Key: src.key, set: s, src: src, rec: r, ctx: ctx, info: &s.infos[h.detector], base: s.bases[h.detector]}
			st.Purge(&p, &s.env)
		}
	}
	return nil
}
