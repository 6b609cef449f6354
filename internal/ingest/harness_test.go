package ingest_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// world is a broker and what services need.
type world struct {
	t       testing.TB
	cluster *kfake.Cluster
	brokers []string
	site    *site.Site
	reg     *prometheus.Registry
	outside bool  // services have another reader beside them
	wire    *wire // of services that are started from now on, nil: none

	mu  sync.Mutex
	lag map[string]time.Duration
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	w := &world{t: tb, cluster: c, brokers: c.ListenAddrs(), site: site.Default(), lag: map[string]time.Duration{}}
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...))
	if err != nil {
		tb.Fatal(err)
	}
	defer cl.Close()
	if _, err := topic.Ensure(context.Background(), kadm.NewClient(cl), true); err != nil {
		tb.Fatal(err)
	}
	return w
}

func kindOf(tb testing.TB, service string) ingest.Kind {
	tb.Helper()
	k, ok := ingest.KindOf(service)
	if !ok {
		tb.Fatalf("no service %s", service)
	}
	return k
}

// quick is a configuration whose times fit a test.
func quick(paths ...string) ingest.Config {
	c := ingest.Default()
	c.CommitInterval, c.MarkInterval = 20*time.Millisecond, 50*time.Millisecond
	c.PollInterval, c.RescanInterval, c.Settle = 20*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	c.Sources = []ingest.Source{{Paths: paths, Name: "sensor"}}
	return c
}

// running is a service in a goroutine.
type running struct {
	t      testing.TB
	svc    *ingest.Service
	cancel context.CancelFunc
	done   chan error
}

func (w *world) start(service string, cfg ingest.Config, embedded bool) *running {
	w.t.Helper()
	w.reg = prometheus.NewRegistry()
	options := []kgo.Opt{kgo.TransactionTimeout(time.Minute)}
	if embedded {
		options = []kgo.Opt{kgo.TransactionTimeout(2 * time.Second)} // a crashed one is waited for
	}
	if w.wire != nil {
		options = append(options, kgo.Dialer(w.wire.dial))
	}
	svc, err := ingest.New(kindOf(w.t, service), cfg, ingest.World{
		Kafka: stream.ProducerConfig{
			Slot: "0", Brokers: w.brokers, Embedded: embedded, Options: options,
		},
		Site: w.site, Log: slog.New(slog.DiscardHandler), Registerer: w.reg,
		Lag: func(stage string, lag time.Duration) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.lag[stage] = lag
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.outside {
		svc.Outside()
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: w.t, svc: svc, cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- svc.Run(ctx) }()
	w.t.Cleanup(func() { cancel() })
	return r
}

// stop ends the service in order.
func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	if err := r.wait(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) wait() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(20 * time.Second):
		r.t.Fatal("the service does not end")
		return nil
	}
}

// record is one record as a consumer sees it.
type record struct {
	topic     string
	partition int32
	key       string
	kind, v   string
	value     []byte
	control   bool
}

// read returns all that is committed to topics, per partition in order, with
// the markers of transactions.
func (w *world) read(topics ...string) []record {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumeTopics(topics...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(context.Background(), topics...)
	if err != nil {
		w.t.Fatal(err)
	}
	left := map[string]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[fmt.Sprint(o.Topic, o.Partition)] = o.Offset
		}
	})
	var out []record
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			w.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			rec := record{topic: r.Topic, partition: r.Partition, key: string(r.Key), value: bytes.Clone(r.Value), control: r.Attrs.IsControl()}
			for _, h := range r.Headers {
				switch h.Key {
				case "kind":
					rec.kind = string(h.Value)
				case "v":
					rec.v = string(h.Value)
				}
			}
			out = append(out, rec)
			if p := fmt.Sprint(r.Topic, r.Partition); r.Offset+1 >= left[p] {
				delete(left, p)
			}
		})
	}
	slices.SortStableFunc(out, func(a, b record) int {
		if a.topic != b.topic {
			return strings.Compare(a.topic, b.topic)
		}
		return int(a.partition - b.partition)
	})
	return out
}

// events decodes the events of a topic.
func (w *world) events(name string) []event.Event {
	w.t.Helper()
	var out []event.Event
	for _, r := range w.read(name) {
		if r.control || r.kind == "mark" {
			continue
		}
		var e event.Event
		if err := event.Decode(r.value, &e); err != nil {
			w.t.Fatalf("%s: %v", r.value, err)
		}
		if r.kind != e.Kind.String() || r.v != "1" {
			w.t.Errorf("headers %q, %q of %s", r.kind, r.v, r.value)
		}
		out = append(out, e)
	}
	return out
}

func (w *world) marks(name string) []event.Mark {
	w.t.Helper()
	var out []event.Mark
	for _, r := range w.read(name) {
		if r.kind == "mark" && !r.control {
			var m event.Mark
			if err := event.DecodeMark(r.value, &m); err != nil {
				w.t.Fatal(err)
			}
			out = append(out, m)
		}
	}
	return out
}

// until waits for a condition.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !cond(); time.Sleep(15 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 15 s", what)
		}
	}
}

// counted is the value of a counter or gauge, summed over its series.
func (w *world) counted(name string) (sum float64) {
	w.t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

func put(tb testing.TB, path string, data string) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		tb.Fatal(err)
	}
}

func add(t *testing.T, path string, data string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(data); err != nil {
		t.Fatal(err)
	}
}

const start = 1767607200 // 2026-01-05T10:00:00Z

func conn(n int) string {
	return fmt.Sprintf(`{"ts":%d.0,"uid":"C%d","id.orig_h":"10.0.0.%d","id.orig_p":40000,"id.resp_h":"198.51.100.7","id.resp_p":443,"proto":"tcp","duration":1.0,"orig_bytes":%d,"resp_bytes":9,"orig_ip_bytes":%d,"conn_state":"SF"}`+"\n",
		start+n, n, n%9+1, 100+n, 200+n)
}

func dns(n int) string {
	return fmt.Sprintf(`{"ts":%d.0,"uid":"D%d","id.orig_h":"10.0.0.%d","id.orig_p":40000,"id.resp_h":"10.0.0.53","id.resp_p":53,"proto":"udp","trans_id":%d,"query":"x%d.example.com","qtype_name":"A","rcode_name":"NOERROR"}`+"\n",
		start+n, n, n%9+1, n%65536, n)
}

func many(line func(int) string, from, to int) string {
	var b strings.Builder
	for n := from; n < to; n++ {
		b.WriteString(line(n))
	}
	return b.String()
}

func ids(events []event.Event) []string {
	var out []string
	for i := range events {
		if events[i].Role != event.RoleMirror {
			out = append(out, events[i].ID)
		}
	}
	slices.SortFunc(out, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return out
}

func wantIDs(prefix string, from, to int) []string {
	var out []string
	for n := from; n < to; n++ {
		out = append(out, fmt.Sprintf("%s%d", prefix, n))
	}
	return out
}
