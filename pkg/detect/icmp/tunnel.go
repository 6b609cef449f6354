package icmp

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// Tunnel is the detector icmp-tunnel.
type Tunnel struct {
	limits    limits
	overrides bool
}

// NewTunnel returns the detector.
func NewTunnel() detect.Detector {
	t := &Tunnel{}
	t.Configure(site.Default())
	return t
}

// Info implements detect.Detector.
func (t *Tunnel) Info() detect.Info {
	return detect.Info{
		ID: ID, Role: signal.RoleExfil,
		Kinds:     []event.Kind{event.KindICMP, event.KindConn, event.KindFlow},
		Default:   site.Setting{Mode: signal.ModeAlert, Floor: 2, Alert: 4},
		Alone:     true,
		Technique: []string{"T1048", "T1095"}, Thresholds: thresholds,
	}
}

// Configure implements detect.Detector.
func (t *Tunnel) Configure(s *site.Site) {
	t.limits = limitsOf(func(name string, def float64) float64 { return s.Threshold(ID, name, def) })
	t.overrides = s.HasOverrides(ID)
}

// New implements detect.Detector.
func (t *Tunnel) New() detect.State { return &state{of: t} }

// Wants implements detect.Lazy: other traffic matters only beside messages.
func (t *Tunnel) Wants(e *event.Event, _ *detect.Env) bool {
	return e.Kind == event.KindICMP || isICMP(e.Network.Transport)
}

// Bounds of a view.
const (
	maxPairs     = 512
	maxKnown     = 512
	maxEvidence  = 6
	maxEmissions = 32 // unless the score is higher than ever
)

const (
	// late is how long after its end a connection may be written.
	late = 120 * second
	// old is how long a pair must be known before its volume says nothing.
	old = 7 * 24 * detect.HourSpan
)

// state is what the detector knows of one address.
type state struct {
	of    *Tunnel
	views detect.Views[view]
}

type view struct {
	client   netip.Addr
	realm    string
	hours    detect.Hours[pair] // by the peer's address, 16 bytes
	known    []known
	progress detect.Progress
	began    int64 // first message
	newest   int64
}

// known is when a peer was first and last seen.
type known struct {
	peer        netip.Addr
	first, last int64
}

// Apply implements detect.State.
func (s *state) Apply(e *event.Event, env *detect.Env) {
	if e.Kind != event.KindICMP && !isICMP(e.Network.Transport) {
		s.explain(e, env)
		return
	}
	if e.Role == event.RoleMirror || e.Flow.Action == "reject" || !e.Source.IP.IsValid() || !e.Destination.IP.IsValid() {
		return
	}
	side, client, peer := out, e.Source.IP.Unmap(), e.Destination.IP.Unmap()
	switch e.Network.Direction {
	case event.Internal:
		return // a request and its reply belong to different keys
	case event.Inbound:
		side, client, peer = in, peer, client
	case event.External:
		// The key is the lower address (site.Place).
		if peer.Less(client) {
			side, client, peer = in, peer, client
		}
	}
	if env.Site.Monitor(client, e.Time) || peer.IsMulticast() {
		return
	}
	v := s.views.Of(env.Observer(e))
	if v == nil {
		env.Count("observers_dropped", ID, 1)
		return
	}
	w := &v.Value
	w.hours.Grace = late
	if !w.client.IsValid() {
		w.client, w.realm = client, strings.Clone(e.Observer.Realm)
	}
	w.newest = max(w.newest, e.Time)
	if e.Kind != event.KindICMP {
		w.meet(peer, e.Time)
	}
	h := s.hour(v, peer, e.Time, env)
	if h == nil {
		return
	}
	p := &h.Value
	if p.first == 0 || e.Time < p.first {
		p.first = e.Time
	}
	p.last = max(p.last, e.Time)
	if e.Kind == event.KindICMP {
		if w.began == 0 {
			w.began = e.Time
		}
		p.packet(e, side, client.Is6(), w.began)
	} else {
		c, _ := w.progress.Since(e)
		p.record(e, c, side)
	}
	s.judge(v, h, e, env)
}

func isICMP(transport string) bool {
	switch transport {
	case "icmp", "ipv6-icmp", "1", "58":
		return true
	}
	return false
}

// explain notes that there is other traffic between two hosts, which errors
// may quote.
func (s *state) explain(e *event.Event, env *detect.Env) {
	v := s.views.Find(env.Observer(e))
	if v == nil {
		return
	}
	for _, a := range [...]netip.Addr{e.Source.IP, e.Destination.IP} {
		if raw := a.As16(); a.IsValid() && a.Unmap() != v.Value.client {
			if h := v.Value.hours.Find(string(raw[:]), e.Time); h != nil {
				h.Value.explained = true
			}
		}
	}
}

// hour returns the window of a peer that holds an event time, nil for a late
// event.
func (s *state) hour(v *detect.View[view], peer netip.Addr, t int64, env *detect.Env) *detect.Hour[pair] {
	w := &v.Value
	raw := peer.As16()
	if h := w.hours.Find(string(raw[:]), t); h != nil {
		return h
	}
	if w.hours.Len() >= maxPairs {
		n := w.hours.Shed(func(h *detect.Hour[pair]) uint64 {
			p := &h.Value
			return uint64(p.best)<<48 + p.side[out].messages + p.side[in].messages + p.flow.packets[out] + p.flow.packets[in]
		}, func(h *detect.Hour[pair]) {
			if h.Value.emissions > 0 {
				s.send(v, h, &h.Value.points, env)
			}
		})
		env.Count("peers_evicted", ID, int64(n))
	}
	h, made := w.hours.At(string(raw[:]), t, env.Low(v.Observer, event.KindUnknown))
	if h == nil {
		env.Count("late_dropped", ID, 1)
		return nil
	}
	if made {
		h.Value.peer = peer
	}
	return h
}

// meet notes that a peer was seen. Of too many, the one not seen for longest
// gives way, and is new when it comes again.
func (v *view) meet(peer netip.Addr, t int64) {
	oldest := 0
	for i := range v.known {
		k := &v.known[i]
		if k.peer == peer {
			k.first, k.last = min(k.first, t), max(k.last, t)
			return
		}
		if k.last < v.known[oldest].last {
			oldest = i
		}
	}
	if len(v.known) < maxKnown {
		v.known = append(v.known, known{peer, t, t})
		return
	}
	v.known[oldest] = known{peer, t, t}
}

// fresh reports whether a peer is known for less than seven days.
func (v *view) fresh(peer netip.Addr, t int64) bool {
	for i := range v.known {
		if v.known[i].peer == peer {
			return t-v.known[i].first < old
		}
	}
	return true
}

// judge evaluates a pair and sends it where its points have changed.
func (s *state) judge(v *detect.View[view], h *detect.Hour[pair], e *event.Event, env *detect.Env) {
	p, w := &h.Value, &v.Value
	on := site.Subject{Address: w.client}
	l := p.judge(s.of.limitsFor(env.Site, on, p.last), env.Shows(v.Observer, event.KindICMP), w.fresh(p.peer, p.last), false)
	score := l.score()
	if n := p.quotes.messages; n > 0 && n <= 8 && n&(n-1) == 0 {
		p.evidence = detect.KeepEvidence(p.evidence, env.Evidence(e), maxEvidence)
	}
	if n := p.side[out].messages + p.side[in].messages + p.flow.records; score > 0 && n >= max(4, 2*p.picked) || score > 0 && p.picked == 0 {
		p.picked = n
		p.evidence = detect.KeepEvidence(p.evidence, env.Evidence(e), maxEvidence)
	}
	if l == p.points {
		return
	}
	p.points = l
	if p.emissions == 0 && float64(score) < env.Setting(on, p.last).Floor {
		return
	}
	if p.emissions < maxEmissions || score > p.best {
		s.send(v, h, &l, env)
	}
}

func (s *state) send(v *detect.View[view], h *detect.Hour[pair], l *levels, env *detect.Env) {
	p, w := &h.Value, &v.Value
	on := site.Subject{Address: w.client}
	lim := s.of.limitsFor(env.Site, on, p.last)
	score := l.score()
	p.emissions++
	p.best = max(p.best, score)
	peer := p.peer.String()
	source, _, _ := strings.Cut(v.Observer, "/")
	sig := &signal.Signal{
		ID:      signal.ID(ID, env.Key, peer, v.Observer, strconv.FormatInt(h.Start, 10)),
		Channel: "icmp", Start: h.Start, End: h.End, First: p.first, Time: p.last, Subject: peer,
		Score: float64(score), Points: p.list(l, lim),
		Entity:      detect.AddressEntity(w.realm, w.client),
		Source:      signal.Endpoint{IP: w.client.String()},
		Destination: signal.Endpoint{IP: peer},
		Evidence:    p.evidence, Observers: []string{source},
		Complete: min(env.Low(v.Observer, event.KindUnknown), h.End),
	}
	sig.Severity, sig.Confidence = grade(score, env.Setting(on, p.last).Alert)
	if p.side[out].messages+p.side[in].messages+p.quotes.messages > 0 {
		contents, bytes := p.side[out].changing()
		if p.quotes.messages > 0 && !p.explained {
			c, b := p.quotes.changing()
			contents, bytes = contents+c, bytes+b
		}
		sig.Bytes, sig.Layer = &bytes, "icmp-content"
		sig.Reason = fmt.Sprintf("%s and %s exchanged %d and %d ICMP messages in %.3g s, with %d changing contents of %d bytes sent: %s",
			w.client, peer, p.side[out].messages+p.quotes.messages, p.side[in].messages, seconds(p.last-p.first), contents, bytes, describe(sig.Points))
	} else {
		bytes := p.flow.bytes[out]
		sig.Bytes, sig.Layer = &bytes, p.flow.layer
		sig.Reason = fmt.Sprintf("%s and %s exchanged %d and %d ICMP packets of %.0f and %.0f bytes in %.3g s, content unknown: %s",
			w.client, peer, p.flow.packets[out], p.flow.packets[in], p.flow.mean(out), p.flow.mean(in), seconds(p.flow.longest), describe(sig.Points))
	}
	sig.Values = []signal.Value{
		{Name: "messages_sent", Value: float64(p.side[out].messages)},
		{Name: "messages_received", Value: float64(p.side[in].messages)},
		{Name: "bytes_sent", Value: float64(p.side[out].bytes)},
		{Name: "bytes_received", Value: float64(p.side[in].bytes)},
		{Name: "altered_replies", Value: float64(p.altered)},
		{Name: "unasked_replies", Value: float64(p.unasked)},
		{Name: "flow_bytes_sent", Value: float64(p.flow.bytes[out])},
		{Name: "flow_bytes_received", Value: float64(p.flow.bytes[in])},
	}
	env.Emit(sig, on)
}

func seconds(micros int64) float64 { return float64(micros) / float64(second) }

// grade is severity and confidence of a score where alerts begin at alert.
func grade(score int, alert float64) (severity, confidence string) {
	switch {
	case float64(score) < alert:
		return signal.Low, "low"
	case float64(score) < alert+3:
		return signal.High, "medium"
	}
	return signal.High, "high"
}

// describe names the points, the weightiest first.
func describe(points []signal.Point) string {
	var b strings.Builder
	for want := 4.0; want >= 0; want-- {
		for _, p := range points {
			if p.Points != want {
				continue
			}
			if b.Len() > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s %.4g (+%g)", p.Name, p.Value, p.Points)
		}
	}
	return b.String()
}

// Next implements detect.State.
func (s *state) Next() detect.Timer {
	return s.views.Next(func(v *view) int64 { return v.hours.Next() })
}

// Advance implements detect.State.
func (s *state) Advance(env *detect.Env) {
	for v := range s.views.All {
		v.Value.hours.Due(env.Low(v.Observer, event.KindUnknown), func(h *detect.Hour[pair]) {
			p, on := &h.Value, site.Subject{Address: v.Value.client}
			p.points = p.judge(s.of.limitsFor(env.Site, on, p.last), env.Shows(v.Observer, event.KindICMP), v.Value.fresh(p.peer, p.last), true)
			if p.emissions > 0 || float64(p.points.score()) >= env.Setting(on, p.last).Floor {
				s.send(v, h, &p.points, env)
			}
		})
	}
}

// Expired implements detect.State. Which peers are old is worth keeping.
func (s *state) Expired(low int64) bool {
	if low == detect.Never {
		return false // closed sources may be followed by others
	}
	for v := range s.views.All {
		if v.Value.hours.Len() > 0 || v.Value.newest+old >= low {
			return false
		}
	}
	return true
}
