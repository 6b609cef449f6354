package pubsub

import (
	"context"
	"errors"
	"fmt"

	"github.com/segmentio/encoding/json"

	"github.com/ebbwatch/ebbwatch/internal/ingest/companion"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// kindMessage is the kind of the records of ebb.objects.v1, and messageVersion
// their "v".
const (
	kindMessage    = "message"
	messageVersion = 1
)

// message is one record of ebb.objects.v1.
type message struct {
	V            int    `json:"v"`
	Source       string `json:"source"` // of the service that is to read it
	Subscription string `json:"subscription"`
	ID           string `json:"id"`
	Data         []byte `json:"data"`
}

// origin is the message in the origin of its records.
func origin(subscription, id string) event.Origin {
	return event.Origin{Name: subscription + "#" + id}
}

var errMessage = errors.New("not a message")

// reader is the operator of a partition of ebb.objects.v1.
type reader struct {
	companion.Sink

	s     *Service
	dec   decode.Lines
	live  bool // not a replay
	known known
}

var (
	_ operator.Operator = (*reader)(nil)
	_ stream.Live       = (*reader)(nil)
)

// Live implements stream.Live: a replay decodes nothing, since nothing of it is
// emitted or counted.
func (o *reader) Live(context.Context) { o.live = true }

// Apply implements operator.Operator.
func (o *reader) Apply(r *operator.Record, c operator.Context) error {
	if r.Kind != kindMessage {
		return nil
	}
	var m message
	if err := json.Unmarshal(r.Value, &m); err != nil {
		return fmt.Errorf("%w: %w", errMessage, err)
	}
	if m.V != messageVersion || m.Source == "" || m.Subscription == "" || m.ID == "" {
		return fmt.Errorf("%w: version %d of source %q, subscription %q, id %q", errMessage, m.V, m.Source, m.Subscription, m.ID)
	}
	if m.Source != o.s.kind.Source {
		return nil
	}
	id := m.hash()
	if !o.known.take(id, r.Time) {
		c.Count("messages", "repeated", 1)
		return nil
	}
	c.Touch(bucketOf(id))
	if !o.live {
		return nil
	}
	o.Begin(r, c, o.s.sensor(m.Subscription))
	o.dec.Line(m.Data, origin(m.Subscription, m.ID), o)
	o.s.world.Outside.Read(o.Name, o.Records, int64(len(m.Data)))
	return nil
}

// Buckets implements operator.Operator.
func (o *reader) Buckets() int { return buckets }

// AppendBucket implements operator.Operator.
func (o *reader) AppendBucket(dst []byte, n int) []byte { return o.known.appendBucket(dst, n) }

// LoadBucket implements operator.Operator.
func (o *reader) LoadBucket(n int, data []byte) error { return o.known.loadBucket(n, data) }
