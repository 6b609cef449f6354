package volume_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
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

// known calls run with a state that knows fifty destinations, and one event
// for each.
func known(tb testing.TB, d detect.Detector, run func(state detect.State, env *detect.Env, events []event.Event)) {
	tb.Helper()
	st := parse(tb, labSite(tb))
	var place site.Placement
	var events []event.Event
	for i := range 50 {
		e := conn(fmt.Sprintf("C%d", i), int64(i)*second, 2000, 9000)
		e.Destination.IP = netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
		st.Place(&e, &place)
		events = append(events, e)
	}
	p := probe{d, func(env *detect.Env) {
		state := d.New()
		for i := range events {
			h := hello(events[i].ID, int64(i)*second, fmt.Sprintf("h%d.example%d.com", i, i))
			h.Destination.IP = events[i].Destination.IP
			st.Place(&h, &place)
			state.Apply(&h, env)
			state.Apply(&events[i], env)
		}
		run(state, env, events)
	}}
	player := detecttest.NewPlayer(tb, []byte(labSite(tb)), p)
	player.NoMarks = true
	player.Feed(detecttest.Events(tb, st, "s1", events[:1]))
}

// TestAllocations holds that an event of a known pair allocates nothing.
func TestAllocations(t *testing.T) { //nolint:paralleltest // it counts allocations
	for _, d := range detectors() {
		known(t, d, func(state detect.State, env *detect.Env, events []event.Event) {
			i := 0
			if n := testing.AllocsPerRun(500, func() {
				state.Apply(&events[i%len(events)], env)
				i++
			}); n != 0 {
				t.Errorf("%s: %v allocations an event", d.Info().ID, n)
			}
		})
	}
}

// BenchmarkApply is an event of a known pair below all limits.
func BenchmarkApply(b *testing.B) {
	for _, d := range detectors() {
		b.Run(d.Info().ID, func(b *testing.B) { benchmark(b, d, 1) })
	}
}

// BenchmarkApplyLarge is the same for pairs above the limits, each event of
// which is judged.
func BenchmarkApplyLarge(b *testing.B) {
	for _, d := range detectors() {
		b.Run(d.Info().ID, func(b *testing.B) { benchmark(b, d, 200_000) })
	}
}

func benchmark(b *testing.B, d detect.Detector, sent uint64) {
	b.Helper()
	known(b, d, func(state detect.State, env *detect.Env, events []event.Event) {
		for i := range events {
			events[i].Source.Bytes = event.N(sent)
		}
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			state.Apply(&events[i%len(events)], env)
			i++
		}
	})
}
