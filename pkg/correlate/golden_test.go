package correlate_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/correlate"
	"github.com/ebbwatch/ebbwatch/schemas"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write the golden files")

// line is one record of a scenario's log.
type line struct {
	At    time.Time       `json:"at"`
	Kind  string          `json:"kind"`
	Value json.RawMessage `json:"value"`
}

func readLines(tb testing.TB, path string) []line {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	var out []line
	for dec := json.NewDecoder(bytes.NewReader(data)); dec.More(); {
		var l line
		if err := dec.Decode(&l); err != nil {
			tb.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

func schemaOf(tb testing.TB, kind string) *jsonschema.Schema {
	tb.Helper()
	data, err := schemas.FS.ReadFile(kind + ".json")
	if err != nil {
		tb.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		tb.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(kind, doc); err != nil {
		tb.Fatal(err)
	}
	s, err := c.Compile(kind)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func validate(tb testing.TB, s *jsonschema.Schema, data []byte) {
	tb.Helper()
	if err := check(tb, s, data); err != nil {
		tb.Errorf("%v\n%s", err, data)
	}
}

func check(tb testing.TB, s *jsonschema.Schema, data []byte) error {
	tb.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		tb.Fatal(err)
	}
	return s.Validate(v)
}

// Every folder of testdata is a scenario: in.ndjson is the log of signals,
// want.ndjson every revision of every alert. All records satisfy their schemas.
func TestScenarios(t *testing.T) {
	t.Parallel()
	dirs, err := filepath.Glob(filepath.Join("testdata", "*", "in.ndjson"))
	if err != nil || len(dirs) < 12 {
		t.Fatal("scenarios are missing", err)
	}
	all := map[string]*jsonschema.Schema{}
	for _, kind := range []string{"signal", "fact", "deployment", "verdict", "mark", "alert"} {
		all[kind] = schemaOf(t, kind)
	}
	for _, path := range dirs {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			r := newRunner(t, correlate.Config{})
			r.check = true
			for _, l := range readLines(t, path) {
				validate(t, all[l.Kind], l.Value)
				r.feed(l.At.UnixMicro()-t0, l.Kind, l.Value)
			}
			var got bytes.Buffer
			for _, o := range r.out {
				validate(t, all[alert.Kind], o.Value)
				got.Write(o.Value)
				got.WriteByte('\n')
			}
			t.Log(r.story())
			golden := filepath.Join(dir, "want.ndjson")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// What the scenarios are about, whatever the documents say beside it.
func TestScenarioStories(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"attack":           "a1:staging-then-exfil:open!first",
		"no-staging":       "",
		"no-exfil":         "",
		"host-differs":     "",
		"apart-66-minutes": "a1:staging-then-exfil-24h:open!first",
		"late-fact":        "a1:staging-then-exfil:open!first",
		"late-cloudtrail":  "a1:foreign-copy:open!first a2:staging-then-exfil:updated!raised",
		"tar-curl":         "a1:staging-then-exfil:open!first",
		"merge":            "a1:archive-sensitive:open!first b1:dns-tunnel:open!first a2:staging-then-exfil:updated!raised b2:dns-tunnel:retracted!retracted",
		"address-reuse":    "a1:staging-then-exfil:open!first",
		"deployment-cloak": "a1:archive-sensitive:suppressed a2:staging-then-exfil:updated!first b1:archive-sensitive:open!first",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRunner(t, correlate.Config{})
			for _, l := range readLines(t, filepath.Join("testdata", name, "in.ndjson")) {
				r.feed(l.At.UnixMicro()-t0, l.Kind, l.Value)
			}
			r.expectStory(want)
		})
	}
}

// Without a site file the day's rule stays in its shadow: halves that are 66
// minutes apart are no correlated alert.
func TestDayRuleStartsInShadow(t *testing.T) {
	t.Parallel()
	r := newRunner(t, correlate.Config{})
	if err := r.c.Epoch(correlate.EpochSite, nil); err != nil {
		t.Fatal(err)
	}
	for _, l := range readLines(t, filepath.Join("testdata", "apart-66-minutes", "in.ndjson")) {
		r.feed(l.At.UnixMicro()-t0, l.Kind, l.Value)
	}
	r.expectStory("")
}
