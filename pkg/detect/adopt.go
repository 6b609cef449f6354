package detect

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// MergeSharer is a Sharer that can join what several partitions have seen. One
// that cannot goes on with what the first of them has.
type MergeSharer interface {
	Sharer
	// MergeShared adds what AppendShared of another partition wrote.
	MergeShared(data []byte) error
}

// Adopt implements operator.Divisible.
func (s *Set) Adopt(from []operator.Operator, mine func(key []byte) bool) error {
	var all []*source
	for i, op := range from {
		old, ok := op.(*Set)
		if !ok {
			return fmt.Errorf("a Set cannot take over from %T", op)
		}
		for b := range old.sources {
			s.once[b].join(&old.once[b])
			for _, k := range slices.Sorted(maps.Keys(old.sources[b])) {
				if !mine([]byte(k)) {
					continue
				}
				src, err := s.copyOf(old, old.sources[b][k])
				if err != nil {
					return err
				}
				all = append(all, src)
			}
		}
		s.marks.join(&old.marks)
		s.told = max(s.told, old.told)
		if err := s.joinSharers(old, i == 0); err != nil {
			return err
		}
	}
	// Offsets of several logs have no order: keys stand in that of append
	// time, before all that the new log will bring.
	slices.SortFunc(all, func(a, b *source) int {
		return cmp.Or(cmp.Compare(a.pane, b.pane), cmp.Compare(a.last, b.last), strings.Compare(a.key, b.key))
	})
	s.lru = lru{}
	for i, src := range all {
		src.last = int64(i - len(all))
		s.lru.add(src)
	}
	return nil
}

// copyOf puts the state of a key of another set into this one.
func (s *Set) copyOf(old *Set, was *source) (*source, error) {
	if s.sources[was.bucket][was.key] != nil {
		return nil, fmt.Errorf("key %q is in two partitions", was.key)
	}
	src := s.newSource(was.key, int(was.bucket))
	src.last, src.pane, src.panes, src.sent = was.last, was.pane, was.panes, slices.Clone(was.sent)
	for i := range was.held {
		id := old.infos[was.held[i].detector].ID
		to := s.index(id)
		if to < 0 {
			continue // a detector that this set does not have
		}
		st := s.detectors[to].New()
		if err := st.Load(was.held[i].state.Append(nil)); err != nil {
			return nil, fmt.Errorf("key %q detector %s: %w", was.key, id, err)
		}
		src.put(to, st)
	}
	src.records = was.records
	s.heavier(src, was.weight)
	s.sources[src.bucket][src.key] = src
	for i := range src.held {
		s.arm(src, &src.held[i])
	}
	return src, nil
}

func (s *Set) joinSharers(old *Set, first bool) error {
	for i, d := range s.detectors {
		to, ok := d.(Sharer)
		if !ok {
			continue
		}
		at := old.index(s.infos[i].ID)
		if at < 0 {
			continue
		}
		from, ok := old.detectors[at].(Sharer)
		if !ok {
			continue
		}
		var err error
		switch merger, can := to.(MergeSharer); {
		case first:
			err = to.LoadShared(from.AppendShared(nil))
		case can:
			err = merger.MergeShared(from.AppendShared(nil))
		}
		if err != nil {
			return fmt.Errorf("shared state of detector %s: %w", s.infos[i].ID, err)
		}
	}
	return nil
}

var _ operator.Divisible = (*Set)(nil)
