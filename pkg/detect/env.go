package detect

import (
	"bytes"
	"net/netip"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// Env is what a state may ask and say during one call. It is valid during
// that call only.
type Env struct {
	// Site is the site that is valid now.
	Site *site.Site
	// Key is the record key that the state belongs to. It may be kept.
	Key string

	set  *Set
	src  *source
	rec  *operator.Record // nil in Advance
	ctx  operator.Context
	info *Info
	base int // the detector that the calling one leans on, −1 for none
}

// Observer returns the name of the event's observer for Timer.Observer and
// Low. It may be kept.
func (v *Env) Observer(e *event.Event) string { return v.set.marks.name(&e.Observer) }

// Base returns the state of the detector that the calling one leans on (Based),
// of the same key; nil where there is none yet.
func (v *Env) Base() State {
	if v.base < 0 {
		return nil
	}
	if h := v.src.find(v.base); h != nil {
		return h.state
	}
	return nil
}

// Low returns the event time up to which an observer's stream of a kind is
// complete, 0 when that is not known. Which streams a source has is its own
// affair: where it has one for all kinds, that one answers.
func (v *Env) Low(observer string, k event.Kind) int64 { return v.set.marks.low(observer, k) }

// Shows reports whether an observer delivers events of a kind at all, as far
// as the partition has seen: whether their absence means anything.
func (v *Env) Shows(observer string, k event.Kind) bool { return v.set.marks.shows(observer, k) }

// ShowsAny is Shows for any of several kinds.
func (v *Env) ShowsAny(observer string, kinds []event.Kind) bool {
	return v.set.marks.showsAny(observer, kinds)
}

// Evidence returns the event that is being applied, with its coordinates and
// a copy of its record.
func (v *Env) Evidence(e *event.Event) signal.Evidence {
	ev := signal.Evidence{At: -1, Name: strings.Clone(e.Origin.Name), Line: e.Origin.Line.Or(0)}
	if at, known := e.Origin.Offset.Get(); known {
		ev.At = int64(at)
	}
	if v.rec != nil {
		ev.Topic, ev.Partition, ev.Offset = strings.Clone(v.rec.Topic), v.rec.Partition, v.rec.Offset
		ev.Record = bytes.Clone(v.rec.Value)
	}
	return ev
}

// Setting returns mode, floor and alert threshold of the calling detector for
// a subject.
func (v *Env) Setting(on site.Subject, at int64) site.Setting {
	return v.Site.Setting(v.info.ID, v.info.Default, on, at)
}

// Emit sends a signal. It fills in the detector, the key, the role, the
// technique, and what follows from mode and thresholds. A signal of a detector
// that is off is not sent, nor is one below its floor, unless it was sent
// before: what has fallen below the floor is taken back by saying so. The state
// sets Start, End, First, Time, Score, Channel, Entity, Points, Reason and what
// else it knows, and the id where it judges finer than its key: Subject enters
// the id.
//
// A state that is still learning what is usual sets Mode to ModeShadow, which
// no site overrides.
func (v *Env) Emit(s *signal.Signal, on site.Subject) { v.emit(v.info, s, on) }

// EmitAs is Emit for a detector of which Info.Within names the calling one.
func (v *Env) EmitAs(id string, s *signal.Signal, on site.Subject) { v.emit(v.set.info(id), s, on) }

// SettingOf is Setting for a detector of which Info.Within names the calling
// one.
func (v *Env) SettingOf(id string, on site.Subject, at int64) site.Setting {
	return v.Site.Setting(id, v.set.info(id).Default, on, at)
}

func (v *Env) emit(info *Info, s *signal.Signal, on site.Subject) {
	set := v.Site.Setting(info.ID, info.Default, on, s.Time)
	if set.Mode == signal.ModeOff {
		return
	}
	if s.Mode == signal.ModeShadow {
		set.Mode = signal.ModeShadow
	}
	if s.ID == "" {
		s.ID = signal.SignalID(info.ID, v.Key, s.Subject, s.Start)
	}
	if s.Score < set.Floor && !v.src.knows(s.ID) {
		return
	}
	s.Detector, s.Key, s.Mode = info.ID, v.Key, set.Mode
	if s.Role == "" {
		s.Role = info.Role
	}
	if s.Technique == nil {
		s.Technique = info.Technique
	}
	s.Floor, s.Threshold = set.Floor, set.Alert
	s.Alert = info.Alone && set.Mode == signal.ModeAlert && s.Score >= set.Alert
	s.Revision = v.src.revise(s.ID)
	v.set.emitSignal(s, v.ctx)
}

// Fact sends an identity fact.
func (v *Env) Fact(f *signal.Fact) { v.set.emitFact(f, v.ctx) }

// Count counts for metrics; label is one of few constants.
func (v *Env) Count(name, label string, n int64) { v.ctx.Count(name, label, n) }

// AddressEntity is the entity of an event on the network seen from the
// monitored address (see site.Place).
func AddressEntity(realm string, a netip.Addr) signal.Entity {
	return signal.Entity{Realm: strings.Clone(realm), IP: a.Unmap().String()}
}
