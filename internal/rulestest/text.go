package rulestest

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// WriteText writes a result for a person: a line, and below it what is not as
// expected, with "-" before what was expected and "+" before what was found.
func (r *Result) WriteText(w io.Writer) error {
	var b strings.Builder
	word := "ok  "
	if !r.Passed {
		word = "FAIL"
	}
	fmt.Fprintf(&b, "%s  %s (%d records, %d alerts)\n", word, r.Name, r.Records, r.Alerts)
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "      input: %s\n", oneLine(p))
	}
	for _, m := range r.Missing {
		if m.Nearest == nil {
			fmt.Fprintf(&b, "    - %s\n      no such alert\n", m.Expected.line(m.By))
			continue
		}
		fmt.Fprintf(&b, "      %s of %s (%s) is not as expected:\n", m.Nearest.Rule, m.Nearest.Entity, m.Nearest.After)
		for _, d := range m.Differences {
			fmt.Fprintf(&b, "    -   %s: %s\n    +   %s: %s\n", d.Field, d.Want, d.Field, d.Got)
		}
	}
	for i := range r.Unexpected {
		u := &r.Unexpected[i]
		fmt.Fprintf(&b, "    + %s\n      came unexpectedly: %s\n", u.short(), oneLine(u.Reason))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// line is an expectation as it may stand in a file of tests.
func (x *Expectation) line(by string) string {
	var parts []string
	add := func(key, value string) {
		if value != "" {
			parts = append(parts, key+": "+scalar(value))
		}
	}
	add("rule", x.Rule)
	add("severity", x.Severity)
	add("confidence", x.Confidence)
	add("status", x.Status)
	add("classification", x.Classification)
	add("entity", x.Entity)
	add("source", x.Source)
	add("destination", x.Destination)
	add("subject", x.Subject)
	add("reason", x.Reason)
	if len(x.Points) > 0 {
		parts = append(parts, "points: ["+strings.Join(x.Points, ", ")+"]")
	}
	add("by", by)
	return "{" + strings.Join(parts, ", ") + "}"
}

// short is an alert as somebody would expect it.
func (f *Found) short() string {
	x := Expectation{Rule: f.Rule, Severity: f.Severity, Entity: f.Entity, Destination: f.Destination}
	return x.line("")
}

// scalar quotes what YAML would not read as this text.
func scalar(s string) string {
	for _, c := range s {
		if c < ' ' || strings.ContainsRune(`:{}[],&*#?|<>=!%@"'\`+"`", c) {
			return strconv.Quote(s)
		}
	}
	return s
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
