package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Range is a part of the log of an input partition: the offsets From ≤ o < To.
type Range struct {
	Topic     string
	Partition int32
	From, To  int64
}

// Bounds of what Merged holds of a partition that is ahead of the others.
const (
	aheadMost  = 20_000 // records; then it waits
	aheadLeast = 5_000  // and goes on
)

// Merged hands the committed records of several ranges to fn, control records
// too: in the order of each partition, and between partitions in the order of
// append time, then of the list of ranges. This order is a function of the
// logs, whatever comes first over the network. It reads a record of each
// partition ahead at least, and waits no longer than the configuration's
// StallTimeout for one.
func (a *Archive) Merged(ctx context.Context, ranges []Range, fn func(*kgo.Record) error) error {
	m := merge{byTP: map[tp]*mergeQueue{}}
	from := map[tp]int64{}
	for _, r := range ranges {
		if r.From >= r.To {
			continue
		}
		t := tp{r.Topic, r.Partition}
		if m.byTP[t] != nil {
			return fmt.Errorf("%s is to be read twice", t)
		}
		q := &mergeQueue{tp: t, to: r.To, open: true}
		m.queues, m.byTP[t], from[t] = append(m.queues, q), q, r.From
	}
	if len(from) == 0 {
		return nil
	}
	cl, err := a.eng.conn.readClient(from)
	if err != nil {
		return err
	}
	defer cl.Close()
	for {
		for m.starving() {
			if err := a.fill(ctx, cl, &m, from); err != nil {
				return a.explained(err)
			}
		}
		q := m.first()
		if q == nil {
			return nil
		}
		r := q.records[q.head]
		q.records[q.head] = nil
		q.head++
		if err := fn(r); err != nil {
			return err
		}
		if q.paused && q.len() < aheadLeast {
			q.paused = false
			cl.ResumeFetchPartitions(map[string][]int32{q.tp.topic: {q.tp.partition}})
		}
	}
}

// fill takes what a poll brings.
func (a *Archive) fill(ctx context.Context, cl *kgo.Client, m *merge, from map[tp]int64) error {
	try, cancel := context.WithTimeout(ctx, a.eng.cfg.StallTimeout)
	fetches := cl.PollRecords(try, pollRecords)
	timedOut := try.Err() != nil && ctx.Err() == nil
	cancel()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if timedOut && fetches.NumRecords() == 0 {
		for _, q := range m.queues {
			if q.open && q.len() == 0 {
				return fmt.Errorf("read %s: %w for %s", q.tp, errStalled, a.eng.cfg.StallTimeout)
			}
		}
	}
	for _, e := range fetches.Errors() {
		t := tp{e.Topic, e.Partition}
		if errors.Is(e.Err, kerr.OffsetOutOfRange) {
			return fmt.Errorf("read %s: offset %d is not in the log any more: %w", t, from[t], e.Err)
		}
		if !kerr.IsRetriable(e.Err) && !errors.Is(e.Err, context.DeadlineExceeded) {
			return fmt.Errorf("read %s: %w", t, e.Err)
		}
	}
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		q := m.byTP[tp{p.Topic, p.Partition}]
		q.take(p.Records)
		if !q.open || (!q.paused && q.len() > aheadMost) {
			q.paused = true
			cl.PauseFetchPartitions(map[string][]int32{p.Topic: {p.Partition}})
		}
	})
	return nil
}

// merge is a merge of partitions.
type merge struct {
	queues []*mergeQueue
	byTP   map[tp]*mergeQueue
}

// mergeQueue is what was read of a partition and not handed on.
type mergeQueue struct {
	tp      tp
	to      int64
	records []*kgo.Record
	head    int
	open    bool // more follows
	paused  bool
	at      int64 // append time of the newest record handed on, milliseconds: time does not go back
}

func (q *mergeQueue) len() int { return len(q.records) - q.head }

func (q *mergeQueue) take(rs []*kgo.Record) {
	if q.head > 0 {
		n := copy(q.records, q.records[q.head:])
		clear(q.records[n:])
		q.records, q.head = q.records[:n], 0
	}
	for _, r := range rs {
		if r.Offset < q.to {
			q.records = append(q.records, r)
		}
		if r.Offset >= q.to-1 {
			q.open = false
			return
		}
	}
}

// starving says that the next record of a partition must be known first.
func (m *merge) starving() bool {
	for _, q := range m.queues {
		if q.open && q.len() == 0 {
			return true
		}
	}
	return false
}

// first is the queue with the earliest record, nil when all are done.
func (m *merge) first() *mergeQueue {
	var best *mergeQueue
	for _, q := range m.queues {
		if q.len() == 0 {
			continue
		}
		q.at = max(q.at, q.records[q.head].Timestamp.UnixMilli())
		if best == nil || q.at < best.at {
			best = q
		}
	}
	return best
}
