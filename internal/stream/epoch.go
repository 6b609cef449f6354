package stream

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// epoch is a declared input from an offset on.
type epoch struct {
	kind string
	from int64
	data []byte
}

// order is that in which epochs apply.
func (e epoch) order(o epoch) int {
	return cmp.Or(cmp.Compare(e.from, o.from), cmp.Compare(e.kind, o.kind))
}

// never is the offset that no record has.
const never = math.MaxInt64

// epochs are what the outside declares now. Workers compare the version
// before each commit.
type epochs struct {
	mu      sync.Mutex
	version uint64
	want    map[string][]byte
}

func (e *epochs) set(kind string, data []byte) (changed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if old, ok := e.want[kind]; ok && bytes.Equal(old, data) {
		return false
	}
	if e.want == nil {
		e.want = map[string][]byte{}
	}
	e.want[kind] = bytes.Clone(data)
	e.version++
	return true
}

// get returns the wanted epochs in the order of their kinds.
func (e *epochs) get() (version uint64, list []epoch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, kind := range slices.Sorted(maps.Keys(e.want)) {
		list = append(list, epoch{kind: kind, data: e.want[kind]})
	}
	return e.version, list
}

// checkKind keeps keys of the state topic readable by parseKey.
func checkKind(kind string) error {
	ok := kind != ""
	for _, r := range kind {
		ok = ok && (r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}
	if !ok {
		return fmt.Errorf("epoch kind %q: only a-z, 0-9, '-', '_' and '.'", kind)
	}
	return nil
}

// applyScheduled applies the stored epochs that hold from offset on.
func (w *worker) applyScheduled(offset int64) error {
	for len(w.schedule) > 0 && w.schedule[0].from <= offset {
		e := w.schedule[0]
		w.schedule = w.schedule[1:]
		if err := w.applyEpoch(e); err != nil {
			return err
		}
	}
	w.nextEpochAt = never
	if len(w.schedule) > 0 {
		w.nextEpochAt = w.schedule[0].from
	}
	return nil
}

func (w *worker) applyEpoch(e epoch) error {
	if err := w.op.Epoch(e.kind, e.data); err != nil {
		return fmt.Errorf("%s: epoch %s from offset %d: %w", w.tp, e.kind, e.from, err)
	}
	w.inForce[e.kind] = e
	return nil
}

// adoptEpochs makes what the outside declares valid from the next record on,
// where it is not what holds already, and queues the records that say so for
// the next commit.
func (w *worker) adoptEpochs() error {
	version, want := w.eng.epochs.get()
	if version == w.epochVersion {
		return nil
	}
	for _, e := range want {
		// A stored epoch that holds from a later offset (a half-done commit
		// on the embedded broker) counts as declared.
		last, ok := w.inForce[e.kind]
		for _, s := range w.schedule {
			if s.kind == e.kind {
				last, ok = s, true
			}
		}
		if ok && (bytes.Equal(last.data, e.data) || !w.eng.cfg.Supersedes(e.kind, last.data, e.data)) {
			continue
		}
		w.schedule = slices.DeleteFunc(w.schedule, func(s epoch) bool { return s.kind == e.kind })
		e.from = w.next
		if err := w.applyEpoch(e); err != nil {
			return err
		}
		w.queueEpoch(e)
		w.log.Info("epoch holds", "kind", e.kind, "from", e.from, "bytes", len(e.data))
	}
	w.epochVersion = version
	return w.applyScheduled(w.next)
}

// queueEpoch queues the state records of an epoch.
func (w *worker) queueEpoch(e epoch) {
	// It supersedes what was to hold from here on, as in addEpoch.
	w.stored = slices.DeleteFunc(w.stored, func(s storedEpoch) bool { return s.kind == e.kind && s.from >= e.from })
	s := storedEpoch{epoch: e, parts: w.writeEpoch(e)}
	if !w.eng.cfg.Embedded {
		s.data = nil
	}
	w.stored = append(w.stored, s)
}

// writeEpoch queues the records of an epoch and returns how many. Their seq is
// the checksum of the whole, so that parts of two versions never join.
func (w *worker) writeEpoch(e epoch) int {
	parts := split(e.data, w.eng.cfg.PartBytes)
	sum := xxhash.Sum64(e.data)
	for i, p := range parts {
		w.queue = append(w.queue, w.stateRecord(epochKey(w.tp, e.kind, e.from, i), encodePart(typeEpoch, sum, len(parts), p)))
	}
	return len(parts)
}

// storedEpoch remembers the records of an epoch, to delete them once the input
// has no record any more for which it held: until then a replay needs it. Only
// on the embedded broker its bytes are kept, to write them again.
type storedEpoch struct {
	epoch
	parts int
}

// outdated are the stored epochs that another of their kind has superseded
// before the first record that the input still holds.
func (w *worker) outdated(cut int64) func(storedEpoch) bool {
	start := min(cut, w.logStart.Load())
	follows := map[string]int64{} // kind → newest that holds from start or before
	for _, s := range w.stored {
		if s.from <= start {
			follows[s.kind] = max(follows[s.kind], s.from)
		}
	}
	return func(s storedEpoch) bool { return s.from < follows[s.kind] }
}

// dropEpochs queues tombstones for the records of outdated epochs.
func (w *worker) dropEpochs(cut int64) {
	outdated := w.outdated(cut)
	w.stored = slices.DeleteFunc(w.stored, func(s storedEpoch) bool {
		if !outdated(s) {
			return false
		}
		for i := range s.parts {
			w.queue = append(w.queue, w.stateRecord(epochKey(w.tp, s.kind, s.from, i), nil))
		}
		return true
	})
}

// rewriteEpochs queues the history of epochs once more, in the order in which
// they hold: on the embedded broker a snapshot leaves nothing before it.
func (w *worker) rewriteEpochs() {
	w.stored = slices.DeleteFunc(w.stored, w.outdated(w.next))
	slices.SortStableFunc(w.stored, func(a, b storedEpoch) int { return cmp.Compare(a.from, b.from) })
	for _, s := range w.stored {
		w.writeEpoch(s.epoch)
	}
}

// stateRecord is a record for the partition's own place in the state topic.
func (w *worker) stateRecord(key, value []byte) *kgo.Record {
	return &kgo.Record{Topic: w.eng.cfg.State, Partition: w.statePart, Key: key, Value: value}
}
