package falco_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/falco"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

func decodeLines(in []byte, sink decode.Sink) (n int) {
	d := falco.New()
	for line := range bytes.Lines(in) {
		n++
		d.Line(bytes.TrimSuffix(line, []byte("\n")), event.Origin{Name: "falco.json", Line: event.N(n)}, sink)
	}
	return n
}

func TestGolden(t *testing.T) {
	t.Parallel()
	decodetest.Golden(t, func(t *testing.T, _ string, in []byte, r *decodetest.Recorder) {
		t.Helper()
		if lines := decodeLines(in, r); lines != r.Total() {
			t.Errorf("%d lines gave %d outcomes", lines, r.Total())
		}
	})
}

func TestBoundsOfHostileAlerts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, reason string }{
		"too long":     {`{"rule":"x","time":"2026-01-05T10:00:00Z","output":"` + strings.Repeat("x", 1<<20) + `"}`, decode.ReasonTooLong},
		"too deep":     {`{"rule":"x","time":"2026-01-05T10:00:00Z","output_fields":` + strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5001), decode.ReasonTooDeep},
		"deep and cut": {strings.Repeat("[", 1<<19), decode.ReasonJSON},
	} {
		r := decodetest.New(t)
		falco.New().Decode([]byte(c.in), event.Origin{}, r)
		if r.Deads[c.reason] != 1 || r.Total() != 1 {
			t.Errorf("%s: %s", name, r.Out)
		}
	}
	r := decodetest.New(t)
	r.Each = func(e *event.Event) {
		if len(e.Rule.Tags) != 64 || len(e.Process.Ancestors) != 8 {
			t.Errorf("%d tags, %d ancestors", len(e.Rule.Tags), len(e.Process.Ancestors))
		}
	}
	var names []string
	for i := range 40 {
		names = append(names, fmt.Sprintf(`"proc.aname[%d]":"p%d"`, i, i))
	}
	falco.New().Decode([]byte(`{"rule":"x","time":"2026-01-05T10:00:00Z","tags":["`+strings.Repeat(`t","`, 1000)+`"],"output_fields":{`+strings.Join(names, ",")+`}}`), event.Origin{}, r)
	if r.Events != 1 {
		t.Errorf("%s", r.Out)
	}
}

// The nanoseconds of evt.time do not pass through a float64, whose steps at
// this size are 256 ns: two alerts of one microsecond keep their identities.
func TestTimesAreExact(t *testing.T) {
	t.Parallel()
	var ids []string
	var times []int64
	r := decodetest.New(t)
	r.Each = func(e *event.Event) { ids, times = append(ids, strings.Clone(e.ID)), append(times, e.Time) }
	for _, ns := range []string{"1767607200000000999", "1767607200000001000", "1767607200000001001"} {
		falco.New().Decode([]byte(`{"hostname":"h","rule":"x","time":"2026-01-05T10:00:00Z","output_fields":{"evt.time":`+ns+`}}`), event.Origin{}, r)
	}
	if fmt.Sprint(times) != "[1767607200000000 1767607200000001 1767607200000001]" || ids[0] == ids[1] || ids[1] == ids[2] {
		t.Errorf("times %v, ids %v", times, ids)
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	id := func(doc string) (id string) {
		r := decodetest.New(t)
		r.Each = func(e *event.Event) { id = strings.Clone(e.ID) }
		falco.New().Decode([]byte(doc), event.Origin{}, r)
		return id
	}
	base := `{"hostname":"h","rule":"r","time":"2026-01-05T10:00:00.500000000Z","output_fields":{"a":"<x>","b":null,"proc.aname[2]":"s"}}`
	for _, same := range []string{
		`{"uuid":"1","hostname":"h","rule":"r","time":"2026-01-05T10:00:00.5Z","output_fields":{"a":"\u003cx\u003e","b":null,"proc.aname_2":"s"},"priority":"Debug"}`,
		`{"output_fields":{"proc.aname[2]":"s", "b":null, "a":"<x>"},"rule":"r","hostname":"h","time":"2026-01-05T10:00:00.5Z"}`,
	} {
		if id(same) != id(base) {
			t.Errorf("%s is taken for another alert", same)
		}
	}
	seen := map[string]string{id(base): base}
	for _, change := range [][2]string{{`"h"`, `"i"`}, {`"r"`, `"q"`}, {"5000", "5001"}, {"<x>", "<y>"}, {"null", `"n"`}, {"[2]", "[3]"}, {`"a":"<x>","b":null`, `"b":"<x>","a":null`}} {
		doc := strings.Replace(base, change[0], change[1], 1)
		if other, taken := seen[id(doc)]; taken {
			t.Errorf("%s and %s have one id", doc, other)
		}
		seen[id(doc)] = doc
	}
}

func TestSamples(t *testing.T) {
	t.Parallel()
	in, err := os.ReadFile(decodetest.Sample(t, "falco", "elastic_test-falco_part.log"))
	if err != nil {
		t.Fatal(err)
	}
	r := decodetest.New(t)
	var got []string
	r.Each = func(e *event.Event) {
		got = append(got, strings.Join([]string{
			e.Kind.String(), e.Action, e.Outcome, e.Host.Name, e.Host.ContainerName, e.Host.Pod, e.File.Path, e.Process.Name,
			strings.Join(e.Process.Ancestors, "<"), e.User.Name, e.User.ID, e.Rule.Priority,
		}, "|"))
	}
	decodeLines(in, r)
	const container = "elastic-package-service-falco-event-generator-1"
	want := []string{
		"file|openat||97ade2b595f0|" + container + "||/etc/shadow|event-generator||root|0|warning",
		"process|execve||97ade2b595f0|" + container + "|||login||daemon|2|informational",
		"process|execve||a2000de987ff|" + container + "|||bash|event-generator<containerd-shim<runc<init<init|root|0|notice",
		"file|openat|failure|a2000de987ff|" + container + "|kubernetes-pod-1|/etc/shadow|event-generator|runc<init<init|root|0|warning",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	in, err = os.ReadFile(decodetest.Sample(t, "falco", "falcosidekick_test_input.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	r = decodetest.New(t)
	if lines := decodeLines(in, r); r.Ignores["test_rule"] != lines || lines != 2 {
		t.Errorf("%s", r.Out)
	}
}

func FuzzDecode(f *testing.F) {
	inputs, _ := filepath.Glob("testdata/*/in.ndjson")
	for _, path := range inputs {
		in, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for line := range bytes.Lines(in) {
			f.Add(line)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := decodetest.New(t)
		falco.New().Decode(in, event.Origin{}, r)
		if r.Total() != 1 {
			t.Fatalf("%d outcomes:\n%s", r.Total(), r.Out)
		}
	})
}

type discard struct{ events, dead int }

func (d *discard) Event(*event.Event)                { d.events++ }
func (d *discard) Ignored(string)                    {}
func (d *discard) Dead(string, []byte, event.Origin) { d.dead++ }

func BenchmarkDecode(b *testing.B) {
	var docs [][]byte
	var total int
	inputs, _ := filepath.Glob("testdata/*/in.ndjson")
	for _, path := range inputs {
		if strings.Contains(path, "hostile") {
			continue
		}
		in, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		for line := range bytes.Lines(in) {
			docs = append(docs, line)
			total += len(line)
		}
	}
	d, sink := falco.New(), &discard{}
	b.SetBytes(int64(total / len(docs)))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		d.Decode(docs[i], event.Origin{Name: "falco.json"}, sink)
		if i++; i == len(docs) {
			i = 0
		}
	}
	if sink.dead > 0 {
		b.Fatal("dead alerts")
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
