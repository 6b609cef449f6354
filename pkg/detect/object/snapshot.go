package object

import (
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/window"
)

// stateVersion is the format of a principal's state.
const stateVersion = 1

// Append implements detect.State.
func (s *reader) Append(dst []byte) []byte {
	dst = operator.AppendUint(dst, stateVersion)
	dst = operator.AppendUint(dst, len(s.ws.List))
	for i := range s.ws.List {
		w := &s.ws.List[i]
		t := &w.Value
		dst = operator.AppendBool(operator.AppendInt(operator.AppendInt(dst, w.Start), w.End), w.Closed)
		dst = operator.AppendBool(operator.AppendBool(dst, t.sent), t.paused)
		for _, n := range []uint64{uint64(t.mask), t.keys, t.bytes, t.kept} {
			dst = operator.AppendUint(dst, n)
		}
		dst = detect.AppendEvidence(dst, t.evidence)
	}
	return s.views.Append(dst, func(dst []byte, v *view) []byte {
		dst = operator.AppendUint(dst, len(v.cells.List))
		for i := range v.cells.List {
			c := &v.cells.List[i]
			dst = c.V.append(operator.AppendInt(dst, c.At))
		}
		return dst
	})
}

// Load implements detect.State.
func (s *reader) Load(data []byte) error {
	r := operator.NewReader(data)
	if r.Uint() != stateVersion {
		return operator.ErrState
	}
	for range r.Count() {
		w := window.Window[told]{Start: r.Int(), End: r.Int(), Closed: r.Bool()}
		t := &w.Value
		t.sent, t.paused = r.Bool(), r.Bool()
		t.mask, t.keys, t.bytes, t.kept = mask(r.Uint()), r.Uint(), r.Uint(), r.Uint()
		t.evidence = detect.LoadEvidence(r)
		if r.Err() != nil {
			return r.Err()
		}
		s.ws.List = append(s.ws.List, w)
	}
	s.views.Load(r, func(r *operator.Reader, v *view) {
		for range r.Count() {
			c := window.Cell[cell]{At: r.Int()}
			c.V.load(r)
			if r.Err() != nil {
				return
			}
			v.cells.List = append(v.cells.List, c)
		}
	})
	if err := r.Err(); err != nil {
		return err
	}
	if !s.sound() {
		return operator.ErrState
	}
	s.resum()
	s.reckon()
	return nil
}

// sound reports whether what was loaded lies on the grid and within bounds:
// what follows relies on it.
func (s *reader) sound() bool {
	onGrid := func(at int64) bool { return window.PaneOf(at) == at }
	last := int64(-1 << 63)
	for i := range s.ws.List {
		w := &s.ws.List[i]
		if !onGrid(w.Start) || !onGrid(w.End) || w.Start < last || w.End <= w.Start || w.End > w.Start+window.Span {
			return false
		}
		last = w.End
	}
	for v := range s.views.All {
		list := v.Value.cells.List
		for i := range list {
			if !onGrid(list[i].At) || i > 0 && list[i].At <= list[i-1].At || s.ws.At(list[i].At) == nil || !list[i].V.sound() {
				return false
			}
		}
	}
	return len(s.ws.List) <= maxWindows
}
