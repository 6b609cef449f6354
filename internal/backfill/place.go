package backfill

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/internal/ingest/objects"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
)

// lateness is how long after a day its records may still be delivered, and early
// how long before its time an object's records may begin.
const (
	lateness = 3 * time.Hour
	early    = time.Hour
)

// thing is one file or object.
type thing struct {
	name     string
	observer string
	size     int64
	from, to time.Time // of its name: when it was delivered; zero where it does not tell
	read     func(context.Context, decode.Sink) error
}

// concerns reports whether a thing may hold records of a span of time.
func (t *thing) concerns(from, to time.Time) bool {
	return t.from.IsZero() || t.to.After(from.Add(-early)) && t.from.Before(to.Add(lateness))
}

// find lists what lies at a place.
func find(ctx context.Context, o *Options) (things []thing, skipped []string, err error) {
	bucket, prefix, ok := ingest.Place(o.Place)
	if !ok {
		return files(o)
	}
	archive, err := objects.OpenArchive(ctx, o.Kind, o.Config)
	if err != nil {
		return nil, nil, err
	}
	observer := o.Config.S3.Name
	if observer == "" {
		observer = bucket
	}
	err = archive.List(ctx, bucket, prefix, func(r objects.Ref, written time.Time) {
		t := thing{name: "s3://" + r.Bucket + "/" + r.Key, observer: observer, size: r.Size}
		t.from, t.to = delivered(r.Key)
		if written.Before(o.From) || !t.concerns(o.From, o.To) {
			return
		}
		t.read = func(ctx context.Context, sink decode.Sink) error { return archive.Read(ctx, r, sink) }
		things = append(things, t)
	})
	return things, nil, err
}

// files lists a folder.
func files(o *Options) (things []thing, skipped []string, err error) {
	if _, err := os.Stat(o.Place); err != nil {
		return nil, nil, err
	}
	found, left, err := input.Walk([]string{o.Place}, input.Options{
		Columns: o.Config.S3.Columns, MaxLine: o.Config.MaxLine, Limits: input.Limits{Bytes: o.Config.MaxExpanded, Ratio: o.Config.MaxRatio},
	})
	if err != nil {
		return nil, nil, err
	}
	for _, s := range left {
		skipped = append(skipped, s.Path+": "+s.Reason)
	}
	for _, in := range found {
		if !o.Kind.Accepts(in.Format()) {
			skipped = append(skipped, fmt.Sprintf("%s: it holds %s", in.Name(), in.Format()))
			continue
		}
		t := thing{name: in.Name(), observer: in.Observer(), size: in.Size(), read: in.Read}
		if o.Config.S3.Name != "" {
			t.observer = o.Config.S3.Name
		}
		if t.from, t.to = delivered(in.Name()); t.concerns(o.From, o.To) {
			things = append(things, t)
		}
	}
	return things, skipped, nil
}

// The forms in which names tell the time.
var (
	minuteForm = regexp.MustCompile(`_(\d{8}T\d{4})Z_`)
	folderForm = regexp.MustCompile(`/(?:year=)?(20\d\d)/(?:month=)?(\d\d)/(?:day=)?(\d\d)/`)
)

// delivered is the time of an object by its name: the minute in it, else the day
// of its folders. Both are zero where neither is there.
func delivered(name string) (from, to time.Time) {
	if m := minuteForm.FindAllStringSubmatch(name, -1); m != nil {
		if at, err := time.Parse("20060102T1504", m[len(m)-1][1]); err == nil {
			return at, at.Add(time.Minute)
		}
	}
	if m := folderForm.FindAllStringSubmatch("/"+name, -1); m != nil {
		last := m[len(m)-1]
		if at, err := time.Parse("20060102", strings.Join(last[1:], "")); err == nil {
			return at, at.Add(24 * time.Hour)
		}
	}
	return time.Time{}, time.Time{}
}
