package tail

import (
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/cespare/xxhash/v2"
	"github.com/segmentio/encoding/json"

	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
)

// Position is what is stored of one file (ebb.positions.v1, JSON).
type Position struct {
	// Key identifies the file among those of its source, for as long as it is
	// remembered.
	Key    string `json:"key"`
	Name   string `json:"name"`
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
	// Fingerprint is the xxhash of the first Span bytes, hexadecimal.
	Fingerprint string `json:"fingerprint"`
	Span        int    `json:"span"`
	Offset      int64  `json:"offset"`
	Line        uint64 `json:"line"`
	Records     uint64 `json:"records,omitempty"`
	Header      string `json:"header,omitempty"`
	// Done says that the file was complete when it had Size bytes on disk and
	// was Modified (nanoseconds since the epoch).
	Done     bool  `json:"done,omitempty"`
	Size     int64 `json:"size,omitempty"`
	Modified int64 `json:"modified,omitempty"`
}

// Append appends the JSON form.
func (p *Position) Append(dst []byte) ([]byte, error) { return json.Append(dst, p, 0) }

// DecodePosition decodes the JSON form. The fields are checked as far as
// reading depends on them.
func DecodePosition(data []byte) (Position, error) {
	var p Position
	if err := json.Unmarshal(data, &p); err != nil {
		return Position{}, fmt.Errorf("position: %w", err)
	}
	if p.Key == "" || p.Span < 0 || p.Span > input.PrefixBytes || p.Offset < 0 {
		return Position{}, fmt.Errorf("position %q: impossible values", p.Key)
	}
	if _, err := parseHash(p.Fingerprint); err != nil {
		return Position{}, fmt.Errorf("position %q: fingerprint: %w", p.Key, err)
	}
	return p, nil
}

func hashText(h uint64) string {
	var b [8]byte
	for i := range b {
		b[i] = byte(h >> (56 - 8*i))
	}
	return hex.EncodeToString(b[:])
}

func parseHash(s string) (uint64, error) { return strconv.ParseUint(s, 16, 64) }

// fingerprint is the beginning of a content, as far as it was read.
type fingerprint struct {
	span int
	hash uint64
}

func printOf(b []byte) fingerprint { return fingerprint{len(b), xxhash.Sum64(b)} }

// matches reports whether content that begins with prefix may be the one that
// the fingerprint was taken of.
func (p fingerprint) matches(prefix []byte) bool {
	return p.span > 0 && len(prefix) >= p.span && xxhash.Sum64(prefix[:p.span]) == p.hash
}
