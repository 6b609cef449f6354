package ingest

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Outside is how another reader of the same service (internal/ingest/objects),
// which commits its events by itself, takes part in its metrics and marks: an
// instance writes one mark. It is safe for concurrent use.
type Outside struct {
	kind     Kind
	metrics  *metrics
	attached atomic.Bool

	mu   sync.Mutex
	seen map[streamKey]*observed
}

type streamKey struct {
	typ, name, realm string
	kind             event.Kind
}

// observed is what was committed of one stream since the last mark.
type observed struct {
	newest  int64
	records uint64
	event   event.Event // of its stream; for watermarks.of
}

// Outside returns the door of the service for another reader. Who has one asks
// for it before Run: streams that such a reader met before a restart are then
// still read, though no file of theirs is.
func (s *Service) Outside() *Outside {
	s.outside.attached.Store(true)
	return s.outside
}

// Committed takes an event that was committed. Its strings are copied.
func (o *Outside) Committed(e *event.Event) {
	o.metrics.eventsVec.WithLabelValues(e.Kind.String()).Inc()
	o.mu.Lock()
	defer o.mu.Unlock()
	key := streamKey{e.Observer.Type, e.Observer.Name, e.Observer.Realm, e.Kind}
	st := o.seen[key]
	if st == nil {
		if len(o.seen) >= maxStreams {
			return
		}
		key.typ, key.name, key.realm = clone3(key.typ, key.name, key.realm)
		st = &observed{}
		st.event.Kind = e.Kind
		st.event.Observer = event.Observer{Type: key.typ, Name: key.name, Realm: key.realm}
		o.seen[key] = st
	}
	st.records++
	if !e.Future {
		st.newest = max(st.newest, e.Time)
	}
}

func clone3(a, b, c string) (x, y, z string) {
	all := a + b + c
	return all[:len(a)], all[len(a) : len(a)+len(b)], all[len(a)+len(b):]
}

// Read counts what was read of a source, decompressed where that is known.
func (o *Outside) Read(source string, records, bytes int64) {
	o.metrics.records.WithLabelValues(source).Add(float64(records))
	o.metrics.bytes.WithLabelValues(source).Add(float64(bytes))
}

// Dead counts a dead letter that no outlet has made.
func (o *Outside) Dead(reason string) { o.metrics.dead.WithLabelValues(reason).Inc() }

// Outlet makes an outlet of the service's events, which counts what is ignored and
// what is dead. Its Site and Emit are to be filled in.
func (o *Outside) Outlet() *Outlet { return &Outlet{kind: o.kind, metrics: o.metrics} }

// drain moves what was seen into the table of streams. That is no ordered
// source: nothing of it is ever caught up with.
func (o *Outside) drain(t *watermarks, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, st := range o.seen {
		delete(o.seen, key)
		st.event.Time = st.newest
		st.event.Future = st.newest == 0
		t.saw(&st.event, behind{}, 0, false, now.UnixMicro())
		if w := t.of(&st.event.Observer, st.event.Kind); w != nil {
			w.Records += st.records - 1
		}
	}
}

// behind is a feed that always has something in stock.
type behind struct{}

// CaughtUp implements feed.
func (behind) CaughtUp() bool { return false }
