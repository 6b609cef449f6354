// Package decodetest holds what the tests of decoders share: a sink that
// writes down what it is given and checks that events are encodable, golden
// files, and the way to the sample data beside the repository.
package decodetest

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Recorder is a sink that keeps one line for each outcome: the event in its
// JSON form, {"ignored":REASON}, or {"dead":REASON,…} with origin and raw text.
type Recorder struct {
	TB testing.TB
	// Out are the lines, each with its line break.
	Out []byte
	// Events, Skipped and Lost count the outcomes; Ignores and Deads count
	// them by reason.
	Events, Skipped, Lost int
	Ignores, Deads        map[string]int
	// Each is called for every event, where it is set.
	Each func(e *event.Event)
	// Quiet leaves Out empty.
	Quiet bool
}

// New returns an empty recorder.
func New(tb testing.TB) *Recorder {
	tb.Helper()
	return &Recorder{TB: tb, Ignores: map[string]int{}, Deads: map[string]int{}}
}

// Total is the number of outcomes.
func (r *Recorder) Total() int { return r.Events + r.Skipped + r.Lost }

// Event implements decode.Sink. It fails the test when the event does not
// survive its own encoding or has a value outside of a field's list.
func (r *Recorder) Event(e *event.Event) {
	r.Events++
	line, err := e.Append(nil)
	if err != nil {
		r.TB.Errorf("encode: %v", err)
		return
	}
	var back event.Event
	if err := event.Decode(line, &back); err != nil {
		r.TB.Errorf("decode %s: %v", line, err)
	} else if again, _ := back.Append(nil); !bytes.Equal(line, again) {
		r.TB.Errorf("not stable:\n%s\n%s", line, again)
	}
	if e.Observer.Type == "" {
		r.TB.Errorf("no observer type: %s", line)
	}
	if r.Each != nil {
		r.Each(e)
	}
	r.write(line)
}

// Ignored implements decode.Sink.
func (r *Recorder) Ignored(reason string) {
	r.Skipped++
	r.Ignores[reason]++
	r.write(append(event.AppendString([]byte(`{"ignored":`), reason), '}'))
}

// Dead implements decode.Sink.
func (r *Recorder) Dead(reason string, raw []byte, at event.Origin) {
	r.Lost++
	r.Deads[reason]++
	line := event.AppendString([]byte(`{"dead":`), reason)
	if n, known := at.Line.Get(); known {
		line = strconv.AppendUint(append(line, `,"line":`...), n, 10)
	}
	if n, known := at.Offset.Get(); known {
		line = strconv.AppendUint(append(line, `,"offset":`...), n, 10)
	}
	line = append(line, `,"bytes":`...)
	line = strconv.AppendInt(line, int64(len(raw)), 10)
	line = event.AppendString(append(line, `,"raw":`...), string(raw[:min(len(raw), 120)]))
	r.write(append(line, '}'))
}

func (r *Recorder) write(line []byte) {
	if !r.Quiet {
		r.Out = append(append(r.Out, line...), '\n')
	}
}

// Golden runs decode on every testdata/CASE/in* and compares what it records
// with testdata/CASE/want.ndjson; -update writes that file.
func Golden(t *testing.T, run func(t *testing.T, name string, in []byte, r *Recorder)) {
	t.Helper()
	inputs, err := filepath.Glob("testdata/*/in*")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no golden inputs: %v", err)
	}
	for _, path := range inputs {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			t.Parallel()
			in, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			r := New(t)
			run(t, filepath.Base(filepath.Dir(path)), in, r)
			wantPath := filepath.Join(filepath.Dir(path), "want.ndjson")
			if *update {
				if err := os.WriteFile(wantPath, r.Out, 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(wantPath)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(lines(want), lines(r.Out)); d != "" {
				t.Errorf("differs from %s (-want +got):\n%s", wantPath, d)
			}
		})
	}
}

func lines(b []byte) (out []string) {
	for l := range bytes.Lines(b) {
		out = append(out, string(bytes.TrimRight(l, "\n")))
	}
	return out
}

// Sample returns the path of a file or folder of the sample data that lies
// beside the repository and skips the test where there is none. It is for
// tests of packages in pkg/decode/NAME.
func Sample(tb testing.TB, parts ...string) string {
	tb.Helper()
	path := filepath.Join(append([]string{"..", "..", "..", "..", "shared", "data", "samples"}, parts...)...)
	if _, err := os.Stat(path); err != nil {
		tb.Skipf("no sample data beside the repository: %s", filepath.Join(parts...))
	}
	return path
}
