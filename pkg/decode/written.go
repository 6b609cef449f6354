package decode

import (
	"fmt"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// MaxRecord bounds key and value of an event's record, uncompressed: below
// Kafka's default limit of a message, with room for headers. What reads without
// Kafka (a hunt) has the same bound, or it would see what a running system does
// not.
const MaxRecord = 900 << 10

// Written appends to dst the form in which an event stands on its topic under a
// key. reason is "" or says why no topic takes it, with err as the cause: it has
// no JSON form, or is beyond MaxRecord. It is dead then, and out holds as much of
// its form as there is.
func Written(dst []byte, e *event.Event, key []byte) (out []byte, reason string, err error) {
	at := len(dst)
	out, err = e.Append(dst)
	if err != nil {
		return dst, ReasonUnencodable, err
	}
	if n := len(key) + len(out) - at; n > MaxRecord {
		return out, ReasonEventLong, fmt.Errorf("event of %d bytes, allowed are %d", n, MaxRecord)
	}
	return out, "", nil
}
