package volume

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// proof is a piece of evidence with how much it is evidence of.
type proof struct {
	ev signal.Evidence
	up uint64
	at int32
}

// keepProof keeps the largest, of equals the earlier.
func keepProof(list []proof, up uint64, at int32, e *event.Event, env *detect.Env, limit int) []proof {
	if len(list) >= limit {
		least := 0
		for i := range list {
			if list[i].up < list[least].up {
				least = i
			}
		}
		if list[least].up >= up {
			return list
		}
		list = slices.Delete(list, least, least+1)
	}
	ev := env.Evidence(e)
	if len(ev.Record) > maxRecord {
		ev.Record = nil
	}
	return append(list, proof{ev, up, at})
}

// say emits what a rule found where that is news: it is worth more points, the
// bytes doubled, or, when an hour is over, anything changed. What was said and
// no longer holds is taken back then, by a score below the floor.
func (m *meter) say(list *[]spoken, f *reading, on site.Subject, e *event.Event, env *detect.Env, final bool) {
	at := -1
	for i := range *list {
		if s := &(*list)[i]; s.rule == uint8(f.rule) && s.start == f.start {
			at = i
			break
		}
	}
	if at < 0 {
		if f.score == 0 || f.score < env.SettingOf(meterInfos[f.rule].ID, on, f.start).Floor {
			return
		}
		*list = append(*list, spoken{rule: uint8(f.rule), start: f.start})
		at = len(*list) - 1
	} else if s := &(*list)[at]; final {
		// What is told at the end does not depend on what came first: neither the
		// view, of equal ones, nor the time.
		if s.view == f.view && (s.shows == 0 || s.shows == m.shows(f)) && s.mask == f.mask && s.up == f.up && s.down == f.down && s.score == float32(f.score) || f.score == 0 && s.score == 0 {
			return
		}
	} else if f.score < float64(s.score) || f.score == float64(s.score) && (f.score == 0 || f.up < s.next(f.rule)) {
		return
	}
	(*list)[at] = spoken{rule: uint8(f.rule), view: f.view, mask: f.mask, score: float32(f.score), start: f.start, up: f.up, down: f.down, shows: m.shows(f)}
	m.tell(f, on, e, env)
}

// next is how much more is news: twice as much; of a share a quarter more, for
// many of them are added.
func (s *spoken) next(rule int) uint64 {
	if rule == ruleShare {
		return s.up + s.up/4
	}
	return 2 * s.up
}

// shows is a hash of what a signal says beside its numbers: until when, and where
// most went. It is never 0.
func (m *meter) shows(f *reading) int64 {
	r := f.route
	if r == nil {
		r = m.largest(f)
	}
	h := f.newest
	if r != nil {
		h = h*1_000_003 + int64(r.tag)&0xffffffff<<24 + int64(r.to.port)<<8 + int64(r.to.channel) + int64(len(r.to.name))<<56
	}
	return max(h, -h, 1)
}

// tell sends the signal of a reading.
func (m *meter) tell(f *reading, on site.Subject, e *event.Event, env *detect.Env) {
	info := &meterInfos[f.rule]
	realm, _, _ := strings.Cut(env.Key, "|")
	g := m.gauges[min(int(f.view), len(m.gauges)-1)]
	s := &signal.Signal{
		Start: f.start, End: f.end, First: f.first, Time: f.newest, Score: f.score,
		Entity: detect.AddressEntity(realm, m.src), Source: signal.Endpoint{IP: m.src.String()},
		Bytes: new(f.up), Layer: g.layer.String(), Points: slices.Clone(f.points[:f.n]),
		Severity: signal.Low, Confidence: "low",
	}
	if s.Points == nil {
		s.Points = []signal.Point{}
	}
	if s.First == 0 {
		s.First, s.Time = f.start, f.start
	}
	if f.learning {
		s.Mode = signal.ModeShadow
	}
	for i, x := range m.gauges {
		if !m.saw(i, f) {
			continue
		}
		if x.instance != "" && (s.Entity.Instance == "" || x.iface < s.Entity.Interface) {
			s.Entity.Interface, s.Entity.Instance = x.iface, x.instance
		}
		s.Observers = append(s.Observers, m.kinds[x.kind].name)
	}
	slices.Sort(s.Observers)
	s.Observers = slices.Compact(s.Observers)
	r := f.route
	if r == nil {
		r = m.largest(f)
		s.Subject = f.subject
	} else if s.Subject = f.subject; s.Subject == "" {
		s.Subject = r.key.dest()
	}
	if r != nil {
		s.Channel = r.to.channel.String()
		s.Destination = signal.Endpoint{IP: r.to.addr.String(), Port: uint64(r.to.port), Domain: r.to.name}
		if f.route == nil {
			s.Values = append(s.Values, signal.Value{Name: "largest_destination", Text: r.key.dest()})
		}
	} else {
		s.Channel = chanOther.String()
	}
	s.Values = append(s.Values, signal.Value{Name: "observer", Text: g.observer})
	if g.iface != "" {
		s.Values = append(s.Values, signal.Value{Name: "interface", Text: g.iface})
	}
	m.evidence(s, f, e, env)
	if f.score == 0 {
		s.Reason = "taken back: what came late or was named later leaves too little of it"
	} else {
		m.describe(s, f, r)
	}
	kind := event.KindConn
	if g.flow {
		kind = event.KindFlow
	}
	if low := env.Low(g.observer, kind); low != detect.Never {
		s.Complete = low
	}
	env.EmitAs(info.ID, s, on)
}

// saw reports whether a view has data in the window of a reading.
func (m *meter) saw(view int, f *reading) bool {
	if view == int(f.view) {
		return true
	}
	if f.route != nil {
		return f.route.sum(uint8(view), tenOf(f.first)-1, tenOf(f.newest)).up > 0
	}
	r := m.gauges[view].busiest(tenOf(f.start) / hourTens)
	return r.up > 0 || r.permitted > 0
}

// evidence takes the largest records of the window, and the one at hand.
func (m *meter) evidence(s *signal.Signal, f *reading, e *event.Event, env *detect.Env) {
	from, to := tenOf(f.first), tenOf(f.newest)
	take := func(list []proof) {
		for i := range list {
			if p := &list[i]; p.at >= from && p.at <= to {
				s.Evidence = append(s.Evidence, p.ev)
			}
		}
	}
	if f.route == nil {
		take(m.proof)
	} else {
		take(f.route.proof)
	}
	if len(s.Evidence) == 0 && e != nil {
		ev := env.Evidence(e)
		if len(ev.Record) > maxRecord {
			ev.Record = nil
		}
		s.Evidence = append(s.Evidence, ev)
	}
}

// largest is the route to which most went in the window of a reading.
func (m *meter) largest(f *reading) (best *route) {
	var most uint64
	for _, r := range m.sortedRoutes() {
		if n := r.sum(f.view, tenOf(f.first)-1, tenOf(f.newest)).up; n > most || best == nil && n == most && n > 0 {
			best, most = r, n
		}
	}
	return best
}

// destinations counts the routes with data in the window of a reading.
func (m *meter) destinations(f *reading) (n int) {
	for _, r := range m.routes.all {
		if r.sum(f.view, tenOf(f.first)-1, tenOf(f.newest)).up > 0 {
			n++
		}
	}
	return n
}

// describe sets severity, confidence, values and the reason.
func (m *meter) describe(s *signal.Signal, f *reading, r *route) {
	strong := func(severity, confidence string) { s.Severity, s.Confidence = severity, confidence }
	value := func(name string, x float64) {
		s.Values = append(s.Values, signal.Value{Name: name, Value: round(x, 4)})
	}
	src, sent := m.src.String(), size(f.up)
	switch f.rule {
	case ruleAnomaly, ruleFixed:
		m.describeHour(s, f, src, sent)
		return
	case ruleSanctioned:
		strong(signal.Medium, "medium")
		switch {
		case f.mask&ptUndeclared != 0:
			s.Reason = fmt.Sprintf("%s sent %s within the hour to %s, which is sanctioned for other sources only", src, sent, m.where(r, f))
		case f.mask&ptCap != 0:
			s.Reason = fmt.Sprintf("%s sent %s in 24 hours to %s, where it may send %s", src, sent, m.where(r, f), size(r.limit))
		default:
			s.Reason = fmt.Sprintf("%s sent %s within the hour to sanctioned destinations; usual are %s (p95 of %d hours)", src, sent, size(f.usual.P95), f.usual.Samples)
		}
		return
	case ruleSustained:
		strong(signal.Medium, "medium")
		if f.up >= 1e9 {
			strong(signal.High, "medium")
		}
		rate := float64(f.up) * 8 / max(f.seconds, 1) / 1e6
		value("mbit_per_second", rate)
		s.Reason = fmt.Sprintf("%s sent %s to %s over %s without a pause, %.0f Mbit/s", src, sent, m.where(r, f), lasted(int64(f.seconds)*second), rate)
		return
	}
	value("bytes_received", float64(f.down))
	value("ratio", ratio(f.up, f.down))
	value("pcr", (float64(f.up)-float64(f.down))/max(float64(f.up)+float64(f.down), 1))
	value("connections", float64(f.conns))
	switch f.rule {
	case ruleSlow:
		strong(signal.Medium, "medium")
		value("bytes_in_7d", float64(f.week))
		span := "24 hours"
		if f.n > 0 && f.points[0].Name == "bytes_in_7d" {
			span = "7 days"
		}
		goes := ""
		if f.open {
			goes = "; a connection is still open"
		}
		s.Reason = fmt.Sprintf("%s sent %s to %s in %s and received %s (%s)%s", src, sent, m.where(r, f), span, size(f.down), times(f.up, f.down), goes)
	case ruleNew:
		strong(signal.Medium, "medium")
		first, n := m.d.shared.of(r.tag)
		if f.score >= 6 {
			strong(signal.High, "high")
		}
		value("sources_at_the_site", float64(n))
		ago := max(tenOf(f.newest)/hourTens-first, 0)
		s.Reason = fmt.Sprintf("%s sent %s in 24 hours to %s, which the site has used for %d hours, by %s", src, sent, m.where(r, f), ago, plural(n, "source"))
	case ruleShare:
		s.Reason = fmt.Sprintf("%s sent %s in 24 hours to %s, which is new to the site, and received %s; a share of what others may send there", src, sent, m.where(r, f), size(f.down))
	case ruleNoDNS:
		strong(signal.Medium, "medium")
		s.Reason = fmt.Sprintf("%s sent %s within the hour to %s, an address that nobody looked up", src, sent, m.where(r, f))
	case ruleTenant:
		strong(signal.High, "medium")
		service, tenant := tenantOf(r.key.name)
		s.Reason = fmt.Sprintf("%s sent %s within the hour to the %s tenant %s (%s), which is not ours", src, sent, service, tenant, m.where(r, f))
	case ruleMail:
		strong(signal.Medium, "medium")
		if f.subject != "" {
			s.Channel = chanSMTP.String()
			strong(signal.Medium, "low") // a mail may be one large attachment
			s.Reason = fmt.Sprintf("%s, no declared mail relay, sent %s within the hour to external mail servers, most to %s", src, sent, m.where(r, f))
			return
		}
		s.Reason = fmt.Sprintf("%s sent %s within the hour to %s, a %s service, and received %s", src, sent, m.where(r, f), classNames[r.class], size(f.down))
	}
}

func (m *meter) describeHour(s *signal.Signal, f *reading, src, sent string) {
	s.Values = append(s.Values,
		signal.Value{Name: "destinations", Value: float64(m.destinations(f)), Text: "at least"},
		signal.Value{Name: "largest_flow", Value: float64(f.largest)},
		signal.Value{Name: "flows", Value: float64(f.conns)},
		signal.Value{Name: "flows_of_300s", Value: float64(f.long)},
		signal.Value{Name: "baseline", Text: f.against},
	)
	if f.mask&(ptOwn|ptGroup|ptFixed) != 0 {
		s.Severity, s.Confidence = signal.Medium, "medium"
	}
	if f.rule == ruleFixed {
		if f.up >= 5e9 {
			s.Severity = signal.High
		}
		s.Reason = fmt.Sprintf("%s sent %s outwards within the hour, and less than 14 days of its history are known: the fixed limit applies", src, sent)
		return
	}
	u := &f.usual
	s.Values = append(s.Values,
		signal.Value{Name: "p95", Value: float64(u.P95)}, signal.Value{Name: "median", Value: float64(u.Median)},
		signal.Value{Name: "mad", Value: float64(u.Spread)}, signal.Value{Name: "hours", Value: float64(u.Samples)})
	if f.mask&ptOwn != 0 && f.up >= 2*u.Limit {
		s.Severity, s.Confidence = signal.High, "high"
	}
	like := "in which it sends"
	if u.Slot {
		like = "like this one"
	}
	switch {
	case f.against != "own":
		s.Confidence = "low"
		s.Reason = fmt.Sprintf("%s sent %s outwards within the hour; sources of %s usually send %s (p95 of %d hours), and it has no history of its own",
			src, sent, f.against[strings.IndexByte(f.against, '|')+1:], size(u.P95), u.Samples)
	case f.mask&ptNear != 0:
		s.Reason = fmt.Sprintf("%s sent %s outwards within the hour, near its limit of %s; usual are %s (p95 of %d hours %s)", src, sent, size(u.Limit), size(u.P95), u.Samples, like)
	default:
		s.Reason = fmt.Sprintf("%s sent %s outwards within the hour; usual are %s (p95 of %d hours %s), the limit is %s", src, sent, size(u.P95), u.Samples, like, size(u.Limit))
	}
}

// where writes a destination.
func (m *meter) where(r *route, _ *reading) string {
	if r == nil {
		return "several destinations"
	}
	to := r.to.addr.String()
	if r.to.port != 0 {
		to = fmt.Sprintf("%s port %d", to, r.to.port)
	}
	if r.key.name == "" {
		return to
	}
	name := r.to.name
	if name == "" {
		name = r.key.name
	}
	return name + " (" + to + ")"
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// drift tells of a percentile that has outgrown what may grow without an
// answer: once in 30 days of the source.
func (m *meter) drift(k *kind, hour int32, u *baseline.Usual, env *detect.Env) {
	on := site.Subject{Address: m.src}
	at := timeOfTen(hour * hourTens)
	limit := m.d.rules[ruleAnomaly].limits(env, on, at)[anDrift]
	d := u.Drift()
	if d < limit || float64(u.P95) < 1e6 {
		return
	}
	const month = 30 * 24 * 3600 * second
	start := at - at%month
	if slices.ContainsFunc(m.spoken, func(s spoken) bool { return s.rule == ruleDrift && s.start == start }) {
		return
	}
	m.spoken = append(m.spoken, spoken{rule: ruleDrift, start: start})
	realm, _, _ := strings.Cut(env.Key, "|")
	s := &signal.Signal{
		Subject: "baseline drift", Start: start, End: start + month, First: at, Time: at + 3600*second, Score: 2, Channel: chanOther.String(),
		Severity: signal.Low, Confidence: "medium", Entity: detect.AddressEntity(realm, m.src), Source: signal.Endpoint{IP: m.src.String()},
		Points:    []signal.Point{{Name: "baseline_drift", Points: 2, Value: round(d, 2), Threshold: limit}},
		Observers: []string{k.name},
		Reason: fmt.Sprintf("what %s sends within an hour has grown to %.2f times what may grow without an answer (p95 %s, ceiling %s): its limit stays where it is",
			m.src, d, size(u.P95), size(u.Ceiling)),
	}
	env.Emit(s, on)
}
