package correlate

import (
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// importance orders what pages: a pair pages again whatever the severity was.
func importance(a *alert.Alert) int {
	n := 2 * alert.SeverityRank(a.Severity)
	if a.Joined != nil {
		n++
	}
	return n
}

// detectorsOf hashes the set of detectors of an incident.
func detectorsOf(members []*held) (uint64, []string) {
	var ids []string
	for _, h := range members {
		if !slices.Contains(ids, h.sig.Detector) {
			ids = append(ids, h.sig.Detector)
		}
	}
	slices.Sort(ids)
	var d xxhash.Digest
	for _, id := range ids {
		_, _ = d.WriteString(id)
		_, _ = d.WriteString("\x00")
	}
	return d.Sum64(), ids
}

// statusOf is what an incident with these members is, apart from its first
// revision being open and not updated.
func (c *Correlator) statusOf(inc *incident, a *alert.Alert) alert.Status {
	switch {
	case inc.verdict != nil && inc.verdict.Verdict.Verdict == "benign" && !inc.beyondVerdict(a):
		return alert.Closed
	case inc.closed:
		return alert.Closed
	case c.deploying(inc, a):
		return alert.Suppressed
	}
	return alert.Updated
}

// beyondVerdict reports whether an alert has become more than what an analyst
// has judged.
func (inc *incident) beyondVerdict(a *alert.Alert) bool {
	if importance(a) > inc.verdict.importance {
		return true
	}
	_, now := detectorsOf(inc.members)
	return slices.ContainsFunc(now, func(id string) bool { return !slices.Contains(inc.verdict.detectors, id) })
}

// publish emits a revision of an incident if there is something to say.
func (c *Correlator) publish(inc *incident) {
	a := c.build(inc, inc.members)
	a.Status = c.statusOf(inc, &a)
	if inc.pub.revision == 0 {
		c.publishFirst(inc, &a)
		return
	}
	dig := c.digest(&a)
	set, _ := detectorsOf(inc.members)
	if dig == inc.pub.digest {
		c.settle(inc)
		return
	}
	p := &inc.pub
	was := p.status
	if was == alert.Open {
		was = alert.Updated
	}
	material := a.Detector != p.rule || a.Severity != p.severity || a.Confidence != p.confidence || a.Classification != p.class ||
		a.Status != was || set != p.detectors
	if !material && c.now < p.at+Quiet {
		if !inc.pending {
			c.ctx.Touch(inc.bucket)
			inc.pending = true
			c.pending[inc.id] = inc
			c.due = min(c.due, p.at+Quiet)
		}
		return
	}
	c.emit(inc, &a, dig, set)
}

// settle forgets that a revision waits.
func (c *Correlator) settle(inc *incident) {
	if inc.pending {
		c.ctx.Touch(inc.bucket)
		inc.pending = false
		delete(c.pending, inc.id)
	}
}

// publishFirst emits the first revision, or puts the incident into a roll-up
// where its detector has used up its budget.
func (c *Correlator) publishFirst(inc *incident, a *alert.Alert) {
	if inc.verdict == nil && a.Status == alert.Closed {
		a.Status = alert.Updated // what nobody has seen cannot be closed
	}
	if a.Status == alert.Updated {
		a.Status = alert.Open
	}
	if a.Joined == nil && !c.afford(inc, a) {
		c.roll(inc, a)
		return
	}
	if inc.rolled != "" {
		c.unroll(inc)
	}
	set, _ := detectorsOf(inc.members)
	c.emit(inc, a, c.digest(a), set)
}

// digest is a hash of what a document says, apart from what is added to every
// revision when it is sent: number, time, notification and completeness.
func (c *Correlator) digest(a *alert.Alert) uint64 {
	b := *a
	if b.Status == alert.Open {
		b.Status = alert.Updated
	}
	// The coordinates stand for the records.
	b.Evidence = slices.Clone(b.Evidence)
	for i := range b.Evidence {
		b.Evidence[i].Record = nil
	}
	if b.Joined != nil {
		j := *b.Joined
		j.Revision = 0
		b.Joined = &j
	}
	data, err := b.Append(c.buf[:0])
	if err != nil {
		c.ctx.Count("encode_errors", "alert", 1)
		return 0
	}
	c.buf = data
	return xxhash.Sum64(data)
}

// emit sends the next revision of an incident.
func (c *Correlator) emit(inc *incident, a *alert.Alert, digest, detectors uint64) {
	c.ctx.Touch(inc.bucket)
	p := &inc.pub
	if inc.opened == 0 {
		inc.opened = c.now
	}
	p.revision++
	a.Revision = p.revision
	if a.Joined != nil && inc.joinedRev == 0 {
		inc.joinedRev = p.revision
		a.Joined.Revision = p.revision
		c.ctx.Count("correlated_alerts", a.Severity, 1)
	}
	switch n := importance(a); a.Status {
	case alert.Open, alert.Updated:
		switch {
		case p.paged == 0:
			a.Notify = alert.NotifyFirst
		case n > p.paged:
			a.Notify = alert.NotifyRaised
		}
		p.paged = max(p.paged, n)
	case alert.Retracted:
		if p.paged > 0 {
			a.Notify = alert.NotifyRetracted
		}
		p.paged = 0
	case alert.Suppressed, alert.Closed:
	}
	p.at, p.status, p.rule, p.severity, p.confidence, p.class = c.now, a.Status, a.Detector, a.Severity, a.Confidence, a.Classification
	p.detectors, p.digest = detectors, digest
	c.settle(inc)
	c.send(a)
}

// send writes an alert to its topic.
func (c *Correlator) send(a *alert.Alert) {
	a.Created, a.Completeness = c.now, c.completeness()
	data, err := a.Append(c.buf[:0])
	if err != nil {
		c.ctx.Count("encode_errors", "alert", 1)
		return
	}
	c.buf = data
	c.ctx.Count("alerts", string(a.Status), 1)
	if a.Notify != "" {
		c.ctx.Count("alerts_notified", string(a.Notify), 1)
	}
	c.ctx.Emit(operator.Output{Topic: alert.Topic, Kind: alert.Kind, V: alert.Version, Key: []byte(a.ID), Value: data})
}

// retract takes an alert back: it is part of another one, or nothing is left
// that would make it an alert. members are what it had.
func (c *Correlator) retract(inc *incident, members []*held, into string) {
	c.ctx.Touch(inc.bucket)
	if inc.rolled != "" {
		c.unroll(inc)
	}
	if inc.pub.revision == 0 {
		for _, m := range members {
			if m.inc == inc {
				m.inc = nil
			}
		}
		c.removeIncident(inc)
		return
	}
	if !inc.gone {
		inc.superseded = into
		a := c.build(inc, members)
		a.Status, a.SupersededBy = alert.Retracted, into
		if into == "" {
			a.Reason = "retracted: " + a.Reason
		}
		set, _ := detectorsOf(members)
		c.emit(inc, &a, c.digest(&a), set)
	}
	for _, m := range members {
		if m.inc == inc {
			m.inc = nil
		}
	}
	inc.gone, inc.members, inc.news = true, nil, c.now
}

// flush emits the revisions that have waited long enough.
func (c *Correlator) flush() {
	if c.now >= c.due {
		c.flushPending(false)
	}
}

func (c *Correlator) flushPending(all bool) {
	c.due = never
	var due []*incident
	for _, inc := range c.pending {
		if at := inc.pub.at + Quiet; all || c.now >= at {
			due = append(due, inc)
		} else {
			c.due = min(c.due, at)
		}
	}
	slices.SortFunc(due, earlier)
	for _, inc := range due {
		if all {
			c.ctx.Touch(inc.bucket)
			inc.pub.at = min(inc.pub.at, c.now-Quiet) // it was the last word
		}
		c.publish(inc)
	}
	c.flushRollups(all)
}

// onVerdict takes an analyst's answer.
func (c *Correlator) onVerdict(v *signal.Verdict) {
	answer := alert.Verdict{Verdict: v.Verdict, By: v.By, Why: v.Why, Time: v.Time}
	if r := c.rollups[v.AlertID]; r != nil {
		if r.verdict != nil && sameAnswer(r.verdict, &answer) {
			c.ctx.Count("verdicts", "repeated", 1)
			return
		}
		c.ctx.Count("verdicts", v.Verdict, 1)
		r.verdict = &answer
		c.publishRollup(r, true)
		return
	}
	inc := c.lookup(v.AlertID)
	if inc == nil {
		c.ctx.Count("verdicts", "unknown", 1)
		return
	}
	a := c.build(inc, inc.members)
	_, ids := detectorsOf(inc.members)
	if b := inc.verdict; b != nil && sameAnswer(&b.Verdict, &answer) && b.importance == importance(&a) && slices.Equal(b.detectors, ids) {
		c.ctx.Count("verdicts", "repeated", 1)
		return
	}
	c.ctx.Count("verdicts", v.Verdict, 1)
	c.ctx.Touch(inc.bucket)
	if before := inc.verdict; before == nil || before.Verdict.Verdict != v.Verdict {
		c.release(inc, v)
	}
	inc.verdict = &verdict{answer, importance(&a), ids}
	if len(inc.members) > 0 {
		inc.pub.at = min(inc.pub.at, c.now-Quiet) // an answer does not wait
		c.publish(inc)
	}
}

// sameAnswer reports whether an answer was only given again.
func sameAnswer(a, b *alert.Verdict) bool {
	return a.Verdict == b.Verdict && a.By == b.By && a.Why == b.Why
}

// lookup finds the incident of an alert id, or the one that has taken it over.
func (c *Correlator) lookup(id string) *incident {
	for range 8 { // a chain of merges
		inc := c.incidents[bucketOf(id)][id]
		if inc == nil || !inc.gone {
			return inc
		}
		id = inc.superseded
	}
	return nil
}
