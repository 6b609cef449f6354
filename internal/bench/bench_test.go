package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
)

// childEnv makes this test binary a phase, as the hidden command of ebbwatch
// is one.
const childEnv = "EBB_BENCH_PHASE"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		if err := Child(context.Background(), os.Stdin, os.Stdout, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func small(t *testing.T) Config {
	t.Helper()
	t.Setenv(childEnv, "1")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Self: []string{self}, Sources: []int{300}, Active: 100, Records: 20_000, Partitions: 2, Commit: time.Second, Snapshot: 2 * time.Second,
		EventRate: 500, LatencyRate: 500,
	}
}

// A whole run on the embedded broker: every phase has a result that fits the
// others. It is not parallel: it sets the environment of its processes.
func TestRunMeasuresEveryPhase(t *testing.T) {
	var said []string
	cfg := small(t)
	cfg.Progress = func(what string, done float64) {
		if len(said) == 0 || said[len(said)-1] != what {
			said = append(said, what)
		}
		if done < 0 {
			t.Errorf("%s: %v done", what, done)
		}
	}
	report, err := Run(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l := report.Loads[0]
	for name, m := range map[string]*Measure{"raw": l.Raw, "decode": l.Decode, "detect_volatile": l.Volatile, "detect": l.Detect} {
		if m == nil || m.RecordsPerS <= 0 || m.CPUPerMillion <= 0 || m.RSSMiB <= 0 || m.Records <= 0 || m.Records > 25_000 {
			t.Errorf("%s: %+v", name, m)
		}
	}
	if l.Ratio <= 0 || l.Durable <= 0 || l.RatioCPU <= 0 {
		t.Errorf("ratios %v %v %v", l.Ratio, l.RatioCPU, l.Durable)
	}
	if i := slices.IndexFunc(l.Memory, func(m Memory) bool { return m.Detector == detect.UsageKeys }); i < 1 || l.Memory[i].Keys != 300 {
		t.Errorf("memory: %+v, want that of detectors and of 300 keys", l.Memory)
	}
	if r := l.Recovery; r == nil || r.Keys != 300 || r.Seconds <= 0 {
		t.Errorf("recovery: %+v, want all 300 sources", r)
	}
	for _, want := range []string{"300 sources: records to measure", "300 sources: raw", "300 sources: detect"} {
		if !strings.Contains(strings.Join(said, "\n"), want) {
			t.Errorf("progress never said %q: %q", want, said)
		}
	}

	var text, doc bytes.Buffer
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"embedded, in the measuring process", "300 sources, 100 of them active", "detection, exactly once", "upload-ratio", "recovery after kill -9"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, text.String())
		}
	}
	if err := report.WriteJSON(&doc); err != nil {
		t.Fatal(err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(doc.Bytes(), &fields); err != nil {
		t.Fatal(err)
	}
	for _, phase := range []string{"raw", "decode", "detect_volatile", "detect"} {
		var m map[string]float64
		if err := json.Unmarshal(fields[phase], &m); err != nil || m["records_per_s"] <= 0 || m["cpu_s_per_million"] <= 0 || m["rss_mib"] <= 0 {
			t.Errorf("%s: %v: %s", phase, err, fields[phase])
		}
	}
	if _, ok := fields["ratio"]; !ok {
		t.Errorf("no ratio in %s", doc.String())
	}
}

// The chain: every probe becomes an alert, also of those that were under way
// when an instance was killed.
func TestChainLosesNothingWhenAnInstanceIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the time of the chain")
	}
	cfg := small(t)
	cfg.Sources, cfg.Latency = nil, 4*time.Second
	report, err := Run(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l := report.Latency
	for name, d := range map[string]Distribution{"steady": l.Steady, "killed": l.Killed} {
		if d.Alerts == 0 || d.Missing != 0 || d.P50 <= 0 || d.P95 < d.P50 || d.Max < d.P99 || len(d.Histogram) != len(bounds) {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	c := Config{Sources: []int{0}, Records: 1, Active: 0, Partitions: 0}
	err := c.Validate()
	for _, want := range []string{"sources 0", "records 1", "active", "partitions 0"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
}

// The load is what it says: the same again, of the right size and sources, in
// the canonical form, and its probes are alerts by themselves.
func TestLoad(t *testing.T) {
	t.Parallel()
	const start = 1_795_430_156_381_689
	a, b := newLoad(500, 50, 1000, start), newLoad(500, 50, 1000, start)
	seen, active := map[string]bool{}, map[string]bool{}
	for i := range a.setupRecords() {
		key, value := a.setup(i)
		seen[string(key)] = true
		if _, same := b.setup(i); !bytes.Equal(value, same) {
			t.Fatalf("record %d of the setup differs: %s and %s", i, value, same)
		}
	}
	bytesOf := 0
	for i := range int64(4000) {
		key, value := a.record(i)
		active[string(key)] = true
		bytesOf += len(value)
		var e event.Event
		if err := event.Decode(value, &e); err != nil {
			t.Fatal(err)
		}
		if again, err := e.Append(nil); err != nil || !bytes.Equal(again, value) {
			t.Fatalf("not canonical: %v %s", err, value)
		}
	}
	if len(seen) != 500 || len(active) != 50 {
		t.Errorf("%d sources, %d active; want 500 and 50", len(seen), len(active))
	}
	for k := range active {
		if !seen[k] {
			t.Errorf("active source %s is not among those of the setup", k)
		}
	}
	if mean := bytesOf / 4000; mean < 300 || mean > 700 {
		t.Errorf("%d bytes a record", mean)
	}

	alerts := 0
	chain, err := pipeline.New(pipeline.Config{}, func(pipeline.Alert) { alerts++ })
	if err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		before := alerts
		key, value := a.probe(n, start+int64(n))
		if err := chain.Record(pipeline.Encoded{Topic: pipeline.TopicNetwork, Kind: event.KindConn, Observer: a.ev.Observer, Available: start, Key: key, Value: value}); err != nil {
			t.Fatal(err)
		}
		if alerts == before {
			t.Fatalf("probe %d is no alert", n)
		}
	}
}

func TestMeterLeavesOutTheSetupAndTheLastWait(t *testing.T) {
	t.Parallel()
	m := &meter{begin: 100, end: 1000}
	for _, n := range []int64{0, 50, 99} {
		if m.see(n, counts{}) {
			t.Fatal("done before its end")
		}
	}
	for n := int64(100); n < 1000; n += 100 {
		m.see(n, counts{})
	}
	if !m.see(1000, counts{}) {
		t.Fatal("not done at its end")
	}
	if m.first.records != 100 || m.last.records != 900 || m.final.records != 1000 {
		t.Errorf("measured from %d to %d of %d", m.first.records, m.last.records, m.final.records)
	}
}
