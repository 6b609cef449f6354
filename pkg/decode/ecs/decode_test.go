package ecs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/ecs"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

func feed(d *ecs.Decoder, in []byte, r decode.Sink) (n int) {
	for line := range bytes.Lines(in) {
		n++
		d.Line(bytes.TrimSuffix(line, []byte{'\n'}), event.Origin{Line: event.N(n)}, r)
	}
	return n
}

func TestGolden(t *testing.T) {
	t.Parallel()
	decodetest.Golden(t, func(t *testing.T, _ string, in []byte, r *decodetest.Recorder) {
		t.Helper()
		if n := feed(ecs.New(), in, r); r.Total() != n {
			t.Errorf("%d outcomes of %d lines", r.Total(), n)
		}
	})
}

// Nested, dotted and mixed spellings are one document.
func TestSpellings(t *testing.T) {
	t.Parallel()
	r := decodetest.New(t)
	for _, doc := range []string{
		`{"@timestamp":"2026-01-05T10:00:09Z","event":{"module":"x"},"source":{"ip":"10.0.0.5","bytes":7},"destination":{"ip":"10.0.0.6","bytes":8},"network":{"transport":"tcp"}}`,
		`{"@timestamp":"2026-01-05T10:00:09Z","event.module":"x","source.ip":"10.0.0.5","source.bytes":7,"destination.ip":"10.0.0.6","destination.bytes":8,"network.transport":"tcp"}`,
		`{"source":{"ip":["10.0.0.5"]},"source.bytes":"7","destination":{"bytes":8},"destination.ip":"10.0.0.6","network":{"iana_number":"6"},"event":{"module":["x"]},"@timestamp":["2026-01-05T10:00:09Z"]}`,
	} {
		ecs.New().Line([]byte(doc), event.Origin{}, r)
	}
	lines := bytes.Split(bytes.TrimSpace(r.Out), []byte{'\n'})
	if len(lines) != 3 || !bytes.Equal(lines[0], lines[1]) || !bytes.Equal(lines[0], lines[2]) || r.Events != 3 {
		t.Errorf("got\n%s", r.Out)
	}
}

func FuzzLine(f *testing.F) {
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
		ecs.New().Line(line, event.Origin{}, r)
		if r.Total() != 1 {
			t.Errorf("%d outcomes", r.Total())
		}
	})
}

type drop struct{ n int }

func (s *drop) Event(*event.Event)              { s.n++ }
func (*drop) Ignored(string)                    {}
func (*drop) Dead(string, []byte, event.Origin) {}

func BenchmarkLine(b *testing.B) {
	data, err := os.ReadFile("testdata/suricata/in.ndjson")
	if err != nil {
		b.Fatal(err)
	}
	line, _, _ := bytes.Cut(data, []byte{'\n'})
	d, s := ecs.New(), &drop{}
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		d.Line(line, event.Origin{}, s)
	}
	if s.n == 0 {
		b.Fatal("no event")
	}
}

// A line costs the walks over its objects and arrays, no more.
func TestAllocations(t *testing.T) {
	data, err := os.ReadFile("testdata/suricata/in.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := bytes.Cut(data, []byte{'\n'})
	d, s := ecs.New(), &drop{}
	if n := testing.AllocsPerRun(200, func() { d.Line(line, event.Origin{}, s) }); n > 8 {
		t.Errorf("%v allocations a line", n)
	}
}
