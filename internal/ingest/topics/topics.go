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
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/internal/deadletter"
	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// World is what a Service needs of the outside.
type World struct {
	// Kafka says how to reach the brokers; Service is filled in.
	Kafka      stream.ProducerConfig
	Site       *site.Site
	Log        *slog.Logger
	Registerer prometheus.Registerer
	// Outside is the ingest service that the topics belong to.
	Outside *ingest.Outside
}

// Service reads topics. New is inert, Run does everything.
type Service struct {
	kind   ingest.Kind
	cfg    *ingest.Config
	world  World
	engine *stream.Engine
}

// New makes the service of a valid configuration.
func New(kind ingest.Kind, cfg *ingest.Config, w World) (*Service, error) {
	s := &Service{kind: kind, cfg: cfg, world: w}
	commit := cfg.CommitInterval
	if commit == 0 {
		commit = 200 * time.Millisecond
	}
	if w.Kafka.Embedded {
		commit = max(commit, time.Second)
	}
	var err error
	s.engine, err = stream.New(stream.Config{
		Service: s.name(), Slot: w.Kafka.Slot, Brokers: w.Kafka.Brokers, Embedded: w.Kafka.Embedded, Options: w.Kafka.Options,
		Inputs: cfg.Topics.Read, Outputs: kind.Topics, CommitInterval: commit, OnCommitted: s.committed,
	}, s.operator, w.Log, w.Registerer)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Ready reports whether the topics are being read.
func (s *Service) Ready() bool { return s.engine.Ready() }

// Run reads until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	if err := s.prepare(ctx); err != nil {
		return fmt.Errorf("topics: %w", err)
	}
	if err := s.engine.Run(ctx); err != nil {
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

// committed tells the ingest service which events stand.
func (s *Service) committed(outs []operator.Output) {
	var e event.Event
	for _, o := range outs {
		if s.kind.Writes(o.Topic) && event.Decode(o.Value, &e) == nil && e.Role != event.RoleMirror {
			s.world.Outside.Committed(&e)
		}
	}
}

func (s *Service) operator(int32) (operator.Operator, error) {
	return &reader{s: s, decoders: map[string]decode.Lines{}}, nil
}

// reader is the operator of a partition.
type reader struct {
	s        *Service
	decoders map[string]decode.Lines // by topic
	sink     sink
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
	o.sink.s, o.sink.c, o.sink.now, o.sink.name, o.sink.records = o.s, c, r.Time, name, 0
	o.sink.at = event.Origin{Name: fmt.Sprintf("%s/%d", r.Topic, r.Partition), Offset: event.N(r.Offset)}
	for rest := r.Value; ; {
		line, more, found := bytes.Cut(rest, []byte{'\n'})
		if len(bytes.TrimSpace(line)) > 0 || !found && o.sink.records == 0 {
			dec.Line(line, o.sink.at, &o.sink)
		}
		if rest = more; !found {
			break
		}
	}
	o.s.world.Outside.Read(name, o.sink.records, int64(len(r.Value)))
	return nil
}

// Epoch implements operator.Operator; there are none.
func (o *reader) Epoch(kind string, _ []byte) error {
	return fmt.Errorf("topics: unknown epoch %q", kind)
}

// Buckets implements operator.Operator.
func (o *reader) Buckets() int { return 1 }

// AppendBucket implements operator.Operator; there is no state.
func (o *reader) AppendBucket(dst []byte, _ int) []byte { return dst }

// LoadBucket implements operator.Operator.
func (o *reader) LoadBucket(_ int, data []byte) error { return empty(data) }

// AppendShared implements operator.Operator; there is no state.
func (o *reader) AppendShared(dst []byte) []byte { return dst }

// LoadShared implements operator.Operator.
func (o *reader) LoadShared(data []byte) error { return empty(data) }

func empty(data []byte) error {
	if len(data) > 0 {
		return fmt.Errorf("%w: %d bytes of a service that has none", operator.ErrState, len(data))
	}
	return nil
}

// sink takes what the decoder reads of one record.
type sink struct {
	s       *Service
	c       operator.Context
	now     int64 // append time of the record
	name    string
	at      event.Origin
	records int64

	place         site.Placement
	value, letter []byte
}

// reasonUnencodable is the reason of a record whose event has no JSON form.
const reasonUnencodable = "unencodable"

// Event implements decode.Sink.
func (k *sink) Event(e *event.Event) {
	k.records++
	e.Observer.Name, e.Observer.Realm = k.name, k.s.cfg.Topics.Realm
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
