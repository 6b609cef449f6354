package objects_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/internal/realtest"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

const root = "../../.."

// moto is a server of S3 and SQS, with clients of it.
type moto struct {
	endpoint string
	s3       *s3.Client
	sqs      *sqs.Client
}

// startMoto starts the server that test/real/moto.sh has installed.
func startMoto(t *testing.T) *moto {
	t.Helper()
	m := &moto{endpoint: realtest.Moto(t, root)}
	cred := credentials.NewStaticCredentialsProvider("test", "test", "")
	m.s3 = s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: &m.endpoint, UsePathStyle: true, Credentials: cred})
	m.sqs = sqs.New(sqs.Options{Region: "us-east-1", BaseEndpoint: &m.endpoint, Credentials: cred})
	return m
}

// bucket makes a bucket whose new objects a new queue announces.
func (m *moto) bucket(t *testing.T, name string) (queue string) {
	t.Helper()
	ctx := t.Context()
	if _, err := m.s3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	q, err := m.sqs.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String(name + "-queue"), Attributes: map[string]string{"VisibilityTimeout": "5"}})
	if err != nil {
		t.Fatal(err)
	}
	attrs, err := m.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: q.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameQueueArn},
	})
	if err != nil {
		t.Fatal(err)
	}
	arn := attrs.Attributes["QueueArn"]
	_, err = m.s3.PutBucketNotificationConfiguration(ctx, &s3.PutBucketNotificationConfigurationInput{
		Bucket: &name, NotificationConfiguration: &s3types.NotificationConfiguration{
			QueueConfigurations: []s3types.QueueConfiguration{{QueueArn: &arn, Events: []s3types.Event{"s3:ObjectCreated:*"}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return *q.QueueUrl
}

func (m *moto) put(ctx context.Context, bucket, key string, data []byte) error {
	_, err := m.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(data)})
	return err
}

func (m *moto) send(ctx context.Context, queue, body string) error {
	_, err := m.sqs.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &queue, MessageBody: &body})
	return err
}

// waiting is how many messages a queue still holds.
func (m *moto) waiting(t *testing.T, queue string) int {
	t.Helper()
	out, err := m.sqs.GetQueueAttributes(context.WithoutCancel(t.Context()), &sqs.GetQueueAttributesInput{QueueUrl: &queue, AttributeNames: []sqstypes.QueueAttributeName{
		sqstypes.QueueAttributeNameApproximateNumberOfMessages, sqstypes.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
	}})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, v := range out.Attributes {
		i, _ := strconv.Atoi(v)
		n += i
	}
	return n
}

// trail is a CloudTrail object of n records with ids of their own.
func trail(object, n int) []byte {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	fmt.Fprint(z, `{"Records":[`)
	for i := range n {
		if i > 0 {
			fmt.Fprint(z, ",")
		}
		fmt.Fprintf(z, `{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROA:s","arn":"arn:aws:sts::111122223333:assumed-role/role%d/s","accountId":"111122223333",`+
			`"sessionContext":{"sessionIssuer":{"type":"Role","arn":"arn:aws:iam::111122223333:role/role%d","accountId":"111122223333","userName":"role%d"}}},`+
			`"eventTime":"2026-01-05T10:%02d:%02dZ","eventSource":"s3.amazonaws.com","eventName":"GetObject","awsRegion":"eu-central-1","sourceIPAddress":"10.0.0.%d",`+
			`"requestParameters":{"bucketName":"b","key":"k%d"},"responseElements":null,"additionalEventData":{"bytesTransferredOut":%d.0},`+
			`"eventID":"%d-%d","readOnly":true,"eventType":"AwsApiCall","managementEvent":false,"recipientAccountId":"111122223333","eventCategory":"Data"}`,
			object%50, object%50, object%50, object%60, i%60, object%250, i, 1000+i, object, i)
	}
	fmt.Fprint(z, `]}`)
	_ = z.Close()
	return buf.Bytes()
}

// announcements of one object in all forms (formats.md §5.2).
func announcement(form int, bucket, key string) string {
	event := fmt.Sprintf(`{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":%q},"object":{"key":%q,"size":1}}}]}`,
		bucket, url.QueryEscape(key))
	switch form % 4 {
	case 0:
		return event
	case 1:
		return fmt.Sprintf(`{"Type":"Notification","MessageId":"m","TopicArn":"arn:aws:sns:us-east-1:1:t","Message":%q,"Timestamp":"2026-01-05T10:00:00Z"}`, event)
	case 2:
		return fmt.Sprintf(`{"version":"0","id":"e","detail-type":"Object Created","source":"aws.s3","detail":{"bucket":{"name":%q},"object":{"key":%q,"size":1},"reason":"PutObject"}}`, bucket, key)
	default:
		return fmt.Sprintf(`{"Type":"Notification","Message":%q}`, fmt.Sprintf(`{"s3Bucket":%q,"s3ObjectKey":[%q]}`, bucket, key))
	}
}

// worker is an ingest-cloudtrail as a process.
type worker struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  *bytes.Buffer
	done chan error
}

func startWorker(t *testing.T, binary, brokers, endpoint, queue, instance string) *worker {
	t.Helper()
	// It ends by a signal of the test, or with the test.
	w := &worker{t: t, log: &bytes.Buffer{}, done: make(chan error, 1)}
	w.cmd = exec.CommandContext(t.Context(), binary, "-kafka.brokers", brokers, "-kafka.embedded", "true", "-kafka.instance", instance,
		"-admin.listen", "", "-s3.queues", queue, "-s3.endpoint", endpoint, "-log.level", "debug")
	w.cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true")
	w.cmd.Stderr = w.log
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { w.done <- w.cmd.Wait() }()
	return w
}

func (w *worker) kill() {
	_ = w.cmd.Process.Signal(syscall.SIGKILL)
	if err := <-w.done; err == nil {
		w.t.Error("it ended well all the same")
	}
}

func (w *worker) stop() {
	w.t.Helper()
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-w.done:
		if err != nil {
			w.t.Errorf("the worker ended with %v:\n%s", err, tail(w.log.String()))
		}
	case <-time.After(30 * time.Second):
		w.t.Errorf("the worker does not stop:\n%s", tail(w.log.String()))
		w.kill()
	}
}

func tail(s string) string { return s[max(0, len(s)-6000):] }

// ledger reads committed events and counts each.
type ledger struct {
	mu    sync.Mutex
	seen  map[string]int
	total int
	dead  []string
	marks int
}

func follow(t *testing.T, brokers []string) *ledger {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic.Cloud, topic.DeadLetter),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	l := &ledger{seen: map[string]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		var e event.Event
		for {
			fetches := cl.PollFetches(ctx)
			if ctx.Err() != nil {
				return
			}
			l.mu.Lock()
			fetches.EachRecord(func(r *kgo.Record) {
				switch {
				case r.Topic == topic.DeadLetter:
					l.dead = append(l.dead, string(r.Value[:min(len(r.Value), 400)]))
				case string(r.Headers[0].Value) == event.KindMark.String():
					l.marks++
				case event.Decode(r.Value, &e) == nil:
					l.seen[strings.Clone(e.ID)]++
					l.total++
				}
			})
			l.mu.Unlock()
		}
	}()
	t.Cleanup(func() { cancel(); <-done; cl.Close() })
	return l
}

func (l *ledger) distinct() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.seen)
}

func (l *ledger) wait(t *testing.T, n int, within time.Duration, w ...*worker) {
	t.Helper()
	for began := time.Now(); l.distinct() < n; time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > within {
			for i := range w {
				t.Logf("worker %d:\n%s", i, tail(w[i].log.String()))
			}
			t.Fatalf("%d of %d events after %s", l.distinct(), n, within)
		}
	}
}

// Acceptance 2 of the ingest issue: 500 objects, one third announced twice, two
// workers, one killed with -9 halfway: each event exactly once.
func TestTwoWorkersOneKilled(t *testing.T) {
	t.Parallel()
	m := startMoto(t)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	brokers := cluster.ListenAddrs()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := topic.Ensure(t.Context(), kadm.NewClient(cl), true); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "ingest-cloudtrail")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/ingest-cloudtrail")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	const bucket, count, each, large = "trail", 500, 40, 60_000
	queue := m.bucket(t, bucket)
	want := 0
	for i := range count {
		n := each
		if i == count/3 {
			n = large // read over several transactions
		}
		want += n
		key := fmt.Sprintf("AWSLogs/o-x/111122223333/CloudTrail/eu-central-1/2026/01/05/a=%d b+c/111122223333_CloudTrail_%04d.json.gz", i%7, i)
		if err := m.put(t.Context(), bucket, key, trail(i, n)); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			if err := m.send(t.Context(), queue, announcement(i/3, bucket, key)); err != nil {
				t.Fatal(err)
			}
		}
	}
	l := follow(t, brokers)
	a := startWorker(t, binary, brokers[0], m.endpoint, queue, "a")
	b := startWorker(t, binary, brokers[0], m.endpoint, queue, "b")
	l.wait(t, want/3, 2*time.Minute, a, b)
	a.kill()
	killed := l.distinct()
	t.Logf("killed at %d of %d events, with %d messages in the queue", killed, want, m.waiting(t, queue))
	if killed >= want {
		t.Fatal("all events were there before the kill: it shows nothing")
	}
	l.wait(t, want, 3*time.Minute, b)
	for began := time.Now(); m.waiting(t, queue) > 0; time.Sleep(200 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("%d messages are left in the queue", m.waiting(t, queue))
		}
	}
	// A repetition that is still to come would come now.
	time.Sleep(3 * time.Second)
	b.stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total != want || len(l.seen) != want {
		twice := 0
		for _, n := range l.seen {
			if n > 1 {
				twice++
			}
		}
		t.Errorf("%d events, %d distinct, %d of them more than once; want %d, each once", l.total, len(l.seen), twice, want)
	}
	if len(l.dead) > 0 {
		t.Errorf("%d dead letters, such as %s", len(l.dead), l.dead[0])
	}
	if l.marks == 0 {
		t.Error("no mark speaks of the objects")
	}
}
