package volume

import (
	"slices"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/window"
)

// A sanction may have a cap for 24 hours, and a pair knows its windows of an
// hour only: what the closed ones held is remembered for a day.
const (
	spentFor = 24 * window.Span
	maxSpent = 512
)

// spent is what a closed window sent to a capped destination, by hash.
type spent struct {
	key   uint64
	start int64
	up    uint64
}

// allowance is what a source has used of its caps, in the order of the closing.
type allowance struct{ list []spent }

// add notes a window. Beyond the bound the oldest gives way.
func (a *allowance) add(s spent) {
	a.list = slices.DeleteFunc(a.list, func(x spent) bool { return x.start < s.start-spentFor })
	if len(a.list) == maxSpent {
		a.list = slices.Delete(a.list, 0, 1)
	}
	a.list = append(a.list, s)
}

// since sums what went to a destination in windows that began within a span.
func (a *allowance) since(key uint64, from, before int64) (up uint64) {
	for i := range a.list {
		if s := &a.list[i]; s.key == key && s.start >= from && s.start < before {
			up += s.up
		}
	}
	return up
}

func (a *allowance) append(dst []byte) []byte {
	dst = operator.AppendUint(dst, len(a.list))
	for _, s := range a.list {
		dst = operator.AppendUint(operator.AppendInt(operator.AppendUint(dst, s.key), s.start), s.up)
	}
	return dst
}

func (a *allowance) load(r *operator.Reader) {
	for range r.Count() {
		a.list = append(a.list, spent{r.Uint(), r.Int(), r.Uint()})
	}
}

// upIn is what a view saw sent in a window.
func (v *view) upIn(w *window.Window[told]) (up uint64) {
	var acc [window.Slots]sums
	v.spread(w, &acc)
	for i := range acc {
		up += acc[i].up
	}
	return up
}

// spend notes what a closed window took of a cap, by the observer that saw most.
func (l *ledger) spend(p *pair, w *window.Window[told]) {
	var up uint64
	for i := range p.views {
		up = max(up, p.views[i].upIn(w))
	}
	if up > 0 {
		l.spent.add(spent{hashOf(p.key), w.Start, up})
	}
}

// sanctioned reports whether a pair stays within what the site allows it: where
// that has a cap, in the 24 hours that end with the window.
func (l *ledger) sanctioned(p *pair, which int, w *window.Window[told], v *verdict) bool {
	if p.key.standing != capped {
		return p.key.standing == exempt
	}
	from := w.End - spentFor
	up := v.sums.up + l.spent.since(hashOf(p.key), from, w.Start)
	for i := range p.ws.List {
		if o := &p.ws.List[i]; !o.Closed && o.Start >= from && o.Start < w.Start {
			up += p.views[which].upIn(o)
		}
	}
	return up <= p.limit
}
