package objects

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Archive reads objects where they lie, without announcements: what looks at the
// past does so outside of any transaction.
type Archive struct {
	list  *s3.Client
	store *store
}

// OpenArchive makes the clients by cfg.S3 and the environment.
func OpenArchive(ctx context.Context, kind ingest.Kind, cfg *ingest.Config) (*Archive, error) {
	c, err := connect(ctx, &cfg.S3)
	if err != nil {
		return nil, err
	}
	a := &Archive{list: c.list, store: newStore(kind, cfg, func(string, int) {})}
	a.store.client = c.read
	return a, nil
}

// List hands out the objects below a prefix in the order of their keys.
func (a *Archive) List(ctx context.Context, bucket, prefix string, each func(Ref, time.Time)) error {
	pages := s3.NewListObjectsV2Paginator(a.list, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("list s3://%s/%s: %w", bucket, prefix, err)
		}
		for i := range page.Contents {
			o := &page.Contents[i]
			r := Ref{Bucket: bucket, Key: aws.ToString(o.Key), Size: aws.ToInt64(o.Size)}
			if !strings.HasSuffix(r.Key, "/") && r.sound() {
				each(r, aws.ToTime(o.LastModified))
			}
		}
	}
	return nil
}

// archiveAttempts is how often in a row an object is begun or gone on with in
// vain before the reading ends.
const archiveAttempts = 6

// Read hands the records of an object to a sink. What S3 says of the object is a
// dead record; the network may fail for a while.
func (a *Archive) Read(ctx context.Context, r Ref, sink decode.Sink) error {
	t := taskOf(r, "")
	for t.Attempts < archiveAttempts {
		at, err := a.try(ctx, t, sink)
		no, refused := errors.AsType[*refusal](err)
		switch {
		case err == nil:
			return nil
		case refused:
			sink.Dead(no.reason, no.raw, event.Origin{Name: t.name()})
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
		if t.Attempts++; at.records() > t.Position.records() {
			t.Position, t.Attempts = at, 1
		}
		t.Why = err.Error()
		select {
		case <-ctx.Done():
		case <-time.After(retryPause << t.Attempts):
		}
	}
	return fmt.Errorf("%s: %s", t.name(), t.Why)
}

// try reads from the place of a task to the end, or to where the network fails.
func (a *Archive) try(ctx context.Context, t *Task, sink decode.Sink) (place, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, etag, err := a.store.open(ctx, t, time.Now().Add(answerTime))
	if err != nil {
		return t.Position, err
	}
	if etag != "" {
		t.ETag = etag
	}
	err = input.ReadAll(ctx, r, sink)
	at := placeOf(r.Position())
	return at, errors.Join(err, r.Close())
}
