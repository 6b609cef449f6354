package volume

import (
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// tuned is a detector with the thresholds of the site that is valid.
type tuned struct {
	what      *detect.Info
	values    []float64
	overrides bool
}

// Info implements detect.Detector.
func (d *tuned) Info() detect.Info { return *d.what }

// Base implements detect.Based: what the key knows of names is known once.
func (d *tuned) Base() detect.Detector { return newNameKeeper() }

// Configure implements detect.Detector.
func (d *tuned) Configure(s *site.Site) {
	d.values = d.values[:0:0]
	for _, t := range d.what.Thresholds {
		d.values = append(d.values, s.Threshold(d.what.ID, t.Name, t.Default))
	}
	d.overrides = s.HasOverrides(d.what.ID)
}

// limits are the thresholds for a subject.
func (d *tuned) limits(env *detect.Env, on site.Subject, at int64) []float64 {
	if !d.overrides {
		return d.values
	}
	out := make([]float64, 0, len(d.values))
	for _, t := range d.what.Thresholds {
		out = append(out, env.Site.ThresholdFor(d.what.ID, t.Name, t.Default, on, at))
	}
	return out
}

// least is the smallest of thresholds in bytes, as a gate: 0 where an override
// may be anything.
func (d *tuned) least(which ...int) uint64 {
	if d.overrides {
		return 0
	}
	n := d.values[which[0]]
	for _, i := range which[1:] {
		n = min(n, d.values[i])
	}
	return uint64(max(n, 0))
}
