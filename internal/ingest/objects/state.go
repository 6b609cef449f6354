package objects

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// Bounds of what is known of a partition's objects.
const (
	buckets = 64
	// bucketSize is the most objects of a bucket: half a million a partition,
	// about 30 MB. Beyond it the oldest eighth of the bucket is forgotten.
	bucketSize = 8192
	// Keep is how long an object is known: the longest time that a queue
	// holds a message.
	Keep = 14 * 24 * time.Hour
	// sweepEvery is how often a bucket is looked through for what is older.
	sweepEvery = time.Hour
)

// known is what a partition knows of its objects. It follows from the records
// alone: time is that of the log.
type known struct {
	buckets [buckets]bucket
}

type bucket struct {
	objects map[objectID]entry
	swept   int64 // microseconds
}

type entry struct {
	seq uint32 // of the last task about it
	at  int64  // of that task, microseconds
}

func bucketOf(id objectID) int { return int(id[0]) % buckets }

// take notes that a task is done. What had to be forgotten for room is
// returned as a number.
func (k *known) take(id objectID, e entry) (evicted int) {
	b := &k.buckets[bucketOf(id)]
	if b.objects == nil {
		b.objects = map[objectID]entry{}
	}
	if e.at >= b.swept+sweepEvery.Microseconds() {
		b.swept = e.at
		for other, x := range b.objects { // the order does not matter
			if x.at < e.at-Keep.Microseconds() {
				delete(b.objects, other)
			}
		}
	}
	if _, is := b.objects[id]; !is && len(b.objects) >= bucketSize {
		evicted = b.evict(bucketSize / 8)
	}
	b.objects[id] = e
	return evicted
}

// evict forgets the oldest n objects.
func (b *bucket) evict(n int) int {
	ids := b.sorted()
	slices.SortStableFunc(ids, func(x, y objectID) int { return cmp.Compare(b.objects[x].at, b.objects[y].at) })
	for _, id := range ids[:min(n, len(ids))] {
		delete(b.objects, id)
	}
	return min(n, len(ids))
}

func (b *bucket) sorted() []objectID {
	ids := make([]objectID, 0, len(b.objects))
	for id := range b.objects {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(x, y objectID) int { return bytes.Compare(x[:], y[:]) })
	return ids
}

func (k *known) size() (n int) {
	for i := range k.buckets {
		n += len(k.buckets[i].objects)
	}
	return n
}

// stateVersion is the format of a bucket.
const stateVersion = 1

func (k *known) appendBucket(dst []byte, n int) []byte {
	b := &k.buckets[n]
	if len(b.objects) == 0 {
		return dst
	}
	dst = operator.AppendUint(dst, uint64(stateVersion))
	dst = operator.AppendInt(dst, b.swept)
	dst = operator.AppendUint(dst, uint64(len(b.objects)))
	for _, id := range b.sorted() {
		e := b.objects[id]
		dst = append(dst, id[:]...)
		dst = operator.AppendUint(dst, e.seq)
		dst = operator.AppendInt(dst, e.at)
	}
	return dst
}

func (k *known) loadBucket(n int, data []byte) error {
	b := &k.buckets[n]
	*b = bucket{}
	if len(data) == 0 {
		return nil
	}
	r := operator.NewReader(data)
	if v := r.Uint(); v != stateVersion {
		return fmt.Errorf("objects: state of version %d: %w", v, operator.ErrState)
	}
	b.swept = r.Int()
	count := r.Count()
	b.objects = make(map[objectID]entry, count)
	for range count {
		var id objectID
		for i := range id {
			id[i] = r.Byte()
		}
		b.objects[id] = entry{seq: uint32(r.Uint()), at: r.Int()}
	}
	return r.Err()
}
