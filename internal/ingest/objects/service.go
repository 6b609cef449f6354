package objects

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
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
	// Engine is the registerer of the engine's metrics, which have a label
	// for the service; nil is Registerer.
	Engine prometheus.Registerer
	// Outside is the ingest service that the objects belong to.
	Outside *ingest.Outside
}

// Service reads announced objects. New is inert, Run does everything.
type Service struct {
	kind    ingest.Kind
	cfg     *ingest.Config
	world   World
	metrics *metrics
	store   *store
	engine  *stream.Engine
}

// New makes the service of a valid configuration.
func New(kind ingest.Kind, cfg *ingest.Config, w World) (*Service, error) {
	s := &Service{kind: kind, cfg: cfg, world: w, metrics: newMetrics(w.Registerer)}
	s.store = newStore(kind, cfg, func(bucket string, n int) { w.Outside.Read(sourceOf(cfg.S3.Name, bucket), 0, int64(n)) })
	commit := cfg.S3.CommitInterval
	if w.Kafka.Embedded {
		commit = max(commit, time.Second)
	}
	reg := w.Engine
	if reg == nil {
		reg = w.Registerer
	}
	var err error
	s.engine, err = stream.New(stream.Config{
		Service: kind.Service, Slot: w.Kafka.Slot, Brokers: w.Kafka.Brokers, Embedded: w.Kafka.Embedded, Options: w.Kafka.Options,
		Inputs: []string{topic.Objects}, Outputs: append(slices.Clone(kind.Topics), topic.Objects), Feedback: true, PollRecords: 2,
		CommitInterval: commit, SnapshotCycle: cfg.S3.SnapshotCycle, OnCommitted: s.committed,
	}, s.operator, w.Log, reg)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Service) operator(int32) (operator.Operator, error) {
	return &reader{
		kind: s.kind, store: s.store, site: s.world.Site, name: s.cfg.S3.Name, realm: s.cfg.S3.Realm,
		outside: s.world.Outside, metrics: s.metrics, log: s.world.Log,
	}, nil
}

// committed tells the ingest service which events stand.
func (s *Service) committed(outs []operator.Output) {
	var e event.Event
	for _, o := range outs {
		if !s.kind.Writes(o.Topic) || event.Decode(o.Value, &e) != nil || e.Role == event.RoleMirror {
			continue
		}
		s.world.Outside.Committed(&e)
	}
}

func newStore(kind ingest.Kind, cfg *ingest.Config, read func(bucket string, n int)) *store {
	return &store{
		maxObject: cfg.S3.MaxObject, accepts: kind.Accepts, columns: cfg.S3.Columns, maxLine: cfg.MaxLine,
		limits: input.Limits{Bytes: cfg.MaxExpanded, Ratio: cfg.MaxRatio}, maxRecords: uint64(cfg.S3.MaxRecords),
		usual: kind.Formats[0], part: partRecords, read: read,
	}
}

// Ready reports whether objects are being read.
func (s *Service) Ready() bool { return s.engine.Ready() }

// Run reads until ctx ends. Queues and listings stop first; what they have
// announced is read by whoever comes next.
func (s *Service) Run(ctx context.Context) error {
	clients, err := connect(ctx, &s.cfg.S3)
	if err != nil {
		return err
	}
	s.store.client = clients.read
	kafka := s.world.Kafka
	kafka.Service = s.kind.Service + "-announce"
	producer, err := stream.NewProducer(kafka, s.world.Log)
	if err != nil {
		return err
	}
	a := newAnnouncer(s.kind.Source, producer, kafka.Embedded)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.run(ctx) })
	g.Go(func() error { return s.engine.Run(ctx) })
	for _, url := range s.cfg.S3.Queues {
		q := &queue{
			client: clients.sqs, url: url, kind: s.kind, buckets: s.cfg.S3.Buckets, announcer: a, metrics: s.metrics,
			outside: s.world.Outside, log: s.world.Log,
		}
		for range receivers {
			g.Go(func() error { return q.run(ctx) })
		}
	}
	from, to, err := s.cfg.S3.Span()
	if err != nil {
		return err // it was validated
	}
	for _, text := range s.cfg.S3.List {
		bucket, prefix, _ := ingest.Place(text)
		l := &listing{
			client: clients.list, bucket: bucket, prefix: prefix, from: from, to: to, interval: s.cfg.S3.ListInterval,
			kind: s.kind, announcer: a, metrics: s.metrics, log: s.world.Log,
		}
		g.Go(func() error { return l.run(ctx) })
	}
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("objects: %w", err)
	}
	return nil
}

type clients struct {
	sqs        *sqs.Client
	list, read *s3.Client
}

// connect makes the clients of AWS, from the environment as all AWS tools do.
func connect(ctx context.Context, c *ingest.S3) (clients, error) {
	var opts []func(*config.LoadOptions) error
	if c.Region != "" {
		opts = append(opts, config.WithRegion(c.Region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return clients{}, fmt.Errorf("AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return clients{}, errors.New("AWS configuration: no region: set s3.region or AWS_REGION")
	}
	var endpoint *string
	if c.Endpoint != "" {
		endpoint = aws.String(c.Endpoint)
	}
	s3Options := func(o *s3.Options) {
		o.BaseEndpoint, o.UsePathStyle = endpoint, endpoint != nil
		o.DisableLogOutputChecksumValidationSkipped = true
	}
	return clients{
		// Reading happens inside of a transaction: a failure is told soon, and
		// the object tried again in another one.
		read: s3.NewFromConfig(cfg, s3Options, func(o *s3.Options) {
			o.HTTPClient = transport(answerTime)
			o.Retryer = retry.NewStandard(func(r *retry.StandardOptions) { r.MaxAttempts, r.MaxBackoff = 2, 500*time.Millisecond })
		}),
		list: s3.NewFromConfig(cfg, s3Options, func(o *s3.Options) { o.HTTPClient = transport(30 * time.Second) }),
		sqs: sqs.NewFromConfig(cfg, func(o *sqs.Options) {
			o.BaseEndpoint = endpoint
			o.HTTPClient = transport((waitSeconds + 15) * time.Second)
		}),
	}, nil
}
