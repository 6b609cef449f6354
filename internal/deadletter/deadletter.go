// Package deadletter is the form in which a record that could not be used is
// kept on ebb.deadletter.v1: nothing vanishes, and nothing stops a stream.
//
// Ingest writes one for input that it cannot decode, the engine
// (internal/stream) for a record that an operator refuses.
package deadletter

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/segmentio/encoding/json"
)

// Kind is the kind of a dead letter, in the JSON form and as Kafka header.
const Kind = "deadletter"

// Version is the "v" of a dead letter.
const Version = 1

// maxError bounds the text of the error, in bytes.
const maxError = 1024

// Record is one dead letter. Its key on the topic is Source.
type Record struct {
	Kind string `json:"kind"` // always "deadletter"
	V    int    `json:"v"`
	// Source is who gave up: an ingest source ("zeek", "vpcflow"), or the
	// service whose operator refused the record.
	Source string `json:"source"`
	// Reason is one of few constants in snake_case, Error the full text.
	Reason string `json:"reason"`
	Error  string `json:"error,omitempty"`
	Origin Origin `json:"origin"`
	// SHA256 (hex) and Size (bytes) are those of the whole record; Raw, in
	// base64, holds its first decode.MaxDead bytes.
	SHA256 string `json:"sha256"`
	Size   int    `json:"size"`
	Raw    []byte `json:"raw"`
	// Time is when it happened, in microseconds: the append time of a record
	// from a topic, the time of reading for others.
	Time int64 `json:"time"`
}

// Origin is where the record stood: a place in a topic, or one in a file or
// object.
type Origin struct {
	Topic     string `json:"topic,omitempty"`
	Partition *int32 `json:"partition,omitempty"`
	Name      string `json:"name,omitempty"`
	Line      *int64 `json:"line,omitempty"`
	// Offset is the record's offset in the topic, or its byte offset.
	Offset *int64 `json:"offset,omitempty"`
}

// InTopic is the origin of a record on a topic.
func InTopic(topic string, partition int32, offset int64) Origin {
	return Origin{Topic: topic, Partition: &partition, Offset: &offset}
}

// InFile is the origin of a record that a decoder read.
func InFile(at event.Origin) Origin {
	o := Origin{Name: at.Name}
	if n, ok := at.Line.Get(); ok {
		o.Line = new(int64(n))
	}
	if n, ok := at.Offset.Get(); ok {
		o.Offset = new(int64(n))
	}
	return o
}

// New makes a dead letter of a whole record. cause may be nil. Raw is a copy.
func New(source, reason string, cause error, origin Origin, raw []byte, time int64) *Record {
	sum := sha256.Sum256(raw)
	r := &Record{
		Kind: Kind, V: Version, Source: source, Reason: reason, Origin: origin,
		SHA256: hex.EncodeToString(sum[:]), Size: len(raw), Time: time,
	}
	if cause != nil {
		r.Error = cause.Error()
		if len(r.Error) > maxError {
			r.Error = r.Error[:maxError]
		}
	}
	if len(raw) > decode.MaxDead {
		raw = raw[:decode.MaxDead]
	}
	r.Raw = append([]byte{}, raw...)
	return r
}

// Append appends the JSON form.
func (r *Record) Append(dst []byte) []byte {
	dst, err := json.Append(dst, r, 0)
	if err != nil {
		panic("dead letter: " + err.Error()) // its fields are text and numbers
	}
	return dst
}

// Output is the letter as a record of a topic; its value is appended to dst.
func (r *Record) Output(topic string, dst []byte) operator.Output {
	return operator.Output{Topic: topic, Kind: Kind, V: Version, Key: []byte(r.Source), Value: r.Append(dst)}
}

// ErrKind is returned by Decode for a record of another kind.
var ErrKind = errors.New("not a dead letter")

// Decode reads the JSON form.
func Decode(data []byte) (*Record, error) {
	r := &Record{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("dead letter: %w", err)
	}
	if r.Kind != Kind {
		return nil, fmt.Errorf("kind %q: %w", r.Kind, ErrKind)
	}
	return r, nil
}
