package window_test

import (
	"slices"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/window"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const minute = int64(60_000_000)

// span is a window in minutes, for comparison.
type span struct{ From, To int64 }

func spans[T any](ws *window.Windows[T]) (out []span) {
	for _, w := range ws.List {
		out = append(out, span{w.Start / minute, w.End / minute})
	}
	return out
}

// subject is the least that a user of Windows has.
type subject struct {
	ws    window.Windows[int]
	panes window.Panes[int]
}

func (s *subject) add(t int64) (gone []window.Window[int]) {
	*s.panes.Of(window.PaneOf(t))++
	_, gone, _ = s.ws.Add(t, func() []int64 { return s.panes.Starts(nil) })
	return gone
}

func TestCut(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		at   []int64 // minutes, in order of arrival
		want []span
	}{
		"starts with the first event, aligned down":  {[]int64{7}, []span{{5, 65}}},
		"an hour is one window":                      {[]int64{7, 30, 64}, []span{{5, 65}}},
		"the next starts with the first event after": {[]int64{7, 65}, []span{{5, 65}, {65, 125}}},
		"a gap is in no window":                      {[]int64{7, 201}, []span{{5, 65}, {200, 260}}},
		"an earlier event moves the start":           {[]int64{12, 7}, []span{{5, 65}}},
		"and those after it":                         {[]int64{12, 68, 130, 3}, []span{{0, 60}, {65, 125}, {130, 190}}},
		"before the epoch":                           {[]int64{-7}, []span{{-10, 50}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s subject
			for _, m := range tc.at {
				s.add(m * minute)
			}
			if d := cmp.Diff(tc.want, spans(&s.ws)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestMovedWindowsAreTold(t *testing.T) {
	t.Parallel()
	var s subject
	s.add(12 * minute)
	s.add(80 * minute)
	s.ws.List[0].Value = 1
	s.ws.List[1].Value = 2
	gone := s.add(7 * minute)
	if len(gone) != 1 || gone[0].Start != 10*minute || gone[0].Value != 1 {
		t.Errorf("gone: %+v", gone)
	}
	if d := cmp.Diff([]span{{5, 65}, {80, 140}}, spans(&s.ws)); d != "" {
		t.Error(d)
	}
	if s.ws.List[1].Value != 2 {
		t.Error("a window that stays has lost its value")
	}
}

func TestClosedWindowsStay(t *testing.T) {
	t.Parallel()
	var s subject
	s.add(12 * minute)
	s.add(80 * minute)
	s.ws.List[0].Closed = true
	for _, m := range []int64{7, 20, 72} {
		if gone := s.add(m * minute); m == 72 && (len(gone) != 1 || gone[0].Start != 80*minute) {
			t.Errorf("gone: %+v", gone)
		}
	}
	if d := cmp.Diff([]span{{5, 10}, {10, 70}, {70, 130}}, spans(&s.ws)); d != "" {
		t.Error(d)
	}
}

// TestCutIgnoresOrder holds the first invariant against a naive cut of the
// sorted times.
func TestCutIgnoresOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfN(rapid.Int64Range(-100, 600), 1, 40).Draw(t, "minutes")
		sorted := slices.Clone(times)
		slices.Sort(sorted)
		var want []span
		for _, m := range sorted {
			if n := len(want); n == 0 || m >= want[n-1].To {
				start := window.PaneOf(m*minute) / minute
				want = append(want, span{start, start + 60})
			}
		}
		var s subject
		for _, m := range times {
			s.add(m * minute)
			if w := s.ws.At(m * minute); w == nil || !w.Holds(m*minute) {
				t.Fatalf("no window holds minute %d", m)
			}
		}
		if d := cmp.Diff(want, spans(&s.ws)); d != "" {
			t.Fatal(d)
		}
	})
}

// TestNoOverlap holds that windows stay apart and in order whatever was closed.
func TestNoOverlap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s subject
		for _, m := range rapid.SliceOfN(rapid.Int64Range(0, 400), 1, 60).Draw(t, "minutes") {
			s.add(m * minute)
			if rapid.IntRange(0, 4).Draw(t, "close") == 0 {
				s.ws.List[rapid.IntRange(0, len(s.ws.List)-1).Draw(t, "which")].Closed = true
			}
			for i := 1; i < len(s.ws.List); i++ {
				if s.ws.List[i].Start < s.ws.List[i-1].End {
					t.Fatalf("overlap: %v", spans(&s.ws))
				}
			}
			for _, c := range s.panes.List {
				if s.ws.At(c.At) == nil {
					t.Fatalf("pane %d is in no window: %v", c.At/minute, spans(&s.ws))
				}
			}
		}
	})
}

func TestPanes(t *testing.T) {
	t.Parallel()
	var ps window.Panes[int]
	for i, m := range []int64{10, 5, 10, 20, 15} {
		*ps.Of(m * minute) += 1 << i
	}
	want := []window.Cell[int]{{At: 5 * minute, V: 2}, {At: 10 * minute, V: 5}, {At: 15 * minute, V: 16}, {At: 20 * minute, V: 8}}
	if d := cmp.Diff(want, ps.List); d != "" {
		t.Error(d)
	}
	ps.Drop(15 * minute)
	if d := cmp.Diff(want[2:], ps.List); d != "" {
		t.Error(d)
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	var s subject
	s.add(0)
	s.add(100 * minute)
	s.ws.Delete(func(w *window.Window[int]) bool { return w.Start == 0 })
	if d := cmp.Diff([]span{{100, 160}}, spans(&s.ws)); d != "" {
		t.Error(d)
	}
}
