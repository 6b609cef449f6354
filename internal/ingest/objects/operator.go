package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/ingest/companion"
	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// Bounds of one part of an object: what is read of it for one task.
const (
	partRecords = 20_000
	partBytes   = 8 << 20 // of events
	partTime    = time.Second
	// retryPause is how long a task waits whose network has failed.
	retryPause = 500 * time.Millisecond
	// maxOpen is the most objects that a partition holds open between two
	// transactions.
	maxOpen = 4
	// ended is a count of open objects that no closing makes valid again.
	ended = -1 << 40
)

// reader is the operator of a partition of ebb.objects.v1.
type reader struct {
	companion.Sink

	kind    ingest.Kind
	store   *store
	name    string // of the sensor; "" is the bucket
	outside *ingest.Outside
	metrics *metrics
	log     *slog.Logger

	ctx   context.Context //nolint:containedctx // from Live; nil during a replay
	known known
	open  []*reading // held open, the latest used last
	opens atomic.Int64
	key   []byte
	value []byte
}

// reading is an object that is held open.
type reading struct {
	id     objectID
	seq    uint32 // of the task that goes on with it
	reader input.Reader
	etag   string
	cancel context.CancelFunc
}

var (
	_ operator.Operator = (*reader)(nil)
	_ stream.Live       = (*reader)(nil)
)

// Live implements stream.Live.
func (o *reader) Live(ctx context.Context) {
	o.ctx = ctx
	// Transfers end with ctx, memory with the operator; only the count is left.
	context.AfterFunc(ctx, func() { o.metrics.inFlight.Sub(float64(o.opens.Swap(ended))) })
}

// Apply implements operator.Operator.
func (o *reader) Apply(r *operator.Record, c operator.Context) error {
	if r.Kind != kindTask {
		c.Count("tasks", "other_kind", 1)
		return nil
	}
	t, err := decodeTask(r.Value)
	if err != nil {
		return err
	}
	if t.Source != o.kind.Source {
		return nil // for the other service that reads objects
	}
	id := t.id()
	b := &o.known.buckets[bucketOf(id)]
	last, is := b.objects[id]
	switch {
	case t.Seq == 0 && is:
		c.Count("tasks", "repeated", 1)
		return nil
	case t.Seq > 0 && is && t.Seq != last.seq+1:
		c.Count("tasks", "stale", 1)
		return nil
	}
	c.Touch(bucketOf(id))
	if t.Forget {
		delete(b.objects, id)
		c.Count("tasks", "forgotten", 1)
		return nil
	}
	if n := o.known.take(id, entry{seq: t.Seq, at: r.Time}); n > 0 {
		c.Count("objects_evicted", "bound", int64(n))
	}
	if t.Seq == 0 {
		c.Count("tasks", "announced", 1)
	}
	if o.ctx != nil {
		o.read(t, id, r, c)
	}
	return nil
}

// read reads a part of an object, and says how it goes on.
func (o *reader) read(t *Task, id objectID, r *operator.Record, c operator.Context) {
	deadline := time.Now().Add(partTime)
	if d, ok := c.(stream.Deadline); ok {
		if at := d.Deadline(); !time.Now().Before(at) {
			o.goOn(t, t.Position, "", "this transaction has no time left", c)
			return
		} else if at.Before(deadline) {
			deadline = at
		}
	}
	x, err := o.take(t, id)
	if err != nil {
		o.failed(t, t.Position, err, r, c)
		return
	}
	o.Begin(r, c, sourceOf(o.name, t.Bucket))
	err = o.part(x, deadline)
	o.outside.Read(o.Name, o.Records, 0)
	at := placeOf(x.reader.Position())
	if at.records() < t.Position.records() {
		at = t.Position // it still passes over what was read before
	}
	switch {
	case err == nil && at.records() > o.store.maxRecords:
		o.Dead(decode.ReasonTooMany, nil, o.Last)
		o.finished(x, "cut", r)
	case err == nil:
		x.seq = t.Seq + 1
		o.hold(x)
		o.goOn(t, at, x.etag, "", c)
	case errors.Is(err, io.EOF):
		x.reader.End(nil, o)
		o.finished(x, "read", r)
	case input.IsContent(err):
		x.reader.End(err, o)
		o.finished(x, "damaged", r)
	default:
		o.drop(x)
		t.ETag = x.etag
		if at.records() > t.Position.records() {
			t.Attempts = 0
		}
		o.failed(t, at, err, r, c)
	}
}

// part reads until it is enough for one transaction: nil means that there may
// be more.
func (o *reader) part(x *reading, deadline time.Time) error {
	// Time is looked at now and then: at each record it would cost more than
	// the record.
	for n := 0; ; n++ {
		if o.Records >= int64(o.store.part) || o.Bytes >= partBytes {
			return nil
		}
		if n%64 == 63 {
			if time.Now().After(deadline) || o.ctx.Err() != nil {
				return nil
			}
			if p := placeOf(x.reader.Position()); p.records() > o.store.maxRecords {
				return nil
			}
		}
		if err := x.reader.Next(o); err != nil {
			return err
		}
	}
}

// take returns the object of a task, still open or opened again.
func (o *reader) take(t *Task, id objectID) (*reading, error) {
	for i, x := range o.open {
		if x.id != id {
			continue
		}
		o.open = append(o.open[:i], o.open[i+1:]...)
		if x.seq == t.Seq {
			return x, nil
		}
		o.drop(x)
		break
	}
	ctx, cancel := context.WithCancel(o.ctx)
	r, etag, err := o.store.open(ctx, t, time.Now().Add(answerTime))
	if err != nil {
		cancel()
		return nil, err
	}
	o.opens.Add(1)
	o.metrics.inFlight.Inc()
	if etag == "" {
		etag = t.ETag
	}
	return &reading{id: id, reader: r, etag: etag, cancel: cancel}, nil
}

// hold keeps an object open for its next task.
func (o *reader) hold(x *reading) {
	if len(o.open) == maxOpen {
		o.drop(o.open[0])
		o.open = append(o.open[:0], o.open[1:]...)
	}
	o.open = append(o.open, x)
}

func (o *reader) drop(x *reading) {
	x.cancel()
	if err := x.reader.Close(); err != nil {
		o.log.Debug("close an object", "error", err)
	}
	if o.opens.Add(-1) >= 0 {
		o.metrics.inFlight.Dec()
	}
}

// finished ends the reading of an object.
func (o *reader) finished(x *reading, result string, r *operator.Record) {
	o.drop(x)
	o.metrics.objects.WithLabelValues(result).Inc()
	o.metrics.delay.Observe(max(0, time.Since(time.UnixMicro(r.Time)).Seconds()))
}

// goOn emits the task to go on with an object behind a place.
func (o *reader) goOn(t *Task, at place, etag, why string, c operator.Context) {
	next := *t
	next.Seq++
	next.Position, next.Why = at, why
	if etag != "" {
		next.ETag = etag
	}
	if why == "" {
		next.Attempts = 0
	}
	o.emit(&next, c)
}

func (o *reader) emit(t *Task, c operator.Context) {
	value, err := t.Append(o.value[:0])
	if err != nil {
		panic(fmt.Sprintf("task of %s: %v", t.name(), err)) // it was decoded from this form
	}
	o.value = value
	o.key = t.appendKey(o.key[:0])
	c.Emit(operator.Output{Topic: topic.Objects, Kind: kindTask, V: taskVersion, Key: o.key, Value: value})
}

// failed takes an object that could not be read on: what S3 says of it is
// final, everything else is tried again.
func (o *reader) failed(t *Task, at place, err error, r *operator.Record, c operator.Context) {
	if no, ok := errors.AsType[*refusal](err); ok {
		o.metrics.objects.WithLabelValues("refused").Inc()
		o.Begin(r, c, sourceOf(o.name, t.Bucket))
		o.Bury(no.reason, no.raw, event.Origin{Name: t.name()}, no.cause)
		o.outside.Read(o.Name, 1, 0)
		if no.forget {
			next := *t
			next.Seq++
			next.Forget, next.Inline = true, nil
			o.emit(&next, c)
		}
		return
	}
	o.metrics.failures.Inc()
	if o.ctx.Err() == nil {
		o.log.Warn("object could not be read, it is tried again", "object", t.name(), "attempt", t.Attempts+1, "error", err)
		select {
		case <-o.ctx.Done():
		case <-time.After(retryPause):
		}
	}
	next := *t
	next.Attempts++
	text := err.Error()
	o.goOn(&next, at, "", text[:min(len(text), 512)], c)
}

// Buckets implements operator.Operator.
func (o *reader) Buckets() int { return buckets }

// AppendBucket implements operator.Operator.
func (o *reader) AppendBucket(dst []byte, n int) []byte { return o.known.appendBucket(dst, n) }

// LoadBucket implements operator.Operator.
func (o *reader) LoadBucket(n int, data []byte) error { return o.known.loadBucket(n, data) }
