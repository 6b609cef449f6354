package volume

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	"github.com/ebbwatch/ebbwatch/pkg/window"
)

// maxEvidence is how many events a window keeps, maxRecord the size up to
// which the record itself is kept.
const (
	maxEvidence = signal.MaxEvidence
	maxRecord   = 8 << 10
	// minEvidence is the sum from which events are worth keeping.
	minEvidence = 64 << 10
)

// finding is what a report is made of.
type finding struct {
	ledger *ledger
	pair   *pair
	win    *window.Window[told]
	limits []float64
	verdict
	// all is over all observers: only the span is meaningful.
	all sums
	sig signal.Signal
}

func (l *ledger) subject(p *pair) site.Subject {
	return site.Subject{Address: p.src, Domain: p.key.name}
}

// verdict judges a window by each observer and returns the strongest one: the
// highest score, then the most bytes, then the first name.
func (l *ledger) verdict(p *pair, w *window.Window[told], limits []float64) (best verdict, pending bool) {
	best.view = -1
	for i := range p.views {
		v, waits := l.rules.judge(l, p, i, w, limits, w.Value.complete)
		v.view, pending = i, pending || waits
		if best.view < 0 || v.score > best.score || v.score == best.score && (v.sums.up > best.sums.up ||
			v.sums.up == best.sums.up && p.views[i].name() < p.views[best.view].name()) {
			best = v
		}
	}
	return best, pending
}

func (v *view) name() string { return v.observer + "/" + v.iface }

// consider judges a window after it changed and speaks where the set of points
// changed, the bytes doubled, or the window was closed before.
func (l *ledger) consider(p *pair, w *window.Window[told], grew uint64, e *event.Event, env *detect.Env) {
	t := &w.Value
	kept := e == nil
	if !kept && t.sum >= minEvidence && grew >= t.sum/8 {
		kept = true
		t.keep(e, env)
	}
	if t.sum < l.rules.gate() && !t.sent || len(p.views) == 0 {
		return
	}
	on := l.subject(p)
	limits := l.rules.limits(env, on, w.Start)
	v, pending := l.verdict(p, w, limits)
	if pending && t.check == 0 && !w.Closed {
		t.check = window.PaneOf(v.sums.last) + window.Pane
		l.next = min(l.next, due(w))
	}
	strong := v.score > 0 && v.score >= env.Setting(on, v.sums.last).Floor
	switch {
	case strong && v.mask != t.mask:
	case strong && t.sent && v.sums.up >= 2*t.up:
	case w.Closed && (strong || t.sent):
	default:
		return
	}
	if !kept {
		t.keep(e, env)
	}
	l.emit(p, w, v, limits, env)
}

// say speaks a window's last word, if it spoke or has something to say.
func (l *ledger) say(p *pair, w *window.Window[told], env *detect.Env) {
	if len(p.views) == 0 {
		return
	}
	on := l.subject(p)
	limits := l.rules.limits(env, on, w.Start)
	v, _ := l.verdict(p, w, limits)
	if w.Value.sent || v.score > 0 && v.score >= env.Setting(on, v.sums.last).Floor {
		l.emit(p, w, v, limits, env)
	}
}

func (t *told) keep(e *event.Event, env *detect.Env) {
	ev := env.Evidence(e)
	if len(ev.Record) > maxRecord {
		ev.Record = nil
	}
	t.evidence = detect.KeepEvidence(t.evidence, ev, maxEvidence)
}

// emit sends the signal of a verdict.
func (l *ledger) emit(p *pair, w *window.Window[told], v verdict, limits []float64, env *detect.Env) {
	t := &w.Value
	t.sent, t.mask, t.up = true, v.mask, v.sums.up
	f := &finding{ledger: l, pair: p, win: w, limits: limits, verdict: v}
	s := &f.sig
	s.Entity = l.entity(p, env)
	var types []string
	views := 0
	for i := range p.views {
		var acc [window.Slots]sums
		p.views[i].spread(w, &acc)
		saw := false
		for j := range acc {
			f.all.span(acc[j].first, acc[j].last)
			saw = saw || !acc[j].empty()
		}
		if !saw {
			continue
		}
		views++
		typ, _, _ := strings.Cut(p.views[i].observer, "/")
		types = append(types, typ)
		// An interface that belongs to an instance, not to a gateway.
		if v := &p.views[i]; v.instance != "" && (s.Entity.Instance == "" || v.iface < s.Entity.Interface) {
			s.Entity.Interface, s.Entity.Instance = v.iface, v.instance
		}
	}
	slices.Sort(types)
	best := &p.views[v.view]
	s.Start, s.End, s.First, s.Time = w.Start, w.End, f.all.first, f.all.last
	s.Score = v.score
	s.Channel = v.sums.top.channel.String()
	s.Source = signal.Endpoint{IP: p.src.String()}
	s.Destination = signal.Endpoint{Port: uint64(v.sums.top.port), Domain: v.sums.top.name}
	if v.sums.top.addr.IsValid() {
		s.Destination.IP = v.sums.top.addr.String()
	}
	s.Bytes, s.Layer = new(v.sums.up), best.layer.String()
	s.Points = []signal.Point{}
	s.Evidence = t.evidence
	s.Observers = slices.Compact(types)
	s.Values = append(s.Values, signal.Value{Name: "observer", Text: best.observer})
	if best.iface != "" {
		s.Values = append(s.Values, signal.Value{Name: "interface", Text: best.iface})
	}
	if v.sums.estimated {
		s.Values = append(s.Values, signal.Value{Name: "bytes_estimated", Value: 1, Text: "payload taken from IP bytes: sequence numbers were absent or absurd"})
	}
	if views > 1 {
		s.Values = append(s.Values, signal.Value{Name: "views", Value: float64(views), Text: "judged each, the strongest told, never summed"})
	}
	kind := event.KindConn
	if best.flow {
		kind = event.KindFlow
	}
	if low := env.Low(best.observer, kind); low != detect.Never {
		s.Complete = low
	}
	l.rules.report(f)
	env.Emit(s, l.subject(p))
}

// entity is who sent.
func (l *ledger) entity(p *pair, env *detect.Env) signal.Entity {
	realm, _, _ := strings.Cut(env.Key, "|")
	return detect.AddressEntity(realm, p.src)
}

// withdraw takes back the signals of windows that no longer exist.
func (l *ledger) withdraw(p *pair, gone []window.Window[told], env *detect.Env) {
	for i := range gone {
		w := &gone[i]
		if !w.Value.sent {
			continue
		}
		w.Value.sent = false
		f := &finding{ledger: l, pair: p, win: w}
		f.sig = signal.Signal{
			Start: w.Start, End: w.End, First: w.Start, Time: w.Start, Channel: chanOther.String(), Severity: signal.Low, Confidence: "low",
			Entity: l.entity(p, env), Source: signal.Endpoint{IP: p.src.String()}, Points: []signal.Point{},
			Reason: "taken back: a name or an earlier event that came late has moved these bytes to another finding",
		}
		l.rules.report(f)
		env.Emit(&f.sig, l.subject(p))
	}
}

// size writes bytes in decimal units.
func size(n uint64) string {
	x, unit := float64(n), ""
	for _, unit = range []string{"B", "kB", "MB", "GB", "TB"} {
		if x < 999.5 || unit == "TB" {
			break
		}
		x /= 1000
	}
	prec := 0
	if x < 9.995 && unit != "B" {
		prec = 2
	} else if x < 99.95 && unit != "B" {
		prec = 1
	}
	return strconv.FormatFloat(x, 'f', prec, 64) + " " + unit
}

// lasted writes a duration.
func lasted(us int64) string {
	switch s := float64(us) / 1e6; {
	case s < 10:
		return strconv.FormatFloat(s, 'f', 1, 64) + " s"
	case s < 120:
		return strconv.FormatFloat(s, 'f', 0, 64) + " s"
	default:
		return strconv.FormatFloat(s/60, 'f', 0, 64) + " min"
	}
}

// times writes a ratio.
func times(up, down uint64) string {
	switch r := ratio(up, down); {
	case down == 0:
		return "nothing came back"
	case r < 10:
		return strconv.FormatFloat(r, 'f', 1, 64) + ":1"
	default:
		return strconv.FormatFloat(r, 'f', 0, 64) + ":1"
	}
}

func round(x float64, places int) float64 {
	p := math.Pow10(places)
	return math.Round(x*p) / p
}

// destination writes where the data went.
func (f *finding) destination() string {
	top := &f.sums.top
	where := top.addr.String()
	if top.port != 0 {
		where += " port " + strconv.Itoa(int(top.port))
	}
	switch {
	case top.name != "":
		return top.name + " (" + where + ")"
	case f.pair.key.name != "":
		return f.pair.key.name + " (" + where + ")"
	}
	return where
}

// records says how many records the verdict rests on.
func (f *finding) records() string {
	what := "connection"
	if f.pair.views[f.view].flow {
		what = "flow record"
	}
	if f.sums.conns == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", f.sums.conns, what)
}
