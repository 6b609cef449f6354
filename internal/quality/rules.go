package quality

import (
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// Rules says which of the required rules (detections.md §3 and §4, marked R)
// hold on the same data. They are written here from the requirement, apart from
// the detectors that name them.
type Rules struct {
	Entropy bool `json:"entropy,omitempty"` // DNS 1: mean entropy of the first label > 3.8 and > 100 queries
	TXT     bool `json:"txt,omitempty"`     // DNS 2: > 20 TXT queries
	Label   bool `json:"label,omitempty"`   // DNS 3: mean length of the first label > 40
	ICMP    bool `json:"icmp,omitempty"`    // ≥ 65 000 B and ≥ 60 s in one record of protocol 1 to an external address
}

// Any reports whether one of them holds.
func (r Rules) Any() bool { return r.Entropy || r.TXT || r.Label || r.ICMP }

func (r Rules) String() string {
	var out []string
	for name, holds := range map[string]bool{"1": r.Entropy, "2": r.TXT, "3": r.Label, "ICMP": r.ICMP} {
		if holds {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return "none"
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// ruleKey is a client and the resolver that it asks, in one hour that began
// with its first question.
type ruleKey struct{ client, resolver netip.Addr }

type ruleHour struct {
	start               int64
	queries, high, txt  int
	entropy, labelBytes float64
}

type ruleCounts struct {
	hours map[ruleKey]*ruleHour
	held  Rules
}

func newRuleCounts() *ruleCounts { return &ruleCounts{hours: map[ruleKey]*ruleHour{}} }

// count enters one event.
func (r *ruleCounts) count(e *event.Event, st *site.Site) {
	switch e.Kind {
	case event.KindConn, event.KindFlow:
		size := e.Source.Bytes.Or(0) + e.Destination.Bytes.Or(0)
		if t := e.Network.Transport; t != "icmp" && t != "1" || st.Internal(e.Destination.IP) || size < 65_000 || e.Time-begins(e) < 60*second {
			return
		}
		r.held.ICMP = true
	case event.KindDNS:
		k := ruleKey{e.Source.IP, e.Destination.IP}
		h := r.hours[k]
		if h == nil || e.Time >= h.start+hour {
			h = &ruleHour{start: e.Time}
			r.hours[k] = h
		}
		label, _, _ := strings.Cut(e.DNS.Name, ".")
		h.queries++
		h.labelBytes += float64(plainLength(label))
		// As the requirement has it, the mean is over queries of at least 3.5.
		if x := shannon(label); x >= 3.5 {
			h.high++
			h.entropy += x
		}
		if e.DNS.Type == "TXT" {
			h.txt++
		}
		r.held.Entropy = r.held.Entropy || h.high > 100 && h.entropy/float64(h.high) > 3.8
		r.held.TXT = r.held.TXT || h.txt > 20
		// A mean over a handful of questions is none.
		r.held.Label = r.held.Label || h.queries >= 20 && h.labelBytes/float64(h.queries) > 40
	default:
	}
}

func (r *ruleCounts) result() Rules { return r.held }

// shannon is the entropy of a text in bits per byte.
func shannon(s string) (h float64) {
	var count [256]float64
	for i := range len(s) {
		count[s[i]]++
	}
	for _, c := range count {
		if c > 0 {
			p := c / float64(len(s))
			h -= p * math.Log2(p)
		}
	}
	return h
}
