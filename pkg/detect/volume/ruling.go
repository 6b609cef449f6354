package volume

import (
	"slices"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// ruling is one look at a route.
type ruling struct {
	m     *meter
	r     *route
	on    site.Subject
	e     *event.Event // nil where an hour is over
	env   *detect.Env
	start int64 // of the hour or the day
	hour  total // the busiest that ends in the hour
}

func (m *meter) ruling(r *route, e *event.Event, env *detect.Env) ruling {
	return ruling{m: m, r: r, on: site.Subject{Address: m.src, Domain: r.key.name}, e: e, env: env}
}

// by says what a rule found.
func (x *ruling) by(rule int, f *reading) {
	f.rule, f.route = rule, x.r
	f.start, f.end = x.start, x.start+3600*second
	if rule == ruleSlow || rule == ruleNew || rule == ruleShare || f.mask&ptCap != 0 {
		f.end = x.start + 24*3600*second
	}
	x.m.say(&x.r.spoken, f, x.on, x.e, x.env, x.e == nil)
}

// limits are those of a rule for the route.
func (x *ruling) limits(rule int) []float64 { return x.m.d.rules[rule].limits(x.env, x.on, x.start) }

// hourly applies the rules about an hour to the windows that end in one.
func (x *ruling) hourly(hour int32) {
	r, m := x.r, x.m
	x.turn(hour)
	switch r.standing {
	case routePermitted:
		return
	case routeOthers:
		x.undeclared()
	case routePlain, routeOwn:
	}
	if len(r.minutes) > 3 {
		x.sustained(hour)
	}
	if r.class == classMail {
		m.mailHour(hour, x.e, x.env)
		return
	}
	if r.class != classNone {
		x.webmail()
	}
	if r.tenant != "" && x.env.Site.HasOwnTenants() {
		x.foreign()
	}
	x.unresolved()
}

// turn turns to the busiest of the hours that end in one of the clock.
func (x *ruling) turn(hour int32) {
	x.start = timeOfTen(hour * hourTens)
	x.hour = x.r.busiest(x.m.order, hour)
}

// daily applies the rules about a day to the window that ends with a pane, or,
// where the hour is over, to the worst that ends in the day.
func (x *ruling) daily(p int32) {
	x.start = timeOfTen(p - p%dayTens)
	if x.r.class == classMail {
		return
	}
	for _, rule := range [...]int{ruleSanctioned, ruleSlow, ruleNew, ruleShare} {
		if (x.r.standing == routePermitted) != (rule == ruleSanctioned) {
			continue
		}
		best := x.within(rule, p)
		if x.e == nil {
			last := int32(-1)
			for i := range x.r.cells {
				q := x.r.cells[i].at
				if q == last || q/dayTens != p/dayTens || q >= p {
					continue
				}
				last = q
				if f := x.within(rule, q); f.score > best.score || f.score == best.score && f.up > best.up {
					best = f
				}
			}
		}
		if rule == ruleSanctioned && best.score == 0 && !spoke(x.r.spoken, ruleSanctioned, x.start) {
			continue
		}
		x.by(rule, &best)
	}
}

// within is what a rule about days finds in the window that ends with a pane.
func (x *ruling) within(rule int, p int32) reading {
	switch rule {
	case ruleSanctioned:
		return x.cap(p)
	case ruleSlow:
		return x.slow(p)
	case ruleShare:
		return x.share(p)
	}
	return x.unknown(p)
}

func spoke(list []spoken, rule uint8, start int64) bool {
	return slices.ContainsFunc(list, func(s spoken) bool { return s.rule == rule && s.start == start })
}

// cap judges what a declared source sends in a day to where it may.
func (x *ruling) cap(p int32) (f reading) {
	day := x.r.most(x.m.order, p-dayTens, p)
	f.take(&day)
	if x.r.limit > 0 && day.up > x.r.limit {
		f.point(ptCap, "above_daily_cap", 4, float64(day.up), float64(x.r.limit))
	}
	return f
}

// undeclared judges a source that sends to what is sanctioned for others.
func (x *ruling) undeclared() {
	l := x.limits(ruleSanctioned)
	var f reading
	f.take(&x.hour)
	if up := float64(x.hour.up); up >= l[saBytes] {
		f.point(ptUndeclared, "undeclared_source", 4, up, l[saBytes])
	}
	x.by(ruleSanctioned, &f)
}

// foreign judges a bucket or tenant that is not the site's.
func (x *ruling) foreign() {
	if x.env.Site.OwnTenant(x.r.tenant, x.start) || x.env.Site.OwnTenant(x.r.key.name, x.start) {
		return
	}
	l := x.limits(ruleTenant)
	var f reading
	f.take(&x.hour)
	if up := float64(x.hour.up); up >= l[tnBytes] {
		f.point(ptClass, "tenant_not_ours", 4, up, l[tnBytes])
	}
	x.by(ruleTenant, &f)
}

// unresolved judges an address that nobody looked up, where the questions of
// the source are seen. A sensor may tell of a transfer before it tells of the
// question that led to it: until its questions are complete nothing is said,
// and the meter looks again when they are.
func (x *ruling) unresolved() {
	r, m := x.r, x.m
	if r.class == classMail {
		return
	}
	l := x.limits(ruleNoDNS)
	if up := float64(x.hour.up); up >= l[noBytes] && !r.looked {
		if x.env.Low(m.gauges[x.hour.view].observer, event.KindDNS) <= x.hour.newest {
			if x.e != nil {
				m.next = min(m.next, x.hour.newest+1)
			}
			return
		}
		r.looked = m.wasLookedUp(r.to.addr, x.hour.newest)
	}
	if r.looked || !m.asks(&x.hour, x.env) {
		return
	}
	var f reading
	f.take(&x.hour)
	if _, n := m.d.shared.of(r.tag); float64(x.hour.up) >= l[noBytes] && float64(n) <= l[noSources] {
		f.point(ptUnresolved, "address_nobody_looked_up", 4, float64(x.hour.up), l[noBytes])
	}
	x.by(ruleNoDNS, &f)
}

// questionsCame judges again what waited for the questions of its sensor.
func (m *meter) questionsCame(env *detect.Env) {
	for _, r := range m.sortedRoutes() {
		if r.looked || r.touched == 0 || r.all < m.d.gates.route || r.standing == routePermitted {
			continue
		}
		x := m.ruling(r, nil, env)
		for hour := r.touched / hourTens; hour <= r.last/hourTens; hour++ {
			x.turn(hour)
			x.unresolved()
		}
	}
}

// asks reports whether the questions of the source are seen by who saw the
// transfer: whether it means anything that there was none.
func (m *meter) asks(s *total, env *detect.Env) bool {
	return m.dnsAt != 0 && m.dnsAt > m.last-24*3600*second && env.Shows(m.gauges[s.view].observer, event.KindDNS)
}

// webmail judges what went to a webmail or file service in an hour.
func (x *ruling) webmail() {
	l := x.limits(ruleMail)
	var f reading
	f.take(&x.hour)
	up := float64(x.hour.up)
	if x.r.class == classDrop && up >= l[mlDropBytes] {
		f.point(ptClass, "file_drop_service", 4, up, l[mlDropBytes])
	}
	if x.r.class == classWebmail && up >= l[mlWebBytes] {
		f.point(ptClass, "webmail_service", 3, up, l[mlWebBytes])
		if by := ratio(x.hour.up, x.hour.down); by >= l[mlRatio] {
			f.point(ptRatio, "sent_to_received", 1, by, l[mlRatio])
		}
	}
	x.by(ruleMail, &f)
}

// mailHour judges what went to all mail servers in the hours that end in one.
func (m *meter) mailHour(hour int32, e *event.Event, env *detect.Env) {
	var best reading
	routes := m.mailRoutes()
	for p := hour * hourTens; p < (hour+1)*hourTens; p++ {
		if f := m.mailTo(routes, p); f.up > best.up {
			best = f
		}
	}
	if best.route == nil {
		return
	}
	on := site.Subject{Address: m.src}
	start := timeOfTen(hour * hourTens)
	l := m.d.rules[ruleMail].limits(env, on, start)
	if float64(best.up) >= l[mlBytes] {
		best.point(ptClass, "mail_past_the_relay", 4, float64(best.up), l[mlBytes])
	}
	best.rule, best.subject, best.start, best.end = ruleMail, "mail", start, start+3600*second
	m.say(&m.spoken, &best, on, e, env, e == nil)
}

// mailRoutes are those to mail servers, in the order of their keys.
func (m *meter) mailRoutes() []*route {
	return slices.DeleteFunc(m.sortedRoutes(), func(r *route) bool { return r.class != classMail || r.standing == routePermitted })
}

// mailTo sums what went to mail servers in the hour that ends with a pane. The
// route is the one to which most went.
func (m *meter) mailTo(routes []*route, p int32) (f reading) {
	var most uint64
	for _, r := range routes {
		s := r.most(m.order, p-hourTens, p)
		if s.up == 0 {
			continue
		}
		f.up, f.down, f.conns = f.up+s.up, f.down+s.down, f.conns+s.conns
		if f.first == 0 || timeOfTen(s.from) < f.first {
			f.first = timeOfTen(s.from)
		}
		f.newest = max(f.newest, s.newest)
		if s.up > most {
			most, f.route, f.view = s.up, r, s.view
		}
	}
	return f
}

// sustained judges how long the rate held.
func (x *ruling) sustained(hour int32) {
	l := x.limits(ruleSustained)
	perMinute := l[suRate] * 1e6 / 8 * 60
	var f reading
	f.take(&x.hour)
	for _, v := range x.m.order {
		s, up, from, to := x.r.sustained(v, hour, perMinute)
		if s > f.seconds {
			f.seconds, f.up, f.view = s, up, v
			f.first, f.newest = int64(from)*60*second, min(int64(to+1)*60*second, max(x.m.last, int64(to)*60*second))
		}
	}
	if f.seconds >= l[suSeconds] && f.seconds > 0 {
		f.point(ptSustained, "sustained_seconds", 4, f.seconds, l[suSeconds])
	}
	x.by(ruleSustained, &f)
}

// ratioOf is sent to received. Flow records tell one direction each: that
// nothing came back is known only when its record would have come.
func (x *ruling) ratioOf(f *reading) float64 {
	if f.down == 0 && x.e != nil && x.m.gauges[f.view].flow {
		return 0
	}
	return ratio(f.up, f.down)
}

// slow judges what a day and a week add up to.
func (x *ruling) slow(p int32) (f reading) {
	l := x.limits(ruleSlow)
	day := x.r.most(x.m.order, p-dayTens, p)
	week := x.r.most(x.m.order, p-weekTens, p)
	f.learning = p/hourTens-x.m.d.shared.first < 24
	f.take(&day)
	f.week = week.up
	switch {
	case float64(day.up) >= l[slDay]:
		f.point(ptVolume, "bytes_in_24h", 3, float64(day.up), l[slDay])
	case float64(week.up) >= l[slWeek]:
		f.take(&week)
		f.point(ptVolume, "bytes_in_7d", 3, float64(week.up), l[slWeek])
	}
	if by := x.ratioOf(&f); f.mask&ptVolume != 0 && by >= l[slRatio] {
		f.point(ptRatio, "sent_to_received", 1, by, l[slRatio])
	}
	if usual := x.r.habit(day.view, p); usual > 0 && float64(day.up) >= l[slOwnBytes] && float64(day.up) >= l[slOwnFactor]*float64(usual) {
		f.point(ptHabit, "above_pairs_own_p95", 2, float64(day.up), l[slOwnFactor]*float64(usual))
	}
	return f
}

// namedBy are the kinds of event from which a sensor knows names.
var namedBy = []event.Kind{event.KindTLS, event.KindDNS, event.KindHTTP}

// unknown judges what goes in a day to a destination that is new to the site.
func (x *ruling) unknown(p int32) (f reading) {
	l := x.limits(ruleNew)
	day := x.r.most(x.m.order, p-dayTens, p)
	f.take(&day)
	site, hour := &x.m.d.shared, p/hourTens
	isNew := func(tag uint64) (users int, yes bool) {
		first, n := site.of(tag)
		return n, first != 0 && float64(hour-first) <= l[ndDays]*24 && float64(n) <= l[ndSources]
	}
	if float64(day.up) < l[ndBytes] {
		return f
	}
	if _, yes := isNew(x.r.tag); !yes {
		return f
	}
	known, points := float64(hour-site.first) > l[ndDays]*24, 3.0
	if known {
		points = 4
	}
	f.point(ptNew, "new_destination_bytes", points, float64(day.up), l[ndBytes])
	if by := x.ratioOf(&f); by >= l[ndRatio] {
		f.point(ptRatio, "sent_to_received", 1, by, l[ndRatio])
	}
	if x.r.key.name == "" && x.env.ShowsAny(x.m.gauges[day.view].observer, namedBy) {
		f.point(ptNameless, "no_name", 1, 1, 1)
	}
	if users, rare := isNew(x.r.hello); known && x.r.hello != 0 && rare {
		f.point(ptClient, "rare_client_fingerprint", 1, float64(users), l[ndSources])
	}
	return f
}

// share judges what goes in a day to a destination that is new to the site, be
// it little: others may send more of it. What the partition has known for
// longer is a service that its sources use.
func (x *ruling) share(p int32) (f reading) {
	l := x.limits(ruleShare)
	day := x.r.most(x.m.order, p-dayTens, p)
	f.take(&day)
	site, hour := &x.m.d.shared, p/hourTens
	f.learning = hour-site.first < 24
	by := x.ratioOf(&f)
	if float64(day.up) < l[shBytes] || by < l[shRatio] {
		return f
	}
	if first, _ := site.of(x.r.tag); first == 0 || float64(hour-first) > l[shDays]*24 {
		return f
	}
	points := 1.0
	if float64(hour-site.first) > l[shDays]*24 {
		points = 2
	}
	f.point(ptNew, SharePoint, points, float64(day.up), l[shBytes])
	f.point(ptRatio, ShareRatio, 0, by, l[shRatio])
	return f
}

// habit is the 95th percentile of what a view saw on the six days before, 0
// where the route is not known for as long.
func (r *route) habit(view uint8, p int32) uint64 {
	if p-r.first < 6*dayTens {
		return 0
	}
	var days [6]uint64
	for d := range int32(6) {
		days[d] = r.sum(view, p-(d+2)*dayTens, p-(d+1)*dayTens).up
	}
	slices.Sort(days[:])
	// Type 7 at 0.95·5.
	return days[4] + (days[5]-days[4])*3/4
}
