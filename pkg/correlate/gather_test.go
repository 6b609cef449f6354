package correlate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/correlate"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// part is a share of distributed-upload: what one source sent to a destination
// that is new to a known site, at 20:1.
func part(first, last int64, n uint64, opts ...option) signal.Signal {
	s := sig("distributed-upload", first, last)
	s.Score, s.Threshold = 2, 4
	s.Points = []signal.Point{
		{Name: "share_of_new_destination", Points: 2, Value: float64(n), Threshold: 1e6},
		{Name: "share_sent_to_received", Value: 20, Threshold: 2},
	}
	s.Destination = signal.Endpoint{IP: "203.0.113.9", Port: 443, Domain: "evil.example"}
	s.Subject = "evil.example"
	for _, o := range append([]option{bytesOf(n)}, opts...) {
		o(&s)
	}
	s.Start = s.Time - s.Time%day
	s.End = s.Start + day
	s.ID = signal.SignalID(s.Detector, s.Key, s.Subject, s.Start)
	return s
}

// newSite are the points of a share while the site itself is not known.
func newSite(s *signal.Signal) { s.Score, s.Points[0].Points = 1, 1 }

func twoWay(s *signal.Signal) { s.Points[1].Value = 3 }

// parts are shares of some hosts, of which the first is host from.
func parts(from, hosts int, n uint64, opts ...option) (out []signal.Signal) {
	for i := range hosts {
		at := int64(i) * minute
		out = append(out, part(at, at+minute, n, append([]option{onAddress(fmt.Sprint("10.0.0.", from+i))}, opts...)...))
	}
	return out
}

func TestDistributedUpload(t *testing.T) {
	t.Parallel()
	const five = "detectors: {distributed-upload: {thresholds: {sources: 5}}}\n"
	alerted := []string{"distributed-upload evil.example open"}
	for name, tc := range map[string]struct {
		site    string
		signals []signal.Signal
		want    []string
	}{
		"five sources of 10 MB":     {five, parts(1, 5, 10e6), alerted},
		"four sources of 13 MB":     {five, parts(1, 4, 13e6), nil},
		"five sources of 9 MB":      {five, parts(1, 5, 9e6), nil},
		"fifty sources of 1 MB":     {five, parts(1, 50, 1e6), alerted},
		"a new site, one-sided":     {five, parts(1, 5, 10e6, newSite), alerted},
		"a new site, both ways":     {five, parts(1, 5, 10e6, newSite, twoWay), nil},
		"a known site, both ways":   {five, parts(1, 5, 10e6, twoWay), alerted},
		"in shadow":                 {five, parts(1, 5, 10e6, shadow), nil},
		"off for the domain":        {"detectors: {distributed-upload: {overrides: [{match: evil.example, mode: off, owner: x, until: 2099-01-01, why: y}]}}\n", parts(1, 5, 10e6), nil},
		"shadow by the site":        {"detectors: {distributed-upload: {mode: shadow}}\n", parts(1, 5, 10e6), nil},
		"other limits":              {"detectors: {distributed-upload: {thresholds: {sources: 2, bytes: 20000000}}}\n", parts(1, 2, 10e6), alerted},
		"two destinations":          {five, append(parts(1, 4, 20e6), parts(5, 4, 20e6, about("other.example"))...), nil},
		"over midnight":             {five, append(parts(1, 3, 10e6, later(13*hour)), parts(4, 2, 10e6, later(15*hour))...), alerted},
		"days apart":                {five, append(parts(1, 3, 10e6), parts(4, 2, 10e6, later(2*day))...), nil},
		"one source on two days":    {five, append(parts(1, 4, 10e6), parts(1, 4, 10e6, later(day))...), nil},
		"pods of one machine":       {five, onPods(5), alerted},
		"a sum that somebody wrote": {five, []signal.Signal{part(0, minute, 90e6, strong, func(s *signal.Signal) { s.Key = "destination|evil.example" })}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRunner(t, correlate.Config{})
			r.check = true
			r.epoch(tc.site)
			for i, s := range tc.signals {
				r.signal(s.Time-t0+int64(i)*second, s)
			}
			r.expectStanding(tc.want...)
		})
	}
}

func later(by int64) option {
	return func(s *signal.Signal) { s.First, s.Time = s.First+by, s.Time+by }
}

func onPods(n int) (out []signal.Signal) {
	for i := range n {
		pod := onPod("h1", "shop", fmt.Sprint("p", i))
		out = append(out, part(0, minute, 10e6, func(s *signal.Signal) {
			pod(s)
			s.Subject = "evil.example"
			s.Key += s.Entity.Pod
		}))
	}
	return out
}

// What an analyst reads: who took part, the points, evidence of several.
func TestDistributedDocument(t *testing.T) {
	t.Parallel()
	r := newRunner(t, correlate.Config{})
	for i, s := range parts(1, 12, 20e6) {
		s.Evidence[0].Offset = int64(i)
		r.signal(hour+int64(i)*second, s)
	}
	r.markAt(3*hour, t0)
	r.signal(4*hour, part(0, 2*minute, 21e6, onAddress("10.0.0.1")))
	final := r.final()
	if len(final) != 1 {
		t.Fatalf("%d alerts", len(final))
	}
	for _, a := range final {
		if a.Severity != signal.High || a.Confidence != "high" || a.Entity.Type != "destination" || a.Entity.Name != "evil.example" || a.Source.IP != "" || *a.Bytes != 241e6 {
			t.Errorf("%s %s, %+v from %q: %d bytes", a.Severity, a.Confidence, a.Entity, a.Source.IP, *a.Bytes)
		}
		for _, want := range []string{"12 sources sent 241 MB together to evil.example", "10.0.0.1 21.0 MB", "4 more"} {
			if !strings.Contains(a.Reason, want) {
				t.Errorf("reason %q lacks %q", a.Reason, want)
			}
		}
		want := []string{"bytes_together 2 241000000 50000000", "new_to_the_site 1 241000000 120500000", "sent_to_received 1 20 10", "sources 1 12 3"}
		var got []string
		for _, p := range a.Points {
			got = append(got, fmt.Sprintf("%s %v %.0f %.0f", p.Name, p.Points, p.Value, p.Threshold))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if len(a.Evidence) != 10 {
			t.Errorf("%d pieces of evidence", len(a.Evidence))
		}
	}
}

// A share that is taken back, or proves to be of a machine that has one, takes
// the alert back; one that is forgotten does not.
func TestDistributedRevisions(t *testing.T) {
	t.Parallel()
	t.Run("taken back", func(t *testing.T) {
		t.Parallel()
		r := newRunner(t, correlate.Config{})
		all := parts(1, 3, 20e6)
		for _, s := range all {
			r.signal(hour, s)
		}
		r.expectStanding("distributed-upload evil.example open")
		none := all[1]
		none.Score, none.Points, none.Revision = 0, []signal.Point{}, 2
		r.signal(2*hour, none)
		r.expectStanding()
		r.signal(3*hour, all[1])
		r.expectStanding("distributed-upload evil.example updated")
	})
	t.Run("two addresses of one machine", func(t *testing.T) {
		t.Parallel()
		r := newRunner(t, correlate.Config{})
		for _, s := range parts(1, 3, 20e6) {
			r.signal(hour, s)
		}
		r.fact(2*hour, "address:default|10.0.0.1", "host:h1", 0)
		r.expectStanding("distributed-upload evil.example open")
		r.fact(2*hour, "address:default|10.0.0.2", "host:h1", 0)
		r.expectStanding()
	})
	t.Run("forgotten", func(t *testing.T) {
		t.Parallel()
		r := newRunner(t, correlate.Config{})
		for _, s := range parts(1, 3, 20e6) {
			r.signal(hour, s)
		}
		r.markAt(day+4*hour, t0+day+4*hour)
		for i := range 70 { // all buckets are swept
			r.markAt(day+5*hour+int64(i)*minute, t0+day+5*hour+int64(i)*minute)
		}
		r.signal(day+7*hour, part(20*hour, 22*hour, 2e6, onAddress("10.0.0.9")))
		for _, a := range r.final() {
			if a.Status == alert.Retracted {
				t.Errorf("retracted: %s", r.story())
			}
		}
	})
}

// TestDistributedOracle: an alert stands for a day of a destination if and only
// if its shares, by a naive count over all that were sent, are enough, in
// whatever order they came.
func TestDistributedOracle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := map[string]signal.Signal{}
		for range rapid.IntRange(1, 25).Draw(t, "shares") {
			last := rapid.Int64Range(0, 60).Draw(t, "hour") * hour
			s := part(last, last, rapid.Uint64Range(1, 25).Draw(t, "MB")*1_000_000,
				onAddress(fmt.Sprint("10.0.0.", rapid.IntRange(1, 6).Draw(t, "source"))), about(rapid.SampledFrom([]string{"evil.example", "other.example"}).Draw(t, "to")))
			if old, ok := all[s.ID]; !ok || *old.Bytes < *s.Bytes {
				all[s.ID] = s
			}
		}
		want := map[string]bool{}
		for _, s := range all {
			most, today := map[string]uint64{}, s.Start
			for _, o := range all {
				if o.Subject == s.Subject && (o.Start == today || o.Start == today-day) {
					most[o.Key] = max(most[o.Key], *o.Bytes)
				}
			}
			var sum uint64
			for _, n := range most {
				sum += n
			}
			if len(most) >= 3 && sum >= 50e6 {
				want[s.Subject] = true
			}
		}
		list := make([]signal.Signal, 0, len(all))
		for _, s := range all {
			list = append(list, s)
		}
		slices.SortFunc(list, func(a, b signal.Signal) int { return strings.Compare(a.ID, b.ID) })
		r := newRunner(t, correlate.Config{})
		for i, s := range rapid.Permutation(list).Draw(t, "order") {
			r.signal(60*hour+int64(i)*second, s)
		}
		got := map[string]bool{}
		for _, a := range r.final() {
			if a.Status != alert.Retracted {
				got[a.Entity.Name] = true
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("alerts (-naive +correlator):\n%s", d)
		}
	})
}

// Many sources of one destination, and many destinations, are bounded.
func TestDistributedBounds(t *testing.T) {
	t.Parallel()
	r := newRunner(t, correlate.Config{})
	for i := range 700 {
		r.signal(hour, part(0, minute, 1e6+uint64(i), func(s *signal.Signal) {
			s.Key = fmt.Sprintf("default|10.0.%d.%d", i/250, i%250)
			s.Entity.IP = s.Key[8:]
		}))
	}
	if n := r.c.Signals(); n > 513 {
		t.Errorf("%d signals are held for one destination", n)
	}
	r.expectStanding("distributed-upload evil.example updated")
}
