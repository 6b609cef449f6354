package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/internal/deadletter"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/twmb/franz-go/pkg/kgo"
)

// worker owns the operator of one input partition. Its goroutine restores the
// state, then handles messages; all fields below "owned" belong to it.
type worker struct {
	eng       *Engine
	tp        tp
	statePart int32
	log       *slog.Logger

	ctx    context.Context //nolint:containedctx // the worker's life, ended by whoever drops it
	cancel context.CancelFunc
	in     chan message
	// ready is set once the state is restored, open once records may be
	// fetched: that is later where the first commit must come before.
	ready, open atomic.Bool
	reply       chan sealed // one answer for each seal
	// stateEnd is one past the highest known offset of the state partition.
	stateEnd atomic.Int64
	// logStart is the first offset that the input still holds.
	logStart atomic.Int64

	// owned by the goroutine
	op        operator.Operator
	next      int64 // offset of the next record: all below are applied
	committed int64
	unplaced  bool // the group holds no commit of the partition yet
	replaying bool
	stale     error // why this state must not be committed
	rec       operator.Record
	kinds     map[string]string
	lastKind  string
	headers   map[headerKey][]kgo.RecordHeader

	// of the current record
	out    []*kgo.Record
	counts []count

	// of the current transaction
	counted tally
	queue   []*kgo.Record // state records for the next commit
	records int
	outputs int
	dead    int
	outs    []operator.Output // for Config.OnCommitted

	// published are the hashes of outputs of a half-done commit by offset.
	published map[int64][]uint64

	// epochs
	epochVersion uint64
	inForce      map[string]epoch
	schedule     []epoch // stored, not yet valid; by offset
	nextEpochAt  int64
	stored       []storedEpoch

	snapshots
}

// count is one call of Context.Count.
type count struct {
	name, label string
	n           int64
}

type headerKey struct {
	kind string
	v    int
}

// message is what the engine sends to a worker: records, or a seal, or the
// news that the sealed transaction has committed, or the question whether all
// of these are done.
type message struct {
	records   []*kgo.Record
	seal      bool
	full      time.Time // of a seal: a whole snapshot until then; zero: as usual
	committed bool
	patched   bool            // of the proof, see patch
	noted     chan<- struct{} // closed once all before it is done
}

// sealed is a worker's part in a transaction.
type sealed struct {
	w       *worker
	next    int64
	records int
	newest  int64 // append time of the last record, microseconds
	// state says that state records were produced.
	state bool
	outs  []operator.Output
	// stale is why the transaction must be aborted.
	stale error
}

// touched says that the worker takes part in the transaction.
func (s *sealed) touched() bool { return s.records > 0 || s.state || s.stale != nil }

// queueLength bounds the batches that wait for a worker.
const queueLength = 2

func newWorker(e *Engine, t tp, statePart int32) *worker {
	ctx, cancel := context.WithCancel(e.ctx)
	return &worker{
		eng: e, tp: t, statePart: statePart,
		log: e.log.With("topic", t.topic, "partition", t.partition),
		ctx: ctx, cancel: cancel, in: make(chan message, queueLength), reply: make(chan sealed, 1),
		kinds: map[string]string{}, headers: map[headerKey][]kgo.RecordHeader{},
		inForce: map[string]epoch{}, nextEpochAt: never,
	}
}

// send hands a message over, or gives up when the worker has ended.
func (w *worker) send(m message) bool {
	select {
	case w.in <- m:
		return true
	case <-w.ctx.Done():
		return false
	}
}

// run is the worker's goroutine.
func (w *worker) run(at assignment) {
	defer func() {
		if p := recover(); p != nil {
			// The state is of no more use, and restarting in place would hide
			// a defect: the process ends.
			w.log.Error("operator panicked", "offset", w.rec.Offset, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			w.eng.fail(fmt.Errorf("operator of %s panicked at offset %d: %v", w.tp, w.rec.Offset, p))
		}
	}()
	if err := w.restore(at); err != nil {
		if w.ctx.Err() == nil {
			w.eng.fail(fmt.Errorf("restore %s: %w", w.tp, err))
		}
		return
	}
	if l, ok := w.op.(Live); ok {
		l.Live(w.ctx)
	}
	w.ready.Store(true)
	if w.unplaced = !at.committed; w.unplaced { // its first snapshot comes before its first record
		w.eng.wake()
	} else {
		w.eng.open(w)
	}
	for {
		select {
		case <-w.ctx.Done():
			return
		case m := <-w.in:
			switch {
			case m.records != nil:
				w.batch(m.records)
			case m.seal:
				w.reply <- w.seal(m.full)
			case m.committed:
				w.settle()
			case m.patched:
				w.patch()
			case m.noted != nil:
				close(m.noted)
			}
		}
	}
}

// batch applies the records of one poll.
func (w *worker) batch(records []*kgo.Record) {
	if w.stale != nil {
		return
	}
	if w.eng.proof.breaks(patchAfterAbort) {
		if records = w.unapplied(records); len(records) == 0 {
			return
		}
	}
	if first := records[0].Offset; first < w.next {
		w.stale = fmt.Errorf("record %d came again, the state is at %d", first, w.next)
		return
	}
	for _, r := range records {
		if err := w.apply(r); err != nil {
			w.eng.fail(err)
			w.stale = err
			return
		}
		w.records++
		r.Recycle() // nothing of it is kept, see fetchPool
	}
}

// apply applies one record. Errors are those of the engine's world; an
// operator's error is a dead letter.
func (w *worker) apply(r *kgo.Record) error {
	if r.Offset >= w.nextEpochAt {
		if err := w.applyScheduled(r.Offset); err != nil {
			return err
		}
	}
	w.next = r.Offset + 1
	if r.Attrs.IsControl() {
		return nil
	}
	w.rec = operator.Record{
		Topic: w.tp.topic, Partition: w.tp.partition, Offset: r.Offset, Time: r.Timestamp.UnixMicro(),
		Kind: w.kind(r.Headers), Key: r.Key, Value: r.Value,
	}
	w.counted.take(w.counts) // of an epoch: not this record's
	w.counts, w.out = w.counts[:0], w.out[:0]
	if err := w.op.Apply(&w.rec, w); err != nil {
		w.counts, w.out = w.counts[:0], w.out[:0]
		if w.replaying {
			return nil // its dead letter is committed
		}
		w.bury(r, err)
	}
	if w.replaying {
		w.counts = w.counts[:0]
		return nil
	}
	for _, o := range w.out {
		if len(o.Key)+len(o.Value) > MaxOutputBytes {
			o = w.buryOutput(r, o)
		}
		if err := w.publish(o); err != nil {
			return err
		}
	}
	w.counted.take(w.counts)
	w.counts = w.counts[:0]
	return nil
}

// kind returns the record's kind header. Kinds are few; the strings are kept.
func (w *worker) kind(headers []kgo.RecordHeader) string {
	for i := range headers {
		if headers[i].Key != "kind" {
			continue
		}
		v := headers[i].Value
		if string(v) == w.lastKind { // they come in runs
			return w.lastKind
		}
		k, ok := w.kinds[string(v)]
		if !ok {
			k = string(v)
			if len(w.kinds) < 64 {
				w.kinds[k] = k
			}
		}
		w.lastKind = k
		return k
	}
	return ""
}

// reasonRefused is the reason of a dead letter of an operator.
const reasonRefused = "operator_refused"

// reasonTooLarge is the reason of a dead letter of an output that no topic
// takes.
const reasonTooLarge = "output_too_large"

// MaxOutputBytes bounds key and value of an output, uncompressed: below Kafka's
// default limit of a message, with room for headers. It decides what is
// written, so it is no setting.
const MaxOutputBytes = 900 << 10

// bury emits the dead letter of a record.
func (w *worker) bury(r *kgo.Record, cause error) {
	w.out = append(w.out, w.deadLetter(r, reasonRefused, cause, r.Value))
}

// buryOutput is the dead letter that takes the place of an output: the state
// has changed already, and refusing the transaction would refuse it for ever.
func (w *worker) buryOutput(r, o *kgo.Record) *kgo.Record {
	cause := fmt.Errorf("output of %d bytes to %s, allowed are %d", len(o.Key)+len(o.Value), o.Topic, MaxOutputBytes)
	w.log.Warn("output is too large for a topic", "offset", r.Offset, "output", o.Topic, "bytes", len(o.Key)+len(o.Value))
	return w.deadLetter(r, reasonTooLarge, cause, o.Value)
}

func (w *worker) deadLetter(r *kgo.Record, reason string, cause error, raw []byte) *kgo.Record {
	letter := deadletter.New(w.eng.cfg.Service, reason, cause, deadletter.InTopic(r.Topic, r.Partition, r.Offset), raw, r.Timestamp.UnixMicro())
	w.dead++
	return &kgo.Record{
		Topic: w.eng.cfg.DeadLetter, Partition: byKey, Key: []byte(w.eng.cfg.Service), Value: letter.Append(nil),
		Headers: w.header(deadletter.Kind, deadletter.Version),
	}
}

// Emit implements operator.Context.
func (w *worker) Emit(out operator.Output) {
	if w.replaying {
		return
	}
	if !w.eng.outputs[out.Topic] {
		panic(fmt.Sprintf("output to topic %q, which is not in the service's outputs", out.Topic))
	}
	buf := make([]byte, len(out.Key)+len(out.Value))
	n := copy(buf, out.Key)
	copy(buf[n:], out.Value)
	r := &kgo.Record{Topic: out.Topic, Partition: byKey, Value: buf[n:], Headers: w.header(out.Kind, out.V)}
	if n > 0 {
		r.Key = buf[:n:n]
	}
	w.out = append(w.out, r)
}

// Touch implements operator.Context.
func (w *worker) Touch(bucket int) {
	if w.snap != nil && w.snap.pending[bucket] && !w.eng.proof.breaks(bucketsApart) {
		w.save(bucket)
	}
	w.changed[bucket] = true
}

// Count implements operator.Context.
func (w *worker) Count(name, label string, n int64) {
	if !w.replaying {
		w.counts = append(w.counts, count{name, label, n})
	}
}

// tally adds up what was counted under the same name.
type tally struct {
	sums []count
	next int // where the next one is looked for: most records count the same
}

func (t *tally) take(counts []count) {
	for i := range counts {
		c := &counts[i]
		if t.next >= len(t.sums) || !t.sums[t.next].same(c) {
			t.next = slices.IndexFunc(t.sums, func(o count) bool { return o.same(c) })
			if t.next < 0 {
				t.next = len(t.sums)
				// A label may point into the record.
				t.sums = append(t.sums, count{name: strings.Clone(c.name), label: strings.Clone(c.label)})
			}
		}
		t.sums[t.next].n += c.n
		if len(counts) > 1 {
			t.next = (t.next + 1) % len(t.sums)
		}
	}
}

func (c *count) same(o *count) bool { return c.name == o.name && c.label == o.label }

// header returns the headers of an output; they are shared between records.
func (w *worker) header(kind string, v int) []kgo.RecordHeader {
	key := headerKey{kind, v}
	h, ok := w.headers[key]
	if !ok {
		h = []kgo.RecordHeader{{Key: "kind", Value: []byte(kind)}, {Key: "v", Value: []byte(strconv.Itoa(v))}}
		if len(w.headers) < 64 {
			w.headers[key] = h
		}
	}
	return h
}

// publish produces one output of the current record, unless a half-done
// commit has already published it.
func (w *worker) publish(o *kgo.Record) error {
	if w.eng.cfg.Embedded {
		if w.wasPublished(o) {
			w.eng.metrics.suppressed.Inc()
			w.note(o)
			return nil
		}
		o.Headers = append(slices.Clip(o.Headers), kgo.RecordHeader{Key: fromHeader, Value: w.eng.fromValue(w.tp, w.rec.Offset)})
	}
	w.outputs++
	w.note(o)
	return w.eng.produce(w, o)
}

// note keeps an operator's output for Config.OnCommitted.
func (w *worker) note(o *kgo.Record) {
	if w.eng.cfg.OnCommitted == nil || o.Topic == w.eng.cfg.DeadLetter {
		return
	}
	v, _ := strconv.Atoi(string(o.Headers[1].Value))
	w.outs = append(w.outs, operator.Output{Topic: o.Topic, Kind: string(o.Headers[0].Value), V: v, Key: o.Key, Value: o.Value})
}

func (w *worker) wasPublished(o *kgo.Record) bool {
	if len(w.published) == 0 {
		return false
	}
	hashes := w.published[w.rec.Offset]
	h := outputHash(o)
	for i, p := range hashes {
		if p == h {
			w.published[w.rec.Offset] = append(hashes[:i:i], hashes[i+1:]...)
			return true
		}
	}
	return false
}

// outputHash identifies an output among those of one record.
func outputHash(r *kgo.Record) uint64 {
	d := xxhash.New()
	for _, s := range [][]byte{[]byte(r.Topic), r.Key, r.Value} {
		_, _ = d.Write(strconv.AppendInt(nil, int64(len(s)), 10)) // never fails
		_, _ = d.Write(s)
	}
	return d.Sum64()
}

// seal ends the worker's part in a transaction: epochs and snapshot parts are
// produced behind the outputs.
func (w *worker) seal(full time.Time) sealed {
	s := sealed{w: w, next: w.next, records: w.records, newest: w.rec.Time, outs: w.outs, stale: w.stale}
	if w.stale != nil {
		return s
	}
	if err := errors.Join(w.adoptEpochs(), w.snapshot(full)); err != nil {
		if !errors.Is(err, errNoTime) {
			w.eng.fail(err)
		}
		w.stale, s.stale = err, err
		return s
	}
	for _, r := range w.queue {
		if err := w.eng.produce(w, r); err != nil {
			s.stale = err
			return s
		}
	}
	s.state = len(w.queue) > 0
	w.queue = w.queue[:0]
	return s
}

// settle is called after the sealed transaction has committed.
func (w *worker) settle() {
	m := w.eng.metrics
	m.records.Add(float64(w.records))
	m.outputs.Add(float64(w.outputs))
	m.deadLetters.Add(float64(w.dead))
	w.counted.take(w.counts)
	for i := range w.counted.sums {
		if c := &w.counted.sums[i]; c.n != 0 {
			m.operator.WithLabelValues(m.service, c.name, c.label).Add(float64(c.n))
			c.n = 0
		}
	}
	w.counts, w.records, w.outputs, w.dead = w.counts[:0], 0, 0, 0
	w.outs = nil // handed to OnCommitted
	w.committed, w.unplaced = w.next, false
	for offset := range w.published {
		if offset < w.committed {
			delete(w.published, offset)
		}
	}
	w.settleSnapshot()
	if !w.open.Load() {
		w.eng.open(w)
	}
}
