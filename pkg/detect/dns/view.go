package dns

import (
	"net/netip"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Bounds of the domains of one client. A resolver of the site asks for all.
const (
	maxDomains         = 1024
	maxDomainsResolver = 8192
	maxWithEvidence    = 64
)

// view is what one observer shows of one client.
type view struct {
	// What traffic needs comes first: most clients have nothing else.

	contacts []contact
	// connected are the panes in which traffic of the client was seen: bit i
	// is the pane latest−i.
	connected uint64
	latest    int64                // pane
	newest    int64                // event time
	wake      int64                // when settle is wanted
	hours     detect.Hours[domain] // by registered domain
	shards    detect.Hours[shard]  // of the client as a whole, subject ""

	entries int // of all samples
	lookups []lookup
	answers []uint32 // the addresses of lookups, hashed, one after the other
	blind   int64    // up to where contacts were dropped

	client netip.Addr
	realm  string

	panes []pane // at most one of those whose numbers are the same modulo panesKept

	days []day // in order of their beginning
}

// pane counts what a client as a whole does, in one pane of event time: the
// first look-ups of each domain only, so that one domain has little weight.
type pane struct {
	at              int64 // number of the pane
	asked, served   uint32
	looked, reached uint32
}

// panesKept is how far back panes are kept: a window, and what a stream may be
// ahead of another.
const panesKept = 32

// pane returns the counters of an event time. An older pane gives way.
func (v *view) pane(t int64) *pane {
	at := t / detect.HourPane
	for i := len(v.panes) - 1; i >= 0; i-- {
		p := &v.panes[i]
		if p.at == at {
			return p
		}
		if (p.at-at)%panesKept == 0 {
			*p = pane{at: at}
			return p
		}
	}
	v.panes = append(v.panes, pane{at: at})
	return &v.panes[len(v.panes)-1]
}

// company sums the panes of a window.
func (v *view) company(h *detect.Hour[domain]) (c company) {
	for i := range v.panes {
		p := &v.panes[i]
		if at := p.at * detect.HourPane; at < h.Start || at >= h.End {
			continue
		}
		c.asked += uint64(p.asked)
		c.served += uint64(p.served)
		c.looked += uint64(p.looked)
		c.reached += uint64(p.reached)
	}
	return c
}

// sawTraffic notes that the observer shows traffic of the client.
func (v *view) sawTraffic(t int64) {
	at := t / detect.HourPane
	switch d := at - v.latest; {
	case v.connected == 0 || d >= 64:
		v.connected, v.latest = 1, at
	case d >= 0:
		v.connected, v.latest = v.connected<<d|1, at
	case d > -64:
		v.connected |= 1 << -d
	}
}

// observed reports whether traffic of the client was seen during a window: a
// client without any is not one whose contacts are seen.
func (v *view) observed(h *detect.Hour[domain]) bool {
	for at := h.Start / detect.HourPane; at < h.End/detect.HourPane; at++ {
		if d := v.latest - at; d >= 0 && d < 64 && v.connected>>d&1 != 0 {
			return true
		}
	}
	return false
}

// question takes a question that is not exempt.
func (s *tunnelState) question(v *detect.View[view], q *question, e *event.Event, direct bool, env *detect.Env) {
	w := &v.Value
	bound := maxDomains
	if env.Site.Resolver(w.client, e.Time) {
		bound = maxDomainsResolver
	}
	h := w.hours.Find(q.domain, e.Time)
	if h == nil {
		if w.hours.Len() >= bound {
			s.shed(v, env)
		}
		low := env.Low(v.Observer, event.KindDNS)
		if h, _ = w.hours.AtKept(q.domain, e.Time, low, s.of.texts.keep); h == nil {
			env.Count("late_dropped", TunnelID, 1)
			return
		}
		w.shards.At("", e.Time, low)
	}
	before := h.Value.entries()
	if full := h.Value.full; full != nil {
		full.limit = maxSample
		if w.entries > maxEntries {
			full.limit = minSample
		}
	}
	a := ask(q, e, direct, &s.of.limits)
	x := s.of.take(h, &a)
	company := x.queries <= companyNames
	if company {
		p := w.pane(e.Time)
		p.asked++
		if outcome(e)&(gave|none) != 0 {
			p.served++
		}
	}
	wake := w.wake
	if w.await(q, h, company, e) {
		env.Count("lookups_dropped", TunnelID, 1)
	}
	if !env.ShowsAny(v.Observer, contactKinds[:]) {
		// Nothing would be decided: it waits for the end of the window.
		w.wake = wake
	}
	s.judge(v, h, x, e, env)
	s.of.settle(h, x)
	w.day(h.Subject, e.Time).witness(e, env)
	w.entries += h.Value.entries() - before
}

// shed makes room for domains: those with the fewest names go. What was said
// of a domain that goes is said for a last time.
func (s *tunnelState) shed(v *detect.View[view], env *detect.Env) {
	w := &v.Value
	n := w.hours.Shed(func(h *detect.Hour[domain]) uint64 {
		x := s.of.open(h)
		return uint64(x.emissions)<<48 + x.scale(x.tally.names)<<16 + min(x.data(), 1<<16-1)
	}, func(h *detect.Hour[domain]) {
		x := h.Value.full
		if x == nil {
			return // nothing was said of it
		}
		if x.emissions > 0 {
			s.send(v, h, x, &x.told, env)
		}
		w.leaveShard(h, x)
		w.entries -= x.entries()
	})
	env.Count("domains_evicted", TunnelID, int64(n))
}

// traffic notes what the client sent to whom, for the sign never_contacted.
func (s *tunnelState) traffic(e *event.Event, env *detect.Env) {
	if !tells(e) {
		return
	}
	v := s.views.Of(env.Observer(e))
	if v == nil {
		env.Count("observers_dropped", TunnelID, 1)
		return
	}
	w := v.Value.begin()
	start := e.Time
	if e.Start != 0 && e.Start < e.Time {
		start = e.Start
	}
	w.newest = max(w.newest, e.Time)
	if !e.Future {
		w.sawTraffic(e.Time)
	}
	if e.Network.Protocol == "dns" || isDNSPort(e.Destination.Port.Or(0)) {
		return
	}
	w.contacted(hashAddr(e.Destination.IP.Unmap()), start, e.Time)
	if name := e.Destination.Domain; name != "" && (e.Kind == event.KindTLS || e.Kind == event.KindHTTP) {
		w.contacted(hashName(strings.TrimSuffix(name, ".")), start, e.Time)
	}
}

func isDNSPort(p uint64) bool { return p == 53 || p == 853 || p == 5353 || p == 5355 || p == 137 }

// begin makes a view ready if it is new.
func (v *view) begin() *view {
	if v.hours.Grace == 0 {
		v.hours.Grace = settleAfter
		v.shards.Grace = detect.HourSpan + settleAfter
		v.wake = detect.Never
	}
	return v
}

// contactLow is how far everything that would show a contact is complete, 0
// where nothing of the kind is known of.
func contactLow(observer string, env *detect.Env) int64 {
	low, shown := detect.Never, false
	for _, k := range contactKinds {
		l := env.Low(observer, k)
		if l == 0 && !env.Shows(observer, k) {
			continue
		}
		low, shown = min(low, l), true
	}
	if !shown {
		return 0
	}
	return min(low, env.Low(observer, event.KindDNS))
}

// advance settles look-ups and ends windows that are complete.
func (s *tunnelState) advance(v *detect.View[view], env *detect.Env) {
	w := v.Value.begin()
	for _, h := range w.settle(contactLow(v.Observer, env)) {
		h.Value.unmark()
		x := s.of.open(h)
		before := h.Value.entries()
		s.judge(v, h, x, nil, env)
		s.of.settle(h, x)
		w.entries += h.Value.entries() - before
	}
	low := env.Low(v.Observer, event.KindUnknown)
	if before := w.hours.Len(); before > 0 {
		w.hours.Due(low, func(h *detect.Hour[domain]) { s.end(v, h, env) })
		if w.hours.Len() < before {
			w.countEntries()
		}
	}
	w.forget(low)
	w.shards.Due(low, func(h *detect.Hour[shard]) { s.endShard(v, h, env) })
	if low != detect.Never && w.wake <= low {
		// Nothing shows contacts yet, and most likely nothing ever will: a
		// sensor with a DNS log only is not asked again and again for each of
		// its clients. The next contact or question, or the end of the window,
		// settles what has become known meanwhile.
		w.wake = detect.Never
	}
}

// countEntries counts what the samples of all windows hold.
func (v *view) countEntries() {
	v.entries = 0
	for h := range v.hours.All {
		v.entries += h.Value.entries()
	}
}

// size is about how many bytes a view takes beyond itself.
func (v *view) size() int {
	n := v.daysSize() + v.hours.Size((*domain).size) + len(v.realm) + 40*cap(v.lookups) + 4*cap(v.answers) + 24*(cap(v.contacts)+cap(v.panes))
	return n + v.shards.Size(func(s *shard) int { return 48*cap(s.ended) + 200*cap(s.evidence) })
}

func (v *view) next() int64 { return min(v.wake, v.hours.Next(), v.shards.Next()) }

// idle reports whether the view holds nothing that is worth keeping.
func (v *view) idle(low int64) bool {
	return v.hours.Len() == 0 && v.shards.Len() == 0 && v.newest+2*detect.HourSpan < low && len(v.days) == 0 ||
		v.newest+daySpan < low
}

func (v *view) daysSize() (n int) {
	for i := range v.days {
		d := &v.days[i]
		n += 160 + len(d.domain) + 8*cap(d.names)
		for j := range d.evidence {
			n += len(d.evidence[j].Record) + 128
		}
	}
	return n
}
