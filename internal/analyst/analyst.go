// Package analyst writes what people say to a running site: verdicts about
// alerts and deployment windows, as records of ebb.signals.v1, and purges of
// baselines, as records of the events' topics.
//
// Invariants:
//
//   - A verdict stands under the correlation domain of its alert, in the
//     partition whose correlator knows it. The domain is the key of the signals
//     that the alert rests on.
//   - What is said twice changes nothing twice: the correlator takes the same
//     answer, and the same window, once.
//   - Records are stamped when they are written. On a cluster the broker does
//     that; on the embedded one the client's stamp stands.
package analyst

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// Errors of the package.
var (
	// ErrUnknownAlert says that no alert of that id is on ebb.alerts.v1.
	ErrUnknownAlert = errors.New("no such alert")
	// ErrDomain says that the correlation domain must be given.
	ErrDomain = errors.New("correlation domain not known")
)

// patience bounds the wait for a broker that does not answer.
const patience = 20 * time.Second

// Client speaks to the brokers of a site. It is for one goroutine.
type Client struct {
	opts []kgo.Opt
	cl   *kgo.Client
	adm  *kadm.Client
}

// Open connects. It fails when no broker answers within 20 seconds.
func Open(ctx context.Context, opts []kgo.Opt) (*Client, error) {
	opts = append([]kgo.Opt{kgo.DisableClientMetrics(), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordDeliveryTimeout(patience)}, opts...)
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := cl.Ping(ctx); err != nil {
		cl.Close()
		return nil, fmt.Errorf("no broker answers: %w", err)
	}
	return &Client{opts: opts, cl: cl, adm: kadm.NewClient(cl)}, nil
}

// Close ends the connection.
func (c *Client) Close() { c.cl.Close() }

// write appends one record to ebb.signals.v1 and waits until it is kept.
func (c *Client) write(ctx context.Context, kind, domain string, value []byte) error {
	return c.writeTo(ctx, topic.Signals, kind, domain, value)
}

func (c *Client) writeTo(ctx context.Context, name, kind, key string, value []byte) error {
	// Without a time of its own the record gets that of this moment. It is
	// placed by the hash of its key, as all that Ebbwatch writes.
	r := &kgo.Record{
		Topic: name, Key: []byte(key), Value: value,
		Headers: []kgo.RecordHeader{{Key: "kind", Value: []byte(kind)}, {Key: "v", Value: []byte(strconv.Itoa(signal.Version))}},
	}
	if err := c.cl.ProduceSync(ctx, r).FirstErr(); err != nil {
		return fmt.Errorf("write to %s: %w", name, err)
	}
	return nil
}

// partitions is how many a topic has.
func (c *Client) partitions(ctx context.Context, name string) (int, error) {
	listed, err := c.adm.ListTopics(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("list topic %s: %w", name, err)
	}
	d, ok := listed[name]
	if ok && d.Err != nil && !errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
		return 0, fmt.Errorf("topic %s: %w", name, d.Err)
	}
	if !ok || d.Err != nil || len(d.Partitions) == 0 {
		return 0, fmt.Errorf("topic %s does not exist: no service of Ebbwatch has run on these brokers", name)
	}
	return len(d.Partitions), nil
}

// all stands for every partition.
const all = -1

// read hands the committed records of a topic to fn, of one partition or of
// all, from those appended at a time to the end at the time of the call, until
// fn says that it is enough.
func (c *Client) read(ctx context.Context, name string, partition int32, since time.Time, fn func(*kgo.Record) (enough bool)) error {
	starts, err := c.adm.ListOffsetsAfterMilli(ctx, max(since.UnixMilli(), 0), name)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return fmt.Errorf("where %s begins: %w", name, err)
	}
	ends, err := c.adm.ListCommittedOffsets(ctx, name)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("where %s ends: %w", name, err)
	}
	from, left := map[int32]kgo.Offset{}, map[int32]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		start, ok := starts.Lookup(name, end.Partition)
		if (partition == all || end.Partition == partition) && ok && start.Offset >= 0 && start.Offset < end.Offset {
			from[end.Partition] = kgo.NewOffset().At(start.Offset)
			left[end.Partition] = end.Offset
		}
	})
	if len(left) == 0 {
		return nil
	}
	cl, err := kgo.NewClient(append(slices.Clip(c.opts), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())...)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer cl.Close()
	for enough := false; len(left) > 0 && !enough; {
		polling, stop := context.WithTimeout(ctx, patience)
		fetches := cl.PollFetches(polling)
		stop()
		if ctx.Err() != nil {
			return fmt.Errorf("stopped: %w", ctx.Err())
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			end, ok := left[r.Partition]
			if !ok || enough {
				return
			}
			if r.Offset < end && !r.Attrs.IsControl() {
				enough = fn(r)
			}
			if r.Offset >= end-1 {
				delete(left, r.Partition)
			}
		})
	}
	return nil
}

func kindOf(r *kgo.Record) string {
	for _, h := range r.Headers {
		if h.Key == "kind" {
			return string(h.Value)
		}
	}
	return ""
}
