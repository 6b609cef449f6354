package stream

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

// errNoTime is returned by a final snapshot that did not fit into the drain.
var errNoTime = errors.New("no time left")

// snapshots is the part of a worker that writes its snapshots.
type snapshots struct {
	// last is the newest complete snapshot, lastStart the offset on the
	// state topic from which its records lie (embedded only). lastTime is
	// zero after a restore: what had to be replayed is worth a new one.
	last      *manifest
	lastStart int64
	lastTime  time.Time
	// changed are the buckets touched since last.cut, or since the cut of
	// the snapshot in progress, which then holds the others.
	changed []bool
	snap    *snapshotInProgress
	seq     uint64 // of the newest snapshot that was begun
}

// snapshotInProgress is a snapshot whose manifest is not committed.
type snapshotInProgress struct {
	manifest
	start int64 // as snapshots.lastStart
	began time.Time
	// pending are the buckets that still have to be encoded as they are
	// now; saved those encoded before they changed, not yet written.
	pending []bool
	left    int // of pending
	scan    int // all before it are done
	saved   []savedBucket
	dirty   []bool // changed when it began, to give back if it is dropped
	// complete says that the manifest is in the current transaction.
	complete bool
	bytes    int
}

type savedBucket struct {
	bucket int
	data   []byte
}

// chunk bounds the encoded bytes that one commit carries for a partition, so
// that a snapshot does not delay it.
const chunk = 4 << 20

// snapshot begins or continues a snapshot. With a deadline it writes a whole
// one of the state as it is, unless that is what the last one holds.
func (w *worker) snapshot(full time.Time) error {
	if !full.IsZero() {
		w.dropSnapshot()
		if w.upToDate() {
			return nil
		}
		w.beginSnapshot()
		return w.writeSnapshot(len(w.changed), full)
	}
	// The empty one that begins a partition, see the package documentation. On
	// the embedded broker it may be there without its commit.
	if w.last == nil || w.unplaced {
		w.beginSnapshot()
		return w.writeSnapshot(len(w.changed), time.Now().Add(time.Hour))
	}
	if w.snap == nil {
		if !w.snapshotDue() {
			return nil
		}
		w.beginSnapshot()
	}
	// Even steps, such that it is done after half of the cycle.
	steps := max(int(w.eng.cfg.SnapshotCycle/w.eng.cfg.CommitInterval/2), 1)
	return w.writeSnapshot((len(w.changed)+steps-1)/steps, time.Time{})
}

// upToDate says that the last snapshot holds the state as it is.
func (w *worker) upToDate() bool {
	if w.last == nil || w.last.cut != w.next || w.snap != nil {
		return false
	}
	for _, e := range w.inForce {
		stored := w.last.find(itemEpoch(e.kind))
		if stored == nil || stored.from != e.from || stored.sum != xxhash.Sum64(e.data) {
			return false
		}
	}
	return true
}

func (w *worker) snapshotDue() bool {
	if len(w.schedule) > 0 { // the snapshot could not tell what is to come
		return false
	}
	if w.lastTime.IsZero() { // restored: in its turn within half a cycle
		w.lastTime = time.Now().Add(w.phase()/2 - w.eng.cfg.SnapshotCycle)
	}
	return time.Since(w.lastTime) >= w.eng.cfg.SnapshotCycle && !w.upToDate()
}

// phase is the partition's place in the cycle. Where traffic touches all
// buckets, copy on write encodes a whole partition within one commit; partitions
// that did so together would put all state of the service into one
// transaction, which at gigabytes outlasts the broker's patience.
func (w *worker) phase() time.Duration {
	n := max(len(w.eng.statePart), 1)
	return w.eng.cfg.SnapshotCycle * time.Duration(int(w.statePart)%n) / time.Duration(n)
}

// beginSnapshot takes the cut: from here on buckets are saved before they
// change.
func (w *worker) beginSnapshot() {
	w.seq++
	n := len(w.changed)
	s := &snapshotInProgress{
		manifest: manifest{seq: w.seq, cut: w.next, buckets: n},
		start:    w.stateEnd.Load(), began: time.Now(), pending: make([]bool, n), dirty: w.changed,
	}
	refer := w.last != nil && !w.eng.cfg.Embedded
	w.snap, w.changed = s, make([]bool, n)
	for b := range n {
		if refer && !s.dirty[b] {
			if old := w.last.find(itemBucket(b)); old != nil {
				s.entries = append(s.entries, *old)
			}
			continue
		}
		s.pending[b] = true
		s.left++
	}
	for _, kind := range slices.Sorted(maps.Keys(w.inForce)) {
		e := w.inForce[kind]
		old := (*entry)(nil)
		if refer {
			old = w.last.find(itemEpoch(kind))
		}
		if old != nil && old.sum == xxhash.Sum64(e.data) && old.length == len(e.data) {
			same := *old
			same.from = e.from
			s.entries = append(s.entries, same)
			continue
		}
		w.writeItem(itemEpoch(kind), e.data, e.from)
	}
	if w.eng.cfg.Embedded {
		w.rewriteEpochs()
	}
	w.writeItem(itemShared, w.op.AppendShared(nil), 0)
}

// save encodes a bucket that is about to change.
func (w *worker) save(bucket int) {
	s := w.snap
	s.pending[bucket] = false
	s.left--
	if data := w.op.AppendBucket(nil, bucket); len(data) > 0 {
		s.saved = append(s.saved, savedBucket{bucket, data})
	}
}

// writeSnapshot writes what was saved and up to n more buckets, and the
// manifest when nothing is left.
func (w *worker) writeSnapshot(n int, deadline time.Time) error {
	s := w.snap
	before := s.bytes
	for _, b := range s.saved {
		w.writeItem(itemBucket(b.bucket), b.data, 0)
	}
	s.saved = nil
	for ; s.scan < len(s.pending) && n > 0; s.scan++ {
		if !s.pending[s.scan] {
			continue
		}
		if deadline.IsZero() && s.bytes-before > chunk {
			break
		}
		if !deadline.IsZero() && time.Now().After(deadline) {
			return fmt.Errorf("snapshot of %s: %w", w.tp, errNoTime)
		}
		s.pending[s.scan] = false
		s.left--
		n--
		if data := w.op.AppendBucket(nil, s.scan); len(data) > 0 {
			w.writeItem(itemBucket(s.scan), data, 0)
		}
	}
	if s.left > 0 {
		return nil
	}
	s.complete = true
	w.queue = append(w.queue, w.stateRecord(manifestKey(w.tp, int(s.seq%2)), s.encode()))
	return nil
}

// writeItem queues the parts of an item, in the slot that the last complete
// snapshot does not use.
func (w *worker) writeItem(name string, data []byte, from int64) {
	s := w.snap
	e := entry{item: name, seq: s.seq, length: len(data), sum: xxhash.Sum64(data), from: from}
	if w.last != nil {
		if old := w.last.find(name); old != nil {
			e.slot = 1 - old.slot
		}
	}
	parts := split(data, w.eng.cfg.PartBytes)
	e.parts = len(parts)
	for i, p := range parts {
		w.queue = append(w.queue, w.stateRecord(partKey(w.tp, name, e.slot, i), encodePart(typePart, s.seq, len(parts), p)))
	}
	s.entries = append(s.entries, e)
	s.bytes += len(data)
}

// dropSnapshot forgets a snapshot in progress.
func (w *worker) dropSnapshot() {
	if w.snap == nil {
		return
	}
	for b, d := range w.snap.dirty {
		w.changed[b] = w.changed[b] || d
	}
	w.snap = nil
}

// settleSnapshot is called after a commit: a manifest in it makes the
// snapshot the last one.
func (w *worker) settleSnapshot() {
	s := w.snap
	if s == nil || !s.complete {
		return
	}
	previous, previousStart := w.last, w.lastStart
	w.last, w.lastStart, w.lastTime, w.snap = &s.manifest, s.start, time.Now(), nil
	if previous == nil { // the empty one, that all partitions write at once
		w.lastTime = w.lastTime.Add(-w.phase())
	}
	w.eng.metrics.snapshots.Inc()
	w.eng.metrics.snapshotBytes.Add(float64(s.bytes))
	w.log.Debug("snapshot complete", "cut", s.cut, "seq", s.seq, "items", len(s.entries), "bytes", s.bytes, "took", time.Since(s.began))
	if previous == nil {
		return
	}
	// Two generations stay: what only older ones need goes.
	if w.eng.cfg.Embedded {
		w.eng.trimState(w.statePart, previousStart)
		return
	}
	w.dropEpochs(previous.cut)
}
