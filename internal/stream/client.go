package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// connection is what Engine and Producer share to reach the brokers.
type connection struct {
	service  string
	slot     string
	brokers  []string
	embedded bool
	options  []kgo.Opt
	log      *slog.Logger
	sameID   bool // of the proof
	// quiet is after how long without an answer watch asks why; 8 s by
	// default.
	quiet time.Duration
}

// base are the options of every client; extra come before the user's own.
func (c *connection) base(extra ...kgo.Opt) []kgo.Opt {
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.brokers...),
		kgo.ClientID("ebbwatch-" + c.service),
		kgo.WithLogger(kafkaLogger{c.log}),
		kgo.DisableClientMetrics(),
		// A broker that is away is retried here and logged by waitForBroker.
		kgo.RetryBackoffFn(func(int) time.Duration { return 100*time.Millisecond + rand.N(150*time.Millisecond) }),
	}
	opts = append(opts, extra...)
	return append(opts, c.options...)
}

// producing are the options of a client that writes.
func producing(txnID string, timeout time.Duration) []kgo.Opt {
	return []kgo.Opt{
		kgo.TransactionalID(txnID),
		kgo.TransactionTimeout(timeout),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.ZstdCompression(), kgo.SnappyCompression(), kgo.NoCompression()),
		kgo.RecordPartitioner(partitioner()),
		kgo.MaxBufferedBytes(64 << 20),
	}
}

// byKey is the partition of a record that is placed by the hash of its key.
const byKey = -1

// partitioner places a record where its Partition says, or, where that is
// byKey, as Kafka's own clients do by the hash of its key.
func partitioner() kgo.Partitioner { return placing{kgo.StickyKeyPartitioner(nil)} }

// PartitionOf is the partition of n in which a record with that key is placed by
// all that Ebbwatch writes.
func PartitionOf(key []byte, n int) int32 {
	return int32(kgo.StickyKeyPartitioner(nil).ForTopic("").Partition(&kgo.Record{Key: key}, n))
}

type placing struct{ kgo.Partitioner }

func (p placing) ForTopic(topic string) kgo.TopicPartitioner {
	return placingTopic{p.Partitioner.ForTopic(topic)}
}

type placingTopic struct{ kgo.TopicPartitioner }

func (p placingTopic) RequiresConsistency(r *kgo.Record) bool {
	return r.Partition >= 0 || p.TopicPartitioner.RequiresConsistency(r)
}

func (p placingTopic) Partition(r *kgo.Record, n int) int {
	if r.Partition >= 0 {
		return int(r.Partition)
	}
	return p.TopicPartitioner.Partition(r, n)
}

// transactionalID is stable for a slot on a cluster, so that the next start
// fences this one; on the embedded broker, and without a slot, it is fresh.
func (c *connection) transactionalID(role string) string {
	id := "ebbwatch-" + c.service + role
	if c.slot != "" && (!c.embedded || c.sameID) {
		return id + "-" + c.slot
	}
	return id + "-" + c.slot + "-" + strconv.FormatUint(rand.Uint64(), 36)
}

// waitForBroker returns when a broker answers. It logs once a try why not, and
// gives up when one answers that it will have nothing of us (ErrRefused).
func (c *connection) waitForBroker(ctx context.Context) error {
	const first, last = 500 * time.Millisecond, 10 * time.Second
	no := 0
	for wait := first; ; wait = min(2*wait, last) {
		err, why := c.ask(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if why == nil {
			no = 0
		} else if no++; no >= refusals {
			return why
		} else {
			err = why
		}
		//nolint:sloglint // the line that a person waits for, in one piece
		c.log.Warn(fmt.Sprintf("broker %s is not reachable, retrying in %s: %s", c.brokers[0], wait, cause(err)))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// cause is the innermost useful text of a connection error.
func cause(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err.Error()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer"
	}
	return err.Error()
}

// kafkaLogger hands the client's log on. What it calls information is a line
// for every transaction, so it goes to debug.
type kafkaLogger struct{ log *slog.Logger }

func (l kafkaLogger) Level() kgo.LogLevel {
	ctx := context.Background()
	switch {
	case l.log.Enabled(ctx, slog.LevelDebug):
		return kgo.LogLevelInfo
	case l.log.Enabled(ctx, slog.LevelWarn):
		return kgo.LogLevelWarn
	case l.log.Enabled(ctx, slog.LevelError):
		return kgo.LogLevelError
	}
	return kgo.LogLevelNone
}

func (l kafkaLogger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	at := slog.LevelDebug
	switch level {
	case kgo.LogLevelError:
		at = slog.LevelError
	case kgo.LogLevelWarn:
		at = slog.LevelWarn
	case kgo.LogLevelInfo, kgo.LogLevelDebug, kgo.LogLevelNone:
	}
	attrs := make([]slog.Attr, 0, 1+len(keyvals)/2)
	attrs = append(attrs, slog.String("message", msg))
	for i := 0; i+1 < len(keyvals); i += 2 {
		key, _ := keyvals[i].(string)
		attrs = append(attrs, slog.Any(key, keyvals[i+1]))
	}
	l.log.LogAttrs(context.Background(), at, "kafka client", attrs...)
}
