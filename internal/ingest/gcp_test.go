package ingest_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// gcpFlow and gcpGet are entries of the two planes; n makes them different.
func gcpFlow(n int) string {
	return fmt.Sprintf(`{"insertId":"f%d","logName":"projects/p/logs/compute.googleapis.com%%2Fvpc_flows","timestamp":"2026-01-05T10:00:09Z","jsonPayload":{"reporter":"SRC",`+
		`"start_time":"2026-01-05T10:00:00Z","end_time":"2026-01-05T10:00:04.%06dZ","bytes_sent":"%d","packets_sent":"4","connection":{"src_ip":"10.128.0.%d","src_port":40000,`+
		`"dest_ip":"203.0.113.9","dest_port":443,"protocol":6}}}`, n, n, 1000+n, n%9+1)
}

func gcpGet(n int) string {
	return fmt.Sprintf(`{"insertId":"a%d","logName":"projects/p/logs/cloudaudit.googleapis.com%%2Fdata_access","timestamp":"2026-01-05T10:00:00.%06dZ","protoPayload":{"status":{},`+
		`"authenticationInfo":{"principalEmail":"u%d@example.com"},"serviceName":"storage.googleapis.com","methodName":"storage.objects.get",`+
		`"authorizationInfo":[{"permission":"storage.objects.get","granted":true}],"resourceName":"projects/_/buckets/b/objects/o%d"}}`, n, n, n%9, n)
}

// gcpMix are lines of both planes, so many of each.
func gcpMix(from, to int) string {
	return many(func(n int) string { return gcpFlow(n) + "\n" + gcpGet(n) + "\n" }, from, to)
}

func distinct(events []event.Event) int {
	seen := map[string]bool{}
	for i := range events {
		if events[i].Role != event.RoleMirror {
			seen[events[i].ID] = true
		}
	}
	return len(seen)
}

// One folder holds entries of two planes, as lines and as arrays: each goes to
// its topic, once, restarts or not, and what is no entry is a dead letter. Each
// partition of both topics is told of the streams that the topic has.
func TestTwoPlanes(t *testing.T) {
	t.Parallel()
	for _, embedded := range []bool{false, true} {
		t.Run(map[bool]string{false: "kafka", true: "embedded"}[embedded], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			dir := t.TempDir()
			log := filepath.Join(dir, "s", "10:00:00_10:59:59_S0.json")
			put(t, log, gcpMix(0, 100)+"{broken\n")
			r := w.start("ingest-gcp", quick(dir), embedded)
			until(t, "first entries", func() bool { return w.counted("ebbwatch_ingest_events_total") >= 200 })
			r.stop()
			add(t, log, gcpMix(100, 120))
			put(t, filepath.Join(dir, "s", "array.json"), "[\n"+gcpFlow(120)+",\n"+gcpGet(120)+"]\n")
			r = w.start("ingest-gcp", quick(dir), embedded)
			until(t, "the rest", func() bool { return w.counted("ebbwatch_ingest_events_total") >= 42 })
			r.stop()
			for name, kind := range map[string]event.Kind{topic.Network: event.KindFlow, topic.Cloud: event.KindObject} {
				list := w.events(name)
				if len(list) != 121 || distinct(list) != 121 {
					t.Errorf("%s has %d events, %d different ones", name, len(list), distinct(list))
				}
				for i := range list {
					if list[i].Kind != kind {
						t.Fatalf("%s on %s", list[i].Kind, name)
					}
				}
				marked := map[int32]bool{}
				for _, rec := range w.read(name) {
					var m event.Mark
					if rec.kind != "mark" || rec.control {
						continue
					}
					if err := event.DecodeMark(rec.value, &m); err != nil {
						t.Fatal(err)
					}
					for _, src := range m.Sources {
						marked[rec.partition] = true
						if src.Stream != kind.String() || src.Promise {
							t.Errorf("%s is told of %+v", name, src)
						}
					}
				}
				n := topicRow(t, name).Count(true)
				for p := range n {
					if !marked[p] {
						t.Errorf("partition %d of %s was told nothing", p, name)
					}
				}
			}
			dead := 0
			for _, rec := range w.read(topic.DeadLetter) {
				if !rec.control {
					dead++
				}
			}
			if dead != 1 {
				t.Errorf("%d dead letters", dead)
			}
		})
	}
}

func topicRow(t *testing.T, name string) topic.Topic {
	t.Helper()
	for _, row := range topic.Table() {
		if row.Name == name {
			return row
		}
	}
	t.Fatalf("no topic %s", name)
	return topic.Topic{}
}

// A commit of the embedded broker that is half done may have published any part
// of both topics: it is not written again, the other part is.
func TestHalfDoneCommitOfTwoPlanes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := filepath.Join(dir, "x.json")
	put(t, log, gcpMix(0, 40))
	whole := newWorld(t)
	if err := whole.start("ingest-gcp", once(dir), true).wait(); err != nil {
		t.Fatal(err)
	}
	// Of what lies behind the first 20 lines: all but the reads of one user.
	known := map[string]bool{}
	w := newWorld(t)
	put(t, log, gcpMix(0, 10))
	r := w.start("ingest-gcp", quick(dir), true)
	until(t, "events", func() bool { return len(w.events(topic.Network))+len(w.events(topic.Cloud)) == 20 })
	for _, rec := range w.read(topic.Network, topic.Cloud) {
		known[string(rec.value)] = true
	}
	var published []*kgo.Record
	for _, rec := range whole.read(topic.Network, topic.Cloud) {
		if rec.control || rec.kind == "mark" || known[string(rec.value)] || strings.Contains(string(rec.value), `"u3@`) {
			continue
		}
		published = append(published, &kgo.Record{
			Topic: rec.topic, Partition: rec.partition, Key: []byte(rec.key), Value: rec.value, Headers: []kgo.RecordHeader{{Key: "kind", Value: []byte(rec.kind)}, {Key: "v", Value: []byte(rec.v)}},
		})
	}
	w.cluster.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		res := req.ResponseKind().(*kmsg.EndTxnResponse)
		res.ErrorCode = kerr.UnknownServerError.Code
		return res, nil, true
	})
	add(t, log, gcpMix(10, 40))
	if err := r.wait(); err == nil {
		t.Fatal("the commit did not fail")
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(context.Background(), published...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := w.start("ingest-gcp", once(dir), true).wait(); err != nil {
		t.Fatal(err)
	}
	if n := w.counted("ebbwatch_ingest_suppressed_total"); n != float64(len(published)) || n < 50 {
		t.Errorf("%v events suppressed of %d", n, len(published))
	}
	for _, name := range []string{topic.Network, topic.Cloud} {
		if d := cmp.Diff(ids(whole.events(name)), ids(w.events(name))); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
