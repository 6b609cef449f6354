package objects

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
)

// Blocks of an object that is read in any order.
const (
	blockBytes = 1 << 20
	maxBlocks  = 16
)

// ranges reads an object in any order, by blocks, of which it keeps some: what
// Parquet needs. Nothing is written to a disk. It is for one goroutine.
type ranges struct {
	store *store
	ctx   context.Context //nolint:containedctx // the reading's: io.ReaderAt has none
	task  *Task
	etag  string
	size  int64

	blocks [maxBlocks]block
	clock  uint64
}

type block struct {
	data []byte
	at   int64
	used uint64 // 0: empty
}

// ReadAt implements io.ReaderAt. Errors wrap input.ErrSource.
func (r *ranges) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		if off < 0 || off >= r.size {
			return n, io.EOF
		}
		b, err := r.block(off - off%blockBytes)
		if err != nil {
			return n, fmt.Errorf("%w: %w", input.ErrSource, err)
		}
		c := copy(p[n:], b.data[off-b.at:])
		n += c
		off += int64(c)
	}
	return n, nil
}

func (r *ranges) block(at int64) (*block, error) {
	r.clock++
	oldest := &r.blocks[0]
	for i := range r.blocks {
		b := &r.blocks[i]
		if b.used > 0 && b.at == at {
			b.used = r.clock
			return b, nil
		}
		if b.used < oldest.used {
			oldest = b
		}
	}
	end := min(at+blockBytes, r.size)
	t := *r.task
	t.ETag = r.etag
	body, _, _, err := r.store.get(r.ctx, &t, fmt.Sprintf("bytes=%d-%d", at, end-1), time.Now().Add(answerTime))
	if err != nil {
		return nil, err
	}
	defer body.Close() //nolint:errcheck // it was read
	if oldest.data == nil {
		oldest.data = make([]byte, blockBytes)
	}
	oldest.used = 0
	oldest.data = oldest.data[:end-at]
	if _, err := io.ReadFull(body, oldest.data); err != nil {
		return nil, err
	}
	oldest.at, oldest.used = at, r.clock
	return oldest, nil
}
