package volume_test

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const propertySite = `
sanctioned_destinations: [vault.example]
own_domains: [corp.example]
`

// traffic draws some hours of one source's connections, snapshots, names and
// flow records, in order of their time. Either each address has one name, or
// it has several and each connection says its own: of what says none on an
// address of several, order decides the name.
func traffic(t *rapid.T) []event.Event {
	var events []event.Event
	names := []string{"a.drop.example", "b.drop.example", "vault.example", "x.corp.example"}
	many := rapid.Bool().Draw(t, "many names")
	n := rapid.IntRange(1, 14).Draw(t, "connections")
	for i := range n {
		k := rapid.IntRange(1, 3).Draw(t, "dst")
		dst, name := fmt.Sprintf("203.0.113.%d", k), names[k-1]
		at := rapid.Int64Range(0, 3*60*60).Draw(t, "second") * second
		sent := rapid.Uint64Range(0, 60).Draw(t, "sent") * mb / 10
		got := rapid.SampledFrom([]uint64{0, 5_000, 400_000, 3 * mb}).Draw(t, "got")
		id := fmt.Sprintf("C%d", i)
		what := rapid.IntRange(0, 3).Draw(t, "what")
		if many {
			sent += 300_000 // large enough to be moved
			name = rapid.SampledFrom(names).Draw(t, "name")
			what &= 1
		}
		if many || what == 0 {
			events = append(events, hello(id, at-2*second, name, to(dst)))
		}
		switch what {
		case 0:
			events = append(events, conn(id, at, sent, got, to(dst), lasted(2*second)))
		case 1: // in snapshots
			k := rapid.Int64Range(1, 4).Draw(t, "snapshots")
			for j := range k {
				part := uint64(j+1) * sent / uint64(k)
				last := at + j*minute
				events = append(events, conn(id, last, part, got*uint64(j+1), to(dst), lasted(j*minute+second), func(e *event.Event) { e.Conn.Open = j < k-1 }))
			}
		case 2: // flow records of both directions
			events = append(events, flow(at, sent, to(dst)), flow(at, got, to(dst), back))
		case 3:
			events = append(events, conn(id, at, sent, got, to(dst)))
		}
	}
	slices.SortStableFunc(events, func(a, b event.Event) int { return cmp.Compare(a.Time, b.Time) })
	return events
}

// lateness is how late a record of the shuffled stream may come.
const lateness = 12 * minute

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

// run feeds events with a mark after each, as late as lateness demands.
func run(tb testing.TB, t *rapid.T, st *site.Site, events []event.Event) *detecttest.Player {
	tb.Helper()
	p := detecttest.NewPlayer(tb, []byte(propertySite), detectors()...)
	p.NoMarks = true
	var now int64
	for i, r := range detecttest.Events(tb, st, "s1", events) {
		now = max(now, events[i].Time)
		p.Feed(detecttest.Recording{r})
		if i%3 == 0 {
			mark(p, now-lateness, false, "zeek", "vpcflow")
		}
	}
	mark(p, now+3*hour, false, "zeek", "vpcflow")
	mark(p, now+3*hour, true, "zeek", "vpcflow")
	return p
}

// TestOrderDoesNotMatter holds that the final signals are a function of the
// events, not of their order within lateness.
func TestOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	st := parse(t, propertySite)
	rapid.Check(t, func(rt *rapid.T) {
		events := traffic(rt)
		want := orderless(run(t, rt, st, events).Context.Final())
		got := orderless(run(t, rt, st, shuffled(rt, events)).Context.Final())
		if d := gocmp.Diff(want, got); d != "" {
			rt.Fatal(d)
		}
	})
}

// TestSnapshotAnywhere holds that a set which is replaced by one loaded from
// its snapshot, after any record, says the same in all revisions.
func TestSnapshotAnywhere(t *testing.T) {
	t.Parallel()
	st := parse(t, propertySite)
	rapid.Check(t, func(rt *rapid.T) {
		rec := detecttest.Events(t, st, "s1", traffic(rt))
		want := detecttest.NewPlayer(t, []byte(propertySite), detectors()...).Play(rec)
		p := detecttest.NewPlayer(t, []byte(propertySite), detectors()...)
		p.Scribble = true
		p.Cut = func(p *detecttest.Player) {
			if rapid.IntRange(0, 24).Draw(rt, "cut") == 0 {
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
	st := parse(t, "")
	p := detecttest.NewPlayer(t, nil, detectors()...)
	p.Feed(detecttest.Events(t, st, "s1", []event.Event{
		hello("A", 0, "a.drop.example"), answer(0, "b.example", "203.0.113.20"), conn("A", second, 12*mb, 1), conn("B", second, 3*mb, 1, to("203.0.113.10"), open), flow(minute, 3*mb),
	}))
	for b := range p.Set.Buckets() {
		data := p.Set.AppendBucket(nil, b)
		for i := 0; i < len(data); i += 5 { // every fifth byte is enough for a test of a second
			fresh := detecttest.NewPlayer(t, nil, detectors()...)
			if err := fresh.Set.LoadBucket(b, data[:i]); err == nil && i > 0 {
				t.Fatalf("%d of %d bytes load", i, len(data))
			}
			bent := slices.Clone(data)
			bent[i] ^= 0x55
			if err := fresh.Set.LoadBucket(b, bent); err == nil {
				fresh.Play(detecttest.Events(t, st, "s1", []event.Event{conn("A", 2*minute, 13*mb, 1)}))
			}
		}
	}
}

// TestWithoutAddresses holds that an event which lacks an address is nothing.
func TestWithoutAddresses(t *testing.T) {
	t.Parallel()
	none := func(e *event.Event) { e.Destination.IP = netip.Addr{} }
	if p := play(t, "", conn("A", 0, 12*mb, 0, none), flow(0, 12*mb, none), hello("A", 0, "a.example", none)); len(p.Context.Signals) != 0 {
		t.Errorf("%d signals", len(p.Context.Signals))
	}
}
