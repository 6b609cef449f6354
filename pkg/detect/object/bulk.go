package object

import (
	"slices"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	"github.com/ebbwatch/ebbwatch/pkg/window"
)

// Thresholds of bulk-object-read, in the order of its Info.
const (
	bulkKeys = iota
	bulkBytes
)

var bulkInfo = detect.Info{
	ID:        "bulk-object-read",
	Role:      signal.RoleStaging,
	Kinds:     []event.Kind{event.KindObject},
	Default:   site.Setting{Mode: signal.ModeAlert, Floor: 2, Alert: 4},
	Alone:     true,
	Technique: []string{"T1530"},
	Thresholds: []detect.Threshold{
		{Name: "keys", Default: 500, Unit: "objects", Doc: "more distinct objects than this within the hour, of buckets on whose list the principal is not: 4 points; from half of it 2"},
		{Name: "bytes", Default: 1e9, Unit: "bytes", Doc: "more bytes of HTTP bodies than this within the hour, by any principal: 4 points; from half of it 2, where the objects give none"},
	},
}

// bulkRead is the detector bulk-object-read.
type bulkRead struct {
	limits    [2]float64
	overrides bool
}

// NewBulkRead returns the detector bulk-object-read.
func NewBulkRead() detect.Detector {
	d := &bulkRead{}
	d.Configure(site.Default())
	return d
}

// Info implements detect.Detector.
func (d *bulkRead) Info() detect.Info { return bulkInfo }

// Configure implements detect.Detector.
func (d *bulkRead) Configure(s *site.Site) {
	for i, t := range bulkInfo.Thresholds {
		d.limits[i] = s.Threshold(bulkInfo.ID, t.Name, t.Default)
	}
	d.overrides = s.HasOverrides(bulkInfo.ID)
}

// limitsFor are the thresholds that hold for a principal.
func (d *bulkRead) limitsFor(s *site.Site, on site.Subject, at int64) [2]float64 {
	out := d.limits
	if d.overrides {
		for i, t := range bulkInfo.Thresholds {
			out[i] = s.ThresholdFor(bulkInfo.ID, t.Name, t.Default, on, at)
		}
	}
	return out
}

// New implements detect.Detector.
func (d *bulkRead) New() detect.State { return &reader{d: d, next: detect.Never} }

// maxWindows bounds the windows of a principal, and so its panes.
const maxWindows = 4

// grace is how long a window that spoke is kept after it was closed, for
// records that come later than their source promised.
const grace = window.Span

// reader is the state of one principal.
type reader struct {
	d     *bulkRead
	ws    window.Windows[told]
	views detect.Views[view]
	next  int64 // derived: when Advance is wanted
}

// told is what a window has said.
type told struct {
	sent bool
	mask mask
	// keys and bytes of the latest signal.
	keys, bytes uint64
	// kept is the number of reads from which the next event is evidence.
	kept     uint64
	evidence []signal.Evidence
	// paused: all sources have closed, and it said what it holds.
	paused bool
}

// view is what one observer saw. Every cell lies in a window.
type view struct {
	cells window.Panes[cell]
	sums  []sum // derived: by window
}

// sum is a window's part of a view.
type sum struct {
	start int64
	totals
	keys distinct
}

// find returns the sum of a window, nil where there is none.
func (v *view) find(start int64) *sum {
	for i := range v.sums {
		if v.sums[i].start == start {
			return &v.sums[i]
		}
	}
	return nil
}

// of returns the sum of a window, and makes it.
func (v *view) of(start int64) *sum {
	if sm := v.find(start); sm != nil {
		return sm
	}
	v.sums = append(v.sums, sum{start: start})
	return &v.sums[len(v.sums)-1]
}

// Apply implements detect.State.
func (s *reader) Apply(e *event.Event, env *detect.Env) {
	var r read
	if !measure(e, env.Site, &r) {
		return
	}
	vw := s.views.Of(env.Observer(e))
	if vw == nil {
		env.Count("views_dropped", bulkInfo.ID, 1)
		return
	}
	v := &vw.Value
	t := r.totals()
	v.cells.Of(window.PaneOf(r.at)).add(&r, &t, e)
	w, gone, moved := s.ws.Add(r.at, s.panes)
	if moved {
		s.resum()
		s.withdraw(gone, env)
		w = s.ws.At(r.at)
	} else {
		sm := v.of(w.Start)
		sm.add(&t)
		if !r.listed {
			sm.keys.add(r.object)
		}
	}
	w.Value.paused = false
	s.next = min(s.next, due(w))
	s.consider(w, v.of(w.Start), e, env)
	if moved {
		for i := range s.ws.List {
			if x := &s.ws.List[i]; x != w && !x.Closed {
				s.next = min(s.next, due(x))
				s.consider(x, nil, nil, env)
			}
		}
	}
	if len(s.ws.List) > maxWindows {
		if first := &s.ws.List[0]; !first.Closed {
			s.close(first, env)
		}
		s.settle(s.ws.List[0].End)
	}
}

// panes are the starts of all panes with reads.
func (s *reader) panes() (out []int64) {
	for v := range s.views.All {
		out = v.Value.cells.Starts(out)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// resum makes the sums of all windows anew from the panes.
func (s *reader) resum() {
	for vw := range s.views.All {
		v := &vw.Value
		v.sums = nil
		for i := range v.cells.List {
			c := &v.cells.List[i]
			if w := s.ws.At(c.At); w != nil {
				sm := v.of(w.Start)
				sm.add(&c.V.totals)
				sm.keys.merge(&c.V.keys)
			}
		}
	}
}

// due is when a window wants Advance.
func due(w *window.Window[told]) int64 {
	if w.Closed {
		return w.End + grace
	}
	return w.End
}

// Next implements detect.State.
func (s *reader) Next() detect.Timer {
	if s.next == detect.Never {
		return detect.NoTimer
	}
	return detect.Timer{Observer: s.timer(), At: s.next}
}

// timer is the observer that the windows wait for: all sources where there are
// several.
func (s *reader) timer() (name string) {
	for v := range s.views.All {
		if name != "" {
			return ""
		}
		name = v.Observer
	}
	return name
}

// over reports whether all observers have closed.
func (s *reader) over(env *detect.Env) bool {
	for v := range s.views.All {
		if env.Low(v.Observer, event.KindUnknown) != detect.Never {
			return false
		}
	}
	return true
}

// Advance implements detect.State: windows end. Where the sources have closed,
// windows say what they hold but stay: another instance may go on.
func (s *reader) Advance(env *detect.Env) {
	at, over := s.next, s.over(env)
	for i := range s.ws.List {
		w := &s.ws.List[i]
		if due(w) > at || over && w.Value.paused {
			continue
		}
		w.Value.paused = over
		switch {
		case w.Closed:
			// Its time for late records is over: settle drops it.
		case over:
			s.say(w, env)
		default:
			s.close(w, env)
		}
	}
	if !over {
		s.settle(at)
	}
	s.reckon()
}

// reckon finds when Advance is wanted next.
func (s *reader) reckon() {
	s.next = detect.Never
	for i := range s.ws.List {
		if w := &s.ws.List[i]; !w.Value.paused {
			s.next = min(s.next, due(w))
		}
	}
}

// close ends a window: it speaks its last word.
func (s *reader) close(w *window.Window[told], env *detect.Env) {
	w.Closed = true
	s.say(w, env)
}

// settle drops the windows that are over at a time: at once if they said
// nothing, else when no late record is waited for.
func (s *reader) settle(at int64) {
	before := len(s.ws.List)
	s.ws.Delete(func(w *window.Window[told]) bool {
		return w.Closed && (!w.Value.sent || w.End+grace <= at)
	})
	if n := len(s.ws.List) - maxWindows; n > 0 {
		s.ws.List = slices.Delete(s.ws.List, 0, n)
	}
	if len(s.ws.List) == before {
		return
	}
	for vw := range s.views.All {
		v := &vw.Value
		v.cells.List = slices.DeleteFunc(v.cells.List, func(c window.Cell[cell]) bool { return s.ws.At(c.At) == nil })
		v.sums = slices.DeleteFunc(v.sums, func(sm sum) bool { return s.ws.At(sm.start) == nil })
	}
}

// Expired implements detect.State. That all sources have closed says nothing
// about time.
func (s *reader) Expired(low int64) bool {
	if low == detect.Never {
		return len(s.ws.List) == 0
	}
	for i := range s.ws.List {
		if s.ws.List[i].End+grace > low {
			return false
		}
	}
	return true
}
