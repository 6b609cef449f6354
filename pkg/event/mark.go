package event

import "github.com/segmentio/encoding/json"

// Mark says how far the sources of one ingest instance have come. It is the
// last record of the transaction that it speaks of (DESIGN §2 law 2) and is
// written to every partition of the instance's topic.
type Mark struct {
	Kind     string       `json:"kind"` // always "mark"
	V        int          `json:"v"`
	Instance string       `json:"instance"`
	Sources  []SourceMark `json:"sources"`
	// Full says that Sources lists all sources, not only those that changed.
	Full bool `json:"full,omitempty"`
	// Closing says that the instance stops: its sources are complete.
	Closing bool `json:"closing,omitempty"`
}

// SourceMark is the state of one source or sensor.
type SourceMark struct {
	Type  string `json:"type"`  // Observer.Type
	Name  string `json:"name"`  // Observer.Name
	Realm string `json:"realm"` // Observer.Realm
	// Stream names one ordered stream of the source (conn, dns, …): what a
	// detector waits for is a stream, not the whole sensor. "" is all of it.
	Stream string `json:"stream,omitempty"`
	// Low is the low watermark in microseconds: no event with an earlier
	// Time follows, or, where Promise is false, none is expected.
	Low     int64  `json:"low"`
	Records uint64 `json:"records"` // records so far
	Promise bool   `json:"promise,omitempty"`
}

// Append appends the mark's JSON form.
func (m *Mark) Append(dst []byte) ([]byte, error) {
	m.Kind, m.V = KindMark.String(), Version
	return json.Append(dst, m, 0)
}

// DecodeMark decodes a mark.
func DecodeMark(data []byte, m *Mark) error {
	*m = Mark{Sources: m.Sources[:0]}
	return json.Unmarshal(data, m)
}
