// Package detect runs detectors over one partition of events: Set is the
// operator, a Detector is one kind of judgement, a State is what a detector
// remembers of one record key (an address, a host, a principal).
//
// # Invariants
//
//   - A detector is pure (DESIGN §2 law 1). Its output is a function of the
//     events, marks and site epochs of its partition, in their order; windows
//     use event time only. Final values must not depend on how the events of
//     different sources were interleaved within their lateness.
//   - Strings of an event alias the record: a state clones what it keeps.
//   - Every state has a bound in bytes however hostile its key's events are.
//   - A signal's window and id do not depend on marks or on append time.
package detect

import (
	"bytes"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// Never is the time of a timer that is not set.
const Never = int64(1<<63 - 1)

// Info describes a detector; the documentation and the checks of the site
// file are made from it.
type Info struct {
	ID   string // as in DESIGN §5
	Role string // signal.RoleStaging, RoleExfil or RoleHealth; "" emits facts only
	// Kinds are the events that it takes.
	Kinds []event.Kind
	// Default is its mode, signal floor and alert threshold.
	Default site.Setting
	// Alone says that a signal at the alert threshold is an alert by itself.
	Alone      bool
	Technique  []string
	Thresholds []Threshold
	// Within names the detector of the same set that judges for this one, from
	// its own states (Env.EmitAs): this one is fed no events. Empty for all
	// others.
	Within string
}

// Threshold is one tunable number of a detector.
type Threshold struct {
	Name    string
	Default float64
	Unit    string
	Doc     string
}

// Detector makes states and holds what is valid for all of them. A Set owns
// its detectors; they are not shared between partitions.
type Detector interface {
	Info() Info
	// Configure makes a site valid for all states from the next event on.
	Configure(s *site.Site)
	// New is the empty state of a key.
	New() State
}

// Sharer is a Detector that remembers what belongs to no key: how widely a
// destination is used at the site, as far as the partition sees. It is part of
// the snapshot's shared state, which is written whole: it must be small.
type Sharer interface {
	Detector
	// AppendShared and LoadShared encode it, deterministically. LoadShared is
	// called after all states were loaded, on a detector that has seen nothing.
	AppendShared(dst []byte) []byte
	LoadShared(data []byte) error
}

// Lazy is a Detector that does not want a state for every key: most keys have
// nothing that concerns it.
type Lazy interface {
	// Wants reports whether an event means anything to a key of which the
	// detector knows nothing. Where it is false, no state is made. env has no
	// Key during the call.
	Wants(e *event.Event, env *Env) bool
}

// Choosy is a Detector to whose states, whatever they know, some events of the
// wanted kinds mean nothing. Where Ignores is true, no state is asked, nor looked
// for. env has no Key during the call.
type Choosy interface {
	Ignores(e *event.Event, env *Env) bool
}

// Based is a Detector whose states lean on what another remembers of the same
// key, so that several need not remember it each for itself. The other one runs
// before it, and need not be listed: the first of a Set's detectors that leans
// on one of an id brings it along.
type Based interface {
	Base() Detector
}

// Sized is a State that knows how many bytes of memory it takes, approximately:
// itself and all that it alone holds. Of others, Usage takes the size of the
// encoding.
type Sized interface{ Size() int }

// Weighed is a State that can say, without writing it, about how many bytes its
// encoding takes. Keys are evicted by that: it is a function of what would be
// written alone, never of how the state came to be in memory.
type Weighed interface{ Weight() int }

// State is what a detector knows of one key.
type State interface {
	// Apply takes one event of the wanted kinds.
	Apply(e *event.Event, env *Env)
	// Next says when Advance is wanted: as soon as the observer (Env.Observer)
	// is complete up to At. At is Never when nothing is pending. An empty
	// Observer means all sources of the partition.
	Next() Timer
	// Advance is called when that time has come, and may emit.
	Advance(env *Env)
	// Expired says that the state may be forgotten: all its windows lie
	// before low (event time that all sources of the partition have passed)
	// and nothing of it is worth keeping.
	Expired(low int64) bool
	// Append and Load encode the state for a snapshot, deterministically
	// (operator.AppendString and its like, operator.Reader).
	Append(dst []byte) []byte
	Load(data []byte) error
}

// Timer is an event-time timer.
type Timer struct {
	Observer string
	At       int64
}

// NoTimer is the timer of a state that waits for nothing.
var NoTimer = Timer{At: Never}

// KeepEvidence holds at most limit pieces of evidence: the first half of what it
// was offered and the latest, in order of arrival, each with its record.
func KeepEvidence(list []signal.Evidence, next signal.Evidence, limit int) []signal.Evidence {
	if len(list) < limit {
		return append(list, next)
	}
	copy(list[limit/2:], list[limit/2+1:])
	list[len(list)-1] = next
	return list
}

// AppendEvidence encodes evidence for a snapshot.
func AppendEvidence(dst []byte, list []signal.Evidence) []byte {
	dst = operator.AppendUint(dst, len(list))
	for i := range list {
		e := &list[i]
		dst = operator.AppendString(dst, e.Topic)
		dst = operator.AppendInt(dst, e.Partition)
		dst = operator.AppendInt(dst, e.Offset)
		dst = operator.AppendString(dst, e.Name)
		dst = operator.AppendUint(dst, e.Line)
		dst = operator.AppendInt(dst, e.At)
		dst = operator.AppendString(dst, e.Record)
	}
	return dst
}

// LoadEvidence reads what AppendEvidence wrote.
func LoadEvidence(r *operator.Reader) (list []signal.Evidence) {
	for range r.Count() {
		list = append(list, signal.Evidence{
			Topic: r.String(), Partition: int32(r.Int()), Offset: r.Int(),
			Name: r.String(), Line: r.Uint(), At: r.Int(), Record: bytes.Clone(r.Bytes()),
		})
	}
	return list
}
