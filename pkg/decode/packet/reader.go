package packet

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// maxCapture is the longest packet that is taken from a file: libpcap's
// MAXIMUM_SNAPLEN.
const maxCapture = 1 << 18

// window is how far ahead a file is looked at.
const window = maxCapture + 16<<10

// Reader reads a pcap or pcapng stream, recognised by its first bytes, and
// feeds its packets to a Tracker. What is not a packet record of the stream
// goes to the sink as dead, and reading goes on with the next record.
type Reader struct {
	in       *bufio.Reader
	name     string
	tracker  *Tracker
	consumed uint64 // bytes
	packets  uint64
	next     func(*Reader, decode.Sink) error
	classic  classic
	ng       ng
	err      error
}

// NewReader returns a reader of an uncompressed stream. name becomes
// Origin.Name. A Tracker may be fed from one Reader after another.
func NewReader(src io.Reader, name string, tracker *Tracker) *Reader {
	return &Reader{in: bufio.NewReaderSize(src, window), name: name, tracker: tracker, next: (*Reader).start}
}

// Next reads one record. It returns io.EOF at the end of the stream, also of
// one that is cut off, and any other error of the underlying reader, wrapped;
// either is final. The Tracker is not flushed.
func (r *Reader) Next(sink decode.Sink) error {
	if r.err == nil {
		r.err = r.next(r, sink)
	}
	return r.err
}

// ReadAll reads to the end of the stream and flushes the Tracker. The error is
// one of the underlying reader other than io.EOF.
func (r *Reader) ReadAll(sink decode.Sink) error {
	for {
		switch err := r.Next(sink); {
		case err == nil:
		case errors.Is(err, io.EOF):
			r.tracker.Flush(sink)
			return nil
		default:
			return err
		}
	}
}

// Packets is how many packets were read, the Origin.Line of the last one.
func (r *Reader) Packets() uint64 { return r.packets }

// Offset is how many bytes of the stream were read.
func (r *Reader) Offset() uint64 { return r.consumed }

// start recognises the format.
func (r *Reader) start(sink decode.Sink) error {
	magic, err := r.peek(4)
	switch {
	case len(magic) == 0 && err != nil:
		return r.end(err)
	case len(magic) < 4:
		return r.truncated(err, sink)
	}
	if string(magic) == sectionMagic {
		r.next = (*Reader).nextBlock
		return nil
	}
	for _, order := range [2]binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if m := order.Uint32(magic); m == magicMicro || m == magicNano {
			return r.startClassic(sink)
		}
	}
	return r.unknown(sink)
}

// unknown gives up a stream that is no capture.
func (r *Reader) unknown(sink decode.Sink) error {
	raw, _ := r.peek(decode.MaxDead)
	r.die(decode.ReasonUnknownFormat, raw, sink)
	return io.EOF
}

// peek returns the next n bytes, fewer with the error that ended the stream.
func (r *Reader) peek(n int) ([]byte, error) { return r.in.Peek(n) }

// skip passes over n bytes. The error tells that the stream ended before.
func (r *Reader) skip(n uint64) error {
	for n > 0 {
		done, err := r.in.Discard(int(min(n, 1<<30)))
		r.consumed += uint64(done)
		n -= uint64(done)
		if err != nil {
			return err
		}
	}
	return nil
}

// end makes the error of a stream that ended where it may.
func (r *Reader) end(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return fmt.Errorf("read %s: %w", r.name, err)
}

// truncated reports the end of a stream in the middle of a record. A reader
// that unpacks a file that was cut off says io.ErrUnexpectedEOF.
func (r *Reader) truncated(err error, sink decode.Sink) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return r.end(err)
	}
	rest, _ := r.peek(min(r.in.Buffered(), decode.MaxDead))
	r.die(decode.ReasonTruncated, rest, sink)
	return io.EOF
}

// die reports a dead record at the present position.
func (r *Reader) die(reason string, raw []byte, sink decode.Sink) {
	sink.Dead(reason, raw[:min(len(raw), decode.MaxDead)], event.Origin{Name: r.name, Line: event.N(r.packets + 1), Offset: event.N(r.consumed)})
}

// count numbers the packet at hand.
func (r *Reader) count(offset uint64) event.Origin {
	r.packets++
	return event.Origin{Name: r.name, Line: event.N(r.packets), Offset: event.N(offset)}
}
