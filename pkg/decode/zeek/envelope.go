package zeek

import (
	"bytes"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/segmentio/encoding/json"
)

// maxObjects is how many nested objects of a line are looked at in search of
// the record.
const maxObjects = 8

// jsonLine decodes a line that holds a JSON object: a record, a record under
// a tag, or a shipper's envelope around a line (formats.md §3.11).
func (d *Decoder) jsonLine(line []byte, wrapped bool) (outcome, string) {
	if reason := d.readObject(line); reason != "" {
		return dead, reason
	}
	if d.rec.set.has(fTS) {
		return d.decodeRecord(nil)
	}
	if !wrapped {
		d.learnFile()
	}
	var message value
	if m := d.rec.get(fMessage); m != nil && m.kind == kindString && !wrapped {
		message = *m
	}
	if len(d.objects) > 0 {
		if tag, ok := d.unwrap(); ok {
			return d.decodeRecord(tag)
		}
	}
	if len(message.b) > 0 {
		return d.message(&message)
	}
	d.readObject(line) // what was looked at in search lies in d.rec now
	return d.decodeRecord(nil)
}

// message decodes the line that a shipper wrapped whole. A header line among
// them tells nothing about the next: the files of a shipper interleave.
func (d *Decoder) message(m *value) (outcome, string) {
	var inner string
	if json.Unmarshal(m.quoted(), &inner) != nil {
		return dead, decode.ReasonJSON
	}
	line := trimLine([]byte(inner))
	switch {
	case len(line) == 0:
		return ignored, ignoredEmpty
	case line[0] == '{':
		return d.jsonLine(line, true)
	case line[0] == '#':
		return ignored, ignoredHeader
	case d.columns == nil:
		return dead, ReasonNoHeader
	}
	return d.row(d.columns, line)
}

// quoted returns a JSON string with its quotes: they stand around v.b.
func (v *value) quoted() []byte {
	return append(append([]byte{'"'}, v.b...), '"')
}

// unwrap looks for the record in an object that is nested in the line: under
// its tag (zeek-kafka with tag_json: the one key whose value is an object), or
// where a shipper put it. It reads it into d.rec and returns the tag.
func (d *Decoder) unwrap() (tag []byte, ok bool) {
	var buf [maxObjects]object
	objects := buf[:copy(buf[:], d.objects)] // scanObject reuses d.objects
	for _, tagged := range [...]bool{true, false} {
		for _, o := range objects {
			t, _ := logNamed(bytes.ToLower(o.name))
			if tagged != (t != logUnknown || len(objects) == 1) {
				continue
			}
			if d.scanObject(o.body) && d.rec.set.has(fTS) {
				if tagged {
					tag = o.name
				}
				return tag, true
			}
		}
	}
	return nil, false
}

// learnFile notes the name of the file that a shipper says it read.
func (d *Decoder) learnFile() {
	if f := d.rec.get(fLogFile); f != nil {
		d.file.t, d.file.open = hinted(d.text(f))
		return
	}
	for _, o := range d.objects {
		if string(o.name) != "log" {
			continue
		}
		var log struct {
			File struct{ Path string }
		}
		if json.Unmarshal(o.body, &log) == nil {
			d.file.t, d.file.open = hinted(log.File.Path)
		}
	}
}
