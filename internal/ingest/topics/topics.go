// Package topics reads topics that others write on the same cluster: Zeek's Kafka
// writer, falcosidekick, log shippers, rsyslog.
//
//	zeek, falco, … (any partitioning) ─► engine ─► events by their keys, dead letters
//
// # Invariants
//
//   - Offsets and events are one transaction (internal/stream): each record is read
//     once, whatever dies.
//   - Records stand in no order that could be relied on (formats.md §3.11): what
//     is read here is a claim, never a promise, to the marks.
//   - A record is one document, or several lines of one each.
//   - The first start reads a topic from its beginning; what stands there is what
//     the topic's retention keeps.
//
// The operator keeps nothing of what it reads, so its state is empty.
package topics

import (
	"bytes"
	"cmp"
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/ingest/companion"
	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// Service reads topics. New is inert, Run does everything.
type Service struct {
	*companion.Companion

	kind  ingest.Kind
	cfg   *ingest.Config
	world companion.World
}

// New makes the service of a valid configuration.
func New(kind ingest.Kind, cfg *ingest.Config, w companion.World) (*Service, error) {
	s := &Service{kind: kind, cfg: cfg, world: w}
	var err error
	s.Companion, err = companion.New(kind, w, stream.Config{
		Service: s.name(), Inputs: cfg.Topics.Read, Outputs: kind.Topics, CommitInterval: cfg.CommitInterval,
	}, s.operator)
	return s, err
}

// Run reads until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	if err := s.prepare(ctx); err != nil {
		return fmt.Errorf("topics: %w", err)
	}
	if err := s.Read(ctx); err != nil {
		return fmt.Errorf("topics: %w", err)
	}
	return nil
}

// prepare makes the topic of the engine's own notes, which has a partition for
// each partition that is read.
func (s *Service) prepare(ctx context.Context) error {
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(s.world.Kafka.Brokers...)}, s.world.Kafka.Options...)...)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	found, err := adm.ListTopics(ctx, s.cfg.Topics.Read...)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	var partitions int32
	for _, name := range s.cfg.Topics.Read {
		t, ok := found[name]
		if err := t.Err; !ok || err != nil {
			return fmt.Errorf("topics.read: topic %q cannot be read: %w", name, cmp.Or[error](err, kerr.UnknownTopicOrPartition))
		}
		partitions += int32(len(t.Partitions))
	}
	_, err = topic.Ensure(ctx, adm, s.world.Kafka.Embedded, topic.Topic{
		Name: topic.StateName(s.name()), Partitions: partitions, Embedded: partitions, Cleanup: topic.Compact,
	})
	return err
}

// name is that of the consumer group: files and objects of the same service
// have others.
func (s *Service) name() string { return s.kind.Service + "-topics" }

func (s *Service) operator(int32) (operator.Operator, error) {
	return &reader{Sink: companion.NewSink(s.world.Outside, s.cfg.Topics.Realm), s: s, decoders: map[string]decode.Lines{}}, nil
}

// reader is the operator of a partition.
type reader struct {
	companion.Sink

	s        *Service
	decoders map[string]decode.Lines // by topic
}

// Apply implements operator.Operator.
func (o *reader) Apply(r *operator.Record, c operator.Context) error {
	dec := o.decoders[r.Topic]
	if dec == nil {
		format, _ := input.Hint(o.s.cfg.Topics.Format)
		if format == input.Unknown {
			format = o.s.kind.Formats[0]
		}
		var err error
		if dec, err = input.NewDecoder(format, input.Options{Name: r.Topic, MaxLine: o.s.cfg.MaxLine}); err != nil {
			return err
		}
		o.decoders[r.Topic] = dec
	}
	name := o.s.cfg.Topics.Name
	if name == "" {
		name = r.Topic
	}
	o.Begin(r, c, name)
	at := event.Origin{Name: fmt.Sprintf("%s/%d", r.Topic, r.Partition), Offset: event.N(r.Offset)}
	for rest := r.Value; ; {
		line, more, found := bytes.Cut(rest, []byte{'\n'})
		if len(bytes.TrimSpace(line)) > 0 || !found && o.Records == 0 {
			dec.Line(line, at, o)
		}
		if rest = more; !found {
			break
		}
	}
	o.s.world.Outside.Read(name, o.Records, int64(len(r.Value)))
	return nil
}

// Buckets implements operator.Operator.
func (o *reader) Buckets() int { return 1 }

// AppendBucket implements operator.Operator; there is no state.
func (o *reader) AppendBucket(dst []byte, _ int) []byte { return dst }

// LoadBucket implements operator.Operator.
func (o *reader) LoadBucket(_ int, data []byte) error { return o.LoadShared(data) }
