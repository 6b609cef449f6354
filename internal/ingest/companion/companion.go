// Package companion is what the readers beside an ingest service have in common:
// those of objects, of messages and of topics that others write.
//
// # Invariants
//
//   - A companion commits its events by itself, through internal/stream. To the
//     outside it is one service with the ingest service: that has the marks and the
//     metrics (ingest.Outside).
//   - The site file is an epoch of its engine: which realm and which keys an event
//     gets follows from the records and the epochs, also after a restart. A changed
//     one holds from the next record on.
package companion

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// World is what a companion needs of the outside.
type World struct {
	// Kafka says how to reach the brokers; Service is filled in.
	Kafka stream.ProducerConfig
	// Supersedes is stream.Config.Supersedes; nil: different bytes replace.
	Supersedes func(kind string, held, declared []byte) bool
	Log        *slog.Logger
	Registerer prometheus.Registerer
	// Engine is the registerer of the engine's metrics, which have a label
	// for the service; nil is Registerer.
	Engine prometheus.Registerer
	// Outside is the ingest service that this one stands beside.
	Outside *ingest.Outside
}

// Companion runs the engine of a reader.
type Companion struct {
	kind   ingest.Kind
	world  World
	engine *stream.Engine
}

// minEmbedded is the shortest commit interval on the embedded broker.
const minEmbedded = time.Second

// New makes a companion. Of cfg the service, its topics and its times are given;
// a commit interval of 0 is 200 ms.
func New(kind ingest.Kind, w World, cfg stream.Config, factory operator.Factory) (*Companion, error) {
	c := &Companion{kind: kind, world: w}
	cfg.Slot, cfg.Brokers, cfg.Embedded, cfg.Options = w.Kafka.Slot, w.Kafka.Brokers, w.Kafka.Embedded, w.Kafka.Options
	cfg.Supersedes, cfg.OnCommitted = w.Supersedes, c.committed
	if cfg.CommitInterval == 0 {
		cfg.CommitInterval = 200 * time.Millisecond
	}
	if w.Kafka.Embedded {
		cfg.CommitInterval = max(cfg.CommitInterval, minEmbedded)
	}
	reg := w.Engine
	if reg == nil {
		reg = w.Registerer
	}
	var err error
	c.engine, err = stream.New(cfg, factory, w.Log, reg)
	return c, err
}

// committed tells the ingest service which events stand.
func (c *Companion) committed(outs []operator.Output) {
	var e event.Event
	for _, o := range outs {
		if c.kind.Writes(o.Topic) && event.Decode(o.Value, &e) == nil && e.Role != event.RoleMirror {
			c.world.Outside.Committed(&e)
		}
	}
}

// Ready reports whether it reads.
func (c *Companion) Ready() bool { return c.engine.Ready() }

// SetEpoch is that of stream.Engine. It may be called at any time.
func (c *Companion) SetEpoch(kind string, data []byte) error { return c.engine.SetEpoch(kind, data) }

// Read runs the engine until ctx ends.
func (c *Companion) Read(ctx context.Context) error { return c.engine.Run(ctx) }

// Sink is the part of a reader's operator that writes, and knows the site. All
// that the operator keeps beside it lies in buckets.
type Sink struct {
	ingest.Outlet
}

// NewSink makes the sink of one partition. Until an epoch says otherwise it is at
// the default site.
func NewSink(of *ingest.Outside, realm string) Sink {
	s := Sink{Outlet: *of.Outlet()}
	s.Site, s.Realm = site.Default(), realm
	return s
}

// Begin begins with the records of one record r of the log, which a sensor of that
// name has sent.
func (s *Sink) Begin(r *operator.Record, c operator.Context, name string) {
	s.Emit, s.Now, s.Name = c.Emit, r.Time, name
	s.Records, s.Letters, s.Bytes = 0, 0, 0
}

// Epoch implements operator.Operator. The code that runs is declared too
// (detect.EpochOperator).
func (s *Sink) Epoch(kind string, data []byte) error {
	switch kind {
	case detect.EpochOperator:
		return nil
	case detect.EpochSite:
		st, err := site.Parse(data)
		if err != nil {
			return err
		}
		s.Site = st
		return nil
	default:
		return fmt.Errorf("unknown epoch %q", kind)
	}
}

// AppendShared implements operator.Operator.
func (s *Sink) AppendShared(dst []byte) []byte { return dst }

// LoadShared implements operator.Operator.
func (s *Sink) LoadShared(data []byte) error {
	if len(data) > 0 {
		return fmt.Errorf("%w: %d bytes of shared state of an operator that has none", operator.ErrState, len(data))
	}
	return nil
}
