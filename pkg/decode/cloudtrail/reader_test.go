package cloudtrail_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/cloudtrail"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

func inputs(tb testing.TB) map[string][]byte {
	tb.Helper()
	paths, _ := filepath.Glob("testdata/*/in.json")
	out := map[string][]byte{}
	for _, path := range paths {
		in, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		out[filepath.Base(filepath.Dir(path))] = in
	}
	if len(out) < 9 {
		tb.Fatalf("only %d inputs", len(out))
	}
	return out
}

// How the input arrives does not matter.
func TestReadInPieces(t *testing.T) {
	t.Parallel()
	for name, in := range inputs(t) {
		want := decodetest.New(t)
		readAll(t, bytes.NewReader(in), want)
		for kind, src := range map[string]io.Reader{
			"bytes": iotest.OneByteReader(bytes.NewReader(in)), "halves": iotest.HalfReader(bytes.NewReader(in)),
			"error with data": iotest.DataErrReader(bytes.NewReader(in)),
		} {
			got := decodetest.New(t)
			readAll(t, src, got)
			if !bytes.Equal(got.Out, want.Out) {
				t.Errorf("%s by %s differs", name, kind)
			}
		}
	}
}

// Whatever is cut off, each record before the cut is decoded as in the whole.
func TestTruncatedAnywhere(t *testing.T) {
	t.Parallel()
	in := inputs(t)["shares"]
	whole := decodetest.New(t)
	readAll(t, bytes.NewReader(in), whole)
	all := bytes.SplitAfter(whole.Out, []byte("\n"))
	rapid.Check(t, func(rt *rapid.T) {
		cut := rapid.IntRange(0, len(in)-1).Draw(rt, "cut")
		r := decodetest.New(t)
		readAll(t, bytes.NewReader(in[:cut]), r)
		if want := bytes.Join(all[:r.Events], nil); !bytes.HasPrefix(r.Out, want) {
			rt.Fatalf("cut at %d: not the first %d events", cut, r.Events)
		}
		if cut > 0 && r.Deads[decode.ReasonTruncated] != 1 || r.Lost > 1 {
			rt.Fatalf("cut at %d: dead %v", cut, r.Deads)
		}
	})
}

func TestSkipResumes(t *testing.T) {
	t.Parallel()
	for name, in := range inputs(t) {
		whole := decodetest.New(t)
		readAll(t, bytes.NewReader(in), whole)
		for n := 0; n <= whole.Total(); n += 3 {
			first, rest := decodetest.New(t), decodetest.New(t)
			r := cloudtrail.NewReader(bytes.NewReader(in), event.Origin{Name: "trail.json.gz"})
			for r.Records() < uint64(n) {
				if err := r.Next(first); err != nil {
					t.Fatal(err)
				}
			}
			resumed := cloudtrail.NewReader(bytes.NewReader(in), event.Origin{Name: "trail.json.gz"})
			resumed.Skip(uint64(n))
			for resumed.Next(rest) == nil {
			}
			if got := append(bytes.Clone(first.Out), rest.Out...); !bytes.Equal(got, whole.Out) {
				t.Errorf("%s: broken off after %d of %d records", name, n, whole.Total())
			}
		}
	}
}

func TestSourceErrors(t *testing.T) {
	t.Parallel()
	in := inputs(t)["objects"]
	broken := errors.New("connection reset")
	cut := len(in) / 2
	r := decodetest.New(t)
	reader := cloudtrail.NewReader(io.MultiReader(bytes.NewReader(in[:cut]), iotest.ErrReader(broken)), event.Origin{Name: "x"})
	var err error
	for err == nil {
		err = reader.Next(r)
	}
	if !errors.Is(err, broken) || r.Lost > 0 {
		t.Fatalf("got %v, dead %v", err, r.Deads)
	}
	if again := reader.Next(r); !errors.Is(again, broken) {
		t.Errorf("then %v", again)
	}
	events := r.Events
	reader.Abandon(r)
	if r.Deads[decode.ReasonTruncated] != 1 || r.Events != events || !bytes.Contains(r.Out, []byte(`"raw":"{`)) {
		t.Errorf("abandoned: %v", r.Deads)
	}

	// A file that lost its end fails in the decompressor, not in the JSON.
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(in)
	_ = w.Close()
	z, zerr := gzip.NewReader(bytes.NewReader(packed.Bytes()[:packed.Len()-200]))
	if zerr != nil {
		t.Fatal(zerr)
	}
	reader.Reset(z, event.Origin{Name: "y"})
	for err = nil; err == nil; {
		err = reader.Next(decodetest.New(t))
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	reader.Reset(stuck{}, event.Origin{})
	if err := reader.Next(r); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("got %v", err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// repeat is a stream of n copies of a text between two others.
type repeat struct {
	head, body, tail string
	n                int
	at               string
}

func (r *repeat) Read(p []byte) (int, error) {
	if r.at == "" {
		switch {
		case r.head != "":
			r.at, r.head = r.head, ""
		case r.n > 0:
			r.at = r.body
			r.n--
		case r.tail != "":
			r.at, r.tail = r.tail, ""
		default:
			return 0, io.EOF
		}
	}
	n := copy(p, r.at)
	r.at = r.at[n:]
	return n, nil
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	const rec = `{"eventVersion":"1.11","eventTime":"2026-01-05T10:00:00Z","eventSource":"ec2.amazonaws.com","eventName":"DescribeVpcs","eventID":"i"}`
	const mib = 1 << 20
	filler := strings.Repeat("x", 1000)
	for name, c := range map[string]struct {
		src  *repeat
		want string // outcomes by count
	}{
		"many records on one line": {&repeat{head: `{"Records":[` + rec, body: "," + rec, n: 50_000, tail: "]}"}, "events 50001 map[]"},
		"a record of 8 MiB":        {&repeat{head: `{"Records":[` + rec + `,{"eventName":"`, body: filler, n: 8 * 1024, tail: `"},` + rec + "]}"}, "events 2 map[record_too_long:1]"},
		"a string that never ends": {&repeat{head: `{"Records":[` + rec + `,"`, body: filler, n: 5 * 1024}, "events 1 map[truncated_input:1]"},
		"a key that never ends":    {&repeat{head: `{"`, body: filler, n: 5 * 1024}, "events 0 map[truncated_input:1]"},
		"depth without end":        {&repeat{head: `{"Records":[` + rec + `,`, body: "[", n: 4 * mib, tail: ""}, "events 1 map[truncated_input:1]"},
		"deep but sound":           {&repeat{head: `[{"a":` + strings.Repeat("[", 1000), body: strings.Repeat("]", 1000), n: 1, tail: `},` + rec + `]`}, "events 1 map[nested_too_deep:1]"},
		"text without end":         {&repeat{body: "no json ", n: mib / 2}, "events 0 map[malformed_json:1]"},
		"lines of text":            {&repeat{body: "no json\n", n: 3, tail: rec}, "events 1 map[malformed_json:3]"},
		"white space without end":  {&repeat{head: "[", body: "          ", n: mib / 2, tail: rec + "]"}, "events 1 map[]"},
		"a long document before":   {&repeat{head: `{"a":"`, body: filler, n: 3 * 1024, tail: `","Records":[` + rec + `]}`}, "events 1 map[]"},
		"a long rest":              {&repeat{head: `{"Records":[` + rec + `],"a":"`, body: filler, n: 3 * 1024, tail: `"}` + rec}, "events 2 map[]"},
		"broken by garbage":        {&repeat{head: `{"Records":[` + rec + `,{"a" `, body: filler, n: 3 * 1024, tail: "," + rec + "]}"}, "events 2 map[malformed_json:1]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sink := &counter{dead: map[string]int{}}
			r := cloudtrail.NewReader(c.src, event.Origin{Name: "x"})
			var err error
			for err == nil {
				err = r.Next(sink)
			}
			if got := fmt.Sprintf("events %d %v", sink.events, sink.dead); got != c.want || !errors.Is(err, io.EOF) {
				t.Errorf("got %s, %v; want %s", got, err, c.want)
			}
			if r.Memory() > 3*mib {
				t.Errorf("holds %d bytes", r.Memory())
			}
			if sink.longest > cloudtrail.MaxRecord {
				t.Errorf("handed on %d bytes", sink.longest)
			}
		})
	}
}

// counter is a sink that keeps nothing.
type counter struct {
	events, ignored, longest int
	dead                     map[string]int
}

func (c *counter) Event(*event.Event) { c.events++ }
func (c *counter) Ignored(string)     { c.ignored++ }
func (c *counter) Dead(reason string, raw []byte, _ event.Origin) {
	c.longest = max(c.longest, len(raw))
	if c.dead != nil {
		c.dead[reason]++
	}
}

// A line holds what a file holds; only the origins are those of the line.
func TestLinesEqualReader(t *testing.T) {
	t.Parallel()
	d := cloudtrail.New()
	if d.Header() != nil {
		t.Error("has a header")
	}
	d.SetHeader([]byte("x"))
	for name, in := range inputs(t) {
		if name == "pretty" || name == "hostile" { // a document there has several lines
			continue
		}
		var want, got []string
		a, b := decodetest.New(t), decodetest.New(t)
		a.Each = func(e *event.Event) { want = append(want, strings.Clone(e.ID)) }
		b.Each = func(e *event.Event) { got = append(got, strings.Clone(e.ID)) }
		readAll(t, bytes.NewReader(in), a)
		lines := 0
		for line := range bytes.Lines(in) {
			lines++
			at := event.Origin{Name: "f", Line: event.N(lines), Offset: event.N(7)}
			d.Line(line, at, b)
		}
		if strings.Join(got, " ") != strings.Join(want, " ") || fmt.Sprint(a.Deads) != fmt.Sprint(b.Deads) {
			t.Errorf("%s: lines give %d events, dead %v; the reader %d, %v", name, len(got), b.Deads, len(want), a.Deads)
		}
		if bytes.Contains(b.Out, []byte(`"origin.line":99`)) || !bytes.Contains(b.Out, []byte(`"origin.offset":7`)) && b.Events > 0 {
			t.Errorf("%s: origins are not those of the lines", name)
		}
	}
	r := decodetest.New(t)
	d.Line([]byte("  "), event.Origin{}, r)
	d.Line(nil, event.Origin{}, r)
	if r.Ignores["empty"] != 2 {
		t.Errorf("%s", r.Out)
	}
}

func FuzzReader(f *testing.F) {
	for _, in := range inputs(f) {
		f.Add(in[:min(len(in), 6000)])
		f.Add(in[max(0, len(in)-1500):])
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, pieces := decodetest.New(t), decodetest.New(t)
		readAll(t, bytes.NewReader(in), whole)
		readAll(t, iotest.OneByteReader(bytes.NewReader(in)), pieces)
		if !bytes.Equal(whole.Out, pieces.Out) {
			t.Fatalf("pieces differ\n%s\n%s", whole.Out, pieces.Out)
		}
		if len(bytes.TrimSpace(bytes.ReplaceAll(in, []byte("\xEF\xBB\xBF"), nil))) > 0 && whole.Total() == 0 {
			t.Fatal("vanished")
		}
		for line := range bytes.Lines(in) {
			r := decodetest.New(t)
			cloudtrail.New().Line(line, event.Origin{}, r)
			if r.Total() == 0 {
				t.Fatalf("line vanished: %q", line)
			}
		}
	})
}
