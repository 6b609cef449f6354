package volume

import (
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// Remembers implements detect.Historian: whoever counts what addresses send.
func (d *metered) Remembers(observer string) bool { return observer != "cloudtrail" }

// Remember implements detect.Rememberer. An hour of which more is known from
// events stays as it is; what was answered or is quarantined keeps that. It is
// as if the hour had been closed, but for signals: a history is not judged.
func (m *meter) Remember(h *signal.History, env *detect.Env) {
	if !m.src.IsValid() {
		if !h.Source.IsValid() {
			env.Count("histories_dropped", meterInfoID, 1)
			return
		}
		m.src = h.Source.Unmap()
		m.id = uint16(xxhash.Sum64String(env.Key))
	}
	k := m.kindOf(h.Observer)
	if k == nil {
		env.Count("histories_dropped", meterInfoID, 1)
		return
	}
	for i := range h.Hours {
		x := &h.Hours[i]
		hour := max(baseline.HourOf(x.Start), 1)
		m.last = max(m.last, x.Start+baseline.Hour-1)
		k.first = min(k.first, hour)
		m.d.shared.since(hour)
		fill(&k.own, k, hour, x.Bytes, m.d.params(env, m.src, m.d.rules[ruleAnomaly], anFactor, anFloor, x.Start))
		fill(&k.permitted, k, hour, x.Permitted, m.d.params(env, m.src, m.d.rules[ruleSanctioned], saFactor, saFloor, x.Start))
		if k.own != nil && x.Bytes >= notable && k.own.Mature(hour) && k.own.StateOf(hour) == baseline.Plain {
			m.d.shared.group(m.groupOf(k, env.Site), true).Add(xxhash.Sum64String(env.Key), hour, x.Bytes)
		}
	}
	k.asked = 0
}

// fill puts an hour into a series, which begins with the first notable one.
func fill(to **baseline.Series, k *kind, hour int32, sum uint64, p baseline.Params) {
	if *to == nil {
		if sum < notable {
			return
		}
		*to = &baseline.Series{}
		(*to).Begin(k.first)
	}
	if sum > (*to).BytesOf(hour) {
		(*to).Put(hour, sum, baseline.Plain, p)
	}
}

// kindOf finds or makes the baseline of a kind of observer; nil where there is
// no room.
func (m *meter) kindOf(observer string) *kind {
	for _, k := range m.kinds {
		if k.name == observer {
			return k
		}
	}
	if len(m.kinds) == maxKinds {
		return nil
	}
	k := &kind{name: strings.Clone(observer), first: 1 << 30}
	m.kinds = append(m.kinds, k)
	m.derive()
	return k
}

// Past sums what addresses sent outwards, by hours, as a meter would count it:
// what a backfill makes histories of. Names of destinations are not known to it,
// so that what a site sanctions or owns by name counts as sent.
type Past struct {
	baseline.Past

	site *site.Site
	env  detect.Env
}

// NewPast makes an empty one for the hours that begin from a time on and before
// another, microseconds, that holds at most a number of sums.
func NewPast(s *site.Site, from, to int64, bound int) *Past {
	return &Past{Past: baseline.NewPast(from, to, bound), site: s, env: detect.Env{Site: s}}
}

// Observe counts an event with its direction and key (site.Place).
func (p *Past) Observe(e *event.Event, key []byte) error {
	if e.Kind != event.KindConn && e.Kind != event.KindFlow || e.Role != "" || e.Conn.Open {
		return nil
	}
	var t transfer
	if !measure(e, &t) || t.up == 0 || p.site.Aggregator(t.src, t.time) || p.site.BackupSource(t.src, "", t.time) {
		return nil
	}
	if mailPort(t.port) && p.site.MailRelay(t.src, t.time) {
		return nil
	}
	s := baseline.Sample{
		Observer: e.Observer.Type, View: xxhash.Sum64String(e.Observer.Name) ^ 3*xxhash.Sum64String(viewed(e).Interface),
		Source: t.src, Start: t.start, End: t.time, Bytes: t.up,
	}
	if st, _ := standingOf(&t, "", &p.env); st == routePermitted {
		s.Bytes, s.Permitted = 0, t.up
	}
	return p.Add(key, s)
}
