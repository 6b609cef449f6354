package objects

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ebbwatch/ebbwatch/internal/ingest"
)

// listOverlap is how far a listing looks back before the begin of the one
// before it: what was being written then shows late.
const listOverlap = time.Hour

// listing announces the objects below a prefix that were written in a span of
// time. What was announced before is a repetition: a restart lists again.
type listing struct {
	client         *s3.Client
	bucket, prefix string
	from, to       time.Time // to zero: without end
	interval       time.Duration
	kind           ingest.Kind
	announcer      *announcer
	metrics        *metrics
	log            *slog.Logger
}

// run lists until ctx ends, or, with an end, until that was reached.
func (l *listing) run(ctx context.Context) error {
	from := l.from
	for ctx.Err() == nil {
		began := time.Now()
		n, err := l.once(ctx, from)
		wait := l.interval
		switch {
		case errors.Is(err, errAnnounce):
			return err
		case ctx.Err() != nil:
			return nil
		case err != nil:
			l.metrics.queueErrors.Inc()
			wait = min(wait, maxPause)
			l.log.Warn("objects cannot be listed", "bucket", l.bucket, "prefix", l.prefix, "retry_in", wait, "error", err)
		default:
			l.log.Info("objects listed", "bucket", l.bucket, "prefix", l.prefix, "announced", n, "took", time.Since(began).Round(time.Millisecond))
			if !l.to.IsZero() && began.After(l.to) {
				return nil
			}
			if at := began.Add(-listOverlap); at.After(from) {
				from = at
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

// once lists all that is there.
func (l *listing) once(ctx context.Context, from time.Time) (announced int, err error) {
	pages := s3.NewListObjectsV2Paginator(l.client, &s3.ListObjectsV2Input{Bucket: aws.String(l.bucket), Prefix: aws.String(l.prefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return announced, fmt.Errorf("list s3://%s/%s: %w", l.bucket, l.prefix, err)
		}
		b := &batch{}
		for i := range page.Contents {
			o := &page.Contents[i]
			at, r := aws.ToTime(o.LastModified), Ref{Bucket: l.bucket, Key: aws.ToString(o.Key), Size: aws.ToInt64(o.Size)}
			if at.Before(from) || !l.to.IsZero() && !at.Before(l.to) || strings.HasSuffix(r.Key, "/") || !r.sound() {
				continue
			}
			b.tasks = append(b.tasks, taskOf(r, l.kind.Source))
		}
		if len(b.tasks) == 0 {
			continue
		}
		if err := l.announcer.announce(ctx, b); err != nil {
			if ctx.Err() != nil {
				return announced, ctx.Err()
			}
			return announced, fmt.Errorf("%w: %w", errAnnounce, err)
		}
		announced += len(b.tasks)
		l.metrics.announcements.WithLabelValues("list").Add(float64(len(b.tasks)))
	}
	return announced, nil
}
