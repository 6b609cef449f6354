package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// errStalled is returned when a read makes no progress: the end of a log is
// never guessed from silence.
var errStalled = errors.New("no progress")

// reader options: committed records and control records, and an error instead
// of a jump when an offset is not in the log.
func (c *connection) readClient(from map[tp]int64) (*kgo.Client, error) {
	parts := map[string]map[int32]kgo.Offset{}
	for t, offset := range from {
		if parts[t.topic] == nil {
			parts[t.topic] = map[int32]kgo.Offset{}
		}
		at := kgo.NewOffset().At(offset)
		if offset < 0 {
			at = kgo.NewOffset().AtStart()
		}
		parts[t.topic][t.partition] = at
	}
	return kgo.NewClient(c.base(
		kgo.ConsumePartitions(parts),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(500*time.Millisecond),
		// What a restore holds beside the state itself: several run at once.
		kgo.FetchMaxBytes(8<<20),
		kgo.FetchMaxPartitionBytes(4<<20),
	)...)
}

// read reads partitions from the given offsets (< 0: from the start) and hands
// every record, control records too, to fn until done has said yes for each
// partition, given the offset of a record. fn comes first.
func (c *connection) read(ctx context.Context, from map[tp]int64, stall time.Duration, done func(tp, int64) bool, fn func(*kgo.Record) error) error {
	if len(from) == 0 {
		return nil
	}
	cl, err := c.readClient(from)
	if err != nil {
		return err
	}
	defer cl.Close()
	left := make(map[tp]bool, len(from))
	for t := range from {
		left[t] = true
	}
	for len(left) > 0 {
		try, cancel := context.WithTimeout(ctx, stall)
		fetches := cl.PollFetches(try)
		timedOut := try.Err() != nil && ctx.Err() == nil
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if timedOut && fetches.NumRecords() == 0 {
			for t := range left {
				return fmt.Errorf("read %s: %w for %s", t, errStalled, stall)
			}
		}
		for _, e := range fetches.Errors() {
			t := tp{e.Topic, e.Partition}
			if errors.Is(e.Err, kerr.OffsetOutOfRange) {
				return fmt.Errorf("read %s: offset %d is not in the log (trimmed or lost): %w", t, from[t], e.Err)
			}
			if !kerr.IsRetriable(e.Err) && !errors.Is(e.Err, context.DeadlineExceeded) {
				return fmt.Errorf("read %s: %w", t, e.Err)
			}
		}
		for iter := fetches.RecordIter(); !iter.Done(); {
			r := iter.Next()
			t := tp{r.Topic, r.Partition}
			if !left[t] {
				continue
			}
			if err := fn(r); err != nil {
				return err
			}
			if done(t, r.Offset) {
				delete(left, t)
			}
		}
	}
	return nil
}

// readRange hands the records of [from, to) to fn. The record at to−1 must
// exist.
func (c *connection) readRange(ctx context.Context, t tp, from, to int64, stall time.Duration, fn func(*kgo.Record) error) error {
	if from >= to {
		return nil
	}
	last := from - 1
	err := c.read(ctx, map[tp]int64{t: from}, stall, func(_ tp, offset int64) bool { return offset >= to-1 }, func(r *kgo.Record) error {
		last = r.Offset
		if r.Offset >= to {
			return nil
		}
		return fn(r)
	})
	if err == nil && last != to-1 {
		return fmt.Errorf("read %s: the record before the committed offset %d is missing, the next is at %d", t, to, last)
	}
	return err
}

// readToEnd hands all committed records from the given offsets (< 0: from the
// start) to the end of each partition to fn. The end is a barrier, see the
// package documentation.
func (c *connection) readToEnd(ctx context.Context, from map[tp]int64, stall time.Duration, fn func(*kgo.Record) error) error {
	if len(from) == 0 {
		return nil
	}
	parts := make([]tp, 0, len(from))
	for t := range from {
		parts = append(parts, t)
	}
	ends, err := c.barrier(ctx, parts)
	if err != nil {
		return err
	}
	return c.readUntil(ctx, from, ends, stall, fn)
}

// readUntil is readToEnd with the ends that a barrier gave.
func (c *connection) readUntil(ctx context.Context, from, ends map[tp]int64, stall time.Duration, fn func(*kgo.Record) error) error {
	// The aborted record itself is filtered; its marker, behind it, is not.
	return c.read(ctx, from, stall, func(t tp, offset int64) bool { return offset > ends[t] }, func(r *kgo.Record) error {
		if r.Attrs.IsControl() {
			return nil
		}
		return fn(r)
	})
}

// barrier writes one record to each partition in a transaction, aborts it, and
// returns their offsets: whatever was written before lies below them.
func (c *connection) barrier(ctx context.Context, parts []tp) (map[tp]int64, error) {
	once := connection{service: c.service, slot: "", embedded: c.embedded}
	cl, err := kgo.NewClient(c.base(producing(once.transactionalID("-barrier"), txnTimeout)...)...)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		return nil, fmt.Errorf("barrier: %w", err)
	}
	records := make([]*kgo.Record, len(parts))
	for i, t := range parts {
		records[i] = &kgo.Record{Topic: t.topic, Partition: t.partition, Key: []byte("barrier")}
	}
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return nil, fmt.Errorf("barrier: %w", err)
	}
	if err := cl.EndTransaction(ctx, kgo.TryAbort); err != nil {
		return nil, fmt.Errorf("barrier: %w", err)
	}
	ends := make(map[tp]int64, len(parts))
	for _, r := range records {
		ends[tp{r.Topic, r.Partition}] = r.Offset
	}
	return ends, nil
}
