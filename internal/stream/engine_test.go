package stream

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func TestOutputsAreThoseOfTheOracle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	rng := rand.New(rand.NewPCG(1, 1))
	var clock int64
	w.feed(rng, "in", 0, 500, &clock)
	w.feed(rng, "in", 1, 300, &clock)
	i := w.start("A")
	w.settle()
	w.feedTxn(rng, 0, 100, &clock, true)
	w.feedTxn(rng, 1, 100, &clock, false)
	w.settle()
	i.drain()
	w.check(w.always("A"))
	if got := i.value("ebbwatch_stream_records_total"); got < 900 {
		t.Errorf("counted %v records", got)
	}
}

var crashes = flag.Int("crashes", 4, "seeds of TestKilledAnywhere")

// TestKilledAnywhere is R1: whatever is cut off at whatever moment, what is
// committed is what one undisturbed run would have committed.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	embedded := func(seed int) bool { return (seed+seed/4)%2 == 1 }
	together(t, *crashes, func(seed int) string { return fmt.Sprintf("seed=%d,embedded=%v", seed, embedded(seed)) },
		func(t *testing.T, seed int) {
			t.Helper()
			embedded := embedded(seed)
			rng := rand.New(rand.NewPCG(uint64(seed), 7))
			w := newWorld(t, 2)
			w.cfg.Embedded = embedded
			// From hardly any to many snapshots.
			w.cfg.SnapshotCycle = []time.Duration{40, 3000, 400, 150}[seed%4] * time.Millisecond
			var clock int64
			replayed, aborted := 0.0, 0.0
			epochName := "A"
			for range 6 {
				if !embedded { // there the state topic is trimmed, and with it what the oracle needs
					epochName = string(rune('A' + rng.IntN(3)))
				}
				i := w.start(epochName)
				up := time.Now().Add(time.Duration(rng.IntN(700)) * time.Millisecond)
				for time.Now().Before(up) {
					p := rng.Int32N(2)
					switch rng.IntN(6) {
					case 0:
						w.feedTxn(rng, p, 1+rng.IntN(60), &clock, rng.IntN(3) > 0)
					default:
						w.feed(rng, "in", p, 1+rng.IntN(30), &clock)
					}
					time.Sleep(time.Duration(rng.IntN(10)) * time.Millisecond)
				}
				if rng.IntN(5) == 0 {
					i.drain()
				} else {
					i.kill()
				}
				replayed += i.value("ebbwatch_stream_replayed_records_total")
				aborted += i.value("ebbwatch_stream_aborts_total")
			}
			t.Logf("replayed %v records, aborted %v transactions", replayed, aborted)
			i := w.start(epochName)
			w.settle()
			i.drain()
			if embedded {
				w.check(w.always("A"))
			} else {
				w.check(w.storedEpochs())
			}
		})
}
