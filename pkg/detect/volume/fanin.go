package volume

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unsafe"

	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// Thresholds of internal-fan-in, in the order of its Info.
const (
	fiBytes = iota
	fiFactor
	fiPeers
)

// Bounds of a collector.
const (
	collectBytes = 64 << 10 // a transfer from which it counts
	maxCollected = 512      // cells of all views
)

var fanInInfo = detect.Info{
	ID: "internal-fan-in", Role: signal.RoleStaging, Kinds: []event.Kind{event.KindFlow, event.KindConn}, Alone: true,
	Default: site.Setting{Mode: signal.ModeAlert, Floor: 2, Alert: 4}, Technique: []string{"T1074.002", "T1039"},
	Thresholds: []detect.Threshold{
		{Name: "bytes", Default: 50e6, Unit: "bytes", Doc: "received within the hour from internal peers: 2 points, a weak signal, where they are many or it is a share"},
		{Name: "factor", Default: 5, Unit: "times the p95", Doc: "of what the host usually receives within an hour: 2 points"},
		{Name: "peers", Default: 3, Unit: "peers", Doc: "at least so many, or the bytes over NFS or SMB"},
	},
}

type fanIn struct{ tuned }

// NewFanIn returns the detector internal-fan-in.
func NewFanIn() detect.Detector {
	d := &fanIn{tuned{what: &fanInInfo}}
	d.Configure(site.Default())
	return d
}

// Base implements detect.Based: no names are wanted.
func (d *fanIn) Base() detect.Detector { return newNameKeeper() }

// New implements detect.Detector.
func (d *fanIn) New() detect.State { return &collector{d: d, next: detect.Never} }

// Wants implements detect.Lazy.
func (d *fanIn) Wants(e *event.Event, env *detect.Env) bool {
	_, ok := received(e, env)
	return ok
}

// receipt is what one event says of data that an internal host received from
// another.
type receipt struct {
	host, peer netip.Addr
	bytes      uint64
	share      bool
}

// received reads an event between two internal hosts. Each is told to the one
// that began it and, from a megabyte on, as a mirror to its peer. A flow record
// tells one direction: its receiver is the mirror's key.
func received(e *event.Event, env *detect.Env) (r receipt, ok bool) {
	if e.Network.Direction != event.Internal || e.Flow.Action == "reject" {
		return r, false
	}
	mirror := e.Role == event.RoleMirror
	switch {
	case mirror:
		r = receipt{host: e.Destination.IP.Unmap(), peer: e.Source.IP.Unmap(), bytes: e.Source.Bytes.Or(0)}
	case e.Kind == event.KindFlow:
		return r, false
	default:
		r = receipt{host: e.Source.IP.Unmap(), peer: e.Destination.IP.Unmap(), bytes: e.Destination.Bytes.Or(0)}
	}
	if r.bytes < collectBytes || !r.host.IsValid() || env.Site.Aggregator(r.host, e.Time) || env.Site.BackupSource(r.host, "", e.Time) {
		return r, false
	}
	for _, p := range [...]uint64{e.Source.Port.Or(0), e.Destination.Port.Or(0)} {
		r.share = r.share || p == 445 || p == 2049 || p == 139
	}
	return r, true
}

// leaving ends the name of the view of what senders' interfaces report.
const leaving = " (egress)"

// observerOf returns the observer of a view.
func observerOf(view string) string { return strings.TrimSuffix(view, leaving) }

// collector is the state of one host: what it received from whom.
type collector struct {
	d      *fanIn
	host   netip.Addr
	first  int32
	closed int32
	last   int64
	series *baseline.Series
	views  []string
	layer  layer
	cells  []collected
	proof  []proof
	spoken []spoken
	next   int64
}

// collected is what one view saw come from a peer in ten minutes.
type collected struct {
	at     int32
	view   uint8
	share  bool
	peer   netip.Addr
	bytes  uint64
	newest int64
}

func (c *collected) compare(o *collected) int {
	return cmp.Or(cmp.Compare(c.at, o.at), cmp.Compare(c.view, o.view), c.peer.Compare(o.peer), compareBool(c.share, o.share))
}

// Apply implements detect.State.
func (c *collector) Apply(e *event.Event, env *detect.Env) {
	r, ok := received(e, env)
	if !ok {
		return
	}
	if !c.host.IsValid() {
		c.host, c.first = r.host, max(baseline.HourOf(e.Time), 1)
	}
	c.first = min(c.first, max(baseline.HourOf(e.Time), 1))
	c.last = max(c.last, e.Time)
	// Both interfaces report a transfer between two of our own (formats.md
	// §1.3): what the sender's says is a view of its own.
	name := env.Observer(e)
	if e.Flow.Direction == "egress" {
		name += leaving
	}
	view := slices.Index(c.views, name)
	if view < 0 {
		if len(c.views) == maxGauges {
			env.Count("views_dropped", fanInInfo.ID, 1)
			return
		}
		c.views = append(c.views, name)
		view = len(c.views) - 1
	}
	if e.Network.Layer == event.LayerIP {
		c.layer = onIP
	}
	x := collected{at: tenOf(e.Time), view: uint8(view), share: r.share, peer: r.peer, bytes: r.bytes, newest: e.Time}
	i, have := slices.BinarySearchFunc(c.cells, x, func(a, b collected) int { return a.compare(&b) })
	switch {
	case have:
		c.cells[i].bytes += r.bytes
		c.cells[i].newest = max(c.cells[i].newest, e.Time)
	case len(c.cells) >= maxCollected:
		env.Count("peers_dropped", fanInInfo.ID, 1)
		return
	default:
		c.cells = slices.Insert(c.cells, i, x)
	}
	hour := x.at / hourTens
	if hour > c.closed {
		c.next = min(c.next, closes(hour))
	}
	if r.bytes >= 1<<20 {
		c.proof = keepProof(c.proof, r.bytes, x.at, e, env, 6)
	}
	c.judge(hour, e, env)
	if next := hour + 1; next*hourTens < x.at+hourTens && c.cells[len(c.cells)-1].at/hourTens >= next {
		c.judge(next, e, env)
	}
}

// pile is what a view saw in an hour.
type pile struct {
	bytes, share uint64
	peers        int
	from         int32
	newest       int64
}

// hourTo sums the hour of a view that ends with a pane.
func (c *collector) hourTo(view uint8, at int32) (p pile) {
	var peers []netip.Addr
	for i := range c.cells {
		x := &c.cells[i]
		if x.view != view || x.at > at || x.at <= at-hourTens {
			continue
		}
		if p.newest == 0 {
			p.from = x.at
		}
		p.bytes += x.bytes
		if x.share {
			p.share += x.bytes
		}
		p.newest = max(p.newest, x.newest)
		if !slices.Contains(peers, x.peer) {
			peers = append(peers, x.peer)
		}
	}
	p.peers = len(peers)
	return p
}

// judge looks at the hours that end in one of the clock. e is nil when the hour
// is over.
func (c *collector) judge(hour int32, e *event.Event, env *detect.Env) {
	on := site.Subject{Address: c.host}
	start := timeOfTen(hour * hourTens)
	l := c.d.limits(env, on, start)
	var sum uint64 // of the hour and the one before, whoever saw it
	for i := range c.cells {
		if h := c.cells[i].at / hourTens; h == hour || h == hour-1 {
			sum += c.cells[i].bytes
		}
	}
	if float64(sum) < l[fiBytes] && !spoke(c.spoken, 0, start) {
		return
	}
	var best pile
	var view uint8
	for v := range c.views {
		for at := hour * hourTens; at < (hour+1)*hourTens; at++ {
			if p := c.hourTo(uint8(v), at); p.bytes > best.bytes || p.bytes == best.bytes && p.bytes > 0 && c.views[v] < c.views[view] {
				best, view = p, uint8(v)
			}
		}
	}
	f := reading{view: view, start: start, up: best.bytes, first: timeOfTen(best.from), newest: best.newest, conns: uint32(best.peers)}
	many := float64(best.peers) >= l[fiPeers]
	share := float64(best.share) >= l[fiBytes]
	if float64(best.bytes) >= l[fiBytes] && (many || share) {
		f.point(ptVolume, "bytes_from_inside", 2, float64(best.bytes), l[fiBytes])
		f.usual = c.usual(hour)
		if limit := l[fiFactor] * float64(f.usual.P95); float64(best.bytes) >= limit {
			f.point(ptOwn, "above_own_p95", 2, float64(best.bytes), limit)
		}
	}
	f.learning = hour-c.first < 24
	c.say(&f, &best, on, e, env)
}

// usual is what the host usually receives within an hour.
func (c *collector) usual(hour int32) baseline.Usual {
	s := c.series
	if s == nil {
		s = &baseline.Series{}
		s.Begin(c.first)
	}
	return s.Usual(hour, baseline.Params{Factor: 1, Floor: notable})
}

func (c *collector) say(f *reading, p *pile, on site.Subject, e *event.Event, env *detect.Env) {
	at := slices.IndexFunc(c.spoken, func(s spoken) bool { return s.start == f.start })
	switch {
	case at < 0:
		if f.score == 0 || f.score < env.Setting(on, f.start).Floor {
			return
		}
		c.spoken = append(c.spoken, spoken{start: f.start})
		at = len(c.spoken) - 1
	case e == nil:
		if s := &c.spoken[at]; s.mask == f.mask && s.up == f.up && s.down == p.share {
			return
		}
	case f.score < float64(c.spoken[at].score) || f.score == float64(c.spoken[at].score) && (f.score == 0 || f.up < 2*c.spoken[at].up):
		return
	}
	c.spoken[at] = spoken{view: f.view, mask: f.mask, score: float32(f.score), start: f.start, up: f.up, down: p.share}
	realm, _, _ := strings.Cut(env.Key, "|")
	kind, _, _ := strings.Cut(c.views[f.view], "/")
	s := &signal.Signal{
		Start: f.start, End: f.start + 3600*second, First: f.first, Time: f.newest, Score: f.score, Channel: "internal",
		Entity: detect.AddressEntity(realm, c.host), Destination: signal.Endpoint{IP: c.host.String()}, Bytes: new(f.up), Layer: c.layer.String(),
		Points: slices.Clone(f.points[:f.n]), Severity: signal.Low, Confidence: "low", Observers: []string{kind},
		Values: []signal.Value{
			{Name: "peers", Value: float64(p.peers)},
			{Name: "bytes_over_shares", Value: float64(p.share)},
			{Name: "p95", Value: float64(f.usual.P95)},
			{Name: "hours", Value: float64(f.usual.Samples)},
		},
	}
	if f.learning {
		s.Mode = signal.ModeShadow
	}
	if f.score >= 4 {
		s.Severity, s.Confidence = signal.Medium, "medium"
	}
	if s.Points == nil {
		s.Points = []signal.Point{}
	}
	if s.First == 0 {
		s.First, s.Time = f.start, f.start
	}
	for i := range c.proof {
		if x := &c.proof[i]; x.at >= tenOf(f.first) && x.at <= tenOf(f.newest) {
			s.Evidence = append(s.Evidence, x.ev)
		}
	}
	if len(s.Evidence) == 0 && e != nil {
		s.Evidence = append(s.Evidence, env.Evidence(e))
	}
	over := ""
	if p.share > 0 {
		over = fmt.Sprintf(", %s of it over NFS or SMB", size(p.share))
	}
	s.Reason = fmt.Sprintf("%s received %s within the hour from %s inside%s; usual are %s", c.host, size(f.up), plural(p.peers, "peer"), over, size(f.usual.P95))
	if f.score == 0 {
		s.Reason = "taken back: what came late leaves too little of it"
	}
	env.Emit(s, on)
}

// Next implements detect.State.
func (c *collector) Next() detect.Timer {
	if c.next == detect.Never || len(c.views) == 0 {
		return detect.NoTimer
	}
	one := observerOf(c.views[0])
	for _, v := range c.views[1:] {
		if observerOf(v) != one {
			return detect.Timer{At: c.next}
		}
	}
	return detect.Timer{Observer: one, At: c.next}
}

// Advance implements detect.State: hours end, in their order.
func (c *collector) Advance(env *detect.Env) {
	at, over := c.next, true
	for _, o := range c.views {
		over = over && env.Low(observerOf(o), event.KindUnknown) == detect.Never
	}
	for len(c.cells) > 0 {
		hour, open := int32(0), false
		for i := range c.cells {
			if h := c.cells[i].at / hourTens; h > c.closed {
				hour, open = h, true
				break
			}
		}
		if !open || !over && closes(hour) > at {
			c.next = detect.Never
			if open {
				c.next = closes(hour)
			}
			break
		}
		c.judge(hour, nil, env)
		if over {
			for h := hour + 1; h <= c.cells[len(c.cells)-1].at/hourTens; h++ {
				c.judge(h, nil, env)
			}
			return // another instance may go on
		}
		c.close(hour)
	}
	if len(c.cells) == 0 {
		c.next = detect.Never
	}
	c.spoken = slices.DeleteFunc(c.spoken, func(s spoken) bool { return s.start < at-2*24*3600*second })
	c.proof = slices.DeleteFunc(c.proof, func(p proof) bool { return p.at < tenOf(at)-dayTens })
}

// close puts an hour into the baseline. An hour of a finding is quarantined for
// its fourteen days: staging is nobody's habit.
func (c *collector) close(hour int32) {
	var most uint64
	for v := range c.views {
		var n uint64
		for i := range c.cells {
			if x := &c.cells[i]; int(x.view) == v && x.at/hourTens == hour {
				n += x.bytes
			}
		}
		most = max(most, n)
	}
	if c.series == nil && most >= notable {
		c.series = &baseline.Series{}
		c.series.Begin(c.first)
	}
	if c.series != nil {
		as := baseline.Plain
		if i := slices.IndexFunc(c.spoken, func(s spoken) bool { return s.start == timeOfTen(hour*hourTens) }); i >= 0 && c.spoken[i].score >= 4 {
			as = baseline.Quarantined
		}
		c.series.Put(hour, most, as, baseline.Params{Factor: 1, Floor: 1 << 62})
	}
	c.closed = hour
	c.cells = slices.DeleteFunc(c.cells, func(x collected) bool { return x.at/hourTens < hour })
}

// Expired implements detect.State.
func (c *collector) Expired(low int64) bool {
	return low != detect.Never && c.last+baseline.Days*24*3600*second < low
}

// Size implements detect.Sized.
func (c *collector) Size() int {
	n := int(unsafe.Sizeof(*c)) + cap(c.cells)*int(unsafe.Sizeof(collected{})) + cap(c.views)*16 + cap(c.spoken)*int(unsafe.Sizeof(spoken{})) + proofSize(c.proof)
	if c.series != nil {
		n += 640
	}
	return n
}

// Append implements detect.State.
func (c *collector) Append(dst []byte) []byte {
	dst = operator.AppendAddr(operator.AppendUint(dst, uint32(meterVersion)), c.host)
	for _, n := range [...]int64{int64(c.first), int64(c.closed), c.last, c.next, int64(c.layer)} {
		dst = operator.AppendInt(dst, n)
	}
	dst = operator.AppendBool(dst, c.series != nil)
	if c.series != nil {
		dst = c.series.Append(dst)
	}
	dst = operator.AppendUint(dst, len(c.views))
	for _, v := range c.views {
		dst = operator.AppendString(dst, v)
	}
	dst = operator.AppendUint(dst, len(c.cells))
	for i := range c.cells {
		x := &c.cells[i]
		dst = operator.AppendBool(operator.AppendUint(operator.AppendInt(dst, x.at), x.view), x.share)
		dst = operator.AppendInt(operator.AppendUint(operator.AppendAddr(dst, x.peer), x.bytes), x.newest)
	}
	return appendProof(appendSpoken(dst, c.spoken), c.proof)
}

// Load implements detect.State.
func (c *collector) Load(data []byte) error {
	r := operator.NewReader(data)
	version := r.Uint()
	if version == 0 || version > meterVersion {
		return operator.ErrState
	}
	c.host, c.first, c.closed, c.last, c.next, c.layer = r.Addr(), int32(r.Int()), int32(r.Int()), r.Int(), r.Int(), layer(r.Int()&1)
	if r.Bool() {
		c.series = &baseline.Series{}
		if err := c.series.Load(r); err != nil {
			return err
		}
	}
	for range r.Count() {
		c.views = append(c.views, r.String())
	}
	for range r.Count() {
		x := collected{at: int32(r.Int()), view: uint8(r.Uint()), share: r.Bool(), peer: r.Addr(), bytes: r.Uint(), newest: r.Int()}
		if int(x.view) >= len(c.views) {
			return operator.ErrState
		}
		c.cells = append(c.cells, x)
	}
	c.spoken, c.proof = loadSpoken(r, version), loadProof(r)
	if !slices.IsSortedFunc(c.cells, func(a, b collected) int { return a.compare(&b) }) {
		return operator.ErrState
	}
	return r.Err()
}
