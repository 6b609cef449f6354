package stream

import (
	"testing"
	"time"
)

// The partitions of a service take their snapshots one after the other, evenly
// over the cycle.
func TestSnapshotsOfPartitionsAreSpreadOverTheCycle(t *testing.T) {
	t.Parallel()
	const n = 16
	e := &Engine{statePart: map[tp]int32{}}
	e.cfg.SnapshotCycle = 160 * time.Second
	for p := range int32(n) {
		e.statePart[tp{"in", p}] = p
	}
	for p := range int32(n) {
		w := &worker{eng: e, statePart: p}
		if got, want := w.phase(), time.Duration(p)*10*time.Second; got != want {
			t.Errorf("partition %d: phase %s, want %s", p, got, want)
		}
	}
}
