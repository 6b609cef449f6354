package objects

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
)

func kafkaOf(slot string) stream.ProducerConfig {
	return stream.ProducerConfig{Service: "test", Slot: slot, Brokers: []string{"127.0.0.1:1"}}
}

func zipped(parts ...string) []byte {
	var buf bytes.Buffer
	for _, p := range parts {
		z := gzip.NewWriter(&buf)
		_, _ = z.Write([]byte(p))
		_ = z.Close()
	}
	return buf.Bytes()
}

func ids(from, n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("id-%d/111122223333", from+i))
	}
	return out
}

func TestRepeatedAnnouncementsAreReadOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, "ingest-cloudtrail", nil)
	b.lake.objects["logs/a.json.gz"] = &object{data: zipped(records(0, 10))}
	b.lake.objects["logs/b.json.gz"] = &object{data: zipped(records(10, 5))}
	for range 3 {
		b.announce("logs/a.json.gz")
		b.announce("logs/b.json.gz")
	}
	b.drain()
	b.reborn()
	b.announce("logs/a.json.gz")
	b.drain()
	if diff := cmp.Diff(ids(0, 15), b.events()); diff != "" {
		t.Error(diff)
	}
	if got := b.fake.counts["tasks/repeated"]; got != 5 {
		t.Errorf("%d repetitions, want 5", got)
	}
}

// A large object is read part by part; between any two parts the instance may
// die. Whatever happens each record comes out once, in order.
func TestLargeObjectSurvivesCrashes(t *testing.T) {
	t.Parallel()
	const n = 3*testPart + 17
	for name, crash := range map[string]bool{"held open": false, "opened again": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "ingest-cloudtrail", nil)
			b.lake.objects["logs/a.json.gz"] = &object{data: zipped(records(0, n)), etag: `"e"`}
			b.announce("logs/a.json.gz")
			steps := 0
			for b.step() {
				steps++
				if crash {
					b.reborn()
				}
			}
			if diff := cmp.Diff(ids(0, n), b.events()); diff != "" {
				t.Error(diff)
			}
			if steps < 3 {
				t.Errorf("it was read in %d steps", steps)
			}
			if !crash && b.lake.gets != 1 {
				t.Errorf("%d requests for an object that is held open", b.lake.gets)
			}
		})
	}
}

// What a half-done commit of the embedded broker leaves behind: the tasks of a
// part stand twice on the topic.
func TestLeftoverTasksAreStale(t *testing.T) {
	t.Parallel()
	const n = 2*testPart + 5
	b := newBench(t, "ingest-cloudtrail", nil)
	b.lake.objects["logs/a.json.gz"] = &object{data: zipped(records(0, n)), etag: `"e"`}
	b.announce("logs/a.json.gz")
	b.step()
	again := *b.log[1]
	b.log = append(b.log, &again)
	b.drain()
	if diff := cmp.Diff(ids(0, n), b.events()); diff != "" {
		t.Error(diff)
	}
	if b.fake.counts["tasks/stale"] == 0 {
		t.Error("no task was stale")
	}
}

func TestBrokenTransfersAreTriedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, "ingest-cloudtrail", nil)
	data := []byte(records(0, 4000))
	rng := rand.New(rand.NewPCG(1, 2))
	o := &object{data: data, etag: `"e"`}
	for range 6 {
		o.cuts = append(o.cuts, rng.IntN(len(data)))
	}
	b.lake.objects["logs/a.json"] = o
	b.announce("logs/a.json")
	b.drain()
	if diff := cmp.Diff(ids(0, 4000), b.events()); diff != "" {
		t.Error(diff)
	}
	if len(b.letters()) > 0 {
		t.Error("a broken transfer is no dead letter")
	}
	if len(o.cuts) > 0 {
		t.Errorf("%d transfers were not cut: the test shows nothing", len(o.cuts))
	}
}

func TestWhatS3Refuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		object *object
		reason string
	}{
		"missing":  {nil, reasonMissing},
		"denied":   {&object{code: "AccessDenied"}, reasonDenied},
		"archived": {&object{code: "InvalidObjectState"}, reasonArchived},
		"foreign":  {&object{data: []byte("2 1 eni-1 10.0.0.1 10.0.0.2 1 2 6 1 100 1 2 ACCEPT OK\n")}, reasonFormat},
		"unknown":  {&object{data: []byte("hello, world\nthis is no log\n")}, decode.ReasonUnknownFormat},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "ingest-cloudtrail", nil)
			if c.object != nil {
				b.lake.objects["logs/a"] = c.object
			}
			b.announce("logs/a")
			b.drain()
			if diff := cmp.Diff(map[string]int{c.reason: 1}, b.reasons()); diff != "" {
				t.Fatal(diff)
			}
			if at := b.letters()[0].Origin.Name; at != "s3://logs/a" {
				t.Errorf("its origin is %q", at)
			}
			if !slices.Contains([]string{reasonMissing, reasonDenied, reasonArchived}, c.reason) {
				return
			}
			// The cause is removed, the object announced anew.
			b.lake.mu.Lock()
			b.lake.objects["logs/a"] = &object{data: zipped(records(0, 3))}
			b.lake.mu.Unlock()
			b.reborn()
			b.announce("logs/a")
			b.drain()
			if diff := cmp.Diff(ids(0, 3), b.events()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestObjectThatChangesWhileItIsRead(t *testing.T) {
	t.Parallel()
	b := newBench(t, "ingest-cloudtrail", nil)
	b.lake.objects["logs/a"] = &object{data: zipped(records(0, testPart+10)), etag: `"one"`}
	b.announce("logs/a")
	b.step()
	b.reborn()
	b.lake.mu.Lock()
	b.lake.objects["logs/a"] = &object{data: zipped(records(5, testPart+10)), etag: `"two"`}
	b.lake.mu.Unlock()
	b.drain()
	if diff := cmp.Diff(map[string]int{reasonChanged: 1}, b.reasons()); diff != "" {
		t.Error(diff)
	}
}

// Without time left in the transaction nothing is begun, and nothing lost.
func TestNoTimeLeft(t *testing.T) {
	t.Parallel()
	b := newBench(t, "ingest-cloudtrail", nil)
	b.lake.objects["logs/a"] = &object{data: zipped(records(0, 3))}
	b.fake.until = time.Now().Add(-time.Second)
	b.announce("logs/a")
	b.step()
	if b.lake.gets != 0 || len(b.events()) != 0 {
		t.Fatal("it was read all the same")
	}
	b.fake.until = time.Time{}
	b.drain()
	if diff := cmp.Diff(ids(0, 3), b.events()); diff != "" {
		t.Error(diff)
	}
}

func TestBoundsOfAnObject(t *testing.T) {
	t.Parallel()
	t.Run("records", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "ingest-cloudtrail", func(s *store) { s.maxRecords = 1000 })
		b.lake.objects["logs/a"] = &object{data: zipped(records(0, 5000))}
		b.announce("logs/a")
		b.drain()
		if diff := cmp.Diff(map[string]int{decode.ReasonTooMany: 1}, b.reasons()); diff != "" {
			t.Error(diff)
		}
		if n := len(b.events()); n < 1000 || n > 1100 {
			t.Errorf("%d events were read", n)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "ingest-cloudtrail", func(s *store) { s.maxObject = 1000 })
		b.lake.objects["logs/a"] = &object{data: []byte(records(0, 50))}
		b.announce("logs/a")
		b.drain()
		if diff := cmp.Diff(map[string]int{reasonTooLarge: 1}, b.reasons()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestFirehoseObjects(t *testing.T) {
	t.Parallel()
	line := "2 111122223333 eni-%d 10.0.0.1 198.51.100.7 44321 443 6 10 5000 1767607140 1767607200 ACCEPT OK"
	document := func(from int) string {
		return fmt.Sprintf(`{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","subscriptionFilters":["f"],"logEvents":[{"id":"1","timestamp":1,"message":"`+line+
			`"},{"id":"2","timestamp":1,"message":"`+line+`"}]}`, from, from+1)
	}
	control := `{"messageType":"CONTROL_MESSAGE","owner":"CloudwatchLogs","logGroup":"","logStream":"","subscriptionFilters":[],"logEvents":[{"id":"","timestamp":1,"message":"CWL CONTROL MESSAGE: Checking health of destination Firehose."}]}`
	b := newBench(t, "ingest-flow", nil)
	b.lake.objects["logs/a.gz"] = &object{data: zipped(control, document(0), document(2))}
	b.lake.objects["logs/b"] = &object{data: []byte(document(4) + document(6) + "\n" + document(8))}
	b.announce("logs/a.gz")
	b.announce("logs/b")
	b.drain()
	if n := len(b.events()); n != 10 {
		t.Errorf("%d events, want 10", n)
	}
	if len(b.letters()) > 0 {
		t.Errorf("dead: %v %q", b.reasons(), b.letters()[0].Raw)
	}
}

func TestEventsInMessages(t *testing.T) {
	t.Parallel()
	b := newBench(t, "ingest-cloudtrail", nil)
	refs, form, err := parseAnnouncement([]byte(`{"version":"0","id":"e-1","detail-type":"AWS API Call via CloudTrail","source":"aws.s3","detail":` + record(7) + `}`))
	if err != nil || form != formInline || len(refs) != 1 {
		t.Fatal(refs, form, err)
	}
	for range 2 {
		b.push(taskOf(refs[0], "cloudtrail"))
	}
	b.drain()
	if diff := cmp.Diff(ids(7, 1), b.events()); diff != "" {
		t.Error(diff)
	}
}
