package window

import (
	"cmp"
	"slices"
)

// The grid, in microseconds.
const (
	Pane = int64(5 * 60 * 1_000_000)
	Span = 12 * Pane
	// Slots is the number of panes of a window.
	Slots = int(Span / Pane)
)

// PaneOf returns the start of the pane that holds an event time.
func PaneOf(t int64) int64 { return t - ((t%Pane)+Pane)%Pane }

// Window is one hour of a subject, or less where a closed window follows.
type Window[T any] struct {
	// Start and End bound the event times of the window, End excluded.
	Start, End int64
	// Closed windows are not moved any more.
	Closed bool
	Value  T
}

// Holds reports whether an event time lies in the window.
func (w *Window[T]) Holds(t int64) bool { return t >= w.Start && t < w.End }

// Windows are the windows of one subject, by time. The zero value is empty.
// Pointers into the list are valid until the next Add, Recut or Delete.
type Windows[T any] struct{ List []Window[T] }

// At returns the window that holds an event time, nil if there is none.
func (ws *Windows[T]) At(t int64) *Window[T] {
	for i := len(ws.List) - 1; i >= 0; i-- {
		if w := &ws.List[i]; t >= w.Start {
			if t < w.End {
				return w
			}
			return nil
		}
	}
	return nil
}

// Add makes sure that a window holds t and returns it. panes are the starts of
// the subject's panes, that of t included, in ascending order; they are looked
// at only where t comes before a window that is not closed. moved says that
// windows were cut anew, gone are those that no longer exist.
func (ws *Windows[T]) Add(t int64, panes func() []int64) (w *Window[T], gone []Window[T], moved bool) {
	if w = ws.At(t); w != nil {
		return w, nil, false
	}
	if n := len(ws.List); n == 0 || t >= ws.List[n-1].End {
		ws.List = append(ws.List, Window[T]{Start: PaneOf(t), End: PaneOf(t) + Span})
		return &ws.List[n], nil, false
	}
	gone = ws.Recut(panes())
	return ws.At(t), gone, true
}

// Recut cuts the windows anew from the starts of the panes that hold events,
// in ascending order. Closed windows stay; open ones that start where they did
// keep their value. It returns the open ones that no longer exist.
func (ws *Windows[T]) Recut(panes []int64) (gone []Window[T]) {
	old := ws.List
	var fresh []Window[T]
	closed := 0 // next closed window in old
	skip := func() {
		for closed < len(old) && !old[closed].Closed {
			closed++
		}
	}
	skip()
	until := int64(-1 << 63) // what is before it has its window
	for _, p := range panes {
		for closed < len(old) && old[closed].Start <= p {
			fresh = append(fresh, old[closed])
			until = max(until, old[closed].End)
			closed++
			skip()
		}
		if p < until {
			continue
		}
		w := Window[T]{Start: p, End: p + Span}
		if closed < len(old) {
			w.End = min(w.End, old[closed].Start)
		}
		if i := slices.IndexFunc(old, func(o Window[T]) bool { return !o.Closed && o.Start == p }); i >= 0 {
			w.Value = old[i].Value
		}
		fresh = append(fresh, w)
		until = w.End
	}
	for ; closed < len(old); skip() {
		fresh = append(fresh, old[closed])
		closed++
	}
	for _, o := range old {
		if _, still := slices.BinarySearchFunc(fresh, o.Start, byStart[T]); !o.Closed && !still {
			gone = append(gone, o)
		}
	}
	ws.List = fresh
	return gone
}

func byStart[T any](w Window[T], start int64) int { return cmp.Compare(w.Start, start) }

// Delete forgets the windows for which drop says so.
func (ws *Windows[T]) Delete(drop func(w *Window[T]) bool) {
	keep := ws.List[:0]
	for i := range ws.List {
		if !drop(&ws.List[i]) {
			keep = append(keep, ws.List[i])
		}
	}
	clear(ws.List[len(keep):])
	ws.List = keep
}

// Panes hold what a subject has in each pane, by time. Only panes with events
// are there. The zero value is empty.
type Panes[C any] struct{ List []Cell[C] }

// Cell is what one pane holds.
type Cell[C any] struct {
	At int64 // start of the pane
	V  C
}

// Of returns the cell of the pane that starts at, and makes it. The pointer is
// valid until the next call.
func (ps *Panes[C]) Of(at int64) *C {
	n := len(ps.List)
	if n > 0 && ps.List[n-1].At == at {
		return &ps.List[n-1].V
	}
	i := n
	for i > 0 && ps.List[i-1].At >= at {
		i--
	}
	if i == n || ps.List[i].At != at {
		ps.List = slices.Insert(ps.List, i, Cell[C]{At: at})
	}
	return &ps.List[i].V
}

// Drop forgets the panes before a time.
func (ps *Panes[C]) Drop(before int64) {
	n := 0
	for n < len(ps.List) && ps.List[n].At < before {
		n++
	}
	ps.List = slices.Delete(ps.List, 0, n)
}

// Starts appends the starts of the panes.
func (ps *Panes[C]) Starts(dst []int64) []int64 {
	for i := range ps.List {
		dst = append(dst, ps.List[i].At)
	}
	return dst
}
