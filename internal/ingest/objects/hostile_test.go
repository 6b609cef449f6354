package objects

import (
	"bytes"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/internal/race"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
)

// peak runs fn and returns the most memory that the process held meanwhile
// beyond what it held before, as the system sees it.
func peak(fn func()) uint64 {
	debug.FreeOSMemory()
	var m runtime.MemStats
	held := func() uint64 {
		runtime.ReadMemStats(&m)
		return m.Sys - m.HeapReleased
	}
	before := held()
	var most atomic.Uint64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		var m runtime.MemStats
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				runtime.ReadMemStats(&m)
				most.Store(max(most.Load(), m.Sys-m.HeapReleased))
			}
		}
	}()
	fn()
	close(stop)
	<-done
	return max(most.Load(), before) - before
}

const maxMemory = 256 << 20

// Acceptance 7 of the ingest issue. These tests measure the memory of the
// process, so they run alone: not in parallel.

//nolint:paralleltest // see above
func TestHugeObjectOnOneLine(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 2 GB")
	}
	size, records1, giant := int64(2<<30), 20_000, int64(2000<<20)
	if race.Enabled { // which makes a minute and a half of it
		size, records1, giant = 256<<20, 2000, 250<<20
	}
	written := int64(0)
	b := newBench(t, "ingest-cloudtrail", func(s *store) { s.part = partRecords })
	b.fake.quiet = true
	sent := 0
	b.lake.objects["logs/huge.json"] = &object{etag: `"e"`, write: func(w io.Writer) {
		put := func(p []byte) {
			n, _ := w.Write(p) // a reader that has gone is no matter
			written += int64(n)
		}
		put([]byte(`{"Records":[`))
		for ; sent < records1; sent++ {
			put([]byte(record(sent) + ","))
		}
		// One record that would fill the memory.
		put([]byte(`{"eventVersion":"1.11","eventName":"`))
		chunk := bytes.Repeat([]byte("A"), 1<<20)
		for n := int64(0); n < giant; n += int64(len(chunk)) {
			put(chunk)
		}
		put([]byte(`"}`))
		for ; written < size; sent++ {
			put([]byte("," + record(sent)))
		}
		put([]byte(`]}`))
	}}
	b.announce("logs/huge.json")
	used := peak(b.drain)
	t.Logf("%d MB, %d records, %d MB of memory at most", written>>20, sent, used>>20)
	if used > maxMemory {
		t.Errorf("%d MB of memory, allowed are %d", used>>20, maxMemory>>20)
	}
	if written < size {
		t.Errorf("only %d bytes were read", written)
	}
	if b.fake.events != sent {
		t.Errorf("%d events, want %d", b.fake.events, sent)
	}
	if diff := cmp.Diff(map[string]int{decode.ReasonTooLong: 1}, b.reasons()); diff != "" {
		t.Fatal(diff)
	}
	checkLetter(t, b, `{"eventVersion":"1.11","eventName":"AAAA`)
}

//nolint:paralleltest // see above
func TestGzipBomb(t *testing.T) {
	b := newBench(t, "ingest-cloudtrail", nil)
	// 4 GB: members of 16 MB behind one another, as Firehose writes them.
	bomb := zipped(`{"Records":[` + record(1) + "," + record(2) + `,{"eventVersion":"`)
	member := zipped(strings.Repeat("A", 16<<20))
	for range 256 {
		bomb = append(bomb, member...)
	}
	b.lake.objects["logs/bomb.json.gz"] = &object{etag: `"e"`, data: bomb}
	b.announce("logs/bomb.json.gz")
	b.lake.objects["logs/good.json.gz"] = &object{data: zipped(records(3, 4))}
	b.announce("logs/good.json.gz")
	used := peak(b.drain)
	t.Logf("%d MB of memory at most", used>>20)
	if used > maxMemory {
		t.Errorf("%d MB of memory, allowed are %d", used>>20, maxMemory>>20)
	}
	if diff := cmp.Diff(ids(1, 6), b.events()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{input.ReasonLimit: 1}, b.reasons()); diff != "" {
		t.Fatal(diff)
	}
	checkLetter(t, b, `{"eventVersion":"AAAA`)
}

// checkLetter holds the one dead letter to what it must say: the first 64 KiB,
// a hash, and where it stood.
func checkLetter(t *testing.T, b *bench, begins string) {
	t.Helper()
	l := b.letters()[0]
	if len(l.Raw) != decode.MaxDead || !strings.HasPrefix(string(l.Raw), begins) {
		t.Errorf("%d bytes that begin with %.60s", len(l.Raw), l.Raw)
	}
	if len(l.SHA256) != 64 || !strings.HasPrefix(l.Origin.Name, "s3://logs/") || l.Origin.Line == nil || l.Origin.Offset == nil {
		t.Errorf("hash %q, origin %+v", l.SHA256, l.Origin)
	}
}

// Every bound of a record ends in a dead letter that says which, and the rest
// is read.
func TestBoundsOfARecord(t *testing.T) {
	t.Parallel()
	flow := "2 111122223333 eni-1 10.0.0.1 198.51.100.7 44321 443 6 10 5000 1767607140 1767607200 ACCEPT OK\n"
	for name, c := range map[string]struct {
		service, data, reason string
		events                int
	}{
		"depth":          {"ingest-cloudtrail", `{"Records":[` + record(0) + `,{"eventName":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `},` + record(1) + `]}`, decode.ReasonTooDeep, 2},
		"record length":  {"ingest-cloudtrail", `{"Records":[` + record(0) + `,{"eventName":"` + strings.Repeat("A", 3<<20) + `"},` + record(1) + `]}`, decode.ReasonTooLong, 2},
		"line length":    {"ingest-flow", flow + strings.Repeat("A ", 1<<20) + "\n" + flow, decode.ReasonTooLong, 2},
		"envelope depth": {"ingest-flow", `{"message":"2 111122223333 eni-1 10.0.0.1 198.51.100.7 44321 443 6 10 5000 1767607140 1767607200 ACCEPT OK"}` + "\n" + `{"messageType":"DATA_MESSAGE","logEvents":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}` + "\n", decode.ReasonTooDeep, 1},
		"syntax":         {"ingest-cloudtrail", `{"Records":[` + record(0) + `,{"eventVersion":"1.11","eventName" "x"},` + record(1) + `]}`, decode.ReasonJSON, 2},
		"cut":            {"ingest-cloudtrail", `{"Records":[` + record(0) + `,` + record(1) + `,{"eventVersion":"1.11","event`, decode.ReasonTruncated, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, c.service, nil)
			b.lake.objects["logs/a"] = &object{data: []byte(c.data)}
			b.announce("logs/a")
			b.drain()
			if diff := cmp.Diff(map[string]int{c.reason: 1}, b.reasons()); diff != "" {
				t.Error(diff)
			}
			if n := len(b.events()); n != c.events {
				t.Errorf("%d events, want %d", n, c.events)
			}
		})
	}
}
