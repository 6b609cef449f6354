package command

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
)

// usualReport is a baseline for a reader. Sums are bytes.
type usualReport struct {
	Key      string `json:"key"`
	Observer string `json:"observer,omitempty"`
	What     string `json:"what"`
	First    string `json:"first"`
	Last     string `json:"last"`
	// Complete says that 14 days are known: before that there is no limit of
	// its own.
	Complete bool `json:"complete"`
	// Next is what is usual at the hour after the last.
	Next    usualAt        `json:"next"`
	States  map[string]int `json:"states"`
	History []hourReport   `json:"history"`
}

type usualAt struct {
	Hour      string `json:"hour"`
	P95       uint64 `json:"p95"`
	Median    uint64 `json:"median"`
	Deviation uint64 `json:"median_deviation"`
	Samples   int    `json:"samples"`
	// Alike says that the samples are of the time and kind of day.
	Alike     bool    `json:"alike"`
	Factor    float64 `json:"factor"`
	Floor     uint64  `json:"floor"`
	Ceiling   uint64  `json:"ceiling,omitempty"`
	Allowance uint64  `json:"allowance,omitempty"`
	Limit     uint64  `json:"limit,omitempty"`
}

type hourReport struct {
	Hour  string `json:"hour"`
	Bytes uint64 `json:"bytes"`
	State string `json:"state"`
}

func usualOf(hour int32, u *baseline.Usual, p baseline.Params) usualAt {
	return usualAt{
		Hour: hourText(hour), P95: u.P95, Median: u.Median, Deviation: u.Spread, Samples: u.Samples, Alike: u.Slot,
		Factor: p.Factor, Floor: p.Floor, Ceiling: u.Ceiling, Allowance: u.Allowance, Limit: u.Limit,
	}
}

func reportOf(b *detect.Baseline) usualReport {
	s := b.Series
	hour, u := s.Next(b.Params)
	r := usualReport{
		Key: b.Key, Observer: b.Observer, What: b.What, First: hourText(s.First()), Last: hourText(s.Last()), Complete: s.Mature(hour),
		Next: usualOf(hour, &u, b.Params), States: map[string]int{}, History: []hourReport{},
	}
	for x := range s.Each {
		r.States[x.State.String()]++
		r.History = append(r.History, hourReport{hourText(x.Hour), x.Bytes, x.State.String()})
	}
	return r
}

// text writes a report for a person.
func (r *usualReport) text(w io.Writer) error {
	by := ""
	if r.Observer != "" {
		by = ", by " + r.Observer
	}
	complete := "complete"
	if !r.Complete {
		complete = "not complete: there is no limit of its own yet"
	}
	fmt.Fprintf(w, "%s, %s%s\n", r.Key, r.What, by)
	fmt.Fprintf(w, "  history  %s to %s, %s; hours: %d plain, %d quarantined, %d allowed, %d purged\n", r.First, r.Last, complete,
		r.States["plain"], r.States["quarantined"], r.States["allowed"], r.States["purged"])
	n := &r.Next
	like := "of all hours with traffic"
	if n.Alike {
		like = "of the time and kind of day"
	}
	fmt.Fprintf(w, "  usual    at %s: p95 %s, median %s, deviation %s, over %d samples %s\n", n.Hour, alert.Bytes(n.P95), alert.Bytes(n.Median), alert.Bytes(n.Deviation), n.Samples, like)
	if n.Limit > 0 {
		fmt.Fprintf(w, "  limit    %s: %g times the p95, at least %s", alert.Bytes(n.Limit), n.Factor, alert.Bytes(n.Floor))
		if n.Ceiling > 0 && n.P95 > n.Ceiling {
			fmt.Fprintf(w, "; the p95 counts as %s, it outgrew what may grow without a look", alert.Bytes(n.Ceiling))
		}
		if n.Allowance > 0 {
			fmt.Fprintf(w, "; %s allowed by a verdict", alert.Bytes(n.Allowance))
		}
		fmt.Fprintln(w)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, h := range r.History {
		fmt.Fprintf(tw, "\t%s\t%s\t%s\t\n", h.Hour, alert.Bytes(h.Bytes), h.State)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w)
	return err
}

// What an audit finds.
const (
	findingQuarantined = "quarantined"
	findingGrown       = "outgrown"
	findingOutlier     = "outlier"
)

// finding is one line of an audit.
type finding struct {
	Finding  string  `json:"finding"`
	Key      string  `json:"key"`
	Observer string  `json:"observer,omitempty"`
	What     string  `json:"what"`
	Hour     string  `json:"hour"`
	Bytes    uint64  `json:"bytes"` // of the hour; of an outgrown baseline its p95
	Usual    usualAt `json:"usual"`
}

// auditWriter writes findings as they come.
type auditWriter struct {
	table     *tabwriter.Writer
	json      *json.Encoder
	head      bool
	baselines int
	counts    map[string]int
}

func newAuditWriter(w io.Writer, lines bool) *auditWriter {
	a := &auditWriter{counts: map[string]int{}}
	if lines {
		a.json = json.NewEncoder(w)
	} else {
		a.table = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	}
	return a
}

// audit looks at a baseline.
func (a *auditWriter) audit(b *detect.Baseline) error {
	a.baselines++
	tell := func(what string, hour int32, bytes uint64, u baseline.Usual) error {
		return a.write(finding{what, b.Key, b.Observer, b.What, hourText(hour), bytes, usualOf(hour, &u, b.Params)})
	}
	for x := range b.Series.Each {
		if x.State != baseline.Quarantined {
			continue
		}
		if err := tell(findingQuarantined, x.Hour, x.Bytes, b.Series.Usual(x.Hour, b.Params)); err != nil {
			return err
		}
	}
	if hour, u, ok := b.Series.Grown(b.Params); ok {
		if err := tell(findingGrown, hour, u.P95, u); err != nil {
			return err
		}
	}
	least := b.Params.Floor
	if b.Params.Factor > 1 {
		least = uint64(float64(least) / b.Params.Factor)
	}
	for _, x := range b.Series.Outliers(least) {
		if err := tell(findingOutlier, x.Hour, x.Bytes, b.Series.Usual(x.Hour, b.Params)); err != nil {
			return err
		}
	}
	return nil
}

func (a *auditWriter) write(f finding) error {
	a.counts[f.Finding]++
	if a.json != nil {
		return a.json.Encode(f)
	}
	if !a.head {
		a.head = true
		fmt.Fprintln(a.table, "FINDING\tSOURCE\tWHAT\tBY\tHOUR\tBYTES\tP95\tLIMIT\tWHY")
	}
	limit, why := "none yet", ""
	if f.Usual.Limit > 0 {
		limit = alert.Bytes(f.Usual.Limit)
	}
	switch f.Finding {
	case findingQuarantined:
		why = "no sample until its alert is answered"
	case findingGrown:
		why = fmt.Sprintf("%.2f times what may grow without a look (%s)", float64(f.Bytes)/float64(max(f.Usual.Ceiling, 1)), alert.Bytes(f.Usual.Ceiling))
	case findingOutlier:
		why = "far above its usual hours"
	}
	_, err := fmt.Fprintf(a.table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Finding, f.Key, f.What, f.Observer, f.Hour, alert.Bytes(f.Bytes), alert.Bytes(f.Usual.P95), limit, why)
	return err
}

func (a *auditWriter) flush() error {
	if a.table == nil {
		return nil
	}
	return a.table.Flush()
}
