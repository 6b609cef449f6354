package object_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/detect/object"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// probe is a detector that hands its environment to a function: what a state
// is called with exists only during a call.
type probe struct {
	detect.Detector
	run func(env *detect.Env)
}

func (p probe) New() detect.State { return p }

func (p probe) Apply(_ *event.Event, env *detect.Env) { p.run(env) }

func (p probe) Next() detect.Timer { return detect.NoTimer }

func (p probe) Advance(*detect.Env) {}

func (p probe) Expired(int64) bool { return true }

func (p probe) Append(dst []byte) []byte { return dst }

func (p probe) Load([]byte) error { return nil }

// known calls run with a state that knows n objects of a principal, and one
// event for each.
func known(tb testing.TB, n int, run func(state detect.State, env *detect.Env, events []event.Event)) {
	tb.Helper()
	events := many(n, 0, "lake", 1)
	d := object.NewBulkRead()
	player := detecttest.NewPlayer(tb, nil, probe{d, func(env *detect.Env) {
		state := d.New()
		for i := range events {
			state.Apply(&events[i], env)
		}
		run(state, env, events)
	}})
	player.NoMarks = true
	player.Feed(detecttest.Events(tb, parse(tb, ""), "s1", events[:1]))
}

// TestAllocations holds that a read of a known object allocates nothing.
func TestAllocations(t *testing.T) { //nolint:paralleltest // it counts allocations
	known(t, 100, func(state detect.State, env *detect.Env, events []event.Event) {
		i := 0
		for range 2000 { // evidence is kept at each doubling
			state.Apply(&events[i%len(events)], env)
			i++
		}
		if n := testing.AllocsPerRun(500, func() {
			state.Apply(&events[i%len(events)], env)
			i++
		}); n != 0 {
			t.Errorf("%v allocations a read", n)
		}
	})
}

// BenchmarkApply is a read of a known object, below the limits and above.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{100, 1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			known(b, n, func(state detect.State, env *detect.Env, events []event.Event) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					state.Apply(&events[i%len(events)], env)
					i++
				}
			})
		})
	}
}

// TestFlood holds that very many objects, buckets, addresses, sessions and
// hours cost bounded memory and few signals, and that they hide nothing.
func TestFlood(t *testing.T) {
	t.Parallel()
	st := parse(t, "")
	p := detecttest.NewPlayer(t, nil, detectors()...)
	p.NoMarks = true
	const n, batch = 20_000, 2_000
	long := strings.Repeat("x", 300)
	for i := 0; i < n; i += batch {
		events := make([]event.Event, 0, batch)
		for j := i; j < i+batch; j++ {
			// Five hours, no mark, every third of a pane before.
			e := get(int64(j)*900_000-int64(j%3)*5*minute, fmt.Sprint("b", j%1000, long), fmt.Sprint(j, long), 1, session(fmt.Sprint(j, long)))
			e.Source.IP = netip.AddrFrom4([4]byte{203, byte(j >> 16), byte(j >> 8), byte(j)})
			if j%2 == 0 {
				e.Source.IP, e.Source.Address = netip.Addr{}, fmt.Sprint(j, long)
			}
			e.Observer.Type = fmt.Sprint("trail", j%6)
			events = append(events, e)
		}
		p.Feed(detecttest.Events(t, st, "s1", events))
	}
	size := 0
	for b := range p.Set.Buckets() {
		size += len(p.Set.AppendBucket(nil, b))
	}
	if size > 3<<20 {
		t.Errorf("%d KiB of state", size>>10)
	}
	p.Mark(true)
	if p.Context.Counts["views_dropped/bulk-object-read"] == 0 {
		t.Error("nothing was counted as dropped")
	}
	alerts := 0
	final := standing(p.Context.Final())
	for i := range final {
		if final[i].Alert {
			alerts++
		}
		if final[i].Role != "exfil" || len(final[i].Reason) > 2000 || len(final[i].Values) > 30 {
			t.Errorf("%s", brief(&final[i]))
		}
	}
	if alerts < 4 || len(p.Context.Signals) > 15*len(final) {
		t.Errorf("%d findings in %d signals, %d alerts", len(final), len(p.Context.Signals), alerts)
	}
}
