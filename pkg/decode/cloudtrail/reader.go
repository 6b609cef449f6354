package cloudtrail

import (
	"bytes"
	"io"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// A Reader decodes the records of one file while it is read. It holds one
// record and some 100 KiB of input, never more than about 2 MiB. It is not
// safe for concurrent use.
type Reader struct {
	dec  decoder
	w    window
	name string
	// line is the origin of all records where they stand in one line.
	line    event.Origin
	inLine  bool
	records uint64 // accounted so far
	skip    uint64

	place    place
	scan     rawjson.Scan // of the document that the current array belongs to
	messages bool         // the array is logEvents, not Records
	control  bool         // the envelope is a connectivity test
	inArray  uint64       // records of the current array

	start uint64 // offset of the current value in the input
	deep  bool   // it nests too deep
	cut   bool   // it is too long: head is its beginning, the rest is dropped
	head  []byte
}

// place says what stands next in the input.
type place uint8

const (
	atTop      place = iota // a document
	inDocument              // an element of an array in a document
	inBare                  // an element of a bare array
	afterArray              // the rest of a document behind its array
)

// NewReader returns a reader of src. The records' origins have the name of
// at, their number in the file, counted from 1, as line, and their offset.
func NewReader(src io.Reader, at event.Origin) *Reader {
	r := &Reader{}
	r.Reset(src, at)
	return r
}

// Reset makes the reader one of src and keeps its memory.
func (r *Reader) Reset(src io.Reader, at event.Origin) {
	buf := r.w.buf
	if r.inLine {
		buf = nil // it is the caller's
	}
	r.name, r.inLine = at.Name, false
	r.restart(window{src: src, buf: buf})
}

// resetLine makes the reader one of the records in a line.
func (r *Reader) resetLine(line []byte, at event.Origin) {
	r.line, r.inLine = at, true
	r.restart(window{buf: line, end: len(line)})
}

func (r *Reader) restart(w window) {
	r.w, r.records, r.skip, r.place, r.cut = w, 0, 0, atTop, false
}

// Skip makes the reader pass over the first n records without a word to the
// sink: they were handled before the reading was broken off.
func (r *Reader) Skip(n uint64) { r.skip = n }

// Records is how many records were accounted for, those skipped included.
func (r *Reader) Records() uint64 { return r.records }

// Next decodes the next record. It returns io.EOF behind the last one. Any
// other error is that of the source; the input may be read anew, or given up
// with Abandon.
func (r *Reader) Next(sink decode.Sink) error {
	for before := r.records; r.records == before; {
		c, ok := r.w.peek()
		if !ok {
			return r.finish(sink)
		}
		r.w.from = r.w.pos
		r.start = r.w.base + uint64(r.w.pos)
		r.cut, r.deep = false, false
		switch {
		case r.place == atTop && c == '[':
			r.w.pos++
			r.place, r.inArray, r.messages = inBare, 0, false
		case r.place == atTop && c == '{':
			r.scan = rawjson.Scan{Watch: true}
			r.document(sink)
		case r.place == atTop:
			r.broken(sink)
		case r.place == afterArray:
			r.document(sink)
		case c == ']':
			r.w.pos++
			r.endArray(sink)
		case c == ',':
			r.w.pos++
		default:
			r.element(sink)
		}
	}
	return nil
}

// finish ends the reading.
func (r *Reader) finish(sink decode.Sink) error {
	if err := r.w.failure(); err != nil {
		return err
	}
	if r.place == atTop {
		return io.EOF
	}
	// An array was not closed: how many records are missing no one knows.
	r.start = r.w.base + uint64(r.w.pos)
	r.Abandon(sink)
	return nil
}

// Abandon gives up the rest of the input after an error: what was read of the
// record at hand is dead as truncated.
func (r *Reader) Abandon(sink decode.Sink) {
	raw := r.head
	if !r.cut {
		raw = nil
	}
	r.place, r.cut = atTop, false
	r.dead(decode.ReasonTruncated, raw, sink)
}

// truncated takes a value that the input ended in. Where the source failed
// nothing is lost yet: it may be read anew.
func (r *Reader) truncated(sink decode.Sink) {
	if r.w.failure() == nil {
		r.place = atTop
		r.dead(decode.ReasonTruncated, r.raw(), sink)
		return
	}
	if raw := r.raw(); !r.cut {
		r.head = append(r.head[:0], raw[:min(len(raw), decode.MaxDead)]...)
		r.cut = true
	}
}

// endArray leaves an array whose ']' was consumed.
func (r *Reader) endArray(sink decode.Sink) {
	if r.inArray == 0 {
		r.ignored(ignoredEmpty, sink)
	}
	if r.place == inBare {
		r.place = atTop
		return
	}
	r.place = afterArray
	r.scan.EndArray()
}

// document takes a document, or goes on with one behind its array. A document
// that has no array of records is itself the record.
func (r *Reader) document(sink decode.Sink) {
	whole := r.place == atTop
	for {
		switch r.feed(&r.scan) {
		case rawjson.Done:
			r.place = atTop
			if whole {
				r.value(sink)
			}
			return
		case rawjson.Array:
			if r.entered() {
				return
			}
		case rawjson.Broken:
			r.place = atTop
			r.broken(sink)
			return
		case rawjson.More:
			r.truncated(sink)
			return
		}
	}
}

// entered decides whether the array at whose '[' the scan stands is one of
// records, by the key before it.
func (r *Reader) entered() bool {
	seen := r.w.buf[r.w.from : r.w.pos-1]
	key := bytes.TrimRight(seen, " \n\r\t")
	key = bytes.TrimRight(bytes.TrimSuffix(key, []byte(":")), " \n\r\t")
	switch {
	case bytes.HasSuffix(key, []byte(`"Records"`)):
		r.messages = false
	case bytes.HasSuffix(key, []byte(`"logEvents"`)):
		r.messages, r.control = true, bytes.Contains(seen, []byte(`"CONTROL_MESSAGE"`))
	default:
		return false
	}
	r.place, r.inArray = inDocument, 0
	return true
}

// element takes one element of an array.
func (r *Reader) element(sink decode.Sink) {
	r.inArray++
	var scan rawjson.Scan
	switch r.feed(&scan) {
	case rawjson.Broken:
		r.broken(sink)
	case rawjson.More:
		r.truncated(sink)
	default:
		r.value(sink)
	}
}

// feed scans on through the input and returns More only at its end.
func (r *Reader) feed(scan *rawjson.Scan) rawjson.Status {
	for {
		n, status := scan.Feed(r.w.buf[r.w.pos:r.w.end])
		r.w.pos += n
		if status != rawjson.More {
			r.deep = scan.Deep()
			return status
		}
		if !r.more() {
			return rawjson.More
		}
	}
}

// more gets more input. Of a value that has become too long only the head is
// kept.
func (r *Reader) more() bool {
	if !r.cut && r.w.pos-r.w.from > maxRecord {
		r.head = append(r.head[:0], r.w.buf[r.w.from:r.w.from+decode.MaxDead]...)
		r.cut = true
	}
	if r.cut {
		r.w.from = r.w.pos
	}
	return r.w.fill()
}

// raw is the value at hand, or its head if it is too long.
func (r *Reader) raw() []byte {
	if r.cut {
		return r.head
	}
	raw := r.w.buf[r.w.from:r.w.pos]
	if len(raw) > maxRecord {
		return raw[:decode.MaxDead]
	}
	return raw
}

// value decodes the value at hand, which is complete.
func (r *Reader) value(sink decode.Sink) {
	raw := r.raw()
	switch {
	case r.cut || r.w.pos-r.w.from > maxRecord:
		r.dead(decode.ReasonTooLong, raw, sink)
		return
	case r.deep:
		r.dead(decode.ReasonTooDeep, raw, sink)
		return
	}
	switch skipped := r.account(); {
	case skipped:
	case r.messages && r.place == inDocument:
		r.dec.message(raw, r.control, r.origin(), sink)
	default:
		r.dec.record(raw, r.origin(), sink)
	}
}

// recordStart is how CloudTrail begins its records.
var recordStart = []byte(`{"eventVersion"`)

// broken gives up the value at hand, in which the next byte cannot stand, and
// goes on where a record may begin: at the next recordStart, inside an array
// also at the next line that begins an object, elsewhere at the next line
// that is not indented.
func (r *Reader) broken(sink decode.Sink) {
	if !r.rewind() {
		r.resync()
	}
	r.dead(decode.ReasonJSON, r.raw(), sink)
}

// rewind looks for a beginning in what was taken for the value's text: where
// a record breaks off inside a string, the next one's first quote ends it.
func (r *Reader) rewind() bool {
	r.look()
	if r.cut || r.w.pos == r.w.from || r.w.pos-r.w.from > maxRecord {
		return false
	}
	seen := r.w.buf[r.w.from+1 : min(r.w.end, r.w.pos+len(recordStart)-1)]
	at := bytes.Index(seen, recordStart)
	if line := bytes.Index(seen, []byte("\n{")); r.place == atTop && line >= 0 && (at < 0 || line < at) {
		at = line + 1
	}
	if at < 0 {
		return false
	}
	r.w.pos = r.w.from + 1 + at
	return true
}

// look gets enough input to recognise recordStart.
func (r *Reader) look() {
	for r.w.end-r.w.pos < len(recordStart) && r.more() {
	}
}

// resync moves on to the next beginning, or to the end.
func (r *Reader) resync() {
	if r.w.pos == r.w.from {
		r.w.pos++ // the value has only the byte that cannot begin one
	}
	for newline := false; ; r.w.pos++ {
		if r.w.pos == r.w.end && !r.more() {
			return
		}
		c := r.w.buf[r.w.pos]
		if c == '{' {
			r.look()
			if newline || bytes.HasPrefix(r.w.buf[r.w.pos:r.w.end], recordStart) {
				return
			}
		}
		indent := c == ' ' || c == '\t'
		if newline && r.place == atTop && !indent && c != '}' && c != ']' && c != '\n' && c != '\r' {
			return
		}
		newline = c == '\n' || newline && (c == '\r' || indent && r.place != atTop)
	}
}

// account counts a record and reports whether it is to be skipped.
func (r *Reader) account() (skipped bool) {
	r.records++
	return r.records <= r.skip
}

func (r *Reader) dead(reason string, raw []byte, sink decode.Sink) {
	if !r.account() {
		sink.Dead(reason, raw, r.origin())
	}
}

func (r *Reader) ignored(reason string, sink decode.Sink) {
	if !r.account() {
		sink.Ignored(reason)
	}
}

// origin is where the record stands that was counted last.
func (r *Reader) origin() event.Origin {
	if r.inLine {
		return r.line
	}
	return event.Origin{Name: r.name, Line: event.N(r.records), Offset: event.N(r.start)}
}
