package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Engine runs the operators of one service. See the package documentation.
type Engine struct {
	cfg     Config
	factory operator.Factory
	log     *slog.Logger
	metrics *metrics
	conn    connection
	epochs  epochs
	outputs map[string]bool // topics that may be emitted to
	proof   proof

	// set by Run
	ctx       context.Context //nolint:containedctx // the run's own, ended by fail
	hard      context.Context //nolint:containedctx // ends when the time to drain is over
	failed    context.CancelCauseFunc
	session   *kgo.GroupTransactSession
	adm       *kadm.Client
	statePart map[tp]int32
	topics    kadm.TopicDetails // at the start
	pulse     pulse
	aborts    int           // transactions aborted since the last commit
	slots     chan struct{} // restores at the same time

	orphans []tp // got records without having a worker

	trims sync.WaitGroup

	began      atomic.Int64               // when the current transaction did, in nanoseconds since 1970
	produceErr atomic.Pointer[error]      // of the current transaction
	client     atomic.Pointer[kgo.Client] // the session's, once it exists

	mu      sync.Mutex
	workers map[tp]*worker
	owned   map[tp]bool        // by the group's word, with or without a worker; nil before it
	fetched map[tp]assignment  // from the group's last offset fetch
	cancel  context.CancelFunc // ends the current poll
	awake   bool               // the next poll ends at once
	outEnds map[tp]int64       // one past the last known record of each output partition
}

// New makes an engine. It checks the configuration, with all problems at
// once, and registers metrics; nothing runs yet.
func New(cfg Config, factory operator.Factory, log *slog.Logger, reg prometheus.Registerer) (*Engine, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("stream %s: %w", cfg.Service, err)
	}
	return newEngineWith(cfg, factory, log, reg, proofFromEnvironment())
}

func newEngineWith(cfg Config, factory operator.Factory, log *slog.Logger, reg prometheus.Registerer, p proof) (*Engine, error) {
	if p.interval > 0 {
		cfg.CommitInterval = p.interval
	}
	m, err := newMetrics(reg, cfg.Service)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", cfg.Service, err)
	}
	e := &Engine{
		cfg: cfg, factory: factory, log: log, metrics: m, proof: p,
		conn: connection{
			service: cfg.Service, slot: cfg.Slot, brokers: cfg.Brokers, embedded: cfg.Embedded, options: slices.Concat(cfg.Options, p.options), log: log,
			sameID: p.breaks(sameID),
		},
		outputs: map[string]bool{}, workers: map[tp]*worker{}, fetched: map[tp]assignment{}, outEnds: map[tp]int64{},
	}
	for _, t := range append(slices.Clone(cfg.Outputs), cfg.DeadLetter) {
		e.outputs[t] = true
	}
	return e, nil
}

// SetEpoch declares an input from outside the log: a site file, thresholds, a
// list. It holds from the committed offset of each partition on, or from the
// next commit when the engine runs; bytes that hold already change nothing.
// Call it before Run for what the operators need for their first record, and
// only with data that they accept: Epoch of the operator must not fail.
func (e *Engine) SetEpoch(kind string, data []byte) error {
	if err := checkKind(kind); err != nil {
		return err
	}
	if e.epochs.set(kind, data) {
		e.wake()
	}
	return nil
}

// Ready reports whether the group was joined and the state of all assigned
// partitions is restored.
func (e *Engine) Ready() bool {
	cl := e.client.Load()
	if cl == nil {
		return false
	}
	if member, generation := cl.GroupMetadata(); member == "" || generation < 0 {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for t := range e.owned {
		if w := e.workers[t]; w == nil || !w.open.Load() {
			return false
		}
	}
	return e.owned != nil
}

// Run processes until ctx ends, then drains: it commits what is done and a
// snapshot of every partition. Any other end is an error, after which the
// process shall start again; it is safe to call Run only once.
func (e *Engine) Run(ctx context.Context) error {
	own, failed := context.WithCancelCause(context.WithoutCancel(ctx))
	defer failed(nil)
	e.ctx, e.failed = own, failed
	hard, over := context.WithCancel(context.WithoutCancel(ctx))
	defer over()
	e.hard = hard
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(e.cfg.DrainTimeout, over) })
	defer stop()
	e.slots = make(chan struct{}, max(runtime.GOMAXPROCS(0), 2))
	if err := e.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("stream %s: %w", e.cfg.Service, e.explained(err))
	}
	watching := e.watchers(ctx)
	err := e.loop(ctx)
	watching()
	why := err
	if err != nil {
		why = e.explained(err)
	}
	e.stop(err)
	if why != nil {
		return fmt.Errorf("stream %s: %w", e.cfg.Service, why)
	}
	e.log.Info("engine drained")
	return nil
}

// start connects, fences the predecessor and joins the group, in this order.
func (e *Engine) start(ctx context.Context) error {
	opts := append(producing(e.conn.transactionalID(""), txnTimeout),
		kgo.ConsumerGroup(e.cfg.Service),
		kgo.SessionTimeout(sessionTimeout),
		kgo.RebalanceTimeout(rebalanceTimeout),
		kgo.HeartbeatInterval(heartbeat),
		kgo.Balancers(observedBalancer{kgo.CooperativeStickyBalancer(), e.onJoined}),
		kgo.BlockRebalanceOnPoll(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset().AtStart()),
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.OnOffsetsFetched(e.onFetched),
		kgo.AdjustFetchOffsetsFn(e.onAssigned),
		kgo.OnPartitionsRevoked(e.onRevoked),
		kgo.OnPartitionsLost(e.onRevoked),
	)
	opts = append(opts, Fetching()...)
	if id := e.instanceID(); id != "" {
		opts = append(opts, kgo.InstanceID(id))
	}
	session, err := kgo.NewGroupTransactSession(e.conn.base(append(append(opts, kgo.WithHooks(&e.pulse)), e.proof.hooks...)...)...)
	if err != nil {
		return err
	}
	e.session = session
	cl := session.Client()
	e.client.Store(cl)
	e.adm = kadm.NewClient(cl)
	err = e.conn.waitForBroker(ctx)
	e.pulse.beat()
	if err == nil {
		err = e.readTopics(ctx)
	}
	if err == nil {
		// Fence before joining: this ends the predecessor's transaction, on
		// which the restores would wait.
		_, _, err = cl.ProducerID(ctx)
	}
	if err != nil {
		session.Close()
		return err
	}
	cl.AddConsumeTopics(e.cfg.Inputs...)
	return nil
}

// instanceID makes a slot a static member of the group: a restart takes the
// place of its predecessor at once, without waiting for its session to end. On
// the embedded broker that is needed: a member that dies while its join waits
// never expires there.
func (e *Engine) instanceID() string {
	if e.cfg.Slot == "" {
		return ""
	}
	return e.cfg.Service + "-" + e.cfg.Slot
}

// loop runs cycles until ctx ends, and then drains.
func (e *Engine) loop(ctx context.Context) error {
	for {
		abort, err := e.cycle(ctx)
		if err != nil {
			return err
		}
		if err := e.finish(abort, time.Time{}); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return e.drain()
		}
	}
}

// settled waits until the workers have taken note of the last commit and what
// they trim is trimmed.
func (e *Engine) settled(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, w := range e.list() {
			noted := make(chan struct{})
			if w.send(message{noted: noted}) {
				select {
				case <-noted:
				case <-w.ctx.Done():
				}
			}
		}
		e.trims.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// cycle begins a transaction and polls into it until it is time to commit.
// abort is why the transaction must not be committed.
func (e *Engine) cycle(ctx context.Context) (abort error, err error) {
	if err := e.session.Begin(); err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	e.proof.at(phaseBegun)
	e.produceErr.Store(nil)
	e.began.Store(time.Now().UnixNano())
	pollCtx, cancel := context.WithTimeout(ctx, e.cfg.CommitInterval)
	defer cancel()
	stop := context.AfterFunc(e.ctx, cancel)
	defer stop()
	e.mu.Lock()
	e.cancel = cancel
	if e.awake {
		e.awake = false
		cancel()
	}
	e.mu.Unlock()
	for bytes := 0; abort == nil && bytes < e.cfg.MaxBytes; {
		fetches := e.session.PollRecords(pollCtx, e.cfg.PollRecords)
		// From here on no rebalance happens until finish allows it.
		if e.ctx.Err() != nil {
			return nil, context.Cause(e.ctx)
		}
		if fetches.IsClientClosed() {
			return nil, kgo.ErrClientClosed
		}
		if err := e.fetchErrors(fetches); err != nil {
			return nil, err
		}
		n, why := e.dispatch(fetches)
		bytes += n
		abort = why
		if n > 0 {
			e.proof.at(phasePolled)
		}
		if pollCtx.Err() != nil {
			break
		}
	}
	return abort, nil
}

// pollRecords bounds one poll, and with the workers' queues what is in memory
// and must be processed before a commit.
const pollRecords = 10_000

// fetchErrors returns those that do not pass.
func (e *Engine) fetchErrors(fetches kgo.Fetches) error {
	for _, f := range fetches.Errors() {
		if errors.Is(f.Err, context.Canceled) || errors.Is(f.Err, context.DeadlineExceeded) {
			continue
		}
		if group, ok := errors.AsType[*kgo.ErrGroupSession](f.Err); ok {
			if err := e.groupError(group); err != nil {
				return err
			}
			continue
		}
		if errors.Is(f.Err, kerr.OffsetOutOfRange) {
			return fmt.Errorf("%s/%d: the position is not in the log (retention ran past it, or its end was lost): %w", f.Topic, f.Partition, f.Err)
		}
		if !kerr.IsRetriable(f.Err) {
			return fmt.Errorf("fetch %s/%d: %w", f.Topic, f.Partition, f.Err)
		}
		e.log.Warn("fetch", "topic", f.Topic, "partition", f.Partition, "error", f.Err)
	}
	return nil
}

// groupError returns the error of a group session if joining again is no
// remedy: the client does that by itself.
func (e *Engine) groupError(err *kgo.ErrGroupSession) error {
	switch known, isKafka := errors.AsType[*kerr.Error](error(err)); {
	case errors.Is(err, kerr.FencedInstanceID):
		return fmt.Errorf("another instance runs as slot %q: %w", e.cfg.Slot, err)
	case !isKafka || known.Retriable || errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.RebalanceInProgress):
		e.log.Warn("group session lost, joining again", "error", err)
		return nil
	}
	return err
}

// dispatch hands the records to the workers and returns their bytes.
func (e *Engine) dispatch(fetches kgo.Fetches) (bytes int, abort error) {
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		t := tp{p.Topic, p.Partition}
		e.mu.Lock()
		w := e.workers[t]
		e.mu.Unlock()
		if len(p.Records) == 0 {
			return
		}
		if w == nil || !w.open.Load() {
			if w == nil {
				e.orphans = append(e.orphans, t)
			}
			abort = fmt.Errorf("a record of %s came without state", t)
			return
		}
		for _, r := range p.Records {
			bytes += len(r.Key) + len(r.Value)
		}
		w.logStart.Store(max(p.LogStartOffset, 0))
		// Before they are handed over: they are given back to their pool then.
		lag := p.HighWatermark - p.Records[len(p.Records)-1].Offset - 1
		w.send(message{records: p.Records})
		e.metrics.setLag(t, lag)
	})
	return bytes, abort
}

// wake ends the current poll, so that what waits for a commit gets one.
func (e *Engine) wake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cancel != nil {
		e.cancel()
	}
	e.awake = true
}

// fail ends the engine with an error; the first one counts.
func (e *Engine) fail(err error) { e.failed(err) }

// list returns the restored workers in order.
func (e *Engine) list() []*worker {
	e.mu.Lock()
	defer e.mu.Unlock()
	var ws []*worker
	for _, t := range slices.SortedFunc(maps.Keys(e.workers), tp.compare) {
		if w := e.workers[t]; w.ready.Load() {
			ws = append(ws, w)
		}
	}
	return ws
}

// drain writes a whole snapshot of every partition at the committed offset.
func (e *Engine) drain() error {
	if e.ctx.Err() != nil {
		return context.Cause(e.ctx)
	}
	// A little earlier than the commit must end.
	deadline := time.Now().Add(e.cfg.DrainTimeout * 3 / 4)
	if err := e.session.Begin(); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	e.produceErr.Store(nil)
	// A poll that returns at once: it keeps rebalances out.
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	e.session.PollRecords(gone, 1)
	return e.finish(nil, deadline)
}

// stop leaves the group and ends the workers. What it waits for is bounded by a
// quarter of the time to drain, on top of that.
func (e *Engine) stop(err error) {
	cl := e.session.Client()
	ctx, cancel := context.WithTimeout(context.Background(), e.cfg.DrainTimeout/4)
	defer cancel()
	if err != nil && !errors.Is(err, errUnknownOutcome) {
		// So that readers of the outputs need not wait for its time-out.
		e.session.AllowRebalance()
		if _, err := e.session.End(ctx, kgo.TryAbort); err != nil {
			e.log.Debug("abort at the end", "error", err)
		}
	}
	e.session.AllowRebalance()
	if err == nil {
		e.settled(ctx)
	}
	left := cl.LeaveGroupContext(ctx)
	if id := e.instanceID(); id != "" && err == nil {
		// A static member does not leave by itself. After a failure it
		// stays: the restart takes its place.
		_, leftErr := e.adm.LeaveGroup(ctx, kadm.LeaveGroup(e.cfg.Service).InstanceIDs(id).Reason("drained"))
		left = errors.Join(left, leftErr)
	}
	if left != nil {
		e.log.Debug("leave the group", "error", left)
	}
	e.session.CloseAllowingRebalance()
	e.mu.Lock()
	defer e.mu.Unlock()
	for t, w := range e.workers {
		w.cancel()
		delete(e.workers, t)
		e.metrics.forget(t)
	}
}
