package stream

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// tellEvery is how often a restore that takes long says how far it is.
const tellEvery = 5 * time.Second

// progress tells how far one phase of a restore is, in a gauge and, when it
// takes long, in the log.
type progress struct {
	w         *worker
	phase     string
	from, to  int64
	gauge     prometheus.Gauge
	began     time.Time
	told      time.Time
	sinceLook int
}

// progress begins a phase that goes from one number to another: offsets or
// bytes.
func (w *worker) progress(phase string, from, to int64) *progress {
	now := time.Now()
	g := w.eng.metrics.restoring.WithLabelValues(w.eng.metrics.service, w.tp.topic, strconv.Itoa(int(w.tp.partition)), phase)
	g.Set(0)
	return &progress{w: w, phase: phase, from: from, to: to, gauge: g, began: now, told: now}
}

// at notes where the phase is. The clock is looked at once in 256 calls.
func (p *progress) at(n int64) {
	if p.sinceLook++; p.sinceLook < 256 && n < p.to-1 {
		return
	}
	p.sinceLook = 0
	ratio := 1.0
	if p.to > p.from {
		ratio = min(max(float64(n-p.from)/float64(p.to-p.from), 0), 1)
	}
	p.gauge.Set(ratio)
	if now := time.Now(); now.Sub(p.told) >= tellEvery {
		p.told = now
		took := now.Sub(p.began)
		p.w.log.Info("restoring", "phase", p.phase, "percent", int(100*ratio), "took", took.Round(time.Second),
			"left", time.Duration(float64(took)*(1-ratio)/max(ratio, 0.001)).Round(time.Second))
	}
}
