package rulestest

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/hunt"
	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
)

// Result is what became of a case.
type Result struct {
	File    string  `json:"file"`
	Name    string  `json:"test"`
	Passed  bool    `json:"passed"`
	Seconds float64 `json:"seconds"`
	Records int64   `json:"records"`
	Alerts  int     `json:"alerts"`
	// Missing were expected and are not there, Unexpected the other way round.
	Missing    []Missing `json:"missing,omitempty"`
	Unexpected []Found   `json:"unexpected,omitempty"`
	// Problems are with the input.
	Problems []string `json:"problems,omitempty"`
}

// Missing is an expectation that no alert meets.
type Missing struct {
	Expected Expectation `json:"expected"`
	By       string      `json:"by,omitempty"`
	// Nearest is an alert of the same rule that nothing else expects, with what
	// is not as expected.
	Nearest     *Found       `json:"nearest,omitempty"`
	Differences []Difference `json:"differences,omitempty"`
}

// Difference is one field that is not as expected.
type Difference struct {
	Field string `json:"field"`
	Want  string `json:"want"`
	Got   string `json:"got"`
}

// Found is an alert in the terms of an expectation.
type Found struct {
	Expectation

	ID string `json:"id"`
	// After is how long after the start of the case it came, or at which time
	// where the case has no start.
	After string `json:"after"`

	opened  time.Duration
	address string // of the destination
}

// Run runs a case. An error means that there is no result.
func (f *File) Run(ctx context.Context, c *Case) (*Result, error) {
	res := &Result{File: f.path, Name: c.Name}
	inputs, err := f.inputs(c, res)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", f.path, c.Name, err)
	}
	out, err := hunt.Run(ctx, inputs, hunt.Options{Site: c.site})
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", f.path, c.Name, err)
	}
	if out.Err != nil {
		res.Problems = append(res.Problems, out.Err.Error())
	}
	res.Seconds, res.Alerts = out.Report.Seconds, len(out.Alerts)
	dead, reasons := int64(0), map[string]bool{}
	for _, s := range out.Report.Sources {
		res.Records += s.Records
		for reason, n := range s.Dead {
			dead += n
			reasons[reason] = true
		}
	}
	if dead != c.Dead {
		text := ""
		if len(reasons) > 0 {
			text = " (" + strings.Join(slices.Sorted(maps.Keys(reasons)), ", ") + ")"
		}
		res.Problems = append(res.Problems, fmt.Sprintf("%d records cannot be decoded%s, %d expected", dead, text, c.Dead))
	}
	found := make([]Found, len(out.Alerts))
	for i := range out.Alerts {
		found[i] = foundOf(c, &out.Alerts[i])
	}
	res.compare(c, found)
	res.Passed = len(res.Missing) == 0 && len(res.Unexpected) == 0 && len(res.Problems) == 0
	return res, nil
}

// inputs opens the files of a case and makes its events.
func (f *File) inputs(c *Case, res *Result) (list []hunt.Input, err error) {
	for _, it := range c.Input {
		if it.Path == "" {
			continue
		}
		hint, _ := input.Hint(it.Kind)
		walked, skipped, err := input.Walk([]string{f.rel(it.Path)}, input.Options{Hint: hint})
		if err != nil {
			return nil, err
		}
		if len(walked) == 0 {
			why := "nothing to read"
			if len(skipped) > 0 {
				why = skipped[0].Reason
			}
			res.Problems = append(res.Problems, it.Path+": "+why)
		}
		for _, in := range walked {
			// "zeek" is what "zeek-tsv" and "zeek-json" are of.
			if got := in.Format().String(); it.Kind != "" && !strings.HasPrefix(got, it.Kind) {
				res.Problems = append(res.Problems, fmt.Sprintf("%s is %s, not %s", in.Name(), got, it.Kind))
			}
			list = append(list, in)
		}
	}
	own, err := eventsOf(f, c)
	if err != nil {
		return nil, err
	}
	if len(own.list) > 0 {
		list = append(list, own)
	}
	return list, nil
}

func foundOf(c *Case, a *hunt.Alert) Found {
	out := Found{
		Expectation: Expectation{
			Rule: a.Detector, Severity: a.Severity, Confidence: a.Confidence, Status: string(a.Status), Classification: a.Classification,
			Entity: a.Entity.Name, Source: a.Source.IP, Destination: a.Destination.Domain, Subject: a.Subject, Reason: a.Reason,
		},
		ID: a.ID, opened: time.UnixMicro(a.Opened).Sub(c.Start.Time), address: a.Destination.IP,
	}
	if out.Destination == "" {
		out.Destination = a.Destination.IP
	}
	for _, p := range a.Points {
		out.Points = append(out.Points, p.Name)
	}
	slices.Sort(out.Points)
	if out.After = out.opened.String(); c.Start.IsZero() {
		out.After = time.UnixMicro(a.Opened).UTC().Format(time.RFC3339)
	}
	return out
}

// differences are what of an alert is not as expected.
func (x *Expectation) differences(a *Found) (out []Difference) {
	for _, d := range []Difference{
		{"rule", x.Rule, a.Rule},
		{"severity", x.Severity, a.Severity},
		{"confidence", x.Confidence, a.Confidence},
		{"status", x.Status, a.Status},
		{"classification", x.Classification, a.Classification},
		{"entity", x.Entity, a.Entity},
		{"source", x.Source, a.Source},
		{"destination", x.Destination, a.Destination},
		{"subject", x.Subject, a.Subject},
	} {
		if d.Want == "" || d.Want == d.Got || d.Field == "destination" && d.Want == a.address {
			continue
		}
		out = append(out, d)
	}
	if !regexp.MustCompile(x.Reason).MatchString(a.Reason) {
		out = append(out, Difference{"reason", x.Reason, a.Reason})
	}
	for _, p := range x.Points {
		if !slices.Contains(a.Points, p) {
			out = append(out, Difference{"points", p, strings.Join(a.Points, ", ")})
		}
	}
	if x.By > 0 && a.opened > x.By {
		out = append(out, Difference{"by", x.By.String(), a.opened.String()})
	}
	return out
}
