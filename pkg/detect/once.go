package detect

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// Records of the cloud plane arrive twice on their own: the same CloudTrail
// event is written by the trail of the account and by that of the
// organisation, in two objects that two instances may read. Their key is the
// same, so the partition of the key is where they meet, and where the second
// one is dropped (formats.md §5.1, DESIGN §2 "Ingest once").

const (
	// onceFor is how long an event is known at least, unless there is no room:
	// generations are dropped at twice that.
	onceFor = 24 * 3600 * int64(1_000_000)
	// onceSize bounds a generation: with both of all buckets that is a million
	// events a partition, about 20 MB. A flood shortens the memory of its own
	// bucket, and costs repetitions that count, never events that do not.
	onceSize = 8192
)

// once knows the events of a bucket in two generations, by the hash of their
// identity. Time is the append time of the log.
type once struct {
	since      int64 // the begin of the younger generation
	young, old map[uint64]struct{}
}

// again reports whether an event was seen, and remembers it.
func (o *once) again(id string, now int64) bool {
	h := xxhash.Sum64String(id)
	if now >= o.since+onceFor || len(o.young) >= onceSize {
		if now >= o.since+2*onceFor {
			o.young = nil
		}
		o.old, o.young, o.since = o.young, nil, now
	}
	if _, is := o.young[h]; is {
		return true
	}
	if _, is := o.old[h]; is {
		return true
	}
	if o.young == nil {
		o.young = map[uint64]struct{}{}
	}
	o.young[h] = struct{}{}
	return false
}

// repeated reports whether an event that has an identity in the cloud plane
// comes again. Findings are told anew when they change, and are no repetition.
func (s *Set) repeated(b int, e *event.Event, r *operator.Record) bool {
	switch e.Kind {
	case event.KindObject, event.KindShare, event.KindManagement:
		return e.ID != "" && s.once[b].again(e.ID, r.Time)
	default:
		return false
	}
}

// join adds what another partition's bucket of the same number knows. Which of
// its events belong to keys that come here is not known: all of them are kept,
// up to joinedSize of each generation.
func (o *once) join(from *once) {
	o.since = max(o.since, from.since)
	o.young, o.old = joined(o.young, from.young), joined(o.old, from.old)
}

// joinedSize bounds a generation of several partitions until the next two have
// taken its place.
const joinedSize = 4 * onceSize

func joined(to, from map[uint64]struct{}) map[uint64]struct{} {
	if to == nil && len(from) > 0 {
		to = make(map[uint64]struct{}, len(from))
	}
	for _, h := range slices.Sorted(maps.Keys(from)) {
		if len(to) >= joinedSize {
			break
		}
		to[h] = struct{}{}
	}
	return to
}

func (o *once) empty() bool { return len(o.young)+len(o.old) == 0 }

func (o *once) append(dst []byte) []byte {
	dst = operator.AppendInt(dst, o.since)
	for _, g := range []map[uint64]struct{}{o.young, o.old} {
		hashes := make([]uint64, 0, len(g))
		for h := range g {
			hashes = append(hashes, h)
		}
		slices.Sort(hashes)
		dst = operator.AppendUint(dst, len(hashes))
		last := uint64(0)
		for _, h := range hashes {
			dst = operator.AppendUint(dst, h-last)
			last = h
		}
	}
	return dst
}

func (o *once) load(r *operator.Reader) error {
	*o = once{since: r.Int()}
	for _, g := range []*map[uint64]struct{}{&o.young, &o.old} {
		last := uint64(0)
		n := r.Count()
		if n > 0 {
			*g = make(map[uint64]struct{}, n)
		}
		for range n {
			last += r.Uint()
			(*g)[last] = struct{}{}
		}
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("events seen: %w", err)
	}
	return nil
}
