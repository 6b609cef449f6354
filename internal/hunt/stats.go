package hunt

import (
	"encoding/json"
	"io"
	"maps"
	"sync/atomic"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Stats counts what was read of one input. Every record is an event, ignored
// or dead. It may be read while it is written.
type Stats struct {
	events, skipped atomic.Int64
	deadTotal       atomic.Int64
	first, last     atomic.Int64 // event time, microseconds; 0 before the first event
	reasons         map[string]int64
}

func (s *Stats) event(e *event.Event) {
	s.events.Add(1)
	if e.Time != 0 && (s.first.Load() == 0 || e.Time < s.first.Load()) {
		s.first.Store(e.Time)
	}
	if e.Time > s.last.Load() {
		s.last.Store(e.Time)
	}
}

func (s *Stats) ignored() { s.skipped.Add(1) }

func (s *Stats) dead(reason string) {
	s.deadTotal.Add(1)
	if s.reasons == nil {
		s.reasons = map[string]int64{}
	}
	s.reasons[reason]++
}

func (s *Stats) records() int64 { return s.events.Load() + s.skipped.Load() + s.deadTotal.Load() }

// Report is what --stats writes.
type Report struct {
	Sources map[string]SourceReport `json:"sources"`
	// First and Last are the event times of the first and last event, RFC
	// 3339; empty without events.
	First   string  `json:"first"`
	Last    string  `json:"last"`
	Seconds float64 `json:"seconds"` // how long the hunt took
}

// SourceReport is the part of one input.
type SourceReport struct {
	Records int64            `json:"records"`
	Events  int64            `json:"events"`
	Ignored int64            `json:"ignored"`
	Dead    map[string]int64 `json:"dead"`
}

// report sums up inputs after they were read.
func report(inputs []Input, stats []*Stats, took time.Duration) Report {
	r := Report{Sources: map[string]SourceReport{}, Seconds: took.Seconds()}
	var first, last int64
	for i, s := range stats {
		one := r.Sources[inputs[i].Name()]
		one.Records += s.records()
		one.Events += s.events.Load()
		one.Ignored += s.skipped.Load()
		if one.Dead == nil {
			one.Dead = map[string]int64{}
		}
		maps.Copy(one.Dead, s.reasons)
		r.Sources[inputs[i].Name()] = one
		if f := s.first.Load(); f != 0 && (first == 0 || f < first) {
			first = f
		}
		last = max(last, s.last.Load())
	}
	if last != 0 {
		r.First, r.Last = stamp(first), stamp(last)
	}
	return r
}

func stamp(micros int64) string { return time.UnixMicro(micros).UTC().Format(time.RFC3339Nano) }

// Write writes the report as JSON.
func (r Report) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}
