package dns

import "github.com/ebbwatch/ebbwatch/pkg/signal"

// sign is one of the signs that make the score of a domain.
type sign int

const (
	signData sign = iota
	signTypes
	signBytes
	signOnce
	signDataTypes
	signFleeting
	signLength
	signContact
	signMissing
	signDirect
	ruleEntropy
	ruleTXT
	ruleLabel
	signCount
)

// signs are their names in a signal, and the points of each level.
var signs = [signCount]struct {
	name   string
	points [5]uint8 // by level; level 0 is none
}{
	signData:      {"name_data", [5]uint8{0, 1, 2, 3, 4}},
	signTypes:     {"unused_types", [5]uint8{0, 5}},
	signBytes:     {"odd_bytes", [5]uint8{0, 4, 5}},
	signOnce:      {"once_only_names", [5]uint8{0, 1}},
	signDataTypes: {"data_types", [5]uint8{0, 2}},
	signFleeting:  {"short_lived_answers", [5]uint8{0, 2}},
	signLength:    {"name_length", [5]uint8{0, 1, 2}},
	signContact:   {"never_contacted", [5]uint8{0, 2, 3}},
	signMissing:   {"missing_names", [5]uint8{0, 2}},
	signDirect:    {"undeclared_server", [5]uint8{0, 1}},
	// The rules of the requirement are named where they hold; alone they find
	// 51 of 87 tunnels with 10 false alarms on 36 (detections.md §3), so they
	// weigh nothing.
	ruleEntropy: {"rule_entropy", [5]uint8{}},
	ruleTXT:     {"rule_txt_queries", [5]uint8{}},
	ruleLabel:   {"rule_label_length", [5]uint8{}},
}

// levels are how far each sign has come.
type levels [signCount]uint8

// score sums the points.
func (l levels) score() (sum int) {
	for s, level := range l {
		sum += int(signs[s].points[level])
	}
	return sum
}

// weighty are the levels without the rules that weigh nothing.
func (l levels) weighty() levels {
	l[ruleEntropy], l[ruleTXT], l[ruleLabel] = 0, 0, 0
	return l
}

// company is what a client's other names tell about the meaning of a window's:
// a client that never contacts anything is a resolver, or its connections pass
// elsewhere; one that gets no answers to anything is cut off.
type company struct {
	asked, served   uint64 // questions, and those that were answered
	looked, reached uint64 // look-ups of addresses, and those that were contacted
}

// Bounds of what company tells.
const (
	companyLooked = 40   // look-ups of other domains from which their contacts tell something
	companyReach  = 0.05 // of them contacted below which no contact is expected at all
	companyAsked  = 20   // questions from which answers tell something
)

// expectsContact reports whether a look-up of the client would have been
// followed by a contact that the observer shows.
func (c company) expectsContact() bool {
	return c.looked < companyLooked || float64(c.reached) >= companyReach*float64(c.looked)
}

// levels judges a window. observed says that the client's connections are seen,
// others is asked for only where it decides.
func (w *window) levels(lim *limits, observed bool, others func() company) (l levels) {
	data := float64(w.data())
	for i, at := range lim.data {
		if data >= at {
			l[signData] = uint8(i + 1)
		}
	}
	set := func(s sign, holds bool) {
		if holds {
			l[s] = 1
		}
	}
	set(signTypes, float64(w.oddTypes) >= lim.unusedTypes)
	if set(signBytes, float64(w.scale(w.tally.odd)) >= lim.oddNames); l[signBytes] > 0 && data >= lim.oddData {
		l[signBytes] = 2
	}
	t := &w.tally
	if names := float64(w.scale(t.names)); names >= lim.once {
		set(signOnce, float64(t.once) >= lim.onceShare*float64(t.names))
	}
	if once := float64(w.scale(t.once)); once >= lim.once {
		if l[signOnce] > 0 {
			set(signDataTypes, float64(t.data) >= lim.dataShare*float64(t.once))
		}
		set(signMissing, w.missing(lim, others))
	}
	set(signFleeting, float64(w.fleeting) >= lim.fleeting)
	for i, at := range lim.length {
		if t.names > 0 && float64(t.bytes) >= at*float64(t.names) {
			l[signLength] = uint8(i + 1)
		}
	}
	if never := t.resolved - t.contacted; observed && t.resolved > 0 && float64(never) >= lim.contactShare*float64(t.resolved) {
		names := float64(w.scale(t.resolved))
		if names >= lim.contact[0] && others().expectsContact() {
			l[signContact] = 1
			if names >= lim.contact[1] {
				l[signContact] = 2
			}
		}
	}
	set(signDirect, lim.declaresResolver && 2*w.direct > w.queries)
	set(ruleEntropy, float64(w.queries) > lim.entropyQueries && w.meanEntropy() > lim.entropy)
	set(ruleTXT, float64(w.txt) > lim.txt)
	set(ruleLabel, w.meanLabel() > lim.label)
	return l
}

// missing reports whether the names that were looked up once lead nowhere. A
// failing resolver and a missing answer count only while other names of the
// client fare better.
func (w *window) missing(lim *limits, others func() company) bool {
	t := &w.tally
	want := lim.missingShare * float64(t.once)
	if float64(t.none) >= want {
		return true
	}
	if float64(t.none+t.failed+t.silent) < want {
		return false
	}
	c := others()
	lost := t.none
	if c.asked < companyAsked || 2*c.served >= c.asked {
		lost += t.failed
	}
	if c.asked >= companyAsked && 5*c.served >= 4*c.asked {
		lost += t.silent
	}
	return float64(lost) >= want
}

func (w *window) meanEntropy() float64 {
	return float64(w.entropy) / 1e6 / float64(max(w.queries, 1))
}

func (w *window) meanLabel() float64 { return float64(w.leftmost) / float64(max(w.queries, 1)) }

func (w *window) meanLength() float64 {
	return float64(w.tally.bytes) / float64(max(w.tally.names, 1))
}

func share(a, b uint32) float64 { return float64(a) / float64(max(b, 1)) }

// points lists the signs that hold, with what was measured and the bound that
// it passed.
func (w *window) points(l *levels, lim *limits) []signal.Point {
	t := &w.tally
	out := make([]signal.Point, 0, signCount)
	for s := range signCount {
		level := l[s]
		if level == 0 {
			continue
		}
		p := signal.Point{Name: signs[s].name, Points: float64(signs[s].points[level])}
		switch s {
		case signData:
			p.Value, p.Threshold = float64(w.data()), lim.data[level-1]
		case signTypes:
			p.Value, p.Threshold = float64(w.oddTypes), lim.unusedTypes
		case signBytes:
			p.Value, p.Threshold = float64(w.scale(t.odd)), lim.oddNames
		case signOnce:
			p.Value, p.Threshold = share(t.once, t.names), lim.onceShare
		case signDataTypes:
			p.Value, p.Threshold = share(t.data, t.once), lim.dataShare
		case signFleeting:
			p.Value, p.Threshold = float64(w.fleeting), lim.fleeting
		case signLength:
			p.Value, p.Threshold = w.meanLength(), lim.length[level-1]
		case signContact:
			p.Value, p.Threshold = float64(w.scale(t.resolved-t.contacted)), lim.contact[level-1]
		case signMissing:
			p.Value, p.Threshold = share(t.none+t.failed+t.silent, t.once), lim.missingShare
		case signDirect:
			p.Value, p.Threshold = float64(w.direct), 1
		case ruleEntropy:
			p.Value, p.Threshold = w.meanEntropy(), lim.entropy
		case ruleTXT:
			p.Value, p.Threshold = float64(w.txt), lim.txt
		case ruleLabel:
			p.Value, p.Threshold = w.meanLabel(), lim.label
		case signCount:
		}
		out = append(out, p)
	}
	return out
}
