package backfill_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/internal/backfill"
	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/realtest"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

var begin = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// world is a cluster with the topics of a site.
type world struct {
	t       *testing.T
	brokers []string
	opts    []kgo.Opt
}

func newWorld(t *testing.T) *world {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, topic.Network, topic.Cloud, topic.Positions))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return &world{t: t, brokers: cluster.ListenAddrs(), opts: []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...)}}
}

// options of a backfill of three days.
func (w *world) options(service, place string) backfill.Options {
	kind, _ := ingest.KindOf(service)
	cfg := ingest.Default()
	return backfill.Options{
		Kind: kind, Place: place, From: begin, To: begin.Add(72 * time.Hour), Site: site.Default(), Config: &cfg,
		Kafka: stream.ProducerConfig{Slot: "backfill", Brokers: w.brokers},
	}
}

// histories are what stands committed on a topic: hours by key and observer, the
// last word on each, and how many records that were.
func (w *world) histories(name string) (hours map[string]uint64, records int) {
	w.t.Helper()
	cl, err := kgo.NewClient(append(w.opts, kgo.ConsumeTopics(name), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	hours = map[string]uint64{}
	for {
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		fetches := cl.PollFetches(ctx)
		cancel()
		if fetches.NumRecords() == 0 {
			return hours, records
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var h signal.History
			if err := signal.DecodeHistory(r.Value, &h); err != nil {
				w.t.Error(err)
			}
			if kind := string(r.Headers[0].Value); kind != signal.KindHistory {
				w.t.Errorf("kind %q", kind)
			}
			records++
			for _, x := range h.Hours {
				hours[fmt.Sprintf("%s %s %s", r.Key, h.Observer, time.UnixMicro(x.Start).UTC().Format("02T15"))] = x.Bytes
			}
		})
	}
}

// flows are the objects of three days of two sources, an object every six hours,
// by key, and the sums that they hold. Each day's last object is delivered on
// the next day.
func flows() (objects map[string][]byte, want map[string]uint64) {
	objects, want = map[string][]byte{}, map[string]uint64{}
	for part := range 12 {
		var text strings.Builder
		text.WriteString("version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status flow-direction\n")
		for h := range 6 {
			at := begin.Add(time.Duration(part*6+h) * time.Hour)
			for i, src := range []string{"10.0.0.5", "10.0.0.6"} {
				sent := uint64(part*1_000_000 + h*10_000 + i + 1000)
				for half := range uint64(2) {
					fmt.Fprintf(&text, "5 111122223333 eni-%d %s 203.0.113.9 40000 443 6 10 %d %d %d ACCEPT OK egress\n", i, src, sent+half, at.Unix()+600, at.Unix()+660)
				}
				want[fmt.Sprintf("default|%s vpcflow %s", src, at.Format("02T15"))] = 2*sent + 1
			}
			fmt.Fprintf(&text, "5 111122223333 eni-0 203.0.113.9 10.0.0.5 443 40000 6 10 99999999 %d %d ACCEPT OK ingress\n", at.Unix()+600, at.Unix()+660)
			fmt.Fprintf(&text, "5 111122223333 eni-0 - - - - - - - %d %d - NODATA -\n", at.Unix()+600, at.Unix()+660)
		}
		if part == 5 {
			text.WriteString("not a record\n")
		}
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, _ = z.Write([]byte(text.String()))
		_ = z.Close()
		delivered := begin.Add(time.Duration(part+1)*6*time.Hour + 10*time.Minute)
		key := fmt.Sprintf("AWSLogs/111122223333/vpcflowlogs/eu-west-1/%s/111122223333_vpcflowlogs_eu-west-1_fl-1_%s_%04x.log.gz",
			delivered.Format("2006/01/02"), delivered.Format("20060102T1504Z"), part)
		objects[key] = packed.Bytes()
	}
	return objects, want
}

func folder(t *testing.T, objects map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for key, data := range objects {
		path := filepath.Join(dir, filepath.FromSlash(key))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func fill(ctx context.Context, t *testing.T, o backfill.Options) backfill.Report {
	t.Helper()
	rep, err := backfill.Run(ctx, o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// TestFolder: three days become three histories a source, with every hour's sum,
// and a second run has nothing to do.
func TestFolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	objects, want := flows()
	o := w.options("ingest-flow", folder(t, objects))
	rep := fill(t.Context(), t, o)
	got, n := w.histories(topic.Network)
	if d := gocmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n != 6 || rep.Histories != 6 || rep.Days != 3 || rep.Sources != 2 || rep.Dead["columns"]+len64(rep.Dead) == 0 {
		t.Errorf("%d records, %+v", n, rep)
	}
	again := fill(t.Context(), t, o)
	if _, n := w.histories(topic.Network); n != 6 || again.Things != 0 || !again.Resumed.Equal(o.To) {
		t.Errorf("%d records after the second run, %+v", n, again)
	}
	// A later end goes on; --again does all.
	o.To = o.To.Add(24 * time.Hour)
	if rep := fill(t.Context(), t, o); rep.Days != 1 || rep.Things == 0 {
		t.Errorf("a day more: %+v", rep)
	}
	o.Again = true
	if rep := fill(t.Context(), t, o); rep.Days != 4 || rep.Histories != 6 {
		t.Errorf("again: %+v", rep)
	}
}

func len64(m map[string]int64) (n int64) {
	for v := range maps.Values(m) {
		n += v
	}
	return n
}

// TestGoesOn: a run that is ended within the second day is gone on with there, and
// nothing differs from one that was not.
func TestGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	objects, want := flows()
	o := w.options("ingest-flow", folder(t, objects))
	ctx, cancel := context.WithCancel(t.Context())
	o.Progress = func(p backfill.Progress) {
		if p.Day.Equal(begin.Add(24*time.Hour)) && p.Done < p.Things {
			cancel()
		}
	}
	if _, err := backfill.Run(ctx, o, slog.New(slog.DiscardHandler)); !errors.Is(err, context.Canceled) {
		t.Fatalf("it ended with %v", err)
	}
	if got, n := w.histories(topic.Network); n != 2 || len(got) != 48 {
		t.Errorf("%d records, %d hours after the first day", n, len(got))
	}
	o.Progress = nil
	rep := fill(t.Context(), t, o)
	got, n := w.histories(topic.Network)
	if d := gocmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !rep.Resumed.Equal(begin.Add(24*time.Hour)) || n != 6 || rep.Things >= 12 {
		t.Errorf("%d records, %+v", n, rep)
	}
}

// TestNamesThatDoNotTell: files without a time in their names are read once, all
// of them for all days; too many sums for that are an error which says so.
func TestNamesThatDoNotTell(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	objects, want := flows()
	renamed := map[string][]byte{}
	for i, key := range slices.Sorted(maps.Keys(objects)) {
		renamed[fmt.Sprintf("part%02d.log.gz", i)] = objects[key]
	}
	o := w.options("ingest-flow", folder(t, renamed))
	o.Sums = 100
	if rep, err := backfill.Run(t.Context(), o, slog.New(slog.DiscardHandler)); !backfill.Full(err) || rep.Histories != 0 {
		t.Errorf("144 sums where 100 may be: %v, %+v", err, rep)
	}
	o.Sums = 0
	rep := fill(t.Context(), t, o)
	got, n := w.histories(topic.Network)
	if d := gocmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if rep.Days != 1 || rep.Things != 12 || n != 6 {
		t.Errorf("%d records, %+v", n, rep)
	}
}

// TestCloudTrail: what principals read, each event once though two trails hold it.
func TestCloudTrail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var records []string
	for i := range 40 {
		records = append(records, fmt.Sprintf(`{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROAX:s","arn":"arn:aws:sts::111122223333:assumed-role/app/s","accountId":"111122223333",`+
			`"sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAX","arn":"arn:aws:iam::111122223333:role/app","accountId":"111122223333","userName":"app"}}},"eventTime":"2026-01-05T%02d:10:00Z",`+
			`"eventSource":"s3.amazonaws.com","eventName":"GetObject","awsRegion":"eu-west-1","sourceIPAddress":"10.0.0.9","requestParameters":{"bucketName":"b","key":"k%d"},"responseElements":null,`+
			`"additionalEventData":{"bytesTransferredOut":1000.0},"eventID":"00000000-0000-4000-8000-%012d","readOnly":true,"resources":[{"accountId":"111122223333","type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::b"}],`+
			`"eventType":"AwsApiCall","managementEvent":false,"recipientAccountId":"111122223333","eventCategory":"Data"}`, i/20, i, i))
	}
	file := []byte(`{"Records":[` + strings.Join(records, ",") + `]}`)
	o := w.options("ingest-cloudtrail", folder(t, map[string][]byte{
		"one/111122223333_CloudTrail_eu-west-1_20260105T0215Z_aaaa.json": file, "two/111122223333_CloudTrail_eu-west-1_20260105T0216Z_bbbb.json": file,
	}))
	rep := fill(t.Context(), t, o)
	got, _ := w.histories(topic.Cloud)
	want := map[string]uint64{"arn:aws:iam::111122223333:role/app cloudtrail 05T00": 20_000, "arn:aws:iam::111122223333:role/app cloudtrail 05T01": 20_000}
	if d := gocmp.Diff(want, got); d != "" || rep.Events != 80 {
		t.Errorf("%d events\n%s", rep.Events, d)
	}
}

// TestS3: a listing of a real server gives what the folder gives.
func TestS3(t *testing.T) {
	endpoint := realtest.Moto(t, "../..")
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_REGION", "us-east-1")
	cl := s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: &endpoint, UsePathStyle: true, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")})
	bucket := "flow-logs"
	if _, err := cl.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	objects, want := flows()
	objects["AWSLogs/111122223333/other"] = []byte("nobody's")
	for key, data := range objects {
		if _, err := cl.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(data)}); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t)
	o := w.options("ingest-flow", "s3://flow-logs/AWSLogs/111122223333/vpcflowlogs/")
	o.Config.S3.Endpoint = endpoint
	rep := fill(t.Context(), t, o)
	got, n := w.histories(topic.Network)
	if d := gocmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n != 6 || rep.Days != 3 {
		t.Errorf("%d records, %+v", n, rep)
	}
}
