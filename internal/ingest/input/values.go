package input

import (
	"bytes"
	"io"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// maxValue is the longest JSON document: a CloudWatch Logs batch is at most
// 1 MB compressed. It is what the decoders take.
const maxValue = 16 << 20

// values reads JSON documents behind one another, with or without anything
// between them: what Firehose writes of a CloudWatch Logs subscription are
// gzip members of one document each (formats.md §8). Each document goes to the
// decoder as a line does.
type values struct {
	src   io.Reader
	close func() error
	dec   decode.Lines
	name  string
	count uint64 // documents so far
	skip  uint64
	// elements takes those of a bare array one by one, as exports of Google
	// Cloud hold them.
	elements bool
	// line is how the line began in which the document at hand begins: its line
	// break and indentation. Another one that begins like it is its neighbour.
	line []byte

	scan          rawjson.Scan
	buf           []byte
	from, pos, to int
	base          int64 // offset in the content of buf[0]
	start         int64 // of the document at hand
	inside        bool
	// Of a document beyond maxValue only head is kept.
	head []byte
	cut  bool
}

func newValues(src io.Reader, closing func() error, dec decode.Lines, name string, at Position) *values {
	if len(at.Header) > 0 {
		dec.SetHeader(at.Header)
	}
	return &values{src: src, close: closing, dec: dec, name: name, skip: at.Records}
}

// Next implements Reader: one document.
func (v *values) Next(sink decode.Sink) error {
	for {
		if !v.inside {
			if err := v.begin(); err != nil {
				return err
			}
		}
		n, status := v.scan.Feed(v.buf[v.pos:v.to])
		v.pos += n
		switch status {
		case rawjson.Broken:
			return v.broken(sink)
		case rawjson.More:
			if err := v.more(); err != nil {
				return err
			}
			continue
		default:
		}
		raw := v.take()
		at := v.at()
		switch {
		case v.count <= v.skip:
		case v.cut || len(raw) > maxValue:
			sink.Dead(decode.ReasonTooLong, raw, at)
		case v.scan.Deep():
			sink.Dead(decode.ReasonTooDeep, raw, at)
		default:
			v.dec.Line(raw, at, sink)
		}
		return nil
	}
}

// begin finds the beginning of the next document.
func (v *values) begin() error {
	for {
		for v.pos < v.to {
			if c := v.buf[v.pos]; v.elements && (c == '\n' || (c == ' ' || c == '\t') && len(v.line) < 64) {
				if c == '\n' {
					v.line = v.line[:0]
				}
				v.line = append(v.line, c)
			}
			switch v.buf[v.pos] {
			case ' ', '\t', '\r', '\n', ',', 0xEF, 0xBB, 0xBF:
				v.pos++
				continue
			case '[', ']':
				if v.elements {
					v.pos++
					continue
				}
			}
			v.from, v.start = v.pos, v.base+int64(v.pos)
			v.scan, v.inside, v.cut = rawjson.Scan{}, true, false
			return nil
		}
		v.from = v.pos
		if err := v.fill(); err != nil {
			return err
		}
	}
}

// more reads on inside a document. Of one that has become too long only the
// head is kept.
func (v *values) more() error {
	if !v.cut && v.pos-v.from > maxValue {
		v.head, v.cut = bytes.Clone(v.buf[v.from:v.from+decode.MaxDead]), true
	}
	if v.cut {
		v.from = v.pos
	}
	return v.fill()
}

func (v *values) fill() error {
	if v.from > 0 {
		copy(v.buf, v.buf[v.from:v.to])
		v.base += int64(v.from)
		v.pos -= v.from
		v.to -= v.from
		v.from = 0
	}
	switch {
	case len(v.buf)-v.to < readChunk:
		grown := make([]byte, max(2*readChunk, 2*len(v.buf)))
		copy(grown, v.buf[:v.to])
		v.buf = grown
	case len(v.buf) > 64*readChunk && v.to < readChunk:
		// One long document must not hold memory for ever.
		v.buf = append(make([]byte, 0, 2*readChunk), v.buf[:v.to]...)[:2*readChunk]
	}
	for range 100 {
		n, err := v.src.Read(v.buf[v.to : v.to+readChunk])
		v.to += n
		if n > 0 {
			return nil // an error comes again with the next call
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// take ends the document at hand and returns what is kept of it.
func (v *values) take() []byte {
	raw := v.buf[v.from:v.pos]
	if v.cut {
		raw = v.head
	}
	v.from, v.inside = v.pos, false
	v.count++
	return raw
}

func (v *values) at() event.Origin {
	return event.Origin{Name: v.name, Line: event.N(v.count), Offset: event.N(v.start)}
}

// broken gives up the document at hand and goes on at the next one that
// begins a line.
func (v *values) broken(sink decode.Sink) error {
	next := []byte("\n{")
	if len(v.line) > 0 {
		next = append(bytes.Clone(v.line), '{')
	}
	for {
		if i := bytes.Index(v.buf[v.pos:v.to], next); i >= 0 {
			v.pos += i + len(next) - 1
			break
		}
		v.pos = max(v.pos, v.to-len(next)+1) // the beginning may be the last bytes so far
		switch err := v.more(); {
		case err == nil:
			continue
		case IsContent(err):
			return err
		case err != io.EOF: //nolint:errorlint // of Read, which does not wrap it
			return err
		}
		v.pos = v.to
		break
	}
	raw := v.take()
	if v.count > v.skip {
		sink.Dead(decode.ReasonJSON, raw[:min(len(raw), decode.MaxDead)], v.at())
	}
	return nil
}

// End implements Reader.
func (v *values) End(err error, sink decode.Sink) {
	reason := ""
	if err != nil {
		reason = reasonOf(err)
	}
	if reason == "" && v.inside {
		reason = decode.ReasonTruncated
	}
	if reason == "" {
		return
	}
	v.pos = v.to
	raw := v.take()
	if v.count > v.skip {
		sink.Dead(reason, raw[:min(len(raw), decode.MaxDead)], v.at())
	}
}

// Position implements Reader.
func (v *values) Position() Position { return Position{Records: v.count, Header: v.dec.Header()} }

// Again implements Reader.
func (v *values) Again() error { return nil }

// Closed implements Reader.
func (v *values) Closed() bool { return true }

// Close implements Reader.
func (v *values) Close() error { return v.close() }

// documentLines reports whether JSON text holds one document a line: its first
// line is an object, and nothing else.
func documentLines(head []byte) bool {
	text := bytes.TrimLeft(head, " \t\r\n")
	line, _, complete := bytes.Cut(text, []byte{'\n'})
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] != '{' {
		return false
	}
	var scan rawjson.Scan
	n, status := scan.Feed(line)
	return status == rawjson.Done && n == len(line) || status == rawjson.More && !complete && len(text) >= maxText
}

// documentStream reports whether JSON text is not one document a line: its
// first line is not complete, or holds more than one.
func documentStream(head []byte) bool {
	text := bytes.TrimLeft(head, " \t\r\n")
	if len(text) == 0 || text[0] != '{' {
		return false
	}
	line, _, complete := bytes.Cut(text, []byte{'\n'})
	var scan rawjson.Scan
	n, status := scan.Feed(line)
	if status != rawjson.Done {
		return !complete && status == rawjson.More && len(text) >= maxText
	}
	return len(bytes.TrimSpace(line[n:])) > 0
}
