package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// Names of the tally's service and topics.
const (
	tallyService = "tally"
	tallyTopic   = "ebb.tally.v1"
)

// window is the length of the tally's windows in microseconds of event time.
const window = int64(10 * time.Minute / time.Microsecond)

const tallyBuckets = 32

// tally sums the bytes of each source address per window and for ever. Each
// flow yields one output; the first flow of a later window than any before
// closes the last one first, with one output per address in it. Everything in
// an output that is not from its record comes from keyed or shared state.
type tally struct {
	partition int32
	buckets   [tallyBuckets]map[string]*sum
	shared    shared
	ev        event.Event
}

// sum is the keyed state: of the newest window of the key, and of all.
type sum struct {
	Window, Bytes, Flows int64
	Total                int64
}

// shared is what belongs to no key: the newest window, the marks so far, the
// closings so far.
type shared struct{ Window, Marks, Closings int64 }

func newTally(partition int32) (operator.Operator, error) { return &tally{partition: partition}, nil }

func bucketOf(key string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never fails
	return int(h.Sum32() % tallyBuckets)
}

// Apply implements operator.Operator.
func (t *tally) Apply(r *operator.Record, c operator.Context) error {
	if r.Kind == event.KindMark.String() {
		t.shared.Marks++
	}
	if r.Kind != event.KindFlow.String() {
		return nil
	}
	t.ev.Reset()
	if err := event.Decode(r.Value, &t.ev); err != nil {
		return err
	}
	w := t.ev.Time / window
	if w > t.shared.Window {
		t.close(c)
		t.shared.Window = w
	}
	key := t.ev.Source.IP.String()
	b := bucketOf(key)
	c.Touch(b)
	if t.buckets[b] == nil {
		t.buckets[b] = map[string]*sum{}
	}
	s := t.buckets[b][key]
	if s == nil {
		s = &sum{}
		t.buckets[b][key] = s
	}
	n := int64(t.ev.Source.Bytes.Or(0))
	if w > s.Window {
		s.Window, s.Bytes, s.Flows = w, 0, 0
	}
	if w == s.Window {
		s.Bytes += n
		s.Flows++
	}
	s.Total += n
	c.Emit(operator.Output{Topic: tallyTopic, Kind: "flow", V: 1, Key: []byte(key), Value: fmt.Appendf(nil,
		"flow %d@%d %s of %s: window %d has %d in %d, all %d; after %d marks, %d closings",
		t.partition, r.Offset, t.ev.ID, key, s.Window, s.Bytes, s.Flows, s.Total, t.shared.Marks, t.shared.Closings)})
	return nil
}

// close reports the newest window.
func (t *tally) close(c operator.Context) {
	all := map[string]*sum{}
	for _, b := range t.buckets {
		for k, s := range b {
			if s.Window == t.shared.Window {
				all[k] = s
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		t.shared.Closings++
		c.Emit(operator.Output{Topic: tallyTopic, Kind: "window", V: 1, Key: []byte(k), Value: fmt.Appendf(nil,
			"window %d closing %d: %d of %s has %d in %d", t.partition, t.shared.Closings, t.shared.Window, k, all[k].Bytes, all[k].Flows)})
	}
}

// Epoch implements operator.Operator.
func (t *tally) Epoch(kind string, _ []byte) error { return fmt.Errorf("unexpected epoch %q", kind) }

// Buckets implements operator.Operator.
func (t *tally) Buckets() int { return tallyBuckets }

// AppendBucket implements operator.Operator.
func (t *tally) AppendBucket(dst []byte, bucket int) []byte {
	if len(t.buckets[bucket]) == 0 {
		return dst
	}
	return appendJSON(dst, t.buckets[bucket])
}

// LoadBucket implements operator.Operator.
func (t *tally) LoadBucket(bucket int, data []byte) error {
	t.buckets[bucket] = nil
	return json.Unmarshal(data, &t.buckets[bucket])
}

// AppendShared implements operator.Operator.
func (t *tally) AppendShared(dst []byte) []byte { return appendJSON(dst, t.shared) }

// LoadShared implements operator.Operator.
func (t *tally) LoadShared(data []byte) error { return json.Unmarshal(data, &t.shared) }

func appendJSON(dst []byte, v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // structs of integers
	}
	return append(dst, data...)
}

// TallyConfig says where the tally runs.
type TallyConfig struct {
	Brokers  []string
	Embedded bool
	Slot     string
	Cycle    time.Duration // between snapshots
}

// Tally runs the tally on the engine until ctx ends, as a service does.
func Tally(ctx context.Context, cfg TallyConfig, log *slog.Logger) error {
	e, err := stream.New(stream.Config{
		Service: tallyService, Slot: cfg.Slot, Brokers: cfg.Brokers, Embedded: cfg.Embedded,
		Inputs: []string{topic.Network}, Outputs: []string{tallyTopic}, SnapshotCycle: cfg.Cycle, PartBytes: 2048,
	}, newTally, log, nil)
	if err != nil {
		return err
	}
	return e.Run(ctx)
}
