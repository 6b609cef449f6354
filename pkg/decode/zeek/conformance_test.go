package zeek_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/pkg/decode/zeek"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

func read(tb testing.TB, path string) []byte {
	tb.Helper()
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			tb.Fatal(err)
		}
	}
	b, err := io.ReadAll(r)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// logs lists the Zeek logs below a folder of the sample data.
func logs(t *testing.T, root string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		if err == nil && !d.IsDir() && (strings.Contains(name, ".log") || strings.HasSuffix(name, ".json.gz")) {
			out = append(out, path)
		}
		return err
	})
	if err != nil || len(out) == 0 {
		t.Fatalf("no logs in %s: %v", root, err)
	}
	return out
}

// counter is a sink that counts and, with each set, hands on what is
// encoded of every event.
type counter struct {
	t             *testing.T
	total         int
	ignored, dead map[string]int
	each          func(e *event.Event)
	line          []byte
}

func (s *counter) Event(e *event.Event) {
	s.total++
	if s.each != nil {
		s.each(e)
	}
	var err error
	if s.line, err = e.Append(s.line[:0]); err != nil {
		s.t.Error(err)
	}
	if !utf8.Valid(s.line) || e.Observer.Type == "" || e.Time == 0 {
		s.t.Errorf("not whole: %s", s.line)
	}
}

func (s *counter) Ignored(reason string)                        { s.total++; s.ignored[reason]++ }
func (s *counter) Dead(reason string, _ []byte, _ event.Origin) { s.total++; s.dead[reason]++ }

// deadIn says how many lines of a sample are dead, by reason: btest baselines
// mask the times, and some of its JSON files are of no log at all.
var deadIn = map[string]map[string]int{
	"ascii-escape-odd-url__http.log":              {"impossible_value": 1},
	"ascii-json-iso-timestamps__ssh.log":          {"unknown_format": 10},
	"ascii-json-optional__testing_nullfields.log": {"unknown_format": 1},
	"ascii-json-utf8__ssh-tsv.log":                {"unknown_format": 49},
	"ascii-json-utf8__ssh.log.pua":                {"unknown_format": 49},
	"ascii-json-utf8__ssh.log.tsv":                {"unknown_format": 49},
	"field-extension-cluster__manager.http.log":   {"impossible_value": 14},
	"field-extension-complex__conn.log":           {"impossible_value": 34},
	"field-name-map2__conn.log":                   {"impossible_value": 1},
	"field-name-map__conn.log":                    {"impossible_value": 34},
	"json-non-printable-escaping__http.log.tsv":   {"impossible_value": 4},
	"scope_sep_and_field_name_map__conn.log":      {"impossible_value": 34},
}

// Every line of every sample is accounted for, and none is dead but those
// that have no time.
func TestSamples(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"zeek", "dns_benign", "dns_tunnel"} {
		for _, path := range logs(t, decodetest.Sample(t, folder)) {
			if strings.Contains(filepath.ToSlash(path), "/brimdata/") {
				continue // TestTwins reads them, line by line
			}
			t.Run(filepath.Base(path), func(t *testing.T) {
				t.Parallel()
				s := counter{t: t, ignored: map[string]int{}, dead: map[string]int{}}
				n := feed(zeek.New(zeek.Options{Path: path}), read(t, path), &s)
				if n == 0 || s.total != n {
					t.Errorf("%d outcomes of %d lines", s.total, n)
				}
				want := deadIn[filepath.Base(path)]
				if want == nil {
					want = map[string]int{}
				}
				if d := cmp.Diff(want, s.dead); d != "" {
					t.Errorf("dead lines (-want +got):\n%s", d)
				}
				if s.total == s.ignored["header"] {
					t.Error("no record")
				}
			})
		}
	}
}

// The masked times put back, the baselines of Zeek's own tests decode with
// the field names and separators that they were written with.
func TestBaselines(t *testing.T) {
	t.Parallel()
	mapped := map[string]string{"src": "id.orig_h", "src_ip": "id.orig_h", "src_port": "id.orig_p", "dst": "id.resp_h", "dst_ip": "id.resp_h", "dst_port": "id.resp_p"}
	for _, c := range []struct {
		file   string
		names  map[string]string
		events int
	}{
		{"ascii-escape-odd-url__http.log", nil, 1},
		{"field-extension-cluster__manager.http.log", nil, 14},
		{"field-extension-complex__conn.log", nil, 34},
		{"field-name-map2__conn.log", mapped, 1},
		{"field-name-map__conn.log", mapped, 34},
		{"scope_sep_and_field_name_map__conn.log", mapped, 34},
		{"json-non-printable-escaping__http.log.tsv", nil, 4},
	} {
		in := read(t, decodetest.Sample(t, "zeek", "btest_edge", c.file))
		in = bytes.ReplaceAll(in, []byte("XXXXXXXXXX.XXXXXX"), []byte("1300475167.096535"))
		r := decodetest.New(t)
		r.Each = func(e *event.Event) {
			if !e.Source.IP.IsValid() || !e.Destination.IP.IsValid() || !e.Source.Port.Known() || e.ID == "" || max(e.Start, e.Time) < 1300475167_096535 {
				t.Errorf("%s: not all was read: %+v", c.file, e)
			}
		}
		feed(zeek.New(zeek.Options{FieldNames: c.names}), in, r)
		if r.Events != c.events || r.Lost != 0 {
			t.Errorf("%s: %d events, %d dead, want %d and 0", c.file, r.Events, r.Lost, c.events)
		}
	}
}

// events decodes a log into the JSON form of its events, without what tells
// the two runs apart that wrote it.
func events(t *testing.T, path string, anonymise func(*event.Event)) (out []string) {
	t.Helper()
	s := counter{t: t, ignored: map[string]int{}, dead: map[string]int{}}
	s.each = func(e *event.Event) {
		e.Origin = event.Origin{}
		if anonymise != nil {
			anonymise(e)
		}
		line, err := e.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(line))
	}
	if n := feed(zeek.New(zeek.Options{Path: path}), read(t, path), &s); n != s.total || len(s.dead) > 0 {
		t.Errorf("%s: %d lines, %d outcomes, dead %v", path, n, s.total, s.dead)
	}
	return out
}

// The same records, written as TSV and as JSON, give the same events.
func TestTwins(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"dns", "notice", "smtp", "ssl", "weird"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			json := decodetest.Sample(t, "zeek", "brimdata", "json", name+".json.gz")
			tsv := decodetest.Sample(t, "zeek", "brimdata", "tsv", name+".log.gz")
			a, b := events(t, json, nil), events(t, tsv, nil)
			if len(a) != len(b) || len(a) == 0 && name != "notice" {
				t.Fatalf("%d events of JSON, %d of TSV", len(a), len(b))
			}
			differ := 0
			for i := range a {
				if a[i] != b[i] {
					if differ++; differ <= 3 {
						t.Errorf("row %d:\njson %s\ntsv  %s", i, a[i], b[i])
					}
				}
			}
			if differ > 0 {
				t.Errorf("%d of %d rows differ", differ, len(a))
			}
		})
	}
}

// The lab's captures were read by Zeek twice, once for each form, so that the
// uids and the order differ and nothing else.
func TestLabTwins(t *testing.T) {
	t.Parallel()
	lab := filepath.Join("..", "..", "..", "..", "shared", "data", "lab")
	tsvs, err := filepath.Glob(filepath.Join(lab, "*", "tsv", "*.log.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if len(tsvs) == 0 {
		t.Skip("no lab data beside the repository")
	}
	anonymous := func(e *event.Event) { e.ID, e.File.ID = "", "" }
	for _, tsv := range tsvs {
		json := filepath.Join(filepath.Dir(filepath.Dir(tsv)), filepath.Base(tsv))
		a, b := events(t, json, anonymous), events(t, tsv, anonymous)
		slices.Sort(a)
		slices.Sort(b)
		if len(a) == 0 && !strings.HasPrefix(filepath.Base(tsv), "x509") {
			t.Errorf("%s: no events", tsv)
		}
		if !slices.Equal(a, b) {
			t.Errorf("%s (-json +tsv):\n%.3000s", tsv, cmp.Diff(a, b))
		}
	}
}
