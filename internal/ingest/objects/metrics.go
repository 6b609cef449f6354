package objects

import "github.com/prometheus/client_golang/prometheus"

// metrics of the reader of objects, beside those of the ingest service that it
// belongs to.
type metrics struct {
	announcements *prometheus.CounterVec // by form
	messages      *prometheus.CounterVec // by result
	objects       *prometheus.CounterVec // by result
	inFlight      prometheus.Gauge
	failures      prometheus.Counter
	queueErrors   prometheus.Counter
	delay         prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "ebbwatch", Subsystem: "objects", Name: name, Help: help}, labels)
	}
	single := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "ebbwatch", Subsystem: "objects", Name: name, Help: help})
	}
	m := &metrics{
		announcements: counter("announced_total", "Objects announced, repetitions among them, by the form of the announcement.", "form"),
		messages:      counter("messages_total", "Messages of queues, by what became of them: taken, ignored or dead.", "result"),
		objects:       counter("finished_total", "Objects that were read, damaged, cut at a limit, or refused.", "result"),
		inFlight:      prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "ebbwatch", Subsystem: "objects", Name: "in_flight", Help: "Objects that are open."}),
		failures:      single("failures_total", "Objects that could not be read for now, by the try."),
		queueErrors:   single("queue_errors_total", "Requests to a queue or for a listing that failed."),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "ebbwatch", Subsystem: "objects", Name: "delay_seconds", Help: "Time from the last task about an object to its end.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600},
		}),
	}
	reg.MustRegister(m.announcements, m.messages, m.objects, m.inFlight, m.failures, m.queueErrors, m.delay)
	return m
}
