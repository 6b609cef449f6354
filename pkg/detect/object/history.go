package object

import (
	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Past sums what principals read from objects, by hours: what a backfill makes
// histories of. All that moved data out of a bucket counts, whatever the bucket's
// class: what is usual for a reader is a question of its own.
type Past struct {
	baseline.Past

	seen  map[uint64]struct{}
	bound int
}

// NewPast makes an empty one for the hours that begin from a time on and before
// another, microseconds, that holds at most a number of sums, and as many
// identities of events by thirty-two.
func NewPast(from, to int64, bound int) *Past {
	return &Past{Past: baseline.NewPast(from, to, bound), seen: map[uint64]struct{}{}, bound: 32 * bound}
}

// Observe counts an event with its key (site.Place), once: two trails may hold
// it.
func (p *Past) Observe(e *event.Event, key []byte) error {
	if e.Kind != event.KindObject || e.Outcome == "failure" || e.Cloud.ErrorCode != "" {
		return nil
	}
	switch e.Action {
	case "GetObject", "GetObjectTorrent", "SelectObjectContent", "CopyObject", "UploadPartCopy", "storage.objects.get":
	default:
		return nil
	}
	s := baseline.Sample{Observer: e.Observer.Type, Start: e.Time, End: e.Time}
	if e.Action != "CopyObject" && e.Action != "UploadPartCopy" {
		s.Bytes = e.Object.BytesOut.Or(0)
	}
	if e.ID != "" {
		id := xxhash.Sum64String(e.ID)
		if _, twice := p.seen[id]; twice {
			return nil
		}
		if len(p.seen) >= p.bound {
			return baseline.ErrPastFull
		}
		p.seen[id] = struct{}{}
	}
	return p.Add(key, s)
}
