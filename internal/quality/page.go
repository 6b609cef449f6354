package quality

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// page is docs/quality.md.
type page struct{ strings.Builder }

func (p *page) f(format string, args ...any) { fmt.Fprintf(&p.Builder, format, args...) }

// Page writes the figures for a reader.
func (f *Figures) Page() []byte {
	p := &page{}
	p.f("%s", `# Detection quality

Written by `+"`make quality`"+`, held by its tests: CI fails when a line gets worse. Every figure is of this code on the committed corpus (`+"`internal/quality/testdata/lab`"+`,
45 recordings of our own lab: 25 attacks, one breach of policy, one ambiguous upload, 18 benign), fed through the chain of a hunt in order of availability. It is in-sample: the scores were made on a lab of which
these recordings are a part. What speaks for unseen traffic is the leave-one-out, the mutations, the other people's samples, and the benign hours.

`)
	f.summary(p)
	f.captures(p)
	f.lost(p)
	f.mixes(p)
	f.benign(p)
	f.noSite(p)
	if len(f.Hours) > 0 {
		f.hours(p)
	}
	f.slowest(p)
	f.held(p)
	if len(f.Samples) > 0 {
		f.samples(p)
	}
	f.method(p)
	return []byte(p.String())
}

// sourceNames are the sources for a reader.
var sourceNames = map[Source]string{Zeek: "Zeek logs", Packets: "packets", Flow: "flow logs"}

func (f *Figures) summary(p *page) {
	p.f("## Recall and false alarms\n\nIntervals are exact, 95 %% (Clopper–Pearson). *Cannot show*: captures that the source has no fields for; they are not in its recall.\n\n")
	p.f("| where | source | found | cannot show | three rules find | false alarms on benign captures | rules' false alarms |\n|---|---|---|---|---|---|---|\n")
	for _, mix := range []string{"", "desk", "server"} {
		for _, s := range []Source{Zeek, Packets, Flow} {
			var found, all, blind, rules, wrong, benign, rulesWrong int
			for i := range f.Lines {
				l := &f.Lines[i]
				if l.Mix != mix || l.Source != s {
					continue
				}
				if len(l.False) > 0 {
					wrong++
				}
				switch {
				case l.Label == Benign:
					benign++
					if l.Rules != "none" {
						rulesWrong++
					}
				case l.Label != Malicious && l.Label != "policy":
				case l.Blind != "":
					blind++
				default:
					all++
					if l.Detector != "" {
						found++
					}
					if l.Rules != "none" {
						rules++
					}
				}
			}
			if all == 0 {
				continue
			}
			where, falseAlarms, rulesFalse := "alone", proportion(wrong, benign).String(), proportion(rulesWrong, benign).String()
			if mix != "" {
				where = "in an hour of a " + mix
				falseAlarms, rulesFalse = fmt.Sprintf("%d in these hours", wrong), "that hour by itself not counted"
			}
			p.f("| %s | %s | %s | %d | %s | %s | %s |\n", where, sourceNames[s], proportion(found, all), blind, proportion(rules, all), falseAlarms, rulesFalse)
		}
	}
	p.f("\nThe three rules are those of the requirement (mean entropy, TXT queries, label length, over an hour of a client and its resolver), and its ICMP rule, evaluated on the same events; for uploads they say nothing.\n\n")
}

// attackLines are the lines of one mix and of what must be found, or is
// ambiguous, in the order of the manifest.
func (f *Figures) attackLines(mix string, keep func(*Line) bool) (out []*Line) {
	for i := range f.Lines {
		if l := &f.Lines[i]; l.Mix == mix && l.Label != Benign && keep(l) {
			out = append(out, l)
		}
	}
	return out
}

func (f *Figures) captures(p *page) {
	p.f("## Each attack by itself\n\nUntil the alert: DNS questions, packets (ICMP messages, or those of recorded connections), name data, payload of the user that was gone at the most, and seconds from the first packet to the moment at which\n")
	p.f("a live system had the deciding record. 0 packets with a DoH alert: the client hello alone decides.\n\n")
	p.f("| capture | tool and setting | source | found by | queries | packets | name data B | payload B (of) | seconds | the three rules |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, l := range f.attackLines("", func(*Line) bool { return true }) {
		if l.Source == Flow && l.Blind != "" {
			continue
		}
		p.row(l)
	}
	p.f("\n")
}

func (p *page) row(l *Line) {
	tool := l.Tool + " " + l.Settings
	if l.Detector == "" {
		why := "**missed**"
		if l.Blind != "" {
			why = l.Blind
		}
		p.f("| %s | %s | %s | %s | | | | | | %s |\n", l.Capture, tool, l.Source, why, l.Rules)
		return
	}
	p.f("| %s | %s | %s | %s: %s | %s | %s | %s | %.0f | %.4g | %s |\n", l.Capture, tool, l.Source, l.Detector, strings.ReplaceAll(l.Points, " ", ", "),
		count(uint64(l.Spent.Queries)), count(l.Spent.Packets), count(l.Spent.NameBytes), l.Payload, l.Spent.Seconds, l.Rules)
}

func count(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

func (f *Figures) lost(p *page) {
	p.f("## What is lost before the alert\n\nMedian, 90 %% and maximum over a tool's captures, alone, from the source that sees most (Zeek logs; packets for ICMP and uploads). Payload is in proportion to what carries it: a handshake carries none, so less was lost. Of ICMP it is what the messages held, the alert's own included, less the smallest contents for each: the header that tool or tunnel puts into every one (28 B of ptunnel, 52 B of IP and TCP in icmptx).\n\n")
	p.f("| tools | captures | name data B: median | 90 %% | max | payload B: median | 90 %% | max | seconds: median | max |\n|---|---|---|---|---|---|---|---|---|---|\n")
	groups := map[string][]*Line{}
	var order []string
	add := func(name string, l *Line) {
		if groups[name] == nil {
			order = append(order, name)
		}
		groups[name] = append(groups[name], l)
	}
	for _, l := range f.attackLines("", func(l *Line) bool { return l.Detector != "" && l.Label != "policy" }) {
		best := Zeek
		if l.Family == "icmp" || l.Family == "upload" {
			best = Packets
		}
		if l.Source == best {
			add(l.Tool, l)
			add("all of "+strings.ToUpper(l.Family), l)
		}
	}
	slices.SortStableFunc(order, func(a, b string) int {
		return cmp.Compare(strings.Count(b, "all of "), strings.Count(a, "all of "))
	})
	for _, name := range order {
		var names, payload, seconds []float64
		for _, l := range groups[name] {
			names, payload, seconds = append(names, float64(l.Spent.NameBytes)), append(payload, l.Payload), append(seconds, l.Spent.Seconds)
		}
		p.f("| %s | %d | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %.3g | %.3g |\n", name, len(names), quantile(names, 0.5), quantile(names, 0.9), quantile(names, 1),
			quantile(payload, 0.5), quantile(payload, 0.9), quantile(payload, 1), quantile(seconds, 0.5), quantile(seconds, 1))
	}
	p.f("\nUploads: a single connection is known when the sensor first tells of it: Zeek at its end, packets each minute and each megabyte sent, flow logs ten minutes after each. Below the floors of [upload-ratio](detections/upload-ratio.md) nothing alerts.\n\n")
}

func (f *Figures) mixes(p *page) {
	p.f("## Inside an hour of the same host\n\nEach attack, re-addressed to one host with an hour of benign traffic of that host (%s), an hour-long connection, and the flow logs of everything ten minutes late. Only lines that differ from the table above:\n\n", profileText())
	p.f("| capture | hour | source | found by | queries | name data B | payload B | seconds |\n|---|---|---|---|---|---|---|---|\n")
	same := 0
	for _, mix := range []string{"desk", "server"} {
		for _, l := range f.attackLines(mix, func(*Line) bool { return true }) {
			for i := range f.Lines {
				a := &f.Lines[i]
				if a.Capture != l.Capture || a.Source != l.Source || a.Mix != "" {
					continue
				}
				if a.Detector == l.Detector && a.Spent.NameBytes == l.Spent.NameBytes && a.Payload == l.Payload {
					same++
					continue
				}
				by := l.Detector
				if by == "" {
					by = "**missed**"
				}
				p.f("| %s | %s | %s | %s | %d, alone %d | %d, alone %d | %.0f, alone %.0f | %.4g, alone %.4g |\n", l.Capture, mix, l.Source, by,
					l.Spent.Queries, a.Spent.Queries, l.Spent.NameBytes, a.Spent.NameBytes, l.Payload, a.Payload, l.Spent.Seconds, a.Spent.Seconds)
			}
		}
	}
	p.f("\n%d lines are the same as alone.\n\n", same)
}

func profileText() string {
	var parts []string
	for _, x := range profiles {
		parts = append(parts, x.name+": "+strings.Join(x.captures, " "))
	}
	return strings.Join(parts, "; ")
}

func (f *Figures) benign(p *page) {
	p.f("## False alarms with the lab's site file\n\n")
	n := 0
	for i := range f.Lines {
		l := &f.Lines[i]
		for _, x := range l.False {
			if n++; n == 1 {
				p.f("| capture | source | alert | about | points | why |\n|---|---|---|---|---|---|\n")
			}
			p.f("| %s %s | %s | %s | %s | %s | %s |\n", l.Capture, l.Mix, l.Source, x.Detector, x.Subject, x.Points, l.Why)
		}
	}
	if n == 0 {
		p.f("None: neither on the benign captures, nor in any mixed hour.\n")
	}
	p.f("\nThe required rules fire on: ")
	var rules []string
	for i := range f.Lines {
		if l := &f.Lines[i]; l.Label == Benign && l.Rules != "none" {
			rules = append(rules, fmt.Sprintf("%s/%s (%s)", l.Capture, l.Source, l.Rules))
		}
	}
	p.f("%s.\n\n", strings.Join(rules, ", "))
}

func (f *Figures) noSite(p *page) {
	captures := map[string]bool{}
	for i := range f.NoSite {
		captures[f.NoSite[i].Capture] = true
	}
	p.f("## Without any site file\n\n%d of the 18 benign captures alert when nothing is declared:\n\n| capture | source | alert | about | points | why |\n|---|---|---|---|---|---|\n", len(captures))
	for i := range f.NoSite {
		l := &f.NoSite[i]
		for _, x := range l.False {
			p.f("| %s | %s | %s | %s | %s | %s |\n", l.Capture, l.Source, x.Detector, x.Subject, x.Points, l.Why)
		}
	}
	p.f("\n")
}

func (f *Figures) slowest(p *page) {
	p.f("## Slowest form that is found\n\nEach attack stretched in time, up to fourteen days, until no alert comes. *Found down to* with no *missed at*: nothing was missed down to that rate. A tool that gives itself away by its form (unused types, odd bytes) is found at any rate.\n\n")
	p.f("| capture | source | found down to B/s | of | over hours | missed at B/s |\n|---|---|---|---|---|---|\n")
	for i := range f.Rates {
		r := &f.Rates[i]
		missed := ""
		if r.Missed > 0 {
			missed = fmt.Sprintf("%.3g", r.Missed)
		}
		found := fmt.Sprintf("%.3g", r.Found)
		if r.Found == 0 {
			found = "not at all"
		}
		p.f("| %s | %s | %s | %s | %.3g | %s |\n", r.Capture, r.Source, found, r.Of, r.Hours, missed)
	}
	p.f("\n")
}

func (f *Figures) held(p *page) {
	p.f("## Thresholds without one tool\n\nEach fitted threshold is moved to a quarter, half, double and four times (the alert threshold by one and two points), fitted again without one tool at a time (the middle of what judges all the rest right), and asked about that tool; the same without one benign capture at a time. *Right from, to*: the range in which every capture is judged right.\n\n")
	p.f("| detector | threshold | default | right from | to | held-out tools found | held-out benign alarms | wrong |\n|---|---|---|---|---|---|---|---|\n")
	for i := range f.Held {
		h := &f.Held[i]
		p.f("| %s | %s | %g | %.4g | %.4g | %s | %s | %s |\n", h.Detector, h.Threshold, h.Default, h.Low, h.Top,
			proportion(h.Found, h.Attacks), proportion(h.False, h.Benign), strings.Join(h.Worst, ", "))
	}
	p.f("\n")
}

func (f *Figures) method(p *page) {
	p.f("%s", `## How it is measured

- `+"`make quality`"+` measures everything and writes this page and `+"`internal/quality/testdata/figures.json`"+`; `+"`make quality CHECK=1`"+` compares instead and fails when a line is worse. `+"`make test`"+` compares the captures by themselves.
- `+"`make quality MUTATE=SEED`"+` rewrites the names of registered domains, the letters of long labels, addresses, ports, ids and times in each capture consistently, and the site file with them, and fails when a verdict changes.
  Names of built-in lists, public resolvers and reverse zones stay, since they are known by name.
- Name data here is what a plain count gives: the bytes of labels below the registered domain, each distinct label once. The detector's own count is a little lower.
- Whatever alerts at any moment counts, also what is taken back; what is in shadow live alerts here, as in a hunt.
- Flow logs are made from the recorded connections: a record a minute and direction, bytes spread evenly, ten minutes late.
- The requirement's third rule is asked from 20 queries on: a mean over fewer is none.
`)
}
