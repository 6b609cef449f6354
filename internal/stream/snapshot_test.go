package stream

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// bench is a worker without brokers: what it would write to the state topic
// is its queue.
func benchWorker(t rapid.TB, embedded bool) *worker {
	t.Helper()
	e, err := newEngine(Config{
		Service: "test", Brokers: []string{"none"}, Inputs: []string{"in"}, Outputs: []string{"out"}, Embedded: embedded,
		CommitInterval: time.Second, SnapshotCycle: 4 * time.Second, PartBytes: 40,
	}.withDefaults(), newCounter, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	e.ctx, e.failed = context.WithCancelCause(context.Background())
	w := newWorker(e, tp{"in", 3}, 7)
	w.op, _ = newCounter(3)
	w.changed = make([]bool, w.op.Buckets())
	w.replaying = true // no outputs
	return w
}

// image is the whole state of an operator.
func image(op operator.Operator) string {
	var s strings.Builder
	s.WriteString(string(op.AppendShared(nil)))
	for b := range op.Buckets() {
		s.WriteString("|" + string(op.AppendBucket(nil, b)))
	}
	return s.String() + "|" + op.(*counter).epoch
}

// TestASnapshotIsOneCut takes snapshots over several commits while the state
// changes, reads them back after every commit from a log that is compacted,
// and finds the newest complete one to be the state as it was at its cut.
func TestASnapshotIsOneCut(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		embedded := rapid.Bool().Draw(t, "embedded")
		w := benchWorker(t, embedded)
		log := []*kgo.Record{}
		images := map[uint64]string{} // by sequence
		cuts := 0
		offset := int64(0)
		for step := range rapid.IntRange(1, 30).Draw(t, "commits") {
			for range rapid.IntRange(0, 8).Draw(t, "records") {
				key := "k" + strconv.Itoa(rapid.IntRange(0, 30).Draw(t, "key"))
				r := &kgo.Record{Topic: "in", Partition: 3, Offset: offset, Key: []byte(key), Value: fmt.Appendf(nil, "%d 1", step*3)}
				if err := w.apply(r); err != nil {
					t.Fatal(err)
				}
				offset += 1 + rapid.Int64Range(0, 1).Draw(t, "gap")
				w.next = offset
			}
			if rapid.IntRange(0, 9).Draw(t, "epoch") == 0 {
				w.eng.epochs.set("site", fmt.Appendf(nil, "epoch %d of some length that needs parts", step))
			}
			if err := w.adoptEpochs(); err != nil {
				t.Fatal(err)
			}
			began := w.snap
			if rapid.Bool().Draw(t, "due") {
				w.lastTime = time.Time{}
			}
			var full time.Time
			if rapid.IntRange(0, 14).Draw(t, "full") == 0 {
				full = time.Now().Add(time.Hour)
			}
			if err := w.snapshot(full); err != nil {
				t.Fatal(err)
			}
			if w.snap != nil && w.snap != began {
				images[w.snap.seq] = image(w.op)
			}
			for _, r := range w.queue {
				r.Offset = int64(len(log))
				log = append(log, r)
			}
			w.queue = w.queue[:0]
			if w.snap != nil && w.snap.complete {
				cuts++
			}
			w.stateEnd.Store(int64(len(log)))
			w.settleSnapshotQuietly()

			view := log
			if !embedded {
				view = compacted(log)
			}
			if w.last == nil {
				continue
			}
			back := readBack(t, view, w.last.cut)
			if back.last.seq != w.last.seq {
				t.Fatalf("read snapshot %d, the newest is %d", back.last.seq, w.last.seq)
			}
			if d := cmp.Diff(images[w.last.seq], image(back.op)); d != "" {
				t.Fatalf("snapshot at %d: %s", w.last.cut, d)
			}
		}
	})
}

// settleSnapshotQuietly is settleSnapshot without a broker to trim.
func (w *worker) settleSnapshotQuietly() {
	if w.eng.cfg.Embedded {
		w.eng.cfg.Embedded = false
		queue := w.queue
		w.settleSnapshot()
		w.queue = queue // tombstones are the cluster's way
		w.eng.cfg.Embedded = true
		return
	}
	w.settleSnapshot()
}

// compacted keeps the newest record of each key.
func compacted(log []*kgo.Record) []*kgo.Record {
	last := map[string]int{}
	for i, r := range log {
		last[string(r.Key)] = i
	}
	var out []*kgo.Record
	for i, r := range log {
		if last[string(r.Key)] == i && r.Value != nil {
			out = append(out, r)
		}
	}
	return out
}

func readBack(t rapid.TB, log []*kgo.Record, at int64) *worker {
	t.Helper()
	w := benchWorker(t, false)
	st := newStoredState()
	for _, r := range log {
		if err := st.add(w.tp, r); err != nil {
			t.Fatal(err)
		}
	}
	w.loadFrom(t, st, log, at)
	return w
}

// loadFrom loads the snapshot for an offset from a log.
func (w *worker) loadFrom(t rapid.TB, st *storedState, log []*kgo.Record, at int64) {
	t.Helper()
	best, err := w.choose(st, assignment{offset: at, committed: true})
	if err == nil {
		err = w.load(st, best, func(l *loading) error {
			for _, r := range log {
				if place := st.places[best]; r.Offset < place.start || r.Offset > place.manifest {
					continue
				}
				if err := l.add(r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestUnchangedBucketsAreReferredTo(t *testing.T) {
	t.Parallel()
	for _, embedded := range []bool{false, true} {
		w := benchWorker(t, embedded)
		for i := range 40 {
			r := &kgo.Record{Offset: int64(i), Key: []byte("k" + strconv.Itoa(i)), Value: []byte("1 1")}
			if err := w.apply(r); err != nil {
				t.Fatal(err)
			}
		}
		write := func() int {
			if err := w.snapshot(time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			n := len(w.queue)
			w.queue = nil
			w.settleSnapshotQuietly()
			return n
		}
		first := write()
		if err := w.apply(&kgo.Record{Offset: 40, Key: []byte("k1"), Value: []byte("1 1")}); err != nil {
			t.Fatal(err)
		}
		second := write()
		if third := write(); third != 0 {
			t.Errorf("embedded %v: a snapshot of the same state wrote %d records", embedded, third)
		}
		if referred := second < first/2; referred == embedded {
			t.Errorf("embedded %v: %d records, then %d", embedded, first, second)
		}
		if len(w.last.entries) < testBuckets {
			t.Errorf("the manifest has %d entries", len(w.last.entries))
		}
	}
}

func TestDamagedSnapshotsAreNotLoaded(t *testing.T) {
	t.Parallel()
	w := benchWorker(t, true)
	var log []*kgo.Record
	snap := func(offset int64) {
		if err := w.apply(&kgo.Record{Offset: offset, Key: []byte("a"), Value: []byte("1 1")}); err != nil {
			t.Fatal(err)
		}
		if err := w.snapshot(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		for _, r := range w.queue {
			r.Offset = int64(len(log))
			log = append(log, r)
		}
		w.queue = nil
		w.settleSnapshotQuietly()
	}
	snap(0)
	n := len(log)
	snap(1)
	for i := n; i < len(log); i++ {
		for _, damage := range []func([]byte) []byte{
			func(v []byte) []byte { v = slices.Clone(v); v[len(v)/2] ^= 1; return v },
			func(v []byte) []byte { return v[:len(v)-1] },
			func([]byte) []byte { return []byte{} },
		} {
			view := slices.Clone(log)
			broken := *view[i]
			broken.Value = damage(broken.Value)
			view[i] = &broken
			st := newStoredState()
			bad := 0
			for _, r := range view {
				if st.add(w.tp, r) != nil {
					bad++
				}
			}
			back := benchWorker(t, false)
			back.loadFrom(t, st, view, 2)
			if bad != 1 || back.last.cut != 1 {
				t.Errorf("record %d damaged: %d errors, snapshot at %d", i, bad, back.last.cut)
			}
		}
	}
}

func TestFormatRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := tp{rapid.StringMatching(`[a-z.]{1,20}`).Draw(t, "topic"), rapid.Int32Range(0, 1000).Draw(t, "partition")}
		kind := rapid.StringMatching(`[a-z0-9_.-]{1,9}`).Draw(t, "kind")
		slot, part := rapid.IntRange(0, 1).Draw(t, "slot"), rapid.IntRange(0, 99).Draw(t, "part")
		from := rapid.Int64Range(0, 1<<60).Draw(t, "from")
		for _, c := range []struct {
			key  []byte
			want stateKey
		}{
			{partKey(in, itemBucket(part), slot, part), stateKey{typ: typePart, item: itemBucket(part), slot: slot, part: part}},
			{partKey(in, itemShared, slot, part), stateKey{typ: typePart, item: itemShared, slot: slot, part: part}},
			{partKey(in, itemEpoch(kind), slot, part), stateKey{typ: typePart, item: itemEpoch(kind), slot: slot, part: part}},
			{manifestKey(in, slot), stateKey{typ: typeManifest, slot: slot}},
			{epochKey(in, kind, from, part), stateKey{typ: typeEpoch, kind: kind, from: from, part: part}},
		} {
			got, err := parseKey(in, c.key)
			if err != nil || got != c.want {
				t.Fatalf("%s: %+v, %v", c.key, got, err)
			}
		}
		m := &manifest{seq: rapid.Uint64().Draw(t, "seq"), cut: from, buckets: part, entries: []entry{}}
		for range rapid.IntRange(0, 5).Draw(t, "n") {
			m.entries = append(m.entries, entry{
				item: itemBucket(part), seq: m.seq, slot: slot, parts: part, length: part, sum: rapid.Uint64().Draw(t, "sum"), from: from,
			})
		}
		back, err := decodeManifest(m.encode())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(m, back, cmp.AllowUnexported(manifest{}, entry{})); d != "" {
			t.Fatal(d)
		}
		data := rapid.SliceOf(rapid.Byte()).Draw(t, "data")
		var whole []byte
		for i, p := range split(data, 1+part) {
			dec, err := decodePart(typePart, encodePart(typePart, m.seq, 1+i, p))
			if err != nil || dec.seq != m.seq || dec.of != 1+i || len(p) > 1+part {
				t.Fatalf("%+v, %v", dec, err)
			}
			whole = append(whole, dec.payload...)
		}
		if !slices.Equal(whole, data) {
			t.Fatal("parts do not join")
		}
		ends := map[tp]int64{in: from, {"x", 0}: 5}
		if got, ok := parseMetadata(commitMetadata(ends)); !ok || cmp.Diff(ends, got, cmp.AllowUnexported(tp{})) != "" {
			t.Fatalf("%v, %v", got, ok)
		}
	})
}

// TestFormatIsThatOfTheRelease fails when the form of state records changes:
// a release reads what the one before has written.
func TestFormatIsThatOfTheRelease(t *testing.T) {
	t.Parallel()
	m := &manifest{seq: 3, cut: 1000, buckets: 16, entries: []entry{{"b/7", 2, 1, 1, 5, 0x0102030405060708, 0}, {"k/site", 3, 0, 2, 600, 9, 44}}}
	for name, c := range map[string]struct{ got, want string }{
		"manifest": {fmt.Sprintf("%x", m.encode()), "016d03d00f100203622f3702010105010203040506070800066b2f73697465030002d804000000000000000958dfad5ada05a21342"},
		"part":     {fmt.Sprintf("%x", encodePart(typePart, 3, 2, []byte("abc"))), "01700302616263fcdc2d84fbc3ca43"},
		"epoch":    {fmt.Sprintf("%x", encodePart(typeEpoch, 300, 1, []byte("x"))), "0165ac02017898119fdf5947b3a1"},
		"key":      {string(partKey(tp{"ebb.network.v1", 3}, itemBucket(17), 0, 2)), "ebb.network.v1/3/b/17/0/2"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, not %s", name, c.got, c.want)
		}
	}
}

func FuzzStateRecord(f *testing.F) {
	in := tp{"in", 3}
	m := &manifest{seq: 3, cut: 1000, buckets: 16, entries: []entry{{"b/7", 2, 1, 1, 5, 1, 0}}}
	f.Add(manifestKey(in, 1), m.encode())
	f.Add(partKey(in, itemBucket(7), 1, 0), encodePart(typePart, 2, 1, []byte("hello")))
	f.Add(epochKey(in, "site", 4, 0), encodePart(typeEpoch, 2, 1, []byte("hello")))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		// As it came, and with a checksum that is right.
		for _, v := range [][]byte{value, sealValue(slices.Clone(value))} {
			st := newStoredState()
			if err := st.add(in, &kgo.Record{Key: key, Value: v}); err != nil {
				continue
			}
			st.epochsFrom(0)
			if len(st.index) > 1 || len(st.complete) > 1 {
				t.Fatal("one record made several")
			}
		}
	})
}
