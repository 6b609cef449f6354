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
	smallBytes, largeBytes     sync.Pool // *[]byte
	smallRecords, largeRecords sync.Pool // *[]kgo.Record
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
	return []kgo.Opt{kgo.WithPools(&fetchPool{}), kgo.FetchMaxPartitionBytes(partitionBytes)}
}

// Bounds between small and large, in decompressed bytes and in records.
const (
	smallBatchBytes   = 64 << 10
	smallBatchRecords = 128
	// compression is how many times smaller than its content a compressed
	// batch is taken to be at least; where it is more, the buffer grows.
	compression = 4
)

// GetDecompressBytes implements kgo.PoolDecompressBytes.
func (p *fetchPool) GetDecompressBytes(compressed []byte, _ kgo.CompressionCodecType) []byte {
	from, size := &p.largeBytes, compression*len(compressed)
	if size <= smallBatchBytes {
		from = &p.smallBytes
	}
	if b, ok := from.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, size)
}

// PutDecompressBytes implements kgo.PoolDecompressBytes.
func (p *fetchPool) PutDecompressBytes(b []byte) {
	if cap(b) <= smallBatchBytes {
		p.smallBytes.Put(&b)
		return
	}
	p.largeBytes.Put(&b)
}

// GetRecords implements kgo.PoolRecords.
func (p *fetchPool) GetRecords(n int) []kgo.Record {
	from := &p.largeRecords
	if n <= smallBatchRecords {
		from = &p.smallRecords
	}
	if r, ok := from.Get().(*[]kgo.Record); ok && cap(*r) >= n {
		return (*r)[:0]
	}
	if n <= smallBatchRecords {
		n = smallBatchRecords
	}
	return make([]kgo.Record, 0, n)
}

// PutRecords implements kgo.PoolRecords.
func (p *fetchPool) PutRecords(r []kgo.Record) {
	if cap(r) <= smallBatchRecords {
		p.smallRecords.Put(&r)
		return
	}
	p.largeRecords.Put(&r)
}
