package volume

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Bounds of a meter.
const (
	maxGauges = 4
	maxKinds  = 3
	maxOpen   = 96 // connections that are open or have just ended
	maxHellos = 32
	maxMarks  = 48
)

// The grid of a meter, in microseconds and in panes.
const (
	ten       = 10 * 60 * second
	hourTens  = int32(6)
	dayTens   = 24 * hourTens
	weekTens  = 7 * dayTens
	meterLate = hourTens // how long after its end an hour takes late records
	// notable is the hourly sum from which a source has a baseline.
	notable = 1_000_000
)

func tenOf(t int64) int32 { return int32(max(t, 0) / ten) }

func timeOfTen(at int32) int64 { return int64(at) * ten }

// meter is the state of one source: how much it sends outwards, in all and to
// whom.
type meter struct {
	d     *metered
	names *names // what the key knows of names, remembered elsewhere

	last   int64  // newest event time
	next   int64  // when Advance is wanted
	only   string // the observer where there is one: derived
	src    netip.Addr
	gauges []*gauge
	routes table[routeKey, *route]
	closed int32  // the last hour that was put into the baselines
	id     uint16 // of the source in what is shared
	grown  uint64 // since the hour was judged
	dnsAt  int64  // when it last asked a name server that is seen

	kinds  []*kind
	opened []opened
	hellos []clientHello
	marks  []hourMark
	spoken []spoken
	proof  []proof

	// What follows is derived: the observers, and views and kinds by name, so
	// that of equals it is not the first to come that is told.
	observers []string
	order     []uint8
	kindOrder []int
}

// kind is the baseline of one kind of observer: sums of different layers are
// never mixed.
type kind struct {
	name  string
	first int32 // hour of the first transfer
	// own is the series of all that is not sanctioned, nil below notable;
	// permitted that of what is.
	own, permitted *baseline.Series
	// The limit of one hour, asked for at each event: derived.
	asked int32
	with  baseline.Params
	usual baseline.Usual
}

// gauge is what one observer, for flow logs one interface, saw of the source.
type gauge struct {
	observer, iface, instance string
	kind                      uint8
	flow                      bool
	layer                     layer
	panes                     []pane10
}

// pane10 is what was sent in ten minutes.
type pane10 struct {
	at          int32
	flows, long uint32 // records, and connections of at least five minutes
	up          uint64
	permitted   uint64 // to sanctioned destinations, not in up
	largest     uint64 // record
	newest      int64
}

// opened is a connection that was seen open, by its largest counters.
type opened struct {
	id       uint64
	up, down uint64
	time     int64
	final    bool
}

type clientHello struct{ id, print uint64 }

// hourMark is an hour of which something is known before it is put into the
// baseline.
type hourMark struct {
	hour    int32
	kind    uint8
	alerted bool
	answer  baseline.State
}

// spoken is what was said of a source or a route by a rule.
type spoken struct {
	rule  uint8
	view  uint8
	mask  uint16
	score float32
	start int64

	up, down uint64
	shows    int64 // meter.shows; 0: of a state that did not keep it
}

func newMeter(d *metered) *meter { return &meter{d: d, next: detect.Never} }

// Wants implements detect.Lazy: a meter begins with the first transfer
// outwards. That an address was looked up is noted for the site, whoever asked.
func (d *metered) Wants(e *event.Event, env *detect.Env) bool {
	if e.Kind == event.KindDNS {
		d.lookUp(e, env)
	}
	if e.Kind != event.KindConn && e.Kind != event.KindFlow {
		return false
	}
	var t transfer
	return measure(e, &t) && t.up > 0 && !env.Site.Aggregator(t.src, t.time)
}

// lookUp notes the addresses of an answer.
func (d *metered) lookUp(e *event.Event, env *detect.Env) {
	hour := baseline.HourOf(e.Time)
	for i, a := range e.DNS.Addresses {
		if i < maxAnswers && outside(a, env) {
			d.shared.lookUp(hashAddr(a.Unmap()), hour)
		}
	}
}

// Apply implements detect.State.
func (m *meter) Apply(e *event.Event, env *detect.Env) {
	m.last = max(m.last, e.Time)
	m.names, _ = env.Base().(*names)
	if e.Kind != event.KindConn && e.Kind != event.KindFlow {
		m.learn(e, env)
		return
	}
	var t transfer
	if !measure(e, &t) || env.Site.Aggregator(t.src, t.time) || env.Site.BackupSource(t.src, "", t.time) {
		return
	}
	if mailPort(t.port) && env.Site.MailRelay(t.src, t.time) {
		return
	}
	if !m.src.IsValid() {
		m.src = t.src
		m.id = uint16(xxhash.Sum64String(env.Key))
	}
	g := m.gauge(e, env)
	if g < 0 {
		env.Count("views_dropped", meterInfoID, 1)
		return
	}
	m.gauges[g].layer = t.layer
	from := t.start
	if t.id != 0 && e.Kind == event.KindConn && !m.since(&t, &from) {
		env.Count("connections_untracked", meterInfoID, 1)
		return
	}
	h, own := m.nameOf(&t, e)
	r, st := m.route(&t, h, own, env)
	if st == routeOwn {
		return
	}
	if t.up > 0 {
		m.spread(g, &t, from, st == routePermitted)
		m.arm(t.time)
	}
	if r != nil {
		r.add(&t, uint8(g), from)
	}
	if t.up > 0 {
		m.judge(r, g, &t, e, env)
	}
}

// learn takes the fingerprint of a client, or that an address was looked up.
func (m *meter) learn(e *event.Event, env *detect.Env) {
	if e.Kind == event.KindDNS {
		m.dnsAt = max(m.dnsAt, e.Time)
		m.d.lookUp(e, env)
		return
	}
	if e.Kind != event.KindTLS || e.Network.Direction != event.Outbound || e.ID == "" {
		return
	}
	text := e.TLS.JA4
	if text == "" {
		text = e.TLS.JA3
	}
	if text == "" {
		return
	}
	h := xxhash.Sum64String(text) ^ 0x6a61
	m.d.shared.used(h, uint16(xxhash.Sum64String(env.Key)), baseline.HourOf(e.Time))
	if len(m.hellos) == maxHellos {
		m.hellos = slices.Delete(m.hellos, 0, 1)
	}
	m.hellos = append(m.hellos, clientHello{connID(e.ID), h})
}

func hashAddr(a netip.Addr) uint64 {
	raw := a.As16()
	return xxhash.Sum64(raw[:])
}

// wasLookedUp reports whether anybody whom the partition sees has looked an
// address up of late.
func (m *meter) wasLookedUp(a netip.Addr, t int64) bool {
	return m.d.shared.lookedUp(hashAddr(a), baseline.HourOf(t))
}

// nameOf returns how the destination of a transfer was called, and whether
// that is the connection's own word.
func (m *meter) nameOf(t *transfer, e *event.Event) (h *host, own bool) {
	if t.id != 0 {
		if h = m.names.ofConn(t.id); h != nil {
			return h, true
		}
	}
	if e.Destination.Domain != "" && e.Network.Direction == event.Outbound {
		if h = m.names.named(e.Destination.Domain); h != nil {
			return h, true
		}
	}
	if e.Kind == event.KindFlow {
		if h = m.names.ofPorts(e); h != nil {
			return h, true
		}
	}
	return m.names.ofAddr(t.dst, t.start, t.time), false
}

// gauge returns the view of an event's observer and interface, −1 where it
// would be one too many.
func (m *meter) gauge(e *event.Event, env *detect.Env) int {
	name, seen := env.Observer(e), viewed(e)
	for i, g := range m.gauges {
		if g.observer == name && g.iface == seen.Interface {
			return i
		}
	}
	if len(m.gauges) == maxGauges {
		return -1
	}
	typ, _, _ := strings.Cut(name, "/")
	k := slices.IndexFunc(m.kinds, func(k *kind) bool { return k.name == typ })
	if k < 0 {
		if len(m.kinds) == maxKinds {
			return -1
		}
		m.kinds = append(m.kinds, &kind{name: strings.Clone(typ), first: max(baseline.HourOf(e.Time), 1)})
		k = len(m.kinds) - 1
	}
	m.gauges = append(m.gauges, &gauge{
		observer: name, iface: strings.Clone(seen.Interface), instance: strings.Clone(seen.InstanceID), kind: uint8(k), flow: e.Kind == event.KindFlow,
	})
	m.derive()
	return len(m.gauges) - 1
}

// derive makes what follows from the gauges.
func (m *meter) derive() {
	m.observers, m.order, m.kindOrder = m.observers[:0], m.order[:0], m.kindOrder[:0]
	for i, g := range m.gauges {
		if !slices.Contains(m.observers, g.observer) {
			m.observers = append(m.observers, g.observer)
		}
		m.order = append(m.order, uint8(i))
	}
	m.only = only(m.observers)
	for i := range m.kinds {
		m.kindOrder = append(m.kindOrder, i)
	}
	slices.SortFunc(m.order, func(a, b uint8) int {
		x, y := m.gauges[a], m.gauges[b]
		return cmp.Or(strings.Compare(x.observer, y.observer), strings.Compare(x.iface, y.iface))
	})
	slices.SortFunc(m.kindOrder, func(a, b int) int { return strings.Compare(m.kinds[a].name, m.kinds[b].name) })
}

// since turns the counters of a connection that may be seen again into what
// came since it was seen last, and moves from there. It is false where there is
// no room: such a connection counts when it ends.
func (m *meter) since(t *transfer, from *int64) bool {
	for i := range m.opened {
		o := &m.opened[i]
		if o.id != t.id {
			continue
		}
		up, down := t.up, t.down
		t.up, t.down = up-min(up, o.up), down-min(down, o.down)
		*from = max(*from, min(o.time, t.time))
		o.up, o.down, o.time = max(o.up, up), max(o.down, down), max(o.time, t.time)
		o.final = o.final || !t.open
		return true
	}
	if !t.open {
		return true
	}
	m.opened = slices.DeleteFunc(m.opened, func(o opened) bool {
		return o.final && o.time < m.last-15*60*second || o.time < m.last-24*3600*second
	})
	if len(m.opened) >= maxOpen {
		return false
	}
	m.opened = append(m.opened, opened{t.id, t.up, t.down, t.time, false})
	return true
}

// arm makes sure that the hour of an event is closed.
func (m *meter) arm(t int64) {
	if hour := tenOf(t) / hourTens; hour > m.closed {
		m.next = min(m.next, closes(hour))
	}
}

// closes is when an hour takes no more records.
func closes(hour int32) int64 { return timeOfTen((hour+1)*hourTens + meterLate) }

// Next implements detect.State.
func (m *meter) Next() detect.Timer {
	if m.next == detect.Never {
		return detect.NoTimer
	}
	return detect.Timer{Observer: m.only, At: m.next}
}

// Advance implements detect.State: hours end. Where all sources have closed,
// what there is stays: another instance may go on.
func (m *meter) Advance(env *detect.Env) {
	at := m.next
	over := true
	for _, o := range m.observers {
		over = over && env.Low(o, event.KindUnknown) == detect.Never
	}
	if hour, ok := m.oldestHour(); !over && ok && closes(hour) > at {
		m.next = closes(hour)
		m.questionsCame(env)
		return
	}
	m.lastWord(at, env)
	if over {
		return
	}
	m.next = detect.Never
	for {
		hour, ok := m.oldestHour()
		if !ok {
			break
		}
		if closes(hour) > at {
			m.next = closes(hour)
			break
		}
		m.closeHour(hour, env)
	}
	m.forget(at)
}

// forget drops what is over at a time.
func (m *meter) forget(at int64) {
	for _, r := range m.sortedRoutes() {
		r.fold(tenOf(at))
		if r.last < tenOf(at)-weekTens {
			m.routes.del(r.key)
		}
	}
	m.spoken = slices.DeleteFunc(m.spoken, func(s spoken) bool { return s.start < at-2*24*3600*second })
	m.proof = slices.DeleteFunc(m.proof, func(p proof) bool { return p.at < tenOf(at)-dayTens })
}

// Expired implements detect.State: a baseline is worth keeping for as long as
// it remembers. That all sources have closed says nothing about time.
func (m *meter) Expired(low int64) bool {
	if len(m.gauges) == 0 && len(m.kinds) == 0 {
		return low == detect.Never || m.last+24*3600*second < low
	}
	return low != detect.Never && m.last+baseline.Days*24*3600*second < low
}
