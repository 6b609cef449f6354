package staging

import (
	"fmt"
	"strconv"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	"github.com/ebbwatch/ebbwatch/pkg/window"
)

// sum is what the panes of a window hold.
func (s *subject) sum(w *window.Window[told]) (p packed) {
	for i := range s.panes.List {
		if c := &s.panes.List[i]; w.Holds(c.At) {
			p.merge(&c.V)
		}
	}
	return p
}

// points are the reasons, in a fixed order, and their sum.
func (d *archiveSensitive) pointsOf(of reason, c class, events uint64) (list []signal.Point, score float64) {
	add := func(i int, holds bool) {
		if holds && d.points[i] != 0 {
			list = append(list, signal.Point{Name: archiveInfo.Thresholds[i].Name, Points: d.points[i], Value: 1, Threshold: 1})
			score += d.points[i]
		}
	}
	add(ptSecret, c == secret)
	add(ptHome, c == homes)
	add(ptMixed, c == mixed)
	if len(list) > 0 {
		list[0].Value = float64(events)
	}
	add(ptImpostor, of&byImpostor != 0)
	add(ptArchiver, of&packers&^byImpostor != 0)
	add(ptOpened, of&opened != 0)
	add(ptOutOfSight, of&outOfSight != 0)
	add(ptStreamed, of&streamed != 0 && of&outOfSight == 0)
	add(ptNotFromImage, of&notFromImage != 0)
	add(ptFromServer, of&fromServer != 0)
	return list, score
}

// consider speaks where the reasons changed, the events doubled, or the window
// was closed before.
func (h *machine) consider(s *subject, w *window.Window[told], e *event.Event, env *detect.Env) {
	t := &w.Value
	// The sum is cheap: a window has twelve panes.
	events, of, c := uint64(0), reason(0), harmless
	var first *packed
	for i := range s.panes.List {
		if x := &s.panes.List[i]; w.Holds(x.At) {
			events, of, c = events+x.V.events, of|x.V.of, max(c, x.V.class)
			if first == nil {
				first = &x.V
			}
		}
	}
	if first == nil {
		return
	}
	_, score := h.of.pointsOf(of, c, events)
	strong := score > 0 && score >= env.Setting(site.Subject{Host: first.entity.host}, first.last).Floor
	news := t.of != of || t.class != c || !t.sent
	if e != nil && (len(t.evidence) < maxEvidence || news) {
		ev := env.Evidence(e)
		if len(ev.Record) > maxRecord {
			ev.Record = nil
		}
		t.evidence = detect.KeepEvidence(t.evidence, ev, maxEvidence)
	}
	switch {
	case strong && news, strong && events >= 2*max(t.events, 1), w.Closed && (strong || t.sent):
		h.emit(s, w, env)
	}
}

// say speaks a window's last word.
func (h *machine) say(s *subject, w *window.Window[told], env *detect.Env) {
	p := s.sum(w)
	_, score := h.of.pointsOf(p.of, p.class, p.events)
	if w.Value.sent || score > 0 && score >= env.Setting(site.Subject{Host: p.entity.host}, p.last).Floor {
		h.emit(s, w, env)
	}
}

// id tells apart what one path means in several containers.
func (h *machine) id(s *subject, w *window.Window[told], env *detect.Env) string {
	return signal.SignalID(archiveInfo.ID, env.Key, s.key.container+"|"+s.key.root, w.Start)
}

func (h *machine) emit(s *subject, w *window.Window[told], env *detect.Env) {
	p := s.sum(w)
	t := &w.Value
	t.sent, t.of, t.class, t.events = true, p.of, p.class, p.events
	sig := &signal.Signal{
		ID: h.id(s, w, env), Channel: "archive", Start: w.Start, End: w.End, First: p.first, Time: p.last, Subject: s.key.root,
		Entity: signal.Entity{Realm: realm(env.Key), Host: p.entity.host, Namespace: p.entity.namespace, Pod: p.entity.pod, Container: s.key.container},
		Values: []signal.Value{
			{Name: "events", Value: float64(p.events)},
			{Name: "program", Text: p.act.program},
			{Name: "command", Text: p.act.command},
			{Name: "user", Text: p.act.user},
		},
		Evidence: t.evidence, Observers: []string{p.source},
	}
	sig.Points, sig.Score = h.of.pointsOf(p.of, p.class, p.events)
	if p.act.directory != "" {
		sig.Values = append(sig.Values, signal.Value{Name: "working_directory", Text: p.act.directory})
	}
	if n, known := p.bytes(); known {
		sig.Bytes, sig.Layer = &n, "file"
	}
	class := env.Site.ClassifyHost(p.entity.host, p.last)
	sig.Classification = string(class)
	sig.Severity, sig.Confidence = severity(sig.Score, class)
	for i, o := range h.observers {
		if low := env.Low(o, event.KindUnknown); low != detect.Never && (i == 0 || low < sig.Complete) {
			sig.Complete = low
		}
	}
	sig.Reason = reasonOf(&p, s.key)
	env.Emit(sig, site.Subject{Host: p.entity.host})
}

// severity follows the score; a class of the host that is sensitive raises it,
// PUBLIC lowers it. What is not classified is never lowered.
func severity(score float64, class site.Class) (severity, confidence string) {
	level := 0
	switch {
	case score >= 7:
		level, confidence = 2, "high"
	case score >= 4:
		level, confidence = 1, "medium"
	default:
		confidence = "low"
	}
	switch class {
	case site.Confidential, site.Restricted:
		level = min(level+1, 2)
	case site.Public:
		level = max(level-1, 0)
	case site.InternalUse, site.Unclassified:
	}
	return []string{signal.Low, signal.Medium, signal.High}[level], confidence
}

// reasonOf is one line for a reader.
func reasonOf(p *packed, key subjectKey) string {
	who := p.act.program
	if who == "" {
		who = "a process"
	}
	how := ""
	switch {
	case p.of&byImpostor != 0:
		how = ", which is no backup tool despite its name,"
	case p.of&byStranger != 0:
		how = ", a program of unknown origin,"
	}
	where := p.entity.host
	switch {
	case p.entity.pod != "":
		where = "pod " + p.entity.namespace + "/" + p.entity.pod + " of " + where
	case key.container != "":
		where = "container " + key.container + " of " + where
	}
	out := fmt.Sprintf("%s%s packed %s on %s", who, how, key.root, where)
	if n, known := p.bytes(); known {
		out += ", " + strconv.FormatUint(n, 10) + " bytes of files seen"
	}
	if p.act.command != "" {
		out += ": " + p.act.command
	}
	return out
}

// withdraw takes back the signal of a window that no longer exists.
func (h *machine) withdraw(s *subject, w *window.Window[told], env *detect.Env) {
	w.Value.sent = false
	env.Emit(&signal.Signal{
		ID: h.id(s, w, env), Channel: "archive", Start: w.Start, End: w.End, First: w.Start, Time: w.Start, Subject: s.key.root,
		Entity: signal.Entity{Realm: realm(env.Key), Container: s.key.container}, Severity: signal.Low, Confidence: "low", Points: []signal.Point{},
		Reason: "taken back: an earlier event that came late has moved this to another finding",
	}, site.Subject{})
}

func realm(key string) string {
	for i := range len(key) {
		if key[i] == '|' {
			return key[:i]
		}
	}
	return ""
}
