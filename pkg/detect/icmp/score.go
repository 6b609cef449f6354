package icmp

import "github.com/ebbwatch/ebbwatch/pkg/signal"

// sign is one of the signs that make the score of a pair.
type sign int

const (
	signReplies sign = iota
	signContents
	signBytes
	signLarge
	signReused
	signIDs
	signTypes
	ruleVolume
	flowLarge
	flowVolume
	flowUneven
	flowExceeds
	signCount
)

// signs are their names in a signal, and the points of each level.
var signs = [signCount]struct {
	name   string
	points [4]uint8
}{
	signReplies:  {"replies_not_mirrored", [4]uint8{0, 4}},
	signContents: {"distinct_contents", [4]uint8{0, 2, 3}},
	signBytes:    {"changing_bytes", [4]uint8{0, 1, 2, 3}},
	signLarge:    {"large_contents", [4]uint8{0, 4}},
	signReused:   {"reused_sequence", [4]uint8{0, 2}},
	signIDs:      {"new_ids", [4]uint8{0, 1}},
	signTypes:    {"unused_types", [4]uint8{0, 4}},
	// The rule of the requirement finds none of 16 tunnels in the lab and
	// fires on large pings (detections.md §4). Where packets are seen it
	// weighs nothing (level 1), else one point (level 2).
	ruleVolume:  {"rule_volume", [4]uint8{0, 0, 1}},
	flowLarge:   {"large_packets", [4]uint8{0, 1}},
	flowVolume:  {"volume", [4]uint8{0, 1}},
	flowUneven:  {"uneven_sizes", [4]uint8{0, 1}},
	flowExceeds: {"replies_exceed_requests", [4]uint8{0, 2}},
}

type levels [signCount]uint8

func (l levels) score() (sum int) {
	for s, level := range l {
		sum += int(signs[s].points[level])
	}
	return sum
}

const (
	// flowBytes is what a pair must move for flowVolume.
	flowBytes = 128 << 10
	// flowPackets is from how many packets of a side their mean size counts.
	flowPackets = 16
	// uneven is by how much the mean sizes of the two sides must differ.
	uneven = 1.5
)

// judge evaluates a pair. packets says that the observer shows messages, so
// that its records of flows add nothing; fresh that the pair is not an old one;
// final that all records of the window are in.
func (p *pair) judge(lim *limits, packets, fresh, final bool) (l levels) {
	set := func(s sign, holds bool) {
		if holds {
			l[s] = 1
		}
	}
	set(signReplies, float64(p.altered+p.unasked) >= lim.replies)
	set(signTypes, float64(p.unused) >= lim.types)
	sides := []*side{&p.side[out], &p.side[in]}
	if final && !p.explained && p.side[in].messages == 0 {
		sides = append(sides, &p.quotes)
	}
	for _, s := range sides {
		contents, bytes := s.changing()
		if float64(contents) < lim.contentsShare*float64(s.hashed) {
			contents = 0
		}
		for level, at := range lim.contents {
			if float64(contents) >= at {
				l[signContents] = max(l[signContents], uint8(level+1))
			}
		}
		for level, at := range lim.bytes {
			if float64(bytes) >= at {
				l[signBytes] = max(l[signBytes], uint8(level+1))
			}
		}
		// A ping sends the same again, of whatever size: three that differ, of
		// one length, are a message each.
		set(signLarge, l[signLarge] > 0 || float64(contents) >= lim.large && float64(bytes) >= lim.largeBytes && float64(bytes) >= lim.meanBytes*float64(contents))
		set(signReused, l[signReused] > 0 || float64(s.again) >= lim.reused)
		set(signIDs, l[signIDs] > 0 || float64(s.fresh) >= lim.newIDs && 10*s.fresh >= 9*s.requests)
	}
	f := &p.flow
	moved, lasted := f.bytes[out]+f.bytes[in], f.longest
	if packets {
		moved, lasted = max(moved, p.side[out].bytes+p.side[in].bytes), max(lasted, p.last-p.first)
	}
	if float64(moved) >= lim.ruleBytes && float64(lasted) >= lim.ruleSeconds*float64(second) {
		l[ruleVolume] = 1
	}
	if packets || f.records == 0 {
		return l
	}
	if l[ruleVolume] > 0 {
		l[ruleVolume] = 2
	} else {
		set(flowVolume, moved >= flowBytes)
	}
	set(flowLarge, fresh && (f.packets[out] >= flowPackets && f.mean(out) >= lim.meanBytes ||
		f.packets[in] >= flowPackets && f.mean(in) >= lim.meanBytes))
	a, b := f.mean(out), f.mean(in)
	set(flowUneven, f.packets[out] >= flowPackets && f.packets[in] >= flowPackets && max(a, b) >= uneven*min(a, b))
	set(flowExceeds, f.exceeds)
	return l
}

// list names the signs that hold, with what was measured.
func (p *pair) list(l *levels, lim *limits) []signal.Point {
	var list []signal.Point
	contents, bytes := p.most()
	f := &p.flow
	for s := range signCount {
		level := l[s]
		if level == 0 {
			continue
		}
		pt := signal.Point{Name: signs[s].name, Points: float64(signs[s].points[level])}
		switch s {
		case signReplies:
			pt.Value, pt.Threshold = float64(p.altered+p.unasked), lim.replies
		case signContents:
			pt.Value, pt.Threshold = float64(contents), lim.contents[level-1]
		case signBytes:
			pt.Value, pt.Threshold = float64(bytes), lim.bytes[level-1]
		case signLarge:
			pt.Value, pt.Threshold = float64(bytes), lim.largeBytes
		case signReused:
			pt.Value, pt.Threshold = float64(max(p.side[out].again, p.side[in].again)), lim.reused
		case signIDs:
			pt.Value, pt.Threshold = float64(max(p.side[out].fresh, p.side[in].fresh)), lim.newIDs
		case signTypes:
			pt.Value, pt.Threshold = float64(p.unused), lim.types
		case ruleVolume:
			pt.Value, pt.Threshold = float64(max(f.bytes[out]+f.bytes[in], p.side[out].bytes+p.side[in].bytes)), lim.ruleBytes
		case flowLarge:
			pt.Value, pt.Threshold = max(f.mean(out), f.mean(in)), lim.meanBytes
		case flowVolume:
			pt.Value, pt.Threshold = float64(f.bytes[out]+f.bytes[in]), flowBytes
		case flowUneven:
			pt.Value, pt.Threshold = max(f.mean(out), f.mean(in))/max(min(f.mean(out), f.mean(in)), 1), uneven
		case flowExceeds:
			pt.Value, pt.Threshold = 1, 1
		case signCount:
		}
		list = append(list, pt)
	}
	return list
}

// most is the larger of what the two sides change, or of what errors quote.
func (p *pair) most() (contents, bytes uint64) {
	for _, s := range [...]*side{&p.side[out], &p.side[in], &p.quotes} {
		c, b := s.changing()
		contents, bytes = max(contents, c), max(bytes, b)
	}
	return contents, bytes
}
