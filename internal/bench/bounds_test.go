package bench

import (
	"bytes"
	"hash/fnv"
	"runtime"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
)

func newSet(t *testing.T, b detect.Bounds) *detect.Set {
	t.Helper()
	op, err := pipeline.NewSet("default", b)
	if err != nil {
		t.Fatal(err)
	}
	return op.(*detect.Set)
}

// liveHeap returns the bytes that are in use, once what earlier tests leave behind
// (brokers that end, pools, finalizers) is gone: a second at most.
func liveHeap() uint64 {
	var m runtime.MemStats
	last := uint64(0)
	for range 50 {
		runtime.GC()
		if runtime.ReadMemStats(&m); m.HeapAlloc+64<<10 >= last && last+64<<10 >= m.HeapAlloc {
			break
		}
		last = m.HeapAlloc
		time.Sleep(20 * time.Millisecond)
	}
	return m.HeapAlloc
}

// TestWeightIsMemory: what a set reckons that its keys take is about what they
// take, for many keys of little traffic and for few of much. It is not parallel:
// it measures the heap.
func TestWeightIsMemory(t *testing.T) {
	for _, shape := range []struct{ sources, flows int }{{6_000, 0}, {3_000, 6}, {500, 100}, {60, 1000}} {
		l := newLoad(shape.sources, shape.sources, 2_000, 1_795_430_400_000_000)
		setup := record(l, l.setupRecords(), l.setup)
		flows := record(l, int64(shape.sources*shape.flows), l.record)
		before := liveHeap()
		set, c := newSet(t, detect.Bounds{}), &sum{Hash64: fnv.New64a()}
		setup.play(t, set, 0, c)
		flows.play(t, set, 1<<20, c)
		heap := float64(liveHeap()) - float64(before)
		// What all partitions have once: destinations and look-ups of the site.
		heap -= 2 << 20
		if ratio := float64(set.Weight()) / heap; ratio < 0.5 || ratio > 1.8 {
			t.Errorf("%d keys of %d flows take %.1f MB, and weigh %.1f", shape.sources, 2+shape.flows, heap/1e6, float64(set.Weight())/1e6)
		} else {
			t.Logf("%d keys of %d flows: %.1f KB each, weight %.2f of it", shape.sources, 2+shape.flows, heap/1e3/float64(shape.sources), ratio)
		}
		runtime.KeepAlive(set)
		runtime.KeepAlive(setup)
		runtime.KeepAlive(flows)
	}
}

// TestMemoryIsBounded: a set holds what it may, whatever comes, and a restore in
// the middle changes nothing.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	bounds := detect.Bounds{Bytes: 4 << 20}
	l := newLoad(5_000, 5_000, 200, 1_795_430_400_000_000)
	setup, flows := record(l, l.setupRecords(), l.setup), record(l, 60_000, l.record)
	play := func(restored bool) (*detect.Set, *sum) {
		set, c := newSet(t, bounds), &sum{Hash64: fnv.New64a()}
		setup.play(t, set, 0, c)
		if restored {
			set = reloaded(t, set, bounds)
		}
		for at := range flows.parts(1000) {
			at.play(t, set, 1<<20, c)
			if set.Weight() > bounds.Bytes {
				t.Fatalf("%d bytes in %d keys, allowed are %d", set.Weight(), set.Keys(), bounds.Bytes)
			}
		}
		return set, c
	}
	a, said := play(false)
	if n := a.Keys(); n < 400 || n > 1_400 {
		t.Errorf("%d keys are left of 5000, expected are those that fit into 4 MiB", n)
	}
	b, again := play(true)
	if said.Sum64() != again.Sum64() || said.emitted != again.emitted {
		t.Errorf("%d outputs, after a restore %d", said.emitted, again.emitted)
	}
	for i := range a.Buckets() {
		if !bytes.Equal(a.AppendBucket(nil, i), b.AppendBucket(nil, i)) {
			t.Fatalf("bucket %d is another one after a restore", i)
		}
	}
}

func reloaded(t *testing.T, from operator.Operator, b detect.Bounds) *detect.Set {
	t.Helper()
	to := newSet(t, b)
	for i := range from.Buckets() {
		if err := to.LoadBucket(i, from.AppendBucket(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := to.LoadShared(from.AppendShared(nil)); err != nil {
		t.Fatal(err)
	}
	return to
}
