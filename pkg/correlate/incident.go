package correlate

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// incident is what stands behind an alert.
type incident struct {
	id     string // of the alert
	bucket int
	// founder is the founding signal, since its first event.
	founder string
	since   int64
	// members in the order of founding; dropped counts those forgotten.
	members []*held
	ids     []string // of the members, after a load and until they are linked
	dropped int
	end     int64 // newest event of all that ever belonged to it
	opened  int64 // append time of the first revision; 0 is none yet
	news    int64 // append time of the last signal
	closed  bool  // by time
	// gone says that nothing is left of it: it was taken over by another
	// (superseded) or proved wrong. It stays for a day, for its revisions to
	// go on should it come back.
	gone       bool
	superseded string
	rolled     string // roll-up that speaks for it
	verdict    *verdict
	joinedRev  uint64 // revision in which it became a pair; 0 is never
	pending    bool
	pub        published
}

// published is what the last revision said.
type published struct {
	revision   uint64
	at         int64 // append time
	status     alert.Status
	rule       string
	severity   string
	confidence string
	class      string
	detectors  uint64 // hash of the set
	digest     uint64 // hash of the document
	paged      int    // importance of what was paged; 0 is never
}

// verdict is an analyst's answer and what it was about.
type verdict struct {
	alert.Verdict
	importance int
	detectors  []string
}

// alertID is the id of the alert that a signal founds.
func alertID(founder string) string { return signal.ID("alert", founder) }

// earlier orders incidents: the older keeps its id in a merge.
func earlier(a, b *incident) int {
	return cmp.Or(cmp.Compare(a.since, b.since), strings.Compare(a.founder, b.founder), strings.Compare(a.id, b.id))
}

// regroup judges a signal's neighbourhood anew and publishes what changed.
func (c *Correlator) regroup(h *held) {
	if c.signals[h.bucket][h.sig.ID] != h {
		return // it has given way meanwhile
	}
	all := c.component(h)
	if !c.concerns(all) {
		return
	}
	groups := c.groups(all)

	// The incidents around, oldest first, and the group that each lives on in:
	// that of its founder, else the first that has any of its members.
	var incidents []*incident
	for _, m := range all {
		if m.inc != nil && !slices.Contains(incidents, m.inc) {
			incidents = append(incidents, m.inc)
		}
	}
	slices.SortFunc(incidents, earlier)
	home := map[*group][]*incident{}
	var homeless []*incident
	for _, inc := range incidents {
		if g := c.home(inc, groups); g != nil {
			home[g] = append(home[g], inc)
		} else {
			homeless = append(homeless, inc)
		}
	}
	for _, inc := range incidents {
		for _, m := range inc.members { // also those that the walk did not reach
			m.inc = nil
		}
	}
	type merged struct {
		from *incident
		into string
		was  []*held
	}
	var gone []merged
	var standing []*incident
	for _, g := range groups {
		var inc *incident
		if of := home[g]; len(of) > 0 {
			inc = c.survivor(of, g)
		} else {
			inc = c.found(g)
		}
		if old, was := c.takeOver(inc, g); old != nil {
			gone = append(gone, merged{old, inc.id, was})
		}
		for _, other := range home[g] {
			if other != inc {
				gone = append(gone, merged{other, inc.id, other.members})
				c.absorb(inc, other)
			}
		}
		c.assign(inc, g)
		standing = append(standing, inc)
	}
	for _, inc := range standing {
		c.publish(inc)
	}
	for _, m := range gone {
		c.retract(m.from, m.was, m.into)
	}
	for _, inc := range homeless {
		c.retract(inc, inc.members, "")
	}
}

// concerns reports whether there is anything to group: most signals are weak
// and alone.
func (c *Correlator) concerns(all []*held) bool {
	staged, sent := false, false
	for _, h := range all {
		if h.inc != nil || (h.sig.Alert && !h.excluded) {
			return true
		}
		staged = staged || h.half == staging
		sent = sent || h.half == exfil || h.half == little
	}
	return staged && sent
}

func (c *Correlator) home(inc *incident, groups []*group) *group {
	var some *group
	for _, g := range groups {
		for _, m := range g.members {
			if m.inc != inc {
				continue
			}
			if m.sig.ID == inc.founder {
				return g
			}
			if some == nil {
				some = g
			}
		}
	}
	return some
}

// young reports whether an incident may still change its founder.
func (c *Correlator) young(inc *incident) bool { return inc.opened == 0 || c.now <= inc.opened+Settle }

// survivor is the incident that a group goes on as: the one with the earliest
// founder, or, while that one is young, the one of the group's first signal.
func (c *Correlator) survivor(of []*incident, g *group) *incident {
	if c.young(of[0]) {
		for _, inc := range of[1:] {
			if inc.founder == g.members[0].sig.ID {
				return inc
			}
		}
	}
	return of[0]
}

// taken reports whether an alert id belongs to an incident that stands.
func (c *Correlator) taken(id string) bool {
	inc := c.incidents[bucketOf(id)][id]
	return inc != nil && !inc.gone
}

// found makes the incident of a group, or revives the one that its founder
// has founded before.
func (c *Correlator) found(g *group) *incident {
	// A founder may have left its incident to others, which keep its id.
	f := g.members[0]
	for _, m := range g.members {
		if !c.taken(alertID(m.sig.ID)) {
			f = m
			break
		}
	}
	id := alertID(f.sig.ID)
	for c.taken(id) {
		id = alertID(id)
	}
	b := bucketOf(id)
	c.ctx.Touch(b)
	inc := c.incidents[b][id]
	if inc == nil {
		inc = &incident{id: id, bucket: b, pub: c.exhume(id, b)}
		c.incidents[b][id] = inc
		c.incidentN++
	}
	inc.founder, inc.since, inc.news = f.sig.ID, f.sig.First, c.now
	inc.gone, inc.superseded, inc.closed = false, "", false
	return inc
}

// takeOver gives an incident the id of its earliest signal while it is young
// (Settle): an older one has come, or the founder has proved to be another's.
// It returns what is left under the old id and its members, or nil.
func (c *Correlator) takeOver(inc *incident, g *group) (*incident, []*held) {
	f := g.members[0]
	if f.sig.ID == inc.founder {
		return nil, nil
	}
	if !c.young(inc) || c.taken(alertID(f.sig.ID)) {
		return nil, nil
	}
	c.ctx.Touch(inc.bucket)
	left := *inc
	old := &left
	id := alertID(f.sig.ID)
	b := bucketOf(id)
	c.ctx.Touch(b)
	c.removeIncident(inc)
	if tomb := c.incidents[b][id]; tomb != nil {
		inc.pub, inc.joinedRev = tomb.pub, tomb.joinedRev
		c.removeIncident(tomb)
	} else {
		inc.pub, inc.joinedRev = c.exhume(id, b), 0
	}
	inc.id, inc.bucket, inc.founder, inc.since = id, b, f.sig.ID, f.sig.First
	inc.pending = false
	c.incidents[b][id] = inc
	c.incidentN++
	c.renameRolled(inc.rolled, old.id, id)
	if old.pub.revision == 0 {
		return nil, nil // nobody has heard of it
	}
	c.incidents[old.bucket][old.id] = old
	c.incidentN++
	// The verdict and the place in the budget go with the incident.
	old.verdict, old.rolled, old.pending = nil, "", false
	return old, left.members
}

func (c *Correlator) removeIncident(inc *incident) {
	delete(c.incidents[inc.bucket], inc.id)
	delete(c.pending, inc.id)
	c.incidentN--
}

// grave remembers how far the revisions of a forgotten alert had come: should
// its founding signal come again, they go on.
type grave struct {
	revision uint64
	at       int64 // append time
}

// exhume returns what is remembered of an alert that was forgotten. The bucket
// has been touched.
func (c *Correlator) exhume(id string, b int) published {
	g, ok := c.graves[b][id]
	if !ok {
		return published{}
	}
	delete(c.graves[b], id)
	return published{revision: g.revision, status: alert.Closed}
}

// bury remembers the revision of an alert that is forgotten. The bucket has
// been touched.
func (c *Correlator) bury(id string, b int, revision uint64) {
	if revision == 0 {
		return
	}
	graves := c.graves[b]
	if len(graves) >= maxGraves {
		oldest, at := "", never
		for old, g := range graves { // the order does not matter to a minimum
			if g.at < at || (g.at == at && old < oldest) {
				oldest, at = old, g.at
			}
		}
		delete(graves, oldest)
		c.ctx.Count("graves_evicted", "bound", 1)
	}
	graves[id] = grave{revision, c.now}
}

// absorb makes other part of inc.
func (c *Correlator) absorb(inc, other *incident) {
	c.ctx.Touch(inc.bucket)
	inc.dropped += other.dropped
	inc.end = max(inc.end, other.end)
	if inc.opened == 0 || (other.opened != 0 && other.opened < inc.opened) {
		inc.opened = other.opened
	}
	if inc.verdict == nil {
		inc.verdict = other.verdict
	}
	c.ctx.Count("incidents", "merged", 1)
}

// assign makes a group the members of an incident.
func (c *Correlator) assign(inc *incident, g *group) {
	c.ctx.Touch(inc.bucket)
	if len(inc.members) != len(g.members) {
		inc.news, inc.closed = c.now, false
	}
	inc.members = g.members
	inc.end = max(inc.end, g.end)
	for _, m := range g.members {
		m.inc = inc
	}
}

// review publishes what an incident has become after it lost a member.
func (c *Correlator) review(inc *incident) {
	if len(inc.members) > 0 {
		c.regroup(inc.members[0])
		return
	}
	c.retract(inc, nil, "")
}
