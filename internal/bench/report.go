package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Report is what a run has measured. The fields of the first load stand at the
// top as well.
type Report struct {
	*LoadReport
	Broker     string `json:"broker"`
	Embedded   bool   `json:"embedded"`
	Cores      int    `json:"cores"`
	Go         string `json:"go"`
	Partitions int    `json:"partitions"`
	// CommitS and SnapshotS are the intervals of the engine, in seconds.
	CommitS   float64        `json:"commit_interval_s"`
	SnapshotS float64        `json:"snapshot_cycle_s"`
	Loads     []*LoadReport  `json:"loads"`
	Latency   *LatencyReport `json:"latency,omitempty"`
}

// LoadReport is what was measured with one number of sources.
type LoadReport struct {
	Sources     int     `json:"sources"`
	Active      int     `json:"active"` // of which so many talk while it is measured
	RecordBytes float64 `json:"record_bytes"`

	Raw      *Measure `json:"raw"`
	Decode   *Measure `json:"decode"`
	Volatile *Measure `json:"detect_volatile"`
	Detect   *Measure `json:"detect"`

	// Ratio is detect to decode in records per second, RatioCPU the same by
	// CPU seconds; Durable is detect to detect_volatile.
	Ratio      float64 `json:"ratio"`
	RatioCPU   float64 `json:"ratio_cpu"`
	Durable    float64 `json:"durable"`
	DurableCPU float64 `json:"durable_cpu"`

	// Memory is what each part of detection held at the end of detect_volatile.
	Memory   []Memory  `json:"memory,omitempty"`
	Recovery *Recovery `json:"recovery,omitempty"`
}

func (l *LoadReport) compare() {
	quotient := func(a, b float64) float64 {
		if b == 0 {
			return 0
		}
		return a / b
	}
	l.Ratio = quotient(l.Detect.RecordsPerS, l.Decode.RecordsPerS)
	l.RatioCPU = quotient(l.Decode.CPUPerMillion, l.Detect.CPUPerMillion)
	l.Durable = quotient(l.Detect.RecordsPerS, l.Volatile.RecordsPerS)
	l.DurableCPU = quotient(l.Volatile.CPUPerMillion, l.Detect.CPUPerMillion)
}

// LatencyReport is how long records took to become alerts.
type LatencyReport struct {
	RecordsPerS int   `json:"records_per_s"`
	Records     int64 `json:"records"`
	// ProducerBehindS is how far the producer fell behind its rate: more than
	// a second or two, and this machine does not carry it.
	ProducerBehindS float64 `json:"producer_behind_s"`
	Detectors       int     `json:"detectors"`
	// RestartS is how long the killed instance was away.
	RestartS float64      `json:"restart_s"`
	Steady   Distribution `json:"steady"`
	Killed   Distribution `json:"killed"`
}

// Distribution of times from a record to its alert, in seconds.
type Distribution struct {
	Alerts    int      `json:"alerts"`
	Missing   int      `json:"missing"` // that never came
	P50       float64  `json:"p50"`
	P95       float64  `json:"p95"`
	P99       float64  `json:"p99"`
	Max       float64  `json:"max"`
	Histogram []Bucket `json:"histogram"` // cumulative
}

// Bucket counts the alerts that took at most UpTo seconds.
type Bucket struct {
	UpTo   float64 `json:"up_to"`
	Alerts int     `json:"alerts"`
}

// WriteJSON writes the report as one JSON document.
func (r *Report) WriteJSON(w io.Writer) error {
	if len(r.Loads) > 0 {
		r.LoadReport = r.Loads[0]
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// WriteText writes the report for a person.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	where := "Kafka at " + r.Broker + ", a process of its own"
	if r.Embedded {
		where = "embedded, in the measuring process: it shares the cores, and with exactly-once it works more than for plain reads"
	}
	fmt.Fprintf(&b, "broker    %s\ncores     %d, %s\nengine    %d partitions, commit every %g s, snapshot every %g s\n", where, r.Cores, r.Go, r.Partitions, r.CommitS, r.SnapshotS)
	for _, l := range r.Loads {
		l.text(&b)
	}
	if l := r.Latency; l != nil {
		fmt.Fprintf(&b, "\nrecord to alert, %s records/s, %d instances of detect, one of correlate\n", grouped(float64(l.RecordsPerS)), l.Detectors)
		fmt.Fprintf(&b, "  %-34s %8s %8s %8s %8s %8s %8s\n", "", "alerts", "missing", "p50 s", "p95 s", "p99 s", "max s")
		for _, d := range []struct {
			name string
			*Distribution
		}{{"all instances run", &l.Steady}, {fmt.Sprintf("one killed, back after %g s", l.RestartS), &l.Killed}} {
			fmt.Fprintf(&b, "  %-34s %8d %8d %8.2f %8.2f %8.2f %8.2f\n", d.name, d.Alerts, d.Missing, d.P50, d.P95, d.P99, d.Max)
		}
		fmt.Fprintf(&b, "\n  %-12s %12s %12s\n", "within", "all run", "one killed")
		for i, h := range l.Steady.Histogram {
			killed := 0
			if i < len(l.Killed.Histogram) {
				killed = l.Killed.Histogram[i].Alerts
			}
			fmt.Fprintf(&b, "  %-12s %11.1f%% %11.1f%%\n", strconv.FormatFloat(h.UpTo, 'g', -1, 64)+" s", percent(h.Alerts, l.Steady.Alerts), percent(killed, l.Killed.Alerts))
		}
		if l.ProducerBehindS > 2 {
			fmt.Fprintf(&b, "  the producer fell %.1f s behind: this machine does not carry the rate beside the rest\n", l.ProducerBehindS)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (l *LoadReport) text(b *strings.Builder) {
	fmt.Fprintf(b, "\n%s sources, %s of them active, %.0f bytes a record\n", grouped(float64(l.Sources)), grouped(float64(l.Active)), l.RecordBytes)
	fmt.Fprintf(b, "  %-34s %12s %14s %10s\n", "", "records/s", "CPU s/million", "RSS MiB")
	for _, m := range []struct {
		name string
		*Measure
	}{{"raw consume", l.Raw}, {"consume + plain decode", l.Decode}, {"detection, nothing durable", l.Volatile}, {"detection, exactly once", l.Detect}} {
		if m.Measure == nil {
			continue
		}
		fmt.Fprintf(b, "  %-34s %12s %14.2f %10.0f\n", m.name, grouped(m.RecordsPerS), m.CPUPerMillion, m.RSSMiB)
	}
	if len(l.Memory) > 0 {
		fmt.Fprintf(b, "\n  %-34s %12s %14s %10s\n", "what it holds", "keys", "bytes a key", "MiB")
		for _, m := range l.Memory {
			fmt.Fprintf(b, "  %-34s %12s %14s %10.1f\n", m.Detector, grouped(float64(m.Keys)), grouped(float64(m.Bytes)/float64(max(m.Keys, 1))), float64(m.Bytes)/(1<<20))
		}
		b.WriteByte('\n')
	}
	if l.Detect == nil || l.Recovery == nil {
		return
	}
	fmt.Fprintf(b, "  detection to plain decode          %.2f by records/s, %.2f by CPU\n", l.Ratio, l.RatioCPU)
	fmt.Fprintf(b, "  exactly once to nothing durable    %.0f %% by records/s, %.0f %% by CPU (%d snapshots of partitions, %s MiB, in %.1f s)\n", 100*l.Durable, 100*l.DurableCPU, l.Detect.Snapshots, grouped(float64(l.Detect.SnapshotBytes)/(1<<20)), l.Detect.Seconds)
	r := l.Recovery
	fmt.Fprintf(b, "  recovery after kill -9             %.1f s to ready: %s sources, %s records replayed, %.1f CPU s, %.0f MiB\n", r.Seconds, grouped(float64(r.Keys)), grouped(float64(r.Replayed)), r.CPU, r.RSSMiB)
}

func percent(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return 100 * float64(n) / float64(of)
}

// grouped writes a number with thin separators.
func grouped(x float64) string {
	text := strconv.FormatInt(int64(x+0.5), 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + " " + text[i:]
	}
	return text
}
