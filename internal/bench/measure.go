package bench

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

// Measure is what one phase cost.
type Measure struct {
	RecordsPerS   float64 `json:"records_per_s"`
	CPUPerMillion float64 `json:"cpu_s_per_million"`
	RSSMiB        float64 `json:"rss_mib"` // the peak of the whole phase
	Records       int64   `json:"records"`
	Seconds       float64 `json:"seconds"`
	CPUSeconds    float64 `json:"cpu_s"`
	Snapshots     int64   `json:"snapshots,omitempty"`      // of partitions, complete while it was measured
	SnapshotBytes int64   `json:"snapshot_bytes,omitempty"` // written for them
	Signals       int64   `json:"signals,omitempty"`
	// Memory is what each part of detection holds at the end, by its own
	// reckoning: without what the garbage collector needs on top.
	Memory []Memory `json:"memory,omitempty"`
}

// Memory is what a detector, or a part of detection, holds.
type Memory struct {
	Detector string `json:"detector"`
	Keys     int    `json:"keys"`
	Bytes    int64  `json:"bytes"`
}

// sample is a moment at which records were done.
type sample struct {
	at      time.Time
	cpu     time.Duration
	records int64
	counts  counts
}

// counts are what the engine counts beside records.
type counts struct{ snapshots, snapshotBytes, outputs float64 }

// meter watches a count of records and keeps the first moment at which it was
// at least begin, and the last one before its end.
type meter struct {
	begin, end  int64
	before      sample // the last one before begin
	first, last sample
	final       sample
	changes     int
	out         *teller
	told        time.Time
}

// watch lets the meter say how far it is.
func (m *meter) watch(out *teller) {
	m.out = out
	m.before = sample{at: time.Now(), cpu: cpuTime()}
}

// see takes the count. It is true once the end has come.
func (m *meter) see(records int64, c counts) bool {
	if m.out != nil && time.Since(m.told) > 200*time.Millisecond {
		m.told = time.Now()
		m.out.tell(news{Progress: float64(records) / float64(max(m.end, 1))})
	}
	if records == m.final.records && !m.first.at.IsZero() {
		return records >= m.end
	}
	s := sample{at: time.Now(), cpu: cpuTime(), records: records, counts: c}
	if records < m.begin {
		if records != m.before.records {
			m.before = s
		}
		return false
	}
	if m.first.at.IsZero() {
		m.first = s
	}
	// The last step of an engine waits for its commit interval while nothing
	// comes any more: it is left out where there are enough others.
	m.last, m.final = m.final, s
	m.changes++
	if m.changes < 8 || m.last.at.IsZero() {
		m.last = s
	}
	return records >= m.end
}

func (m *meter) measure() Measure {
	if m.first.records == m.last.records && !m.before.at.IsZero() {
		m.first = m.before // so few that one step did them all
	}
	n := m.last.records - m.first.records
	d := m.last.at.Sub(m.first.at).Seconds()
	cpu := (m.last.cpu - m.first.cpu).Seconds()
	out := Measure{
		Records: n, Seconds: d, CPUSeconds: cpu, RSSMiB: peakRSS(),
		Snapshots: int64(m.last.counts.snapshots - m.first.counts.snapshots), SnapshotBytes: int64(m.last.counts.snapshotBytes - m.first.counts.snapshotBytes),
		Signals: int64(m.last.counts.outputs - m.first.counts.outputs),
	}
	if n > 0 && d > 0 {
		out.RecordsPerS, out.CPUPerMillion = float64(n)/d, cpu/float64(n)*1e6
	}
	return out
}

// cpuTime is the user and system time of this process.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peakRSS is the most memory that this process had, in MiB.
func peakRSS() float64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		var u syscall.Rusage
		if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
			return 0
		}
		return float64(u.Maxrss) / 1024
	}
	_, rest, found := bytes.Cut(data, []byte("VmHWM:"))
	if !found {
		return 0
	}
	fields := bytes.Fields(rest)
	kib, err := strconv.ParseFloat(string(fields[0]), 64)
	if err != nil {
		return 0
	}
	return kib / 1024
}
