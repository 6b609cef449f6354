package quality

import (
	"fmt"
	"slices"
	"strings"
)

// Change is one line of the figures that differs from what is committed.
type Change struct {
	Key   string
	Worse bool
	What  string
}

func (c Change) String() string {
	verdict := "better"
	if c.Worse {
		verdict = "WORSE"
	}
	return fmt.Sprintf("%s: %s: %s", verdict, c.Key, c.What)
}

// Compare tells what has changed from the committed lines to those measured
// now. Lines that were not measured now are left out of it.
func Compare(committed, now []Line) (out []Change) {
	for i := range now {
		n := &now[i]
		at := slices.IndexFunc(committed, func(l Line) bool { return l.key() == n.key() })
		if at < 0 {
			out = append(out, Change{n.key(), len(n.False) > 0 || n.mustBeFound() && n.Detector == "", "is not in the committed figures"})
			continue
		}
		was := &committed[at]
		add := func(worse bool, format string, args ...any) {
			out = append(out, Change{n.key(), worse, fmt.Sprintf(format, args...)})
		}
		switch {
		case was.Detector != "" && n.Detector == "":
			add(true, "was found by %s and is missed", was.Detector)
		case was.Detector == "" && n.Detector != "":
			add(false, "was missed and is found by %s", n.Detector)
		case n.Detector != "":
			for _, x := range [...]struct {
				name     string
				was, now float64
			}{
				{"bytes of name data until the alert", float64(was.Spent.NameBytes), float64(n.Spent.NameBytes)},
				{"bytes of payload until the alert", was.Payload, n.Payload},
				{"seconds until the alert", was.Spent.Seconds, n.Spent.Seconds},
			} {
				if x.now > x.was*1.001 || x.now < x.was*0.999 {
					add(x.now > x.was, "%s: %g, was %g", x.name, x.now, x.was)
				}
			}
		}
		if len(n.False) != len(was.False) {
			add(len(n.False) > len(was.False), "%d false alarms, was %d: %s", len(n.False), len(was.False), describeFalse(n.False))
		}
	}
	return out
}

// CompareRates is Compare for the slowest forms.
func CompareRates(committed, now []Rate) (out []Change) {
	for i := range now {
		n := &now[i]
		for j := range committed {
			if was := &committed[j]; was.Capture == n.Capture && (n.Found > 1.15*was.Found || 1.15*n.Found < was.Found) {
				out = append(out, Change{n.Capture, n.Found > was.Found, fmt.Sprintf("found down to %.3g B/s, was %.3g B/s", n.Found, was.Found)})
			}
		}
	}
	return out
}

// mustBeFound reports whether a line is one of recall.
func (l *Line) mustBeFound() bool {
	return (l.Label == Malicious || l.Label == "policy") && l.Blind == ""
}

// Verdicts tells where two measurements of the same lines judge differently:
// what was found, and how many false alarms there were.
func Verdicts(a, b []Line) (out []Change) {
	for i := range a {
		x, y := &a[i], &b[i]
		if (x.Detector == "") != (y.Detector == "") {
			out = append(out, Change{x.key(), y.Detector == "", fmt.Sprintf("%q became %q", x.Detector, y.Detector)})
		}
		if len(x.False) != len(y.False) {
			out = append(out, Change{x.key(), len(y.False) > len(x.False), fmt.Sprintf("%d false alarms became %d: %s", len(x.False), len(y.False), describeFalse(y.False))})
		}
	}
	return out
}

func describeFalse(list []Finding) string {
	parts := make([]string, 0, len(list))
	for _, f := range list {
		parts = append(parts, fmt.Sprintf("%s about %s (%s)", f.Detector, f.Subject, f.Points))
	}
	return strings.Join(parts, "; ")
}
