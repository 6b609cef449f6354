package pubsub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/ingest/companion"
	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// lease is for how long Pub/Sub holds a message for us at a time: after that it
// comes again to another process where this one has died.
const lease = 20 * time.Second

// maxPause bounds the pause after failures of a subscription.
const maxPause = 30 * time.Second

type metrics struct {
	messages *prometheus.CounterVec // by result
	failures prometheus.Counter
}

// Service pulls messages. New is inert, Run does everything.
type Service struct {
	*companion.Companion

	kind    ingest.Kind
	cfg     *ingest.Config
	world   companion.World
	metrics metrics
	// acknowledge takes a message whose record is committed.
	acknowledge func(*pubsub.Message)
}

// New makes the service of a valid configuration.
func New(kind ingest.Kind, cfg *ingest.Config, w companion.World) (*Service, error) {
	s := &Service{kind: kind, cfg: cfg, world: w, acknowledge: (*pubsub.Message).Ack}
	s.metrics = metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "ebbwatch", Subsystem: "pubsub", Name: "messages_total", Help: "Messages received, redeliveries among them, by what became of them: taken or dead.",
		}, []string{"result"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "ebbwatch", Subsystem: "pubsub", Name: "failures_total", Help: "Times that a subscription could not be read on.",
		}),
	}
	w.Registerer.MustRegister(s.metrics.messages, s.metrics.failures)
	var err error
	s.Companion, err = companion.New(kind, w, stream.Config{
		Service: kind.Service, Inputs: []string{topic.Objects}, Outputs: slices.Clone(kind.Topics), CommitInterval: cfg.CommitInterval,
	}, s.operator)
	return s, err
}

func (s *Service) operator(int32) (operator.Operator, error) {
	dec, err := input.NewDecoder(s.kind.Formats[0], input.Options{MaxLine: s.cfg.MaxLine})
	if err != nil {
		return nil, err
	}
	return &reader{Sink: companion.NewSink(s.world.Outside, s.cfg.PubSub.Realm), s: s, dec: dec}, nil
}

// sensor is the name of what a subscription delivers.
func (s *Service) sensor(subscription string) string {
	if s.cfg.PubSub.Name != "" {
		return s.cfg.PubSub.Name
	}
	return subscription[strings.LastIndexByte(subscription, '/')+1:]
}

// Run reads until ctx ends. Subscriptions stop first; what they have delivered by
// then is committed and acknowledged.
func (s *Service) Run(ctx context.Context) error {
	client, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	kafka := s.world.Kafka
	kafka.Service = s.kind.Service + "-messages"
	producer, err := stream.NewProducer(kafka, s.world.Log)
	if err != nil {
		return err
	}
	if err := producer.Start(ctx); err != nil {
		producer.Close()
		return fmt.Errorf("pubsub: %w", err)
	}
	w := &writer{s: s, producer: producer, letters: s.world.Outside.Outlet(), in: make(chan delivery), pause: 50 * time.Millisecond, ended: make(chan struct{})}
	if kafka.Embedded {
		w.pause = time.Second // every transaction costs memory there
	}
	g, ctx := errgroup.WithContext(ctx)
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	g.Go(func() error { return w.run(writing) })
	g.Go(func() error { return s.Read(ctx) })
	var receivers sync.WaitGroup
	for _, name := range s.cfg.PubSub.Subscriptions {
		receivers.Go(func() { s.receive(ctx, client, s.cfg.PubSub.FullName(name), w) })
	}
	g.Go(func() error {
		receivers.Wait()
		stopWriting()
		return nil
	})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("pubsub: %w", err)
	}
	return nil
}

// receive pulls a subscription until ctx ends.
func (s *Service) receive(ctx context.Context, client *pubsub.Client, name string, w *writer) {
	limit := s.cfg.PubSub.MaxOutstanding
	each := max(int64(maxWaiting/limit), 1) // a message counts as so many bytes at least
	room := semaphore.NewWeighted(maxWaiting)
	pause := time.Duration(0)
	for ctx.Err() == nil {
		sub := client.Subscriber(name)
		sub.ReceiveSettings.MaxOutstandingMessages, sub.ReceiveSettings.MaxOutstandingBytes = limit, maxWaiting
		sub.ReceiveSettings.MaxDurationPerAckExtension = lease
		began := time.Now()
		err := sub.Receive(ctx, func(_ context.Context, m *pubsub.Message) {
			cost := min(max(int64(len(m.Data)), each), maxWaiting)
			w.take(ctx, room, cost, delivery{subscription: name, msg: m})
		})
		if ctx.Err() != nil {
			return
		}
		s.metrics.failures.Inc()
		if time.Since(began) > maxPause {
			pause = 0
		}
		pause = min(maxPause, max(time.Second, 2*pause))
		s.world.Log.Warn("subscription cannot be read", "subscription", name, "retry_in", pause, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// connect makes the client, with the credentials of the environment as all of
// Google's tools do.
func (s *Service) connect(ctx context.Context) (*pubsub.Client, error) {
	c := &s.cfg.PubSub
	project := strings.Split(c.FullName(c.Subscriptions[0]), "/")[1]
	var opts []option.ClientOption
	if c.Endpoint != "" {
		opts = append(opts, option.WithEndpoint(c.Endpoint), option.WithoutAuthentication(),
			option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	}
	client, err := pubsub.NewClient(ctx, project, opts...)
	if err != nil {
		return nil, fmt.Errorf("pubsub: %w", err)
	}
	return client, nil
}
