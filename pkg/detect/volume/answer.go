package volume

import (
	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// Release implements detect.Releaser: what was answered as benign becomes usual
// at that time of day, what was answered as true never does. Hours that are not
// over yet get their answer when they are.
func (m *meter) Release(r *signal.Release, env *detect.Env) {
	about := uint8(0)
	rule, factor, floor := m.d.rules[ruleAnomaly], anFactor, anFloor
	switch r.Detector {
	case meterInfos[ruleAnomaly].ID, meterInfos[ruleFixed].ID:
	case meterInfos[ruleSanctioned].ID:
		about = permittedMark
		rule, factor, floor = m.d.rules[ruleSanctioned], saFactor, saFloor
	default:
		return
	}
	from, to := baseline.HourOf(r.First), baseline.HourOf(r.Last)
	benign := r.Verdict == "benign"
	answer := baseline.Purged
	if benign {
		answer = baseline.Allowed
	}
	n := 0
	for _, k := range m.kinds {
		s := k.own
		if about != 0 {
			s = k.permitted
		}
		if s != nil {
			n += s.Answer(from, to, benign, m.d.params(env, m.src, rule, factor, floor, r.First))
		}
		k.asked = 0
	}
	for i := range m.marks {
		if x := &m.marks[i]; x.hour >= from && x.hour <= to && x.kind&permittedMark == about {
			x.answer = answer
			n++
		}
	}
	env.Count("hours_answered", r.Verdict, int64(n))
}
