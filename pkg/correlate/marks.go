package correlate

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// ended is the watermark of a source that has ended (detect.Never).
const ended = math.MaxInt64

// instance is one partition of detect with how far its sources are.
type instance struct {
	heard   int64 // append time
	sources []source
}

// source is the least complete source of a type, of those that are there or of
// those that have vanished.
type source struct {
	typ string
	// low is how far it is: 0 is not known; below 0, it has vanished and -low
	// is the last it said, for which nobody waits.
	low int64
}

// until is how far the source was when it was heard of last.
func (s *source) until() int64 { return max(s.low, -s.low) }

// onMark takes a mark of detect in c.mark.
func (c *Correlator) onMark() {
	m := &c.mark
	in := c.instances[m.Instance]
	if in == nil {
		if len(c.instances) == maxInstances {
			c.ctx.Count("marks", "too_many", 1)
			return
		}
		in = &instance{}
		c.instances[m.Instance] = in
	}
	in.heard, in.sources = c.now, in.sources[:0]
	for i := range m.Sources {
		in.add(&m.Sources[i])
	}
	// A silent instance says nothing about how complete its sources are.
	maps.DeleteFunc(c.instances, func(_ string, in *instance) bool { return in.heard+markExpiry < c.now })
	low, over := int64(ended), len(c.instances) > 0
	for _, in := range c.instances {
		for _, s := range in.sources {
			if s.low < 0 {
				continue
			}
			over = over && s.low == ended
			if s.low != 0 {
				low = min(low, s.low)
			}
		}
	}
	if low != ended {
		c.low = max(c.low, low)
	}
	if over {
		c.flushPending(true) // nothing follows that would bring them out
	}
}

func (in *instance) add(m *event.SourceMark) {
	low := m.Low
	if m.Expired {
		low = -low
	}
	i, found := slices.BinarySearchFunc(in.sources, m.Type, func(s source, t string) int {
		gone := 0
		if s.low < 0 {
			gone++
		}
		if m.Expired {
			gone--
		}
		return cmp.Or(strings.Compare(s.typ, t), gone)
	})
	switch {
	case found && m.Expired:
		in.sources[i].low = max(in.sources[i].low, low)
	case found:
		in.sources[i].low = least(in.sources[i].low, low)
	case len(in.sources) < maxSources:
		in.sources = slices.Insert(in.sources, i, source{strings.Clone(m.Type), low})
	}
}

// least is the smaller of two watermarks; not known is less than all.
func least(a, b int64) int64 {
	if a == 0 || b == 0 {
		return 0
	}
	return min(a, b)
}

// completeness says how far each type of source is.
func (c *Correlator) completeness() []alert.Completeness {
	lows := map[string]int64{}
	for _, in := range c.instances {
		for _, s := range in.sources {
			if low, known := lows[s.typ]; known {
				lows[s.typ] = least(low, s.until())
			} else {
				lows[s.typ] = s.until()
			}
		}
	}
	out := make([]alert.Completeness, 0, len(lows))
	for typ, low := range lows {
		if low == ended {
			out = append(out, alert.Completeness{Type: typ, Ended: true})
		} else {
			out = append(out, alert.Completeness{Type: typ, Until: low})
		}
	}
	slices.SortFunc(out, func(a, b alert.Completeness) int { return strings.Compare(a.Type, b.Type) })
	return out
}

// sweep closes incidents and forgets what is old.
func (c *Correlator) sweep() {
	c.swept, c.sweptLow = c.now, c.low
	past := func(eventTime, appended, after int64) bool {
		return (c.low != 0 && c.low >= eventTime+after) || c.now >= appended+after
	}
	var all []*incident
	for b := range buckets {
		for _, inc := range c.incidents[b] {
			all = append(all, inc)
		}
	}
	slices.SortFunc(all, earlier)
	for _, inc := range all {
		switch {
		case past(inc.end, inc.news, 2*day):
			c.forget(inc)
		case !inc.gone && !inc.closed && past(inc.end, inc.news, day):
			c.ctx.Touch(inc.bucket)
			inc.closed = true
			if inc.pub.revision > 0 {
				c.publish(inc)
			}
		}
	}
	c.boundIncidents()
	for range buckets / sweepShare {
		c.sweepBucketOf(c.sweepBucket)
		c.sweepBucket = (c.sweepBucket + 1) % buckets
	}
	c.deployments = slices.DeleteFunc(c.deployments, func(d deployment) bool { return past(d.until, d.heard, 2*day) })
	maps.DeleteFunc(c.budget, func(k budgetKey, s spent) bool { return past((k.day+1)*day, s.at, 2*day) })
	for _, id := range slices.Sorted(maps.Keys(c.rollups)) {
		if r := c.rollups[id]; past(r.last, r.at, 2*day) && !r.waits {
			c.forgetRollup(r)
		}
	}
}

// sweepBucketOf forgets what is old in a bucket.
func (c *Correlator) sweepBucketOf(b int) {
	var old []*held
	for _, h := range c.signals[b] {
		if h.inc == nil && !c.summed(h) && ((c.low != 0 && c.low >= h.sig.Time+day+c.th.slack) || c.now >= h.heard+day+heldSlack) {
			old = append(old, h)
		}
	}
	slices.SortFunc(old, func(x, y *held) int { return cmp.Compare(x.seq, y.seq) })
	for _, h := range old {
		c.drop(h)
	}
	if len(old) > 0 {
		c.ctx.Count("signals_expired", "age", int64(len(old)))
	}
	if n := c.graph.Sweep(b, c.now, c.ctx.Touch); n > 0 {
		c.ctx.Count("claims_expired", "age", int64(n))
	}
	if past := func(_ string, g grave) bool { return g.at+graveTime < c.now }; hasGrave(c.graves[b], past) {
		c.ctx.Touch(b)
		maps.DeleteFunc(c.graves[b], past)
	}
}

func hasGrave(m map[string]grave, is func(string, grave) bool) bool {
	for id, g := range m {
		if is(id, g) {
			return true
		}
	}
	return false
}

// forget drops an incident and its signals.
func (c *Correlator) forget(inc *incident) {
	c.ctx.Touch(inc.bucket)
	members := inc.members
	inc.members = nil
	for _, h := range members {
		h.inc = nil
		c.drop(h)
	}
	c.removeIncident(inc)
	c.bury(inc.id, inc.bucket, inc.pub.revision)
}

// boundIncidents forgets incidents beyond the bound: first those that are
// gone, then closed and rolled-up ones, then those without news.
func (c *Correlator) boundIncidents() {
	if c.incidentN <= maxIncidents {
		return
	}
	all := make([]*incident, 0, c.incidentN)
	for b := range buckets {
		for _, inc := range c.incidents[b] {
			all = append(all, inc)
		}
	}
	worth := func(inc *incident) int {
		switch {
		case inc.gone:
			return 0
		case inc.closed || inc.rolled != "":
			return 1
		case inc.joinedRev != 0:
			return 3
		}
		return 2
	}
	slices.SortFunc(all, func(a, b *incident) int {
		return cmp.Or(cmp.Compare(worth(a), worth(b)), cmp.Compare(a.news, b.news), earlier(a, b))
	})
	n := c.incidentN - maxIncidents
	for _, inc := range all[:n] {
		c.forget(inc)
	}
	c.ctx.Count("incidents_evicted", "bound", int64(n))
}
