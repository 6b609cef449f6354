package correlate

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/entity"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// Points that a join adds.
const (
	pointJoined = "staging_and_transfer"
	pointSame   = "same_size"
)

// build makes the document of an incident over the given members; revision,
// status and notification are left to the publisher.
func (c *Correlator) build(inc *incident, members []*held) alert.Alert {
	a := alert.Alert{ID: inc.id, Detector: inc.pub.rule, Severity: inc.pub.severity, Confidence: inc.pub.confidence, Time: inc.end, First: inc.since}
	if inc.verdict != nil {
		v := inc.verdict.Verdict
		a.Verdict = &v
	}
	if len(members) == 0 {
		// Its signals are gone with their detector.
		a.Window, a.Reason = alert.Window{Start: a.First, End: a.Time}, "its signals no longer hold"
		a.SignalsTotal, a.Action = inc.dropped, alert.Action(a.Detector)
		return a
	}
	lead := strongest(members)
	p, joined := c.bestPair(members)
	if joined {
		lead = p.sent
	}
	s := &lead.sig
	a.Time, a.First, a.Window = s.Time, s.First, alert.Window{Start: s.Start, End: s.End}
	var profile entity.Profile
	for _, h := range members {
		a.Time, a.First = max(a.Time, h.sig.Time), min(a.First, h.sig.First)
		a.Window.Start, a.Window.End = min(a.Window.Start, h.sig.Start), max(a.Window.End, h.sig.End)
		if alert.ClassRank(h.sig.Classification) > alert.ClassRank(a.Classification) {
			a.Classification = h.sig.Classification
		}
		profile.Merge(&h.profile)
	}
	a.Entity = entityOf(&profile, s)
	for _, name := range profile.Of(signal.IDHost) {
		if class := string(c.site.ClassifyHost(name, a.Time)); class != string(site.Unclassified) && alert.ClassRank(class) > alert.ClassRank(a.Classification) {
			a.Classification = class
		}
	}
	a.Detector, a.Severity, a.Confidence, a.Reason = s.Detector, s.Severity, s.Confidence, s.Reason
	a.Source, a.Destination, a.Bytes, a.Layer, a.Channel, a.Subject = s.Source, s.Destination, s.Bytes, s.Layer, s.Channel, s.Subject
	if a.Source.IP == "" {
		a.Source.IP = s.Entity.IP
	}
	ordered := inRank(members, lead, nil)
	if joined {
		ordered = inRank(members, p.sent, p.staged)
		c.tellPair(&a, &p, inc)
	}
	a.Technique = techniques(ordered)
	a.Points = append(a.Points, points(ordered)...)
	a.Signals, a.SignalsTotal = references(ordered), len(members)+inc.dropped
	a.Evidence, a.EvidenceTrimmed = evidence(ordered)
	a.Action = alert.Action(a.Detector)
	excess := 1.0
	if s.Threshold > 0 {
		excess = s.Score / s.Threshold
	}
	a.Risk = alert.Risk(a.Severity, a.Confidence, a.Classification, excess)
	return a
}

// tellPair makes a document one of a correlated rule.
func (c *Correlator) tellPair(a *alert.Alert, p *pair, inc *incident) {
	half := func(s *signal.Signal) alert.Half {
		return alert.Half{
			Signal: s.ID, Detector: s.Detector, Channel: s.Channel, Subject: s.Subject, Start: s.First, End: s.Time,
			Bytes: s.Bytes, Layer: s.Layer, Destination: s.Destination,
		}
	}
	a.Joined = &alert.Joined{Staged: half(&p.staged.sig), Sent: half(&p.sent.sig), SameSize: p.same, Revision: inc.joinedRev}
	delta := float64(p.apart) / float64(minute)
	if p.sent.sig.Time < p.staged.sig.First {
		delta = -delta
	}
	a.Joined.Delta = math.Round(delta*10) / 10
	a.Subject = cmp.Or(p.staged.sig.Subject, p.sent.sig.Subject)
	window := c.th.window
	if p.near {
		a.Detector, a.Severity, a.Confidence = alert.RuleJoined, signal.Critical, "high"
	} else {
		a.Detector, a.Severity, a.Confidence = alert.RuleJoinedDay, signal.High, "low"
		window = c.th.dayWindow
		if p.same || (p.sent.sig.Alert && p.staged.sig.Alert) {
			a.Confidence = "medium"
		}
	}
	if a.Classification == "" {
		// Unclassified data count as sensitive until they are reviewed.
		a.Classification = string(site.Unclassified)
	}
	a.Points = append(a.Points, signal.Point{Name: pointJoined, Points: 5, Value: a.Joined.Delta, Threshold: float64(window) / float64(minute)})
	if p.same {
		ratio := float64(*p.sent.sig.Bytes) / float64(*p.staged.sig.Bytes)
		a.Points = append(a.Points, signal.Point{Name: pointSame, Points: 2, Value: math.Round(ratio*1000) / 1000, Threshold: 1 - c.th.sizeTolerance})
	}
	a.Reason = reason(p, a.Joined.Delta)
}

// reason tells a pair in one line: "read 734 MB of /srv, sent 741 MB to
// 203.0.113.9 port 443 (tls), 9 minutes later; the sizes match".
func reason(p *pair, delta float64) string {
	var b strings.Builder
	st, se := &p.staged.sig, &p.sent.sig
	switch {
	case st.Bytes != nil && st.Subject != "":
		fmt.Fprintf(&b, "read %s of %s", alert.Bytes(*st.Bytes), st.Subject)
	case st.Bytes != nil:
		fmt.Fprintf(&b, "read %s (%s)", alert.Bytes(*st.Bytes), st.Detector)
	case st.Subject != "":
		fmt.Fprintf(&b, "staged %s (%s)", st.Subject, st.Detector)
	default:
		fmt.Fprintf(&b, "staged data (%s)", st.Detector)
	}
	b.WriteString(", sent ")
	if se.Bytes != nil {
		b.WriteString(alert.Bytes(*se.Bytes))
	} else {
		b.WriteString("data")
	}
	if to := cmp.Or(se.Destination.Domain, se.Destination.IP, se.Subject); to != "" {
		b.WriteString(" to " + to)
	}
	if se.Destination.Port > 0 {
		b.WriteString(" port " + strconv.FormatUint(se.Destination.Port, 10))
	}
	if how := cmp.Or(se.Channel, se.Detector); how != "" {
		b.WriteString(" (" + how + ")")
	}
	n := strconv.FormatFloat(math.Abs(delta), 'f', -1, 64) + " minutes"
	if math.Abs(delta) == 1 {
		n = "1 minute"
	}
	switch {
	case delta > 0:
		b.WriteString(", " + n + " later")
	case delta < 0:
		b.WriteString(", " + n + " before")
	default:
		b.WriteString(", at the same time")
	}
	if p.same {
		b.WriteString("; the sizes match")
	}
	return b.String()
}

// strongest is the signal that speaks for an incident without a pair.
func strongest(members []*held) *held { return slices.MinFunc(members, byStrength) }

func byStrength(a, b *held) int {
	x, y := &a.sig, &b.sig
	return cmp.Or(
		-compareBool(x.Alert, y.Alert), -cmp.Compare(alert.SeverityRank(x.Severity), alert.SeverityRank(y.Severity)),
		-cmp.Compare(alert.ConfidenceRank(x.Confidence), alert.ConfidenceRank(y.Confidence)),
		-cmp.Compare(excess(x), excess(y)), older(a, b),
	)
}

func excess(s *signal.Signal) float64 {
	if s.Threshold <= 0 {
		return 1
	}
	return s.Score / s.Threshold
}

// inRank lists members as a reader wants them: the two that lead, then the
// others by strength.
func inRank(members []*held, first, second *held) []*held {
	out := slices.Clone(members)
	place := func(h *held) int {
		switch h {
		case first:
			return 0
		case second:
			return 1
		}
		return 2
	}
	slices.SortFunc(out, func(a, b *held) int { return cmp.Or(cmp.Compare(place(a), place(b)), byStrength(a, b)) })
	return out
}

func techniques(members []*held) []string {
	var out []string
	for _, h := range members {
		for _, t := range h.sig.Technique {
			if len(out) < 10 && !slices.Contains(out, t) {
				out = append(out, t)
			}
		}
	}
	return out
}

// points lists the points of all members. Of equal names the one with more
// points stays, the first of equals.
func points(members []*held) []signal.Point {
	const most = 38 // beside those of the join
	var out []signal.Point
	at := map[string]int{}
	for _, h := range members {
		for _, p := range h.sig.Points {
			i, known := at[p.Name]
			switch {
			case known && p.Points > out[i].Points:
				out[i] = p
			case !known && len(out) < most:
				at[p.Name] = len(out)
				out = append(out, p)
			}
		}
	}
	return out
}

func references(members []*held) []alert.Signal {
	const most = 20
	out := make([]alert.Signal, 0, min(len(members), most))
	for _, h := range members[:min(len(members), most)] {
		s := &h.sig
		out = append(out, alert.Signal{ID: s.ID, Detector: s.Detector, Role: s.Role, Score: s.Score, Alert: s.Alert})
	}
	return out
}

// evidence takes pieces from the members in turn, so that each half of a pair
// is shown. trimmed says that there is more.
func evidence(members []*held) (out []signal.Evidence, trimmed bool) {
	type place struct {
		topic     string
		partition int32
		offset    int64
	}
	seen := map[place]bool{}
	for i := 0; ; i++ {
		more := false
		for _, h := range members {
			if i >= len(h.sig.Evidence) {
				continue
			}
			more = true
			e := &h.sig.Evidence[i]
			at := place{e.Topic, e.Partition, e.Offset}
			if seen[at] {
				continue
			}
			if len(out) == alert.MaxEvidence {
				return out, true
			}
			seen[at] = true
			out = append(out, *e)
			trimmed = trimmed || len(e.Record) == 0
		}
		if !more {
			return out, trimmed
		}
	}
}

// entityOf names an entity by its profile, and by what the leading signal says
// where the profile binds nothing.
func entityOf(p *entity.Profile, s *signal.Signal) alert.Entity {
	e := alert.Entity{
		Realm: s.Entity.Realm,
		Hosts: p.Of(signal.IDHost), Instances: p.Of(signal.IDInstance), Interfaces: p.Of(signal.IDInterface), Pods: p.Of(signal.IDPod),
		Containers: p.Of(signal.IDContainer), Addresses: p.Of(signal.IDAddress), Principals: p.Of(signal.IDPrincipal),
	}
	for _, own := range entity.Identifiers(&s.Entity) {
		for _, list := range []struct {
			t  signal.IDType
			to *[]string
		}{
			{signal.IDHost, &e.Hosts},
			{signal.IDInstance, &e.Instances},
			{signal.IDInterface, &e.Interfaces},
			{signal.IDPod, &e.Pods},
			{signal.IDContainer, &e.Containers},
			{signal.IDAddress, &e.Addresses},
			{signal.IDPrincipal, &e.Principals},
		} {
			if own.Type == list.t && len(*list.to) == 0 {
				*list.to = []string{own.Value}
			}
		}
	}
	for _, n := range []struct {
		t    signal.IDType
		list []string
	}{
		{signal.IDHost, e.Hosts},
		{signal.IDPod, e.Pods},
		{signal.IDInstance, e.Instances},
		{signal.IDContainer, e.Containers},
		{signal.IDAddress, e.Addresses},
		{signal.IDPrincipal, e.Principals},
	} {
		if len(n.list) > 0 {
			e.Type, e.Name = string(n.t), n.list[0]
			break
		}
	}
	switch {
	case isSum(s):
		e.Type, e.Name = "destination", s.Subject // many sources, none of which it is about
	case e.Name == "":
		e.Type, e.Name = string(entity.IDKey), s.Key
	case e.Type == string(signal.IDAddress):
		e.Name = e.Name[strings.LastIndexByte(e.Name, '|')+1:]
	}
	return e
}
