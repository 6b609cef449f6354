package volume_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/detect/volume"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// story draws events of two sources over some hours.
func story(t *rapid.T) (out []event.Event) {
	names := []string{"mail.google.com", "transfer.sh", "bucket.s3.amazonaws.com", "a.example.com", "saas.example"}
	at := int64(0)
	for i := range rapid.IntRange(1, 40).Draw(t, "events") {
		at += rapid.Int64Range(0, 40).Draw(t, "gap") * minute
		src := rapid.SampledFrom([]string{"10.0.0.5", "10.0.0.6"}).Draw(t, "source")
		dst := fmt.Sprintf("203.0.113.%d", rapid.IntRange(1, 4).Draw(t, "destination"))
		sent := rapid.SampledFrom([]uint64{200e3, 2e6, 12e6, 60e6, 700e6}).Draw(t, "sent")
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			out = append(out, hello(fmt.Sprint("c", i+1), at, rapid.SampledFrom(names).Draw(t, "name"), from(src), to(dst)))
		case 1:
			out = append(out, with(answer(at, "a.example.com", dst), []option{from(src)}))
		case 2:
			out = append(out, flow(at, sent, from(src), to(dst)), flow(at, sent/9, from(src), to(dst), back))
		case 3:
			out = append(out, conn(fmt.Sprint("o", i%3), at, sent, sent/7, from(src), to(dst), open, lasted(hour)))
		default:
			out = append(out, conn(fmt.Sprint("c", i), at, sent, sent/rapid.Uint64Range(1, 40).Draw(t, "ratio"), from(src), to(dst), lasted(rapid.Int64Range(0, 90).Draw(t, "lasted")*minute), port(rapid.SampledFrom([]int{443, 25, 8080}).Draw(t, "port"))))
		}
	}
	return out
}

const storySite = "own_tenants: [ours]\nsanctioned_destinations: [{value: saas.example, sources: [10.0.0.5], daily_bytes: 50000000}]\n"

func record(tb testing.TB, events []event.Event) detecttest.Recording {
	tb.Helper()
	var zeek, flows []event.Event
	for _, e := range events {
		if e.Kind == event.KindFlow {
			flows = append(flows, e)
		} else {
			zeek = append(zeek, e)
		}
	}
	st := parse(tb, storySite)
	return detecttest.Merge(detecttest.Events(tb, st, "s1", zeek), detecttest.Events(tb, st, "s1", flows))
}

// TestMeterCutAnywhere: a meter that is saved and loaded after any record says
// what one that runs through says, and nothing that it keeps aliases a record.
func TestMeterCutAnywhere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		rec := record(t, story(rt))
		cut := rapid.IntRange(0, len(rec)).Draw(rt, "cut")
		whole := detecttest.NewPlayer(t, []byte(storySite), volume.NewMetered()...).Play(rec)
		parts := detecttest.NewPlayer(t, []byte(storySite), volume.NewMetered()...)
		parts.Scribble = true
		n := 0
		parts.Cut = func(p *detecttest.Player) {
			if n++; n == cut {
				p.Reload([]byte(storySite), volume.NewMetered()...)
			}
		}
		parts.Play(rec)
		if d := gocmp.Diff(whole.Context.Signals, parts.Context.Signals); d != "" {
			rt.Fatalf("cut at %d (-whole +cut):\n%s", cut, d)
		}
		if d := gocmp.Diff(whole.Save(), parts.Save()); d != "" {
			rt.Fatalf("state after a cut at %d:\n%s", cut, d)
		}
	})
}

// TestMeterDamaged: damage to a snapshot is an error, never a panic, then or
// later.
func TestMeterDamaged(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		rec := record(t, story(rt))
		p := detecttest.NewPlayer(t, []byte(storySite), volume.NewMetered()...)
		p.Feed(rec)
		saved := p.Save()
		next := detecttest.NewPlayer(t, []byte(storySite), volume.NewMetered()...)
		for b, data := range saved.Buckets {
			if data == "" {
				continue
			}
			raw := []byte(data)
			raw[rapid.IntRange(0, len(raw)-1).Draw(rt, "at")] ^= byte(rapid.IntRange(1, 255).Draw(rt, "bits"))
			if next.Set.LoadBucket(b, raw) != nil {
				return // a set that did not load is not used
			}
		}
		shared := []byte(saved.Shared)
		if next.Set.LoadShared(shared[:rapid.IntRange(0, len(shared)).Draw(rt, "shared")]) != nil {
			return
		}
		next.Context.Quiet = true
		next.Play(rec)
	})
}

// TestMeterOrder: what stands at the end does not depend on how the streams of
// two sensors were interleaved within their lateness.
func TestMeterOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		events := slices.DeleteFunc(story(rt), func(e event.Event) bool {
			// Names that come late, and what the site as a whole knows, are the
			// stated exceptions.
			return e.Kind == event.KindTLS || e.Kind == event.KindDNS
		})
		rec := record(t, events)
		if len(rec) == 0 {
			return
		}
		off := storySite + "detectors: {new-destination-upload: {mode: off}, no-dns-upload: {mode: off}}\n"
		run := func(pick func(n int) int) []signal.Signal {
			p := detecttest.NewPlayer(t, []byte(off), volume.NewMetered()...)
			p.Interleave(rec, 30*minute, pick)
			list := orderless(p.Context.Final())
			for i := range list {
				// Who else saw it is told as it was when it was said.
				list[i].Values, list[i].Observers = nil, nil
				list[i].Entity.Interface, list[i].Entity.Instance = "", ""
			}
			return list
		}
		a := run(func(int) int { return 0 })
		b := run(func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "pick") })
		if d := gocmp.Diff(a, b); d != "" {
			rt.Fatalf("(-one order +another):\n%s", d)
		}
	})
}

// busy calls run with a meter that knows fifty destinations, and one event for
// each. As much comes back as is sent, or the growing shares of
// distributed-upload would be told.
func busy(tb testing.TB, sent uint64, run func(apply func(e *event.Event), events []event.Event)) {
	tb.Helper()
	st := parse(tb, "")
	var place site.Placement
	var events []event.Event
	for i := range 50 {
		e := conn(fmt.Sprintf("C%d", i), int64(i)*second, sent, sent)
		e.Destination.IP = netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
		st.Place(&e, &place)
		events = append(events, e)
	}
	list := volume.NewMetered()
	list[0] = probe{list[0], func(env *detect.Env) {
		state := volume.NewMetered()[0].New()
		apply := func(e *event.Event) { state.Apply(e, env) }
		for range 40 { // what is told and made once
			for i := range events {
				apply(&events[i])
			}
		}
		run(apply, events)
	}}
	player := detecttest.NewPlayer(tb, nil, list...)
	player.NoMarks, player.Context.Quiet = true, true
	player.Feed(detecttest.Events(tb, st, "s1", events[:1]))
}

// TestMeterAllocations: an event of a known destination allocates nothing,
// below the gates and above.
func TestMeterAllocations(t *testing.T) { //nolint:paralleltest // it counts allocations
	for name, sent := range map[string]uint64{"little": 2000, "some": 40_000, "much": 300_000} {
		busy(t, sent, func(apply func(e *event.Event), events []event.Event) {
			i := 0
			if n := testing.AllocsPerRun(500, func() {
				apply(&events[i%len(events)])
				i++
			}); n != 0 {
				t.Errorf("%s: %v allocations an event", name, n)
			}
		})
	}
}

// BenchmarkMeter is an event of a known destination, judged by ten rules.
func BenchmarkMeter(b *testing.B) {
	for name, sent := range map[string]uint64{"little": 2000, "much": 100_000} {
		b.Run(name, func(b *testing.B) {
			busy(b, sent, func(apply func(e *event.Event), events []event.Event) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					apply(&events[i%len(events)])
					i++
				}
			})
		})
	}
}
