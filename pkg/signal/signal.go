// Package signal defines what detectors say: signals, identity facts, and the
// other records of ebb.signals.v1 (deployment windows and verdicts).
//
// A signal is one detector's finding about one key in one window. Its ID is a
// hash of detector, key and window start, so a later or replayed signal
// overwrites an earlier one. Everything here is deterministic: lists instead
// of maps, times from events.
package signal

import (
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/cespare/xxhash/v2"
	"github.com/segmentio/encoding/json"
)

// Version is the "v" of the records of this package.
const Version = 1

// Kinds of records on ebb.signals.v1, as in the Kafka header "kind".
const (
	KindSignal     = "signal"
	KindFact       = "fact"
	KindDeployment = "deployment"
	KindVerdict    = "verdict"
	// KindRelease, KindHistory and KindPurge stand on the planes' topics.
	KindRelease = "release"
	KindHistory = "history"
	KindPurge   = "purge"
)

// Roles that a signal can play in a join.
const (
	RoleStaging = "staging"
	RoleExfil   = "exfil"
	RoleHealth  = "health"
)

// Severities, from low to critical.
const (
	Low      = "low"
	Medium   = "medium"
	High     = "high"
	Critical = "critical"
)

// Modes of a detector.
const (
	ModeOff    = "off"    // does not run
	ModeShadow = "shadow" // signals are counted and joined to nothing
	ModeAlert  = "alert"
)

// Signal is one detector's finding about one key.
type Signal struct {
	Kind string `json:"kind"` // always "signal"
	V    int    `json:"v"`
	ID   string `json:"id"`
	// Revision counts the emissions of this id from 1. It is kept for the
	// last ids of a key only and may start again after a long silence.
	Revision uint64 `json:"revision"`
	Detector string `json:"detector"`
	// Key is the record key of the events (realm and address, host, principal).
	Key  string `json:"key"`
	Role string `json:"role"`
	Mode string `json:"mode"`
	// Channel is how the data left or was staged: dns, icmp, https, tls,
	// quic, smtp, tcp, udp, s3, gcs, archive, secrets, share, …
	Channel string `json:"channel"`
	// Start and End are the window, Time the newest event in it, all in
	// microseconds of event time.
	Start int64 `json:"start"`
	End   int64 `json:"end"`
	Time  int64 `json:"time"`
	// First is the earliest event that the finding rests on; First to Time is
	// the span that a join compares.
	First int64 `json:"first"`

	Score float64 `json:"score"` // sum of the points
	Floor float64 `json:"floor"`
	// Threshold is the alert threshold; Alert says that Score reached it and
	// the detector may alert alone.
	Threshold  float64 `json:"threshold"`
	Alert      bool    `json:"alert,omitempty"`
	Severity   string  `json:"severity"`
	Confidence string  `json:"confidence"` // low, medium, high

	Entity      Entity   `json:"entity"`
	Source      Endpoint `json:"source,omitzero"`
	Destination Endpoint `json:"destination,omitzero"`
	// Bytes is what was moved, on Layer; absent (nil) when not known.
	Bytes *uint64 `json:"bytes,omitempty"`
	Layer string  `json:"layer,omitempty"`

	// Subject is what the finding is about, for a reader: a registered
	// domain, a path, a bucket.
	Subject string `json:"subject,omitempty"`
	// Classification is PUBLIC, INTERNAL, CONFIDENTIAL, RESTRICTED or UNCLASSIFIED.
	Classification string `json:"classification,omitempty"`
	// Reason is one line of text.
	Reason    string   `json:"reason"`
	Technique []string `json:"technique,omitempty"` // MITRE ATT&CK ids
	Points    []Point  `json:"points"`
	// Values are further measured values, for a reader.
	Values   []Value    `json:"values,omitempty"`
	Evidence []Evidence `json:"evidence,omitempty"` // at most MaxEvidence
	// Observers are the source kinds that it rests on.
	Observers []string `json:"observers,omitempty"`
	// Complete is the event time up to which the sources of this signal were
	// complete when it was sent, microseconds; 0 when not known.
	Complete int64 `json:"complete,omitempty"`
}

// MaxEvidence bounds Signal.Evidence.
const MaxEvidence = 10

// Entity holds the identifiers seen in the events of a signal; empty ones are
// not known.
type Entity struct {
	Realm     string `json:"realm,omitempty"`
	IP        string `json:"ip,omitempty"`
	Interface string `json:"interface,omitempty"`
	Instance  string `json:"instance,omitempty"`
	Host      string `json:"host,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty"`
	Container string `json:"container,omitempty"`
	Principal string `json:"principal,omitempty"`
}

// Endpoint is one side of a transfer.
type Endpoint struct {
	IP     string `json:"ip,omitempty"`
	Port   uint64 `json:"port,omitempty"`
	Domain string `json:"domain,omitempty"`
}

// Point is one named reason with its share of the score.
type Point struct {
	Name      string  `json:"name"`
	Points    float64 `json:"points"`
	Value     float64 `json:"value"`
	Threshold float64 `json:"threshold"`
}

// Value is one measured value.
type Value struct {
	Name  string  `json:"name"`
	Value float64 `json:"value,omitempty"`
	Text  string  `json:"text,omitempty"`
}

// Evidence is one event with its coordinates.
type Evidence struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	// Name, Line and At are the event's origin: file or object, record number
	// from 1 (0 when not known) and byte offset (-1 when not known).
	Name string `json:"name,omitempty"`
	Line uint64 `json:"line,omitempty"`
	At   int64  `json:"at"`
	// Record is the normalised event itself.
	Record json.RawMessage `json:"record"`
}

// ID is the id of a signal or alert: 128 bits of hash over its parts.
func ID(parts ...string) string {
	h := xxhash.NewWithSeed(0)
	g := xxhash.NewWithSeed(0x9e3779b97f4a7c15)
	for _, p := range parts {
		// The length keeps ("ab","c") and ("a","bc") apart.
		n := strconv.Itoa(len(p)) + ":"
		_, _ = h.WriteString(n)
		_, _ = h.WriteString(p)
		_, _ = g.WriteString(n)
		_, _ = g.WriteString(p)
	}
	return hex.EncodeToString(g.Sum(h.Sum(nil)))
}

// SignalID is the id of a detector's signal about a key (and, where the
// detector judges finer than a key, a subject) in the window that starts then.
func SignalID(detector, key, subject string, start int64) string {
	return ID(detector, key, subject, strconv.FormatInt(start, 10))
}

// Append appends the JSON form.
func (s *Signal) Append(dst []byte) ([]byte, error) {
	s.Kind, s.V = KindSignal, Version
	return json.Append(dst, s, 0)
}

// Decode decodes a signal.
func Decode(data []byte, s *Signal) error {
	*s = Signal{}
	if err := json.Unmarshal(data, s); err != nil {
		return fmt.Errorf("decode signal: %w", err)
	}
	if s.Kind != KindSignal || s.V != Version {
		return fmt.Errorf("decode signal: kind %q version %d", s.Kind, s.V)
	}
	if s.ID == "" || s.Detector == "" || s.Key == "" {
		return fmt.Errorf("decode signal: no id, detector or key")
	}
	return nil
}
