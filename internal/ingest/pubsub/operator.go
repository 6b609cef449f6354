package pubsub

import (
	"context"
	"errors"
	"fmt"

	"github.com/segmentio/encoding/json"

	"github.com/ebbwatch/ebbwatch/internal/deadletter"
	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/site"
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

var errMessage = errors.New("not a message")

// reader is the operator of a partition of ebb.objects.v1.
type reader struct {
	s     *Service
	dec   decode.Lines
	live  bool // not a replay
	known known
	sink  sink
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
	k := &o.sink
	k.s, k.c, k.now, k.name, k.records = o.s, c, r.Time, o.s.sensor(m.Subscription), 0
	o.dec.Line(m.Data, event.Origin{Name: m.Subscription + "#" + m.ID}, k)
	o.s.world.Outside.Read(k.name, k.records, int64(len(m.Data)))
	return nil
}

// Epoch implements operator.Operator; there are none.
func (o *reader) Epoch(kind string, _ []byte) error {
	return fmt.Errorf("pubsub: unknown epoch %q", kind)
}

// Buckets implements operator.Operator.
func (o *reader) Buckets() int { return buckets }

// AppendBucket implements operator.Operator.
func (o *reader) AppendBucket(dst []byte, n int) []byte { return o.known.appendBucket(dst, n) }

// LoadBucket implements operator.Operator.
func (o *reader) LoadBucket(n int, data []byte) error { return o.known.loadBucket(n, data) }

// AppendShared implements operator.Operator; there is nothing beside the buckets.
func (o *reader) AppendShared(dst []byte) []byte { return dst }

// LoadShared implements operator.Operator.
func (o *reader) LoadShared([]byte) error { return nil }

// sink takes what the decoder reads of one message.
type sink struct {
	s       *Service
	c       operator.Context
	now     int64 // append time of the record
	name    string
	records int64

	place         site.Placement
	value, letter []byte
}

// Reasons of dead letters.
const (
	reasonUnencodable = "unencodable"
	reasonTooLong     = "message_too_long"
)

// Event implements decode.Sink.
func (k *sink) Event(e *event.Event) {
	k.records++
	e.Observer.Name, e.Observer.Realm = k.name, k.s.cfg.PubSub.Realm
	e.Future = e.Time > k.now+ingest.FutureAfter.Microseconds()
	ingest.Complete(e, k.s.world.Site, &k.place)
	if !k.write(e, k.place.Key) {
		return
	}
	if len(k.place.Mirror) > 0 {
		e.Role = event.RoleMirror
		k.write(e, k.place.Mirror)
		e.Role = ""
	}
}

func (k *sink) write(e *event.Event, key []byte) bool {
	value, err := e.Append(k.value[:0])
	if err != nil {
		k.bury(reasonUnencodable, nil, e.Origin, err)
		return false
	}
	k.value = value
	k.c.Emit(operator.Output{Topic: k.s.kind.TopicOf(e.Kind), Kind: e.Kind.String(), V: event.Version, Key: key, Value: value})
	return true
}

// Ignored implements decode.Sink.
func (k *sink) Ignored(reason string) {
	k.records++
	k.s.world.Outside.Ignored(reason)
}

// Dead implements decode.Sink.
func (k *sink) Dead(reason string, raw []byte, at event.Origin) {
	k.records++
	k.bury(reason, raw, at, nil)
}

func (k *sink) bury(reason string, raw []byte, at event.Origin, cause error) {
	k.s.world.Outside.Dead(reason)
	letter := deadletter.New(k.s.kind.Source, reason, cause, deadletter.InFile(at), raw, k.now)
	value, err := letter.Append(k.letter[:0])
	if err != nil {
		panic("dead letter: " + err.Error()) // its fields are text and numbers
	}
	k.letter = value
	k.c.Emit(operator.Output{Topic: topic.DeadLetter, Kind: deadletter.Kind, V: deadletter.Version, Key: []byte(k.s.kind.Source), Value: value})
}
