// Package decode holds what all decoders share: how a decoder hands on what
// it read, and how it says what it could not read.
//
// A decoder is pure: bytes in, events out. It never stops on bad input: what
// cannot be decoded goes to [Sink.Dead] with its raw bytes and one of the
// reasons below, and decoding goes on with the next record. Every record of
// the input is an event, ignored or dead, and nothing is counted twice.
//
// A decoder leaves these fields to ingest: Observer.Name and Observer.Realm,
// Future, Network.Direction, Role. It sets Observer.Type and Origin.
package decode

import "github.com/ebbwatch/ebbwatch/pkg/event"

// Sink takes what a decoder reads. Arguments are valid during the call only.
type Sink interface {
	// Event takes one event. The decoder reuses e after the call returns.
	Event(e *event.Event)
	// Ignored counts a record that is sound but no event: a header, NODATA,
	// a digest. reason is a short constant in snake_case.
	Ignored(reason string)
	// Dead takes a record that cannot be decoded. raw may be cut to
	// MaxDead bytes by the sink, at says where it stood.
	Dead(reason string, raw []byte, at event.Origin)
}

// MaxDead is how many of the raw bytes of a dead record are kept.
const MaxDead = 64 << 10

// Reasons of dead records that several decoders share. A decoder adds its
// own where none of these fits; they are label values, so the set is small.
const (
	ReasonJSON          = "malformed_json"
	ReasonColumns       = "column_count"
	ReasonUnknownFormat = "unknown_format"
	ReasonValue         = "impossible_value"
	ReasonMissing       = "missing_field"
	ReasonTooLong       = "record_too_long"
	ReasonTooDeep       = "nested_too_deep"
	ReasonTruncated     = "truncated_input"
	ReasonTooMany       = "too_many_records"
)

// Reasons of records that were decoded and whose event cannot be written: it
// has no JSON form, or no topic takes one so long.
const (
	ReasonUnencodable = "unencodable"
	ReasonEventLong   = "event_too_long"
)

// Lines decodes a format of one record a line.
type Lines interface {
	// Line decodes one line without its line break. at tells where the line
	// stands and becomes the origin of what it yields.
	Line(line []byte, at event.Origin, sink Sink)
	// Header returns what of the file's beginning is needed to decode the
	// lines after it, nil for a format without headers. A position in the
	// middle of a file keeps it, and SetHeader restores it. It is at most
	// 64 KiB.
	Header() []byte
	SetHeader(header []byte)
}
