package object

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	"github.com/ebbwatch/ebbwatch/pkg/window"
)

// mask is the set of the points of a verdict.
type mask uint8

const (
	maskKeys mask = 1 << iota
	maskBytes
	maskHalf
	maskConfidential
	maskRestricted
	maskExternal
	maskPresigned
)

// contextPoints is what a circumstance adds. Three of them do not make an
// alert of half a limit.
const contextPoints = 0.5

// Evidence of a window: from how many reads on it is kept, and the size up to
// which the record itself is.
const (
	minEvidence = 16
	maxRecord   = 8 << 10
)

// verdict is what a window amounts to by one observer.
type verdict struct {
	view     *detect.View[view]
	sum      *sum
	keys     uint64
	bytes    uint64
	score    float64
	mask     mask
	limits   [2]float64
	nearness float64 // to the nearer limit
}

func judge(vw *detect.View[view], sm *sum, limits [2]float64) verdict {
	v := verdict{view: vw, sum: sm, keys: sm.keys.count(), bytes: sm.bytes(), limits: limits}
	keys, bytes := float64(v.keys), float64(v.bytes)
	v.nearness = max(keys/max(limits[bulkKeys], 1), bytes/max(limits[bulkBytes], 1))
	if keys > limits[bulkKeys] {
		v.mask |= maskKeys
		v.score += 4
	}
	if bytes > limits[bulkBytes] {
		v.mask |= maskBytes
		v.score += 4
	}
	if v.mask == 0 && v.nearness >= 0.5 {
		v.mask |= maskHalf
		v.score = 2
	}
	if v.mask == 0 {
		return v
	}
	context := func(is bool, m mask) {
		if is {
			v.mask |= m
			v.score += contextPoints
		}
	}
	context(sm.top() == confidential, maskConfidential)
	context(sm.top() == restricted, maskRestricted)
	context(sm.external.reads > 0, maskExternal)
	context(sm.presigned.reads > 0, maskPresigned)
	return v
}

// verdict judges a window by each observer and returns the strongest one: the
// highest score, then the nearest to a limit, then the first name.
func (s *reader) verdict(w *window.Window[told], limits [2]float64) (best verdict) {
	for vw := range s.views.All {
		sm := vw.Value.find(w.Start)
		if sm == nil {
			continue
		}
		v := judge(vw, sm, limits)
		if best.view == nil || v.score > best.score || v.score == best.score && (v.nearness > best.nearness ||
			v.nearness == best.nearness && vw.Observer < best.view.Observer) {
			best = v
		}
	}
	return best
}

func subject(env *detect.Env) site.Subject { return site.Subject{Principal: env.Key} }

// consider judges a window after it changed and speaks where the set of points
// changed, objects or bytes doubled, or the window was closed before. e is the
// event that was added to it and to sm; both may be nil.
func (s *reader) consider(w *window.Window[told], sm *sum, e *event.Event, env *detect.Env) {
	t := &w.Value
	kept := e == nil
	if n := uint64(0); sm != nil {
		if n = sm.reads(); n >= max(t.kept, minEvidence) {
			t.kept = 2 * n
			kept = true
			t.keep(e, env)
		}
	}
	on := subject(env)
	v := s.verdict(w, s.d.limitsFor(env.Site, on, w.Start))
	if v.view == nil || v.score == 0 && !t.sent {
		return
	}
	strong := v.score > 0 && v.score >= env.Setting(on, v.sum.last).Floor
	switch {
	case strong && v.mask != t.mask:
	case strong && t.sent && (v.keys >= 2*t.keys && v.keys > 0 || v.bytes >= 2*t.bytes && v.bytes > 0):
	case w.Closed && (strong || t.sent):
	default:
		return
	}
	if !kept {
		t.keep(e, env)
	}
	s.emit(w, &v, env)
}

// say speaks a window's last word, if it spoke or has something to say.
func (s *reader) say(w *window.Window[told], env *detect.Env) {
	on := subject(env)
	v := s.verdict(w, s.d.limitsFor(env.Site, on, w.Start))
	if v.view != nil && (w.Value.sent || v.score > 0 && v.score >= env.Setting(on, v.sum.last).Floor) {
		s.emit(w, &v, env)
	}
}

func (t *told) keep(e *event.Event, env *detect.Env) {
	ev := env.Evidence(e)
	if len(ev.Record) > maxRecord {
		ev.Record = nil
	}
	t.evidence = detect.KeepEvidence(t.evidence, ev, signal.MaxEvidence)
}

// withdraw takes back the signals of windows that an earlier read has moved,
// and gives their evidence to the windows that took their place.
func (s *reader) withdraw(gone []window.Window[told], env *detect.Env) {
	for i := range gone {
		g := &gone[i]
		if w := s.ws.At(g.Start); w != nil {
			for _, ev := range g.Value.evidence {
				w.Value.evidence = detect.KeepEvidence(w.Value.evidence, ev, signal.MaxEvidence)
			}
		}
		if !g.Value.sent {
			continue
		}
		env.Emit(&signal.Signal{
			Start: g.Start, End: g.End, First: g.Start, Time: g.Start, Channel: "s3", Severity: signal.Low, Confidence: "low",
			Entity: entityOf(env.Key, nil), Points: []signal.Point{},
			Reason: "taken back: an earlier read that came late has moved these reads to another window",
		}, subject(env))
	}
}

// entityOf is who read. sessions tell the instance where there is one only.
func entityOf(key string, sessions *tally) signal.Entity {
	en := signal.Entity{Principal: key}
	if strings.HasPrefix(key, "sensor|") {
		en.Principal = "" // the events name nobody (site.Place)
	}
	if sessions == nil || sessions.more {
		return en
	}
	for i := range sessions.list {
		if name := sessions.list[i].name; strings.HasPrefix(name, "i-") {
			if en.Instance != "" {
				en.Instance = ""
				break
			}
			en.Instance = name
		}
	}
	return en
}

// emit sends the signal of a verdict.
func (s *reader) emit(w *window.Window[told], v *verdict, env *detect.Env) {
	t := &w.Value
	t.sent, t.mask, t.keys, t.bytes = true, v.mask, v.keys, v.bytes
	var names cell
	cells := v.view.Value.cells.List
	for i := range cells {
		if w.Holds(cells[i].At) {
			names.mergeNames(&cells[i].V)
		}
	}
	sm := v.sum
	sig := &signal.Signal{
		Start: w.Start, End: w.End, First: sm.first, Time: sm.last,
		Score: v.score, Role: signal.RoleStaging, Channel: "s3",
		Entity: entityOf(env.Key, &names.sessions), Classification: sm.top().String(),
		Points: v.points(), Evidence: t.evidence,
	}
	if sm.gcs > sm.reads()/2 {
		sig.Channel = "gcs"
	}
	if sm.external.reads > 0 {
		sig.Role = signal.RoleExfil
	}
	sig.Severity, sig.Confidence = v.severity()
	if sm.unsized < sm.reads() {
		sig.Bytes, sig.Layer = new(v.bytes), event.LayerHTTP
	}
	buckets, outside, inside := names.buckets.ranked(), names.outside.ranked(), names.inside.ranked()
	sig.Source.IP = firstAddress(outside, inside)
	sig.Values = v.values(&names, buckets, outside, inside)
	sig.Reason = v.reason(env.Key, &names, buckets, outside, inside)
	for vw := range s.views.All {
		if vw.Value.find(w.Start) != nil {
			typ, _, _ := strings.Cut(vw.Observer, "/")
			sig.Observers = append(sig.Observers, typ)
		}
	}
	if len(sig.Observers) > 1 {
		sig.Values = append(sig.Values, signal.Value{Name: "views", Value: float64(len(sig.Observers)), Text: "judged each, the strongest told, never summed"})
	}
	slices.Sort(sig.Observers)
	sig.Observers = slices.Compact(sig.Observers)
	if low := env.Low(v.view.Observer, event.KindObject); low != detect.Never {
		sig.Complete = low
	}
	env.Emit(sig, subject(env))
}

// firstAddress is the address of most reads, an external one before others.
func firstAddress(lists ...[]entry) string {
	for _, list := range lists {
		for i := range list {
			if _, err := netip.ParseAddr(list[i].name); err == nil {
				return list[i].name
			}
		}
	}
	return ""
}

// severity is by class. What is not classified counts as sensitive.
func (v *verdict) severity() (severity, confidence string) {
	top := v.sum.top()
	if v.mask&(maskKeys|maskBytes) == 0 {
		if top == restricted {
			return signal.Medium, "low"
		}
		return signal.Low, "low"
	}
	confidence = "medium"
	if top != unclassified && v.mask&maskExternal != 0 {
		confidence = "high"
	}
	if top == restricted && v.mask&maskExternal != 0 {
		return signal.Critical, confidence
	}
	return signal.High, confidence
}

func (v *verdict) points() []signal.Point {
	out := []signal.Point{}
	add := func(m mask, p signal.Point) {
		if v.mask&m != 0 {
			out = append(out, p)
		}
	}
	sm, keys, bytes := v.sum, float64(v.keys), float64(v.bytes)
	add(maskKeys, signal.Point{Name: "keys", Points: 4, Value: keys, Threshold: v.limits[bulkKeys]})
	add(maskBytes, signal.Point{Name: "bytes", Points: 4, Value: bytes, Threshold: v.limits[bulkBytes]})
	if keys/max(v.limits[bulkKeys], 1) == v.nearness {
		add(maskHalf, signal.Point{Name: "keys_half", Points: 2, Value: keys, Threshold: v.limits[bulkKeys] / 2})
	} else {
		add(maskHalf, signal.Point{Name: "bytes_half", Points: 2, Value: bytes, Threshold: v.limits[bulkBytes] / 2})
	}
	add(maskConfidential, signal.Point{Name: "class_confidential", Points: contextPoints, Value: float64(sm.by[confidential].reads), Threshold: 1})
	add(maskRestricted, signal.Point{Name: "class_restricted", Points: contextPoints, Value: float64(sm.by[restricted].reads), Threshold: 1})
	add(maskExternal, signal.Point{Name: "external_source", Points: contextPoints, Value: float64(sm.external.reads), Threshold: 1})
	add(maskPresigned, signal.Point{Name: "presigned", Points: contextPoints, Value: float64(sm.presigned.reads), Threshold: 1})
	return out
}

// maxListed bounds the buckets and addresses that a signal lists.
const maxListed = 5

func (v *verdict) values(names *cell, buckets, outside, inside []entry) []signal.Value {
	sm := v.sum
	out := []signal.Value{
		{Name: "keys", Value: float64(v.keys)},
		{Name: "reads", Value: float64(sm.reads())},
		{Name: "buckets", Value: float64(len(buckets)), Text: atLeast(names.buckets.more)},
	}
	if sm.keys.more {
		out[0].Text = "estimated"
	}
	// The first is the one of most reads: the label of the metric.
	for i := range min(len(buckets), maxListed) {
		out = append(out, signal.Value{Name: "bucket", Value: float64(buckets[i].reads), Text: buckets[i].name})
	}
	for c := restricted; ; c-- {
		if n := sm.by[c].reads; n > 0 {
			out = append(out, signal.Value{Name: "reads_" + strings.ToLower(c.String()), Value: float64(n)})
		}
		if c == unclassified {
			break
		}
	}
	for i := range min(len(outside), maxListed) {
		out = append(out, signal.Value{Name: "source_external", Value: float64(outside[i].reads), Text: outside[i].name})
	}
	for i := range min(len(inside), maxListed) {
		out = append(out, signal.Value{Name: "source", Value: float64(inside[i].reads), Text: inside[i].name})
	}
	if sm.external.reads > 0 {
		out = append(out, signal.Value{Name: "bytes_external", Value: float64(sm.external.bytes)})
	}
	if n := len(names.sessions.list); n > 0 {
		out = append(out, signal.Value{Name: "sessions", Value: float64(n), Text: atLeast(names.sessions.more)})
	}
	if sm.listed > 0 {
		out = append(out, signal.Value{Name: "reads_listed", Value: float64(sm.listed), Text: "of buckets on whose list the principal is: their objects are not counted, their bytes are"})
	}
	if sm.unsized > 0 {
		out = append(out, signal.Value{Name: "reads_without_bytes", Value: float64(sm.unsized), Text: "the log gives no size"})
	}
	return append(out, signal.Value{Name: "observer", Text: v.view.Observer})
}

func atLeast(more bool) string {
	if more {
		return "at least"
	}
	return ""
}

func (v *verdict) reason(who string, names *cell, buckets, outside, inside []entry) string {
	sm := v.sum
	var b strings.Builder
	about := ""
	if sm.keys.more {
		about = "about "
	}
	fmt.Fprintf(&b, "%s read %s%s", clip(who), about, count(v.keys, "object"))
	if sm.unsized < sm.reads() {
		fmt.Fprintf(&b, " (%s)", size(v.bytes))
	}
	b.WriteString(" within the hour")
	switch n := len(buckets); {
	case names.buckets.more:
		fmt.Fprintf(&b, ", from %s (among them %s)", orMore(n, true, "bucket"), listed(buckets))
	case n == 1:
		fmt.Fprintf(&b, ", all from bucket %s", buckets[0].name)
	default:
		fmt.Fprintf(&b, ", from %s (most from %s)", orMore(n, false, "bucket"), buckets[0].name)
	}
	fmt.Fprintf(&b, ", class %s", sm.top())
	if sm.top() == unclassified {
		b.WriteString(", which counts as sensitive until reviewed")
	}
	if len(outside) > 0 {
		fmt.Fprintf(&b, "; %s from outside, by %s (%s)", count(sm.external.reads, "read"),
			orMore(len(outside), names.outside.more, "address"), listed(outside))
	}
	if len(inside) > 0 {
		fmt.Fprintf(&b, "; from inside by %s", listed(inside))
	}
	if sm.presigned.reads > 0 {
		fmt.Fprintf(&b, "; %s by presigned URL", count(sm.presigned.reads, "read"))
	}
	if sm.listed > 0 {
		fmt.Fprintf(&b, "; %s of objects for which it is listed, of which only the bytes count", count(sm.listed, "read"))
	}
	if v.mask&maskHalf != 0 {
		b.WriteString("; weak by itself")
	}
	return b.String()
}

// listed writes the first names of a ranking.
func listed(list []entry) string {
	var names []string
	for i := range min(len(list), 3) {
		names = append(names, list[i].name)
	}
	if len(list) > 3 {
		names = append(names, "…")
	}
	return strings.Join(names, ", ")
}

func orMore(n int, more bool, what string) string {
	if more {
		return "more than " + count(uint64(n), what)
	}
	return count(uint64(n), what)
}

func count(n uint64, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "s"):
		what += "e"
	}
	return strconv.FormatUint(n, 10) + " " + what + "s"
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
