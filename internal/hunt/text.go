package hunt

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

// WriteText writes the alerts for a person: a table first, then each in full.
func (r *Result) WriteText(w io.Writer) error {
	if len(r.Alerts) == 0 {
		_, err := fmt.Fprintln(w, "no alerts")
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "TIME\tSEVERITY\tRULE\tENTITY\tWHERE TO\tRISK")
	for _, a := range r.Alerts {
		to := a.Destination.Domain
		if to == "" {
			to = a.Destination.IP
		}
		if to == "" {
			to = a.Subject
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%d\n", time.UnixMicro(a.First).UTC().Format(time.DateTime), a.Severity, a.Detector, a.Entity.Name, to, a.Risk)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, a := range r.Alerts {
		if _, err := fmt.Fprintf(w, "\n%s", a.Text()); err != nil {
			return err
		}
	}
	return nil
}

// Summary writes what was read: per source its records and dead ones by
// reason, and the span of event time.
func (r Report) Summary(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var records int64
	for _, name := range slices.Sorted(maps.Keys(r.Sources)) {
		s := r.Sources[name]
		records += s.Records
		fmt.Fprintf(tw, "%s\t%d records\t%d events\t%d ignored", name, s.Records, s.Events, s.Ignored)
		for _, reason := range slices.Sorted(maps.Keys(s.Dead)) {
			fmt.Fprintf(tw, "\t%d dead: %s", s.Dead[reason], reason)
		}
		fmt.Fprintln(tw)
	}
	_ = tw.Flush() // a summary that cannot be shown is no reason to fail
	span := "no events"
	if r.First != "" {
		span = r.First + " to " + r.Last
	}
	fmt.Fprintf(w, "%d records of %d files in %.1f s; %s\n", records, len(r.Sources), r.Seconds, span)
}
