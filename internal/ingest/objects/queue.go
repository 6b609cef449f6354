package objects

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/ebbwatch/ebbwatch/internal/deadletter"
	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

const (
	// waitSeconds is how long a queue may be silent before it answers.
	waitSeconds = 20
	// receivers ask one queue at the same time: a message is deleted only
	// after the commit, and meanwhile others are to come.
	receivers = 4
	// maxPause bounds the pause after failures of a queue.
	maxPause = 30 * time.Second
)

// Reasons of dead letters for messages.
const (
	reasonMessage = "unknown_announcement"
	reasonForeign = "foreign_bucket" // not among s3.buckets
)

// queue takes announcements from one SQS queue.
type queue struct {
	client    *sqs.Client
	url       string
	kind      ingest.Kind
	buckets   []string
	announcer *announcer
	metrics   *metrics
	outside   *ingest.Outside
	log       *slog.Logger
}

// run receives until ctx ends.
func (q *queue) run(ctx context.Context) error {
	pause := time.Duration(0)
	for ctx.Err() == nil {
		out, err := q.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: aws.String(q.url), MaxNumberOfMessages: 10, WaitTimeSeconds: waitSeconds,
		})
		if err == nil && len(out.Messages) > 0 {
			err = q.take(ctx, out.Messages)
			if errors.Is(err, errAnnounce) {
				return err
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			pause = 0
			continue
		}
		q.metrics.queueErrors.Inc()
		pause = min(maxPause, max(time.Second, 2*pause))
		q.log.Warn("queue cannot be read", "queue", q.url, "retry_in", pause, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// errAnnounce is an error of the broker: the process ends with it.
var errAnnounce = errors.New("announcements could not be written")

// take announces what messages say, and deletes them then.
func (q *queue) take(ctx context.Context, messages []sqstypes.Message) error {
	b := &batch{}
	for i := range messages {
		q.read(&messages[i], b)
	}
	if len(b.tasks)+len(b.letters) > 0 {
		if err := q.announcer.announce(ctx, b); err != nil {
			if ctx.Err() != nil {
				return nil // not deleted: they come again
			}
			return fmt.Errorf("%w: %w", errAnnounce, err)
		}
	}
	// The announcements stand, so this goes on when ctx ends.
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	in := &sqs.DeleteMessageBatchInput{QueueUrl: aws.String(q.url)}
	for i, m := range messages {
		in.Entries = append(in.Entries, sqstypes.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle})
	}
	out, err := q.client.DeleteMessageBatch(own, in)
	if err != nil {
		return fmt.Errorf("delete messages: %w", err)
	}
	if len(out.Failed) > 0 {
		return fmt.Errorf("delete messages: %d of %d failed: %s", len(out.Failed), len(messages), aws.ToString(out.Failed[0].Message))
	}
	return nil
}

// read takes one message apart.
func (q *queue) read(m *sqstypes.Message, b *batch) {
	body := []byte(aws.ToString(m.Body))
	refs, form, err := parseAnnouncement(body)
	if err != nil {
		q.bury(reasonMessage, err, m, body, b)
		return
	}
	if len(refs) == 0 {
		q.metrics.messages.WithLabelValues("ignored").Inc()
		return
	}
	q.metrics.announcements.WithLabelValues(form).Add(float64(len(refs)))
	taken := false
	for _, r := range refs {
		if r.Inline == nil && len(q.buckets) > 0 && !slices.Contains(q.buckets, r.Bucket) {
			q.bury(reasonForeign, nil, m, body, b)
			continue
		}
		taken = true
		b.tasks = append(b.tasks, taskOf(r, q.kind.Source))
	}
	if taken {
		q.metrics.messages.WithLabelValues("taken").Inc()
	}
}

func taskOf(r Ref, source string) *Task {
	// The tag is not kept: announcements in two forms are to be one task, and
	// a log is written once.
	return &Task{V: taskVersion, Source: source, Bucket: r.Bucket, Key: r.Key, Size: r.Size, Inline: r.Inline}
}

func (q *queue) bury(reason string, cause error, m *sqstypes.Message, body []byte, b *batch) {
	q.metrics.messages.WithLabelValues("dead").Inc()
	q.outside.Dead(reason)
	at := event.Origin{Name: q.url + "#" + aws.ToString(m.MessageId)}
	b.letters = append(b.letters, deadletter.New(q.kind.Source, reason, cause, deadletter.InFile(at), body, time.Now().UnixMicro()))
}
