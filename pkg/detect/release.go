package detect

import (
	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// Releaser is a State that learns from what analysts answer: which of its
// findings were benign and which were not.
type Releaser interface {
	Release(r *signal.Release, env *Env)
}

// applyRelease hands an answer to the states of its key. One about a key that
// is not known any more changes nothing.
func (s *Set) applyRelease(r *operator.Record, ctx operator.Context) error {
	var rel signal.Release
	if err := signal.DecodeRelease(r.Value, &rel); err != nil {
		return err
	}
	b := int(xxhash.Sum64(r.Key) % buckets)
	src := s.sources[b][string(r.Key)]
	if src == nil {
		ctx.Count("releases", "unknown", 1)
		return nil
	}
	ctx.Touch(b)
	ctx.Count("releases", rel.Verdict, 1)
	for i := range src.held {
		h := &src.held[i]
		if st, ok := h.state.(Releaser); ok {
			s.env = Env{Site: s.site, Key: src.key, set: s, src: src, rec: r, ctx: ctx, info: &s.infos[h.detector], base: s.bases[h.detector]}
			st.Release(&rel, &s.env)
		}
	}
	return nil
}
