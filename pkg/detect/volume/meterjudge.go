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
		d.rules[ruleSustained].scaled(suRate, 1e6/8*60*4), d.rules[ruleShare].least(shBytes),
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
