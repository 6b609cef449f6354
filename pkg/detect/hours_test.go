package detect_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

const pane = detect.HourPane

func hourText(w *detect.Hour[int]) string {
	return fmt.Sprintf("%s[%d,%d)=%d", w.Subject, w.Start/pane, w.End/pane, w.Value)
}

func TestHours(t *testing.T) {
	t.Parallel()
	h := detect.Hours[int]{Grace: 60 * second}
	put := func(subject string, at, low int64) string {
		w, made := h.At(subject, at, low)
		if w == nil {
			return "late"
		}
		w.Value++
		return fmt.Sprint(hourText(w), made)
	}
	for i, c := range []struct {
		subject string
		at, low int64
		want    string
	}{
		{"a", 3*pane + 1, 0, "a[3,15)=1true"},
		{"a", 15*pane - 1, 0, "a[3,15)=2false"},
		{"b", 5 * pane, 0, "b[5,17)=1true"},
		{"a", 20*pane + 7, 0, "a[20,32)=1true"},
		{"a", 16 * pane, 0, "a[16,20)=1true"}, // between two windows
		{"a", 2 * pane, 0, "a[2,3)=1true"},    // before the first
		{"a", 19 * pane, 0, "a[16,20)=2false"},
		{"c", 0, 12*pane + 59*second, "c[0,12)=1true"},
		{"d", 0, 12*pane + 60*second, "late"},
		{"d", 0, detect.Never, "d[0,12)=1true"}, // closed sources say nothing about what is late
	} {
		if got := put(c.subject, c.at, c.low); got != c.want {
			t.Errorf("%d: %s, want %s", i, got, c.want)
		}
	}
	if h.Find("a", 32*pane) != nil || h.Find("x", 0) != nil || h.Find("b", 4*pane) != nil {
		t.Error("found a window that is not there")
	}
	if got := h.Next(); got != 3*pane+h.Grace {
		t.Errorf("wanted at %d", got)
	}
	var told []string
	due := func(low int64) []string {
		told = nil
		h.Due(low, func(w *detect.Hour[int]) { told = append(told, hourText(w)) })
		return told
	}
	if d := cmp.Diff([]string(nil), due(3*pane)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"a[2,3)=1", "c[0,12)=1", "d[0,12)=1"}, due(12*pane+h.Grace)); d != "" {
		t.Error(d)
	}
	// Closed sources: all are told of, and stay.
	if d := cmp.Diff([]string{"a[3,15)=2", "b[5,17)=1", "a[16,20)=2", "a[20,32)=1"}, due(detect.Never)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string(nil), due(detect.Never)); d != "" {
		t.Error(d)
	}
	put("b", 6*pane, detect.Never)
	if d := cmp.Diff([]string{"b[5,17)=2"}, due(detect.Never)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string(nil), due(20*pane+h.Grace)); d != "" {
		t.Error(d)
	}
	if h.Len() != 1 || h.Find("a", 21*pane) == nil || h.Find("b", 6*pane) != nil {
		t.Errorf("%d windows are left", h.Len())
	}
}

func TestHoursShed(t *testing.T) {
	t.Parallel()
	var h detect.Hours[int]
	for i := range 10 {
		w, _ := h.At(fmt.Sprint("s", i), int64(i)*pane, 0)
		w.Value = i % 3
		w, _ = h.At(fmt.Sprint("s", i), int64(i+30)*pane, 0)
		w.Value = 5
	}
	var gone []string
	n := h.Shed(func(w *detect.Hour[int]) uint64 { return uint64(w.Value) }, func(w *detect.Hour[int]) { gone = append(gone, w.Subject) })
	if n != 10 || h.Len() != 10 {
		t.Fatalf("%d gone, %d left", n, h.Len())
	}
	if d := cmp.Diff([]string{"s0", "s3", "s6", "s9", "s1", "s4", "s7", "s2", "s5", "s8"}, gone); d != "" {
		t.Error(d)
	}
	for w := range h.All {
		if w.Value != 5 {
			t.Errorf("%s was kept", hourText(w))
		}
	}
	for i := range 10 {
		if h.Find(fmt.Sprint("s", i), int64(i)*pane) != nil || h.Find(fmt.Sprint("s", i), int64(i+30)*pane) == nil {
			t.Errorf("s%d is not linked as it should", i)
		}
	}
}

// TestHoursInvariants: windows of a subject never overlap, every event has
// exactly one, and what a snapshot gives back is the same.
func TestHoursInvariants(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := detect.Hours[int]{Grace: second}
		n := 0
		subjects := rapid.SampledFrom([]string{"[ab]", "[a-z]"}).Draw(t, "subjects") // few windows and many
		for range rapid.IntRange(1, 120).Draw(t, "events") {
			subject := rapid.StringMatching(subjects).Draw(t, "subject")
			at := rapid.Int64Range(-40*pane, 80*pane).Draw(t, "at")
			w, _ := h.At(subject, at, 0)
			if at < w.Start || at >= w.End || w.Subject != subject || w.End-w.Start > detect.HourSpan || w.Start%pane != 0 || w.End%pane != 0 {
				t.Fatalf("%d in %s", at, hourText(w))
			}
			w.Value++
			n++
			if h.Find(subject, at) != w {
				t.Fatal("not found again")
			}
			if rapid.IntRange(0, 30).Draw(t, "shed") == 0 {
				rank := rapid.Uint64Range(1, 4).Draw(t, "rank")
				h.Shed(func(w *detect.Hour[int]) uint64 { return uint64(w.Value) % rank }, func(w *detect.Hour[int]) { n -= w.Value })
			}
			if rapid.IntRange(0, 9).Draw(t, "due") == 0 {
				low := rapid.Int64Range(-40*pane, 80*pane).Draw(t, "low")
				last := low - 1000*pane
				h.Due(low, func(w *detect.Hour[int]) {
					if w.End+h.Grace > low || w.End < last {
						t.Fatalf("%s at %d", hourText(w), low)
					}
					last = w.End
					n -= w.Value
				})
			}
		}
		var all []*detect.Hour[int]
		for w := range h.All {
			all = append(all, w)
			n -= w.Value
		}
		if n != 0 || len(all) != h.Len() {
			t.Fatalf("%d events without a window", n)
		}
		for i, a := range all {
			for _, b := range all[:i] {
				if a.Subject == b.Subject && a.Start < b.End && b.Start < a.End {
					t.Fatalf("%s and %s overlap", hourText(a), hourText(b))
				}
			}
		}
		enc := func(h *detect.Hours[int]) []byte {
			return h.Append(nil, func(dst []byte, v *int) []byte { return operator.AppendInt(dst, *v) })
		}
		back := detect.Hours[int]{Grace: second}
		r := operator.NewReader(enc(&h))
		back.Load(r, func(r *operator.Reader, w *detect.Hour[int]) { w.Value = int(r.Int()) })
		if r.Err() != nil || r.Len() != 0 || !slices.Equal(enc(&h), enc(&back)) {
			t.Fatal("not the same after a snapshot")
		}
		for _, a := range all {
			if b := back.Find(a.Subject, a.Start); b == nil || hourText(a) != hourText(b) {
				t.Fatalf("%s is not found after a snapshot", hourText(a))
			}
		}
	})
}

func TestProgress(t *testing.T) {
	t.Parallel()
	var p detect.Progress
	step := func(id string, at, bytes int64, open bool) (uint64, bool) {
		e := event.Event{Kind: event.KindConn, ID: id, Time: at * second}
		e.Source.Bytes, e.Conn.Open = event.N(bytes), open
		var back detect.Progress
		back.Load(operator.NewReader(p.Append(nil)))
		p = back
		c, first := p.Since(&e)
		return c.Bytes[0], first
	}
	for i, c := range []struct {
		id        string
		at, bytes int64
		open      bool
		want      uint64
		first     bool
	}{
		{"a", 1, 10, true, 10, true},
		{"b", 1, 7, false, 7, true},
		{"a", 2, 25, true, 15, false},
		{"a", 3, 20, true, 0, false}, // an older record, late
		{"a", 4, 30, false, 5, false},
		{"a", 5, 30, false, 30, true}, // another connection, or the same told twice
		{"", 6, 9, true, 9, true},
		{"", 7, 9, true, 9, true},
	} {
		if got, first := step(c.id, c.at, c.bytes, c.open); got != c.want || first != c.first {
			t.Errorf("%d: %d %v, want %d %v", i, got, first, c.want, c.first)
		}
	}
	// Beyond the bound only the last record of a connection counts.
	total := uint64(0)
	for i := range 100 {
		n, _ := step(fmt.Sprint("c", i), 10, 5, true)
		total += n
	}
	for i := range 100 {
		n, _ := step(fmt.Sprint("c", i), 20, 8, false)
		total += n
	}
	if total != 800 {
		t.Errorf("%d bytes of 100 connections of 8", total)
	}
}

func TestViews(t *testing.T) {
	t.Parallel()
	var v detect.Views[int]
	for i := range 10 {
		if w := v.Of(fmt.Sprint("o", i)); w != nil {
			w.Value = 100 - i
		}
	}
	n := 0
	for range v.All {
		n++
	}
	if n != 4 || v.Find("o9") != nil || v.Find("o3").Value != 97 {
		t.Errorf("%d views", n)
	}
	if got := v.Next(func(v *int) int64 { return int64(*v) }); got != (detect.Timer{Observer: "o3", At: 97}) {
		t.Errorf("%+v", got)
	}
}
