package ingest_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ebbwatch/ebbwatch/internal/deadletter"
	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// A log that is rotated, a service that is restarted in between: every line is
// written once.
func TestFollowRotateRestart(t *testing.T) {
	t.Parallel()
	for _, embedded := range []bool{false, true} {
		t.Run(map[bool]string{false: "kafka", true: "embedded"}[embedded], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			dir := t.TempDir()
			log := filepath.Join(dir, "conn.log")
			put(t, log, many(conn, 0, 100))
			r := w.start("ingest-zeek", quick(dir), embedded)
			until(t, "first lines", func() bool { return w.counted("ebbwatch_ingest_events_total") >= 100 })
			add(t, log, many(conn, 100, 150))
			until(t, "appended lines", func() bool { return w.counted("ebbwatch_ingest_events_total") >= 150 })
			add(t, log, many(conn, 150, 160)+conn(160)[:40])
			r.stop()

			add(t, log, conn(160)[40:]+many(conn, 161, 200))
			if err := os.Rename(log, filepath.Join(dir, "conn.1.log")); err != nil {
				t.Fatal(err)
			}
			put(t, log, many(conn, 200, 250))
			r = w.start("ingest-zeek", quick(dir), embedded)
			until(t, "lines after the restart", func() bool { return len(ids(w.events(topic.Network))) >= 250 })
			r.stop()
			if d := cmp.Diff(wantIDs("C", 0, 250), ids(w.events(topic.Network))); d != "" {
				t.Error(d)
			}
			if w.lag["zeek_ingestion"] <= 0 {
				t.Errorf("lag %v", w.lag)
			}
		})
	}
}

const tsvHeader = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n#open\t2026-01-05-10-00-00\n" +
	"#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tconn_state\n#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\n"

func tsv(n int) string {
	return fmt.Sprintf("%d.0\tC%d\t10.0.0.%d\t40000\t198.51.100.7\t443\ttcp\tSF\n", start+n, n, n%9+1)
}

// The header of a TSV file is known after a restart in the middle of it.
func TestRestartBehindAHeader(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := filepath.Join(t.TempDir(), "conn.log")
	put(t, log, tsvHeader+many(tsv, 0, 10))
	for n := 10; n <= 40; n += 10 {
		r := w.start("ingest-zeek", quick(log), false)
		until(t, "lines", func() bool { return len(w.events(topic.Network)) >= n })
		r.stop()
		add(t, log, many(tsv, n, n+10))
	}
	if d := cmp.Diff(wantIDs("C", 0, 40), ids(w.events(topic.Network))); d != "" {
		t.Error(d)
	}
}

// Commits that fail end the service, and the next start writes what is
// missing, no more and no less.
func TestFailedCommits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	put(t, filepath.Join(dir, "conn.log"), many(conn, 0, 1000))
	put(t, filepath.Join(dir, "dns.log.gz"), zipped(t, many(dns, 0, 1000)))
	var ends atomic.Int64
	w.cluster.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		end, ok := req.(*kmsg.EndTxnRequest)
		if !ok || !end.Commit || ends.Add(1)%3 != 0 {
			return nil, nil, false
		}
		res := end.ResponseKind().(*kmsg.EndTxnResponse)
		res.ErrorCode = kerr.UnknownServerError.Code
		return res, nil, true
	})
	cfg := quick(dir)
	cfg.CommitBytes = 60 << 10
	cfg.Once = true
	failed := 0
	for tries := 0; ; tries++ {
		if tries == 30 {
			t.Fatal("it never gets through")
		}
		if err := w.start("ingest-zeek", cfg, false).wait(); err == nil {
			break
		}
		failed++
	}
	if failed == 0 {
		t.Error("no commit failed")
	}
	if d := cmp.Diff(append(wantIDs("C", 0, 1000), wantIDs("D", 0, 1000)...), sortedByLetter(ids(w.events(topic.Network)))); d != "" {
		t.Error(d)
	}
}

func sortedByLetter(list []string) []string {
	slices.SortStableFunc(list, func(a, b string) int { return int(a[0]) - int(b[0]) })
	return list
}

func zipped(t *testing.T, data string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(data)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A mark is the last record of its transaction in every partition. The low
// watermarks are those of lateness.go, and the closing one speaks of all.
func TestMarks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	put(t, filepath.Join(dir, "conn.log"), many(conn, 0, 1000))
	put(t, filepath.Join(dir, "dns.log"), many(dns, 0, 500))
	r := w.start("ingest-zeek", quick(dir), false)
	until(t, "events and marks", func() bool { return len(w.events(topic.Network)) == 1500 && len(w.marks(topic.Network)) >= 4 })
	add(t, filepath.Join(dir, "dns.log"), dns(500))
	until(t, "another event", func() bool { return len(w.events(topic.Network)) == 1501 })
	r.stop()

	recs := w.read(topic.Network)
	perPartition := map[int32]int{}
	for i, rec := range recs {
		if rec.kind != "mark" || rec.control {
			continue
		}
		perPartition[rec.partition]++
		if rec.v != "1" || rec.key != "ingest-zeek/0" {
			t.Errorf("mark with v %q, key %q", rec.v, rec.key)
		}
		if i+1 >= len(recs) || !recs[i+1].control || recs[i+1].partition != rec.partition {
			t.Fatalf("behind a mark stands %+v", recs[i+1])
		}
	}
	if len(perPartition) != 4 || perPartition[0] != perPartition[3] {
		t.Errorf("marks per partition: %v", perPartition)
	}

	marks := w.marks(topic.Network)
	last := marks[perPartition[0]-1]
	if !last.Closing || !last.Full || last.Instance != "ingest-zeek/0" {
		t.Errorf("last mark %+v", last)
	}
	// conn ends at start+999+1; dns follows it once it is read to its end.
	newest := int64(start+1000) * 1e6
	want := []event.SourceMark{
		{Type: "zeek", Name: "sensor", Realm: "default", Stream: "conn", Low: newest - 310e6, Records: 1000, Promise: true},
		{Type: "zeek", Name: "sensor", Realm: "default", Stream: "dns", Low: newest - 20e6, Records: 501, Promise: true},
	}
	if d := cmp.Diff(want, last.Sources); d != "" {
		t.Error(d)
	}
	lows := map[string]int64{}
	partial := false
	for _, m := range marks[:perPartition[0]] {
		partial = partial || !m.Full
		for _, s := range m.Sources {
			if s.Low < lows[s.Stream] {
				t.Errorf("the watermark of %s goes back", s.Stream)
			}
			lows[s.Stream] = s.Low
		}
		if m.Closing != (len(m.Sources) == len(last.Sources) && m.Closing) {
			t.Errorf("mark %+v", m)
		}
	}
	if !partial {
		t.Error("every mark is a full one")
	}
}

// After a restart the watermarks stand where they stood.
func TestMarksAfterRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	put(t, filepath.Join(dir, "conn.log"), many(conn, 0, 100))
	if err := w.start("ingest-zeek", once(dir), false).wait(); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "dns.log"), many(dns, 0, 10))
	if err := w.start("ingest-zeek", once(dir), false).wait(); err != nil {
		t.Fatal(err)
	}
	marks := w.marks(topic.Network)
	last := marks[len(marks)-1]
	if len(last.Sources) != 2 || last.Sources[0].Low != (start+100-310)*1e6 || last.Sources[0].Records != 100 || last.Sources[1].Records != 10 {
		t.Errorf("%+v", last)
	}
}

// Streams that another reader of the service met (objects, topics) have no files.
// After a restart they are read on where there is such a reader, and closed where
// there is none any more.
func TestStreamsOfOthersAfterRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.outside = true
	dir := t.TempDir()
	put(t, filepath.Join(dir, "conn.log"), conn(0))
	const at = (start + 5000) * 1e6
	r := w.start("ingest-zeek", quick(dir), false)
	until(t, "the service", func() bool { return len(w.marks(topic.Network)) > 0 })
	e := event.Event{Kind: event.KindFlow, Time: at, Observer: event.Observer{Type: "vpcflow", Name: "bucket", Realm: "default"}}
	r.svc.Outside().Committed(&e)
	r.stop()
	of := func() (out []event.SourceMark) {
		for _, m := range w.marks(topic.Network) {
			for _, s := range m.Sources {
				if s.Name == "bucket" {
					out = append(out, s)
				}
			}
		}
		return out
	}
	before := of()
	if len(before) == 0 {
		t.Fatal("no mark tells of the stream")
	}

	if err := w.start("ingest-zeek", once(dir), false).wait(); err != nil {
		t.Fatal(err)
	}
	after := of()
	if len(after) == len(before) {
		t.Error("no mark tells of the stream after the restart")
	}
	for _, s := range after {
		if s.Closed || s.Low != before[0].Low || s.Records != 1 {
			t.Errorf("%+v", s)
		}
	}

	w.outside = false
	if err := w.start("ingest-zeek", once(dir), false).wait(); err != nil {
		t.Fatal(err)
	}
	last := of()
	if !last[len(last)-1].Closed {
		t.Errorf("without its reader the stream stays open: %+v", last[len(last)-1])
	}
}

func once(paths ...string) ingest.Config {
	c := quick(paths...)
	c.Once = true
	return c
}

// A day that is caught up with arrives in nearly the order of a live day: the
// logs advance together in event time.
func TestCatchingUpInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	for hour := range 4 {
		from, to := hour*900, (hour+1)*900
		every := func(line func(int) string, step int) string {
			var b strings.Builder
			for n := from; n < to; n += step {
				b.WriteString(line(n))
			}
			return b.String()
		}
		put(t, filepath.Join(dir, "2026-01-05", fmt.Sprintf("conn.%02d.log.gz", hour)), zipped(t, every(conn, 1)))
		put(t, filepath.Join(dir, "2026-01-05", fmt.Sprintf("dns.%02d.log.gz", hour)), zipped(t, every(dns, 30)))
	}
	cfg := once(dir)
	if err := w.start("ingest-zeek", cfg, false).wait(); err != nil {
		t.Fatal(err)
	}
	newest := map[event.Kind]int64{}
	worst := int64(0)
	part := int32(-1)
	n := 0
	for _, rec := range w.read(topic.Network) {
		if rec.control || rec.kind == "mark" {
			continue
		}
		if rec.partition != part {
			part = rec.partition
			clear(newest)
		}
		var e event.Event
		if err := event.Decode(rec.value, &e); err != nil {
			t.Fatal(err)
		}
		n++
		if e.Time < newest[e.Kind] {
			t.Fatalf("%s of %d after %d", e.Kind, e.Time, newest[e.Kind])
		}
		newest[e.Kind] = e.Time
		if c, d := newest[event.KindConn], newest[event.KindDNS]; c > 0 && d > 0 {
			worst = max(worst, c-d, d-c)
		}
	}
	if n != 4*900+4*30 {
		t.Errorf("%d events", n)
	}
	if worst > 5*60*1e6 {
		t.Errorf("the logs are up to %d s apart", worst/1e6)
	}
}

// What is wrong goes to the dead letters with its reason and origin, and what
// comes from far in the future is flagged.
func TestDeadLettersAndFlags(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	future := strings.Replace(conn(1), fmt.Sprint(start+1), fmt.Sprint(time.Now().Add(time.Hour).Unix()), 1)
	big := strings.Replace(strings.Replace(conn(2), "198.51.100.7", "10.9.9.9", 1), `"orig_bytes":102,"resp_bytes":9,"orig_ip_bytes":202`, `"orig_bytes":2000000,"resp_bytes":9,"orig_ip_bytes":2100000`, 1)
	put(t, filepath.Join(dir, "conn.log"), conn(0)+"{broken\n"+future+big)
	put(t, filepath.Join(dir, "stderr.log"), "no log at all\nreally\nnot\nat all\n")
	put(t, filepath.Join(dir, "alerts.json"), `{"rule":"r","priority":"Notice","time":"2026-01-05T10:00:00Z","output_fields":{}}`+"\n")
	put(t, filepath.Join(dir, ".shadow.conn.log"), conn(7))
	put(t, filepath.Join(dir, "dns.log.gz"), zipped(t, many(dns, 0, 500))[:2000])
	for range 2 { // the second start has nothing to add
		if err := w.start("ingest-zeek", once(dir), false).wait(); err != nil {
			t.Fatal(err)
		}
	}
	reasons := map[string]int{}
	for _, rec := range w.read(topic.DeadLetter) {
		if rec.control {
			continue
		}
		l, err := deadletter.Decode(rec.value)
		if err != nil {
			t.Fatal(err)
		}
		if rec.key != "zeek" || rec.kind != deadletter.Kind || rec.v != "1" || l.Source != "zeek" {
			t.Errorf("%+v", rec)
		}
		reasons[l.Reason+" "+filepath.Base(l.Origin.Name)]++
		if l.Reason == decode.ReasonJSON && (*l.Origin.Line != 2 || *l.Origin.Offset != int64(len(conn(0))) || string(l.Raw) != "{broken") {
			t.Errorf("%+v", l)
		}
	}
	want := map[string]int{
		decode.ReasonJSON + " conn.log": 1, decode.ReasonUnknownFormat + " stderr.log": 1, decode.ReasonUnknownFormat + " alerts.json": 1,
		decode.ReasonTruncated + " dns.log.gz": 1,
	}
	if d := cmp.Diff(want, reasons); d != "" {
		t.Error(d)
	}
	var mirrors, flagged, plain int
	for _, e := range w.events(topic.Network) {
		switch {
		case e.Kind == event.KindDNS:
			if e.Origin.Name != filepath.Join(dir, "dns.log.gz") {
				t.Errorf("origin %+v", e.Origin)
			}
		case e.Role == event.RoleMirror:
			mirrors++
		case e.Future:
			flagged++
		default:
			plain++
			if e.Network.Direction == "" || e.Observer.Realm != "default" || e.Observer.Name != "sensor" {
				t.Errorf("incomplete: %+v", e.Observer)
			}
		}
	}
	if mirrors != 1 || flagged != 1 || plain != 2 {
		t.Errorf("%d mirrored, %d flagged, %d plain", mirrors, flagged, plain)
	}
	for _, m := range w.marks(topic.Network) {
		for _, s := range m.Sources {
			if s.Low > time.Now().UnixMicro() {
				t.Errorf("the future moves a watermark: %+v", s)
			}
		}
	}
}

// Both copies of an internal transfer lie under the keys of site.Place.
func TestKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var err error
	if w.site, err = site.Parse([]byte("realms: {sensor: prod}\n")); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put(t, filepath.Join(dir, "conn.log"), conn(0))
	if err := w.start("ingest-zeek", once(dir), false).wait(); err != nil {
		t.Fatal(err)
	}
	cfg := once(dir)
	cfg.Sources[0].Name, cfg.Sources[0].Realm = "other", "lab"
	if err := w.start("ingest-zeek", cfg, false).wait(); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, rec := range w.read(topic.Network) {
		if rec.kind == "conn" {
			keys = append(keys, rec.key)
		}
	}
	slices.Sort(keys)
	if d := cmp.Diff([]string{"lab|10.0.0.1", "prod|10.0.0.1"}, keys); d != "" {
		t.Error(d)
	}
}

// An event that no topic takes is a dead letter; what stands around it is written.
func TestAnEventBeyondAMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	// Each byte of the name takes six in JSON.
	long := strings.Replace(dns(1), "x1.example.com", strings.Repeat("\\u0001", 200_000), 1)
	put(t, filepath.Join(dir, "dns.log"), dns(0)+long+dns(2))
	cfg := once(dir)
	cfg.MaxLine = 4 << 20
	if err := w.start("ingest-zeek", cfg, false).wait(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"D0", "D2"}, ids(w.events(topic.Network))); d != "" {
		t.Error(d)
	}
	for _, rec := range w.read(topic.DeadLetter) {
		if rec.control {
			continue
		}
		l, err := deadletter.Decode(rec.value)
		if err != nil || l.Reason != decode.ReasonEventLong || *l.Origin.Line != 2 || l.Size <= stream.MaxOutputBytes {
			t.Errorf("%v %+v", err, l.Origin)
		}
		return
	}
	t.Error("no dead letter")
}
