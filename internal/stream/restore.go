package stream

import (
	"cmp"
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

// restore builds the state at the committed offset: the newest complete
// snapshot at or below it, and what the log holds between (R2).
func (w *worker) restore(at assignment) error {
	if err := w.eng.listed(w.ctx, w.tp); err != nil {
		return err
	}
	if err := w.eng.restoring(w.ctx); err != nil {
		return err
	}
	defer w.eng.restored()
	began := time.Now()
	op, err := w.eng.cfg.factory(w.tp.topic, w.eng.factory)(w.tp.partition)
	if err != nil {
		return fmt.Errorf("make the operator: %w", err)
	}
	if n := op.Buckets(); n < 1 || n > maxBuckets {
		return fmt.Errorf("operator has %d buckets, allowed are 1 to %d", n, maxBuckets)
	}
	w.op, w.changed = op, make([]bool, op.Buckets())
	if err := w.checkEnd(at); err != nil {
		return err
	}
	st, err := w.readState(w.ctx)
	if err != nil {
		return err
	}
	w.seq = st.newest
	w.committed, w.next = at.offset, at.offset
	if err := w.load(st, at); err != nil {
		return err
	}
	if w.last != nil {
		if err := w.replay(at.offset); err != nil {
			return err
		}
	}
	if err := w.applyScheduled(w.next); err != nil {
		return err
	}
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

// load loads the newest complete snapshot at or below the committed offset.
func (w *worker) load(st *storedState, at assignment) error {
	var best *manifest
	oldest := int64(never)
	for _, m := range st.complete {
		oldest = min(oldest, m.cut)
		if m.cut <= at.offset && (best == nil || m.seq > best.seq) {
			best = m
		}
	}
	switch {
	case best == nil && oldest != never:
		return fmt.Errorf("%w: no snapshot at or below offset %d, the oldest is at %d (were the group's offsets reset?)", ErrState, at.offset, oldest)
	case best == nil && at.committed:
		return fmt.Errorf("%w: no complete snapshot in partition %d of %s for offset %d (was the state topic deleted?)", ErrState, w.statePart, w.eng.cfg.State, at.offset)
	case best == nil:
		w.stored, w.schedule = st.stored(), st.epochsFrom(0)
		return nil // the first start of this partition
	}
	if best.buckets != w.op.Buckets() {
		return fmt.Errorf("%w: the snapshot has %d buckets, the operator %d", ErrState, best.buckets, w.op.Buckets())
	}
	// Epochs first: they may say how to read the state.
	for _, e := range best.entries {
		if isEpochItem(e.item) {
			if err := w.applyEpoch(epoch{kind: epochOfItem(e.item), from: e.from, data: st.item(e)}); err != nil {
				return err
			}
		}
	}
	for _, e := range best.entries {
		var err error
		switch bucket, isBucket := bucketOfItem(e.item); {
		case isBucket:
			err = w.op.LoadBucket(bucket, st.item(e))
		case e.item == itemShared:
			err = w.op.LoadShared(st.item(e))
		}
		if err != nil {
			return fmt.Errorf("%w: load %s of snapshot %d: %w", ErrState, e.item, best.seq, err)
		}
	}
	w.last, w.lastStart = best, st.start(best)
	w.stored = st.stored()
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
	err := w.eng.conn.readRange(w.ctx, w.tp, w.last.cut, to, w.eng.cfg.StallTimeout, func(r *kgo.Record) error {
		n++
		return w.apply(r)
	})
	w.eng.metrics.replayed.Add(float64(n))
	if err != nil {
		return err
	}
	w.next = to
	return nil
}

// storedState is what a partition of the state topic holds.
type storedState struct {
	parts    map[itemKey]*storedItem
	complete []*manifest // the two newest complete ones
	epochs   []*storedEpochData
	newest   uint64 // sequence seen anywhere
	starts   map[*manifest]int64
}

type itemKey struct {
	item string
	seq  uint64
}

type storedItem struct {
	parts [][]byte
	first int64 // lowest offset of a part
}

type storedEpochData struct {
	kind  string
	from  int64
	sum   uint64
	parts [][]byte
}

// readState reads the partition's place in the state topic to its end.
func (w *worker) readState(ctx context.Context) (*storedState, error) {
	st := &storedState{parts: map[itemKey]*storedItem{}, starts: map[*manifest]int64{}}
	at := tp{w.eng.cfg.State, w.statePart}
	end := int64(0)
	err := w.eng.conn.readToEnd(ctx, map[tp]int64{at: -1}, w.eng.cfg.StallTimeout, func(r *kgo.Record) error {
		end = r.Offset + 1
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
	for _, e := range st.epochs {
		if slices.ContainsFunc(e.parts, func(p []byte) bool { return p == nil }) || xxhash.Sum64(slices.Concat(e.parts...)) != e.sum {
			return nil, fmt.Errorf("%w: epoch %s from offset %d is incomplete", ErrState, e.kind, e.from)
		}
	}
	return st, nil
}

// add takes one record of the state topic.
func (s *storedState) add(t tp, r *kgo.Record) error {
	k, err := parseKey(t, r.Key)
	if err != nil {
		return err
	}
	switch k.typ {
	case typeEpoch:
		return s.addEpoch(k, r.Value)
	case typeManifest:
		m, err := decodeManifest(r.Value)
		if err != nil {
			return err
		}
		s.newest = max(s.newest, m.seq)
		s.addManifest(m, r.Offset)
		return nil
	}
	p, err := decodePart(typePart, r.Value)
	if err != nil {
		return err
	}
	s.newest = max(s.newest, p.seq)
	key := itemKey{k.item, p.seq}
	it := s.parts[key]
	if it == nil || len(it.parts) != p.of {
		it = &storedItem{parts: make([][]byte, min(p.of, 1<<20)), first: r.Offset}
		s.parts[key] = it
	}
	if k.part >= len(it.parts) {
		return fmt.Errorf("part %d of %d: %w", k.part, p.of, errCorrupt)
	}
	it.parts[k.part] = p.payload
	return nil
}

// addManifest keeps a manifest that is complete, with the one before it, and
// drops the parts that neither needs: memory is that of two snapshots.
func (s *storedState) addManifest(m *manifest, offset int64) {
	first := offset
	for _, e := range m.entries {
		it := s.parts[itemKey{e.item, e.seq}]
		if it == nil || len(it.parts) != e.parts {
			return
		}
		h, n := xxhash.New(), 0
		for _, p := range it.parts {
			if p == nil {
				return
			}
			_, _ = h.Write(p) // never fails
			n += len(p)
		}
		if n != e.length || h.Sum64() != e.sum {
			return
		}
		first = min(first, it.first)
	}
	s.starts[m] = first
	s.complete = append(s.complete, m)
	slices.SortStableFunc(s.complete, func(a, b *manifest) int { return cmp.Compare(a.seq, b.seq) })
	for len(s.complete) > 2 {
		delete(s.starts, s.complete[0])
		s.complete = s.complete[1:]
	}
	needed := map[itemKey]bool{}
	for _, m := range s.complete {
		for _, e := range m.entries {
			needed[itemKey{e.item, e.seq}] = true
		}
	}
	for key := range s.parts {
		if !needed[key] && key.seq <= s.complete[len(s.complete)-1].seq {
			delete(s.parts, key)
		}
	}
}

func (s *storedState) addEpoch(k stateKey, value []byte) error {
	if value == nil { // no longer needed
		s.epochs = slices.DeleteFunc(s.epochs, func(e *storedEpochData) bool { return e.kind == k.kind && e.from == k.from })
		return nil
	}
	p, err := decodePart(typeEpoch, value)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(s.epochs, func(e *storedEpochData) bool { return e.kind == k.kind && e.from == k.from })
	if i < 0 || s.epochs[i].sum != p.seq || len(s.epochs[i].parts) != p.of {
		// It supersedes what was to hold from here on.
		s.epochs = slices.DeleteFunc(s.epochs, func(e *storedEpochData) bool { return e.kind == k.kind && e.from >= k.from })
		s.epochs = append(s.epochs, &storedEpochData{kind: k.kind, from: k.from, sum: p.seq, parts: make([][]byte, min(p.of, 1<<16))})
		i = len(s.epochs) - 1
	}
	if k.part >= len(s.epochs[i].parts) {
		return fmt.Errorf("part %d of %d: %w", k.part, p.of, errCorrupt)
	}
	s.epochs[i].parts[k.part] = p.payload
	return nil
}

// epochsFrom returns the stored epochs that hold from an offset ≥ from, in
// the order in which they apply.
func (s *storedState) epochsFrom(from int64) []epoch {
	var list []epoch
	for _, e := range s.epochs {
		if e.from >= from {
			list = append(list, epoch{kind: e.kind, from: e.from, data: slices.Concat(e.parts...)})
		}
	}
	slices.SortStableFunc(list, func(a, b epoch) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.kind, b.kind))
	})
	return list
}

func (s *storedState) stored() []storedEpoch {
	var list []storedEpoch
	for _, e := range s.epochs {
		list = append(list, storedEpoch{e.kind, e.from, len(e.parts)})
	}
	return list
}

// item returns the bytes of an item of a complete manifest.
func (s *storedState) item(e entry) []byte {
	return slices.Concat(s.parts[itemKey{e.item, e.seq}].parts...)
}

// start is the offset on the state topic from which a snapshot's parts lie.
func (s *storedState) start(m *manifest) int64 { return s.starts[m] }
