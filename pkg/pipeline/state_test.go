package pipeline_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/google/go-cmp/cmp"
)

var (
	updateFlag   = flag.Bool("update", false, "write what the operators say after the golden states (never the states)")
	snapshotFlag = flag.String("snapshot", "", "add golden states of this name, of the present release")
)

// golden is what a release wrote: the states of its operators half-way through
// a log, and the records that follow.
type golden struct {
	// Topic names the operator, Site is its epoch.
	Topic   string   `json:"topic"`
	Site    []byte   `json:"site"`
	Buckets [][]byte `json:"buckets"`
	Shared  []byte   `json:"shared"`
	// After follows in the log from offset From on.
	From  int64   `json:"from"`
	After []entry `json:"after"`
}

// TestGoldenStates: the states that a release wrote are read by every later
// one, which goes on over a fixed log and says what is written beside them
// (testdata/state/README.md).
func TestGoldenStates(t *testing.T) {
	t.Parallel()
	if *snapshotFlag != "" {
		addGolden(t, filepath.Join("testdata", "state", *snapshotFlag))
	}
	files, err := filepath.Glob(filepath.Join("testdata", "state", "*", "*.json.gz"))
	if err != nil || len(files) < 4 {
		t.Fatalf("golden states are missing: %v", err)
	}
	for _, name := range files {
		t.Run(filepath.ToSlash(name), func(t *testing.T) {
			t.Parallel()
			var g golden
			if err := json.Unmarshal(unzip(t, name), &g); err != nil {
				t.Fatal(err)
			}
			op := newOperator(t, g.Topic)
			if err := op.Epoch("site", g.Site); err != nil {
				t.Fatal(err)
			}
			for b, data := range g.Buckets {
				if err := op.LoadBucket(b, data); err != nil {
					t.Fatal(err)
				}
			}
			if err := op.LoadShared(g.Shared); err != nil {
				t.Fatal(err)
			}
			report := op.(operator.Reporter).Report()
			out := &outputs{tb: t}
			for i := range g.After {
				e := &g.After[i]
				rec := operator.Record{Topic: g.Topic, Offset: g.From + int64(i), Time: e.Time, Kind: e.Kind, Key: []byte(e.Key), Value: e.Value}
				if err := op.Apply(&rec, out); err != nil {
					t.Fatal(err)
				}
			}
			got := fmt.Appendf(nil, "%d keys, %d events again\n", report.Keys, out.repeated)
			for _, p := range report.Parts {
				got = fmt.Appendf(got, "%s: %d keys\n", p.Name, p.Keys)
			}
			for _, o := range out.out {
				got = fmt.Appendf(got, "%s %s %s\n", o.Topic, o.Kind, o.Value)
			}
			want := strings.TrimSuffix(name, ".json.gz") + ".want.gz"
			if *updateFlag || *snapshotFlag != "" {
				zip(t, want, got)
			}
			if d := cmp.Diff(string(unzip(t, want)), string(got)); d != "" {
				t.Error(d)
			}
		})
	}
}

// addGolden runs the story half-way and keeps the states of all operators with
// what follows. What is there is never written again.
func addGolden(tb testing.TB, dir string) {
	tb.Helper()
	if err := os.Mkdir(dir, 0o750); err != nil {
		tb.Fatal(err)
	}
	halves := map[string][2][]entry{}
	signals := newPartitioned(tb, signalsTopic, 1)
	sets := map[string]*partitioned{}
	for _, topic := range planes() {
		sets[topic] = newPartitioned(tb, topic, 1)
	}
	split := func(e entry) {
		h := halves[e.Topic]
		half := 0
		if e.Time >= storyBegin+storyLasts/2 {
			half = 1
		}
		h[half] = append(h[half], e)
		halves[e.Topic] = h
	}
	states := map[string]golden{}
	for _, e := range story(tb) {
		if e.Time >= storyBegin+storyLasts/2 && len(states) == 0 {
			for topic, p := range sets {
				states[topic] = stateOf(tb, p)
			}
			states[signalsTopic] = stateOf(tb, signals)
		}
		split(e)
		out := &outputs{tb: tb}
		sets[e.Topic].apply(&e, out)
		for _, o := range out.out {
			s := entry{Topic: signalsTopic, Kind: o.Kind, Key: string(o.Key), Time: e.Time, Value: o.Value}
			split(s)
			signals.apply(&s, &outputs{tb: tb})
		}
	}
	// An analyst's answer, which an incident and a baseline remember.
	verdict := signal.Verdict{AlertID: "unknown", Verdict: "benign", By: "kim", Why: "a test", Time: storyBegin + storyLasts}
	value, err := verdict.Append(nil)
	if err != nil {
		tb.Fatal(err)
	}
	split(entry{Topic: signalsTopic, Kind: signal.KindVerdict, Key: "default", Time: verdict.Time, Value: value})
	for topic, g := range states {
		g.After = halves[topic][1]
		data, err := json.Marshal(g)
		if err != nil {
			tb.Fatal(err)
		}
		zip(tb, filepath.Join(dir, strings.TrimSuffix(strings.TrimPrefix(topic, "ebb."), ".v1")+".json.gz"), data)
	}
}

// stateOf is the state of a topic with one partition.
func stateOf(tb testing.TB, p *partitioned) golden {
	tb.Helper()
	g := golden{Topic: p.topic, Site: storySite(tb), From: p.offsets[0]}
	for b := range p.ops[0].Buckets() {
		g.Buckets = append(g.Buckets, slices.Clone(p.ops[0].AppendBucket(nil, b)))
	}
	g.Shared = p.ops[0].AppendShared(nil)
	return g
}

func zip(tb testing.TB, name string, data []byte) {
	tb.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = z.Write(data)
	}
	if err == nil {
		err = z.Close()
	}
	if err == nil {
		err = os.WriteFile(name, b.Bytes(), 0o600)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

func unzip(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err == nil {
		data, err = io.ReadAll(z)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return data
}
