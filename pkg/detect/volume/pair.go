package volume

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/window"
)

// Bounds of a pair.
const (
	maxViews   = 4
	maxTracked = 32 // connections of a view that are kept by themselves
	maxWindows = 4
)

// pairKey is what a source sends to.
type pairKey struct {
	name string     // registered domain; "" where only the address is known
	addr netip.Addr // valid where there is no name
	port uint16     // 0 where ports are not told apart
	// standing is what the site says of it.
	standing standing
}

// standing is what the site says of a destination.
type standing uint8

const (
	unknown standing = iota
	// capped ones are sanctioned up to a volume.
	capped
	// exempt ones are the site's own or sanctioned. They are kept only where
	// that is known by the address: the connection's own name may come later
	// and be another.
	exempt
)

func (k pairKey) compare(o pairKey) int {
	return cmp.Or(strings.Compare(k.name, o.name), k.addr.Compare(o.addr), cmp.Compare(k.port, o.port), cmp.Compare(k.standing, o.standing))
}

// dest is the destination for a reader.
func (k pairKey) dest() string {
	if k.name != "" {
		return k.name
	}
	return k.addr.String()
}

// pair is what is known of one destination of a source.
type pair struct {
	key pairKey
	// limit is what a sanctioned destination may receive in a day.
	limit uint64
	src   netip.Addr
	// shared says that the source stands for many: only single connections
	// are judged.
	shared bool
	views  []view // by observer and interface
	ws     window.Windows[told]
}

// view is what one observer, for flow logs one interface, saw of a pair. The
// same bytes are seen by several and are never added up.
type view struct {
	observer string
	iface    string
	instance string // that the interface belongs to
	layer    layer
	flow     bool // records of one direction each
	cells    window.Panes[sums]
	conns    []conn
}

// told is what a window has said so far.
type told struct {
	sent bool
	mask mask
	up   uint64
	// complete is how far the observers were complete when it was judged.
	complete int64
	// check is when it must be judged again because directions are missing;
	// 0 is never.
	check int64
	// paused windows wait for further events: their sources have closed.
	paused bool
	// sum is at least what the window holds, whoever saw it.
	sum      uint64
	evidence []signal.Evidence
}

// view returns that of an observer and an interface; nil is one too many. The
// names are kept. It is valid until the next call.
func (p *pair) view(observer string, f *event.Flow, flow bool) *view {
	i := 0
	for ; i < len(p.views); i++ {
		v := &p.views[i]
		if v.observer == observer && v.iface == f.Interface {
			return v
		}
		if v.observer > observer || v.observer == observer && v.iface > f.Interface {
			break
		}
	}
	if len(p.views) == maxViews {
		return nil
	}
	p.views = slices.Insert(p.views, i, view{observer: observer, iface: strings.Clone(f.Interface), instance: strings.Clone(f.InstanceID), flow: flow})
	return &p.views[i]
}

// empty reports whether nothing that the view saw is left.
func (v *view) empty() bool { return len(v.cells.List) == 0 && len(v.conns) == 0 }

// add takes a transfer and returns by how much the bytes sent grew, and the
// connection that is no longer kept by itself. ok is false where the transfer
// was left out: a snapshot for which there is no room counts when its
// connection ends.
func (v *view) add(t *transfer, to peak, named bool, hit single, room bool) (grew, folded uint64, ok bool) {
	if t.id != 0 && !v.flow {
		for i := range v.conns {
			if v.conns[i].id == t.id {
				return v.conns[i].add(t, hit), 0, true
			}
		}
		if t.open || t.up >= trackBytes || t.time-t.start >= trackLong {
			if folded, ok = v.makeRoom(room); ok {
				c := conn{id: t.id, start: t.start, to: to, named: named}
				grew = c.add(t, hit)
				v.conns = append(v.conns, c)
				return grew, folded, true
			}
			if t.open {
				return 0, 0, false
			}
		}
	}
	pane := window.PaneOf(t.time)
	s := sums{up: t.up, down: t.down, out: t.out, in: t.in, conns: 1, hit: hit, estimated: t.estimated, top: to}
	s.top.up = t.up
	if t.up > 0 {
		// What comes back does not keep an upload going.
		s.lasts(pane, t.time, t.time-t.start)
	}
	s.span(t.start, t.time)
	v.cells.Of(pane).merge(&s)
	return t.up, 0, true
}

// makeRoom makes room for one more connection to be kept by itself: the
// smallest that has ended joins the sums of its panes.
func (v *view) makeRoom(room bool) (folded uint64, ok bool) {
	if room && len(v.conns) < maxTracked {
		return 0, true
	}
	victim := -1
	for i := range v.conns {
		if c := &v.conns[i]; c.final && (victim < 0 || cmp.Or(cmp.Compare(c.last(), v.conns[victim].last()), cmp.Compare(c.id, v.conns[victim].id)) < 0) {
			victim = i
		}
	}
	if victim < 0 {
		return 0, false
	}
	folded = v.conns[victim].id
	v.fold(victim)
	return folded, true
}

// fold turns a connection into sums.
func (v *view) fold(i int) {
	c := &v.conns[i]
	at := c.begin()
	for j := range c.points {
		s := c.step(&c.points[j], &at)
		if j == 0 {
			s.conns, s.out, s.in = 1, 1, 1
		}
		v.cells.Of(c.points[j].at).merge(&s)
	}
	v.conns = slices.Delete(v.conns, i, i+1)
}

// spread puts what the view holds of a window into its panes.
func (v *view) spread(w *window.Window[told], acc *[window.Slots]sums) {
	for i := range v.cells.List {
		if c := &v.cells.List[i]; w.Holds(c.At) {
			acc[(c.At-w.Start)/window.Pane].merge(&c.V)
		}
	}
	for i := range v.conns {
		v.conns[i].into(w.Start, w.End, acc)
	}
}

// panes are the starts of all panes with events.
func (p *pair) panes() []int64 {
	var out []int64
	for i := range p.views {
		v := &p.views[i]
		out = v.cells.Starts(out)
		for j := range v.conns {
			for k := range v.conns[j].points {
				out = append(out, v.conns[j].points[k].at)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// resum counts anew what each open window holds.
func (p *pair) resum() {
	for i := range p.ws.List {
		w := &p.ws.List[i]
		w.Value.sum = 0
		for j := range p.views {
			var acc [window.Slots]sums
			p.views[j].spread(w, &acc)
			for k := range acc {
				w.Value.sum += acc[k].up
			}
		}
	}
}

// rank says how much a pair matters.
func (p *pair) rank() (sum uint64, last int64) {
	for i := range p.ws.List {
		w := &p.ws.List[i]
		sum = max(sum, w.Value.sum)
		last = max(last, w.Start)
	}
	return sum, last
}

// tracked is the number of connections that are kept by themselves.
func (p *pair) tracked() (n int) {
	for i := range p.views {
		n += len(p.views[i].conns)
	}
	return n
}

// openFor is how long an open connection is remembered beyond the windows.
const openFor = 2 * window.Span

// prune forgets what lies before the windows that are left, and reports
// whether nothing is left at all. now is how far windows have been closed.
func (p *pair) prune(now int64) bool {
	before := now
	if len(p.ws.List) > 0 {
		before = p.ws.List[0].Start
	}
	left := len(p.ws.List) > 0
	for i := range p.views {
		v := &p.views[i]
		v.cells.Drop(before)
		v.conns = slices.DeleteFunc(v.conns, func(c conn) bool {
			return len(c.points) == 0 && c.newest() < now-openFor || c.final && c.newest() < before
		})
		for j := range v.conns {
			v.conns[j].forget(before)
		}
		left = left || len(v.conns) > 0
	}
	p.views = slices.DeleteFunc(p.views, func(v view) bool { return v.empty() })
	return !left
}

func (p *pair) append(dst []byte) []byte {
	dst = operator.AppendString(dst, p.key.name)
	dst = operator.AppendAddr(dst, p.key.addr)
	dst = operator.AppendUint(dst, uint32(p.key.port))
	dst = operator.AppendUint(dst, p.key.standing)
	dst = operator.AppendUint(dst, p.limit)
	dst = operator.AppendAddr(dst, p.src)
	dst = operator.AppendBool(dst, p.shared)
	dst = operator.AppendUint(dst, len(p.views))
	for i := range p.views {
		v := &p.views[i]
		dst = operator.AppendString(operator.AppendString(operator.AppendString(dst, v.observer), v.iface), v.instance)
		dst = operator.AppendBool(operator.AppendUint(dst, v.layer), v.flow)
		dst = operator.AppendUint(dst, len(v.cells.List))
		for j := range v.cells.List {
			dst = v.cells.List[j].V.append(operator.AppendInt(dst, v.cells.List[j].At))
		}
		dst = operator.AppendUint(dst, len(v.conns))
		for j := range v.conns {
			dst = v.conns[j].append(dst)
		}
	}
	dst = operator.AppendUint(dst, len(p.ws.List))
	for i := range p.ws.List {
		w := &p.ws.List[i]
		dst = operator.AppendBool(operator.AppendInt(operator.AppendInt(dst, w.Start), w.End), w.Closed)
		t := &w.Value
		dst = operator.AppendBool(operator.AppendBool(dst, t.sent), t.paused)
		dst = operator.AppendUint(operator.AppendUint(operator.AppendUint(dst, t.mask), t.up), t.sum)
		dst = operator.AppendInt(operator.AppendInt(dst, t.complete), t.check)
		dst = detect.AppendEvidence(dst, t.evidence)
	}
	return dst
}

func (p *pair) load(r *operator.Reader) {
	p.key = pairKey{name: r.String(), addr: r.Addr(), port: uint16(r.Uint()), standing: standing(r.Uint())}
	p.limit, p.src, p.shared = r.Uint(), r.Addr(), r.Bool()
	for range r.Count() {
		v := view{observer: r.String(), iface: r.String(), instance: r.String(), layer: layer(r.Uint()), flow: r.Bool()}
		for range r.Count() {
			at := r.Int()
			v.cells.Of(at).load(r)
		}
		for range r.Count() {
			var c conn
			c.load(r)
			v.conns = append(v.conns, c)
		}
		p.views = append(p.views, v)
	}
	// The release before kept them in order of their appearance, and empty ones.
	p.views = slices.DeleteFunc(p.views, func(v view) bool { return v.empty() })
	slices.SortStableFunc(p.views, func(a, b view) int {
		return cmp.Or(strings.Compare(a.observer, b.observer), strings.Compare(a.iface, b.iface))
	})
	for range r.Count() {
		w := window.Window[told]{Start: r.Int(), End: r.Int(), Closed: r.Bool()}
		w.Value = told{
			sent: r.Bool(), paused: r.Bool(), mask: mask(r.Uint()), up: r.Uint(), sum: r.Uint(),
			complete: r.Int(), check: r.Int(), evidence: detect.LoadEvidence(r),
		}
		p.ws.List = append(p.ws.List, w)
	}
}
