package signal

import (
	"fmt"
	"strings"

	"github.com/segmentio/encoding/json"
)

// Purge takes hours out of what is usual for a source, by hand: the record of
// the plane's topic, under the key of the source (ADR 11). What was sent in
// these hours is no sample any more, whatever was thought of it.
type Purge struct {
	Kind string `json:"kind"` // always "purge"
	V    int    `json:"v"`
	// What limits it to one thing that is counted (detect.Baseline), Observer
	// to what one kind of observer counted; empty is all.
	What     string `json:"what,omitempty"`
	Observer string `json:"observer,omitempty"`
	// First and Last bound the hours by event time, microseconds: hours that
	// begin between them, both included.
	First int64  `json:"first"`
	Last  int64  `json:"last"`
	By    string `json:"by"`
	Why   string `json:"why"`
	Time  int64  `json:"time"`
}

// Append appends the JSON form.
func (p *Purge) Append(dst []byte) ([]byte, error) {
	p.Kind, p.V = KindPurge, Version
	return json.Append(dst, p, 0)
}

// DecodePurge decodes a purge.
func DecodePurge(data []byte, p *Purge) error {
	*p = Purge{}
	if err := json.Unmarshal(data, p); err != nil {
		return fmt.Errorf("decode purge: %w", err)
	}
	if p.Kind != KindPurge || p.V != Version {
		return fmt.Errorf("decode purge: kind %q version %d", p.Kind, p.V)
	}
	if strings.TrimSpace(p.By) == "" || strings.TrimSpace(p.Why) == "" || p.First < 0 || p.Last < p.First {
		return fmt.Errorf("decode purge: %d to %d by %q because %q", p.First, p.Last, p.By, p.Why)
	}
	return nil
}
