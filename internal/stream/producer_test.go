package stream

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func (w *world) producer(slot string, embedded bool) *Producer {
	w.t.Helper()
	p, err := NewProducer(ProducerConfig{Service: "ingest", Slot: slot, Brokers: w.addrs, Embedded: embedded}, testLog(w.t))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := p.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.Close)
	return p
}

func values(t *testing.T, p *Producer, topic string) string {
	t.Helper()
	var s []string
	if err := p.ReadAll(t.Context(), topic, func(r *kgo.Record) error { s = append(s, string(r.Value)); return nil }); err != nil {
		t.Fatal(err)
	}
	return strings.Join(s, " ")
}

func TestEventsAndPositionAreOneCommit(t *testing.T) {
	t.Parallel()
	for _, embedded := range []bool{false, true} {
		w := newWorld(t, 1)
		ctx := t.Context()
		p := w.producer("0", embedded)
		if err := p.Begin(); err != nil {
			t.Fatal(err)
		}
		key := []byte("key")
		p.Produce(ctx, Record{Topic: "in", Partition: ByKey, Kind: "flow", V: 1, Key: key, Value: []byte("e1")})
		p.Produce(ctx, Record{Topic: "in2", Partition: 0, Kind: "mark", V: 1, Value: []byte("m1")})
		p.Produce(ctx, Record{Topic: "out", Partition: ByKey, Key: key, Value: []byte("pos1")})
		copy(key, "xxx") // the producer has copied it
		if err := p.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		if err := p.Begin(); err != nil {
			t.Fatal(err)
		}
		p.Produce(ctx, Record{Topic: "in", Partition: ByKey, Value: []byte("e2")})
		p.Produce(ctx, Record{Topic: "out", Partition: ByKey, Value: []byte("pos2")})
		if err := p.cl.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		// It dies here. Its successor reads at once what was committed.
		q := w.producer("0", embedded)
		if embedded {
			if err := p.Abort(ctx); err != nil { // a fresh id does not fence: the time-out would
				t.Fatal(err)
			}
		} else if err := p.Commit(ctx); err == nil {
			t.Error("a fenced producer has committed")
		}
		if got := values(t, q, "in") + "," + values(t, q, "in2") + "," + values(t, q, "out"); got != "e1,m1,pos1" {
			t.Errorf("read %q", got)
		}
		rs := w.readAll("in")
		if len(rs) != 1 || string(rs[0].Key) != "key" || string(rs[0].Headers[0].Value) != "flow" || string(rs[0].Headers[1].Value) != "1" {
			t.Errorf("record %+v", rs)
		}
	}
}

func TestTheTailOfATopicCanBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	ctx := t.Context()
	p := w.producer("0", true)
	put := func(values ...string) {
		t.Helper()
		if err := p.Begin(); err != nil {
			t.Fatal(err)
		}
		for i, v := range values {
			p.Produce(ctx, Record{Topic: "in", Partition: int32(i % 2), Value: []byte(v)})
		}
		if err := p.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
	put("a", "b")
	ends, err := p.Ends(ctx, "in")
	if err != nil {
		t.Fatal(err)
	}
	put("c", "d", "e")
	got := map[string]int64{}
	read := func(r *kgo.Record) error { got[string(r.Value)] = r.Offset; return nil }
	if err := p.ReadFrom(ctx, "in", ends, read); err != nil {
		t.Fatal(err)
	}
	if _, c := got["c"]; len(got) != 3 || !c || got["e"] <= got["c"] || got["d"] < ends[1] {
		t.Errorf("read %v", got)
	}
	// What is not there any more is passed over.
	if err := p.Trim(ctx, "in", map[int32]int64{0: got["e"]}); err != nil {
		t.Fatal(err)
	}
	clear(got)
	if err := p.ReadFrom(ctx, "in", map[int32]int64{0: 0, 1: 1 << 40}, read); err != nil {
		t.Fatal(err)
	}
	if _, e := got["e"]; len(got) != 1 || !e {
		t.Errorf("read %v", got)
	}
}

// TestReadingEndsBehindAnOpenTransaction: the end of a log is known although a
// dead producer's transaction is open before it, and nothing is passed over.
func TestReadingEndsBehindAnOpenTransaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	dead, err := kgo.NewClient(kgo.SeedBrokers(w.addrs...), kgo.TransactionalID("dead"), kgo.TransactionTimeout(700*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	if err := dead.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := dead.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Value: []byte("never")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	w.produce(&kgo.Record{Topic: "in", Partition: 0, Value: []byte("behind")})
	p := w.producer("0", false)
	if got := values(t, p, "in"); got != "behind" {
		t.Errorf("read %q", got)
	}
}

func TestAStalledReadIsAnError(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	stuck, err := kgo.NewClient(kgo.SeedBrokers(w.addrs...), kgo.TransactionalID("stuck"), kgo.TransactionTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	if err := stuck.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := stuck.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	p := w.producer("0", false)
	p.stall = 300 * time.Millisecond
	err = p.ReadAll(t.Context(), "in", func(*kgo.Record) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "read in/0: no progress for 300ms") {
		t.Errorf("error %v", err)
	}
}

// lockedBuffer collects log lines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestABrokerThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	var out lockedBuffer
	p, err := NewProducer(ProducerConfig{Service: "ingest", Slot: "0", Brokers: []string{fmt.Sprintf("127.0.0.1:%d", port)}},
		slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Start(t.Context()) }()
	want := fmt.Sprintf("broker 127.0.0.1:%d is not reachable, retrying in 500ms: connect: connection refused", port)
	for began := time.Now(); !strings.Contains(out.String(), want); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > 15*time.Second {
			t.Fatalf("no %q in %s", want, out.String())
		}
	}
	c, err := kfake.NewCluster(kfake.Ports(port))
	if err != nil {
		t.Skipf("the port was taken meanwhile: %v", err)
	}
	defer c.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	p.Close()

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	q, _ := NewProducer(ProducerConfig{Service: "ingest", Brokers: []string{"127.0.0.1:1"}}, slog.New(slog.DiscardHandler))
	if err := q.Start(ctx); err == nil {
		t.Error("started without a broker")
	}
}
