package stream

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestInstancesAgreeOnAnEpoch: an epoch that changes while records flow, with
// instances that declare different ones, that are killed and hand partitions to
// each other: each partition goes from older epochs to newer ones only, where
// Supersedes says what is newer, and replays what it did.
func TestInstancesAgreeOnAnEpoch(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"kill", "drain"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 2)
			w.cfg.Supersedes = func(_ string, held, declared []byte) bool { return string(held) < string(declared) }
			rng := rand.New(rand.NewPCG(3, 9))
			var clock int64
			feed := func() {
				for range 20 {
					w.feed(rng, "in", rng.Int32N(2), 1+rng.IntN(20), &clock)
					time.Sleep(2 * time.Millisecond)
				}
			}
			old := w.start("A")
			feed()
			w.settle()
			old.setEpoch("B") // while it runs
			feed()
			w.settle()
			newer := w.start("C", func(c *Config) { c.Slot = "1" }) // two live instances share no slot
			feed()
			w.settle()
			if name == "kill" {
				newer.kill()
			} else {
				newer.drain()
			}
			// What it had comes back to an instance that declares an older one.
			feed()
			w.settle()
			old.kill()
			last := w.start("B")
			feed()
			w.settle()
			last.drain()

			epochs := w.storedEpochs()
			w.check(w.storedEpochs())
			var seen strings.Builder
			for tp, list := range epochs {
				for i, e := range list {
					seen.WriteString(string(e.data))
					if i > 0 && string(list[i-1].data) >= string(e.data) {
						t.Errorf("%s: epoch %s from %d follows %s", tp, e.data, e.from, list[i-1].data)
					}
				}
				if len(list) < 2 || string(list[0].data) != "A" {
					t.Errorf("%s: %d epochs, the change while it ran is not among them", tp, len(list))
				}
			}
			if seen.String() == "" {
				t.Error("no epochs were stored")
			}
		})
	}
}
