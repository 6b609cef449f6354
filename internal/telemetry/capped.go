// Package telemetry holds the metrics that are part of the contract
// (detections.md §8): the exfil_ families with labels that are unbounded by
// nature, each capped.
package telemetry

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// other is the label value of the series beyond the cap.
const other = "other"

// capped is a counter family with at most limit series; what goes beyond is
// counted under "other" in every label. That series exists from the start, so
// that the family is always exposed.
type capped struct {
	vec      *prometheus.CounterVec
	overflow prometheus.Counter
	limit    int
	rest     prometheus.Counter

	mu   sync.Mutex
	seen map[string]prometheus.Counter
}

func newCapped(reg prometheus.Registerer, limit int, overflow *prometheus.CounterVec, name, help string, labels ...string) *capped {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	reg.MustRegister(vec)
	rest := make([]string, len(labels))
	for i := range rest {
		rest[i] = other
	}
	return &capped{
		vec: vec, limit: limit, overflow: overflow.WithLabelValues(name), rest: vec.WithLabelValues(rest...),
		seen: map[string]prometheus.Counter{},
	}
}

func (c *capped) add(n float64, values ...string) {
	key := strings.Join(values, "\x00")
	c.mu.Lock()
	defer c.mu.Unlock()
	series := c.seen[key]
	if series == nil {
		if len(c.seen) >= c.limit {
			c.overflow.Inc()
			c.rest.Add(n)
			return
		}
		for i, v := range values {
			values[i] = strings.ToValidUTF8(v, "\uFFFD")
		}
		series = c.vec.WithLabelValues(values...)
		c.seen[key] = series
	}
	series.Add(n)
}

// cappedGauge is a gauge family with at most limit series; what goes beyond is
// set under "other" in every label, which then holds whatever came last.
type cappedGauge struct {
	vec      *prometheus.GaugeVec
	overflow prometheus.Counter
	limit    int
	rest     []string

	mu   sync.Mutex
	seen map[string]prometheus.Gauge
}

func newCappedGauge(reg prometheus.Registerer, limit int, overflow *prometheus.CounterVec, name, help string, labels ...string) *cappedGauge {
	vec := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	reg.MustRegister(vec)
	rest := make([]string, len(labels))
	for i := range rest {
		rest[i] = other
	}
	return &cappedGauge{vec: vec, limit: limit, overflow: overflow.WithLabelValues(name), rest: rest, seen: map[string]prometheus.Gauge{}}
}

func (c *cappedGauge) set(x float64, values ...string) {
	key := strings.Join(values, "\x00")
	c.mu.Lock()
	defer c.mu.Unlock()
	series := c.seen[key]
	if series == nil {
		if len(c.seen) >= c.limit {
			c.overflow.Inc()
			c.vec.WithLabelValues(c.rest...).Set(x)
			return
		}
		for i, v := range values {
			values[i] = strings.ToValidUTF8(v, "\uFFFD")
		}
		series = c.vec.WithLabelValues(values...)
		c.seen[key] = series
	}
	series.Set(x)
}
