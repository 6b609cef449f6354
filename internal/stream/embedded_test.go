package stream_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/broker"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/twmb/franz-go/pkg/kgo"
)

// numbering emits for each record how many came before it.
type numbering struct{ n byte }

func (o *numbering) Apply(r *operator.Record, c operator.Context) error {
	c.Emit(operator.Output{Topic: topic.Signals, Kind: "signal", V: 1, Key: []byte("default"), Value: fmt.Appendf(nil, "%s/%d#%d:%s", r.Topic, r.Partition, o.n, r.Value)})
	o.n++
	return nil
}
func (o *numbering) Epoch(string, []byte) error            { return nil }
func (o *numbering) Buckets() int                          { return 1 }
func (o *numbering) AppendBucket(dst []byte, _ int) []byte { return dst }
func (o *numbering) LoadBucket(int, []byte) error          { return nil }
func (o *numbering) AppendShared(dst []byte) []byte        { return append(dst, o.n) }
func (o *numbering) LoadShared(data []byte) error          { o.n = data[0]; return nil }

func runBroker(t *testing.T, cfg broker.Config) (addr string, stop func()) {
	t.Helper()
	b, err := broker.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	select {
	case <-b.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	return b.Addr(), func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestOnTheEmbeddedBroker runs producer, engine and broker as a service does,
// with the table's topics, and restarts the broker under them.
func TestOnTheEmbeddedBroker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addr, stop := runBroker(t, broker.Config{Folder: dir})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	log := slog.New(slog.DiscardHandler)
	var restarts int
	done := make(chan error, 1)
	go func() { // the supervisor of the service
		for {
			e, err := stream.New(stream.Config{
				Service: "detect", Slot: "0", Brokers: []string{addr}, Embedded: true,
				Inputs: []string{topic.Network, topic.Host, topic.Cloud}, Outputs: []string{topic.Signals},
			}, func(int32) (operator.Operator, error) { return &numbering{}, nil }, log, nil)
			if err == nil {
				err = e.Run(ctx)
			}
			if ctx.Err() != nil || restarts > 20 {
				done <- err
				return
			}
			restarts++
			time.Sleep(100 * time.Millisecond)
		}
	}()
	put := func(value string) error {
		p, err := stream.NewProducer(stream.ProducerConfig{Service: "ingest-zeek", Slot: "0", Brokers: []string{addr}, Embedded: true}, log)
		if err != nil {
			return err
		}
		if err := p.Start(ctx); err != nil {
			return err
		}
		defer p.Close()
		if err := p.Begin(); err != nil {
			return err
		}
		p.Produce(ctx, stream.Record{Topic: topic.Network, Partition: 2, Kind: "flow", V: 1, Value: []byte(value)})
		p.Produce(ctx, stream.Record{Topic: topic.Cloud, Partition: 1, Kind: "object", V: 1, Value: []byte(value)})
		p.Produce(ctx, stream.Record{Topic: topic.Positions, Partition: stream.ByKey, Key: []byte("file"), Value: []byte(value)})
		return p.Commit(ctx)
	}
	if err := put("a"); err != nil {
		t.Fatal(err)
	}
	signals(t, addr, "ebb.network.v1/2#0:a", "ebb.cloud.v1/1#0:a")
	stop()
	_, stop = runBroker(t, broker.Config{Folder: dir, Listen: addr})
	if err := put("b"); err != nil {
		t.Fatal(err)
	}
	signals(t, addr, "ebb.network.v1/2#0:a", "ebb.cloud.v1/1#0:a", "ebb.network.v1/2#1:b", "ebb.cloud.v1/1#1:b")
	cancel()
	if err := <-done; err != nil {
		t.Errorf("engine: %v", err)
	}
	stop()
}

// signals waits until the topic holds just these.
func signals(t *testing.T, addr string, want ...string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(topic.Signals), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	left := map[string]bool{}
	for _, w := range want {
		left[w] = true
	}
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
	defer cancel()
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if errors.Is(fs.Err(), context.DeadlineExceeded) {
			t.Fatalf("missing %v", left)
		}
		for _, r := range fs.Records() {
			if !left[string(r.Value)] {
				t.Fatalf("unexpected %q", r.Value)
			}
			delete(left, string(r.Value))
			if h := string(r.Headers[0].Value); h != "signal" || !strings.HasPrefix(string(r.Headers[2].Value), "detect ebb.") {
				t.Errorf("headers %v", r.Headers)
			}
		}
	}
}
