package correlate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// budgetKey counts the alerts of a detector whose founding signal began on a
// day of event time. What a deployment excuses is counted apart: it pages
// nobody, and must not use up what would.
type budgetKey struct {
	detector   string
	day        int64
	suppressed bool
}

// spent is how much of a budget was used, and when last (append time).
type spent struct {
	n  int
	at int64
}

// rollup is the alert that stands for those beyond the budget.
type rollup struct {
	id       string
	detector string
	day      int64
	list     []rolled // at most maxRolled, in the order of coming
	total    int
	severity string
	first    int64
	last     int64
	waits    bool
	at       int64 // append time of the last revision
	revision uint64
	paged    int
	verdict  *alert.Verdict
}

type rolled struct {
	alert.Rolled
	confidence string
}

// afford reports whether a first revision is within the budget, and counts it.
func (c *Correlator) afford(inc *incident, a *alert.Alert) bool {
	if inc.rolled != "" {
		return false
	}
	if c.cfg.Budget < 0 || inc.opened != 0 {
		return true
	}
	k := budgetKey{a.Detector, inc.since / day, a.Status == alert.Suppressed}
	s := c.budget[k]
	if s.n >= c.cfg.Budget {
		return false
	}
	c.budget[k] = spent{s.n + 1, c.now}
	return true
}

// roll puts an incident into the roll-up of its detector and day, or renews
// what stands there.
func (c *Correlator) roll(inc *incident, a *alert.Alert) {
	id := signal.ID("rollup", a.Detector, strconv.FormatInt(inc.since/day, 10))
	if inc.rolled != "" {
		id = inc.rolled
	}
	r := c.rollups[id]
	if r == nil {
		if len(c.rollups) == maxRollups {
			c.evictRollup()
		}
		b := bucketOf(id)
		c.ctx.Touch(b)
		r = &rollup{id: id, detector: a.Detector, day: inc.since / day, first: a.First, last: a.Time, revision: c.exhume(id, b).revision}
		c.rollups[id] = r
		c.ctx.Touch(inc.bucket)
		inc.rolled = "" // if it stood in one, that one is forgotten
	}
	entry := rolled{alert.Rolled{ID: inc.id, Entity: a.Entity.Name, Severity: a.Severity, Reason: a.Reason}, a.Confidence}
	at := slices.IndexFunc(r.list, func(x rolled) bool { return x.ID == inc.id })
	switch {
	case at >= 0 && r.list[at] == entry && r.last >= a.Time:
		return
	case at >= 0:
		r.list[at] = entry
	case inc.rolled == "":
		c.ctx.Count("alerts_rolled_up", a.Detector, 1)
		r.total++
		if len(r.list) < maxRolled {
			r.list = append(r.list, entry)
		}
	}
	c.ctx.Touch(inc.bucket)
	inc.rolled = id
	if inc.opened == 0 {
		inc.opened = c.now
	}
	r.first, r.last = min(r.first, a.First), max(r.last, a.Time)
	raised := alert.SeverityRank(a.Severity) > alert.SeverityRank(r.severity)
	if raised {
		r.severity = a.Severity
	}
	c.publishRollup(r, raised)
}

// evictRollup forgets the roll-up that was heard of longest ago.
func (c *Correlator) evictRollup() {
	all := slices.Collect(maps.Values(c.rollups))
	v := slices.MinFunc(all, func(a, b *rollup) int { return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.id, b.id)) })
	c.ctx.Count("rollups_evicted", "bound", 1)
	c.forgetRollup(v)
}

func (c *Correlator) forgetRollup(r *rollup) {
	b := bucketOf(r.id)
	c.ctx.Touch(b)
	delete(c.rollups, r.id)
	c.bury(r.id, b, r.revision)
}

// unroll takes an incident out of its roll-up: it speaks for itself now, or is
// gone.
func (c *Correlator) unroll(inc *incident) {
	r := c.rollups[inc.rolled]
	c.ctx.Touch(inc.bucket)
	inc.rolled = ""
	if r == nil {
		return
	}
	r.total--
	r.list = slices.DeleteFunc(r.list, func(x rolled) bool { return x.ID == inc.id })
	c.publishRollup(r, false)
}

func (c *Correlator) renameRolled(rollupID, from, to string) {
	if r := c.rollups[rollupID]; r != nil {
		for i := range r.list {
			if r.list[i].ID == from {
				r.list[i].ID = to
				r.waits = true
				c.due = min(c.due, r.at+Quiet)
			}
		}
	}
}

// publishRollup emits a roll-up, at once when that is urgent or nothing was
// said for a while.
func (c *Correlator) publishRollup(r *rollup, urgent bool) {
	if !urgent && r.revision > 0 && c.now < r.at+Quiet {
		r.waits = true
		c.due = min(c.due, r.at+Quiet)
		return
	}
	r.waits = false
	r.revision++
	r.at = c.now
	a := alert.Alert{
		ID: r.id, Revision: r.revision, Status: alert.Updated, Detector: r.detector, Time: r.last, First: r.first,
		Window: alert.Window{Start: r.day * day, End: (r.day + 1) * day}, Severity: r.severity, Confidence: "low",
		Entity: alert.Entity{Type: "rollup", Name: "several"}, Action: alert.Action(r.detector), RollupTotal: r.total, Verdict: r.verdict,
		Reason: fmt.Sprintf("%d more alerts of %s on %s beyond the budget of %d", r.total, r.detector, time.UnixMicro(r.day*day).UTC().Format(time.DateOnly), c.cfg.Budget),
	}
	list := slices.Clone(r.list)
	slices.SortFunc(list, func(a, b rolled) int {
		return cmp.Or(-cmp.Compare(alert.SeverityRank(a.Severity), alert.SeverityRank(b.Severity)), strings.Compare(a.ID, b.ID))
	})
	for _, x := range list {
		a.Rollup = append(a.Rollup, x.Rolled)
		if alert.ConfidenceRank(x.confidence) > alert.ConfidenceRank(a.Confidence) {
			a.Confidence = x.confidence
		}
	}
	a.Risk = alert.Risk(a.Severity, a.Confidence, "", 1)
	n := 2 * alert.SeverityRank(r.severity)
	switch {
	case r.total == 0:
		a.Status = alert.Closed
	case r.verdict != nil && r.verdict.Verdict == "benign" && n <= r.paged:
		a.Status = alert.Closed
	case r.paged == 0:
		a.Notify = alert.NotifyFirst
	case n > r.paged:
		a.Notify = alert.NotifyRaised
	}
	if r.revision == 1 {
		a.Status = alert.Open
	}
	r.paged = max(r.paged, n)
	c.send(&a)
}

func (c *Correlator) flushRollups(all bool) {
	var due []*rollup
	for _, r := range c.rollups {
		switch {
		case r.waits && (all || c.now >= r.at+Quiet):
			due = append(due, r)
		case r.waits:
			c.due = min(c.due, r.at+Quiet)
		}
	}
	slices.SortFunc(due, func(a, b *rollup) int { return strings.Compare(a.id, b.id) })
	for _, r := range due {
		c.publishRollup(r, true)
	}
}
