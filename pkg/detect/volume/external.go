package volume

import (
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	"github.com/ebbwatch/ebbwatch/pkg/window"
)

// Points of external-transfer.
const (
	maskLarge mask = 1 << iota
	maskRare
)

// Thresholds of external-transfer, in the order of its Info.
const (
	extBytes = iota
	extRare
)

var externalInfo = detect.Info{
	ID:        "external-transfer",
	Role:      signal.RoleExfil,
	Kinds:     []event.Kind{event.KindFlow, event.KindConn, event.KindTLS, event.KindHTTP, event.KindDNS},
	Default:   site.Setting{Mode: signal.ModeAlert, Floor: 1, Alert: 4},
	Technique: []string{"T1048", "T1567"},
	Thresholds: []detect.Threshold{
		{Name: "bytes", Default: 10e6, Unit: "bytes", Doc: "sent within the hour from a source to one external destination, whatever came back: 2 points"},
		{Name: "rare_bytes", Default: 1e6, Unit: "bytes", Doc: "the same to a destination that this source did not send to in an earlier window: 1 point"},
	},
}

type externalTransfer struct{ tuned }

// NewExternalTransfer returns the detector external-transfer.
func NewExternalTransfer() detect.Detector {
	d := &externalTransfer{tuned{what: &externalInfo}}
	d.Configure(site.Default())
	return d
}

// New implements detect.Detector.
func (d *externalTransfer) New() detect.State { return newLedger(d) }

// Wants implements detect.Lazy.
func (d *externalTransfer) Wants(e *event.Event, env *detect.Env) bool { return begins(d, e, env) }

// Ignores implements detect.Choosy.
func (d *externalTransfer) Ignores(e *event.Event, env *detect.Env) bool {
	return carries(e) && !begins(d, e, env)
}

// keyed: an address that stands for many is no source, and nothing but what
// was sent counts.
func (d *externalTransfer) keyed(up uint64, _ channel, shared bool) (counts, byPort bool) {
	return up > 0 && !shared, false
}

func (d *externalTransfer) gate() uint64 { return d.least(extBytes, extRare) }

func (d *externalTransfer) hit(uint64, uint64) bool { return false }

func (d *externalTransfer) judge(l *ledger, p *pair, view int, w *window.Window[told], limits []float64, _ int64) (v verdict, pending bool) {
	var acc [window.Slots]sums
	p.views[view].spread(w, &acc)
	for i := range acc {
		if !acc[i].empty() {
			v.active += acc[i].uses()
			v.sums.merge(&acc[i])
		}
	}
	if l.sanctioned(p, view, w, &v) {
		return v, false
	}
	up := float64(v.sums.up)
	if up >= limits[extBytes] {
		v.mask |= maskLarge
		v.score += 2
	}
	if up >= limits[extRare] && l.rare(p, w) {
		v.mask |= maskRare
		v.score++
	}
	return v, false
}

// rare reports whether the source sent nothing to the destination before the
// window. Which destinations are rare at the site is not known here.
func (l *ledger) rare(p *pair, w *window.Window[told]) bool {
	return p.ws.List[0].Start >= w.Start && !l.seen.before(p.key, w.Start)
}

func (d *externalTransfer) report(f *finding) {
	s := &f.sig
	s.Subject = f.pair.key.dest()
	if f.score == 0 && s.Reason != "" {
		return
	}
	s.Severity, s.Confidence = signal.Low, "low"
	if f.sums.up >= 100e6 {
		s.Severity = signal.Medium
	}
	up := float64(f.sums.up)
	rare := ""
	if f.mask&maskLarge != 0 {
		s.Points = append(s.Points, signal.Point{Name: "bytes", Points: 2, Value: up, Threshold: f.limits[extBytes]})
	}
	if f.mask&maskRare != 0 {
		s.Points = append(s.Points, signal.Point{Name: "rare_destination", Points: 1, Value: up, Threshold: f.limits[extRare]})
		rare = ", a destination that this source did not use before"
	}
	s.Values = append(s.Values, signal.Value{Name: "connections", Value: float64(f.sums.conns)})
	s.Reason = fmt.Sprintf("%s sent %s within the hour to %s%s, in %s; weak by itself",
		f.pair.src, size(f.sums.up), f.destination(), rare, f.records())
}

// seenFor is how long destinations are remembered, maxSeen how many.
const (
	seenFor = 24 * window.Span
	maxSeen = 512
)

// seen remembers destinations of closed windows, by hash.
type seen struct{ list []sighting }

type sighting struct {
	key   uint64
	first int64 // end of the first window, of those remembered
	last  int64 // end of the latest
}

func hashOf(k pairKey) uint64 {
	if k.name != "" {
		return xxhash.Sum64String(k.name)
	}
	raw := k.addr.As16()
	return xxhash.Sum64(raw[:])
}

// add notes a window's end. Beyond the bound the longest unseen gives way.
func (s *seen) add(k pairKey, end int64) {
	h := hashOf(k)
	oldest := 0
	for i := range s.list {
		if x := &s.list[i]; x.key == h {
			x.first, x.last = min(x.first, end), max(x.last, end)
			return
		}
		if s.list[i].last < s.list[oldest].last {
			oldest = i
		}
	}
	x := sighting{h, end, end}
	if len(s.list) == maxSeen {
		s.list = slices.Delete(s.list, oldest, oldest+1)
	}
	s.list = append(s.list, x)
}

// before reports whether a window of the destination ended by an event time.
func (s *seen) before(k pairKey, at int64) bool {
	h := hashOf(k)
	for i := range s.list {
		if s.list[i].key == h {
			return s.list[i].first <= at
		}
	}
	return false
}

func (s *seen) append(dst []byte) []byte {
	dst = operator.AppendUint(dst, len(s.list))
	for _, x := range s.list {
		dst = operator.AppendInt(operator.AppendInt(operator.AppendUint(dst, x.key), x.first), x.last)
	}
	return dst
}

func (s *seen) load(r *operator.Reader) {
	for range r.Count() {
		s.list = append(s.list, sighting{r.Uint(), r.Int(), r.Int()})
	}
}
