package dns

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/gaissmai/bart"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// Tunnel is the detector dns-tunnel.
type Tunnel struct {
	limits   limits
	public   bart.Lite
	scratch  question
	known    cuts
	texts    texts
	replayed question // of a seed
	counts   window   // of a seed
}

// NewTunnel returns the detector.
func NewTunnel() detect.Detector {
	t := &Tunnel{}
	for _, r := range publicResolvers {
		for _, p := range r.prefixes() {
			t.public.Insert(p)
		}
	}
	t.Configure(site.Default())
	return t
}

// Info implements detect.Detector.
func (t *Tunnel) Info() detect.Info {
	return detect.Info{
		ID: TunnelID, Role: signal.RoleExfil,
		Kinds:     append([]event.Kind{event.KindDNS}, contactKinds[:]...),
		Default:   site.Setting{Mode: signal.ModeAlert, Floor: 3, Alert: 5},
		Alone:     true,
		Technique: []string{"T1048.003", "T1071.004"}, Thresholds: tunnelThresholds,
	}
}

// Configure implements detect.Detector.
func (t *Tunnel) Configure(s *site.Site) {
	t.limits = tunnelLimits(s, func(name string, def float64) float64 { return s.Threshold(TunnelID, name, def) })
}

// New implements detect.Detector.
func (t *Tunnel) New() detect.State { return &tunnelState{of: t} }

// Wants implements detect.Lazy.
func (t *Tunnel) Wants(e *event.Event, _ *detect.Env) bool {
	return e.Kind == event.KindDNS || tells(e)
}

// tells reports whether traffic may tell of a contact of the client.
func tells(e *event.Event) bool {
	return e.Role != event.RoleMirror && e.Network.Direction != event.Inbound && e.Destination.IP.IsValid()
}

// tunnelState is what dns-tunnel knows of one client.
type tunnelState struct {
	of    *Tunnel
	views detect.Views[view]
}

// Apply implements detect.State.
func (s *tunnelState) Apply(e *event.Event, env *detect.Env) {
	if e.Kind != event.KindDNS {
		s.traffic(e, env)
		return
	}
	if e.DNS.NotDNS || !e.Source.IP.IsValid() {
		return
	}
	direct := s.of.direct(e, env.Site)
	if exempt(e, env.Site, direct) {
		return
	}
	q := &s.of.scratch
	if !q.parse(e.DNS.Name, &s.of.known) || q.domain == noDomain && !direct {
		return
	}
	v := s.views.Of(env.Observer(e))
	if v == nil {
		env.Count("observers_dropped", TunnelID, 1)
		return
	}
	w := v.Value.begin()
	if !w.client.IsValid() {
		w.client, w.realm = e.Source.IP.Unmap(), strings.Clone(e.Observer.Realm)
	}
	w.newest = max(w.newest, e.Time)
	s.question(v, q, e, direct, env)
}

// direct reports whether the question went past all resolvers that are known,
// to a server outside that may be the other end itself. What a resolver of the
// site asks goes to any server.
func (t *Tunnel) direct(e *event.Event, s *site.Site) bool {
	to, from := e.Destination.IP, e.Source.IP
	return to.IsValid() && !s.Internal(to) && !t.public.Contains(to.Unmap()) &&
		!s.Resolver(to, e.Time) && !s.Resolver(from, e.Time) && !s.Aggregator(from, e.Time)
}

// exempt reports whether a question carries nothing outside (detections.md §3,
// "Skip"). What stays inside by its nature or by the site's word is exempt only
// where it is not asked of a server outside that nobody knows.
func exempt(e *event.Event, s *site.Site, direct bool) bool {
	name := e.DNS.Name
	if e.Destination.Port.Or(0) == 137 && strings.IndexByte(name, '.') < 0 {
		return true // NetBIOS, which has its own names and types, and is asked of anyone
	}
	if !direct {
		switch e.Destination.Port.Or(0) {
		case 137, 5353, 5355: // NetBIOS, mDNS, LLMNR
			return true
		}
		if name == "local" || strings.HasSuffix(name, ".local") || s.OwnDomain(name, e.Time) {
			return true
		}
	}
	if strings.HasSuffix(name, ".arpa") {
		if reverse4Zone(name) {
			return true
		}
		if a, ok := reverseAddress(name); ok && s.Internal(a) {
			return true
		}
	}
	return s.LookupDomain(name, e.Time)
}

// Size implements detect.Sized.
func (s *tunnelState) Size() int { return 32 + s.views.Size((*view).size) }

// Next implements detect.State.
func (s *tunnelState) Next() detect.Timer { return s.views.Next((*view).next) }

// Advance implements detect.State.
func (s *tunnelState) Advance(env *detect.Env) {
	for v := range s.views.All {
		s.advance(v, env)
	}
}

// Expired implements detect.State.
func (s *tunnelState) Expired(low int64) bool {
	if low == detect.Never {
		return false // closed sources may be followed by others
	}
	for v := range s.views.All {
		if !v.Value.idle(low) {
			return false
		}
	}
	return true
}

// Bounds of what is said of one window.
const (
	maxEvidence  = 6
	maxEmissions = 32 // unless the score is higher than ever
)

// judge evaluates a window w of h after a question, or after its look-ups were
// settled (e is nil), and sends it where its points have changed.
func (s *tunnelState) judge(v *detect.View[view], h *detect.Hour[domain], w *window, e *event.Event, env *detect.Env) {
	on := site.Subject{Address: v.Value.client, Domain: h.Subject}
	lim := limitsFor(env.Site, &s.of.limits, on, w.last)
	l := s.evaluate(v, h, w, lim, env)
	if shard := v.Value.joinShard(h, w, lim, func() bool { return s.expects(v, h, w, env) }); shard != nil {
		s.judgeShard(v, shard, e, env)
	}
	score := l.score()
	if e != nil && (score > 0 || w.tally.names >= 8) && w.queries >= max(4, 2*w.lastPicked) {
		s.pick(v, w, e, env)
	}
	if l.weighty() == w.told.weighty() {
		w.told = l
		return
	}
	w.told = l
	if w.emissions == 0 && float64(score) < env.Setting(on, w.last).Floor {
		return
	}
	if e != nil && w.lastPicked != w.queries {
		s.pick(v, w, e, env)
	}
	if w.emissions < maxEmissions || score > w.best {
		s.send(v, h, w, &l, env)
	}
}

// pick takes an event as evidence.
func (s *tunnelState) pick(v *detect.View[view], w *window, e *event.Event, env *detect.Env) {
	if len(w.evidence) == 0 {
		n := 0
		for h := range v.Value.hours.All {
			if full := h.Value.full; full != nil && len(full.evidence) > 0 {
				n++
			}
		}
		if n >= maxWithEvidence {
			return
		}
	}
	w.lastPicked = w.queries
	w.evidence = detect.KeepEvidence(w.evidence, env.Evidence(e), maxEvidence)
}

func (s *tunnelState) evaluate(v *detect.View[view], h *detect.Hour[domain], w *window, lim *limits, env *detect.Env) levels {
	var c company
	known := false
	return w.levels(lim, s.observed(v, h, w, env), func() company {
		if !known {
			c, known = v.Value.company(h), true
		}
		return c
	})
}

// observed reports whether the client is one whose contacts would be seen.
func (s *tunnelState) observed(v *detect.View[view], h *detect.Hour[domain], w *window, env *detect.Env) bool {
	c := v.Value.client
	return v.Value.observed(h) && !env.Site.Resolver(c, w.last) && !env.Site.Aggregator(c, w.last)
}

func (s *tunnelState) expects(v *detect.View[view], h *detect.Hour[domain], w *window, env *detect.Env) bool {
	return s.observed(v, h, w, env) && v.Value.company(h).expectsContact()
}

// end sends a window for the last time.
func (s *tunnelState) end(v *detect.View[view], h *detect.Hour[domain], env *detect.Env) {
	w := s.of.open(h)
	on := site.Subject{Address: v.Value.client, Domain: h.Subject}
	lim := limitsFor(env.Site, &s.of.limits, on, w.last)
	l := s.evaluate(v, h, w, lim, env)
	w.told = l
	v.Value.joinShard(h, w, lim, func() bool { return s.expects(v, h, w, env) })
	if shard := v.Value.shards.Find("", h.Start); shard != nil {
		shard.Value.keep(h, w)
	}
	if w.emissions > 0 || float64(l.score()) >= env.Setting(on, w.last).Floor {
		s.send(v, h, w, &l, env)
	}
	s.fold(v, h, w, lim, env)
	s.of.settle(h, w) // where the sources have closed, it stays
}

// send emits what is known of a window.
func (s *tunnelState) send(v *detect.View[view], h *detect.Hour[domain], w *window, l *levels, env *detect.Env) {
	on := site.Subject{Address: v.Value.client, Domain: h.Subject}
	lim := limitsFor(env.Site, &s.of.limits, on, w.last)
	score := l.score()
	w.emissions++
	w.best = max(w.best, score)

	sig := v.Value.signal(v.Observer, h.Subject, h.Start, h.End, env)
	sig.First, sig.Time = w.first, w.last
	sig.Score, sig.Points = float64(score), w.points(l, lim)
	sig.Severity, sig.Confidence = grade(sig.Score, env.Setting(on, w.last).Alert)
	sig.Destination = signal.Endpoint{Port: 53, Domain: h.Subject}
	server := "a server that the sensor does not name"
	if w.server.IsValid() {
		sig.Destination.IP = w.server.String()
		server = sig.Destination.IP
	}
	data := w.data()
	sig.Bytes = &data
	names := w.scale(w.tally.names)
	sig.Values = []signal.Value{
		{Name: "queries", Value: float64(w.queries)},
		{Name: "names", Value: float64(names)},
		{Name: "once_only_names", Value: float64(w.scale(w.tally.once))},
		{Name: "mean_name_data", Value: w.meanLength()},
		{Name: "mean_label_entropy", Value: w.meanEntropy()},
		{Name: "mean_label_length", Value: w.meanLabel()},
		{Name: "txt_queries", Value: float64(w.txt)},
		{Name: "answered_names", Value: float64(w.scale(w.tally.resolved))},
		{Name: "contacted_names", Value: float64(w.scale(w.tally.contacted))},
	}
	for _, x := range w.examples {
		sig.Values = append(sig.Values, signal.Value{Name: "example", Text: x})
	}
	if w.names.Level() > 0 {
		sig.Values = append(sig.Values, signal.Value{Name: "sampled_one_in", Value: float64(uint64(1) << w.names.Level())})
	}
	sig.Reason = fmt.Sprintf("%s asked %s for %d names below %s in %s, with %d bytes of data in them: %s%s",
		v.Value.client, server, names, h.Subject, span(w.last-w.first), data, listPoints(sig.Points), s.whose(v, env, w.last))
	sig.Evidence = w.evidence
	env.Emit(sig, on)
}

// whose says that the client speaks for others where it does.
func (s *tunnelState) whose(v *detect.View[view], env *detect.Env, at int64) string {
	if env.Site.Resolver(v.Value.client, at) {
		return "; the client is a resolver of the site, whose log tells who asked it"
	}
	return ""
}

// signal begins a signal of this view.
func (v *view) signal(observer, subject string, start, end int64, env *detect.Env) *signal.Signal {
	source, _, _ := strings.Cut(observer, "/")
	complete := env.Low(observer, event.KindUnknown)
	if complete == detect.Never {
		complete = end
	}
	return &signal.Signal{
		// Two observers judge the same domain each for itself.
		ID:      signal.ID(TunnelID, env.Key, subject, observer, strconv.FormatInt(start, 10)),
		Channel: "dns", Start: start, End: end, Subject: subject, Layer: "name-data",
		Entity:    detect.AddressEntity(v.realm, v.client),
		Source:    signal.Endpoint{IP: v.client.String()},
		Observers: []string{source},
		Complete:  complete,
	}
}
