package object_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// propertySite has limits that few reads reach.
const propertySite = siteFile + `
detectors:
  bulk-object-read:
    thresholds: {keys: 6, bytes: 1000}
`

// types are the sources of drawn reads.
var types = []string{"cloudtrail", "trail2"}

// reads draws some hours of reads, in order of their time.
func reads(t *rapid.T) []event.Event {
	var events []event.Event
	for range rapid.IntRange(1, 40).Draw(t, "reads") {
		at := rapid.Int64Range(0, 150*60).Draw(t, "second") * second
		bucket := rapid.SampledFrom([]string{"crm", "payroll", "lake", "web"}).Draw(t, "bucket")
		key := fmt.Sprint("k", rapid.IntRange(0, 15).Draw(t, "key"))
		e := get(at, bucket, key, rapid.Uint64Range(0, 150).Draw(t, "bytes"))
		e.Observer.Type = rapid.SampledFrom(types).Draw(t, "type")
		e.User.ID = rapid.SampledFrom([]string{role, etl}).Draw(t, "who")
		e.User.Session = rapid.SampledFrom([]string{"", "one", "i-1", "i-2"}).Draw(t, "session")
		if o := rapid.SampledFrom([]option{nil, nil, from("203.0.113.9"), presigned, copied, gcs, failed}).Draw(t, "option"); o != nil {
			o(&e)
		}
		events = append(events, e)
	}
	slices.SortStableFunc(events, func(a, b event.Event) int { return cmp.Compare(a.Time, b.Time) })
	return events
}

// lateness is how late a record of the shuffled stream may come.
const lateness = 20 * minute

// shuffled gives each event a delivery up to lateness after its time.
func shuffled(t *rapid.T, events []event.Event) []event.Event {
	type delivery struct {
		at int64
		e  event.Event
	}
	list := make([]delivery, len(events))
	for i, e := range events {
		list[i] = delivery{e.Time + rapid.Int64Range(0, lateness-1).Draw(t, "late"), e}
	}
	slices.SortStableFunc(list, func(a, b delivery) int { return cmp.Compare(a.at, b.at) })
	out := make([]event.Event, len(list))
	for i := range list {
		out[i] = list[i].e
	}
	return out
}

// run feeds events with marks as late as lateness demands.
func run(tb testing.TB, st *site.Site, events []event.Event) *detecttest.Player {
	tb.Helper()
	p := detecttest.NewPlayer(tb, []byte(propertySite), detectors()...)
	p.NoMarks = true
	var now int64
	for i, r := range detecttest.Events(tb, st, "s1", events) {
		now = max(now, events[i].Time)
		p.Feed(detecttest.Recording{r})
		if i%3 == 0 {
			mark(p, now-lateness, false, "cloudtrail", "trail2", "gcp")
		}
	}
	mark(p, now+3*hour, false, "cloudtrail", "trail2", "gcp")
	mark(p, now+3*hour, true, "cloudtrail", "trail2", "gcp")
	return p
}

// TestOrderDoesNotMatter holds that the final signals are a function of the
// events, not of their order within lateness.
func TestOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	st := parse(t, propertySite)
	said := 0
	rapid.Check(t, func(rt *rapid.T) {
		events := reads(rt)
		want := standing(run(t, st, events).Context.Final())
		got := standing(run(t, st, shuffled(rt, events)).Context.Final())
		said += len(want)
		if d := gocmp.Diff(want, got); d != "" {
			rt.Fatal(d)
		}
	})
	if said == 0 {
		t.Error("nothing was said")
	}
}

// TestOracle holds the score against a naive count over the cut of the hours.
func TestOracle(t *testing.T) {
	t.Parallel()
	st := parse(t, propertySite)
	rapid.Check(t, func(rt *rapid.T) {
		events := slices.DeleteFunc(reads(rt), func(e event.Event) bool { return e.User.ID != role || e.Observer.Type != "cloudtrail" })
		type oracle struct {
			Start int64
			Keys  int
			Bytes uint64
		}
		var want []oracle
		var keys map[string]bool
		var end int64
		flush := func() {
			if n := len(want); n > 0 {
				want[n-1].Keys = len(keys)
			}
		}
		for _, e := range events {
			bucket, key := e.Object.Bucket, e.Object.Key
			if e.Object.CopySource != "" {
				bucket, key = "", e.Object.CopySource
			} else {
				key = bucket + "/" + key
			}
			if bucket == "web" || len(key) > 3 && key[:4] == "web/" || e.Outcome == "failure" {
				continue
			}
			if e.Time >= end {
				flush()
				start := e.Time - e.Time%(5*minute)
				end, keys = start+hour, map[string]bool{}
				want = append(want, oracle{Start: start})
			}
			keys[key] = true
			want[len(want)-1].Bytes += e.Object.BytesOut.Or(0)
		}
		flush()
		want = slices.DeleteFunc(want, func(o oracle) bool { return o.Keys < 3 && o.Bytes < 500 })
		var got []oracle
		for _, s := range standing(run(t, st, events).Context.Final()) {
			o := oracle{Start: s.Start, Keys: int(value(t, &s, "keys").Value)}
			if s.Bytes != nil {
				o.Bytes = *s.Bytes
			}
			if s.Alert != (o.Keys > 6 || o.Bytes > 1000) {
				rt.Fatalf("alert %v at %+v", s.Alert, o)
			}
			got = append(got, o)
		}
		slices.SortFunc(got, func(a, b oracle) int { return cmp.Compare(a.Start, b.Start) })
		if d := gocmp.Diff(want, got, gocmp.Transformer("empty", func(l []oracle) []oracle { return append([]oracle{}, l...) })); d != "" {
			rt.Fatal(d)
		}
	})
}

// TestSnapshotAnywhere holds that a set which is replaced by one loaded from
// its snapshot, after any record, says the same in all revisions, and that
// nothing it keeps aliases a record.
func TestSnapshotAnywhere(t *testing.T) {
	t.Parallel()
	st := parse(t, propertySite)
	rapid.Check(t, func(rt *rapid.T) {
		rec := detecttest.Events(t, st, "s1", shuffled(rt, reads(rt)))
		want := detecttest.NewPlayer(t, []byte(propertySite), detectors()...).Play(rec)
		p := detecttest.NewPlayer(t, []byte(propertySite), detectors()...)
		p.Scribble = true
		p.Cut = func(p *detecttest.Player) {
			if rapid.IntRange(0, 19).Draw(rt, "cut") == 0 {
				p.Reload([]byte(propertySite), detectors()...)
			}
		}
		p.Play(rec)
		if d := gocmp.Diff(want.Context.Signals, p.Context.Signals); d != "" {
			rt.Fatal(d)
		}
	})
}

// TestDamagedState holds that a damaged snapshot is an error or loads, and
// never panics.
func TestDamagedState(t *testing.T) {
	t.Parallel()
	st := parse(t, propertySite)
	p := detecttest.NewPlayer(t, []byte(propertySite), detectors()...)
	p.Feed(detecttest.Events(t, st, "s1", slices.Concat(many(3, 0, "crm", 1, from("203.0.113.9")), many(1, 20*minute, "lake", 1, session("i-1")))))
	for b := range p.Set.Buckets() {
		data := p.Set.AppendBucket(nil, b)
		for i := range data {
			fresh := detecttest.NewPlayer(t, []byte(propertySite), detectors()...)
			if err := fresh.Set.LoadBucket(b, data[:i]); err == nil && i > 0 {
				t.Fatalf("%d of %d bytes load", i, len(data))
			}
			if i%4 != 0 && i > 200 {
				continue // mostly the text of the evidence
			}
			bent := slices.Clone(data)
			bent[i] ^= 0x55
			if err := fresh.Set.LoadBucket(b, bent); err == nil {
				fresh.Play(detecttest.Events(t, st, "s1", many(7, 2*minute, "crm", 100)))
			}
		}
	}
}
