package input_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
)

// open writes data to a file of that name and opens it.
func open(t *testing.T, name string, data []byte, o input.Options, at input.Position) input.Reader {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	o.Name = name
	k, err := input.Sniff(f, o)
	if err != nil {
		t.Fatal(err)
	}
	r, err := input.Open(f, k, o, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func readAll(t *testing.T, name string, data []byte, o input.Options) *decodetest.Recorder {
	t.Helper()
	rec := decodetest.New(t)
	if err := input.ReadAll(context.Background(), open(t, name, data, o, input.Position{}), rec); err != nil {
		t.Fatal(err)
	}
	return rec
}

func tsvLog(rows int) []byte {
	var b bytes.Buffer
	b.WriteString("#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n#open\t2026-01-05-10-00-00\n" +
		"#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tduration\torig_bytes\tresp_bytes\tconn_state\n" +
		"#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tinterval\tcount\tcount\tstring\n")
	for i := range rows {
		fmt.Fprintf(&b, "%d.5\tC%d\t10.0.0.%d\t40000\t198.51.100.7\t443\ttcp\t1.25\t%d\t17\tSF\n", 1767607200+i, i, i%250+1, 1000+i)
	}
	b.WriteString("#close\t2026-01-05-11-00-00\n")
	return b.Bytes()
}

func trailFile(records int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"Records":[`)
	for i := range records {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strings.Replace(strings.TrimSpace(trailLine), `"eventID":"a"`, fmt.Sprintf(`"eventID":"e%d"`, i), 1))
	}
	b.WriteString("]}")
	return b.Bytes()
}

type flowRow struct {
	Version     int32  `parquet:"version"`
	AccountID   string `parquet:"account_id"`
	InterfaceID string `parquet:"interface_id"`
	SrcAddr     string `parquet:"srcaddr"`
	DstAddr     string `parquet:"dstaddr"`
	SrcPort     int32  `parquet:"srcport"`
	DstPort     int32  `parquet:"dstport"`
	Protocol    int32  `parquet:"protocol"`
	Packets     *int64 `parquet:"packets,optional"`
	Bytes       *int64 `parquet:"bytes,optional"`
	Start       int64  `parquet:"start"`
	End         int64  `parquet:"end"`
	Action      string `parquet:"action"`
	LogStatus   string `parquet:"log_status"`
}

func parquetFile(t *testing.T, rows int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[flowRow](&b, parquet.Compression(&parquet.Snappy))
	for i := range rows {
		row := flowRow{2, "123456789012", "eni-1", "10.0.0.1", "198.51.100.7", 40000, 443, 6, new(int64(10)), new(int64(4000 + i)), 1767607200, 1767607260, "ACCEPT", "OK"}
		if i%7 == 3 {
			row.LogStatus, row.Packets, row.Bytes = "NODATA", nil, nil
		}
		if _, err := w.Write([]flowRow{row}); err != nil {
			t.Fatal(err)
		}
		if i%100 == 99 {
			if err := w.Flush(); err != nil { // another row group
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Whatever is cut after any record and resumed at its position gives the same
// as one reading.
func TestResumeAnywhere(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		file    string
		data    []byte
		events  int
		ignored int
	}{
		"tsv":              {"conn.log", tsvLog(40), 40, 9},
		"tsv gzip":         {"conn.log.gz", gzipped(t, tsvLog(40)), 40, 9},
		"tsv two members":  {"conn.log.gz", append(gzipped(t, tsvLog(20)), gzipped(t, tsvLog(20))...), 40, 18},
		"tsv zstd":         {"conn.log.zst", zstded(t, tsvLog(40)), 40, 9},
		"flow text":        {"x.log", []byte(flowText + strings.Repeat(flowRecord, 30)), 30, 1},
		"cloudtrail":       {"x.json", trailFile(30), 30, 0},
		"cloudtrail gzip":  {"x.json.gz", gzipped(t, trailFile(30)), 30, 0},
		"cloudtrail lines": {"x.json", []byte(strings.Repeat(trailLine, 30)), 30, 0},
		"falco":            {"x", []byte(strings.Repeat(alert, 30)), 30, 0},
		"parquet":          {"x.parquet", parquetFile(t, 140), 120, 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := readAll(t, tc.file, tc.data, input.Options{})
			if whole.Events != tc.events || whole.Skipped != tc.ignored || whole.Lost != 0 {
				t.Fatalf("%d events, %d ignored, %d dead:\n%s", whole.Events, whole.Skipped, whole.Lost, whole.Out)
			}
			for cut := 0; cut <= whole.Total(); cut += 1 + whole.Total()/15 {
				got := decodetest.New(t)
				first := open(t, tc.file, tc.data, input.Options{}, input.Position{})
				for range cut {
					if err := first.Next(got); err != nil {
						t.Fatalf("cut %d: %v", cut, err)
					}
				}
				at := first.Position()
				at.Header = bytes.Clone(at.Header)
				if err := input.ReadAll(context.Background(), open(t, tc.file, tc.data, input.Options{}, at), got); err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(string(whole.Out), string(got.Out)); d != "" {
					t.Fatalf("cut after %d: %s", cut, d)
				}
			}
		})
	}
}

// Lines come out as they went in, wherever the file is cut into reads.
func TestLinesProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{alert, "x\n", "\n", "\r\n", strings.Repeat("y", 3000) + "\n", "{"}), 1, 20).Draw(rt, "parts")
		data := alert + strings.Join(parts, "")
		want := 0
		for range strings.Lines(data) {
			want++
		}
		rec := readAll(t, "x", []byte(data), input.Options{MaxLine: 2048, Hint: input.Falco})
		if rec.Total() != want {
			rt.Fatalf("%d lines gave %d outcomes", want, rec.Total())
		}
		if long := strings.Count(data, strings.Repeat("y", 3000)); rec.Deads[decode.ReasonTooLong] != long {
			rt.Fatalf("%d lines too long, %d dead of it", long, rec.Deads[decode.ReasonTooLong])
		}
	})
}

func TestOverlongLineIsOneDeadRecord(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("z", 5<<20)
	rec := readAll(t, "x", []byte(alert+long+"\n"+alert+long), input.Options{})
	if rec.Events != 2 || rec.Deads[decode.ReasonTooLong] != 2 || rec.Total() != 4 {
		t.Errorf("events %d, dead %v", rec.Events, rec.Deads)
	}
	if want := fmt.Sprintf(`"line":4,"offset":%d,"bytes":%d`, 2*len(alert)+len(long)+1, decode.MaxDead); !strings.Contains(string(rec.Out), want) {
		t.Errorf("no %s", want)
	}
}

func TestBrokenCompression(t *testing.T) {
	t.Parallel()
	logs := tsvLog(400)
	whole := readAll(t, "conn.log.gz", gzipped(t, logs), input.Options{})
	for name, tc := range map[string]struct {
		file   string
		data   []byte
		reason string
	}{
		"gzip cut":          {"conn.log.gz", cutHalf(gzipped(t, logs)), decode.ReasonTruncated},
		"gzip trailer cut":  {"conn.log.gz", gzipped(t, logs)[:len(gzipped(t, logs))-3], decode.ReasonTruncated},
		"zstd cut":          {"conn.log.zst", cutHalf(zstded(t, tsvLog(20000))), decode.ReasonTruncated},
		"gzip damaged":      {"conn.log.gz", damaged(gzipped(t, logs)), input.ReasonCorrupt},
		"garbage behind":    {"conn.log.gz", append(gzipped(t, logs), "garbage garbage"...), input.ReasonCorrupt},
		"cloudtrail cut":    {"x.json.gz", cutHalf(gzipped(t, trailFile(400))), decode.ReasonTruncated},
		"parquet cut":       {"x.parquet", cutHalf(parquetFile(t, 300)), decode.ReasonTruncated},
		"only magic":        {"conn.log.gz", []byte("\x1f\x8b"), decode.ReasonTruncated},
		"unknown":           {"x.bin", []byte("what is this?\n"), decode.ReasonUnknownFormat},
		"parquet of others": {"x.parquet", otherParquet(t), decode.ReasonUnknownFormat},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec := readAll(t, tc.file, tc.data, input.Options{})
			if rec.Deads[tc.reason] != 1 {
				t.Errorf("dead %v, want one %s", rec.Deads, tc.reason)
			}
			if strings.HasPrefix(tc.file, "conn") && strings.HasPrefix(name, "gzip") {
				before, _, _ := bytes.Cut(rec.Out, []byte(`{"dead"`))
				if !bytes.HasPrefix(whole.Out, before) || rec.Events == 0 {
					t.Error("what could be read is not what stands at the beginning of the file")
				}
			}
		})
	}
}

func TestNothingCompressedIsNoRecord(t *testing.T) {
	t.Parallel()
	for _, data := range [][]byte{gzipped(t, nil), zstded(t, nil)} {
		if rec := readAll(t, "x", data, input.Options{}); rec.Total() != 0 {
			t.Errorf("%s", rec.Out)
		}
	}
}

func cutHalf(b []byte) []byte { return b[:len(b)/2] }

func damaged(b []byte) []byte {
	b = bytes.Clone(b)
	for i := len(b) - 400; i < len(b)-350; i++ {
		b[i] ^= 0x5a
	}
	return b
}

func otherParquet(t *testing.T) []byte {
	t.Helper()
	type row struct{ A, B string }
	var b bytes.Buffer
	w := parquet.NewGenericWriter[row](&b)
	if _, err := w.Write([]row{{"1", "2"}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A bomb costs what the limits allow and ends in one dead record.
func TestDecompressionLimits(t *testing.T) {
	t.Parallel()
	bomb := append([]byte(alert), bytes.Repeat([]byte("x"), 64<<20)...)
	for name, tc := range map[string]struct {
		data   []byte
		limits input.Limits
	}{
		"ratio gzip": {gzipped(t, bomb), input.Limits{}},
		"ratio zstd": {zstded(t, bomb), input.Limits{}},
		"size":       {gzipped(t, bomb), input.Limits{Bytes: 1 << 20, Ratio: 1 << 20}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec := decodetest.New(t)
			rec.Quiet = true
			if err := input.ReadAll(context.Background(), open(t, "falco.gz", tc.data, input.Options{Limits: tc.limits}, input.Position{}), rec); err != nil {
				t.Fatal(err)
			}
			if rec.Events != 1 || rec.Deads[input.ReasonLimit] != 1 || rec.Total() != 2 {
				t.Errorf("events %d, ignored %d, dead %v", rec.Events, rec.Skipped, rec.Deads)
			}
		})
	}
}

// A file that is followed gives what is complete, and the half line when it
// is completed or the file ends.
func TestGrowingFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "falco.json")
	w, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	write := func(s string) {
		if _, err := w.WriteString(s); err != nil {
			t.Fatal(err)
		}
	}
	write(alert + alert[:30])
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	k, err := input.Sniff(f, input.Options{})
	if err != nil || !k.Follow {
		t.Fatalf("kind %+v, error %v", k, err)
	}
	r, err := input.Open(f, k, input.Options{}, input.Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	rec := decodetest.New(t)
	drain := func(events int) {
		t.Helper()
		for {
			err := r.Next(rec)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if rec.Events != events {
			t.Errorf("%d events, want %d", rec.Events, events)
		}
	}
	drain(1)
	if p := r.Position(); p.Offset != int64(len(alert)) || p.Line != 1 {
		t.Errorf("position %+v", p)
	}
	if err := r.Again(); err != nil {
		t.Fatal(err)
	}
	write(alert[30:])
	drain(2)
	write(strings.TrimSpace(alert))
	drain(2)
	r.End(nil, rec)
	if rec.Events != 3 || rec.Total() != 3 {
		t.Errorf("after the end: %d events of %d", rec.Events, rec.Total())
	}
}
