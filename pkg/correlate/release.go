package correlate

import (
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// TopicNetwork is where answers go back to: what is usual for a source is known
// to detect, under the key of its events.
const TopicNetwork = "ebb.network.v1"

// based are the detectors that compare with what is usual.
var based = map[string]bool{"volume-anomaly": true, "volume-fixed": true, "sanctioned-abuse": true}

// release sends a verdict back for each signal of an incident that leans on a
// baseline. "unsure" changes nothing there.
func (c *Correlator) release(inc *incident, v *signal.Verdict) {
	if v.Verdict == "unsure" {
		return
	}
	for _, h := range inc.members {
		s := &h.sig
		if !based[s.Detector] {
			continue
		}
		r := signal.Release{AlertID: v.AlertID, SignalID: s.ID, Detector: s.Detector, Verdict: v.Verdict, First: max(s.First, 0), Last: max(s.Time, s.First, 0), By: v.By, Time: v.Time}
		data, err := r.Append(c.buf[:0])
		if err != nil {
			c.ctx.Count("encode_errors", "release", 1)
			continue
		}
		c.buf = data
		c.ctx.Count("releases", v.Verdict, 1)
		c.ctx.Emit(operator.Output{Topic: TopicNetwork, Kind: signal.KindRelease, V: signal.Version, Key: []byte(s.Key), Value: data})
	}
}
