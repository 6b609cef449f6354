package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/internal/ingest/tail"
	"github.com/ebbwatch/ebbwatch/internal/ingest/webhook"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
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

	sources []Source
	sets    []*tail.Set
	sinks   map[*tail.Group]*sink
	picker  tail.Picker
	watch   *tail.Watch

	partitions int32
	lastMark   time.Time
	lastFull   time.Time
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
}

// New checks the configuration. Errors of it join all problems.
func New(kind Kind, cfg Config, w World) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Webhook.Listen != "" && !kind.accepts(input.Falco) {
		return nil, fmt.Errorf("webhook.listen: %s has no webhook", kind.Service)
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
	if h := cfg.Webhook; h.Listen != "" && !cfg.Once {
		s.server = webhook.New(webhook.Config{Listen: h.Listen, Token: h.Token, MaxBody: h.MaxBody, Queue: h.Queue}, s.Deliver, w.Registerer, w.Log)
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

// Ready is closed once positions are known and reading begins.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// fullMark is how often a mark speaks of all sources.
const fullMark = 30 * time.Second

// Run reads until ctx ends, or, with Config.Once, to the end of what is there.
// It returns after a last commit with a closing mark. It is called once.
func (s *Service) Run(ctx context.Context) error {
	if err := s.start(ctx); err != nil {
		return err
	}
	defer s.producer.Close()
	defer s.close()
	reading, served := s.serve(ctx)
	err := s.loop(reading)
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
	if s.partitions, err = s.producer.Partitions(ctx, s.kind.Topic); err != nil {
		return err
	}
	embedded := s.world.Kafka.Embedded
	s.book = &book{producer: s.producer, prefix: s.kind.Service + "/" + s.world.Kafka.Slot + "/"}
	files, marks, ends, err := s.book.load(ctx)
	if err != nil {
		return err
	}
	s.txn = &transaction{
		producer: s.producer, kind: s.kind, site: s.world.Site, embedded: embedded, metrics: s.metrics, marks: s.marks,
	}
	if embedded {
		if len(ends) > 0 {
			if s.txn.sent, err = s.book.findPublished(ctx, s.kind.Topic, ends); err != nil {
				return err
			}
		}
		if s.book.written > 2*len(files)+1000 {
			if err := s.book.compact(ctx); err != nil {
				return err
			}
		}
	}
	now := time.Now()
	if len(marks) > 0 {
		if err := s.marks.load(marks, now); err != nil {
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
		transaction: s.txn, ctx: context.WithoutCancel(ctx), source: s.cfg.Webhook.Name, name: s.cfg.Webhook.Name,
		realm: s.cfg.Webhook.Realm, feed: always{}, webhook: true,
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

// loop reads and commits until ctx ends or, once, nothing is left.
func (s *Service) loop(ctx context.Context) error {
	first := true
	for ctx.Err() == nil {
		now := time.Now()
		s.txn.now = now
		s.look(now, first)
		if first {
			first = false
			close(s.ready)
		}
		worked := s.receive()
		worked = s.read() || worked
		if s.txn.err != nil {
			return s.txn.err
		}
		if err := s.commitIfDue(ctx, time.Now(), worked); err != nil {
			return err
		}
		if worked {
			continue
		}
		if s.cfg.Once {
			return nil
		}
		s.wait(ctx)
	}
	return ctx.Err()
}

// look finds out what files there are and which have grown.
func (s *Service) look(now time.Time, first bool) {
	s.rescan = s.watch.Rescan() || s.rescan
	interval := s.cfg.RescanInterval
	if !s.watch.Works() {
		interval = min(interval, max(s.cfg.PollInterval, time.Second))
	}
	switch {
	case first, !s.cfg.Once && (s.rescan && now.Sub(s.lastScan) >= rescanPause || now.Sub(s.lastScan) >= interval):
		s.rescan = false
		for i, set := range s.sets {
			if err := set.Scan(now); err != nil && now.Sub(s.complained) > time.Minute {
				s.complained = now
				s.log.Warn("paths of a source cannot be read", "source", s.sources[i].id(), "error", err)
			}
		}
		s.lastScan, s.lastPeek = now, now
		s.watch.Follow(s.sets...)
		s.count()
	case !s.cfg.Once && now.Sub(s.lastPeek) >= peekInterval:
		for _, set := range s.sets {
			set.Peek(now)
		}
		s.lastPeek = now
	}
}

// How often open files and folders are looked at when notifications pour in.
const (
	peekInterval = 20 * time.Millisecond
	rescanPause  = 100 * time.Millisecond
)

func (s *Service) count() {
	var known, open int
	var failed uint64
	for _, set := range s.sets {
		k, o := set.Files()
		known, open = known+k, open+o
		failed += set.Errors
	}
	s.metrics.files.WithLabelValues("known").Set(float64(known))
	s.metrics.files.WithLabelValues("open").Set(float64(open))
	s.metrics.fileErrors.Add(float64(failed - s.fileErrors))
	s.fileErrors = failed
	s.lag(s.txn.now)
}

// Bounds of one turn at a file.
const (
	turnBytes   = 256 << 10
	turnRecords = 1024
	// aheadTime is how far, in event time, one log may run ahead of the
	// others before it is their turn.
	aheadTime = 30 * time.Second
)

// read takes one turn at the file that is furthest behind.
func (s *Service) read() bool {
	file, set, limit := s.picker.Next(s.sets, func(set int, g *tail.Group) decode.Sink { return s.sinkOf(set, g) })
	if file == nil {
		return false
	}
	k := s.sinkOf(set, file.Group())
	before := k.group.Progress
	if limit < 1<<62 {
		limit += aheadTime.Microseconds()
	}
	var read int64
	start := k.records
	for read < turnBytes && k.records-start < turnRecords && k.group.Progress <= limit && s.txn.bytes < s.cfg.CommitBytes && s.txn.err == nil {
		n, err := file.Read(k)
		read += n
		if err != nil {
			break
		}
	}
	if k.group.Progress == before && limit < 1<<62 {
		// It has nothing to say: others come first until it has.
		k.group.Progress = max(before, limit-aheadTime.Microseconds())
	}
	s.metrics.records.WithLabelValues(k.source).Add(float64(k.records - start))
	s.metrics.bytes.WithLabelValues(k.source).Add(float64(max(read, 0)))
	return true
}

func (s *Service) sinkOf(set int, g *tail.Group) *sink {
	k := s.sinks[g]
	if k == nil {
		src := &s.sources[set]
		k = &sink{
			transaction: s.txn, ctx: s.hook.ctx, source: src.id(), name: g.Observer, realm: src.Realm,
			lateness: src.Lateness, feed: g, group: g,
		}
		s.sinks[g] = k
	}
	return k
}

// wait waits for something to do.
func (s *Service) wait(ctx context.Context) {
	now := time.Now()
	until := s.cfg.PollInterval
	if s.txn.open {
		until = min(until, s.txn.began.Add(s.cfg.CommitInterval).Sub(now))
	}
	if s.rescan {
		until = min(until, rescanPause)
	}
	until = min(until, s.lastMark.Add(s.cfg.MarkInterval).Sub(now))
	if !s.txn.open && !s.marks.pending() {
		until = min(s.cfg.PollInterval, s.lastFull.Add(fullMark).Sub(now))
	}
	timer := time.NewTimer(max(until, time.Millisecond))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-s.watch.Wake():
	case d := <-s.requests:
		s.txn.now = time.Now()
		s.take(d)
	}
}

// commitIfDue commits what was read when it is time, and marks what has
// changed.
func (s *Service) commitIfDue(ctx context.Context, now time.Time, worked bool) error {
	full := now.Sub(s.lastFull) >= fullMark
	mark := full || now.Sub(s.lastMark) >= s.cfg.MarkInterval
	reason := ""
	switch {
	case s.txn.open && s.txn.bytes >= s.cfg.CommitBytes:
		reason = "size"
	case s.txn.open && now.Sub(s.txn.began) >= s.cfg.CommitInterval:
		reason = "interval"
	case s.txn.open && !worked && s.cfg.Once:
		return nil // the closing mark comes
	case !s.txn.open && mark && (full || s.marks.pending()):
		reason = "mark"
	default:
		return nil
	}
	return s.commit(ctx, now, reason, mark, full, false)
}

// commit writes positions and the mark, and commits. It does not heed the end
// of ctx.
func (s *Service) commit(ctx context.Context, now time.Time, reason string, mark, full, closing bool) error {
	ctx = context.WithoutCancel(ctx)
	s.txn.now = now
	if !s.txn.begin(ctx) {
		return s.txn.err
	}
	at := now.UnixMicro()
	for i, set := range s.sets {
		source := s.sources[i].id()
		var err error
		set.Positions(func(p tail.Position) {
			if err == nil {
				err = s.book.file(ctx, source, p, at)
			}
		})
		if err != nil {
			return err
		}
		for _, key := range set.Forgotten(now) {
			s.book.forget(ctx, source, key)
		}
	}
	if s.txn.embedded {
		// A closing commit leaves nothing half done behind it.
		ends := stored{At: at, Ends: s.txn.ends}
		if closing {
			ends.Ends = nil
		}
		if err := s.book.put(ctx, "ends", ends); err != nil {
			return err
		}
	}
	if mark {
		if err := s.mark(ctx, now, full, closing); err != nil {
			return err
		}
	}
	err := s.producer.Commit(ctx)
	s.txn.open, s.txn.bytes = false, 0
	if err != nil {
		return err
	}
	took := time.Since(now)
	s.metrics.commits.WithLabelValues(reason).Inc()
	s.metrics.commitTime.Observe(took.Seconds())
	s.answer(nil)
	s.lag(now)
	if s.txn.embedded && s.book.written > compactAfter && !closing {
		return s.book.compact(ctx)
	}
	return nil
}

// mark writes the mark to every partition, as the last records of the
// transaction.
func (s *Service) mark(ctx context.Context, now time.Time, full, closing bool) error {
	m := event.Mark{Instance: s.kind.Service + "/" + s.world.Kafka.Slot, Closing: closing}
	s.marks.mark(&m, full)
	raw, err := s.marks.append(nil)
	if err != nil {
		return fmt.Errorf("streams: %w", err)
	}
	if err := s.book.put(ctx, "streams", stored{At: now.UnixMicro(), Streams: raw}); err != nil {
		return err
	}
	value, err := m.Append(nil)
	if err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	for p := range s.partitions {
		s.txn.produce(ctx, stream.Record{
			Topic: s.kind.Topic, Partition: p, Kind: event.KindMark.String(), V: event.Version, Key: []byte(m.Instance), Value: value,
		})
	}
	s.lastMark = now
	if full {
		s.lastFull = now
	}
	s.metrics.unmarked.Add(float64(s.marks.unmarked))
	s.marks.unmarked = 0
	return nil
}

// lag tells how far the newest event lies behind.
func (s *Service) lag(now time.Time) {
	newest := s.marks.newest()
	if newest == 0 {
		return
	}
	s.metrics.newest.Set(float64(newest) / 1e6)
	if s.world.Lag != nil {
		s.world.Lag(s.kind.Stage, now.Sub(time.UnixMicro(newest)))
	}
}

// drain takes the requests that wait, and commits a last time.
func (s *Service) drain(ctx context.Context) error {
	s.txn.now = time.Now()
	for s.receive() {
	}
	if s.txn.err != nil {
		return s.txn.err
	}
	return s.commit(ctx, time.Now(), "drain", true, true, true)
}
