package event

import (
	"bytes"
	"errors"
	"unsafe"

	"github.com/segmentio/encoding/json"
)

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
	// Closed says that the instance no longer reads it: it is complete.
	Closed bool `json:"closed,omitempty"`
	// Expired, in marks of detect, says that the instance which read it has
	// vanished: Low is the last it said, and nobody waits for more.
	Expired bool `json:"expired,omitempty"`
}

// Append appends the mark's JSON form.
func (m *Mark) Append(dst []byte) ([]byte, error) {
	m.Kind, m.V = KindMark.String(), Version
	return json.Append(dst, m, 0)
}

// ParseMark is DecodeMark without copies: the mark's strings alias data. The
// form that Append writes costs a fifth of the general one; with thousands of
// sensors that is what marks cost.
func ParseMark(data []byte, m *Mark) error {
	*m = Mark{Sources: m.Sources[:0]}
	c := markCursor{rest: data, ok: true}
	c.mark(m)
	if c.ok && len(c.rest) == 0 {
		return nil
	}
	*m = Mark{Sources: m.Sources[:0]}
	rest, err := json.Parse(data, m, json.ZeroCopy)
	if err == nil && len(bytes.TrimSpace(rest)) > 0 {
		err = errTrailing
	}
	return err
}

var errTrailing = errors.New("data after the mark")

// markCursor reads the form that Append writes. At the first surprise ok is
// false and stays so.
type markCursor struct {
	rest []byte
	ok   bool
}

func (c *markCursor) mark(m *Mark) {
	c.want(`{"kind":"mark","v":1,"instance":`)
	m.Kind, m.V, m.Instance = KindMark.String(), 1, c.text()
	c.want(`,"sources":[`)
	for c.ok && !c.has(`]`) {
		if len(m.Sources) > 0 {
			c.want(`,`)
		}
		var src SourceMark
		c.want(`{"type":`)
		src.Type = c.text()
		c.want(`,"name":`)
		src.Name = c.text()
		c.want(`,"realm":`)
		src.Realm = c.text()
		if c.has(`,"stream":`) {
			src.Stream = c.text()
		}
		c.want(`,"low":`)
		src.Low = int64(c.number(1<<63 - 1))
		c.want(`,"records":`)
		src.Records = c.number(1<<64 - 1)
		src.Promise = c.has(`,"promise":true`)
		src.Closed = c.has(`,"closed":true`)
		src.Expired = c.has(`,"expired":true`)
		c.want(`}`)
		m.Sources = append(m.Sources, src)
	}
	m.Full = c.has(`,"full":true`)
	m.Closing = c.has(`,"closing":true`)
	c.want(`}`)
}

// has consumes a text where it stands next.
func (c *markCursor) has(text string) bool {
	if !c.ok || len(c.rest) < len(text) || string(c.rest[:len(text)]) != text {
		return false
	}
	c.rest = c.rest[len(text):]
	return true
}

func (c *markCursor) want(text string) { c.ok = c.has(text) }

// text reads a string without escapes as a view.
func (c *markCursor) text() string {
	if !c.has(`"`) {
		c.ok = false
		return ""
	}
	for i, b := range c.rest {
		switch {
		case b == '"':
			s := c.rest[:i]
			c.rest = c.rest[i+1:]
			return unsafe.String(unsafe.SliceData(s), len(s))
		case b == '\\' || b < ' ' || b >= 0x80:
			c.ok = false
			return ""
		}
	}
	c.ok = false
	return ""
}

// number reads a number without a sign, fraction or exponent, up to limit.
func (c *markCursor) number(limit uint64) (n uint64) {
	i := 0
	for i < len(c.rest) && c.rest[i] >= '0' && c.rest[i] <= '9' {
		d := uint64(c.rest[i] - '0')
		if n > (limit-d)/10 || i > 0 && n == 0 {
			c.ok = false
			return 0
		}
		n = 10*n + d
		i++
	}
	c.ok = c.ok && i > 0
	c.rest = c.rest[i:]
	return n
}

// DecodeMark decodes a mark.
func DecodeMark(data []byte, m *Mark) error {
	*m = Mark{Sources: m.Sources[:0]}
	return json.Unmarshal(data, m)
}
