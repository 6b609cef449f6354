package cloudtrail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Bounds of one record and of the memory of a Reader.
const (
	// maxRecord is the longest record; CloudTrail's are below 256 KiB.
	maxRecord = 1 << 20
	chunk     = 64 << 10
)

// window is the part of the input that is in memory: bytes from..end of buf,
// of which those before pos have been looked at.
type window struct {
	src            io.Reader // nil: buf is all there is
	buf            []byte
	from, pos, end int
	base           uint64 // offset in the input of buf[0]
	err            error  // of src, for good
}

// fill reads more input behind end and drops what stands before from. It
// reports whether there is more; if not, err is the reason unless the input
// simply ended.
func (w *window) fill() bool {
	if w.src == nil || w.err != nil {
		return false
	}
	if w.from > 0 {
		copy(w.buf, w.buf[w.from:w.end])
		w.base += uint64(w.from)
		w.pos -= w.from
		w.end -= w.from
		w.from = 0
	}
	if w.end == len(w.buf) {
		grown := make([]byte, max(2*len(w.buf), 2*chunk))
		copy(grown, w.buf[:w.end])
		w.buf = grown
	}
	for range 100 {
		n, err := w.src.Read(w.buf[w.end:min(len(w.buf), w.end+chunk)])
		w.end += n
		if err != nil {
			w.err = err
		}
		if n > 0 || err != nil {
			return n > 0
		}
	}
	w.err = io.ErrNoProgress
	return false
}

// marked reports whether a byte order mark stands next.
func (w *window) marked() bool {
	for w.end-w.pos < len(byteOrderMark) && w.fill() {
	}
	return bytes.HasPrefix(w.buf[w.pos:w.end], byteOrderMark)
}

// failure is the error of the input, nil when it ended as it should.
func (w *window) failure() error {
	if w.err == nil || errors.Is(w.err, io.EOF) {
		return nil
	}
	return fmt.Errorf("read at byte %d: %w", w.base+uint64(w.end), w.err)
}

// byteOrderMark stands before a text, or, where files were put together, before
// one of them.
var byteOrderMark = []byte("\xEF\xBB\xBF")

// peek skips white space and byte order marks, and returns the next byte without
// consuming it.
func (w *window) peek() (c byte, ok bool) {
	for {
		for w.pos < w.end {
			switch c := w.buf[w.pos]; {
			case c == ' ' || c == '\n' || c == '\r' || c == '\t':
				w.pos++
			case c == byteOrderMark[0] && w.marked():
				w.pos += len(byteOrderMark)
			default:
				return c, true
			}
		}
		w.from = w.pos
		if !w.fill() {
			return 0, false
		}
	}
}
