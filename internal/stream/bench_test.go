package stream

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// noop is the cheapest operator: what is measured is the engine.
type noop struct{ n int64 }

func (o *noop) Apply(_ *operator.Record, c operator.Context) error {
	o.n++
	c.Touch(int(o.n & 63))
	return nil
}
func (o *noop) Epoch(string, []byte) error            { return nil }
func (o *noop) Buckets() int                          { return 64 }
func (o *noop) AppendBucket(dst []byte, _ int) []byte { return dst }
func (o *noop) LoadBucket(int, []byte) error          { return nil }
func (o *noop) AppendShared(dst []byte) []byte        { return append(dst, 0) }
func (o *noop) LoadShared([]byte) error               { return nil }
func newNoop(int32) (operator.Operator, error)        { return &noop{}, nil }

func benchRecord(offset int64, value []byte) *kgo.Record {
	return &kgo.Record{
		Offset: offset, Key: []byte("default 10.0.0.1"), Value: value,
		Headers: []kgo.RecordHeader{{Key: "kind", Value: []byte("flow")}, {Key: "v", Value: []byte("1")}},
	}
}

// BenchmarkPartitionLoop is what a worker does for a record beside the
// operator.
func BenchmarkPartitionLoop(b *testing.B) {
	w := benchWorker(b, false)
	w.op, w.replaying = &noop{}, false
	w.changed = make([]bool, 64)
	value := make([]byte, 365)
	records := make([]*kgo.Record, 1000)
	for i := range records {
		records[i] = benchRecord(0, value)
	}
	b.SetBytes(365)
	b.ReportAllocs()
	offset := int64(0)
	for n := 0; b.Loop(); n++ {
		if n%len(records) == 0 {
			for _, r := range records {
				r.Offset = offset
				offset++
			}
			w.records = 0
		}
		if err := w.apply(records[n%len(records)]); err != nil {
			b.Fatal(err)
		}
	}
}

// TestPartitionLoopDoesNotAllocate holds the loop to no allocation a record.
func TestPartitionLoopDoesNotAllocate(t *testing.T) {
	w := benchWorker(t, false)
	w.op, w.replaying = &noop{}, false
	w.changed = make([]bool, 64)
	r := benchRecord(0, make([]byte, 365))
	if n := testing.AllocsPerRun(100, func() {
		r.Offset++
		if err := w.apply(r); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a record", n)
	}
}

// BenchmarkEngine runs whole: fetch from a broker in this process, the loop,
// offsets and snapshots committed. One operation is one record; the broker's
// share is in the time as well.
func BenchmarkEngine(b *testing.B) {
	for _, tc := range []struct {
		name string
		run  func(b *testing.B, addrs []string, n int)
	}{{"fetch", fetchOnly}, {"engine", fetchEngine}} {
		b.Run(tc.name, func(b *testing.B) {
			const n = 400_000
			addrs := filled(b, n)
			b.SetBytes(365 * n)
			for b.Loop() {
				tc.run(b, addrs, n)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*b.N), "ns/record")
		})
	}
}

func filled(b *testing.B, n int) []string {
	b.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "in"), kfake.SeedTopics(1, "out", "dead"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(partitioner()), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	value := make([]byte, 365)
	for i := range value {
		value[i] = byte('a' + (i*7+i/13)%26)
	}
	for i := range n {
		r := benchRecord(0, value)
		r.Topic, r.Partition = "in", int32(i%2)
		cl.Produce(context.Background(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				b.Error(err)
			}
		})
	}
	if err := cl.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	return c.ListenAddrs()
}

func fetchOnly(b *testing.B, addrs []string, n int) {
	b.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.ConsumeTopics("in"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	for got := 0; got < n; {
		got += cl.PollFetches(context.Background()).NumRecords()
	}
}

func fetchEngine(b *testing.B, addrs []string, n int) {
	b.Helper()
	done := make(chan struct{})
	service := fmt.Sprintf("bench-%d", time.Now().UnixNano())
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(context.Background(), 2, 1, nil, service); err != nil {
		b.Fatal(err)
	}
	e, err := newEngine(Config{
		Service: service, Brokers: addrs, Inputs: []string{"in"}, State: service, Outputs: []string{"out"}, DeadLetter: "dead",
		CommitInterval: 200 * time.Millisecond,
	}.withDefaults(), newNoop, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(done)
		if err := e.Run(ctx); err != nil {
			b.Error(err)
		}
	}()
	for seen := 0.0; seen < float64(n); time.Sleep(time.Millisecond) {
		var m dto.Metric
		if err := e.metrics.records.Write(&m); err != nil {
			b.Fatal(err)
		}
		seen = m.GetCounter().GetValue()
	}
	cancel()
	<-done
}
