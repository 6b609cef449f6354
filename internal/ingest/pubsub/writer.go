package pubsub

import (
	"context"
	"fmt"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"github.com/segmentio/encoding/json"
	"golang.org/x/sync/semaphore"

	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

const (
	// maxData is the longest message that fits a Kafka record, in base64. A
	// LogEntry is at most 256 KiB.
	maxData = 640 << 10
	// maxWaiting bounds the bytes of one subscription that wait for their commit,
	// maxCommit those of one transaction.
	maxWaiting = 64 << 20
	maxCommit  = 8 << 20
)

// reasonTooLong is the reason of the dead letter of a message beyond maxData.
const reasonTooLong = "message_too_long"

// delivery is a message that waits for its commit.
type delivery struct {
	subscription string
	msg          *pubsub.Message
	free         func() // gives back its room
}

// writer writes messages to ebb.objects.v1, several to a transaction, and
// acknowledges them then.
type writer struct {
	s        *Service
	producer *stream.Producer
	letters  *ingest.Outlet
	in       chan delivery
	pause    time.Duration // between two commits
	ended    chan struct{} // closed once it takes no more
}

// take hands over a message in the order of the calls. It waits for room, not
// for the commit.
func (w *writer) take(ctx context.Context, room *semaphore.Weighted, cost int64, d delivery) {
	if room.Acquire(ctx, cost) != nil {
		d.msg.Nack()
		return
	}
	d.free = func() { room.Release(cost) }
	select {
	case w.in <- d:
	case <-w.ended:
		d.free()
		d.msg.Nack()
	}
}

// run commits until ctx ends. An error of the broker ends it.
func (w *writer) run(ctx context.Context) error {
	defer close(w.ended)
	defer w.producer.Close()
	for {
		var first delivery
		select {
		case <-ctx.Done():
			return nil
		case first = <-w.in:
		}
		list := w.collect(first)
		err := w.commit(context.WithoutCancel(ctx), list)
		for _, d := range list {
			if d.free(); err != nil {
				d.msg.Nack()
			} else {
				w.s.acknowledge(d.msg)
			}
		}
		if err != nil {
			return fmt.Errorf("messages could not be written: %w", err)
		}
	}
}

// collect waits a little for others.
func (w *writer) collect(first delivery) []delivery {
	list, n := []delivery{first}, len(first.msg.Data)
	timer := time.NewTimer(w.pause)
	defer timer.Stop()
	for n < maxCommit {
		select {
		case d := <-w.in:
			list = append(list, d)
			n += len(d.msg.Data)
		case <-timer.C:
			return list
		}
	}
	return list
}

func (w *writer) commit(ctx context.Context, list []delivery) error {
	if err := w.producer.Begin(); err != nil {
		return err
	}
	w.letters.Emit = func(o operator.Output) { w.producer.Emit(ctx, o) }
	for _, d := range list {
		if len(d.msg.Data) > maxData {
			w.s.metrics.messages.WithLabelValues("dead").Inc()
			w.letters.Now = time.Now().UnixMicro()
			w.letters.Dead(reasonTooLong, d.msg.Data, origin(d.subscription, d.msg.ID))
			continue
		}
		w.s.metrics.messages.WithLabelValues("taken").Inc()
		m := message{V: messageVersion, Source: w.s.kind.Source, Subscription: d.subscription, ID: d.msg.ID, Data: d.msg.Data}
		value, err := json.Append(nil, &m, 0)
		if err != nil {
			return fmt.Errorf("message: %w", err)
		}
		key := d.subscription + "\x00"
		if d.msg.OrderingKey != "" {
			key += "order\x00" + d.msg.OrderingKey
		} else {
			key += "id\x00" + d.msg.ID
		}
		w.producer.Emit(ctx, operator.Output{Topic: topic.Objects, Kind: kindMessage, V: messageVersion, Key: []byte(key), Value: value})
	}
	return w.producer.Commit(ctx)
}
