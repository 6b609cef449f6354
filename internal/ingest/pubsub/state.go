package pubsub

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// Bounds of what is known of a partition's messages.
const (
	buckets = 64
	// bucketSize is the most messages of a bucket: half a million a partition,
	// about 25 MB. Beyond it the oldest eighth of the bucket is forgotten.
	bucketSize = 8192
	keep       = 24 * time.Hour
	sweepEvery = 10 * time.Minute
)

// messageID identifies a message of a subscription.
type messageID [16]byte

func (m *message) hash() messageID {
	sum := sha256.Sum256([]byte(m.Subscription + "\x00" + m.ID))
	return messageID(sum[:16])
}

// known is the set of messages of a partition. It follows from the records
// alone: time is that of the log.
type known [buckets]bucket

type bucket struct {
	at    map[messageID]int64 // microseconds
	swept int64
}

func bucketOf(id messageID) int { return int(id[0]) % buckets }

// take notes a message; false where it is known.
func (k *known) take(id messageID, now int64) bool {
	b := &k[bucketOf(id)]
	if b.at == nil {
		b.at = map[messageID]int64{}
	}
	old := now - keep.Microseconds()
	if at, is := b.at[id]; is && at >= old {
		return false
	}
	if now >= b.swept+sweepEvery.Microseconds() {
		b.swept = now
		for other, at := range b.at { // the order does not matter
			if at < old {
				delete(b.at, other)
			}
		}
	}
	if len(b.at) >= bucketSize {
		ids := b.sorted()
		slices.SortStableFunc(ids, func(x, y messageID) int { return cmp.Compare(b.at[x], b.at[y]) })
		for _, other := range ids[:bucketSize/8] {
			delete(b.at, other)
		}
	}
	b.at[id] = now
	return true
}

func (b *bucket) sorted() []messageID {
	ids := make([]messageID, 0, len(b.at))
	for id := range b.at {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(x, y messageID) int { return bytes.Compare(x[:], y[:]) })
	return ids
}

// stateVersion is the format of a bucket.
const stateVersion = 1

func (k *known) appendBucket(dst []byte, n int) []byte {
	b := &k[n]
	if len(b.at) == 0 {
		return dst
	}
	dst = operator.AppendUint(dst, uint64(stateVersion))
	dst = operator.AppendInt(dst, b.swept)
	dst = operator.AppendUint(dst, uint64(len(b.at)))
	for _, id := range b.sorted() {
		dst = append(dst, id[:]...)
		dst = operator.AppendInt(dst, b.at[id])
	}
	return dst
}

func (k *known) loadBucket(n int, data []byte) error {
	b := &k[n]
	*b = bucket{}
	if len(data) == 0 {
		return nil
	}
	r := operator.NewReader(data)
	if v := r.Uint(); v != stateVersion {
		return fmt.Errorf("pubsub: state of version %d: %w", v, operator.ErrState)
	}
	b.swept = r.Int()
	count := r.Count()
	b.at = make(map[messageID]int64, count)
	for range count {
		var id messageID
		for i := range id {
			id[i] = r.Byte()
		}
		b.at[id] = r.Int()
	}
	return r.Err()
}
