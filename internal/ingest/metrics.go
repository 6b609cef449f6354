package ingest

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// metrics of one service. In a process with several services each is given a
// registerer with a label of its own.
type metrics struct {
	records    *prometheus.CounterVec // by source
	bytes      *prometheus.CounterVec // by source
	events     [64]prometheus.Counter // by kind
	eventsVec  *prometheus.CounterVec
	ignored    *prometheus.CounterVec // by reason
	dead       *prometheus.CounterVec // by reason
	suppressed prometheus.Counter
	unmarked   prometheus.Counter
	commits    *prometheus.CounterVec // by reason
	commitTime prometheus.Histogram
	files      *prometheus.GaugeVec // by state
	fileErrors prometheus.Counter
	newest     prometheus.Gauge
	captured   *prometheus.CounterVec // by result
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "ebbwatch", Subsystem: "ingest", Name: name, Help: help}, labels)
	}
	single := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "ebbwatch", Subsystem: "ingest", Name: name, Help: help})
	}
	m := &metrics{
		records:    counter("records_total", "Records read: events, ignored and dead ones.", "source"),
		bytes:      counter("bytes_total", "Bytes read: of files of one record a line decompressed, of objects as they are stored.", "source"),
		eventsVec:  counter("events_total", "Events written, without mirror copies.", "kind"),
		ignored:    counter("ignored_total", "Records that are sound but no event.", "reason"),
		dead:       counter("dead_letters_total", "Records that could not be decoded.", "reason"),
		suppressed: single("suppressed_total", "Events that a half-done commit of the embedded broker had published already."),
		unmarked:   single("unmarked_total", "Events of streams beyond the number that marks speak of."),
		commits:    counter("commits_total", "Transactions committed.", "reason"),
		commitTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "ebbwatch", Subsystem: "ingest", Name: "commit_seconds", Help: "Time that a commit took.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		files: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "ebbwatch", Subsystem: "ingest", Name: "files", Help: "Files that are there (known), and open ones among them.",
		}, []string{"state"}),
		fileErrors: single("file_errors_total", "Files that could not be read, by the try."),
		newest: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "ebbwatch", Subsystem: "ingest", Name: "newest_event_timestamp_seconds", Help: "Event time of the newest event.",
		}),
	}
	m.captured = counter("capture_packets_total", "Packets that an interface has shown (received), and those among them that were lost for want of time (dropped).", "result")
	reg.MustRegister(m.captured, m.records, m.bytes, m.eventsVec, m.ignored, m.dead, m.suppressed, m.unmarked, m.commits, m.commitTime, m.files, m.fileErrors, m.newest)
	return m
}

// event counts one event; its kinds are few, and a map look-up each time is
// not.
func (m *metrics) event(k event.Kind) {
	c := m.events[k]
	if c == nil {
		c = m.eventsVec.WithLabelValues(k.String())
		m.events[k] = c
	}
	c.Inc()
}
