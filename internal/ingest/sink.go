package ingest

import (
	"context"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/deadletter"
	"github.com/ebbwatch/ebbwatch/internal/ingest/tail"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// transaction collects what is written until the next commit.
type transaction struct {
	ctx      context.Context //nolint:containedctx // decode.Sink has none; it lives as long as the service
	producer *stream.Producer
	topics   []string // of the service
	embedded bool
	metrics  *metrics
	marks    *watermarks
	loss     func(*event.Event)
	sent     published
	outlet   *Outlet // of all sinks

	open  bool
	began time.Time
	bytes int
	now   time.Time                  // of the turn at hand
	ends  map[string]map[int32]int64 // of the service's topics, as it began; on the embedded broker
	err   error                      // of Begin; the service ends with it
}

// begin makes sure that a transaction is open.
func (t *transaction) begin(ctx context.Context) bool {
	if t.open || t.err != nil {
		return t.err == nil
	}
	if t.embedded {
		t.ends = map[string]map[int32]int64{}
		for _, name := range t.topics {
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

// emit takes what comes out of the outlet.
func (t *transaction) emit(o operator.Output) {
	switch {
	case !t.begin(t.ctx):
	case o.Kind != deadletter.Kind && t.sent.take(o.Key, o.Value):
		t.metrics.suppressed.Inc()
	default:
		t.bytes += len(o.Key) + len(o.Value)
		t.producer.Emit(t.ctx, o)
	}
}

// sink takes the records of one group of files, or of the webhook, into the
// transaction.
type sink struct {
	*transaction

	source   string // for metrics
	name     string // Observer.Name
	realm    string // Observer.Realm, "" where the site decides
	lateness time.Duration
	feed     feed
	webhook  bool
	group    *tail.Group // nil for the webhook
}

// out is the outlet for the record at hand.
func (s *sink) out() *Outlet {
	o := s.outlet
	o.Name, o.Realm, o.Now = s.name, s.realm, s.now.UnixMicro()
	return o
}

// Event implements decode.Sink.
func (s *sink) Event(e *event.Event) {
	if !s.out().Put(e) || s.err != nil {
		return
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

// Ignored implements decode.Sink.
func (s *sink) Ignored(reason string) { s.out().Ignored(reason) }

// Dead implements decode.Sink.
func (s *sink) Dead(reason string, raw []byte, at event.Origin) { s.out().Dead(reason, raw, at) }
