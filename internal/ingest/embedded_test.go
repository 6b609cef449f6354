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

// On the embedded broker a commit can be half done after a kill: events
// without their positions. They are read again and not written again.
func TestHalfDoneCommit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := filepath.Join(dir, "conn.log")
	put(t, log, many(conn, 0, 80))
	// What the service will write of the lines that the broker is killed in.
	whole := newWorld(t)
	if err := whole.start("ingest-zeek", once(dir), true).wait(); err != nil {
		t.Fatal(err)
	}
	var published []*kgo.Record
	for _, rec := range whole.read(topic.Network) {
		var e event.Event
		if rec.kind != "conn" || event.Decode(rec.value, &e) != nil || len(e.ID) < 3 || e.ID < "C50" {
			continue
		}
		published = append(published, &kgo.Record{Topic: rec.topic, Partition: rec.partition, Key: []byte(rec.key), Value: rec.value})
	}
	if len(published) != 30 {
		t.Fatalf("%d records", len(published))
	}

	w := newWorld(t)
	put(t, log, many(conn, 0, 50))
	r := w.start("ingest-zeek", quick(dir), true)
	until(t, "events", func() bool { return len(w.events(topic.Network)) == 50 })
	w.cluster.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		res := req.ResponseKind().(*kmsg.EndTxnResponse)
		res.ErrorCode = kerr.UnknownServerError.Code
		return res, nil, true
	})
	add(t, log, many(conn, 50, 80))
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
	add(t, log, many(conn, 80, 90))
	r = w.start("ingest-zeek", quick(dir), true)
	until(t, "the rest", func() bool { return w.counted("ebbwatch_ingest_events_total") >= 40 })
	r.stop()
	if n := w.counted("ebbwatch_ingest_suppressed_total"); n != 30 {
		t.Errorf("%v events suppressed", n)
	}
	got := 0
	for _, rec := range w.read(topic.Network) {
		if !rec.control && rec.kind != "mark" {
			got++
		}
	}
	if got != 90 {
		t.Errorf("%d events on the topic", got)
	}
}

// The embedded broker compacts nothing: positions are rewritten and trimmed,
// those of other services too, and still hold.
func TestPositionsAreCompacted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	zeek, falco := t.TempDir(), t.TempDir()
	alert := func(n int) string {
		return fmt.Sprintf(`{"hostname":"n","priority":"Notice","rule":"r%d","time":"2026-01-05T10:00:00Z","output_fields":{}}`+"\n", n)
	}
	put(t, filepath.Join(falco, "falco.json"), alert(1))
	if err := w.start("ingest-falco", once(falco), true).wait(); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(zeek, "conn.log")
	put(t, log, many(conn, 0, 100))
	if err := w.start("ingest-zeek", once(zeek), true).wait(); err != nil {
		t.Fatal(err)
	}
	// As if it had committed often.
	var copies []*kgo.Record
	for _, rec := range w.read(topic.Positions) {
		if strings.HasPrefix(rec.key, "ingest-zeek/0/file/") {
			for range 1100 {
				copies = append(copies, &kgo.Record{Topic: rec.topic, Key: []byte(rec.key), Value: rec.value})
			}
		}
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(context.Background(), copies...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	records := func() (n int) {
		for _, rec := range w.read(topic.Positions) {
			if !rec.control {
				n++
			}
		}
		return n
	}
	before := records()
	if before < 1002 {
		t.Fatalf("only %d records of positions", before)
	}
	add(t, log, many(conn, 100, 110))
	if err := w.start("ingest-zeek", once(zeek), true).wait(); err != nil {
		t.Fatal(err)
	}
	if after := records(); after > 20 {
		t.Errorf("%d records of positions, %d before", after, before)
	}
	add(t, filepath.Join(falco, "falco.json"), alert(2))
	if err := w.start("ingest-falco", once(falco), true).wait(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(wantIDs("C", 0, 110), ids(w.events(topic.Network))); d != "" {
		t.Error(d)
	}
	if n := len(w.events(topic.Host)); n != 2 {
		t.Errorf("%d alerts", n)
	}
}
