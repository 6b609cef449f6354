package correlate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/detect/volume"
	"github.com/ebbwatch/ebbwatch/pkg/entity"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// keySum begins the key of a sum, which is of a destination and not of a source.
const keySum = "destination|"

// together are the thresholds of distributed-upload that hold for the sum.
type together struct {
	bytes, sources, ratio float64
	setting               site.Setting
}

func newTogether(s *site.Site) (t together) {
	info := volume.DistributedInfo()
	for _, x := range info.Thresholds {
		v := s.Threshold(info.ID, x.Name, x.Default)
		switch x.Name {
		case volume.DistributedBytes:
			t.bytes = v
		case volume.DistributedSources:
			t.sources = v
		case volume.DistributedRatio:
			t.ratio = v
		}
	}
	t.setting = info.Default
	return t
}

// gathering is a day of a destination.
type gathering struct {
	to  string
	day int64 // its beginning
	// less says that something was taken back.
	less bool
}

// isShare reports whether a signal tells what one source sent to a destination
// that is new, and isSum whether it is made here of many.
func (h *held) isShare() bool { return h.sig.Detector == volume.DistributedUpload && !isSum(&h.sig) }

func isSum(s *signal.Signal) bool {
	return s.Detector == volume.DistributedUpload && strings.HasPrefix(s.Key, keySum)
}

func sumID(to string, day int64) string {
	return signal.SignalID(volume.DistributedUpload, keySum+to, to, day)
}

// dayOf is the beginning of the day in which the window of a share ends. The
// signal's own start may be earlier (normal), its end is that of the day.
func dayOf(s *signal.Signal) int64 { return s.End - day }

func (c *Correlator) enterShare(h *held) {
	list := c.shares[h.sig.Subject]
	i, _ := slices.BinarySearchFunc(list, h.seq, bySeq)
	c.shares[h.sig.Subject] = slices.Insert(list, i, h)
}

func (c *Correlator) leaveShare(h *held) {
	list := c.shares[h.sig.Subject]
	if i, found := slices.BinarySearchFunc(list, h.seq, bySeq); found {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == 0 {
		delete(c.shares, h.sig.Subject)
	} else {
		c.shares[h.sig.Subject] = list
	}
}

// boundShares lets the smallest share of a destination give way to a new one.
func (c *Correlator) boundShares(h *held) {
	list := c.shares[h.sig.Subject]
	if len(list) <= maxShares {
		return
	}
	least := list[0]
	for _, x := range list[1:] {
		if known(x.sig.Bytes) < known(least.sig.Bytes) {
			least = x
		}
	}
	c.ctx.Count("signals_evicted", "destination", 1)
	c.drop(least)
}

// changedShare notes that a share came, grew or, with less, shrank: the sums of
// its day and of the next are not what they were.
func (c *Correlator) changedShare(h *held, less bool) {
	if !h.isShare() {
		return
	}
	d := dayOf(&h.sig)
	for _, at := range [...]int64{d, d + day} {
		i := slices.IndexFunc(c.changed, func(g gathering) bool { return g.to == h.sig.Subject && g.day == at })
		if i < 0 {
			c.changed = append(c.changed, gathering{h.sig.Subject, at, less})
		} else if less {
			c.changed[i].less = true
		}
	}
}

// summed reports whether a share is part of a sum that stands: it is held as
// long as that one.
func (c *Correlator) summed(h *held) bool {
	if !h.isShare() {
		return false
	}
	d := dayOf(&h.sig)
	for _, at := range [...]int64{d, d + day} {
		id := sumID(h.sig.Subject, at)
		if c.signals[bucketOf(id)][id] != nil {
			return true
		}
	}
	return false
}

// gather adds up the shares of the destinations that changed.
func (c *Correlator) gather() {
	for _, g := range c.changed {
		c.sumUp(g)
	}
	c.changed = c.changed[:0]
}

// share is the largest of one source.
type share struct {
	who string
	h   *held
}

// whoOf names the source of a share: several addresses of one machine are one
// source, several pods of one machine are not.
func whoOf(h *held) string {
	for _, t := range [...]signal.IDType{signal.IDPod, signal.IDHost, signal.IDInstance, entity.IDKey} {
		if ids := h.profile.Of(t); len(ids) > 0 {
			return string(t) + " " + ids[0]
		}
	}
	return h.sig.Key
}

// sharesOf are the largest share of each source whose day is a given one or the
// day before, largest first: whatever 24 hours end in a day, what was sent within
// them is among these. There are none where no share is of the day itself.
func (c *Correlator) sharesOf(to string, from int64) (out []share) {
	at, today := map[string]int{}, false
	for _, h := range c.shares[to] {
		d := dayOf(&h.sig)
		if h.excluded || h.sig.Score < h.sig.Floor || h.sig.Bytes == nil || d != from && d != from-day {
			continue
		}
		today = today || d == from
		who := whoOf(h)
		i, have := at[who]
		switch {
		case !have:
			at[who] = len(out)
			out = append(out, share{who, h})
		case known(h.sig.Bytes) > known(out[i].h.sig.Bytes):
			out[i].h = h
		}
	}
	if !today {
		return nil
	}
	slices.SortFunc(out, func(a, b share) int {
		return cmp.Or(-cmp.Compare(known(a.h.sig.Bytes), known(b.h.sig.Bytes)), strings.Compare(a.who, b.who))
	})
	return out
}

// sumUp judges a day of a destination. Its sum is a signal like any other; it
// falls only where a share was taken back, not where one has been forgotten.
func (c *Correlator) sumUp(g gathering) {
	id := sumID(g.to, g.day)
	stands := c.signals[bucketOf(id)][id]
	list := c.sharesOf(g.to, g.day)
	var up, down, fresh float64
	for _, x := range list {
		n := float64(known(x.h.sig.Bytes))
		up += n
		for _, p := range x.h.sig.Points {
			switch {
			case p.Name == volume.ShareRatio && p.Value > 0:
				down += n / p.Value
			case p.Name == volume.SharePoint && p.Points > 1:
				fresh += n
			}
		}
	}
	t := &c.th.together
	found := len(list) > 0 && up >= t.bytes && float64(len(list)) >= t.sources
	switch {
	case !found && stands == nil:
		return
	case !g.less && stands != nil && (!found || up < float64(known(stands.sig.Bytes))):
		return
	case !found:
		c.sig = stands.sig
		c.sig.Score, c.sig.Alert, c.sig.Points = 0, false, []signal.Point{}
		c.sig.Reason = "taken back: what stands of the shares is too little"
		c.sig.Revision++
		normal(&c.sig)
		c.hold(stands)
		return
	}
	s := sumOf(g, id, list)
	s.Bytes = new(uint64(up))
	point := func(name string, points, value, threshold float64) {
		s.Points = append(s.Points, signal.Point{Name: name, Points: points, Value: value, Threshold: threshold})
		s.Score += points
	}
	point("bytes_together", 2, up, t.bytes)
	point("sources", 1, float64(len(list)), t.sources)
	if 2*fresh > up {
		point("new_to_the_site", 1, fresh, up/2)
		s.Confidence = "medium"
	}
	if r := up / max(down, 1); r >= t.ratio {
		point("sent_to_received", 1, float64(int64(min(r, 1e9)*10))/10, t.ratio)
	}
	if s.Score >= 5 && up >= 4*t.bytes {
		s.Severity, s.Confidence = signal.High, "high"
	}
	set := c.site.Setting(s.Detector, t.setting, site.Subject{Domain: s.Destination.Domain}, s.Time)
	s.Floor, s.Threshold, s.Alert = set.Floor, set.Alert, s.Score >= set.Alert
	if stands != nil {
		s.Revision = stands.sig.Revision + 1
	} else {
		c.ctx.Count("gathered", volume.DistributedUpload, 1)
	}
	c.sig = s
	normal(&c.sig)
	c.hold(stands)
}

// sumOf is what the shares have in common: where to, when, and evidence of each.
func sumOf(g gathering, id string, list []share) signal.Signal {
	first := &list[0].h.sig // the largest
	s := signal.Signal{
		Kind: signal.KindSignal, V: signal.Version, ID: id, Revision: 1, Detector: volume.DistributedUpload, Key: keySum + g.to, Role: signal.RoleExfil, Mode: signal.ModeAlert,
		Channel: first.Channel, Start: g.day, End: g.day + day, First: first.First, Time: first.Time,
		Severity: signal.Medium, Confidence: "low", Destination: first.Destination, Layer: first.Layer, Subject: g.to, Technique: first.Technique,
	}
	var names []string
	var total uint64
	for i, x := range list {
		y := &x.h.sig
		total += known(y.Bytes)
		s.First, s.Time = min(s.First, y.First), max(s.Time, y.Time)
		for _, o := range y.Observers {
			if !slices.Contains(s.Observers, o) {
				s.Observers = append(s.Observers, o)
			}
		}
		if len(y.Evidence) > 0 && len(s.Evidence) < signal.MaxEvidence {
			s.Evidence = append(s.Evidence, y.Evidence[0])
		}
		if i < maxTold {
			names = append(names, cmp.Or(y.Entity.IP, x.who)+" "+alert.Bytes(known(y.Bytes)))
		}
	}
	slices.Sort(s.Observers)
	if n := len(list) - maxTold; n > 0 {
		names = append(names, fmt.Sprintf("%d more", n))
	}
	s.Reason = fmt.Sprintf("%d sources sent %s together to %s, each its part within 24 hours: %s", len(list), alert.Bytes(total), g.to, strings.Join(names, ", "))
	return s
}
