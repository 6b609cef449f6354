package correlate

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/detect/volume"
	"github.com/ebbwatch/ebbwatch/pkg/entity"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// held is a signal that waits for others, or belongs to an incident.
type held struct {
	sig     signal.Signal
	profile entity.Profile
	bucket  int
	seq     uint64 // order of first arrival
	heard   int64  // append time of its last revision
	// excluded says that the site has taken its detector out for its subject.
	excluded bool

	// What follows is not state: inc comes from the incident's members, half
	// from the site, the rest is valid during one grouping.
	inc   *incident
	half  half // follows from the signal and the thresholds
	mark  bool // seen by the walk
	group *group
}

func bucketOf(id string) int { return int(xxhash.Sum64String(id) % buckets) }

// older orders signals by their first event: the order of founding.
func older(a, b *held) int {
	if a.sig.First != b.sig.First {
		return cmp.Compare(a.sig.First, b.sig.First)
	}
	return strings.Compare(a.sig.ID, b.sig.ID)
}

// inOrder sorts by arrival and drops doubles, in place.
func inOrder(list []*held) []*held {
	slices.SortFunc(list, func(a, b *held) int { return cmp.Compare(a.seq, b.seq) })
	return slices.Compact(list)
}

// neverAlone are the detectors of which no score makes an alert.
var neverAlone = map[string]bool{"external-transfer": true, "transfer-tool": true, volume.DistributedUpload: true}

// onSignal takes the signal in c.sig.
func (c *Correlator) onSignal() {
	s := &c.sig
	h := c.signals[bucketOf(s.ID)][s.ID]
	if c.cfg.NoShadow && s.Mode == signal.ModeShadow {
		s.Mode = signal.ModeAlert
		s.Alert = s.Score >= s.Threshold && !neverAlone[s.Detector]
	}
	if s.Mode != signal.ModeAlert {
		// Shadow signals are counted by detect; here they are nothing, and a
		// detector that went back to shadow takes its signals with it.
		c.ctx.Count("signals", "shadow", 1)
		if h != nil {
			inc := h.inc
			c.changedShare(h, true)
			c.drop(h)
			if inc != nil {
				inc.dropped--
				c.review(inc)
			}
		}
		return
	}
	if isSum(s) {
		c.ctx.Count("signals", "sum", 1) // these are made here only
		return
	}
	c.ctx.Count("signals", s.Role, 1)
	normal(s)
	c.hold(h)
}

// hold takes the signal in c.sig: a new one, or the next revision of a held one.
func (c *Correlator) hold(h *held) {
	s := &c.sig
	b := bucketOf(s.ID)
	var was uint64
	if h != nil {
		was = known(h.sig.Bytes)
	}
	if h == nil {
		c.makeRoom()
		c.ctx.Touch(b)
		c.seq++
		h = &held{bucket: b, seq: c.seq}
		c.signals[b][s.ID] = h
		c.n++
	} else {
		c.ctx.Touch(b)
		c.unindex(h)
		c.bytes -= h.size()
	}
	h.sig, h.heard = *s, c.now
	*s = signal.Signal{} // its slices belong to h now
	h.profile, h.excluded = c.profileOf(&h.sig), c.excluded(&h.sig)
	h.half = c.halfOf(h)
	c.bytes += h.size()
	c.index(h)
	c.changedShare(h, known(h.sig.Bytes) < was || h.sig.Score < h.sig.Floor)
	if h.inc != nil {
		c.ctx.Touch(h.inc.bucket)
		h.inc.news = c.now
		h.inc.closed = false
	}
	c.regroup(h)
}

// normal makes a signal's times ordered and its evidence small.
func normal(s *signal.Signal) {
	if s.First <= 0 {
		s.First = s.Start
	}
	s.First = min(s.First, s.Time)
	s.Start, s.End = min(s.Start, s.First), max(s.End, s.Time)
	limit := signal.MaxEvidence
	if !s.Alert {
		limit = weakEvidence
	}
	if len(s.Evidence) > limit {
		s.Evidence = s.Evidence[:limit:limit]
	}
	for i := range s.Evidence {
		if r := s.Evidence[i].Record; len(r) > maxRecord || string(r) == "null" {
			s.Evidence[i].Record = nil
		}
	}
	const maxPoints = 64
	s.Points, s.Values = s.Points[:min(len(s.Points), maxPoints)], nil
	for i := range s.Points {
		if math.IsNaN(s.Points[i].Points) {
			s.Points[i].Points = 0
		}
	}
}

func (h *held) size() int {
	n := 0
	for i := range h.sig.Evidence {
		n += len(h.sig.Evidence[i].Record)
	}
	return n
}

// profileOf resolves the identifiers of a signal at its time.
func (c *Correlator) profileOf(s *signal.Signal) entity.Profile {
	if s.Role == signal.RoleHealth {
		var p entity.Profile
		p.Add(signal.Identifier{Type: entity.IDKey, Value: "health|" + s.Detector + "|" + s.Key})
		return p
	}
	ids := entity.Identifiers(&s.Entity)
	// An address that stands for many clients names none of them.
	ids = slices.DeleteFunc(ids, func(id signal.Identifier) bool {
		if id.Type != signal.IDAddress {
			return false
		}
		a, err := netip.ParseAddr(id.Value[strings.LastIndexByte(id.Value, '|')+1:])
		return err == nil && c.site.Aggregator(a, s.Time)
	})
	p := c.graph.Resolve(ids, s.First, s.Time)
	p.Add(signal.Identifier{Type: entity.IDKey, Value: s.Key})
	return p
}

// excluded reports whether the site takes the detector out for this subject
// since the signal was sent.
func (c *Correlator) excluded(s *signal.Signal) bool {
	a, _ := netip.ParseAddr(s.Entity.IP) // not valid matches no network
	on := site.Subject{Address: a, Host: s.Entity.Host, Principal: s.Entity.Principal, Domain: s.Destination.Domain}
	mode := c.site.Setting(s.Detector, site.Setting{Mode: signal.ModeAlert}, on, s.Time).Mode
	return mode == signal.ModeOff || (mode == signal.ModeShadow && !c.cfg.NoShadow)
}

func bySeq(h *held, seq uint64) int { return cmp.Compare(h.seq, seq) }

func insertInto(m map[signal.Identifier][]*held, id signal.Identifier, h *held) {
	list := m[id]
	i, _ := slices.BinarySearchFunc(list, h.seq, bySeq)
	m[id] = slices.Insert(list, i, h)
}

func removeFrom(m map[signal.Identifier][]*held, id signal.Identifier, h *held) {
	list := m[id]
	if i, found := slices.BinarySearchFunc(list, h.seq, bySeq); found {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == 0 {
		delete(m, id)
	} else {
		m[id] = list
	}
}

// index enters a signal under its identifiers. Where one has too many, others
// give way.
func (c *Correlator) index(h *held) {
	c.enter(h)
	var full []signal.Identifier
	h.profile.Each(func(id signal.Identifier) {
		if len(c.byID[id]) > maxPerID {
			full = append(full, id)
		}
	})
	for _, id := range full {
		if list := c.byID[id]; len(list) > maxPerID {
			if v := victim(list, h); v != nil {
				c.ctx.Count("signals_evicted", "entity", 1)
				c.drop(v)
			}
		}
	}
	if h.isShare() {
		c.boundShares(h)
	}
}

func (c *Correlator) enter(h *held) {
	h.profile.Each(func(id signal.Identifier) { insertInto(c.byID, id, h) })
	h.profile.MetOnly(func(id signal.Identifier) { insertInto(c.met, id, h) })
	if h.isShare() {
		c.enterShare(h)
	}
}

func (c *Correlator) unindex(h *held) {
	h.profile.Each(func(id signal.Identifier) { removeFrom(c.byID, id, h) })
	h.profile.MetOnly(func(id signal.Identifier) { removeFrom(c.met, id, h) })
	if h.isShare() {
		c.leaveShare(h)
	}
}

// rank is how much it would cost to forget a signal (package documentation).
func (h *held) rank() int {
	switch {
	case h.inc != nil:
		return 4
	case h.sig.Alert:
		return 3
	case h.sig.Role == signal.RoleStaging:
		return 2
	case h.sig.Revision > 1:
		return 1
	}
	return 0
}

func expendable(a, b *held) int {
	return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.heard, b.heard), cmp.Compare(a.seq, b.seq))
}

// victim is the most expendable signal of a list; nil if there is none beside
// keep and the founders of incidents.
func victim(list []*held, keep *held) *held {
	var out *held
	for _, h := range list {
		if h != keep && !h.founds() && (out == nil || expendable(h, out) < 0) {
			out = h
		}
	}
	return out
}

func (h *held) founds() bool { return h.inc != nil && h.inc.founder == h.sig.ID }

// makeRoom forgets an eighth of what is held when the bound is reached, so
// that a flood does not search for a victim at each record.
func (c *Correlator) makeRoom() {
	if c.n < c.cfg.MaxSignals && c.bytes < maxHeldBytes {
		return
	}
	type entry struct {
		rank  int
		heard int64
		h     *held
	}
	all := make([]entry, 0, c.n)
	for b := range buckets {
		for _, h := range c.signals[b] {
			if !h.founds() {
				all = append(all, entry{h.rank(), h.heard, h})
			}
		}
	}
	slices.SortFunc(all, func(a, b entry) int {
		switch {
		case a.rank != b.rank:
			return a.rank - b.rank
		case a.heard != b.heard:
			return cmp.Compare(a.heard, b.heard)
		}
		return cmp.Compare(a.h.seq, b.h.seq)
	})
	for _, e := range all[:min(max(1, len(all)/8), len(all))] {
		c.ctx.Count("signals_evicted", "bound", 1)
		c.drop(e.h)
	}
}

// drop forgets a signal. Its incident lives on without it.
func (c *Correlator) drop(h *held) {
	c.ctx.Touch(h.bucket)
	c.unindex(h)
	delete(c.signals[h.bucket], h.sig.ID)
	c.n--
	c.bytes -= h.size()
	inc := h.inc
	if inc == nil {
		return
	}
	c.ctx.Touch(inc.bucket)
	h.inc = nil
	inc.members = slices.DeleteFunc(inc.members, func(m *held) bool { return m == h })
	inc.dropped++
}
