package stream

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// storedState is what a partition of the state topic holds: which snapshots
// are complete and where they lie, not their contents. Those are read a second
// time, of one snapshot only (loading), so that a restore holds one item in
// memory and not two snapshots.
type storedState struct {
	index    map[itemKey]*storedItem
	complete []*manifest // the two newest complete ones
	places   map[*manifest]place
	epochs   []*storedEpochData
	newest   uint64 // sequence seen anywhere
	// foreign is set by keys of another input partition since the last
	// layout: they void what is here.
	foreign error
}

// place is where the records of a snapshot lie on the state topic: from its
// first part to its manifest.
type place struct {
	start, manifest int64
	written         int64 // append time of the manifest, microseconds
	bytes           int64 // of all its items
}

type itemKey struct {
	item string
	seq  uint64
}

// storedItem is what is known of an item: its parts come in order, since one
// transaction wrote them and compaction keeps the order.
type storedItem struct {
	of     int // parts of the whole
	next   int // the part that must follow; −1 once one was missing
	length int
	sum    xxhash.Digest
	first  int64    // lowest offset of a part
	data   [][]byte // of an epoch in force: it is needed before all else
}

type storedEpochData struct {
	kind  string
	from  int64
	sum   uint64
	parts [][]byte
}

func newStoredState() *storedState {
	return &storedState{index: map[itemKey]*storedItem{}, places: map[*manifest]place{}}
}

// add takes one record of the state topic.
func (s *storedState) add(t tp, r *kgo.Record) error {
	k, err := parseKey(t, r.Key)
	if errors.Is(err, errForeign) {
		// Its owner is another partition. A layout that follows takes the
		// place over; without one nothing here can be trusted.
		if r.Value != nil && s.foreign == nil {
			s.foreign = fmt.Errorf("offset %d: %w", r.Offset, err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	switch k.typ {
	case typeLayout:
		err := decodeLayout(t, r.Value)
		if err != nil && !errors.Is(err, errForeign) {
			return err
		}
		*s = *newStoredState()
		s.foreign = err
		return nil
	case typeEpoch:
		return s.addEpoch(k, r.Value)
	}
	if r.Value == nil {
		return nil // deleted, and compaction has not taken it yet
	}
	if k.typ == typeManifest {
		m, err := decodeManifest(r.Value)
		if err != nil {
			return err
		}
		s.newest = max(s.newest, m.seq)
		s.addManifest(m, r)
		return nil
	}
	p, err := decodePart(typePart, r.Value)
	if err != nil {
		return err
	}
	s.newest = max(s.newest, p.seq)
	if k.part >= p.of {
		return fmt.Errorf("part %d of %d: %w", k.part, p.of, errCorrupt)
	}
	key := itemKey{k.item, p.seq}
	it := s.index[key]
	if it == nil || k.part == 0 {
		it = &storedItem{of: p.of, first: r.Offset}
		it.sum.Reset()
		s.index[key] = it
	}
	if k.part != it.next || p.of != it.of {
		it.next = -1
		return nil
	}
	it.next++
	it.length += len(p.payload)
	_, _ = it.sum.Write(p.payload) // never fails
	if isEpochItem(k.item) {
		it.data = append(it.data, p.payload)
	}
	return nil
}

// addManifest keeps a manifest that is complete, with the one before it, and
// forgets the items that neither needs.
func (s *storedState) addManifest(m *manifest, r *kgo.Record) {
	at := place{start: r.Offset, manifest: r.Offset, written: r.Timestamp.UnixMicro()}
	for _, e := range m.entries {
		it := s.index[itemKey{e.item, e.seq}]
		if it == nil || it.of != e.parts || it.next != e.parts || it.length != e.length || it.sum.Sum64() != e.sum {
			return
		}
		at.start = min(at.start, it.first)
		at.bytes += int64(it.length)
	}
	s.places[m] = at
	s.complete = append(s.complete, m)
	slices.SortStableFunc(s.complete, func(a, b *manifest) int { return cmp.Compare(a.seq, b.seq) })
	for len(s.complete) > 2 {
		delete(s.places, s.complete[0])
		s.complete = s.complete[1:]
	}
	needed := map[itemKey]bool{}
	for _, m := range s.complete {
		for _, e := range m.entries {
			needed[itemKey{e.item, e.seq}] = true
		}
	}
	for key := range s.index {
		if !needed[key] && key.seq <= s.complete[len(s.complete)-1].seq {
			delete(s.index, key)
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

// check is called at the end of the log.
func (s *storedState) check() error {
	if s.foreign != nil {
		return fmt.Errorf("%w; if the partitions of an input were changed: ebbwatch state repartition", s.foreign)
	}
	for _, e := range s.epochs {
		if slices.ContainsFunc(e.parts, func(p []byte) bool { return p == nil }) || xxhash.Sum64(slices.Concat(e.parts...)) != e.sum {
			return fmt.Errorf("epoch %s from offset %d is incomplete", e.kind, e.from)
		}
	}
	return nil
}

// newestAt is the newest complete snapshot at or below an offset; oldest is
// the smallest cut of all, never without any.
func (s *storedState) newestAt(offset int64) (best *manifest, oldest int64) {
	oldest = never
	for _, m := range s.complete {
		oldest = min(oldest, m.cut)
		if m.cut <= offset && (best == nil || m.seq > best.seq) {
			best = m
		}
	}
	return best, oldest
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
	slices.SortStableFunc(list, epoch.order)
	return list
}

// stored are the stored epochs, with their bytes where they are to be written
// again.
func (s *storedState) stored(data bool) []storedEpoch {
	var list []storedEpoch
	for _, e := range s.epochs {
		x := storedEpoch{epoch{kind: e.kind, from: e.from}, len(e.parts)}
		if data {
			x.data = slices.Concat(e.parts...)
		}
		list = append(list, x)
	}
	return list
}

// inForce are the epochs that a snapshot holds.
func (s *storedState) inForce(m *manifest) []epoch {
	var list []epoch
	for _, e := range m.entries {
		if isEpochItem(e.item) {
			list = append(list, epoch{kind: epochOfItem(e.item), from: e.from, data: slices.Concat(s.index[itemKey{e.item, e.seq}].data...)})
		}
	}
	return list
}

// loading takes the records of one complete snapshot, the second time that
// they are read, and hands its items on as soon as they are whole: the buckets
// as they come and the shared state behind them all, since an operator may put
// its buckets in order by it.
type loading struct {
	t      tp
	wanted map[itemKey]entry
	parts  map[itemKey][][]byte // of items that are not whole yet
	shared []byte
	loaded int64 // bytes
	load   func(item string, data []byte) error
}

func newLoading(t tp, m *manifest, load func(item string, data []byte) error) *loading {
	l := &loading{t: t, wanted: map[itemKey]entry{}, parts: map[itemKey][][]byte{}, load: load}
	for _, e := range m.entries {
		if !isEpochItem(e.item) {
			l.wanted[itemKey{e.item, e.seq}] = e
		}
	}
	return l
}

// add takes a record. What is damaged or not wanted is passed over; end finds
// what is missing.
func (l *loading) add(r *kgo.Record) error {
	k, err := parseKey(l.t, r.Key)
	if err != nil || k.typ != typePart || r.Value == nil {
		return nil //nolint:nilerr // of another snapshot, or told of before
	}
	p, err := decodePart(typePart, r.Value)
	if err != nil {
		return nil //nolint:nilerr // as above
	}
	key := itemKey{k.item, p.seq}
	e, ok := l.wanted[key]
	if !ok {
		return nil
	}
	if k.part == 0 {
		l.parts[key] = nil
	}
	if k.part != len(l.parts[key]) {
		return nil
	}
	l.parts[key] = append(l.parts[key], p.payload)
	if len(l.parts[key]) < e.parts {
		return nil
	}
	data := slices.Concat(l.parts[key]...)
	delete(l.parts, key)
	if len(data) != e.length || xxhash.Sum64(data) != e.sum {
		return nil
	}
	delete(l.wanted, key)
	l.loaded += int64(len(data))
	if e.item == itemShared {
		l.shared = data
		return nil
	}
	return l.load(e.item, data)
}

// end loads the shared state.
func (l *loading) end() error {
	for key := range l.wanted {
		return fmt.Errorf("item %s is gone since it was found", key.item)
	}
	return l.load(itemShared, l.shared)
}
