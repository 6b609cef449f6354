package pubsub

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/internal/deadletter"
	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/ingest/companion"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

const (
	testTopic = "projects/p/topics/logs"
	testSub   = "projects/p/subscriptions/ebbwatch"
)

// get is the entry of a read.
func get(n int, user string) []byte {
	return fmt.Appendf(nil, `{"insertId":"a%d","logName":"projects/p/logs/cloudaudit.googleapis.com%%2Fdata_access","timestamp":"2026-01-05T10:00:00.%06dZ","protoPayload":{"status":{},`+
		`"authenticationInfo":{"principalEmail":%q},"serviceName":"storage.googleapis.com","methodName":"storage.objects.get",`+
		`"authorizationInfo":[{"permission":"storage.objects.get","granted":true}],"resourceName":"projects/_/buckets/b/objects/o%d"}}`, n, n, user, n)
}

func flow(n int) []byte {
	return fmt.Appendf(nil, `{"insertId":"f%d","logName":"projects/p/logs/compute.googleapis.com%%2Fvpc_flows","timestamp":"2026-01-05T10:00:09Z","jsonPayload":{"reporter":"SRC",`+
		`"start_time":"2026-01-05T10:00:00Z","end_time":"2026-01-05T10:00:04.%06dZ","bytes_sent":"9","packets_sent":"4","connection":{"src_ip":"10.128.0.%d","src_port":40000,`+
		`"dest_ip":"203.0.113.9","dest_port":443,"protocol":6}}}`, n, n, n%9+1)
}

// world is Google's test server and a broker.
type world struct {
	t       *testing.T
	google  *pstest.Server
	brokers []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	w := &world{t: t, google: pstest.NewServer(), brokers: c.ListenAddrs()}
	t.Cleanup(func() { _ = w.google.Close() })
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := topic.Ensure(t.Context(), kadm.NewClient(cl), true); err != nil {
		t.Fatal(err)
	}
	if _, err := w.google.GServer.CreateTopic(t.Context(), &pubsubpb.Topic{Name: testTopic}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.google.GServer.CreateSubscription(t.Context(), &pubsubpb.Subscription{
		Name: testSub, Topic: testTopic, AckDeadlineSeconds: 10, EnableMessageOrdering: true,
	}); err != nil {
		t.Fatal(err)
	}
	return w
}

// start runs the service until the returned function is called. ack replaces the
// acknowledgement.
func (w *world) start(ack func(*pubsub.Message)) (stop func()) {
	w.t.Helper()
	kind, _ := ingest.KindOf("ingest-gcp")
	cfg := ingest.Default()
	cfg.CommitInterval = 20 * time.Millisecond
	cfg.PubSub.Subscriptions, cfg.PubSub.Project, cfg.PubSub.Endpoint = []string{"ebbwatch"}, "p", w.google.Addr
	kafka := stream.ProducerConfig{Slot: "0", Brokers: w.brokers}
	log := slog.New(slog.DiscardHandler)
	svc, err := ingest.New(kind, cfg, ingest.World{Kafka: kafka, Site: site.Default(), Log: log, Registerer: prometheus.NewRegistry()})
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := New(kind, &cfg, companion.World{Kafka: kafka, Log: log, Registerer: prometheus.NewRegistry(), Outside: svc.Outside()})
	if err != nil {
		w.t.Fatal(err)
	}
	if ack != nil {
		s.acknowledge = ack
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return func() {
		w.t.Helper()
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				w.t.Error(err)
			}
		case <-time.After(30 * time.Second):
			w.t.Fatal("it does not end")
		}
	}
}

// read returns the committed values of a topic, those of each partition in order.
func (w *world) read(name string) (values [][]byte) {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumeTopics(name), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	for len(left) > 0 {
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			w.t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				values = append(values, bytes.Clone(r.Value))
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return values
}

// events are those of a topic.
func (w *world) events(name string) (list []event.Event) {
	w.t.Helper()
	for _, v := range w.read(name) {
		var e event.Event
		if err := event.Decode(v, &e); err != nil {
			w.t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !cond(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time", what)
		}
	}
}

func (w *world) unacked() (n int) {
	for _, m := range w.google.Messages() {
		if m.Acks == 0 {
			n++
		}
	}
	return n
}

// Every message comes again after its commit, as if the service had been killed
// before the acknowledgement, and to another process: each event is there once,
// in its plane, and nothing stays behind.
func TestRedelivery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// Google's test server hands over one message in 10 ms, any that is there: with
	// more of them the last one waits long for its second time.
	const each = 25
	for n := range each {
		w.google.Publish(testTopic, get(n, fmt.Sprintf("u%d@example.com", n%5)), nil)
		w.google.Publish(testTopic, flow(n), nil)
	}
	var mu sync.Mutex
	deliveries := map[string]int{}
	unheard := func(m *pubsub.Message) {
		mu.Lock()
		deliveries[m.ID]++
		mu.Unlock()
		m.Nack()
	}
	stop := w.start(unheard)
	until(t, "redeliveries", func() bool {
		mu.Lock()
		defer mu.Unlock()
		twice := 0
		for _, n := range deliveries {
			if n > 1 {
				twice++
			}
		}
		return twice == 2*each
	})
	stop()
	if w.unacked() != 2*each {
		t.Fatalf("%d messages without acknowledgement", w.unacked())
	}
	// What was handed over while it stopped comes again once its lease has ended.
	w.google.SetTimeNowFunc(func() time.Time { return time.Now().Add(2 * lease) })
	stop = w.start(nil)
	w.google.Publish(testTopic, get(each, "u@example.com"), nil)
	w.google.Publish(testTopic, flow(each), nil)
	until(t, "acknowledgements", func() bool { return w.unacked() == 0 })
	until(t, "events", func() bool { return len(w.events(topic.Cloud)) > each && len(w.events(topic.Network)) > each })
	time.Sleep(300 * time.Millisecond) // a second event would come now
	stop()
	for _, name := range []string{topic.Cloud, topic.Network} {
		list := w.events(name)
		seen := map[string]bool{}
		for i := range list {
			seen[list[i].ID] = true
		}
		if len(list) != each+1 || len(seen) != each+1 {
			t.Errorf("%s has %d events, %d different ones", name, len(list), len(seen))
		}
	}
	if n := len(w.read(topic.DeadLetter)); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// Messages of one ordering key give events in their order.
func TestOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	want := map[string][]string{}
	const all = 90 // the next of a key comes after the commit of the one before
	for n := range all {
		user := fmt.Sprintf("u%d@example.com", n%3)
		w.google.PublishOrdered(testTopic, get(n, user), nil, user)
		want[user] = append(want[user], fmt.Sprintf("o%d", n))
	}
	stop := w.start(nil)
	until(t, "acknowledgements", func() bool { return w.unacked() == 0 })
	until(t, "events", func() bool { return len(w.events(topic.Cloud)) >= all })
	stop()
	got := map[string][]string{}
	for _, e := range w.events(topic.Cloud) {
		got[e.User.ID] = append(got[e.User.ID], e.Object.Key)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// What is no entry, and what is too long, becomes a dead letter with its bytes and
// is acknowledged; what stands beside it is read.
func TestPoison(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	poison := map[string]string{"json": "{broken", "binary": "\x12\x07profile\xff", "long": `{"logName":"` + strings.Repeat("x", maxData) + `"}`}
	for _, data := range poison {
		w.google.Publish(testTopic, get(len(data), "u@example.com"), nil)
		w.google.Publish(testTopic, []byte(data), nil)
	}
	w.google.Publish(testTopic, nil, map[string]string{"only": "attributes"})
	stop := w.start(nil)
	until(t, "acknowledgements", func() bool { return w.unacked() == 0 })
	until(t, "events and dead letters", func() bool { return len(w.events(topic.Cloud)) >= 3 && len(w.read(topic.DeadLetter)) >= 3 })
	stop()
	var got []string
	for _, v := range w.read(topic.DeadLetter) {
		l, err := deadletter.Decode(v)
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range poison {
			if l.Size == len(data) && strings.HasPrefix(data, string(l.Raw)) && strings.HasPrefix(l.Origin.Name, testSub+"#") {
				got = append(got, name+" "+l.Reason)
			}
		}
	}
	slices.Sort(got)
	if d := cmp.Diff([]string{"binary unknown_format", "json malformed_json", "long " + reasonTooLong}, got); d != "" {
		t.Error(d)
	}
}

// The set of messages is bounded, forgets after a day, and survives its form.
func TestKnown(t *testing.T) {
	t.Parallel()
	var k known
	id := func(n int) messageID { return (&message{Subscription: "s", ID: fmt.Sprint(n)}).hash() }
	day := keep.Microseconds()
	if !k.take(id(1), 5) || k.take(id(1), 5+day) || !k.take(id(1), 6+day) {
		t.Error("a message is not known for a day")
	}
	for n := range buckets * bucketSize * 3 / 2 {
		if m := id(n + 10); bucketOf(m) < 3 { // the others are like these
			k.take(m, int64(n)+2*day)
		}
	}
	if len(k[0].at) < bucketSize/2 {
		t.Fatalf("%d messages in a bucket that was filled", len(k[0].at))
	}
	var again known
	for n := range buckets {
		if len(k[n].at) > bucketSize {
			t.Fatalf("%d messages in a bucket", len(k[n].at))
		}
		data := k.appendBucket(nil, n)
		if err := again.loadBucket(n, data); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.appendBucket(nil, n), data) {
			t.Fatal("a bucket changes in its form")
		}
		if len(data) > 1 && again.loadBucket(n, data[:len(data)-1]) == nil {
			t.Error("a bucket that is cut was loaded")
		}
	}
}
