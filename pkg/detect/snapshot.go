package detect

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// stateVersion is the format of a Set's snapshot. LoadBucket reads this one and
// the one before, which did not keep what a key weighs.
const stateVersion = 2

// sharedVersion is the format of the shared state.
const sharedVersion = 1

// Buckets implements operator.Operator.
func (s *Set) Buckets() int { return buckets }

// AppendBucket implements operator.Operator. States are written under the
// ids of their detectors, so a release with other detectors reads them.
func (s *Set) AppendBucket(dst []byte, b int) []byte {
	if len(s.sources[b]) == 0 && s.once[b].empty() {
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
		dst = operator.AppendUint(operator.AppendInt(dst, src.weight), src.records)
		dst = operator.AppendUint(dst, len(src.sent))
		for _, x := range src.sent {
			dst = operator.AppendUint(operator.AppendString(dst, x.id), x.revision)
		}
		dst = operator.AppendUint(dst, len(src.held))
		for i := range src.held {
			h := &src.held[i]
			body = h.state.Append(body[:0])
			dst = operator.AppendString(dst, s.infos[h.detector].ID)
			dst = operator.AppendString(dst, body)
		}
	}
	if s.once[b].empty() {
		return dst
	}
	return s.once[b].append(dst)
}

// LoadBucket implements operator.Operator.
func (s *Set) LoadBucket(b int, data []byte) error {
	for _, src := range s.sources[b] {
		s.forget(src)
	}
	s.once[b] = once{}
	if len(data) == 0 {
		return nil
	}
	r := operator.NewReader(data)
	version := r.Uint()
	if version != stateVersion && version != stateVersion-1 {
		return fmt.Errorf("bucket %d: %w: version %d", b, operator.ErrState, version)
	}
	for range r.Count() {
		src := s.newSource(r.String(), b)
		src.last, src.pane, src.panes = r.Int(), r.Int(), uint8(min(r.Uint(), 2))
		weight := int64(0)
		if version == stateVersion {
			weight, src.records = max(r.Int(), 0), uint32(min(r.Uint(), math.MaxUint32))
		}
		for range r.Count() {
			src.sent = append(src.sent, sent{r.String(), r.Uint()})
		}
		for range r.Count() {
			id, body := r.Bytes(), r.Bytes()
			i := s.index(string(id))
			if i < 0 || r.Err() != nil || src.find(i) != nil {
				continue // a detector that this release does not have
			}
			st := s.detectors[i].New()
			if err := st.Load(body); err != nil {
				return fmt.Errorf("bucket %d key %q detector %s: %w", b, src.key, id, err)
			}
			src.put(i, st)
		}
		if err := r.Err(); err != nil {
			return fmt.Errorf("bucket %d: %w", b, err)
		}
		if version != stateVersion {
			weight = s.weightOf(src)
		}
		s.heavier(src, weight)
		s.sources[b][src.key] = src
		s.lru.add(src)
		for i := range src.held {
			s.arm(src, &src.held[i])
		}
	}
	if r.Len() > 0 { // the release before did not write it
		return s.once[b].load(r)
	}
	return r.Err()
}

// AppendShared implements operator.Operator.
func (s *Set) AppendShared(dst []byte) []byte {
	dst = operator.AppendUint(dst, sharedVersion)
	dst = operator.AppendInt(dst, s.told)
	dst = s.marks.append(dst)
	n := 0
	for _, d := range s.detectors {
		if _, ok := d.(Sharer); ok {
			n++
		}
	}
	dst = operator.AppendUint(dst, n)
	var body []byte
	for i, d := range s.detectors {
		if d, ok := d.(Sharer); ok {
			body = d.AppendShared(body[:0])
			dst = operator.AppendString(operator.AppendString(dst, s.infos[i].ID), body)
		}
	}
	return dst
}

// LoadShared implements operator.Operator. It is called after all buckets
// were loaded, and puts the order of eviction right.
func (s *Set) LoadShared(data []byte) error {
	r := operator.NewReader(data)
	if v := r.Uint(); v != sharedVersion {
		return fmt.Errorf("shared state: %w: version %d", operator.ErrState, v)
	}
	s.told = r.Int()
	s.marks.load(r)
	if err := r.Err(); err != nil {
		return fmt.Errorf("shared state: %w", err)
	}
	if err := s.loadSharers(r); err != nil {
		return err
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

// loadSharers reads what detectors share. Snapshots of the release before had
// none.
func (s *Set) loadSharers(r *operator.Reader) error {
	if r.Len() == 0 {
		return nil
	}
	for range r.Count() {
		id, body := r.Bytes(), r.Bytes()
		i := slices.IndexFunc(s.infos, func(in Info) bool { return in.ID == string(id) })
		if i < 0 || r.Err() != nil {
			continue // a detector that this release does not have
		}
		if d, ok := s.detectors[i].(Sharer); ok {
			if err := d.LoadShared(body); err != nil {
				return fmt.Errorf("shared state of detector %s: %w", id, err)
			}
		}
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("shared state: %w", err)
	}
	return nil
}
