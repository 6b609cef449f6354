package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// ProducerConfig of a Producer.
type ProducerConfig struct {
	// Service, Slot, Brokers, Embedded and Options are as in Config. Two
	// producers of one service need two slots.
	Service  string
	Slot     string
	Brokers  []string
	Embedded bool
	Options  []kgo.Opt
	// StallTimeout is as in Config.
	StallTimeout time.Duration
}

// ByKey as the Partition of a Record places it by the hash of its key.
const ByKey = byKey

// Record is one record to produce.
type Record struct {
	Topic string
	// Partition is a number, or ByKey.
	Partition int32
	// Kind and V become the headers "kind" and "v"; an empty kind has none.
	Kind string
	V    int
	// Key and Value are copied. A nil Value deletes the key on a compacted
	// topic.
	Key, Value []byte
}

// Producer writes events and the positions that belong to them in one
// transaction: the producing side of an ingest service. Except for Produce it
// is for one goroutine.
//
// After an error of Begin, Commit or Abort the outcome of the transaction is
// unknown: the process ends, starts again, fences this one and reads its
// positions (R4).
type Producer struct {
	conn  connection
	stall time.Duration
	cl    *kgo.Client
	adm   *kadm.Client
	inTxn bool
	err   atomic.Pointer[error] // of the current transaction
	proof proof
}

// NewProducer makes a producer; Start connects it.
func NewProducer(cfg ProducerConfig, log *slog.Logger) (*Producer, error) {
	if cfg.Service == "" || len(cfg.Brokers) == 0 {
		return nil, errors.New("producer: service and brokers are needed")
	}
	if cfg.StallTimeout <= 0 {
		cfg.StallTimeout = time.Minute
	}
	pr := proofFromEnvironment()
	return &Producer{
		conn: connection{
			service: cfg.Service, slot: cfg.Slot, brokers: cfg.Brokers, embedded: cfg.Embedded, options: slices.Concat(cfg.Options, pr.options), log: log,
			sameID: pr.breaks(sameID),
		},
		stall: cfg.StallTimeout, proof: pr,
	}, nil
}

// Start waits for a broker, logging why it is not reachable, and fences the
// predecessor of the same slot: what that had not committed is void, and what
// it had can be read.
func (p *Producer) Start(ctx context.Context) error {
	cl, err := kgo.NewClient(p.conn.base(append(append(producing(p.conn.transactionalID("-ingest"), txnTimeout),
		kgo.ProducerLinger(5*time.Millisecond)), p.proof.hooks...)...)...)
	if err != nil {
		return fmt.Errorf("producer: %w", err)
	}
	if err := p.conn.waitForBroker(ctx); err != nil {
		cl.Close()
		return err
	}
	if _, _, err := cl.ProducerID(ctx); err != nil {
		cl.Close()
		if why := p.conn.refusal(err); why != nil {
			return why
		}
		return fmt.Errorf("producer: fence the predecessor: %w", err)
	}
	p.cl, p.adm = cl, kadm.NewClient(cl)
	return nil
}

// Close ends the connection. A transaction that is open is aborted.
func (p *Producer) Close() {
	if p.cl == nil {
		return
	}
	if p.inTxn {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := p.Abort(ctx); err != nil {
			p.conn.log.Debug("abort at the end", "error", err)
		}
	}
	p.cl.Close()
	p.cl = nil
}

// Partitions is the number of partitions of a topic.
func (p *Producer) Partitions(ctx context.Context, topic string) (int32, error) {
	details, err := p.adm.ListTopics(ctx, topic)
	if err != nil {
		return 0, fmt.Errorf("list topic %s: %w", topic, err)
	}
	d, ok := details[topic]
	if !ok || d.Err != nil {
		return 0, fmt.Errorf("topic %s: %w", topic, errors.Join(d.Err, errNoTopic))
	}
	return int32(len(d.Partitions)), nil
}

// Begin begins a transaction. It must end within ten seconds.
func (p *Producer) Begin() error {
	if err := p.cl.BeginTransaction(); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	p.err.Store(nil)
	p.inTxn = true
	p.proof.at(phaseBegun)
	return nil
}

// Produce adds a record to the transaction. It waits while too much is
// unsent; an error shows in Commit.
func (p *Producer) Produce(ctx context.Context, rec Record) {
	buf := make([]byte, len(rec.Key)+len(rec.Value))
	n := copy(buf, rec.Key)
	copy(buf[n:], rec.Value)
	r := &kgo.Record{Topic: rec.Topic, Partition: rec.Partition, Key: buf[:n:n]}
	if rec.Value != nil {
		r.Value = buf[n:]
	}
	if rec.Kind != "" {
		r.Headers = []kgo.RecordHeader{{Key: "kind", Value: []byte(rec.Kind)}, {Key: "v", Value: []byte(strconv.Itoa(rec.V))}}
	}
	p.cl.Produce(ctx, r, func(r *kgo.Record, err error) {
		if err != nil {
			err = fmt.Errorf("produce to %s: %w", r.Topic, err)
			p.err.CompareAndSwap(nil, &err)
		}
	})
}

// Emit adds an output to the transaction, placed by its key.
func (p *Producer) Emit(ctx context.Context, o operator.Output) {
	p.Produce(ctx, Record{Topic: o.Topic, Partition: ByKey, Kind: o.Kind, V: o.V, Key: o.Key, Value: o.Value})
}

// Commit commits the transaction. Nothing of it is visible before, and all of
// it after. It does not heed the end of ctx once it has begun, but gives up
// after twice the transaction's time-out.
func (p *Producer) Commit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*txnTimeout)
	defer cancel()
	p.proof.at(phaseSealed)
	if err := p.cl.Flush(ctx); err != nil {
		if why := p.conn.diagnose(context.WithoutCancel(ctx)); why != nil {
			return why
		}
		return fmt.Errorf("flush: %w", err)
	}
	p.proof.at(phaseFlushed)
	if err := p.err.Load(); err != nil {
		if why := p.conn.refusal(*err); why != nil {
			return why
		}
		return errors.Join(*err, p.Abort(ctx))
	}
	p.inTxn = false
	if err := p.cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return fmt.Errorf("%w: %w", errUnknownOutcome, err)
	}
	p.proof.at(phaseCommitted)
	return nil
}

// Abort ends the transaction without a trace.
func (p *Producer) Abort(ctx context.Context) error {
	p.inTxn = false
	if err := p.cl.AbortBufferedRecords(ctx); err != nil {
		return fmt.Errorf("abort: %w", err)
	}
	if err := p.cl.EndTransaction(ctx, kgo.TryAbort); err != nil {
		return fmt.Errorf("abort: %w", err)
	}
	return nil
}

// ReadAll hands the committed records of a topic to fn, from its start to its
// end at the time of the call, in order per partition. Records are valid
// after fn returned.
func (p *Producer) ReadAll(ctx context.Context, topic string, fn func(*kgo.Record) error) error {
	n, err := p.Partitions(ctx, topic)
	if err != nil {
		return err
	}
	from := map[tp]int64{}
	for i := range n {
		from[tp{topic, i}] = -1
	}
	return p.conn.readToEnd(ctx, from, p.stall, fn)
}

// Ends returns the end offset of each partition of a topic: records of a
// transaction that begins now lie there or behind. Stored with a position, it
// is where ReadFrom looks for what a half-done commit of the embedded broker
// has published beyond that position.
func (p *Producer) Ends(ctx context.Context, topic string) (map[int32]int64, error) {
	listed, err := p.adm.ListEndOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list ends of %s: %w", topic, err)
	}
	ends := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	return ends, nil
}

// ReadFrom is ReadAll from the given offsets on; what is not in the log any
// more is passed over, partitions that are not named are not read.
func (p *Producer) ReadFrom(ctx context.Context, topic string, offsets map[int32]int64, fn func(*kgo.Record) error) error {
	ends := map[tp]int64{}
	for i, o := range offsets {
		ends[tp{topic, i}] = o
	}
	from, err := clampToLog(ctx, p.adm, ends)
	if err != nil {
		return err
	}
	return p.conn.readToEnd(ctx, from, p.stall, fn)
}

// Trim deletes the records below the given offsets, for topics whose records
// are rewritten since the embedded broker compacts nothing. The last record of
// a partition must stay: internal/broker says why.
func (p *Producer) Trim(ctx context.Context, topic string, below map[int32]int64) error {
	var offsets kadm.Offsets
	for i, o := range below {
		offsets.AddOffset(topic, i, o, -1)
	}
	res, err := p.adm.DeleteRecords(ctx, offsets)
	if err == nil {
		err = res.Error()
	}
	if err != nil {
		return fmt.Errorf("trim %s: %w", topic, err)
	}
	return nil
}
