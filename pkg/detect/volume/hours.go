package volume

import (
	"net/netip"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// oldestHour is the first hour that is still open.
func (m *meter) oldestHour() (hour int32, ok bool) {
	for _, g := range m.gauges {
		for i := range g.panes {
			if h := g.panes[i].at / hourTens; h > m.closed && (!ok || h < hour) {
				hour, ok = h, true
			}
		}
	}
	return hour, ok
}

// closeHour puts an hour into the baselines and drops its panes. Hours are
// closed in their order, so that what a limit is depends on nothing but the
// events.
func (m *meter) closeHour(hour int32, env *detect.Env) {
	p := m.d.params(env, m.src, m.d.rules[ruleAnomaly], anFactor, anFloor, timeOfTen(hour*hourTens))
	q := m.d.params(env, m.src, m.d.rules[ruleSanctioned], saFactor, saFloor, timeOfTen(hour*hourTens))
	for i, k := range m.kinds {
		var up, permitted uint64
		for _, g := range m.gauges {
			if int(g.kind) == i {
				a, b := g.clock(hour)
				up, permitted = max(up, a), max(permitted, b)
			}
		}
		as := m.marked(hour, uint8(i))
		if k.own == nil && (up >= notable || as != baseline.Plain) {
			k.own = &baseline.Series{}
			k.own.Begin(k.first)
		}
		if k.own != nil {
			u, st := k.own.Put(hour, up, as, p)
			m.drift(k, hour, &u, env)
			if st == baseline.Plain && k.own.Mature(hour) && up >= notable {
				m.d.shared.group(m.groupOf(k, env.Site), true).Add(xxhash.Sum64String(env.Key), hour, up)
			}
		}
		if k.permitted == nil && permitted >= notable {
			k.permitted = &baseline.Series{}
			k.permitted.Begin(k.first)
		}
		if k.permitted != nil {
			k.permitted.Put(hour, permitted, m.marked(hour, uint8(i)|permittedMark), q)
		}
		k.asked = 0
	}
	m.marks = slices.DeleteFunc(m.marks, func(x hourMark) bool { return x.hour <= hour })
	m.closed = hour
	for _, g := range m.gauges {
		// The panes of an hour are wanted for the hours that end in the next.
		n := 0
		for n < len(g.panes) && g.panes[n].at/hourTens < hour {
			n++
		}
		g.panes = slices.Delete(g.panes, 0, n)
	}
}

// params are the limits of a baseline for the source.
func (d *metered) params(env *detect.Env, src netip.Addr, rule *tuned, factor, floor int, at int64) baseline.Params {
	l := rule.limits(env, site.Subject{Address: src}, at)
	return baseline.Params{Factor: l[factor], Floor: uint64(max(0, l[floor]))}
}

// permittedMark in hourMark.kind says that it is about what is sanctioned.
const permittedMark = 0x80

// marked is what is known of an hour: that an alert spoke of it, or how that was
// answered.
func (m *meter) marked(hour int32, kind uint8) (as baseline.State) {
	for _, x := range m.marks {
		if x.hour != hour || x.kind != kind {
			continue
		}
		if x.answer != baseline.Plain {
			return x.answer
		}
		if x.alerted {
			as = baseline.Quarantined
		}
	}
	return as
}

// mark notes that an alert spoke of the hours of a finding.
func (m *meter) mark(hour int32, kind uint8) {
	for i := range m.marks {
		if m.marks[i].hour == hour && m.marks[i].kind == kind {
			m.marks[i].alerted = true
			return
		}
	}
	if len(m.marks) == maxMarks {
		m.marks = slices.Delete(m.marks, 0, 1)
	}
	m.marks = append(m.marks, hourMark{hour: hour, kind: kind, alerted: true})
}

// groupOf names what a source is compared with while it has no history: its
// role, else its subnet, by kind of observer.
func (m *meter) groupOf(k *kind, s *site.Site) string {
	if role := s.Role(m.src); role != "" {
		return k.name + "|role " + role
	}
	n := 24
	if m.src.Is6() {
		n = 64
	}
	p, err := m.src.Prefix(n)
	if err != nil {
		return k.name
	}
	return k.name + "|" + p.String()
}
