package detect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// stateVersion is the format of a Set's snapshot; LoadBucket reads this one.
const stateVersion = 1

// Buckets implements operator.Operator.
func (s *Set) Buckets() int { return buckets }

// AppendBucket implements operator.Operator. States are written under the
// ids of their detectors, so a release with other detectors reads them.
func (s *Set) AppendBucket(dst []byte, b int) []byte {
	if len(s.sources[b]) == 0 {
		return dst
	}
	keys := make([]string, 0, len(s.sources[b]))
	for k := range s.sources[b] {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	dst = operator.AppendUint(dst, stateVersion)
	dst = operator.AppendUint(dst, len(keys))
	var body []byte
	for _, k := range keys {
		src := s.sources[b][k]
		dst = operator.AppendString(dst, k)
		dst = operator.AppendInt(dst, src.last)
		dst = operator.AppendInt(dst, src.pane)
		dst = operator.AppendUint(dst, src.panes)
		dst = operator.AppendUint(dst, len(src.sent))
		for _, x := range src.sent {
			dst = operator.AppendUint(operator.AppendString(dst, x.id), x.revision)
		}
		n := 0
		for _, st := range src.states {
			if st != nil {
				n++
			}
		}
		dst = operator.AppendUint(dst, n)
		for i, st := range src.states {
			if st == nil {
				continue
			}
			body = st.Append(body[:0])
			dst = operator.AppendString(dst, s.infos[i].ID)
			dst = operator.AppendString(dst, body)
		}
	}
	return dst
}

// LoadBucket implements operator.Operator.
func (s *Set) LoadBucket(b int, data []byte) error {
	for _, src := range s.sources[b] {
		s.forget(src)
	}
	if len(data) == 0 {
		return nil
	}
	r := operator.NewReader(data)
	if v := r.Uint(); v != stateVersion {
		return fmt.Errorf("bucket %d: %w: version %d", b, operator.ErrState, v)
	}
	for range r.Count() {
		src := s.newSource(r.String(), b)
		src.last, src.pane, src.panes = r.Int(), r.Int(), int(r.Uint())
		for range r.Count() {
			src.sent = append(src.sent, sent{r.String(), r.Uint()})
		}
		for range r.Count() {
			id, body := r.Bytes(), r.Bytes()
			i := slices.IndexFunc(s.infos, func(in Info) bool { return in.ID == string(id) })
			if i < 0 || r.Err() != nil {
				continue // a detector that this release does not have
			}
			st := s.detectors[i].New()
			if err := st.Load(body); err != nil {
				return fmt.Errorf("bucket %d key %q detector %s: %w", b, src.key, id, err)
			}
			src.states[i] = st
		}
		if err := r.Err(); err != nil {
			return fmt.Errorf("bucket %d: %w", b, err)
		}
		s.sources[b][src.key] = src
		s.lru.add(src)
		for i, st := range src.states {
			if st != nil {
				s.arm(src, i)
			}
		}
	}
	return r.Err()
}

// AppendShared implements operator.Operator.
func (s *Set) AppendShared(dst []byte) []byte {
	dst = operator.AppendUint(dst, stateVersion)
	dst = operator.AppendInt(dst, s.told)
	return s.marks.append(dst)
}

// LoadShared implements operator.Operator. It is called after all buckets
// were loaded, and puts the order of eviction right.
func (s *Set) LoadShared(data []byte) error {
	r := operator.NewReader(data)
	if v := r.Uint(); v != stateVersion {
		return fmt.Errorf("shared state: %w: version %d", operator.ErrState, v)
	}
	s.told = r.Int()
	s.marks.load(r)
	if err := r.Err(); err != nil {
		return fmt.Errorf("shared state: %w", err)
	}
	all := make([]*source, 0, s.lru.len())
	for b := range s.sources {
		for _, src := range s.sources[b] {
			all = append(all, src)
		}
	}
	slices.SortFunc(all, func(a, b *source) int { return cmp.Or(cmp.Compare(a.last, b.last), strings.Compare(a.key, b.key)) })
	s.lru = lru{}
	for _, src := range all {
		src.prev, src.next = nil, nil
		s.lru.add(src)
	}
	return nil
}
