package input

import (
	"bytes"
	"io"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// DefaultMaxLine is the longest line that reaches a decoder.
const DefaultMaxLine = 1 << 20

// readChunk is how much is read at once.
const readChunk = 64 << 10

// lines reads one record a line. It is what follows a growing file: after
// io.EOF, Next may be called again when there is more.
type lines struct {
	src    io.Reader
	close  func() error
	dec    decode.Lines
	name   string
	max    int
	offset int64  // of the next line
	line   uint64 // lines taken so far

	buf      []byte
	from, to int // what was read and not taken
	scanned  int // of that, how much holds no line break
	// A line beyond max is dropped while it is read: head is its beginning,
	// dropped what is gone of it.
	head    []byte
	dropped int64
	closing bool // the line taken last was Zeek's #close
}

func newLines(src io.Reader, closing func() error, dec decode.Lines, name string, most int, at Position) *lines {
	if len(at.Header) > 0 {
		dec.SetHeader(at.Header)
	}
	return &lines{src: src, close: closing, dec: dec, name: name, max: most, offset: at.Offset, line: at.Line}
}

// Next implements Reader: one line.
func (l *lines) Next(sink decode.Sink) error {
	for {
		if i := bytes.IndexByte(l.buf[l.from+l.scanned:l.to], '\n'); i >= 0 {
			l.take(l.scanned+i, 1, sink)
			return nil
		}
		l.scanned = l.to - l.from
		if l.scanned > l.max {
			if l.dropped == 0 {
				l.head = bytes.Clone(l.buf[l.from : l.from+min(l.scanned, decode.MaxDead)])
			}
			l.dropped += int64(l.scanned)
			l.from, l.to, l.scanned = 0, 0, 0
		}
		if err := l.fill(); err != nil {
			return err
		}
	}
}

// fill reads on; an error means that nothing was read.
func (l *lines) fill() error {
	if l.from > 0 {
		l.to = copy(l.buf, l.buf[l.from:l.to])
		l.from = 0
	}
	if len(l.buf)-l.to < readChunk {
		size := max(2*readChunk, 2*len(l.buf))
		grown := make([]byte, size)
		copy(grown, l.buf[:l.to])
		l.buf = grown
	} else if len(l.buf) > 8*readChunk && l.to < readChunk {
		// One long line must not hold memory for ever.
		l.buf = append(make([]byte, 0, 2*readChunk), l.buf[:l.to]...)[:2*readChunk]
	}
	for range 100 {
		n, err := l.src.Read(l.buf[l.to : l.to+readChunk])
		l.to += n
		if n > 0 {
			return nil // an error comes again with the next call
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// take hands on the line of n bytes behind from, and passes over the bytes of
// its line break.
func (l *lines) take(n, lineBreak int, sink decode.Sink) {
	text := l.buf[l.from : l.from+n]
	at := event.Origin{Name: l.name, Line: event.N(l.line + 1), Offset: event.N(l.offset)}
	// The position moves first: the sink may ask for it.
	l.offset += l.dropped + int64(n) + int64(lineBreak)
	l.line++
	l.from += n + lineBreak
	l.scanned = 0
	switch {
	case l.dropped > 0:
		head := l.head
		l.head, l.dropped, l.closing = nil, 0, false
		sink.Dead(decode.ReasonTooLong, head, at)
	case n > l.max:
		sink.Dead(decode.ReasonTooLong, text, at)
	default:
		l.closing = bytes.HasPrefix(text, closeLine)
		l.dec.Line(text, at, sink)
	}
}

var closeLine = []byte("#close")

// End implements Reader. A half line counts as a line where the file ends as
// it should, and as the dead record of the error otherwise.
func (l *lines) End(err error, sink decode.Sink) {
	n := l.to - l.from
	half := n > 0 || l.dropped > 0
	reason := ""
	if err != nil {
		reason = reasonOf(err)
	}
	switch {
	case reason == "" && half:
		l.take(n, 0, sink)
	case reason != "":
		raw := l.buf[l.from:l.to]
		if l.dropped > 0 {
			raw = l.head
		}
		at := event.Origin{Name: l.name, Line: event.N(l.line + 1), Offset: event.N(l.offset)}
		if half {
			l.offset += l.dropped + int64(n)
			l.line++
		}
		l.from, l.to, l.scanned, l.head, l.dropped = 0, 0, 0, nil, 0
		sink.Dead(reason, raw, at)
	}
}

// Position implements Reader.
func (l *lines) Position() Position {
	return Position{Offset: l.offset, Line: l.line, Header: l.dec.Header()}
}

// Again implements Reader. Of an overlong line what is gone stays gone, or a
// file without line breaks would be read over and over.
func (l *lines) Again() error {
	seeker, ok := l.src.(io.Seeker)
	if !ok || l.from == l.to || l.dropped > 0 {
		return nil
	}
	l.from, l.to, l.scanned = 0, 0, 0
	_, err := seeker.Seek(l.offset, io.SeekStart)
	return err
}

// Closed implements Reader.
func (l *lines) Closed() bool { return l.closing }

// Close implements Reader.
func (l *lines) Close() error { return l.close() }
