package object_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/google/go-cmp/cmp"
)

const etl = "arn:aws:iam::111122223333:role/etl"

// brief is what a test compares of a final signal.
func brief(s *signal.Signal) string {
	alert := ""
	if s.Alert {
		alert = " alert"
	}
	return fmt.Sprintf("%s %s %s %g%s: %s", s.Classification, s.Role, s.Severity, s.Score, alert, points(s))
}

func TestBulkRead(t *testing.T) {
	t.Parallel()
	ranges := func(n int, bytes uint64, o ...option) (out []event.Event) {
		for i := range n {
			out = append(out, get(int64(i)*second, "crm", "one", bytes, o...))
		}
		return out
	}
	spread := func(n int, step int64, o ...option) (out []event.Event) {
		for i := range n {
			out = append(out, get(int64(i)*step, "crm", fmt.Sprint("k", i), 1, o...))
		}
		return out
	}
	sessions := many(501, 0, "lake", 1)
	for i := range sessions {
		sessions[i].User.Session = fmt.Sprint("s", i%100)
	}
	for name, tc := range map[string]struct {
		in   []event.Event
		want []string
	}{
		"249 objects":                              {many(249, 0, "lake", 1), nil},
		"250 objects are weak":                     {many(250, 0, "lake", 1), []string{"UNCLASSIFIED staging low 2: keys_half"}},
		"500 objects are no more than 500":         {many(500, 0, "lake", 1), []string{"UNCLASSIFIED staging low 2: keys_half"}},
		"501 objects":                              {many(501, 0, "lake", 1), []string{"UNCLASSIFIED staging high 4 alert: keys"}},
		"of a confidential bucket":                 {many(501, 0, "crm", 1), []string{"CONFIDENTIAL staging high 4.5 alert: keys class_confidential"}},
		"of a restricted bucket":                   {many(501, 0, "payroll", 1), []string{"RESTRICTED staging high 4.5 alert: keys class_restricted"}},
		"from outside":                             {many(501, 0, "payroll", 1, from("203.0.113.9")), []string{"RESTRICTED exfil critical 5 alert: keys class_restricted external_source"}},
		"half with all circumstances is no alert":  {many(500, 0, "payroll", 1, from("203.0.113.9"), presigned), []string{"RESTRICTED exfil medium 3.5: keys_half class_restricted external_source presigned"}},
		"by a VPC endpoint":                        {many(501, 0, "lake", 1, from("203.0.113.9"), endpoint), []string{"UNCLASSIFIED staging high 4 alert: keys"}},
		"by a service":                             {many(501, 0, "lake", 1, service("athena.amazonaws.com")), []string{"UNCLASSIFIED staging high 4 alert: keys"}},
		"one of many from outside":                 {append(many(501, 0, "lake", 1), get(minute, "lake", "x", 1, from("203.0.113.9"))), []string{"UNCLASSIFIED exfil high 4.5 alert: keys external_source"}},
		"public and internal buckets do not count": {slices.Concat(many(800, 0, "web", mb), many(800, 0, "wiki", 10*mb)), nil},
		"a public prefix does not":                 {[]event.Event{get(0, "payroll", "forms/a", 2000*mb)}, nil},
		"buckets count together":                   {slices.Concat(many(250, 0, "crm", 1), many(251, minute, "lake", 1)), []string{"CONFIDENTIAL staging high 4.5 alert: keys class_confidential"}},
		"principals do not":                        {slices.Concat(many(240, 0, "crm", 1), many(240, minute, "lake", 1, by("other"))), nil},
		"sessions of a role are one principal":     {sessions, []string{"UNCLASSIFIED staging high 4 alert: keys"}},
		"1 GB is no more than 1 GB":                {ranges(10, 100*mb), []string{"CONFIDENTIAL staging low 2.5: bytes_half class_confidential"}},
		"ranges of one object add":                 {ranges(11, 100*mb), []string{"CONFIDENTIAL staging high 4.5 alert: bytes class_confidential"}},
		"and are one object":                       {ranges(800, 1), nil},
		"one large object":                         {[]event.Event{get(0, "lake", "dump", 1001*mb)}, []string{"UNCLASSIFIED staging high 4 alert: bytes"}},
		"both limits":                              {many(600, 0, "lake", 2*mb), []string{"UNCLASSIFIED staging high 8 alert: keys bytes"}},
		"half of both is half":                     {many(300, 0, "lake", 3*mb), []string{"UNCLASSIFIED staging low 2: bytes_half"}},
		"errors read nothing":                      {slices.Concat(many(600, 0, "lake", 10*mb, failed), many(600, 0, "lake", 10*mb, denied)), nil},
		"listed principals may read objects":       {many(900, 0, "crm", 1, by(etl)), nil},
		"but not a gigabyte":                       {many(900, 0, "crm", 2*mb, by(etl)), []string{"CONFIDENTIAL staging high 4.5 alert: bytes class_confidential"}},
		"nor objects of another bucket":            {many(501, 0, "lake", 1, by(etl)), []string{"UNCLASSIFIED staging high 4 alert: keys"}},
		"copies count by their source":             {many(501, 0, "payroll", 1, copied), []string{"RESTRICTED staging high 4.5 alert: keys class_restricted"}},
		"copies of public objects do not":          {many(501, 0, "web", 1, copied), nil},
		"restores count":                           {many(501, 0, "lake", 1, call("RestoreObject")), []string{"UNCLASSIFIED staging high 4 alert: keys"}},
		"other calls do not": {slices.Concat(many(600, 0, "lake", 1, call("HeadObject")), many(600, 0, "lake", 1, call("PutObject")),
			many(600, 0, "lake", 1, call("ListObjects"))), nil},
		"GCS has objects but no bytes": {many(501, 0, "lake", 1, gcs), []string{"UNCLASSIFIED staging high 4 alert: keys"}},
		"an hour is not cut":           {spread(501, 7*second), []string{"CONFIDENTIAL staging high 4.5 alert: keys class_confidential"}},
		"slower is beyond an hour":     {spread(501, 14*second), []string{"CONFIDENTIAL staging low 2.5: keys_half class_confidential"}},
		"two observers are not summed": {slices.Concat(many(300, 0, "lake", 1), many(300, minute, "lake", 1, sensor("trail2"))), []string{"UNCLASSIFIED staging low 2: keys_half"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, s := range standing(play(t, siteFile, tc.in...).Context.Final()) {
				got = append(got, brief(&s))
				if s.Detector != "bulk-object-read" || s.First > s.Time || s.Time >= s.End || s.Entity.Principal == "" || len(s.Observers) == 0 || s.Subject != "" {
					t.Errorf("incomplete: %+v", s)
				}
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestReport looks at all of a signal.
func TestReport(t *testing.T) {
	t.Parallel()
	in := slices.Concat(
		many(400, 0, "payroll", 3*mb, session("i-0abc"), presigned, from("203.0.113.9")),
		many(200, minute, "crm", mb, session("i-0abc"), from("198.51.100.7")),
		many(100, 2*minute, "lake", 0, session("deploy"), copied),
		many(50, 3*minute, "payroll", 0, service("athena.amazonaws.com")),
	)
	p := play(t, siteFile, in...)
	final := p.Context.Final()
	if len(final) != 1 {
		t.Fatalf("%d signals", len(final))
	}
	s := final[0]
	want := role + " read 700 objects (1.40 GB) within the hour, from 3 buckets (most from payroll), class RESTRICTED; " +
		"600 reads from outside, by 2 addresses (203.0.113.9, 198.51.100.7); from inside by 10.0.0.5, athena.amazonaws.com; 400 reads by presigned URL"
	if s.Reason != want {
		t.Errorf("reason\n got %s\nwant %s", s.Reason, want)
	}
	if s.Bytes == nil || *s.Bytes != 1400*mb || s.Layer != event.LayerHTTP || s.Channel != "s3" {
		t.Errorf("bytes %v %s %s", s.Bytes, s.Layer, s.Channel)
	}
	if s.Entity != (signal.Entity{Principal: role, Instance: "i-0abc"}) || s.Source.IP != "203.0.113.9" {
		t.Errorf("entity %+v source %+v", s.Entity, s.Source)
	}
	if v := value(t, &s, "bucket"); v.Text != "payroll" || v.Value != 450 {
		t.Errorf("bucket %+v", v)
	}
	if v := value(t, &s, "bytes_external"); v.Value != 1.4e9 {
		t.Errorf("bytes_external %+v", v)
	}
	if v := value(t, &s, "reads_without_bytes"); v.Value != 100 {
		t.Errorf("reads_without_bytes %+v", v)
	}
	if v := value(t, &s, "source_external"); v.Text != "203.0.113.9" || v.Value != 400 {
		t.Errorf("source_external %+v", v)
	}
	if len(s.Evidence) < 5 || len(s.Evidence[0].Record) == 0 {
		t.Errorf("%d pieces of evidence", len(s.Evidence))
	}
	if d := cmp.Diff([]string{"T1530"}, s.Technique); d != "" {
		t.Error(d)
	}
	if n := len(p.Context.Signals); n > 12 {
		t.Errorf("%d revisions of one finding", n)
	}
}

// TestOneBucket: where all reads were of one bucket, the reason says so.
func TestOneBucket(t *testing.T) {
	t.Parallel()
	final := play(t, siteFile, many(501, 0, "lake", 1, gcs)...).Context.Final()
	if len(final) != 1 || !strings.Contains(final[0].Reason, "all from bucket lake, class UNCLASSIFIED, which counts as sensitive until reviewed") {
		t.Fatalf("%+v", final)
	}
	if s := final[0]; s.Bytes != nil || s.Channel != "gcs" {
		t.Errorf("bytes %v, channel %s", s.Bytes, s.Channel)
	}
}

// TestEarly: an alert is said with the read that makes it, not at the end of
// its window.
func TestEarly(t *testing.T) {
	t.Parallel()
	p := play(t, siteFile, many(501, 0, "lake", 1)...)
	first := slices.IndexFunc(p.Context.Signals, func(s signal.Signal) bool { return s.Alert })
	if first < 0 || p.Context.Signals[first].Time != t0+500*second/10 {
		t.Errorf("alert %d of %+v", first, p.Context.Signals)
	}
}

// TestTuned: thresholds and overrides of the site hold.
func TestTuned(t *testing.T) {
	t.Parallel()
	file := `
detectors:
  bulk-object-read:
    thresholds: {keys: 100}
    overrides:
      - {match: "` + etl + `", thresholds: {keys: 5000}}
`
	for who, want := range map[string]int{role: 1, etl: 0} {
		if n := len(play(t, file, many(101, 0, "lake", 1, by(who))...).Context.Final()); n != want {
			t.Errorf("%s: %d signals", who, n)
		}
	}
}

// TestMoved: an earlier read that comes late moves the window; what was said of
// the old one is taken back, and the evidence goes with the reads.
func TestMoved(t *testing.T) {
	t.Parallel()
	p := play(t, "", append(many(501, 10*minute, "lake", 1), get(4*minute, "lake", "early", 1))...)
	final := p.Context.Final()
	if len(final) != 2 {
		t.Fatalf("%d signals", len(final))
	}
	if s := final[0]; s.Start != t0+10*minute || s.Score != 0 || s.Alert || !strings.HasPrefix(s.Reason, "taken back") {
		t.Errorf("%+v", s)
	}
	if s := final[1]; s.Start != t0 || !s.Alert || value(t, &s, "keys").Value != 502 || len(s.Evidence) < 5 {
		t.Errorf("%+v", s)
	}
}

// TestLate: what comes after its window was closed revises it.
func TestLate(t *testing.T) {
	t.Parallel()
	p := detecttest.NewPlayer(t, nil, detectors()...)
	p.NoMarks = true
	st := parse(t, "")
	p.Feed(detecttest.Events(t, st, "s1", many(400, 0, "lake", 1)))
	mark(p, t0+hour+minute, false, "cloudtrail")
	if n := len(p.Context.Final()); n != 1 || p.Context.Final()[0].Alert {
		t.Fatalf("%d signals", n)
	}
	p.Feed(detecttest.Events(t, st, "s1", many(501, 3*minute, "lake", 1)))
	final := p.Context.Final()
	if len(final) != 1 || !final[0].Alert || value(t, &final[0], "keys").Value != 501 {
		t.Errorf("%+v", final)
	}
	// Nothing waits for the end of a window that is over.
	p.Feed(detecttest.Events(t, st, "s1", []event.Event{get(5*minute, "lake", "later", 1)}))
	if final := p.Context.Final(); value(t, &final[0], "keys").Value != 502 {
		t.Errorf("%+v", final)
	}
	// Beyond its grace it is forgotten.
	mark(p, t0+3*hour, false, "cloudtrail")
	for b := range p.Set.Buckets() {
		if data := p.Set.AppendBucket(nil, b); len(data) > 200 {
			t.Errorf("%d bytes of state remain", len(data))
		}
	}
}

// TestClosing: sources that close say what there is, once, and go on.
func TestClosing(t *testing.T) {
	t.Parallel()
	p := play(t, "", many(501, 0, "lake", 1)...)
	n := len(p.Context.Signals)
	p.Mark(true)
	if len(p.Context.Signals) != n {
		t.Error("said again")
	}
	p.Feed(detecttest.Events(t, parse(t, ""), "s1", many(600, minute, "lake", 1)))
	p.Mark(true)
	if final := p.Context.Final(); len(final) != 1 || value(t, &final[0], "keys").Value != 600 {
		t.Errorf("%+v", final)
	}
}
