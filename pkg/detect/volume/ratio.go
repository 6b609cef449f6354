package volume

import (
	"fmt"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	"github.com/ebbwatch/ebbwatch/pkg/window"
)

// Points of upload-ratio.
const (
	maskRequired mask = 1 << iota
	maskVolume
	maskSlow
	maskLong
	maskNear

	maskAlert = maskRequired | maskVolume | maskSlow
)

// Thresholds of upload-ratio, in the order of its Info.
const (
	ratioRequiredBytes = iota
	ratioRequired
	ratioVolumeBytes
	ratioVolume
	ratioSlowBytes
	ratioSlow
	ratioSlowSeconds
	ratioLongSeconds
	ratioNear
)

var ratioInfo = detect.Info{
	ID:        "upload-ratio",
	Role:      signal.RoleExfil,
	Kinds:     []event.Kind{event.KindFlow, event.KindConn, event.KindTLS, event.KindHTTP, event.KindDNS},
	Default:   site.Setting{Mode: signal.ModeAlert, Floor: 2, Alert: 4},
	Alone:     true,
	Technique: []string{"T1048", "T1567"},
	Thresholds: []detect.Threshold{
		{Name: "required_bytes", Default: 10e6, Unit: "bytes", Doc: "sent at required_ratio, by one connection or by the pair within the hour: 4 points"},
		{Name: "required_ratio", Default: 20, Unit: "sent:received", Doc: "see required_bytes"},
		{Name: "volume_bytes", Default: 8e6, Unit: "bytes", Doc: "sent at volume_ratio by the pair within the hour: 4 points"},
		{Name: "volume_ratio", Default: 10, Unit: "sent:received", Doc: "see volume_bytes"},
		{Name: "slow_bytes", Default: 1e6, Unit: "bytes", Doc: "sent at slow_ratio by the pair within the hour, over slow_seconds of activity: 4 points"},
		{Name: "slow_ratio", Default: 20, Unit: "sent:received", Doc: "see slow_bytes"},
		{Name: "slow_seconds", Default: 60, Unit: "seconds", Doc: "see slow_bytes"},
		{Name: "long_seconds", Default: 300, Unit: "seconds", Doc: "of activity, which make any of these more specific: 1 point"},
		{Name: "near", Default: 0.5, Unit: "share", Doc: "of volume_bytes or slow_bytes, at their ratios: 2 points, a weak signal"},
	},
}

type uploadRatio struct{ tuned }

// NewUploadRatio returns the detector upload-ratio.
func NewUploadRatio() detect.Detector {
	d := &uploadRatio{tuned{what: &ratioInfo}}
	d.Configure(site.Default())
	return d
}

// New implements detect.Detector.
func (d *uploadRatio) New() detect.State { return newLedger(d) }

// Wants implements detect.Lazy.
func (d *uploadRatio) Wants(e *event.Event, env *detect.Env) bool { return begins(d, e, env) }

// Ignores implements detect.Choosy.
func (d *uploadRatio) Ignores(e *event.Event, env *detect.Env) bool {
	return carries(e) && !begins(d, e, env)
}

// keyed: a ping that nobody answers is no upload; ICMP has a detector of its
// own.
func (d *uploadRatio) keyed(_ uint64, c channel, _ bool) (counts, byPort bool) {
	return c != chanICMP, true
}

func (d *uploadRatio) gate() uint64 {
	if d.overrides {
		return 0
	}
	least := min(d.values[ratioVolumeBytes], d.values[ratioSlowBytes]) * d.values[ratioNear]
	return uint64(max(0, min(least, d.values[ratioRequiredBytes])))
}

// hit is judged by the thresholds of the site at large; overrides are for
// pairs.
func (d *uploadRatio) hit(up, down uint64) bool {
	return float64(up) >= d.values[ratioRequiredBytes] && ratio(up, down) >= d.values[ratioRequired]
}

// judge looks at the pair as it stood at the end of each pane: what was an
// upload then remains one, whatever is fetched afterwards to pad the ratio.
func (d *uploadRatio) judge(l *ledger, p *pair, which int, w *window.Window[told], limits []float64, complete int64) (v verdict, pending bool) {
	view := &p.views[which]
	var acc [window.Slots]sums
	view.spread(w, &acc)
	for i := range acc {
		if acc[i].empty() {
			continue
		}
		used := acc[i].uses()
		v.sums.merge(&acc[i])
		v.active = min(v.active+used, v.sums.last-v.sums.first)
		m := d.points(&v, p.shared, limits)
		// Flow records tell one direction each. That nothing came back is
		// known only when its record would have come.
		end := w.Start + int64(i+1)*window.Pane
		if view.flow && v.sums.in < v.sums.out && end > complete {
			pending = pending || m != 0
			continue
		}
		v.mask |= m
	}
	if v.mask&maskAlert != 0 {
		v.mask &^= maskNear
	}
	if l.sanctioned(p, which, w, &v) {
		v.mask = 0
	}
	v.score = 0
	for _, m := range [...]mask{maskRequired, maskVolume, maskSlow} {
		if v.mask&m != 0 {
			v.score += 4
		}
	}
	if v.mask&maskLong != 0 {
		v.score++
	}
	if v.mask&maskNear != 0 {
		v.score += 2
	}
	return v, pending
}

// points are those of the sums so far.
func (d *uploadRatio) points(v *verdict, shared bool, limits []float64) (m mask) {
	up, r, active := float64(v.sums.up), ratio(v.sums.up, v.sums.down), float64(v.active)/1e6
	if v.sums.hit.up > 0 {
		m |= maskRequired
		if float64(v.sums.hit.lasted)/1e6 >= limits[ratioLongSeconds] {
			m |= maskLong
		}
	}
	if shared {
		return m // what many send together is nobody's upload
	}
	if up >= limits[ratioRequiredBytes] && r >= limits[ratioRequired] {
		m |= maskRequired
	}
	if up >= limits[ratioVolumeBytes] && r >= limits[ratioVolume] {
		m |= maskVolume
	}
	if up >= limits[ratioSlowBytes] && r >= limits[ratioSlow] && active >= limits[ratioSlowSeconds] {
		m |= maskSlow
	}
	switch near := limits[ratioNear]; {
	case m&maskAlert != 0:
		if active >= limits[ratioLongSeconds] {
			m |= maskLong
		}
	case up >= near*limits[ratioVolumeBytes] && r >= limits[ratioVolume],
		up >= near*limits[ratioSlowBytes] && r >= limits[ratioSlow] && active >= limits[ratioSlowSeconds]:
		m |= maskNear
	}
	return m
}

func (d *uploadRatio) report(f *finding) {
	s := &f.sig
	s.Subject = f.pair.key.dest()
	if port := f.pair.key.port; port != 0 {
		if strings.Contains(s.Subject, ":") {
			s.Subject = "[" + s.Subject + "]"
		}
		s.Subject = fmt.Sprintf("%s:%d", s.Subject, port)
	}
	if f.pair.key.standing == capped {
		s.Values = append(s.Values, signal.Value{Name: "sanctioned_daily_bytes", Value: float64(f.pair.limit)})
	}
	if f.score == 0 && s.Reason != "" {
		return
	}
	up, down, lim := f.sums.up, f.sums.down, f.limits
	r := ratio(up, down)
	s.Severity, s.Confidence = signal.Low, "low"
	if f.mask&maskAlert != 0 {
		s.Severity, s.Confidence = signal.Medium, "medium"
	}
	if f.mask&maskRequired != 0 && f.mask&maskLong != 0 || f.mask&maskAlert != 0 && up >= 100e6 {
		s.Severity, s.Confidence = signal.High, "high"
	}
	mail := ""
	if f.sums.top.channel == chanSMTP {
		// Mail is one-sided by nature: the ratio says little about it.
		s.Confidence = "low"
		mail = "; the source is no declared mail relay"
	}
	point := func(m mask, name string, points, value, threshold float64) {
		if f.mask&m != 0 {
			s.Points = append(s.Points, signal.Point{Name: name, Points: points, Value: round(value, 1), Threshold: threshold})
		}
	}
	required := r
	if f.sums.hit.up > 0 {
		required = ratio(f.sums.hit.up, f.sums.hit.down)
	}
	point(maskRequired, "ratio_and_10mb", 4, required, lim[ratioRequired])
	point(maskVolume, "ratio_and_8mb", 4, r, lim[ratioVolume])
	point(maskSlow, "ratio_and_1mb_in_60s", 4, r, lim[ratioSlow])
	point(maskLong, "longer_than_5min", 1, float64(f.active)/1e6, lim[ratioLongSeconds])
	point(maskNear, "near_the_limits", 2, float64(up), min(lim[ratioVolumeBytes], lim[ratioSlowBytes])*lim[ratioNear])
	s.Values = append(s.Values,
		signal.Value{Name: "bytes_received", Value: float64(down)},
		signal.Value{Name: "ratio", Value: round(r, 1)},
		signal.Value{Name: "pcr", Value: round((float64(up)-float64(down))/max(float64(up)+float64(down), 1), 4), Text: "(sent-received)/(sent+received)"},
		signal.Value{Name: "connections", Value: float64(f.sums.conns)},
		signal.Value{Name: "active_seconds", Value: round(float64(f.active)/1e6, 1)},
	)
	one := ""
	if h := f.sums.hit; h.up > 0 {
		s.Values = append(s.Values,
			signal.Value{Name: "largest_connection_sent", Value: float64(h.up)}, signal.Value{Name: "largest_connection_received", Value: float64(h.down)})
		if f.sums.conns > 1 {
			one = fmt.Sprintf("; one connection alone sent %s and received %s", size(h.up), size(h.down))
		}
	}
	s.Reason = fmt.Sprintf("%s sent %s to %s and received %s (%s), in %s over %s%s%s",
		f.pair.src, size(up), f.destination(), size(down), times(up, down), f.records(), lasted(f.active), one, mail)
}
