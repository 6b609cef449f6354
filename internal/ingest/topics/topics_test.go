package topics_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/ingest/companion"
	"github.com/ebbwatch/ebbwatch/internal/ingest/topics"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

type world struct {
	t       *testing.T
	brokers []string
	client  *kgo.Client
	real    bool // a Kafka, not kfake
}

func newWorld(t *testing.T, others ...string) *world {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, others...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	w := &world{t: t, brokers: c.ListenAddrs()}
	if w.client, err = kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	if _, err := topic.Ensure(t.Context(), kadm.NewClient(w.client), true); err != nil {
		t.Fatal(err)
	}
	return w
}

// start runs a reader; the returned function ends it and returns its error.
func (w *world) start(service string, cfg ingest.Config) func() error {
	w.t.Helper()
	kind, ok := ingest.KindOf(service)
	if !ok {
		w.t.Fatalf("no service %s", service)
	}
	kafka := stream.ProducerConfig{Slot: "0", Brokers: w.brokers, Embedded: !w.real}
	log := slog.New(slog.DiscardHandler)
	files, err := ingest.New(kind, cfg, ingest.World{Kafka: kafka, Site: site.Default(), Log: log, Registerer: prometheus.NewRegistry()})
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := topics.New(kind, &cfg, companion.World{
		Kafka: kafka, Log: log, Registerer: prometheus.NewRegistry(), Outside: files.Outside(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

// put writes records without keys into partitions at random, as other programs do.
func (w *world) put(to string, records ...string) {
	w.t.Helper()
	rng := rand.New(rand.NewPCG(1, uint64(len(records))))
	for _, r := range records {
		w.client.Produce(w.t.Context(), &kgo.Record{Topic: to, Partition: rng.Int32N(4), Value: []byte(r)}, nil)
	}
	if err := w.client.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// got waits for n committed records of a topic, and a moment for more.
func (w *world) got(of string, n int) []*kgo.Record {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumeTopics(of), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	var all []*kgo.Record
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); {
		wait := time.Second
		if len(all) < n {
			wait = 5 * time.Second
		}
		ctx, cancel := context.WithTimeout(w.t.Context(), wait)
		fetches := cl.PollFetches(ctx)
		cancel()
		fetches.EachRecord(func(r *kgo.Record) { all = append(all, r) })
		if len(all) >= n && fetches.NumRecords() == 0 {
			break
		}
	}
	return all
}

// Zeek's records arrive under the keys of their addresses, once each, also when
// the service is ended in between; what cannot be read is a dead letter that says
// where it stood.
func TestZeekTopic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "zeek")
	cfg := ingest.Default()
	cfg.Topics.Read = []string{"zeek"}
	dns := func(i int) string {
		return fmt.Sprintf(`{"ts":%d.5,"uid":"C%d","id.orig_h":"10.0.%d.%d","id.orig_p":5353,"id.resp_h":"10.0.0.53","id.resp_p":53,"proto":"udp","trans_id":7,"query":"n%d.example.com","qtype_name":"A","rcode_name":"NOERROR"}`,
			1_767_600_000+i, i, i/250, i%250+1, i)
	}
	const n = 400
	var records []string
	for i := range n {
		records = append(records, dns(i))
	}
	records[7] = `{"dns":` + records[7] + `,"SITE":"hq"}`
	records[8] += "\n" + dns(n) // two lines in one record
	stop := w.start("ingest-zeek", cfg)
	w.put("zeek", records[:n/2]...)
	w.put("zeek", `{"ts":1767600000,`, "no json")
	w.got(topic.Network, n/2)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	w.put("zeek", records[n/2:]...)
	stop = w.start("ingest-zeek", cfg)
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	got := w.got(topic.Network, n+1)
	var uids, want []string
	for i := range n + 1 {
		want = append(want, fmt.Sprintf("C%d", i))
	}
	for _, r := range got {
		var e event.Event
		if err := event.Decode(r.Value, &e); err != nil {
			t.Fatal(err)
		}
		if key := "default|" + e.Source.IP.String(); string(r.Key) != key || e.Observer.Name != "zeek" || !strings.HasPrefix(e.Origin.Name, "zeek/") || !e.Origin.Offset.Known() {
			t.Fatalf("key %s, want %s; %+v %+v", r.Key, key, e.Observer, e.Origin)
		}
		uids = append(uids, strings.Clone(e.ID))
	}
	slices.Sort(uids)
	slices.Sort(want)
	if d := cmp.Diff(want, uids); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	dead := w.got(topic.DeadLetter, 2)
	if len(dead) != 2 || !strings.Contains(string(dead[0].Value)+string(dead[1].Value), `zeek/`) {
		t.Errorf("%d dead letters", len(dead))
	}
}

// falcosidekick's alerts and a shipper's documents go to the topics of their planes.
func TestOtherTopics(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "falco", "eve")
	falco := ingest.Default()
	falco.Topics.Read, falco.Topics.Name = []string{"falco"}, "cluster-1"
	eve := ingest.Default()
	eve.Topics.Read, eve.Topics.Format = []string{"eve"}, "ecs"
	stopFalco, stopEve := w.start("ingest-falco", falco), w.start("ingest-zeek", eve)
	w.put("falco", `{"uuid":"1","output":"x","priority":"Notice","rule":"Ebbwatch secret read","time":"2026-01-05T10:00:00Z","hostname":"node-1","source":"syscall",`+
		`"output_fields":{"evt.type":"openat","fd.name":"/run/secrets/a","fd.type":"file","proc.name":"cat"}}`)
	w.put("eve", `{"@timestamp":"2026-01-05T10:00:00Z","event":{"module":"suricata"},"source":{"ip":"10.0.0.1","bytes":5},"destination":{"ip":"203.0.113.9","bytes":6}}`)
	host, network := w.got(topic.Host, 1), w.got(topic.Network, 1)
	if len(host) != 1 || string(host[0].Key) != "default|node-1" || !strings.Contains(string(host[0].Value), "cluster-1") {
		t.Errorf("host: %v", host)
	}
	if len(network) != 1 || string(network[0].Key) != "default|10.0.0.1" {
		t.Errorf("network: %v", network)
	}
	for _, stop := range []func() error{stopFalco, stopEve} {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

// A topic that is not there is one clear error.
func TestNoSuchTopic(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := ingest.Default()
	cfg.Topics.Read = []string{"zeke"}
	s := w.start("ingest-zeek", cfg)
	time.Sleep(100 * time.Millisecond)
	if err := s(); err == nil || !strings.Contains(err.Error(), `"zeke"`) {
		t.Errorf("got %v", err)
	}
}
