package ingest

import (
	"context"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/deadletter"
	"github.com/ebbwatch/ebbwatch/internal/ingest/tail"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// FutureAfter is how far ahead of its arrival an event may be before it is
// flagged and moves no watermark (DESIGN §2 law 2).
const FutureAfter = 10 * time.Minute

// reasonUnencodable is the reason of a dead record that was decoded to an
// event which has no JSON form.
const reasonUnencodable = "unencodable"

// Complete fills in what decoders leave to ingest but for Observer.Name and
// Future: the realm, if the source has none of its own, the direction, and the
// keys under which the event belongs into its topic.
func Complete(e *event.Event, s *site.Site, p *site.Placement) {
	if e.Observer.Realm == "" {
		e.Observer.Realm = s.Realm(e.Flow.VPC, e.Observer.Name)
	}
	s.Place(e, p)
}

// transaction collects what is written until the next commit.
type transaction struct {
	producer *stream.Producer
	kind     Kind
	site     *site.Site
	embedded bool
	metrics  *metrics
	marks    *watermarks
	loss     func(*event.Event)
	sent     published

	open  bool
	began time.Time
	bytes int
	now   time.Time                  // of the turn at hand
	ends  map[string]map[int32]int64 // of the service's topics, as it began; on the embedded broker
	err   error                      // of Begin; the service ends with it

	place  site.Placement
	value  []byte
	letter []byte
}

// begin makes sure that a transaction is open.
func (t *transaction) begin(ctx context.Context) bool {
	if t.open || t.err != nil {
		return t.err == nil
	}
	if t.embedded {
		t.ends = map[string]map[int32]int64{}
		for _, name := range t.kind.Topics {
			if t.ends[name], t.err = t.producer.Ends(ctx, name); t.err != nil {
				return false
			}
		}
	}
	if t.err = t.producer.Begin(); t.err != nil {
		return false
	}
	t.open, t.began = true, t.now
	return true
}

func (t *transaction) produce(ctx context.Context, r stream.Record) {
	t.bytes += len(r.Key) + len(r.Value)
	t.producer.Produce(ctx, r)
}

// sink takes the records of one group of files, or of the webhook, into the
// transaction.
type sink struct {
	*transaction
	ctx      context.Context //nolint:containedctx // decode.Sink has none; it lives as long as the service
	source   string          // for metrics
	name     string          // Observer.Name
	realm    string          // Observer.Realm, "" where the site decides
	lateness time.Duration
	feed     feed
	webhook  bool

	group *tail.Group // nil for the webhook
	// records counts outcomes, deads those that are dead.
	records, deads int
}

// Event implements decode.Sink.
func (s *sink) Event(e *event.Event) {
	s.records++
	if !s.begin(s.ctx) {
		return
	}
	e.Observer.Name, e.Observer.Realm = s.name, s.realm
	e.Future = e.Time > s.now.Add(FutureAfter).UnixMicro()
	Complete(e, s.site, &s.place)
	if !s.write(e, s.place.Key) {
		return
	}
	if len(s.place.Mirror) > 0 {
		e.Role = event.RoleMirror
		s.write(e, s.place.Mirror)
		e.Role = ""
	}
	s.metrics.event(e.Kind)
	if e.Kind == event.KindHealth && s.loss != nil {
		s.loss(e)
	}
	s.marks.saw(e, s.feed, s.lateness, s.webhook, s.now.UnixMicro())
	if s.group != nil && !e.Future {
		s.group.Progress = max(s.group.Progress, e.Time)
	}
}

// write encodes and produces one event; false where it became a dead letter.
func (s *sink) write(e *event.Event, key []byte) bool {
	value, err := e.Append(s.value[:0])
	if err != nil {
		s.bury(reasonUnencodable, nil, e.Origin, err)
		return false
	}
	s.value = value
	if s.sent.take(key, value) {
		s.metrics.suppressed.Inc()
		return true
	}
	s.produce(s.ctx, stream.Record{Topic: s.kind.TopicOf(e.Kind), Partition: stream.ByKey, Kind: e.Kind.String(), V: event.Version, Key: key, Value: value})
	return true
}

// Ignored implements decode.Sink.
func (s *sink) Ignored(reason string) {
	s.records++
	s.metrics.ignored.WithLabelValues(reason).Inc()
}

// Dead implements decode.Sink.
func (s *sink) Dead(reason string, raw []byte, at event.Origin) {
	s.records++
	s.bury(reason, raw, at, nil)
}

func (s *sink) bury(reason string, raw []byte, at event.Origin, cause error) {
	s.deads++
	s.metrics.dead.WithLabelValues(reason).Inc()
	if !s.begin(s.ctx) {
		return
	}
	letter := deadletter.New(s.kind.Source, reason, cause, deadletter.InFile(at), raw, s.now.UnixMicro())
	value, err := letter.Append(s.letter[:0])
	if err != nil {
		s.err = err // its fields are text and numbers: this cannot be
		return
	}
	s.letter = value
	s.produce(s.ctx, stream.Record{
		Topic: topic.DeadLetter, Partition: stream.ByKey, Kind: deadletter.Kind, V: deadletter.Version, Key: []byte(s.kind.Source), Value: value,
	})
}
