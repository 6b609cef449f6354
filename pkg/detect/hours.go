package detect

import (
	"cmp"
	"slices"
	"strings"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/window"
)

// The grid of Hours, in microseconds.
const (
	// HourPane is what the start of a window is aligned to.
	HourPane = window.Pane
	// HourSpan is how long a window is.
	HourSpan = window.Span
)

// Hour is one window of one subject.
type Hour[T any] struct {
	Subject string
	// Start and End bound the event times of the window, End excluded.
	Start, End int64
	Value      T

	told  bool     // Due has handed it out and nothing came since
	older *Hour[T] // the subject's window before this one
}

// Hours are hour-long windows of subjects. A subject's window starts with its
// first event, aligned down to a pane, and the next one with the first event
// after it: what goes on for an hour is not cut by the clock. Start and End are a
// function of the events in their order, never of marks.
//
// The zero value with a Grace is empty and ready.
type Hours[T any] struct {
	// Grace is how long after its end a window may still take events that
	// belong to it, in microseconds.
	Grace int64

	byEnd []*Hour[T] // by End, then Subject
	// A subject's newest window is found by the hashes of the subjects of byEnd
	// while they are few, which they are for most keys, else in a map.
	hashes []uint32
	newest map[string]*Hour[T]
}

// fewHours is how many windows are found without a map.
const fewHours = 32

func subjectHash(s string) uint32 { return uint32(xxhash.Sum64String(s)) }

// find returns the newest window of a subject, nil if there is none.
func (h *Hours[T]) find(subject string) *Hour[T] {
	if h.newest != nil {
		return h.newest[subject]
	}
	if len(h.hashes) == 0 {
		return nil
	}
	hash := subjectHash(subject)
	for i, have := range slices.Backward(h.hashes) {
		if have == hash && h.byEnd[i].Subject == subject {
			return h.byEnd[i]
		}
	}
	return nil
}

// insert puts a window into its place.
func (h *Hours[T]) insert(w *Hour[T]) {
	i := len(h.byEnd)
	if i > 0 && compareHours(h.byEnd[i-1], w) > 0 {
		i, _ = slices.BinarySearchFunc(h.byEnd, w, compareHours[T])
	}
	h.byEnd = slices.Insert(h.byEnd, i, w)
	if h.newest != nil {
		return
	}
	if len(h.byEnd) <= fewHours {
		h.hashes = slices.Insert(h.hashes, i, subjectHash(w.Subject))
		return
	}
	h.hashes, h.newest = nil, map[string]*Hour[T]{}
	for _, x := range h.byEnd { // a subject's windows come oldest first
		h.newest[x.Subject] = x
	}
}

// Len returns how many windows there are.
func (h *Hours[T]) Len() int { return len(h.byEnd) }

// At returns the window of a subject that holds an event time, and whether it
// was made now. low is how far the observer is complete, 0 when that is not
// known: an event whose window would be over by then is late, and At returns
// nil. The subject may alias a record.
func (h *Hours[T]) At(subject string, t, low int64) (w *Hour[T], made bool) {
	return h.AtKept(subject, t, low, strings.Clone)
}

// AtKept is At with a function that makes a subject one that may be kept.
func (h *Hours[T]) AtKept(subject string, t, low int64, keep func(string) string) (w *Hour[T], made bool) {
	var newer *Hour[T]
	w = h.find(subject)
	for w != nil && t < w.Start {
		newer, w = w, w.older
	}
	if w != nil && t < w.End {
		w.told = false
		return w, false
	}
	start := t - floorMod(t, HourPane)
	end := start + HourSpan
	if w != nil {
		start = max(start, w.End)
	}
	if newer != nil {
		end = min(end, newer.Start)
	}
	if low != 0 && low != Never && end+h.Grace <= low {
		return nil, false
	}
	n := &Hour[T]{Start: start, End: end, older: w}
	switch {
	case newer != nil:
		n.Subject, newer.older = newer.Subject, n
	case w != nil:
		n.Subject = w.Subject
	default:
		n.Subject = keep(subject)
	}
	if newer == nil && h.newest != nil {
		h.newest[n.Subject] = n
	}
	h.insert(n)
	return n, true
}

// Find returns the window of a subject that holds an event time, nil if there
// is none. Like At, it is meant for an event that changes the window.
func (h *Hours[T]) Find(subject string, t int64) *Hour[T] {
	w := h.find(subject)
	for w != nil && t < w.Start {
		w = w.older
	}
	if w == nil || t >= w.End {
		return nil
	}
	w.told = false
	return w
}

func compareHours[T any](a, b *Hour[T]) int {
	return cmp.Or(cmp.Compare(a.End, b.End), strings.Compare(a.Subject, b.Subject))
}

func floorMod(a, b int64) int64 { return ((a % b) + b) % b }

// Next returns when Due is wanted, Never when there is no window.
func (h *Hours[T]) Next() int64 {
	if len(h.byEnd) == 0 {
		return Never
	}
	return h.byEnd[0].End + h.Grace
}

// Due hands out the windows that are complete, in order of their end, and
// forgets them. Where low is Never, the sources have closed: all windows are
// handed out as they stand, and kept, since an instance that stops may be
// followed by another that goes on. Then each is handed out again only if
// something came.
func (h *Hours[T]) Due(low int64, f func(w *Hour[T])) {
	n := 0
	for n < len(h.byEnd) && h.byEnd[n].End+h.Grace <= low {
		w := h.byEnd[n]
		n++
		if !w.told {
			w.told = true
			f(w)
		}
	}
	if low == Never {
		return
	}
	for _, w := range h.byEnd[:n] {
		h.unlink(w)
	}
	h.byEnd = slices.Delete(h.byEnd, 0, n)
	if h.newest == nil {
		h.hashes = slices.Delete(h.hashes, 0, n)
	} else if len(h.byEnd) == 0 {
		h.newest, h.byEnd = nil, nil
	}
}

// unlink takes a window out of what belongs to its subject.
func (h *Hours[T]) unlink(w *Hour[T]) {
	newer := h.find(w.Subject)
	if newer != w {
		for newer.older != w {
			newer = newer.older
		}
		newer.older = w.older
		return
	}
	switch {
	case h.newest == nil: // the window before it is found by its hash
	case w.older != nil:
		h.newest[w.Subject] = w.older
	default:
		delete(h.newest, w.Subject)
	}
}

// Shed forgets the half of the windows that rank lowest, the oldest of equals
// first, and returns how many. It is the answer to a flood of subjects: one
// call in many events, and what has grown remains.
func (h *Hours[T]) Shed(rank func(w *Hour[T]) uint64, dropped func(w *Hour[T])) int {
	type ranked struct {
		rank uint64
		w    *Hour[T]
	}
	order := make([]ranked, len(h.byEnd))
	for i, w := range h.byEnd {
		order[i] = ranked{rank(w), w}
	}
	slices.SortStableFunc(order, func(a, b ranked) int { return cmp.Compare(a.rank, b.rank) })
	order = order[:len(order)/2]
	gone := make(map[*Hour[T]]bool, len(order))
	for _, x := range order {
		gone[x.w] = true
		h.unlink(x.w)
		dropped(x.w)
	}
	left := h.byEnd[:0]
	for i, w := range h.byEnd {
		if gone[w] {
			continue
		}
		if h.newest == nil {
			h.hashes[len(left)] = h.hashes[i]
		}
		left = append(left, w)
	}
	clear(h.byEnd[len(left):])
	h.byEnd, h.hashes = left, h.hashes[:min(len(left), len(h.hashes))]
	return len(order)
}

// All hands out all windows, in order of their end.
func (h *Hours[T]) All(yield func(w *Hour[T]) bool) {
	for _, w := range h.byEnd {
		if !yield(w) {
			return
		}
	}
}

// Append encodes the windows; value encodes what each holds.
func (h *Hours[T]) Append(dst []byte, value func(dst []byte, v *T) []byte) []byte {
	dst = operator.AppendUint(dst, len(h.byEnd))
	for _, w := range h.byEnd {
		dst = operator.AppendString(dst, w.Subject)
		dst = operator.AppendInt(dst, w.Start)
		dst = operator.AppendInt(dst, w.End)
		dst = operator.AppendBool(dst, w.told)
		dst = value(dst, &w.Value)
	}
	return dst
}

// Load reads what Append wrote, into an empty Hours.
func (h *Hours[T]) Load(r *operator.Reader, value func(r *operator.Reader, w *Hour[T])) {
	for range r.Count() {
		w := &Hour[T]{Subject: r.String(), Start: r.Int(), End: r.Int(), told: r.Bool()}
		value(r, w)
		// In order of their end, a subject's windows come oldest first. Anything
		// else is damage.
		if w.older = h.find(w.Subject); w.End <= w.Start || w.older != nil && w.Start < w.older.End {
			continue
		}
		if h.newest != nil {
			h.newest[w.Subject] = w
		}
		h.insert(w)
	}
}

// Size is about how many bytes of memory the windows take; value tells what one
// holds beyond the size of T.
func (h *Hours[T]) Size(value func(v *T) int) int {
	size := 8*cap(h.byEnd) + 4*cap(h.hashes) + mapEntry*len(h.newest)
	for _, w := range h.byEnd {
		size += int(unsafe.Sizeof(*w)) + len(w.Subject) + value(&w.Value)
	}
	return size
}

// View is what a state knows from one observer. Counts of names and packets are
// kept per observer: two sensors may see the same packet (DESIGN §3).
type View[V any] struct {
	Observer string // as Env.Observer names it
	Value    V
}

// Views are the views of a state, in order of their appearance. The zero value
// is empty.
type Views[V any] struct{ list []*View[V] }

// maxViews bounds the observers that a state keeps apart.
const maxViews = 4

// Find returns the view of an observer, nil if there is none.
func (v *Views[V]) Find(observer string) *View[V] {
	for _, w := range v.list {
		if w.Observer == observer {
			return w
		}
	}
	return nil
}

// Of returns the view of an observer, and nil where a new one would be one too
// many.
func (v *Views[V]) Of(observer string) *View[V] {
	if w := v.Find(observer); w != nil {
		return w
	}
	if len(v.list) == maxViews {
		return nil
	}
	w := &View[V]{Observer: observer}
	v.list = append(v.list, w)
	return w
}

// All hands out the views.
func (v *Views[V]) All(yield func(w *View[V]) bool) {
	for _, w := range v.list {
		if !yield(w) {
			return
		}
	}
}

// Next returns the earliest timer of the views.
func (v *Views[V]) Next(of func(*V) int64) Timer {
	t := NoTimer
	for _, w := range v.list {
		if at := of(&w.Value); at < t.At {
			t = Timer{Observer: w.Observer, At: at}
		}
	}
	return t
}

// Size is about how many bytes of memory the views take; value tells what one
// holds beyond the size of V.
func (v *Views[V]) Size(value func(v *V) int) int {
	size := 8 * cap(v.list)
	for _, w := range v.list {
		size += int(unsafe.Sizeof(*w)) + value(&w.Value)
	}
	return size
}

// Append encodes the views.
func (v *Views[V]) Append(dst []byte, value func(dst []byte, w *V) []byte) []byte {
	dst = operator.AppendUint(dst, len(v.list))
	for _, w := range v.list {
		dst = value(operator.AppendString(dst, w.Observer), &w.Value)
	}
	return dst
}

// Load reads what Append wrote, into empty views.
func (v *Views[V]) Load(r *operator.Reader, value func(r *operator.Reader, w *V)) {
	for range r.Count() {
		w := &View[V]{Observer: r.String()}
		value(r, &w.Value)
		v.list = append(v.list, w)
	}
}
