package volume

import (
	"slices"

	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// Points of a meter's rules; a rule's mask holds those that are its own.
const (
	ptOwn uint16 = 1 << iota
	ptGroup
	ptDeviations
	ptNear
	ptFixed
	ptSustained
	ptVolume
	ptRatio
	ptHabit
	ptNew
	ptClient
	ptNameless
	ptUnresolved
	ptUndeclared
	ptCap
	ptClass
)

// maxPoints is how many points a rule can give.
const maxPoints = 6

// reading is what a rule finds.
type reading struct {
	rule       int
	route      *route // nil where it is about the source
	view       uint8
	start, end int64 // window
	first      int64
	newest     int64
	mask       uint16
	score      float64
	up, down   uint64
	conns      uint32
	points     [maxPoints]signal.Point
	n          int
	// What some rules tell besides.
	usual    baseline.Usual
	against  string // what it was compared with
	seconds  float64
	week     uint64
	largest  uint64
	long     uint32
	open     bool
	learning bool
	subject  string
}

func (f *reading) point(bit uint16, name string, points, value, threshold float64) {
	f.mask |= bit
	f.score += points
	if f.n < maxPoints {
		f.points[f.n] = signal.Point{Name: name, Points: points, Value: round(value, 1), Threshold: threshold}
		f.n++
	}
}

// within takes bytes, times and the view of a sum.
func (f *reading) take(s *total) {
	f.view, f.up, f.down, f.conns, f.open = s.view, s.up, s.down, s.conns, s.open
	f.first, f.newest = timeOfTen(s.from), max(s.newest, timeOfTen(s.from))
}

// judge looks at what a transfer has changed.
func (m *meter) judge(r *route, g int, t *transfer, e *event.Event, env *detect.Env) {
	at := tenOf(t.time)
	if up, permitted := m.gauges[g].all(); up >= m.d.gates.hour || permitted >= m.d.gates.permitted {
		if t.up >= 64<<10 && t.up >= up/16 {
			m.proof = keepProof(m.proof, t.up, at, e, env, 6)
		}
		// Between two looks a megabyte may be sent; when the hour is over it is
		// looked at in any case.
		if m.grown += t.up; m.grown >= 1<<20 {
			m.grown = 0
			m.judgeHour(at/hourTens, e, env, false)
			if next := at/hourTens + 1; next*hourTens < at+hourTens && m.reaches(next) {
				m.judgeHour(next, e, env, false)
			}
		}
	}
	if r == nil || r.all < m.d.gates.route && r.class != classMail {
		return
	}
	r.grown += t.up
	if t.up >= 64<<10 && t.up >= r.all/16 {
		r.proof = keepProof(r.proof, t.up, at, e, env, 4)
	}
	if r.grown < min(r.all/64, 256<<10) {
		return
	}
	r.grown = 0
	for p := at; p <= r.last && p < at+hourTens; p++ {
		x := m.ruling(r, e, env)
		x.hourly(p / hourTens)
		x.daily(p)
	}
}

// reaches reports whether a gauge has panes of an hour.
func (m *meter) reaches(hour int32) bool {
	for _, g := range m.gauges {
		if n := len(g.panes); n > 0 && g.panes[n-1].at/hourTens >= hour {
			return true
		}
	}
	return false
}

// gates are sums below which there is nothing to judge.
type gates struct{ hour, permitted, route uint64 }

// Configure implements detect.Detector. The others of the set are configured
// before a meter is asked.
func (d *metered) Configure(s *site.Site) {
	d.tuned.Configure(s)
	for i, r := range d.rules {
		if i != ruleAnomaly && r != nil {
			r.Configure(s)
		}
	}
	if d.rules[ruleFixed] == nil {
		return
	}
	a, f, sa := d.rules[ruleAnomaly], d.rules[ruleFixed], d.rules[ruleSanctioned]
	d.gates.hour = min(a.scaled(anFloor, a.values[anNear]), f.scaled(fxBytes, 0.5))
	d.gates.permitted = sa.scaled(saFloor, 1)
	d.gates.route = min(
		d.rules[ruleSlow].least(slDay, slOwnBytes, slWeek), d.rules[ruleNew].least(ndBytes), d.rules[ruleNoDNS].least(noBytes),
		sa.least(saBytes), d.rules[ruleTenant].least(tnBytes), d.rules[ruleMail].least(mlBytes, mlDropBytes, mlWebBytes),
		d.rules[ruleSustained].scaled(suRate, 1e6/8*60*4),
	)
	// Mail to many servers is one sum.
	d.gates.route = min(d.gates.route, 1<<20)
}

// scaled is a threshold in bytes as a gate.
func (d *tuned) scaled(which int, by float64) uint64 {
	if d.overrides {
		return 0
	}
	return uint64(max(0, d.values[which]*by))
}

// judgeHour judges the hour that ends within an hour of the clock, by each kind
// of observer; the strongest is told.
func (m *meter) judgeHour(hour int32, e *event.Event, env *detect.Env, final bool) {
	on := site.Subject{Address: m.src}
	start := timeOfTen(hour * hourTens)
	var best [3]reading // anomaly, fixed, sanctioned
	var kinds [3]uint8
	for _, k := range m.kindOrder {
		var sum, allowed reach
		view, sees := uint8(0), uint8(0)
		for _, i := range m.order {
			g := m.gauges[i]
			if int(g.kind) != k {
				continue
			}
			r := g.busiest(hour)
			if r.up > sum.up || sum.flows == 0 {
				sum, view = r, i
			}
			if r.permitted > allowed.permitted {
				allowed, sees = r, i
			}
		}
		if sum.up >= m.d.gates.hour {
			a, f := m.hourly(m.kinds[k], &sum, hour, on, env)
			for i, x := range [2]*reading{&a, &f} {
				x.view, x.start, x.end = view, start, start+3600*second
				x.first, x.newest = timeOfTen(sum.from), sum.newest
				x.up, x.conns, x.largest, x.long = sum.up, sum.flows, sum.largest, sum.long
				if x.score > best[i].score || x.score == best[i].score && x.up > best[i].up {
					best[i], kinds[i] = *x, uint8(k)
				}
			}
		}
		if allowed.permitted >= m.d.gates.permitted {
			x := m.sanctionedHour(m.kinds[k], &allowed, hour, on, env)
			x.view, x.start, x.end = sees, start, start+3600*second
			x.first, x.newest, x.up, x.conns = timeOfTen(allowed.from), allowed.newest, allowed.permitted, allowed.flows
			if x.score > best[2].score {
				best[2], kinds[2] = x, uint8(k)
			}
		}
	}
	for i := range best {
		f := &best[i]
		f.rule = [3]int{ruleAnomaly, ruleFixed, ruleSanctioned}[i]
		f.start, f.end = start, start+3600*second
		if f.score >= env.SettingOf(meterInfos[f.rule].ID, on, start).Alert && f.score > 0 {
			for h := max(tenOf(f.first)/hourTens, m.closed+1); h <= hour; h++ {
				if k := kinds[i]; i == 2 {
					m.mark(h, k|permittedMark)
				} else {
					m.mark(h, k)
				}
			}
		}
		m.say(&m.spoken, f, on, e, env, final)
	}
}

// usualOf is what is usual for a source at an hour. Without a series the source
// was there and sent nothing notable.
func (k *kind) usualOf(hour int32, p baseline.Params) *baseline.Usual {
	if k.asked != hour || k.with != p {
		k.asked, k.with = hour, p
		if k.own != nil {
			k.usual = k.own.Usual(hour, p)
		} else {
			var quiet baseline.Series
			quiet.Begin(k.first)
			k.usual = quiet.Usual(hour, p)
		}
	}
	return &k.usual
}

// hourly judges an hour by the source's own history, or, while it has none, by
// its group's and by the fixed limit.
func (m *meter) hourly(k *kind, sum *reach, hour int32, on site.Subject, env *detect.Env) (anomaly, fixed reading) {
	at := timeOfTen(hour * hourTens)
	l := m.d.rules[ruleAnomaly].limits(env, on, at)
	p := baseline.Params{Factor: l[anFactor], Floor: uint64(max(0, l[anFloor]))}
	u := k.usualOf(hour, p)
	up := float64(sum.up)
	anomaly.learning = hour-m.d.shared.first < 24
	bit, name := ptOwn, "above_own_p95"
	anomaly.usual, anomaly.against = *u, "own"
	if u.Limit == 0 {
		fx := m.d.rules[ruleFixed].limits(env, on, at)[fxBytes]
		limit := max(fx, float64(u.Allowance))
		fixed.against = "fixed"
		switch {
		case up > limit:
			fixed.point(ptFixed, "above_fixed_limit", 4, up, limit)
		case up >= limit/2:
			fixed.point(ptNear, "near_the_limit", 2, up, limit)
		}
		group := m.groupOf(k, env.Site)
		g := m.d.shared.group(group, false)
		if g == nil {
			return anomaly, fixed
		}
		gu := g.Usual(hour, p)
		if gu.Limit == 0 {
			return anomaly, fixed
		}
		gu.Limit = max(gu.Limit, u.Allowance)
		bit, name = ptGroup, "above_group_p95"
		anomaly.usual, anomaly.against = gu, group
		u = &anomaly.usual
	}
	limit := float64(u.Limit)
	switch {
	case up > limit:
		anomaly.point(bit, name, 4, up, limit)
		// 1.4826 makes the deviation that of a normal distribution.
		scaled := 1.4826 * max(float64(u.Spread), float64(u.Median)/20, 1)
		if d := (up - float64(u.Median)) / scaled; d >= l[anDeviations] && u.Samples > 0 && u.Median > 0 {
			anomaly.point(ptDeviations, "deviations_above_median", 1, min(d, 1e6), l[anDeviations])
		}
	case up >= limit*l[anNear] && sum.up > u.P95:
		anomaly.point(ptNear, "near_the_limit", 2, up, limit)
	}
	return anomaly, fixed
}

// sanctionedHour judges what a declared source sends to sanctioned
// destinations by its own habit.
func (m *meter) sanctionedHour(k *kind, sum *reach, hour int32, on site.Subject, env *detect.Env) (f reading) {
	at := timeOfTen(hour * hourTens)
	p := m.d.params(env, m.src, m.d.rules[ruleSanctioned], saFactor, saFloor, at)
	if k.permitted == nil {
		return f
	}
	u := k.permitted.Usual(hour, p)
	f.usual, f.against, f.subject = u, "own", "sanctioned destinations"
	f.learning = hour-m.d.shared.first < 24
	if u.Limit != 0 && sum.permitted > u.Limit {
		f.point(ptOwn, "above_own_p95", 4, float64(sum.permitted), float64(u.Limit))
	}
	return f
}

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
	if rule == ruleSlow || rule == ruleNew || f.mask&ptCap != 0 {
		f.end = x.start + 24*3600*second
	}
	x.m.say(&x.r.spoken, f, x.on, x.e, x.env, x.e == nil)
}

// limits are those of a rule for the route.
func (x *ruling) limits(rule int) []float64 { return x.m.d.rules[rule].limits(x.env, x.on, x.start) }

// hourly applies the rules about an hour to the windows that end in one.
func (x *ruling) hourly(hour int32) {
	r, m := x.r, x.m
	x.start = timeOfTen(hour * hourTens)
	x.hour = r.busiest(m.order, hour)
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
	if !r.looked {
		x.unresolved()
	}
}

// daily applies the rules about a day to the window that ends with a pane, or,
// where the hour is over, to the worst that ends in the day.
func (x *ruling) daily(p int32) {
	x.start = timeOfTen(p - p%dayTens)
	if x.r.class == classMail {
		return
	}
	for _, rule := range [...]int{ruleSanctioned, ruleSlow, ruleNew} {
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
// the source are seen.
func (x *ruling) unresolved() {
	if x.r.class == classMail || !x.m.asks(&x.hour, x.env) {
		return
	}
	l := x.limits(ruleNoDNS)
	var f reading
	f.take(&x.hour)
	if _, n := x.m.d.shared.of(x.r.tag); float64(x.hour.up) >= l[noBytes] && float64(n) <= l[noSources] {
		f.point(ptUnresolved, "address_nobody_looked_up", 4, float64(x.hour.up), l[noBytes])
	}
	x.by(ruleNoDNS, &f)
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

// lastWord looks again at what has changed since it was looked at when hours
// were over last: what stands then is a function of the events alone.
func (m *meter) lastWord(at int64, env *detect.Env) {
	for hour, ok := m.oldestHour(); ok && m.reaches(hour); hour++ {
		m.judgeHour(hour, nil, env, true)
	}
	mail := int32(0)
	for _, r := range m.sortedRoutes() {
		if from := r.touched; from != 0 {
			r.touched = 0
			if r.class == classMail {
				if mail == 0 || from < mail {
					mail = from
				}
			} else if r.all >= m.d.gates.route || len(r.spoken) > 0 {
				x := m.ruling(r, nil, env)
				for hour := from / hourTens; hour <= r.last/hourTens; hour++ {
					x.hourly(hour)
				}
				for day := from / dayTens; day <= r.last/dayTens; day++ {
					x.daily(min(r.last, (day+1)*dayTens-1))
				}
			}
		}
		r.spoken = slices.DeleteFunc(r.spoken, func(s spoken) bool { return s.start < at-2*24*3600*second })
	}
	for hour := mail / hourTens; mail != 0 && hour <= tenOf(m.last)/hourTens; hour++ {
		m.mailHour(hour, nil, env)
	}
}
