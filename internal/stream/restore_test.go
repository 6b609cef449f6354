package stream

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// run lets an instance process what is there, and drains it.
func (w *world) run(epoch string, change ...func(*Config)) *instance {
	w.t.Helper()
	i := w.start(epoch, change...)
	w.settle()
	i.drain()
	return i
}

func TestDrainLeavesNothingToReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.cfg.SnapshotCycle = time.Hour
	rng := rand.New(rand.NewPCG(10, 1))
	var clock int64
	w.feed(rng, "in", 0, 300, &clock)
	w.feed(rng, "in", 1, 300, &clock)
	w.run("A")
	began := time.Now()
	i := w.start("A")
	for !i.current().Ready() {
		time.Sleep(time.Millisecond)
		if time.Since(began) > 10*time.Second {
			t.Fatal("not ready")
		}
	}
	if n := i.value("ebbwatch_stream_replayed_records_total"); n != 0 {
		t.Errorf("replayed %v records", n)
	}
	// A drained member leaves the group: nobody has to wait for its session.
	i.drain()
	groups, err := w.adm.DescribeGroups(context.Background(), "test")
	if err != nil || len(groups["test"].Members) != 0 {
		t.Errorf("members %v, error %v", groups["test"].Members, err)
	}
}

// TestLostStateIsAnError: what cannot be restored exactly is not begun anew.
func TestLostStateIsAnError(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	trim := func(w *world, topic string, p int32, to int64) {
		var o kadm.Offsets
		o.AddOffset(topic, p, to, -1)
		res, err := w.adm.DeleteRecords(ctx, o)
		if err := errors.Join(err, res.Error()); err != nil {
			w.t.Fatal(err)
		}
	}
	commit := func(w *world, at int64) {
		var o kadm.Offsets
		o.AddOffset("in", 0, at, -1)
		if err := w.adm.CommitAllOffsets(ctx, "test", o); err != nil {
			w.t.Fatal(err)
		}
	}
	cases := []struct {
		name string
		do   func(w *world)
		want string
	}{
		{"state topic emptied", func(w *world) { trim(w, "state", 0, -1) }, "no complete snapshot in partition 0 of state for offset 300"},
		{"offsets reset", func(w *world) { commit(w, 5) }, "no snapshot at or below offset 5"},
		{"offset beyond the end", func(w *world) { commit(w, 400) }, "the committed offset 400 lies beyond the end 300 of the log"},
		{"retention ran past the snapshot", func(w *world) {
			// 100 more are committed but not in a snapshot.
			rng := rand.New(rand.NewPCG(1, 1))
			clock := int64(5000)
			w.feed(rng, "in", 0, 100, &clock)
			i := w.start("A", func(c *Config) { c.SnapshotCycle = time.Hour })
			w.settle()
			i.kill()
			trim(w, "in", 0, 350)
		}, "offset 300 is not in the log"},
		{"state of another partition", func(w *world) {
			w.produce(&kgo.Record{Topic: "state", Partition: 0, Key: manifestKey(tp{"in", 1}, 0), Value: (&manifest{seq: 1}).encode()})
		}, "state record of another partition"},
		{"state of a later release", func(w *world) {
			v := (&manifest{seq: 900}).encode()
			v = v[:len(v)-8]
			v[0] = formatVersion + 1
			w.produce(&kgo.Record{Topic: "state", Partition: 0, Key: manifestKey(tp{"in", 0}, 0), Value: sealValue(v)})
		}, "unknown version"},
	}
	together(t, len(cases), func(i int) string { return cases[i].name }, func(t *testing.T, i int) {
		t.Helper()
		tc := cases[i]
		w := newWorld(t, 1)
		rng := rand.New(rand.NewPCG(11, 1))
		var clock int64
		w.feed(rng, "in", 0, 300, &clock)
		// One complete snapshot at 300, none at an offset below. On the
		// embedded broker each is whole.
		w.cfg.Embedded = true
		w.run("A", func(c *Config) { c.SnapshotCycle = time.Hour })
		for _, r := range w.readAll("state") {
			if k, err := parseKey(tp{"in", 0}, r.Key); err == nil && k.typ == typeManifest {
				trim(w, "state", 0, r.Offset+1)
				break
			}
		}
		tc.do(w)
		err := w.start("A").end()
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v", err)
		}
	})
}

func TestWrongTopicsAreAClearError(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	for _, tc := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Inputs = []string{"nothing"} }, "topic nothing: "},
		{func(c *Config) { c.State = "state2" }, "topic state2 has 3 partitions, the inputs together 2"},
	} {
		err := w.start("A", tc.change).end()
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("error %v", err)
		}
	}
}

func TestConfigNamesAllProblems(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Embedded: true, CommitInterval: time.Millisecond, Inputs: []string{"a", "a", "b"}, Outputs: []string{"b"}}, newCounter, testLog(t), nil)
	for _, want := range []string{"service", "brokers", "at least 1s", "a is named twice", "b is an output"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

func TestTwoInputsHaveTheirOwnPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.cfg.Inputs, w.cfg.State = []string{"in", "in2"}, "state2"
	var made atomic.Int64
	w.cfg.Factories = map[string]operator.Factory{"in2": func(p int32) (operator.Operator, error) {
		made.Add(1)
		op, err := newCounter(p + 100)
		return op, err
	}}
	rng := rand.New(rand.NewPCG(12, 1))
	var clock int64
	for range 3 {
		w.feed(rng, "in", 0, 100, &clock)
		w.feed(rng, "in", 1, 100, &clock)
		w.feed(rng, "in2", 0, 100, &clock)
		w.run("A")
	}
	if made.Load() < 3 {
		t.Errorf("made %d operators of the second input", made.Load())
	}
	places := map[int32]string{}
	for _, r := range w.readAll("state2") {
		parts := strings.Split(string(r.Key), "/")
		places[r.Partition] = parts[0] + "/" + parts[1]
	}
	if d := cmp.Diff(map[int32]string{0: "in/0", 1: "in/1", 2: "in2/0"}, places); d != "" {
		t.Error(d)
	}
	want1, _ := w.oracle("in", w.always("A"))
	want2, _ := w.oracle("in2", map[tp][]epoch{{"in2", 0}: {{"site", 0, []byte("A")}}})
	got := map[string]int{}
	for _, r := range w.readAll("out") {
		p, _, _ := strings.Cut(string(r.Value), " ")
		got[p]++
	}
	want := map[string]int{"0": len(want1[tp{"in", 0}]), "1": len(want1[tp{"in", 1}]), "100": len(want2[tp{"in2", 0}])}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestEpochsHoldFromAnOffset changes the epoch while running, at a restart,
// and after a kill; replay must see each where it was declared.
func TestEpochsHoldFromAnOffset(t *testing.T) {
	t.Parallel()
	for _, embedded := range []bool{false, true} {
		t.Run(map[bool]string{false: "cluster", true: "embedded"}[embedded], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			w.cfg.Embedded = embedded
			w.cfg.SnapshotCycle = time.Hour // so that all is replayed
			rng := rand.New(rand.NewPCG(13, 1))
			var clock int64
			w.feed(rng, "in", 0, 100, &clock)
			i := w.start("A")
			w.settle()
			i.setEpoch(strings.Repeat("a long epoch ", 20))
			for began := time.Now(); len(w.storedEpochs()[tp{"in", 0}]) < 2; time.Sleep(10 * time.Millisecond) {
				if time.Since(began) > 10*time.Second {
					t.Fatal("the epoch is not committed without a record")
				}
			}
			w.feed(rng, "in", 0, 100, &clock)
			w.settle()
			i.setEpoch(strings.Repeat("a long epoch ", 20)) // no change
			w.feed(rng, "in", 0, 50, &clock)
			w.settle()
			i.kill()
			i = w.start("C")
			w.settle()
			w.feed(rng, "in", 0, 100, &clock)
			w.settle()
			i.kill()
			// Replays some of the history, most often all from the empty snapshot.
			w.feed(rng, "in", 0, 100, &clock)
			i = w.start("C")
			w.settle()
			if n := i.value("ebbwatch_stream_replayed_records_total"); n < 100 {
				t.Errorf("replayed %v records", n)
			}
			i.drain()
			// Whatever snapshots came between, the history of epochs is that of
			// the log that is kept.
			stored := func() (at []int64) {
				t.Helper()
				st := newStoredState()
				for _, r := range w.readAll("state") {
					if err := st.add(tp{"in", 0}, r); err != nil {
						t.Fatal(err)
					}
				}
				for _, e := range st.epochsFrom(0) {
					at = append(at, e.from)
				}
				return at
			}
			history := func(want ...int64) {
				t.Helper()
				if d := cmp.Diff(want, stored()); d != "" {
					t.Error(d)
				}
			}
			history(0, 100, 250)
			epochs := func() map[tp][]epoch {
				return map[tp][]epoch{{"in", 0}: {{"site", 0, []byte("A")}, {"site", 100, []byte(strings.Repeat("a long epoch ", 20))}, {"site", 250, []byte("C")}}}
			}
			w.check(epochs())
			// And from the drain's snapshot.
			w.feed(rng, "in", 0, 100, &clock)
			w.run("C")
			w.check(epochs())
			history(0, 100, 250)
			// It shrinks with the log.
			var o kadm.Offsets
			o.AddOffset("in", 0, 120, -1)
			if _, err := w.adm.DeleteRecords(context.Background(), o); err != nil {
				t.Fatal(err)
			}
			i = w.start("C", func(c *Config) { c.SnapshotCycle = 30 * time.Millisecond })
			for began := time.Now(); len(stored()) > 2 && time.Since(began) < 10*time.Second; {
				w.feed(rng, "in", 0, 10, &clock)
				w.settle()
			}
			i.drain()
			history(100, 250)
		})
	}
}

func TestEpochKindsAreChecked(t *testing.T) {
	t.Parallel()
	e, err := New(Config{Service: "s", Brokers: []string{"b"}, Inputs: []string{"i"}}, newCounter, testLog(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"", "a/b", "A", "a b"} {
		if err := e.SetEpoch(kind, nil); err == nil {
			t.Errorf("kind %q is accepted", kind)
		}
	}
}

// TestEmbeddedStateIsTrimmed: nothing is compacted there, so the state topic
// would grow for ever.
func TestEmbeddedStateIsTrimmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.inject() // a cluster's state topics are compacted, never trimmed
	w.cfg.Embedded = true
	w.cfg.SnapshotCycle = 40 * time.Millisecond
	rng := rand.New(rand.NewPCG(14, 1))
	var clock int64
	i := w.start("A")
	for range 60 {
		w.feed(rng, "in", 0, 20, &clock)
		time.Sleep(10 * time.Millisecond)
	}
	w.settle()
	snapshots := i.value("ebbwatch_stream_snapshots_total")
	i.drain()
	starts, err := w.adm.ListStartOffsets(context.Background(), "state")
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := starts.Lookup("state", 0); s.Offset == 0 || snapshots < 4 {
		t.Errorf("after %v snapshots the state starts at %d", snapshots, s.Offset)
	}
	w.feed(rng, "in", 0, 200, &clock)
	i = w.run("A")
	if n := i.value("ebbwatch_stream_replayed_records_total"); n != 0 {
		t.Errorf("replayed %v records", n)
	}
	w.check(w.always("A"))
}

// TestCommittedOutputsAreToldOnce: the hook for counters never sees a replay,
// an abort, or an output twice.
func TestCommittedOutputsAreToldOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.cfg.SnapshotCycle = time.Hour
	told := map[string]int{}
	var calls atomic.Int64
	w.cfg.OnCommitted = func(outs []operator.Output) {
		calls.Add(1)
		for _, o := range outs { // one engine at a time, from one goroutine
			told[string(o.Value)]++
			if o.Topic != "out" || o.Kind != "sum" || o.V != 1 {
				t.Errorf("output %+v", o)
			}
		}
	}
	rng := rand.New(rand.NewPCG(15, 1))
	var clock int64
	for range 4 {
		w.feed(rng, "in", 0, 100, &clock)
		i := w.start("A")
		w.settle()
		i.kill()
	}
	out := w.readAll("out")
	for _, r := range out {
		if told[string(r.Value)] != 1 {
			t.Errorf("told %d times of %s", told[string(r.Value)], r.Value)
		}
	}
	if len(told) != len(out) || calls.Load() == 0 {
		t.Errorf("told of %d outputs, %d are committed", len(told), len(out))
	}
}
