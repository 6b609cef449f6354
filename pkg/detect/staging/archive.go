package staging

import (
	"fmt"
	"math"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// Bounds of a host's state.
const (
	maxSubjects = 64
	maxEvidence = 6
	// grace is how long a window waits for late records after its end.
	grace = 5 * 60 * 1_000_000
)

var archiveInfo = detect.Info{
	ID:        "archive-sensitive",
	Role:      signal.RoleStaging,
	Kinds:     []event.Kind{event.KindProcess, event.KindFile},
	Default:   site.Setting{Mode: signal.ModeAlert, Floor: 2, Alert: 4},
	Alone:     true,
	Technique: []string{"T1560", "T1074"},
}

// archiveSensitive is the detector.
type archiveSensitive struct{}

// NewArchiveSensitive makes the detector archive-sensitive.
func NewArchiveSensitive() detect.Detector { return &archiveSensitive{} }

// Info implements detect.Detector.
func (*archiveSensitive) Info() detect.Info { return archiveInfo }

// Configure implements detect.Detector.
func (*archiveSensitive) Configure(*site.Site) {}

// New implements detect.Detector.
func (*archiveSensitive) New() detect.State {
	return &host{hours: detect.Hours[archive]{Grace: grace}}
}

// host is the state of one host: an hour for each sensitive folder.
type host struct {
	observer string
	hours    detect.Hours[archive]
}

// archive is what is known of one folder in one hour.
type archive struct {
	first, last int64
	match       match // the union of what events said; the window has the folder
	events      uint64
	bytes       uint64
	sized       bool
	program     string
	command     string
	user        string
	entity      signal.Entity
	class       string
	source      string // Observer.Type
	evidence    []signal.Evidence
	told        uint32 // the points that were told, as bits
	toldEvents  uint64
	sent        bool
}

// Apply implements detect.State.
func (h *host) Apply(e *event.Event, env *detect.Env) {
	if e.Future || env.Site.BackupSource(e.Source.IP, e.Host.Name, e.Time) {
		return
	}
	m, ok := look(e)
	if !ok {
		return
	}
	h.observer = env.Observer(e)
	w, made := h.hours.At(m.root, e.Time, env.Low(h.observer, e.Kind))
	if w == nil {
		env.Count("late_dropped", archiveInfo.ID, 1)
		return
	}
	a := &w.Value
	if made {
		a.first = e.Time
		if h.hours.Len() > maxSubjects {
			n := h.hours.Shed(func(other *detect.Hour[archive]) uint64 {
				if other == w {
					return math.MaxUint64
				}
				return other.Value.events
			}, func(*detect.Hour[archive]) {})
			env.Count("subjects_shed", archiveInfo.ID, int64(n))
		}
	}
	a.add(e, &m)
	a.class = string(env.Site.ClassifyHost(e.Host.Name, e.Time))
	if len(a.evidence) < maxEvidence || a.events&(a.events-1) == 0 {
		a.evidence = detect.KeepEvidence(a.evidence, env.Evidence(e), maxEvidence)
	}
	if bits := a.bits(); !a.sent || bits != a.told || a.events >= 2*a.toldEvents {
		h.say(w, env)
	}
}

// add takes one event in.
func (a *archive) add(e *event.Event, m *match) {
	a.events++
	a.first, a.last = min(a.first, e.Time), max(a.last, e.Time)
	a.match.points = max(a.match.points, m.points)
	a.match.opened = a.match.opened || m.opened
	a.match.hidden = a.match.hidden || m.hidden
	a.match.streamed = a.match.streamed || m.streamed
	a.match.upper = a.match.upper || m.upper
	a.match.server = a.match.server || m.server
	if n, known := e.File.Size.Get(); known {
		a.bytes, a.sized = a.bytes+n, true
	}
	// Of several commands the smallest text speaks, so that the signal does
	// not depend on the order of arrival.
	if c := clip(e.Process.CommandLine); a.command == "" || (c != "" && c < a.command) {
		a.command, a.program, a.user = c, clip(program(e)), clip(e.User.Name)
	}
	if a.source == "" {
		a.source = strings.Clone(e.Observer.Type)
		a.entity = signal.Entity{
			Realm: strings.Clone(e.Observer.Realm), Host: strings.Clone(e.Host.Name), Namespace: strings.Clone(e.Host.Namespace), Pod: strings.Clone(e.Host.Pod),
		}
		if e.Host.ContainerID != "host" {
			a.entity.Container = strings.Clone(e.Host.ContainerID)
		}
	}
}

// maxText bounds the texts that are kept.
const maxText = 512

func clip(s string) string { return strings.Clone(strings.ToValidUTF8(s[:min(len(s), maxText)], "")) }

// points are the reasons, in a fixed order.
func (a *archive) points() []signal.Point {
	all := []struct {
		name   string
		points float64
		set    bool
	}{
		{"sensitive_path", a.match.points, true},
		{"files_opened", 1, a.match.opened},
		{"hidden_output", 1, a.match.hidden},
		{"streamed_output", 1, a.match.streamed && !a.match.hidden},
		{"not_from_image", 2, a.match.upper},
		{"started_by_server", 2, a.match.server},
	}
	var out []signal.Point
	for _, p := range all {
		if p.set {
			out = append(out, signal.Point{Name: p.name, Points: p.points, Value: 1, Threshold: 1})
		}
	}
	out[0].Value = float64(a.events)
	return out
}

// bits are the points as a number, to see a change.
func (a *archive) bits() (b uint32) {
	for _, p := range a.points() {
		b = b*31 + uint32(len(p.Name)) + uint32(p.Points)
	}
	return b
}

// say sends the signal of a window.
func (h *host) say(w *detect.Hour[archive], env *detect.Env) {
	a := &w.Value
	a.told, a.toldEvents, a.sent = a.bits(), a.events, true
	s := &signal.Signal{
		Channel: "archive", Start: w.Start, End: w.End, First: a.first, Time: a.last, Points: a.points(), Entity: a.entity,
		Subject: w.Subject, Classification: a.class, Evidence: a.evidence, Observers: []string{a.source},
		Values: []signal.Value{{Name: "events", Value: float64(a.events)}, {Name: "command", Text: a.command}, {Name: "user", Text: a.user}},
	}
	for _, p := range s.Points {
		s.Score += p.Points
	}
	s.Severity, s.Confidence = signal.Low, "low"
	switch {
	case s.Score >= 6:
		s.Severity, s.Confidence = signal.High, "high"
	case s.Score >= 4:
		s.Severity, s.Confidence = signal.Medium, "medium"
	}
	if a.sized {
		n := a.bytes
		s.Bytes, s.Layer = &n, "file"
	}
	s.Reason = fmt.Sprintf("%s on %s packed %s: %s", a.program, a.entity.Host, w.Subject, a.command)
	env.Emit(s, site.Subject{Host: a.entity.Host})
}

// Next implements detect.State.
func (h *host) Next() detect.Timer {
	return detect.Timer{Observer: h.observer, At: h.hours.Next()}
}

// Advance implements detect.State: windows that are over speak their last
// word.
func (h *host) Advance(env *detect.Env) {
	h.hours.Due(env.Low(h.observer, event.KindUnknown), func(w *detect.Hour[archive]) {
		if w.Value.events != w.Value.toldEvents {
			h.say(w, env)
		}
	})
}

// Expired implements detect.State.
func (h *host) Expired(int64) bool { return h.hours.Len() == 0 }

// Append implements detect.State.
func (h *host) Append(dst []byte) []byte {
	return h.hours.Append(operator.AppendString(dst, h.observer), func(dst []byte, a *archive) []byte {
		dst = operator.AppendInt(operator.AppendInt(dst, a.first), a.last)
		dst = operator.AppendFloat(dst, a.match.points)
		for _, b := range []bool{a.match.opened, a.match.hidden, a.match.streamed, a.match.upper, a.match.server, a.sized, a.sent} {
			dst = operator.AppendBool(dst, b)
		}
		for _, n := range []uint64{a.events, a.bytes, uint64(a.told), a.toldEvents} {
			dst = operator.AppendUint(dst, n)
		}
		e := &a.entity
		for _, t := range []string{a.program, a.command, a.user, a.class, a.source, e.Realm, e.Host, e.Namespace, e.Pod, e.Container} {
			dst = operator.AppendString(dst, t)
		}
		dst = operator.AppendUint(dst, len(a.evidence))
		for _, ev := range a.evidence {
			dst = operator.AppendString(operator.AppendString(dst, ev.Topic), ev.Name)
			dst = operator.AppendInt(operator.AppendInt(dst, ev.Partition), ev.Offset)
			dst = operator.AppendInt(operator.AppendUint(dst, ev.Line), ev.At)
			dst = operator.AppendString(dst, ev.Record)
		}
		return dst
	})
}

// Load implements detect.State.
func (h *host) Load(data []byte) error {
	r := operator.NewReader(data)
	h.observer = r.String()
	h.hours.Load(r, func(r *operator.Reader, w *detect.Hour[archive]) {
		a := &w.Value
		a.first, a.last = r.Int(), r.Int()
		a.match.points = r.Float()
		for _, b := range []*bool{&a.match.opened, &a.match.hidden, &a.match.streamed, &a.match.upper, &a.match.server, &a.sized, &a.sent} {
			*b = r.Bool()
		}
		a.events, a.bytes, a.told, a.toldEvents = r.Uint(), r.Uint(), uint32(r.Uint()), r.Uint()
		e := &a.entity
		for _, t := range []*string{&a.program, &a.command, &a.user, &a.class, &a.source, &e.Realm, &e.Host, &e.Namespace, &e.Pod, &e.Container} {
			*t = r.String()
		}
		for range r.Count() {
			ev := signal.Evidence{Topic: r.String(), Name: r.String(), Partition: int32(r.Int()), Offset: r.Int(), Line: r.Uint(), At: r.Int()}
			ev.Record = append([]byte(nil), r.Bytes()...)
			a.evidence = append(a.evidence, ev)
		}
	})
	return r.Err()
}
