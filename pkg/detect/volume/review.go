package volume

import (
	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// Baselines implements detect.Baseliner.
func (m *meter) Baselines(env *detect.Env, yield func(detect.Baseline)) {
	for _, k := range m.kinds {
		if s := k.own; s != nil {
			p := m.d.params(env, m.src, m.d.rules[ruleAnomaly], anFactor, anFloor, baseline.TimeOf(s.Last()))
			yield(detect.Baseline{Observer: k.name, What: detect.Sent, Series: s, Params: p})
		}
		if s := k.permitted; s != nil {
			p := m.d.params(env, m.src, m.d.rules[ruleSanctioned], saFactor, saFloor, baseline.TimeOf(s.Last()))
			yield(detect.Baseline{Observer: k.name, What: detect.Sanctioned, Series: s, Params: p})
		}
	}
}

// Purge implements detect.Purger. Hours that are not over yet are taken out when
// they are.
func (m *meter) Purge(p *signal.Purge, env *detect.Env) {
	from, to := baseline.HourOf(p.First), baseline.HourOf(p.Last)
	last := baseline.HourOf(m.last)
	sent, sanctioned := p.What == "" || p.What == detect.Sent, p.What == "" || p.What == detect.Sanctioned
	n := 0
	for i, k := range m.kinds {
		if p.Observer != "" && p.Observer != k.name {
			continue
		}
		if sent && k.own != nil {
			n += k.own.Purge(from, to)
		}
		if sanctioned && k.permitted != nil {
			n += k.permitted.Purge(from, to)
		}
		for hour := max(from, m.closed+1, last-maxMarks); hour <= min(to, last); hour++ {
			if sent {
				m.purgeOpen(hour, uint8(i))
			}
			if sanctioned {
				m.purgeOpen(hour, uint8(i)|permittedMark)
			}
		}
		k.asked = 0
	}
	env.Count("hours_purged", detect.Sent, int64(n))
}

// purgeOpen answers an hour before it is over.
func (m *meter) purgeOpen(hour int32, kind uint8) {
	for i := range m.marks {
		if x := &m.marks[i]; x.hour == hour && x.kind == kind {
			x.answer = baseline.Purged
			return
		}
	}
	if len(m.marks) < maxMarks {
		m.marks = append(m.marks, hourMark{hour: hour, kind: kind, answer: baseline.Purged})
	}
}

// Baselines implements detect.Baseliner. There is no limit by a factor alone:
// what a host collects is compared with its percentile where enough peers are.
func (c *collector) Baselines(_ *detect.Env, yield func(detect.Baseline)) {
	if c.series != nil {
		yield(detect.Baseline{What: detect.Collected, Series: c.series, Params: baseline.Params{Factor: 1, Floor: notable}})
	}
}

// Purge implements detect.Purger. All observers are one series here.
func (c *collector) Purge(p *signal.Purge, env *detect.Env) {
	if c.series == nil || p.Observer != "" || p.What != "" && p.What != detect.Collected {
		return
	}
	env.Count("hours_purged", detect.Collected, int64(c.series.Purge(baseline.HourOf(p.First), baseline.HourOf(p.Last))))
}
