package dns

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// shard counts the domains of a client, of windows that began in its hour,
// whose names lead nowhere: data spread over domains so that none stands out.
type shard struct {
	domains uint32
	bytes   uint64
	names   uint64
	first   int64
	last    int64
	// ended are the largest of them whose windows have ended.
	ended     []lostDomain
	told      uint32 // domains when it was last sent
	emissions uint32
	evidence  []signal.Evidence
}

// lostDomain is one domain of a shard.
type lostDomain struct {
	domain       string
	names, bytes uint64
}

// maxShardDomains is how many domains a signal lists.
const maxShardDomains = 8

// part is what a window adds to the shard of its client.
type part struct{ names, bytes uint64 }

// shardSubject is the subject of a signal about several domains.
const shardSubject = "several domains"

// shardScore is what the signal scores: the alert threshold, whatever the
// domains score.
const shardScore = 5

// joinShard brings a window's part in the client's shard up to date and
// returns the shard if it changed.
func (v *view) joinShard(h *detect.Hour[domain], w *window, lim *limits, expects func() bool) *detect.Hour[shard] {
	now := part{}
	t := &w.tally
	if n := t.lostNone + t.lostNever; float64(w.scale(n)) >= lim.shardNames && h.Subject != noDomain {
		if t.lostNever > 0 && !expects() {
			n = t.lostNone
		}
		// Some names of any domain lead nowhere: here nearly all do.
		if float64(w.scale(n)) >= lim.shardNames && float64(n) >= lim.missingShare*float64(t.once) {
			now = part{w.scale(n), w.data()}
		}
	}
	if now == w.part {
		return nil
	}
	s := v.shards.Find("", h.Start)
	if s == nil {
		return nil
	}
	s.Value.move(w.part, now)
	w.part = now
	if s.Value.first == 0 || w.first < s.Value.first {
		s.Value.first = w.first
	}
	s.Value.last = max(s.Value.last, w.last)
	return s
}

func (s *shard) move(from, to part) {
	if from.names > 0 {
		s.domains--
	}
	if to.names > 0 {
		s.domains++
	}
	s.names += to.names - from.names
	s.bytes += to.bytes - from.bytes
}

// leaveShard takes a window out that is forgotten before its end.
func (v *view) leaveShard(h *detect.Hour[domain], w *window) {
	if s := v.shards.Find("", h.Start); s != nil {
		s.Value.move(w.part, part{})
		w.part = part{}
	}
}

// keep notes a domain whose window has ended.
func (s *shard) keep(h *detect.Hour[domain], w *window) {
	p := w.part
	if p.names == 0 {
		return
	}
	s.ended = append(slices.DeleteFunc(s.ended, func(x lostDomain) bool { return x.domain == h.Subject }), lostDomain{h.Subject, p.names, p.bytes})
	slices.SortFunc(s.ended, compareLost)
	s.ended = s.ended[:min(len(s.ended), maxShardDomains)]
	if n := len(w.evidence); n > 0 && len(s.evidence) < maxEvidence {
		s.evidence = append(s.evidence, w.evidence[n-1])
	}
}

func compareLost(a, b lostDomain) int {
	return cmp.Or(cmp.Compare(b.bytes, a.bytes), strings.Compare(a.domain, b.domain))
}

func (s *shard) holds(lim *limits) bool {
	return float64(s.domains) >= lim.shardDomains && float64(s.bytes) >= lim.shardBytes
}

// judgeShard sends the shard when it first holds and each time it has doubled.
func (s *tunnelState) judgeShard(v *detect.View[view], h *detect.Hour[shard], e *event.Event, env *detect.Env) {
	x := &h.Value
	if e != nil && x.domains > 0 && len(x.evidence) < maxEvidence/2 {
		x.evidence = append(x.evidence, env.Evidence(e))
	}
	if !x.holds(&s.of.limits) || x.emissions > 0 && x.domains < 2*x.told {
		return
	}
	s.sendShard(v, h, env)
}

// endShard sends the shard for the last time.
func (s *tunnelState) endShard(v *detect.View[view], h *detect.Hour[shard], env *detect.Env) {
	if x := &h.Value; x.emissions > 0 || x.holds(&s.of.limits) {
		s.sendShard(v, h, env)
	}
}

func (s *tunnelState) sendShard(v *detect.View[view], h *detect.Hour[shard], env *detect.Env) {
	x := &h.Value
	x.told = x.domains
	x.emissions++
	lim := &s.of.limits
	sig := v.Value.signal(v.Observer, shardSubject, h.Start, h.End, env)
	sig.First, sig.Time = x.first, x.last
	if x.holds(lim) {
		sig.Score = shardScore
		sig.Points = []signal.Point{
			{Name: "sharded_domains", Points: shardScore, Value: float64(x.domains), Threshold: lim.shardDomains},
			{Name: "sharded_name_data", Value: float64(x.bytes), Threshold: lim.shardBytes},
		}
	}
	sig.Severity, sig.Confidence = grade(sig.Score, shardScore)
	sig.Bytes = new(x.bytes)
	sig.Values = []signal.Value{{Name: "names", Value: float64(x.names)}}
	sig.Evidence = slices.Clone(x.evidence)
	list := slices.Clone(x.ended)
	for d := range v.Value.hours.All {
		w := d.Value.full
		if w == nil {
			continue // no part of it
		}
		if p := w.part; p.names > 0 && d.Start >= h.Start && d.Start < h.End &&
			!slices.ContainsFunc(list, func(s lostDomain) bool { return s.domain == d.Subject }) {
			list = append(list, lostDomain{d.Subject, p.names, p.bytes})
			if n := len(w.evidence); n > 0 && len(sig.Evidence) < maxEvidence {
				sig.Evidence = append(sig.Evidence, w.evidence[n-1])
			}
		}
	}
	slices.SortFunc(list, compareLost)
	var named []string
	for _, d := range list[:min(len(list), maxShardDomains)] {
		sig.Values = append(sig.Values, signal.Value{Name: "domain", Text: d.domain, Value: float64(d.names)})
		named = append(named, d.domain)
	}
	sig.Reason = fmt.Sprintf("%s looked up %d names below %d domains that are never contacted or do not exist, with %d bytes of data in them: %s",
		v.Value.client, x.names, x.domains, x.bytes, strings.Join(named, ", "))
	env.Emit(sig, site.Subject{Address: v.Value.client})
}
