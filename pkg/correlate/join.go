package correlate

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/entity"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// volumeDetectors judge how much was sent: below their alert threshold the
// bytes decide whether a signal is half of a pair. true marks those that look
// at rare or foreign destinations, where little is enough.
var volumeDetectors = map[string]bool{
	"external-transfer": false, "volume-anomaly": false, "volume-fixed": false, "upload-ratio": false, "sustained-upload": false, "slow-upload": false,
	"sanctioned-abuse": false, "mail-upload": false, "new-destination-upload": true, "no-dns-upload": true, "foreign-tenant": true,
}

// half is what a signal can be in a pair.
type half uint8

const (
	neither half = iota
	staging
	exfil
	// little is exfil of less than the required bytes, to a rare destination:
	// any hour has some. It joins, but only by the rule of the day, which is
	// less sure.
	little
)

// halfOf says which half of a pair a signal can be under the thresholds that
// are valid now.
func (c *Correlator) halfOf(h *held) half {
	if h.isShare() || isSum(&h.sig) {
		return neither // they are joined with each other
	}
	if c.staged(h) {
		return staging
	}
	return c.sent(h)
}

// staged reports whether a signal can be the staging half of a pair.
func (c *Correlator) staged(h *held) bool {
	s := &h.sig
	return s.Role == signal.RoleStaging && !h.excluded && (s.Bytes == nil || float64(*s.Bytes) >= c.th.stagingBytes)
}

// sent says whether a signal can be the exfil half of a pair: each channel
// has its own floor (detections.md §7).
func (c *Correlator) sent(h *held) half {
	s := &h.sig
	if s.Role != signal.RoleExfil || h.excluded {
		return neither
	}
	is := func(yes bool, what half) half {
		if yes {
			return what
		}
		return neither
	}
	if s.Alert {
		return exfil
	}
	switch s.Detector {
	case "dns-tunnel":
		return is(s.Score >= c.th.dnsPoints, exfil)
	case "icmp-tunnel":
		return is(s.Score >= c.th.icmpPoints, exfil)
	}
	rare, volume := volumeDetectors[s.Detector]
	if !volume || s.Bytes == nil || float64(*s.Bytes) >= c.th.transferBytes {
		return exfil // the detector's own floor, or enough
	}
	rare = rare || slices.ContainsFunc(s.Points, func(p signal.Point) bool { return p.Points > 0 && strings.Contains(p.Name, "rare") })
	return is(rare && float64(*s.Bytes) >= c.th.rareBytes, little)
}

// gap is the time between two spans, 0 when they overlap.
func gap(a, b *signal.Signal) int64 {
	return max(0, a.First-b.Time, b.First-a.Time)
}

// pair is a staging and an exfil signal of one entity.
type pair struct {
	staged, sent *held
	apart        int64
	near         bool // within the window of staging-then-exfil
	same         bool // the sizes match
}

// pairOf returns the pair that two signals make.
func (c *Correlator) pairOf(staged, sent *held) (pair, bool) {
	p, ok := c.within(staged, sent)
	return p, ok && staged.profile.Matches(&sent.profile)
}

// within is pairOf for two signals that are known to be of one entity.
func (c *Correlator) within(staged, sent *held) (pair, bool) {
	p := pair{staged: staged, sent: sent, apart: gap(&staged.sig, &sent.sig)}
	p.near = p.apart <= c.th.window+c.th.slack && sent.half == exfil && c.th.joined == signal.ModeAlert
	if !p.near && (p.apart > c.th.dayWindow || c.th.within != signal.ModeAlert) {
		return p, false
	}
	p.same = c.sameSize(staged.sig.Bytes, sent.sig.Bytes)
	return p, true
}

// sameSize reports whether two sizes are told to be one. Sizes of a few
// kilobytes match by chance.
func (c *Correlator) sameSize(a, b *uint64) bool {
	const least = 1e6
	if a == nil || b == nil || *a < least {
		return false
	}
	return math.Abs(float64(*b)-float64(*a)) <= c.th.sizeTolerance*float64(*a)
}

// better orders the pairs of one incident: the one to tell first.
func better(a, b *pair) int {
	if n := cmp.Or(
		-compareBool(a.near, b.near), -compareBool(a.same, b.same), -compareBool(a.sent.sig.Alert, b.sent.sig.Alert),
		-compareBool(a.staged.sig.Alert, b.staged.sig.Alert), -cmp.Compare(known(a.sent.sig.Bytes), known(b.sent.sig.Bytes)),
		cmp.Compare(a.apart, b.apart),
	); n != 0 {
		return n
	}
	return cmp.Or(older(a.staged, b.staged), older(a.sent, b.sent))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func known(n *uint64) uint64 {
	if n == nil {
		return 0
	}
	return *n
}

// group is a set of signals that matter together: an incident in the making.
type group struct {
	members    []*held // in the order of founding
	profile    entity.Profile
	start, end int64
}

func newGroup(h *held) *group {
	g := &group{members: []*held{h}, start: h.sig.First, end: h.sig.Time}
	g.profile.Merge(&h.profile)
	h.group = g
	return g
}

func (g *group) take(o *group) {
	for _, h := range o.members {
		h.group = g
	}
	inOrder := older(g.members[len(g.members)-1], o.members[0]) < 0
	g.members = append(g.members, o.members...)
	if !inOrder {
		slices.SortFunc(g.members, older)
	}
	g.profile.Merge(&o.profile)
	g.start, g.end = min(g.start, o.start), max(g.end, o.end)
	o.members = nil
}

func (g *group) compatible(o *group) bool { return !g.profile.Conflicts(&o.profile) }

// near reports whether two groups are of one entity, and at most a day apart
// or known to be one incident.
func (g *group) near(o *group) bool {
	if _, ok := g.profile.Shares(&o.profile); !ok || !g.compatible(o) {
		return false
	}
	return max(g.start-o.end, o.start-g.end) <= day || g.sameIncident(o)
}

func (g *group) sameIncident(o *group) bool {
	for _, h := range g.members {
		if h.inc != nil && slices.ContainsFunc(o.members, func(m *held) bool { return m.inc == h.inc }) {
			return true
		}
	}
	return false
}

// component walks from a signal to all that share an identifier with it, over
// any number of steps, and to the members of their incidents. The result is
// in the order of founding.
func (c *Correlator) component(seed *held) []*held {
	out := []*held{seed}
	seed.mark = true
	visit := func(h *held) {
		if !h.mark && len(out) < maxComponent {
			h.mark = true
			out = append(out, h)
		}
	}
	for i := 0; i < len(out); i++ {
		out[i].profile.Each(func(id signal.Identifier) {
			for _, h := range c.byID[id] {
				visit(h)
			}
		})
		if out[i].inc != nil {
			for _, h := range out[i].inc.members {
				visit(h)
			}
		}
	}
	if len(out) >= maxComponent {
		c.ctx.Count("components_cut", "bound", 1)
	}
	for _, h := range out {
		h.mark, h.group = false, nil
	}
	slices.SortFunc(out, older)
	return out
}

// groups puts the signals that matter into groups, in the order of founding.
func (c *Correlator) groups(all []*held) []*group {
	var groups []*group
	join := func(p *pair) {
		into, from := p.staged.group, p.sent.group
		if into == nil {
			into = newGroup(p.staged)
		}
		if from == nil {
			from = newGroup(p.sent)
		}
		if into == from || !into.compatible(from) {
			// What was taken by a closer pair is not half of this one.
			for _, g := range [...]*group{into, from} {
				if len(g.members) == 1 && !slices.Contains(groups, g) {
					g.members[0].group = nil
				}
			}
			return
		}
		for _, g := range [...]*group{into, from} {
			if !slices.Contains(groups, g) {
				groups = append(groups, g)
			}
		}
		if older(from.members[0], into.members[0]) < 0 {
			into, from = from, into
		}
		into.take(from)
	}
	var stagings, exfils []*held
	for _, h := range all {
		switch h.half {
		case staging:
			stagings = append(stagings, h)
		case exfil, little:
			exfils = append(exfils, h)
		case neither:
		}
	}
	// Where the signals are of several machines or workloads, one may fit to
	// either: the closest pairs are joined first. Elsewhere order is nothing.
	wait := mixed(all)
	var waiting []pair
	for _, s := range stagings {
		for _, e := range exfils {
			if s.group != nil && s.group == e.group {
				continue
			}
			p, ok := c.pairOf(s, e)
			switch {
			case ok && wait:
				waiting = append(waiting, p)
			case ok:
				join(&p)
			}
		}
	}
	slices.SortFunc(waiting, func(a, b pair) int {
		return cmp.Or(-compareBool(a.near, b.near), -compareBool(a.same, b.same), cmp.Compare(a.apart, b.apart), older(a.staged, b.staged), older(a.sent, b.sent))
	})
	for i := range waiting {
		join(&waiting[i])
	}
	for _, h := range all {
		if h.sig.Alert && !h.excluded && h.group == nil {
			groups = append(groups, newGroup(h))
		}
	}
	return merge(groups)
}

// bestPair returns the pair to tell of an incident's members, which are of one
// entity.
func (c *Correlator) bestPair(members []*held) (best pair, ok bool) {
	for _, s := range members {
		if s.half != staging {
			continue
		}
		for _, e := range members {
			if (e.half != exfil && e.half != little) || (best.near && gap(&s.sig, &e.sig) > c.th.window+c.th.slack) {
				continue
			}
			if p, is := c.within(s, e); is && (!ok || better(&p, &best) < 0) {
				best, ok = p, true
			}
		}
	}
	return best, ok
}

// merge joins groups of one entity until nothing more can be joined, the
// older ones first.
func merge(groups []*group) []*group {
	groups = slices.DeleteFunc(groups, func(g *group) bool { return len(g.members) == 0 })
	for again := true; again; {
		again = false
		slices.SortFunc(groups, func(a, b *group) int { return older(a.members[0], b.members[0]) })
		for i := 0; i < len(groups); i++ {
			for j := i + 1; j < len(groups); j++ {
				if groups[i].near(groups[j]) {
					groups[i].take(groups[j])
					groups = slices.Delete(groups, j, j+1)
					j--
					again = true
				}
			}
		}
	}
	return groups
}

// mixed reports whether signals are of more than one machine or workload.
func mixed(all []*held) bool {
	var p entity.Profile
	for _, h := range all {
		if p.Conflicts(&h.profile) {
			return true
		}
		p.Merge(&h.profile)
	}
	for _, t := range [...]signal.IDType{signal.IDHost, signal.IDInstance, signal.IDPod, signal.IDContainer} {
		if len(p.Of(t)) > 1 {
			return true
		}
	}
	return false
}
