package vpcflow_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/vpcflow"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// decodeLines feeds every line of in to d and returns how many there were.
func decodeLines(d *vpcflow.Decoder, in []byte, sink decode.Sink) (n int) {
	offset := 0
	for line := range bytes.Lines(in) {
		n++
		at := event.Origin{Name: "flow.log", Line: event.N(n), Offset: event.N(offset)}
		d.Line(bytes.TrimSuffix(line, []byte("\n")), at, sink)
		offset += len(line)
	}
	return n
}

func TestGolden(t *testing.T) {
	t.Parallel()
	decodetest.Golden(t, func(t *testing.T, name string, in []byte, r *decodetest.Recorder) {
		t.Helper()
		d := vpcflow.New()
		if name == "configured" {
			var err error
			if d, err = vpcflow.NewFormat("${srcaddr} ${dstaddr} ${bytes} ${end} ${flow-direction} ${interface-id}"); err != nil {
				t.Fatal(err)
			}
		}
		lines := decodeLines(d, in, r)
		if name != "envelopes" && lines != r.Total() {
			t.Errorf("%d lines gave %d outcomes", lines, r.Total())
		}
	})
}

func TestNewFormatRefusesWhatCanGiveNoEvent(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"", "  ", "srcaddr dstaddr bytes", "${end} ${srcaddr}", "end dstaddr", "end src,addr dst", strings.Repeat("end ", 300)} {
		if _, err := vpcflow.NewFormat(format); !errors.Is(err, vpcflow.ErrFormat) {
			t.Errorf("%.40q: got %v", format, err)
		}
	}
	if _, err := vpcflow.NewFormat("pkt_srcaddr ${pkt-dstaddr} end a-new-field"); err != nil {
		t.Error(err)
	}
}

func TestHeaderRestoresPosition(t *testing.T) {
	t.Parallel()
	in, err := os.ReadFile(filepath.Join("testdata", "custom_v5", "in.log"))
	if err != nil {
		t.Fatal(err)
	}
	whole := decodetest.New(t)
	decodeLines(vpcflow.New(), in, whole)
	lines := bytes.SplitAfter(in, []byte("\n"))
	for cut := range lines {
		r := decodetest.New(t)
		before := vpcflow.New()
		n, offset := 0, 0
		for i, line := range lines {
			if len(line) == 0 {
				continue
			}
			if i == cut {
				after := vpcflow.New()
				after.SetHeader(bytes.Clone(before.Header()))
				before = after
			}
			n++
			before.Line(bytes.TrimSuffix(line, []byte("\n")), event.Origin{Name: "flow.log", Line: event.N(n), Offset: event.N(offset)}, r)
			offset += len(line)
		}
		if !bytes.Equal(r.Out, whole.Out) {
			t.Errorf("cut before line %d changes the result", cut+1)
		}
	}
	d := vpcflow.New()
	d.SetHeader([]byte("not a header"))
	if d.Header() != nil {
		t.Errorf("took %q for a header", d.Header())
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	const base = "2 1 eni-1 10.0.0.1 198.51.100.1 1 2 6 5 100 1767607200 1767607258 ACCEPT OK"
	id := func(lines ...string) (ids []string) {
		r := decodetest.New(t)
		r.Each = func(e *event.Event) { ids = append(ids, strings.Clone(e.ID)) }
		decodeLines(vpcflow.New(), []byte(strings.Join(lines, "\n")), r)
		return ids
	}
	same := id(base, strings.ReplaceAll(base, " ", "  "),
		"start end account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes action pkt-srcaddr",
		"1767607200 1767607258 1 eni-1 10.0.0.1 198.51.100.1 1 2 6 5 100 ACCEPT 100.64.0.1")
	for i, s := range same {
		if s != same[0] || len(s) != 16 {
			t.Errorf("record %d: id %s, want %s", i, s, same[0])
		}
	}
	seen := map[string]string{same[0]: base}
	for _, change := range [][2]string{
		{" 1 eni-1", " 2 eni-1"},
		{"eni-1", "eni-2"},
		{"10.0.0.1", "10.0.0.2"},
		{"198.51.100.1", "198.51.100.2"},
		{" 1 2 6", " 3 2 6"},
		{" 1 2 6", " 1 3 6"},
		{" 1 2 6", " 2 1 6"},
		{" 1 2 6", " 1 2 17"},
		{"5 100", "5 101"},
		{"7200", "7201"},
		{"7258", "7259"},
		{"ACCEPT", "REJECT"},
	} {
		line := strings.Replace(base, change[0], change[1], 1)
		for _, s := range id(line) {
			if other, taken := seen[s]; taken {
				t.Errorf("%q and %q have one id", line, other)
			}
			seen[s] = line
		}
	}
}

func TestRowEqualsLine(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"custom_v5", "nat_and_pods", "underscores_and_order", "hostile"} {
		in, err := os.ReadFile(filepath.Join("testdata", name, "in.log"))
		if err != nil {
			t.Fatal(err)
		}
		byLine, byRow := vpcflow.New(), vpcflow.New()
		for line := range bytes.Lines(in) {
			line = bytes.TrimSpace(line)
			a, b := decodetest.New(t), decodetest.New(t)
			byLine.Line(line, event.Origin{}, a)
			if a.Ignores["header"] > 0 {
				byRow.SetHeader(line)
				continue
			}
			if line[0] == '{' {
				continue
			}
			byRow.Row(strings.Fields(string(line)), event.Origin{}, b)
			if !bytes.Equal(a.Out, b.Out) {
				t.Errorf("%s: %s\nline: %srow:  %s", name, line, a.Out, b.Out)
			}
		}
	}
	r := decodetest.New(t)
	vpcflow.New().Row([]string{"2"}, event.Origin{}, r)
	if r.Deads[decode.ReasonColumns] != 1 {
		t.Errorf("row without columns: %s", r.Out)
	}
}

// A record that the decoder reads says what was written, whatever the order
// of the columns.
func TestColumnOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"version", "account-id", "srcaddr", "dstaddr", "srcport", "dstport", "protocol", "packets", "bytes", "start", "end", "action", "flow-direction", "az-id", "unheard-of"}
		packets := rapid.Uint64Range(0, 1<<40).Draw(t, "packets")
		size := packets * rapid.Uint64Range(20, 1500).Draw(t, "per packet")
		port := rapid.Uint16().Draw(t, "port")
		from := rapid.Int64Range(1, 4e9).Draw(t, "start")
		to := from + rapid.Int64Range(0, 600).Draw(t, "window")
		values := []string{"5", "210987654321", "10.0.0.1", "2001:db8::1", fmt.Sprint(port), "443", "6", fmt.Sprint(packets), fmt.Sprint(size), fmt.Sprint(from), fmt.Sprint(to), "ACCEPT", "egress", "euc1-az1", "x"}
		order := rapid.Permutation([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}).Draw(t, "order")
		var header, line []string
		for _, i := range order {
			name := names[i]
			if rapid.Bool().Draw(t, "underscore") {
				name = strings.ReplaceAll(name, "-", "_")
			}
			header, line = append(header, name), append(line, values[i])
		}
		if header[0] == "unheard-of" || header[0] == "unheard_of" {
			return // a header begins with a known name
		}
		var got event.Event
		d := vpcflow.New()
		d.Line([]byte(strings.Join(header, " ")), event.Origin{}, one{t, &got})
		d.Line([]byte(strings.Join(line, " ")), event.Origin{}, one{t, &got})
		if got.Source.Bytes != event.N(size) || got.Source.Packets != event.N(packets) || got.Source.Port != event.N(port) || got.Start != from*1e6 || got.Time != to*1e6 ||
			got.Source.IP.String() != "10.0.0.1" || got.Destination.IP.String() != "2001:db8::1" || got.Flow.Direction != "egress" {
			t.Fatalf("%s\n%s\n%+v", header, line, got)
		}
	})
}

// one is a sink that expects a header and one event.
type one struct {
	t interface{ Fatalf(string, ...any) }
	e *event.Event
}

func (o one) Event(e *event.Event) { *o.e = *e }

func (o one) Ignored(reason string) {
	if reason != "header" {
		o.t.Fatalf("ignored: %s", reason)
	}
}

func (o one) Dead(reason string, raw []byte, _ event.Origin) { o.t.Fatalf("dead: %s: %s", reason, raw) }

func TestSamples(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file            string
		events          int
		ignored, dead   map[string]int
		moreThanOneLine bool // one line holds several records
	}{
		{
			file: "awsdocs_record_examples.txt", events: 15, ignored: map[string]int{"nodata": 1, "skipdata": 1, "header": 4},
			// The third and the fourth header lack times, and the page's own remarks are no columns.
			dead: map[string]int{"missing_field": 8, "column_count": 3},
		},
		{file: "elastic_test-extra-samples.log", events: 5, ignored: map[string]int{"nodata": 1, "skipdata": 1}},
		{file: "otel_valid_tgw_flow_log.log", events: 1, ignored: map[string]int{"header": 1}},
		{file: "otel_valid_vpc_flow_cw.json", events: 2, moreThanOneLine: true},
		{file: "otel_valid_vpc_flow_log_multi.log", events: 2, ignored: map[string]int{"header": 1}},
		// Events of another schema: none is a flow log record.
		{file: "panther_aws_vpc_flow_rules_handover.ndjson", dead: map[string]int{"unknown_format": 20}},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			in, err := os.ReadFile(decodetest.Sample(t, "vpcflow", c.file))
			if err != nil {
				t.Fatal(err)
			}
			r := decodetest.New(t)
			lines := decodeLines(vpcflow.New(), in, r)
			if r.Events != c.events || fmt.Sprint(r.Ignores) != fmt.Sprint(orEmpty(c.ignored)) || fmt.Sprint(r.Deads) != fmt.Sprint(orEmpty(c.dead)) {
				t.Errorf("got %d events, ignored %v, dead %v\n%s", r.Events, r.Ignores, r.Deads, r.Out)
			}
			if !c.moreThanOneLine && r.Total() != lines {
				t.Errorf("%d lines gave %d outcomes", lines, r.Total())
			}
		})
	}
}

func orEmpty(m map[string]int) map[string]int {
	if m == nil {
		return map[string]int{}
	}
	return m
}

func FuzzLines(f *testing.F) {
	inputs, _ := filepath.Glob("testdata/*/in.log")
	for _, path := range inputs {
		in, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := decodetest.New(t)
		d := vpcflow.New()
		lines := 0
		for line := range bytes.Lines(in) {
			lines++
			before := r.Total()
			d.Line(line, event.Origin{Line: event.N(lines)}, r)
			if got := r.Total() - before; got != 1 && (got < 1 || bytes.TrimLeft(line, "\uFEFF \t\r\n")[0] != '{') {
				t.Fatalf("%q gave %d outcomes", line, got)
			}
			if len(d.Header()) > 64<<10 {
				t.Fatalf("header of %d bytes", len(d.Header()))
			}
		}
	})
}
