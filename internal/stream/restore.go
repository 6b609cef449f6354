package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// assignment is where the group says that a partition stands.
type assignment struct {
	// offset is the committed one, or, without one, the start of the log.
	offset    int64
	committed bool
	metadata  string
}

// ErrState is returned when the state of a partition cannot be restored.
var ErrState = errors.New("state cannot be restored")

// restore waits for the worker's turn and builds its state.
func (w *worker) restore(at assignment) error {
	if err := w.eng.listed(w.ctx, w.tp); err != nil {
		return err
	}
	if err := w.eng.restoring(w.ctx); err != nil {
		return err
	}
	defer w.eng.restored()
	began := time.Now()
	if err := w.build(at); err != nil {
		return err
	}
	var err error
	if w.eng.cfg.Embedded && at.committed {
		if w.published, err = w.eng.publishedSince(w.ctx, w.tp, at); err != nil {
			return err
		}
		if len(w.published) > 0 {
			w.log.Warn("a half-done commit has published outputs", "offsets", len(w.published))
		}
	}
	// Declared epochs that differ hold from the committed offset on.
	if err := w.adoptEpochs(); err != nil {
		return err
	}
	w.eng.metrics.restoreSeconds.Observe(time.Since(began).Seconds())
	cut := at.offset
	if w.last != nil {
		cut = w.last.cut
	}
	w.log.Info("partition restored", "offset", at.offset, "snapshot", cut, "replayed", at.offset-cut, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// build makes the state at the committed offset: the newest complete snapshot
// at or below it, and what the log holds between (R2).
func (w *worker) build(at assignment) error {
	defer w.eng.metrics.restoreEnded(w.tp)
	if err := w.makeOperator(); err != nil {
		return err
	}
	if err := w.checkEnd(at); err != nil {
		return err
	}
	st, err := w.readState(w.ctx)
	if err != nil {
		return err
	}
	w.seq = st.newest
	w.committed, w.next = at.offset, at.offset
	best, err := w.choose(st, at)
	if err != nil {
		return err
	}
	if best != nil {
		err = w.load(st, best, func(l *loading) error { return w.readSnapshot(w.ctx, l, st.places[best]) })
		if err == nil {
			err = w.replay(at.offset)
		}
		if err != nil {
			return err
		}
	}
	return w.applyScheduled(w.next)
}

// makeOperator makes an empty operator.
func (w *worker) makeOperator() error {
	op, err := w.eng.cfg.factory(w.tp.topic, w.eng.factory)(w.tp.partition)
	if err != nil {
		return fmt.Errorf("make the operator: %w", err)
	}
	if n := op.Buckets(); n < 1 || n > maxBuckets {
		return fmt.Errorf("operator has %d buckets, allowed are 1 to %d", n, maxBuckets)
	}
	w.op, w.changed = op, make([]bool, op.Buckets())
	return nil
}

// checkEnd refuses a committed offset that the input does not reach: its end was
// lost, and what comes at those offsets is not what was processed.
func (w *worker) checkEnd(at assignment) error {
	ends, err := w.eng.adm.ListEndOffsets(w.ctx, w.tp.topic)
	if err != nil {
		return fmt.Errorf("list the end: %w", err)
	}
	end, ok := ends.Lookup(w.tp.topic, w.tp.partition)
	if !ok || end.Err != nil {
		return fmt.Errorf("list the end: %w", errors.Join(end.Err, errNoTopic))
	}
	if at.offset > end.Offset {
		return fmt.Errorf("%w: the committed offset %d lies beyond the end %d of the log", ErrState, at.offset, end.Offset)
	}
	return nil
}

// choose returns the newest complete snapshot at or below the committed offset,
// none at the first start of a partition.
func (w *worker) choose(st *storedState, at assignment) (*manifest, error) {
	best, oldest := st.newestAt(at.offset)
	switch {
	case best == nil && oldest != never:
		return nil, fmt.Errorf("%w: no snapshot at or below offset %d, the oldest is at %d (were the group's offsets reset?)", ErrState, at.offset, oldest)
	case best == nil && at.committed:
		return nil, fmt.Errorf("%w: no complete snapshot in partition %d of %s for offset %d (was the state topic deleted?)", ErrState, w.statePart, w.eng.cfg.State, at.offset)
	case best == nil:
		w.stored, w.schedule = st.stored(w.eng.cfg.Embedded), st.epochsFrom(0)
	}
	return best, nil
}

// load loads a snapshot. read hands its records to the loading.
func (w *worker) load(st *storedState, best *manifest, read func(*loading) error) error {
	if best.buckets != w.op.Buckets() {
		return fmt.Errorf("%w: the snapshot has %d buckets, the operator %d", ErrState, best.buckets, w.op.Buckets())
	}
	// Epochs first: they may say how to read the state.
	for _, e := range st.inForce(best) {
		if err := w.applyEpoch(e); err != nil {
			return err
		}
	}
	l := newLoading(w.tp, best, func(item string, data []byte) (err error) {
		if bucket, isBucket := bucketOfItem(item); isBucket {
			err = w.op.LoadBucket(bucket, data)
		} else {
			err = w.op.LoadShared(data)
		}
		if err != nil {
			return fmt.Errorf("%w: load %s of snapshot %d: %w", ErrState, item, best.seq, err)
		}
		return nil
	})
	if err := read(l); err != nil {
		return err
	}
	if err := l.end(); err != nil {
		return fmt.Errorf("%w: snapshot %d: %w", ErrState, best.seq, err)
	}
	w.last, w.lastStart = best, st.places[best].start
	w.stored = st.stored(w.eng.cfg.Embedded)
	w.schedule = slices.DeleteFunc(st.epochsFrom(best.cut), func(e epoch) bool {
		held, ok := w.inForce[e.kind]
		return ok && held.from == e.from && xxhash.Sum64(held.data) == xxhash.Sum64(e.data)
	})
	return nil
}

// replay applies the records from the snapshot to the committed offset.
func (w *worker) replay(to int64) error {
	w.replaying = true
	defer func() { w.replaying = false }()
	w.next = w.last.cut
	if err := w.applyScheduled(w.next); err != nil {
		return err
	}
	n := 0
	p := w.progress("replay", w.last.cut, to)
	err := w.eng.conn.readRange(w.ctx, w.tp, w.last.cut, to, w.eng.cfg.StallTimeout, func(r *kgo.Record) error {
		n++
		p.at(r.Offset)
		return w.apply(r)
	})
	w.eng.metrics.replayed.Add(float64(n))
	if err != nil {
		return err
	}
	w.next = to
	return nil
}

// readState finds out what the partition's place in the state topic holds, up
// to its end.
func (w *worker) readState(ctx context.Context) (*storedState, error) {
	st := newStoredState()
	at := tp{w.eng.cfg.State, w.statePart}
	ends, err := w.eng.conn.barrier(ctx, []tp{at})
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	p := w.progress("find", 0, ends[at])
	end := int64(0)
	err = w.eng.conn.readUntil(ctx, map[tp]int64{at: -1}, ends, w.eng.cfg.StallTimeout, func(r *kgo.Record) error {
		end = r.Offset + 1
		p.at(r.Offset)
		err := st.add(w.tp, r)
		if errors.Is(err, errCorrupt) {
			// What it belonged to is incomplete; an older snapshot may do.
			w.log.Warn("state record is corrupt", "offset", r.Offset, "key", string(r.Key), "error", err)
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %s offset %d: %w", ErrState, at, r.Offset, err)
		}
		return nil
	})
	w.stateEnd.Store(end)
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	if err := st.check(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrState, at, err)
	}
	return st, nil
}

// readSnapshot reads the records of a snapshot once more, to load them.
func (w *worker) readSnapshot(ctx context.Context, l *loading, at place) error {
	p := w.progress("load", 0, at.bytes)
	err := w.eng.conn.readRange(ctx, tp{w.eng.cfg.State, w.statePart}, at.start, at.manifest+1, w.eng.cfg.StallTimeout, func(r *kgo.Record) error {
		err := l.add(r)
		p.at(l.loaded)
		return err
	})
	if err != nil {
		return fmt.Errorf("load state: %w", err)
	}
	return nil
}
