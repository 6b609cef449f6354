package objects

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbwatch/ebbwatch/internal/deadletter"
	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/ingest/companion"
	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// testPart makes objects of thousands of records large.
const testPart = 2000

// object is one that the test's S3 serves.
type object struct {
	data []byte
	// write writes it where it is too large for data.
	write func(w io.Writer)
	etag  string
	code  string // an error of S3 instead
	// cut breaks off the next transfers behind that many bytes, one each.
	cuts []int
}

// lake is an S3 of objects in memory, spoken to by the real client.
type lake struct {
	mu      sync.Mutex
	objects map[string]*object
	gets    int
}

func (l *lake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	o := l.objects[strings.TrimPrefix(r.URL.Path, "/")]
	l.gets++
	cut := -1
	if o != nil && len(o.cuts) > 0 {
		cut, o.cuts = o.cuts[0], o.cuts[1:]
	}
	l.mu.Unlock()
	fail := func(status int, code string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>no</Message></Error>`, code)
	}
	switch {
	case o == nil:
		fail(http.StatusNotFound, "NoSuchKey")
		return
	case o.code == "SlowDown":
		fail(http.StatusServiceUnavailable, o.code)
		return
	case o.code != "":
		fail(http.StatusForbidden, o.code)
		return
	case r.Header.Get("If-Match") != "" && r.Header.Get("If-Match") != o.etag:
		fail(http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	w.Header().Set("ETag", o.etag)
	switch {
	case o.write != nil:
		o.write(w)
	case cut >= 0:
		w.Header().Set("Content-Length", fmt.Sprint(len(o.data)))
		_, _ = w.Write(o.data[:cut])
		panic(http.ErrAbortHandler)
	default:
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(o.data)))
	}
}

// bench is an operator on a lake, with what it emits.
type bench struct {
	t    testing.TB
	lake *lake
	op   *reader
	fake fakeContext
	log  []*operator.Record // ebb.objects.v1, in order
	next int                // of the log
}

func newBench(tb testing.TB, service string, change func(*store)) *bench {
	tb.Helper()
	b := &bench{t: tb, lake: &lake{objects: map[string]*object{}}}
	srv := httptest.NewServer(b.lake)
	tb.Cleanup(srv.Close)
	kind, _ := ingest.KindOf(service)
	svc, err := ingest.New(kind, func() ingest.Config { c := ingest.Default(); c.S3.Queues = []string{"http://q/q"}; return c }(), ingest.World{
		Site: site.Default(), Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Kafka: kafkaOf("0"),
	})
	if err != nil {
		tb.Fatal(err)
	}
	st := &store{
		client: s3.New(s3.Options{
			Region: "us-east-1", BaseEndpoint: aws.String(srv.URL), UsePathStyle: true, HTTPClient: transport(answerTime), RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""), DisableLogOutputChecksumValidationSkipped: true,
		}),
		maxObject: 1 << 40, accepts: kind.Accepts, limits: input.DefaultLimits(), maxLine: input.DefaultMaxLine, maxRecords: 1 << 40, usual: kind.Formats[0], part: testPart,
		read: func(string, int) {},
	}
	if change != nil {
		change(st)
	}
	b.op = &reader{
		Sink: companion.NewSink(svc.Outside(), ""), kind: kind, store: st, outside: svc.Outside(), metrics: newMetrics(prometheus.NewRegistry()), log: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(context.Background())
	tb.Cleanup(cancel)
	b.op.Live(ctx)
	b.fake.counts = map[string]int64{}
	return b
}

// reborn is the same operator after a crash: its state by replay of the log.
func (b *bench) reborn() {
	b.t.Helper()
	old := b.op
	fresh := &reader{Sink: companion.NewSink(old.outside, ""), kind: old.kind, store: old.store, outside: old.outside, metrics: old.metrics, log: old.log}
	for _, r := range b.log[:b.next] {
		if err := fresh.Apply(r, &fakeContext{counts: map[string]int64{}}); err != nil {
			b.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.t.Cleanup(cancel)
	fresh.Live(ctx)
	b.op = fresh
}

func (b *bench) announce(key string) {
	b.t.Helper()
	bucket, k, _ := strings.Cut(key, "/")
	b.push(taskOf(Ref{Bucket: bucket, Key: k}, b.op.kind.Source))
}

func (b *bench) push(t *Task) {
	b.t.Helper()
	value, err := t.Append(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.log = append(b.log, &operator.Record{
		Topic: topic.Objects, Offset: int64(len(b.log)), Kind: kindTask, Key: t.appendKey(nil), Value: value,
		Time: time.Date(2026, 1, 5, 12, 0, len(b.log), 0, time.UTC).UnixMicro(),
	})
}

// step applies one record; false when there is none.
func (b *bench) step() bool {
	b.t.Helper()
	if b.next == len(b.log) {
		return false
	}
	r := b.log[b.next]
	b.next++
	mark := len(b.fake.outs)
	if err := b.op.Apply(r, &b.fake); err != nil {
		b.t.Fatal(err)
	}
	for _, o := range b.fake.outs[mark:] {
		if o.Topic == topic.Objects {
			t, err := decodeTask(o.Value)
			if err != nil {
				b.t.Fatal(err)
			}
			b.push(t)
		}
	}
	return true
}

func (b *bench) drain() {
	b.t.Helper()
	for n := 0; b.step(); n++ {
		if n > 100_000 {
			b.t.Fatal("it does not come to an end")
		}
	}
}

// events are the ids of the events that came out.
func (b *bench) events() (ids []string) {
	b.t.Helper()
	for _, o := range b.fake.outs {
		if b.op.kind.Writes(o.Topic) {
			var e event.Event
			if err := event.Decode(o.Value, &e); err != nil {
				b.t.Fatal(err)
			}
			ids = append(ids, strings.Clone(e.ID))
		}
	}
	return ids
}

func (b *bench) letters() (out []*deadletter.Record) {
	b.t.Helper()
	for _, o := range b.fake.outs {
		if o.Topic == topic.DeadLetter {
			r, err := deadletter.Decode(o.Value)
			if err != nil {
				b.t.Fatal(err)
			}
			out = append(out, r)
		}
	}
	return out
}

func (b *bench) reasons() map[string]int {
	m := map[string]int{}
	for _, l := range b.letters() {
		m[l.Reason]++
	}
	return m
}

type fakeContext struct {
	outs   []operator.Output
	counts map[string]int64
	until  time.Time
	quiet  bool // events are counted and dropped
	events int
}

func (c *fakeContext) Emit(o operator.Output) {
	if c.quiet && o.Topic != topic.Objects && o.Topic != topic.DeadLetter {
		c.events++
		return
	}
	o.Key, o.Value = []byte(string(o.Key)), []byte(string(o.Value))
	c.outs = append(c.outs, o)
}
func (c *fakeContext) Touch(int)                         {}
func (c *fakeContext) Count(name, label string, n int64) { c.counts[name+"/"+label] += n }
func (c *fakeContext) Deadline() time.Time {
	if c.until.IsZero() {
		return time.Now().Add(5 * time.Second)
	}
	return c.until
}

// records is a CloudTrail document of n events.
func records(from, n int) string {
	var b strings.Builder
	b.WriteString(`{"Records":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(record(from + i))
	}
	b.WriteString(`]}`)
	return b.String()
}

func record(i int) string {
	id, _ := json.Marshal(fmt.Sprintf("id-%d", i))
	return fmt.Sprintf(`{"eventVersion":"1.11","userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/u%d","accountId":"111122223333"},"eventTime":"2026-01-05T10:00:00Z",`+
		`"eventSource":"s3.amazonaws.com","eventName":"GetObject","awsRegion":"eu-central-1","sourceIPAddress":"10.0.0.9","requestParameters":{"bucketName":"b","key":"k%d"},`+
		`"eventID":%s,"eventCategory":"Data","managementEvent":false,"recipientAccountId":"111122223333"}`, i%9, i, id)
}
