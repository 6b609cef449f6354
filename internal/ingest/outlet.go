package ingest

import (
	"time"

	"github.com/ebbwatch/ebbwatch/internal/deadletter"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// futureAfter is how far ahead of its arrival an event may be before it is
// flagged and moves no watermark (DESIGN §2 law 2).
const futureAfter = 10 * time.Minute

// What a decoder's event may take, the engine must take too.
const _ = uint(stream.MaxOutputBytes - decode.MaxRecord)

// Outlet turns what a decoder reads into what is written: an event under its
// keys, a dead letter for a record that gives none. It is decode.Sink for files,
// objects, messages and topics alike. What it emits follows from the records and
// its fields alone: after a half-done commit of the embedded broker the same comes
// out, and is not published twice.
type Outlet struct {
	// Emit takes an output; it is valid during the call only.
	Emit func(operator.Output)
	// Site says the realm, the direction and the keys of an event.
	Site *site.Site
	// Name is the sensor; Realm is "" where the site decides.
	Name, Realm string
	// Now is when the records arrived, microseconds.
	Now int64

	// Records counts outcomes, Letters those that are dead letters, Bytes what
	// was emitted.
	Records, Letters int64
	Bytes            int
	// Last is the origin of the last record that was an event or dead.
	Last event.Origin

	kind          Kind
	metrics       *metrics
	place         site.Placement
	value, letter []byte
}

// Event implements decode.Sink.
func (o *Outlet) Event(e *event.Event) { o.Put(e) }

// Put writes an event; false where it became a dead letter.
func (o *Outlet) Put(e *event.Event) bool {
	o.Records++
	o.Last = e.Origin
	e.Observer.Name, e.Observer.Realm = o.Name, o.Realm
	e.Future = e.Time > o.Now+futureAfter.Microseconds()
	o.Site.Place(e, &o.place)
	if !o.write(e, o.place.Key) {
		return false
	}
	if len(o.place.Mirror) > 0 {
		e.Role = event.RoleMirror
		o.write(e, o.place.Mirror)
		e.Role = ""
	}
	return true
}

func (o *Outlet) write(e *event.Event, key []byte) bool {
	value, reason, err := decode.Written(o.value[:0], e, key)
	o.value = value
	if err != nil {
		o.bury(reason, value, e.Origin, err)
		return false
	}
	o.emit(operator.Output{Topic: o.kind.TopicOf(e.Kind), Kind: e.Kind.String(), V: event.Version, Key: key, Value: value})
	return true
}

func (o *Outlet) emit(out operator.Output) {
	o.Bytes += len(out.Value)
	o.Emit(out)
}

// Ignored implements decode.Sink.
func (o *Outlet) Ignored(reason string) {
	o.Records++
	o.metrics.ignored.WithLabelValues(reason).Inc()
}

// Dead implements decode.Sink.
func (o *Outlet) Dead(reason string, raw []byte, at event.Origin) { o.Bury(reason, raw, at, nil) }

// Bury is Dead with the error that was the cause, which may be nil.
func (o *Outlet) Bury(reason string, raw []byte, at event.Origin, cause error) {
	o.Records++
	o.Last = at
	o.bury(reason, raw, at, cause)
}

func (o *Outlet) bury(reason string, raw []byte, at event.Origin, cause error) {
	o.Letters++
	o.metrics.dead.WithLabelValues(reason).Inc()
	out := deadletter.New(o.kind.Source, reason, cause, deadletter.InFile(at), raw, o.Now).Output(topic.DeadLetter, o.letter[:0])
	o.letter = out.Value
	o.emit(out)
}
