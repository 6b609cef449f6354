package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/internal/ingest/tail"
	"github.com/ebbwatch/ebbwatch/internal/ingest/webhook"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/pkg/decode/falco"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// World is what a service needs of the outside.
type World struct {
	// Kafka says how to reach the brokers. Service is filled in; Slot is the
	// instance, unique among those of the service and the same after a
	// restart: positions belong to it.
	Kafka      stream.ProducerConfig
	Site       *site.Site
	Log        *slog.Logger
	Registerer prometheus.Registerer
	// Lag is told how far the newest event lies behind; nil: nobody is.
	Lag func(stage string, lag time.Duration)
	// Loss is told what sensors say about their own losses; nil: nobody is.
	// The event is valid during the call only.
	Loss func(e *event.Event)
}

// Service is one ingest service. New is inert, Run does everything.
type Service struct {
	kind  Kind
	cfg   Config
	world World
	log   *slog.Logger

	metrics  *metrics
	producer *stream.Producer
	book     *book
	txn      *transaction
	marks    *watermarks
	changed  atomic.Pointer[site.Site] // by SetSite, until the loop takes it
	outside  *Outside

	sources []Source
	sets    []*tail.Set
	sinks   map[*tail.Group]*sink
	picker  tail.Picker
	watch   *tail.Watch

	partitions []int32 // of each of the topics
	lastMark   time.Time
	lastFull   time.Time
	adopted    bool // streams of before the start have their feeds
	lastScan   time.Time
	lastPeek   time.Time
	rescan     bool
	complained time.Time
	fileErrors uint64

	requests chan *delivery
	answers  []*delivery // wait for the commit
	alerts   *falco.Decoder
	hook     *sink
	ready    chan struct{}
	draining chan struct{}
	server   *webhook.Server // nil: none
	live     *live           // nil: none
	liveSink *sink
}

// New checks the configuration. Errors of it join all problems.
func New(kind Kind, cfg Config, w World) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Webhook.Listen != "" && !kind.accepts(input.Falco) {
		return nil, fmt.Errorf("webhook.listen: %s has no webhook", kind.Service)
	}
	if cfg.S3.Enabled() && !kind.Objects() {
		return nil, fmt.Errorf("s3: %s reads no objects", kind.Service)
	}
	if cfg.PubSub.Enabled() && !kind.Messages() {
		return nil, fmt.Errorf("pubsub.subscriptions: %s reads no messages", kind.Service)
	}
	if cfg.Capture.Interface != "" && !kind.accepts(input.Pcap) {
		return nil, fmt.Errorf("capture.interface: %s reads no packets", kind.Service)
	}
	if w.Kafka.Slot == "" {
		return nil, errors.New("kafka.instance: is empty")
	}
	if cfg.CommitInterval == 0 {
		cfg.CommitInterval = pick(w.Kafka.Embedded, time.Second, 200*time.Millisecond)
	}
	if cfg.MarkInterval == 0 {
		cfg.MarkInterval = pick(w.Kafka.Embedded, 5*time.Second, time.Second)
	}
	w.Kafka.Service = kind.Service
	s := &Service{
		kind: kind, cfg: cfg, world: w, log: w.Log, metrics: newMetrics(w.Registerer), sources: cfg.all(),
		marks: newWatermarks(), sinks: map[*tail.Group]*sink{}, requests: make(chan *delivery, cfg.Webhook.Queue),
		alerts: falco.New(), ready: make(chan struct{}), draining: make(chan struct{}),
	}
	s.outside = &Outside{kind: kind, metrics: s.metrics, seen: map[streamKey]*observed{}}
	if h := cfg.Webhook; h.Listen != "" && !cfg.Once {
		s.server = webhook.New(webhook.Config{Listen: h.Listen, Token: h.Token, MaxBody: h.MaxBody, Queue: h.Queue, Windows: s.Announce}, s.Deliver, w.Registerer, w.Log)
	}
	return s, nil
}

func pick(embedded bool, yes, no time.Duration) time.Duration {
	if embedded {
		return yes
	}
	return no
}

func sorted(errs []error) []error {
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errs
}

// SetSite makes another site valid for the records that are read from now on.
// It may be called at any time.
func (s *Service) SetSite(st *site.Site) { s.changed.Store(st) }

// Ready is closed once positions are known and reading begins.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Run reads until ctx ends, or, with Config.Once, to the end of what is there.
// It returns after a last commit with a closing mark. It is called once.
func (s *Service) Run(ctx context.Context) error {
	if err := s.start(ctx); err != nil {
		return err
	}
	defer s.producer.Close()
	defer s.close()
	reading, served := s.serve(ctx)
	captured := s.listen(reading)
	err := s.loop(reading)
	captured()
	if err == nil || errors.Is(err, context.Canceled) {
		err = s.drain(context.WithoutCancel(ctx))
	}
	s.answer(err)
	close(s.draining) // who waits still is told to come again
	if err = errors.Join(err, served()); err != nil {
		return fmt.Errorf("%s: %w", s.kind.Service, err)
	}
	return nil
}

// serve runs the webhook beside the loop. The context that it returns ends
// after that of the service: the webhook stops first, and what it has
// accepted is committed. served waits for its end.
func (s *Service) serve(ctx context.Context) (reading context.Context, served func() error) {
	if s.server == nil {
		return ctx, func() error { return nil }
	}
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	serving, stopServing := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		defer stop()
		ended <- s.server.Run(serving)
	}()
	return reading, func() error {
		stopServing()
		return <-ended
	}
}

func (s *Service) start(ctx context.Context) (err error) {
	if s.producer, err = stream.NewProducer(s.world.Kafka, s.log); err != nil {
		return err
	}
	if err := s.producer.Start(ctx); err != nil {
		return err
	}
	if err := s.restore(ctx); err != nil {
		s.producer.Close()
		return fmt.Errorf("%s: %w", s.kind.Service, err)
	}
	return nil
}

// restore reads the positions and makes the sets of files of them.
func (s *Service) restore(ctx context.Context) (err error) {
	for _, name := range s.kind.Topics {
		n, err := s.producer.Partitions(ctx, name)
		if err != nil {
			return err
		}
		s.partitions = append(s.partitions, n)
	}
	embedded := s.world.Kafka.Embedded
	s.book = &book{producer: s.producer, prefix: s.kind.Service + "/" + s.world.Kafka.Slot + "/"}
	files, marks, ends, err := s.book.load(ctx)
	if err != nil {
		return err
	}
	s.txn = &transaction{
		ctx: context.WithoutCancel(ctx), producer: s.producer, topics: s.kind.Topics, embedded: embedded, metrics: s.metrics, marks: s.marks,
		loss: s.world.Loss, outlet: s.outside.Outlet(),
	}
	s.txn.outlet.Site, s.txn.outlet.Emit = s.world.Site, s.txn.emit
	if embedded {
		s.txn.sent = published{}
		for i, name := range s.kind.Topics {
			if from := ends[endsKey(i, name)]; len(from) > 0 {
				if err := s.book.findPublished(ctx, name, from, s.txn.sent); err != nil {
					return err
				}
			}
		}
		if s.book.written > 2*len(files)+1000 {
			if err := s.book.compact(ctx); err != nil {
				return err
			}
		}
	}
	now := time.Now()
	for _, m := range marks {
		if err := s.marks.load(m, now); err != nil {
			return err
		}
	}
	for i := range s.sources {
		s.sets = append(s.sets, tail.New(s.tailing(&s.sources[i]), s.log))
	}
	for _, f := range files {
		p, err := tail.DecodePosition(f.File)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(s.sources, func(src Source) bool { return src.id() == f.Source }); i >= 0 {
			s.sets[i].Load(p, now)
		}
	}
	s.hook = &sink{
		transaction: s.txn, source: s.cfg.Webhook.Name, name: s.cfg.Webhook.Name,
		realm: s.cfg.Webhook.Realm, feed: always{}, webhook: true,
	}
	if s.cfg.Capture.Interface != "" {
		if err := s.capture(); err != nil {
			return err
		}
	}
	s.watch = tail.NewWatch(s.log)
	s.log.Info("reading", "sources", len(s.sources), "positions", len(files))
	return nil
}

// always is a feed that has nothing in stock.
type always struct{}

// CaughtUp implements feed.
func (always) CaughtUp() bool { return true }

func (s *Service) tailing(src *Source) tail.Config {
	name := src.Name
	return tail.Config{
		Paths: src.Paths, Once: s.cfg.Once, Settle: s.cfg.Settle, FinishAfter: s.cfg.FinishAfter, Forget: s.cfg.Forget,
		MaxFiles: s.cfg.MaxFiles, Input: src.options(&s.cfg), Accept: s.kind.accepts,
		Observer: func(root, path string) string {
			if name != "" {
				return name
			}
			return input.ObserverName(root, path)
		},
	}
}

func (s *Service) close() {
	for _, set := range s.sets {
		set.Close()
	}
	if err := s.watch.Close(); err != nil {
		s.log.Debug("end of the notifications", "error", err)
	}
}
