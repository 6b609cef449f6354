package stream

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// fetchPool lends the client what it decompresses batches into, and the
// records that point there. Without it every record costs its own size in
// garbage, and the collector runs over a state of gigabytes as often as so
// much has been read. A worker gives each record back (Record.Recycle) once it
// is applied: an operator keeps nothing of it (operator.Record).
//
// Live batches are small and those of a backlog large. They have pools of
// their own, or each marker of a transaction would hold, and clear, a buffer of
// a megabyte.
type fetchPool struct {
	smallBytes, largeBytes     freeList[byte]
	smallRecords, largeRecords freeList[kgo.Record]
}

func newFetchPool() *fetchPool {
	p := &fetchPool{}
	p.smallBytes.most, p.largeBytes.most = 4<<20, 64<<20
	p.smallRecords.most, p.largeRecords.most = 1<<14, 1<<17
	return p
}

// freeList keeps slices that nobody uses. A sync.Pool would lose them to every
// second collection, and what it is for is to have few of these.
type freeList[T any] struct {
	mu   sync.Mutex
	free [][]T
	held int // elements of all that are free
	most int // bound of that
}

// get returns the slice that was given back last, if it holds n elements, or a
// new one of n, and of least at the least.
func (l *freeList[T]) get(n, least int) []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := len(l.free) - 1; last >= 0 {
		s := l.free[last]
		l.free[last] = nil
		l.free = l.free[:last]
		l.held -= cap(s)
		if cap(s) >= n {
			return s[:0]
		}
	}
	return make([]T, 0, max(n, least))
}

func (l *freeList[T]) put(s []T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held+cap(s) <= l.most {
		l.held += cap(s)
		l.free = append(l.free, s)
	}
}

// partitionBytes is how much of a partition is fetched at once, compressed.
// Fetched is ahead of what is applied, for all partitions, and a record
// decompresses to five times its size and more: a fetch of the client's default
// of 1 MiB holds 128 MiB at 16 partitions.
const partitionBytes = 256 << 10

// Fetching are the options of the engine's client that concern memory: a client
// with them gives its records back (Record.Recycle). Others that read as the
// engine does take them as well.
func Fetching() []kgo.Opt {
	return []kgo.Opt{kgo.WithPools(newFetchPool()), kgo.FetchMaxPartitionBytes(partitionBytes)}
}

// Bounds between small and large, in decompressed bytes and in records.
const (
	smallBatchBytes   = 64 << 10
	smallBatchRecords = 128
	// largeBatchBytes is what the producers of Kafka's clients, and ours, put
	// into a batch at most.
	largeBatchBytes = 1<<20 + 4<<10
	// compression is how many times smaller than its content a compressed
	// batch is taken to be at least; where it is more, the buffer grows.
	compression = 8
)

// GetDecompressBytes implements kgo.PoolDecompressBytes.
func (p *fetchPool) GetDecompressBytes(compressed []byte, _ kgo.CompressionCodecType) []byte {
	if n := compression * len(compressed); n <= smallBatchBytes {
		return p.smallBytes.get(0, n)
	}
	return p.largeBytes.get(0, largeBatchBytes)
}

// PutDecompressBytes implements kgo.PoolDecompressBytes.
func (p *fetchPool) PutDecompressBytes(b []byte) {
	if cap(b) <= smallBatchBytes {
		p.smallBytes.put(b)
		return
	}
	p.largeBytes.put(b)
}

// GetRecords implements kgo.PoolRecords.
func (p *fetchPool) GetRecords(n int) []kgo.Record {
	if n <= smallBatchRecords {
		return p.smallRecords.get(n, smallBatchRecords)
	}
	return p.largeRecords.get(n, 0)
}

// PutRecords implements kgo.PoolRecords.
func (p *fetchPool) PutRecords(r []kgo.Record) {
	if cap(r) <= smallBatchRecords {
		p.smallRecords.put(r)
		return
	}
	p.largeRecords.put(r)
}
