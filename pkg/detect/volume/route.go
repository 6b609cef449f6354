package volume

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
)

// Bounds of a route.
const (
	maxRoutes  = 64
	routeBytes = 16 << 10 // a transfer from which a destination is worth a route
	fastBytes  = 1 << 20  // a transfer from which minutes are kept
	maxMinutes = 90
	maxCells   = 512
)

// standing of a route: what the site says of the destination.
type routeStanding uint8

const (
	routePlain routeStanding = iota
	// routePermitted is sanctioned, and for this source.
	routePermitted
	// routeOthers is sanctioned for others only.
	routeOthers
	// routeOwn is the site's own: nothing is kept.
	routeOwn
)

// routeKey is a destination: a registered domain, or, where each name under it
// is another customer's, the name; else the address.
type routeKey struct {
	name string
	addr netip.Addr
	mail bool // at the ports of mail servers
}

func (k routeKey) compare(o routeKey) int {
	return cmp.Or(strings.Compare(k.name, o.name), k.addr.Compare(o.addr), compareBool(k.mail, o.mail))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func (k routeKey) dest() string {
	if k.name != "" {
		return k.name
	}
	return k.addr.String()
}

// route is what a source sends to one destination.
type route struct {
	key      routeKey
	tag      uint64 // in what is shared
	standing routeStanding
	limit    uint64 // of a day, where a sanction has one
	class    class
	tenant   string
	// looked says that an address of it was looked up, seen that a name was
	// given by the client.
	looked, named bool
	hello         uint64 // fingerprint of the client
	first, last   int32
	to            peak
	cells         []routeCell
	minutes       []minute
	proof         []proof
	spoken        []spoken
	// all is no less than what any view holds, grown what came since the route
	// was judged, touched the first pane of what came since hours were over.
	all, grown uint64
	touched    int32
}

// routeCell is what one view saw in ten minutes; later in an hour, then in six.
type routeCell struct {
	at       int32
	view     uint8
	open     bool // of a connection that goes on
	conns    uint32
	up, down uint64
	newest   int64
}

// minute is what one view saw in a minute, of fast transfers.
type minute struct {
	at   int32
	view uint8
	up   uint64
}

// route finds or makes the route of a transfer. It is nil where there is none
// worth keeping.
func (m *meter) route(t *transfer, h *host, own bool, env *detect.Env) (*route, routeStanding) {
	key := routeKey{addr: t.dst}
	name, tenant, class := "", "", classNone
	if h != nil {
		if h.isOwn(env.Site, t.time) {
			return nil, routeOwn
		}
		name, tenant, class = h.name, h.tenant, h.class
		key = routeKey{name: h.dest}
	}
	if key.mail = mailPort(t.port); key.mail {
		class = classMail
	}
	tag := key.tag()
	if t.up > 0 {
		m.d.shared.used(tag, m.id, baseline.HourOf(t.time))
	}
	r, _ := m.routes.get(key)
	if r == nil {
		st, limit := standingOf(t, name, env)
		// Of a flow's two records the answer may come first.
		if t.up < routeBytes && (t.up > 0 || t.down < routeBytes) {
			return nil, st
		}
		if m.routes.len() >= maxRoutes {
			m.evictRoutes(env)
		}
		r = &route{key: key, tag: tag, standing: st, limit: limit, tenant: tenant, class: class, first: tenOf(t.time)}
		m.routes.set(key, r)
	} else {
		r.standing, r.limit = standingOf(t, name, env)
	}
	r.named = r.named || own
	if !r.looked && t.up > 0 {
		r.looked = m.wasLookedUp(t.dst, t.time)
	}
	for i := range m.hellos {
		if t.id != 0 && m.hellos[i].id == t.id {
			r.hello = m.hellos[i].print
		}
	}
	to := peak{up: t.up, addr: t.dst, port: t.port, channel: t.channel, name: name}
	r.to.merge(to)
	return r, r.standing
}

func (k routeKey) tag() uint64 {
	if k.name != "" {
		return xxhash.Sum64String(k.name)
	}
	return hashAddr(k.addr)
}

// standingOf says what the site declares of a destination.
func standingOf(t *transfer, name string, env *detect.Env) (routeStanding, uint64) {
	if c, ok := env.Site.Sanctioned(name, t.dst, t.src, "", t.time); ok {
		return routePermitted, c.DailyBytes
	}
	if env.Site.SanctionedForOthers(name, t.dst, t.time) {
		return routeOthers, 0
	}
	return routePlain, 0
}

// evictRoutes makes room: the quarter to which least was sent goes, of equals
// the longest silent.
func (m *meter) evictRoutes(env *detect.Env) {
	list := m.sortedRoutes()
	slices.SortStableFunc(list, func(a, b *route) int { return cmp.Or(cmp.Compare(a.all, b.all), cmp.Compare(a.last, b.last)) })
	for _, r := range list[:maxRoutes/4] {
		m.routes.del(r.key)
	}
	env.Count("routes_evicted", meterInfoID, maxRoutes/4)
}

// sortedRoutes are the routes in the order of their keys.
func (m *meter) sortedRoutes() []*route {
	list := make([]*route, 0, m.routes.len())
	for _, r := range m.routes.all {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *route) int { return a.key.compare(b.key) })
	return list
}

// add counts a transfer at the time of its record.
func (r *route) add(t *transfer, view uint8, from int64) {
	at := tenOf(t.time)
	r.last = max(r.last, at)
	if r.touched == 0 || at < r.touched {
		r.touched = at
	}
	if len(r.cells) >= maxCells {
		r.fold(r.last) // no mark has come for long
	}
	c := r.cell(at, view)
	c.up, c.down = c.up+t.up, c.down+t.down
	if t.up > 0 {
		c.conns++
	}
	c.open = t.open
	c.newest = max(c.newest, t.time)
	r.all += t.up
	if t.up >= fastBytes {
		r.run(t, view, from)
	}
}

// cell returns the cell of a time and view, and makes it.
func (r *route) cell(at int32, view uint8) *routeCell {
	i := len(r.cells)
	for i > 0 && (r.cells[i-1].at > at || r.cells[i-1].at == at && r.cells[i-1].view >= view) {
		i--
	}
	if i == len(r.cells) || r.cells[i].at != at || r.cells[i].view != view {
		r.cells = slices.Insert(r.cells, i, routeCell{at: at, view: view})
	}
	return &r.cells[i]
}

// bucket is where what came at a time is kept when the newest is as given. Until
// the last hour of a day is over, windows that end in its first are looked at
// again, which begin a day before: what they say must not change meanwhile.
func bucket(at, newest int32) int32 {
	switch age := newest - at; {
	case age <= 2*hourTens:
		return at
	case age <= 2*(dayTens+hourTens):
		return at - at%hourTens
	default:
		return at - at%(6*hourTens)
	}
}

// fold makes old cells coarse and drops those older than a week.
func (r *route) fold(newest int32) {
	if len(r.cells) == 0 || r.cells[0].at > newest-2*hourTens && r.cells[0].at > newest-weekTens {
		return
	}
	old := r.cells
	kept := make([]routeCell, 0, len(old))
	r.cells = kept
	dropped := uint64(0)
	for i := range old {
		c := &old[i]
		if c.at <= newest-weekTens-6*hourTens {
			dropped += c.up
			continue
		}
		at := bucket(c.at, newest)
		if n := len(r.cells); n > 0 && r.cells[n-1].at == at && r.cells[n-1].view == c.view {
			x := &r.cells[n-1]
			x.take(c)
			continue
		}
		x := r.cell(at, c.view)
		x.take(c)
	}
	r.all -= min(r.all, dropped)
	r.minutes = slices.DeleteFunc(r.minutes, func(x minute) bool { return x.at/10 < newest-9 })
}

func (c *routeCell) take(o *routeCell) {
	c.up, c.down, c.conns, c.open = c.up+o.up, c.down+o.down, c.conns+o.conns, o.open
	c.newest = max(c.newest, o.newest)
}

// total is what one view holds of a span of panes.
type total struct {
	up, down uint64
	conns    uint32
	from, to int32 // first and last pane with data
	view     uint8
	open     bool
	newest   int64
}

// sum adds what a view saw after one pane and up to another.
func (r *route) sum(view uint8, after, to int32) (s total) {
	s.view = view
	for i := range r.cells {
		c := &r.cells[i]
		if c.view != view || c.at <= after || c.at > to {
			continue
		}
		if s.conns == 0 && s.down == 0 {
			s.from = c.at
		}
		s.to = c.at
		s.up, s.down, s.conns = s.up+c.up, s.down+c.down, s.conns+c.conns
		s.open = c.open
		s.newest = max(s.newest, c.newest)
	}
	return s
}

// most is the largest sum of the views, of equals the first: they may have seen
// the same bytes.
func (r *route) most(views []uint8, after, to int32) (best total) {
	for i, v := range views {
		if s := r.sum(v, after, to); i == 0 || s.up > best.up {
			best = s
		}
	}
	return best
}

// busiest is the hour that ends within one of the clock and in which most was
// sent.
func (r *route) busiest(views []uint8, hour int32) (best total) {
	last := int32(-1)
	for i := range r.cells {
		if at := r.cells[i].at; at != last && at/hourTens == hour {
			last = at
			if s := r.most(views, at-hourTens, at); s.up > best.up || best.newest == 0 {
				best = s
			}
		}
	}
	return best
}

// run adds a fast transfer to the minutes over which it went.
func (r *route) run(t *transfer, view uint8, from int64) {
	const min1 = 60 * second
	from = min(from, t.time)
	first, last := int32(max(from, 0)/min1), int32(max(t.time, 0)/min1)
	whole, left := t.time-from, t.up
	for p := last; p >= max(first, last-maxMinutes+1); p-- {
		share := left
		if begin := int64(p) * min1; p > first {
			share = min(left, mulDiv(t.up, uint64(min(t.time, begin+min1)-begin), uint64(whole)))
		}
		left -= share
		i, have := slices.BinarySearchFunc(r.minutes, minute{at: p, view: view}, func(a, b minute) int {
			return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.view, b.view))
		})
		if !have {
			r.minutes = slices.Insert(r.minutes, i, minute{at: p, view: view})
		}
		r.minutes[i].up += share
	}
	if n := len(r.minutes) - maxMinutes*maxGauges; n > 0 {
		r.minutes = slices.Delete(r.minutes, 0, n)
	}
}

// sustained is the longest time for which a view shows at least so many bytes
// in each minute; minutes at its ends count in part.
func (r *route) sustained(view uint8, hour int32, perMinute float64) (seconds float64, up uint64, from, to int32) {
	var run float64
	var sum uint64
	var begin, before int32
	var edge float64
	for i := range r.minutes {
		x := &r.minutes[i]
		if x.view != view {
			continue
		}
		full := float64(x.up) >= 0.95*perMinute
		switch {
		case run > 0 && x.at == before+1 && full:
			run, sum = run+60, sum+x.up
		case full:
			run, sum, begin = 60+edge, x.up, x.at
			if x.at != before+1 {
				run = 60
			}
		}
		tail := 0.0
		if !full {
			if run > 0 && x.at == before+1 {
				tail = 60 * float64(x.up) / perMinute
			} else {
				run = 0
			}
		}
		if total := run + tail; run > 0 && total > seconds && x.at/60 == hour {
			seconds, up, from, to = total, sum, begin, x.at
		}
		edge = 0
		if !full {
			run = 0
			edge = 60 * float64(x.up) / perMinute
		}
		before = x.at
	}
	return seconds, up, from, to
}
