package signal

import (
	"fmt"
	"net/netip"

	"github.com/segmentio/encoding/json"
)

// History tells what a source did in hours before its events were recorded:
// the record of a plane's topic, under the key of the source, by which a backfill
// gives it a baseline (ADR 9). It is no event: nothing is judged by it.
type History struct {
	Kind string `json:"kind"` // always "history"
	V    int    `json:"v"`
	// Observer is the source kind that counted: vpcflow, cloudtrail, …
	Observer string `json:"observer"`
	// Source is the address of the source; absent in the cloud plane, where the
	// key is the principal.
	Source netip.Addr `json:"source,omitzero"`
	// Hours are in the order of time, at most MaxHistoryHours.
	Hours []HistoryHour `json:"hours"`
}

// HistoryHour is one hour of the clock, UTC.
type HistoryHour struct {
	Start int64 `json:"start"` // microseconds
	// Bytes left for where nothing is sanctioned, Permitted for sanctioned
	// destinations; in the cloud plane Bytes were read from objects.
	Bytes     uint64 `json:"bytes"`
	Permitted uint64 `json:"permitted,omitempty"`
	// Records is how many flow records or calls that was.
	Records uint64 `json:"records,omitempty"`
}

// MaxHistoryHours bounds History.Hours.
const MaxHistoryHours = 24

// Append appends the JSON form.
func (h *History) Append(dst []byte) ([]byte, error) {
	h.Kind, h.V = KindHistory, Version
	return json.Append(dst, h, 0)
}

// DecodeHistory decodes a history.
func DecodeHistory(data []byte, h *History) error {
	*h = History{}
	if err := json.Unmarshal(data, h); err != nil {
		return fmt.Errorf("decode history: %w", err)
	}
	if h.Kind != KindHistory || h.V != Version {
		return fmt.Errorf("decode history: kind %q version %d", h.Kind, h.V)
	}
	if h.Observer == "" || len(h.Hours) == 0 || len(h.Hours) > MaxHistoryHours {
		return fmt.Errorf("decode history: observer %q, %d hours", h.Observer, len(h.Hours))
	}
	for i := range h.Hours {
		at := h.Hours[i].Start
		if at <= 0 || at%historyHour != 0 || i > 0 && at <= h.Hours[i-1].Start {
			return fmt.Errorf("decode history: hour %d begins at %d", i, at)
		}
	}
	return nil
}

const historyHour = int64(3600 * 1_000_000)
