package stream

import (
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of one engine. Several engines of one process share the collectors;
// the label "service" tells them apart.
type metrics struct {
	records, outputs, deadLetters, replayed, suppressed prometheus.Counter
	commits, aborts, snapshots, snapshotBytes           prometheus.Counter
	commitSeconds, restoreSeconds                       prometheus.Observer
	operator                                            *prometheus.CounterVec
	lag, restoring                                      *prometheus.GaugeVec
	service                                             string
}

func newMetrics(reg prometheus.Registerer, service string) (*metrics, error) {
	var errs []error
	counter := func(name, help string) prometheus.Counter {
		vec, err := register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ebbwatch_stream_" + name, Help: help}, []string{"service"}))
		errs = append(errs, err)
		return vec.WithLabelValues(service)
	}
	histogram := func(name, help string, buckets []float64) prometheus.Observer {
		vec, err := register(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "ebbwatch_stream_" + name, Help: help, Buckets: buckets}, []string{"service"}))
		errs = append(errs, err)
		return vec.WithLabelValues(service)
	}
	m := &metrics{
		service:       service,
		records:       counter("records_total", "Input records applied in committed transactions."),
		outputs:       counter("outputs_total", "Outputs written in committed transactions."),
		deadLetters:   counter("dead_letters_total", "Records that an operator refused."),
		replayed:      counter("replayed_records_total", "Records applied again to rebuild state."),
		suppressed:    counter("suppressed_outputs_total", "Outputs not written again because a half-done commit had published them."),
		commits:       counter("commits_total", "Committed transactions."),
		aborts:        counter("aborts_total", "Aborted transactions that had work."),
		snapshots:     counter("snapshots_total", "Complete snapshots of a partition."),
		snapshotBytes: counter("snapshot_bytes_total", "Bytes written for snapshots, before compression."),
		commitSeconds: histogram("commit_seconds", "Time from the last record of a transaction to its commit.",
			prometheus.ExponentialBuckets(0.001, 2, 14)),
		restoreSeconds: histogram("restore_seconds", "Time to restore the state of a partition.", prometheus.ExponentialBuckets(0.01, 2, 16)),
	}
	var err error
	m.operator, err = register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ebbwatch_operator_total", Help: "What the operators count, by their own names.",
	}, []string{"service", "name", "label"}))
	errs = append(errs, err)
	m.lag, err = register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ebbwatch_stream_lag_records", Help: "Records between the position in an input partition and its end.",
	}, []string{"service", "topic", "partition"}))
	errs = append(errs, err)
	m.restoring, err = register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ebbwatch_stream_restore_progress_ratio",
		Help: "How far the restore of a partition is, by phase: find the snapshot, load it, replay the log behind it. Absent when nothing is restored.",
	}, []string{"service", "topic", "partition", "phase"}))
	errs = append(errs, err)
	return m, errors.Join(errs...)
}

// register registers a collector, or takes the one that another engine of
// this process has registered.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	if reg == nil {
		return c, nil
	}
	err := reg.Register(c)
	if are, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, ok := are.ExistingCollector.(C); ok {
			return existing, nil
		}
	}
	return c, err
}

func (m *metrics) setLag(t tp, n int64) {
	m.lag.WithLabelValues(m.service, t.topic, strconv.Itoa(int(t.partition))).Set(float64(max(n, 0)))
}

// forget drops the series of a partition that is no longer ours.
func (m *metrics) forget(t tp) {
	m.lag.DeleteLabelValues(m.service, t.topic, strconv.Itoa(int(t.partition)))
	m.restoreEnded(t)
}

// restoreEnded drops the progress of a partition's restore.
func (m *metrics) restoreEnded(t tp) {
	m.restoring.DeletePartialMatch(prometheus.Labels{"service": m.service, "topic": t.topic, "partition": strconv.Itoa(int(t.partition))})
}
