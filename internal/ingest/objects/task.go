package objects

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/segmentio/encoding/json"

	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
)

// kindTask is the kind of the records of ebb.objects.v1, and taskVersion their
// "v".
const (
	kindTask    = "object"
	taskVersion = 1
)

// Task is one record of ebb.objects.v1: an object to read. Its key is
// BUCKET/KEY.
type Task struct {
	V int `json:"v"`
	// Source is the source of the service that is to read it (ingest.Kind).
	Source string `json:"source"`
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
	Size   int64  `json:"size,omitempty"` // bytes, as stored; 0 when not known
	ETag   string `json:"etag,omitempty"` // what was read so far is of this content
	Inline []byte `json:"inline,omitempty"`

	// Seq numbers the tasks about one object: 0 announces it, the others go
	// on with it.
	Seq uint32 `json:"seq,omitempty"`
	// Forget ends the reading, so that the object can be announced anew.
	Forget bool `json:"forget,omitempty"`
	// Attempts were made in vain since the last progress; Why the last one
	// failed.
	Attempts int    `json:"attempts,omitempty"`
	Why      string `json:"why,omitempty"`
	Position place  `json:"position,omitzero"`
}

// place is an input.Position.
type place struct {
	Offset  int64  `json:"offset,omitempty"`
	Line    uint64 `json:"line,omitempty"`
	Records uint64 `json:"records,omitempty"`
	Header  []byte `json:"header,omitempty"`
}

func placeOf(p input.Position) place { return place(p) }

func (p place) position() input.Position { return input.Position(p) }

// records is how many records lie before the place.
func (p place) records() uint64 { return p.Records + p.Line }

// errTask is returned for a record that is no task.
var errTask = errors.New("not a task")

// decodeTask reads a record's value.
func decodeTask(value []byte) (*Task, error) {
	t := &Task{}
	if err := json.Unmarshal(value, t); err != nil {
		return nil, fmt.Errorf("%w: %w", errTask, err)
	}
	if t.V != taskVersion || t.Source == "" || t.Bucket == "" || t.Key == "" {
		return nil, fmt.Errorf("%w: version %d of source %q, bucket %q, key %q", errTask, t.V, t.Source, t.Bucket, t.Key)
	}
	return t, nil
}

// Append appends the JSON form.
func (t *Task) Append(dst []byte) ([]byte, error) { return json.Append(dst, t, 0) }

func (t *Task) appendKey(dst []byte) []byte {
	return append(append(append(dst, t.Bucket...), '/'), t.Key...)
}

// name is the object in the origin of its records.
func (t *Task) name() string {
	if t.Inline != nil {
		return t.Bucket + ":" + t.Key
	}
	return "s3://" + t.Bucket + "/" + t.Key
}

// objectID identifies an object in the state. It is long enough that nobody
// finds two objects with the same.
type objectID [16]byte

func (t *Task) id() objectID {
	sum := sha256.Sum256(append(t.appendKey(nil), "\x00"+t.Source...))
	return objectID(sum[:16])
}
