package objects

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"golang.org/x/sync/errgroup"

	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/ingest/companion"
	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// Service reads announced objects. New is inert, Run does everything.
type Service struct {
	*companion.Companion

	kind    ingest.Kind
	cfg     *ingest.Config
	world   companion.World
	metrics *metrics
	store   *store
}

// New makes the service of a valid configuration.
func New(kind ingest.Kind, cfg *ingest.Config, w companion.World) (*Service, error) {
	s := &Service{kind: kind, cfg: cfg, world: w, metrics: newMetrics(w.Registerer)}
	s.store = newStore(kind, cfg, func(bucket string, n int) { w.Outside.Read(sourceOf(cfg.S3.Name, bucket), 0, int64(n)) })
	var err error
	s.Companion, err = companion.New(kind, w, stream.Config{
		Service: kind.Service, Inputs: []string{topic.Objects}, Outputs: append(slices.Clone(kind.Topics), topic.Objects), Feedback: true, PollRecords: 2,
		CommitInterval: cfg.S3.CommitInterval, SnapshotCycle: cfg.S3.SnapshotCycle,
	}, s.operator)
	return s, err
}

func (s *Service) operator(int32) (operator.Operator, error) {
	return &reader{
		Sink: companion.NewSink(s.world.Outside, s.cfg.S3.Realm), kind: s.kind, store: s.store, name: s.cfg.S3.Name,
		outside: s.world.Outside, metrics: s.metrics, log: s.world.Log,
	}, nil
}

// sourceOf is the sensor of what an object holds.
func sourceOf(name, bucket string) string {
	if name == "" {
		return bucket
	}
	return name
}

func newStore(kind ingest.Kind, cfg *ingest.Config, read func(bucket string, n int)) *store {
	return &store{
		maxObject: cfg.S3.MaxObject, accepts: kind.Accepts, columns: cfg.S3.Columns, maxLine: cfg.MaxLine,
		limits: input.Limits{Bytes: cfg.MaxExpanded, Ratio: cfg.MaxRatio}, maxRecords: uint64(cfg.S3.MaxRecords),
		usual: kind.Formats[0], part: partRecords, read: read,
	}
}

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
	a := newAnnouncer(producer, kafka.Embedded)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.run(ctx) })
	g.Go(func() error { return s.Read(ctx) })
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
