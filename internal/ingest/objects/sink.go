package objects

import (
	"github.com/ebbwatch/ebbwatch/internal/deadletter"
	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// maxEvent is the longest event that fits a Kafka message.
const maxEvent = 900 << 10

// Reasons of dead letters for single events.
const (
	reasonUnencodable = "unencodable"
	reasonEventLong   = "event_too_long"
)

// sink takes what the decoder reads of one part of an object. What it writes
// follows from the object and the record alone: after a half-done commit of the
// embedded broker the same comes out, and is not published twice.
type sink struct {
	o       *reader
	c       operator.Context
	now     int64 // append time of the task: wall time of the log
	name    string
	records int64
	out     int // bytes of events

	last          event.Origin // of the last record
	place         site.Placement
	value, letter []byte
}

func (s *sink) begin(o *reader, t *Task, r *operator.Record, c operator.Context) {
	s.o, s.c, s.now = o, c, r.Time
	s.name = sourceOf(o.name, t.Bucket)
	s.records, s.out = 0, 0
}

// sourceOf is the sensor of what an object holds.
func sourceOf(name, bucket string) string {
	if name == "" {
		return bucket
	}
	return name
}

// Event implements decode.Sink.
func (s *sink) Event(e *event.Event) {
	s.records++
	s.last = e.Origin
	e.Observer.Name, e.Observer.Realm = s.name, s.o.realm
	e.Future = e.Time > s.now+ingest.FutureAfter.Microseconds()
	ingest.Complete(e, s.o.site, &s.place)
	if !s.write(e, s.place.Key) {
		return
	}
	if len(s.place.Mirror) > 0 {
		e.Role = event.RoleMirror
		s.write(e, s.place.Mirror)
		e.Role = ""
	}
}

// write emits one event; false where it became a dead letter.
func (s *sink) write(e *event.Event, key []byte) bool {
	value, err := e.Append(s.value[:0])
	if err != nil {
		s.bury(reasonUnencodable, nil, e.Origin, err)
		return false
	}
	s.value = value
	if len(value) > maxEvent {
		s.bury(reasonEventLong, value, e.Origin, nil)
		return false
	}
	s.out += len(value)
	s.c.Emit(operator.Output{Topic: s.o.kind.TopicOf(e.Kind), Kind: e.Kind.String(), V: event.Version, Key: key, Value: value})
	return true
}

// Ignored implements decode.Sink.
func (s *sink) Ignored(reason string) {
	s.records++
	s.o.outside.Ignored(reason)
}

// Dead implements decode.Sink.
func (s *sink) Dead(reason string, raw []byte, at event.Origin) {
	s.records++
	s.last = at
	s.bury(reason, raw, at, nil)
}

// refused buries an object as a whole.
func (s *sink) refused(t *Task, no *refusal) {
	s.bury(no.reason, no.raw, event.Origin{Name: t.name()}, no.cause)
}

func (s *sink) bury(reason string, raw []byte, at event.Origin, cause error) {
	s.o.outside.Dead(reason)
	letter := deadletter.New(s.o.kind.Source, reason, cause, deadletter.InFile(at), raw, s.now)
	value, err := letter.Append(s.letter[:0])
	if err != nil {
		panic("dead letter: " + err.Error()) // its fields are text and numbers
	}
	s.letter = value
	s.out += len(value)
	s.c.Emit(operator.Output{
		Topic: topic.DeadLetter, Kind: deadletter.Kind, V: deadletter.Version, Key: []byte(s.o.kind.Source), Value: value,
	})
}
