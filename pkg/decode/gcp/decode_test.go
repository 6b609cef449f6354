package gcp_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/gcp"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

func feed(d *gcp.Decoder, in []byte, r decode.Sink) (n int) {
	for line := range bytes.Lines(in) {
		n++
		d.Line(bytes.TrimSuffix(line, []byte{'\n'}), event.Origin{Name: "f", Line: event.N(n)}, r)
	}
	return n
}

func TestGolden(t *testing.T) {
	t.Parallel()
	decodetest.Golden(t, func(t *testing.T, name string, in []byte, r *decodetest.Recorder) {
		t.Helper()
		n := feed(gcp.New(), in, r)
		if r.Total() < n || (name == "flows" || name == "audit") && r.Total() != n {
			t.Errorf("%d outcomes of %d lines", r.Total(), n)
		}
	})
}

// One flow that two log names carry is one flow: the records have one ID.
func TestSameFlowHasOneID(t *testing.T) {
	t.Parallel()
	in, err := os.ReadFile("testdata/flows/in.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	r := decodetest.New(t)
	var ids []string
	r.Each = func(e *event.Event) { ids = append(ids, strings.Clone(e.ID)) }
	feed(gcp.New(), in, r)
	if len(ids) < 3 || ids[0] != ids[1] || ids[0] == ids[2] {
		t.Errorf("IDs %v: the first two are one flow, the third another", ids)
	}
}

// A document with more records than are read says so once, and reads the rest not.
func TestTooManyRecords(t *testing.T) {
	t.Parallel()
	const n = 100_010
	doc := []byte("[" + strings.Repeat(`{"logName":"x"},`, n-1) + `{"logName":"x"}]`)
	r := decodetest.New(t)
	r.Quiet = true
	gcp.New().Decode(doc, event.Origin{}, r)
	if r.Skipped != 100_000 || r.Deads[decode.ReasonTooMany] != 1 || r.Total() != 100_001 {
		t.Errorf("ignored %d, dead %v", r.Skipped, r.Deads)
	}
}

func TestTooLong(t *testing.T) {
	t.Parallel()
	r := decodetest.New(t)
	r.Quiet = true
	gcp.New().Decode(bytes.Repeat([]byte("x"), 16<<20+1), event.Origin{}, r)
	if r.Deads[decode.ReasonTooLong] != 1 || r.Total() != 1 {
		t.Errorf("dead %v", r.Deads)
	}
}

// TestSamples decodes the public samples: every record is accounted for, and the
// kinds are what the records say.
func TestSamples(t *testing.T) {
	t.Parallel()
	dir := decodetest.Sample(t, "gcp")
	files, err := filepath.Glob(filepath.Join(dir, "security_analytics", "*.json"))
	if err != nil || len(files) < 10 {
		t.Fatalf("samples: %v %v", files, err)
	}
	more, _ := filepath.Glob(filepath.Join(dir, "*.json"))
	scc, _ := filepath.Glob(filepath.Join(decodetest.Sample(t, "scc"), "*.json"))
	kinds := map[event.Kind]int{}
	r := decodetest.New(t)
	r.Quiet = true
	r.Each = func(e *event.Event) { kinds[e.Kind]++ }
	d := gcp.New()
	for _, name := range append(append(files, more...), scc...) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		before := r.Total()
		d.Decode(data, event.Origin{Name: name}, r)
		if r.Total() == before {
			t.Errorf("%s: no outcome", filepath.Base(name))
		}
	}
	rules, err := os.ReadFile(filepath.Join(dir, "panther_gcp_audit_rules_handover.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(rules) {
		var test struct{ Event json.RawMessage }
		if err := json.Unmarshal(line, &test); err != nil {
			t.Fatal(err)
		}
		d.Decode(test.Event, event.Origin{}, r)
	}
	t.Logf("events %d %v, ignored %v, dead %v", r.Events, kinds, r.Ignores, r.Deads)
	// The dead ones are rule tests and findings without a time, or without a name.
	if kinds[event.KindFlow] != 3 || kinds[event.KindShare] < 15 || kinds[event.KindFinding] < 19 || r.Events < 94 {
		t.Errorf("kinds %v, %d outcomes", kinds, r.Total())
	}
	for reason := range r.Deads {
		if reason != decode.ReasonMissing && reason != decode.ReasonUnknownFormat {
			t.Errorf("dead by %s: %d", reason, r.Deads[reason])
		}
	}
}

func FuzzDecode(f *testing.F) {
	seeds, _ := filepath.Glob("testdata/*/in.ndjson")
	for _, name := range seeds {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			f.Add(line)
		}
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r := decodetest.New(t)
		r.Quiet = true
		d := gcp.New()
		d.Line(line, event.Origin{}, r)
		if r.Total() == 0 {
			t.Error("no outcome")
		}
	})
}

func BenchmarkFlow(b *testing.B) {
	data, err := os.ReadFile("testdata/flows/in.ndjson")
	if err != nil {
		b.Fatal(err)
	}
	line, _, _ := bytes.Cut(data, []byte{'\n'})
	d, s := gcp.New(), &drop{}
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		d.Line(line, event.Origin{}, s)
	}
	if s.n == 0 {
		b.Fatal("no event")
	}
}

type drop struct{ n int }

func (s *drop) Event(*event.Event)              { s.n++ }
func (*drop) Ignored(string)                    {}
func (*drop) Dead(string, []byte, event.Origin) {}
