package rulestest_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/rulestest"
)

const page = "../../docs/howto/test-rules.md"

// blocks are what the page shows: the file of tests first.
func blocks(t *testing.T) (file string, outputs []string) {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```").FindAllStringSubmatch(string(data), -1) {
		if m[1] == "yaml" {
			file = m[2]
		} else {
			_, text, _ := strings.Cut(m[2], "\n") // the command
			outputs = append(outputs, text)
		}
	}
	if file == "" || len(outputs) != 2 {
		t.Fatalf("the page shows %d outputs", len(outputs))
	}
	return file, outputs
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rules_test.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs a file and returns what it prints.
func run(t *testing.T, text string) (out string, results []*rulestest.Result) {
	t.Helper()
	f, err := rulestest.Load(write(t, text))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for i := range f.Tests {
		res, err := f.Run(t.Context(), &f.Tests[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := res.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		results = append(results, res)
	}
	return b.String(), results
}

// The page's example is a file of tests that passes, and prints what the page
// says.
func TestThePage(t *testing.T) {
	t.Parallel()
	file, outputs := blocks(t)
	got, _ := run(t, file)
	if d := cmp.Diff(outputs[0], got); d != "" {
		t.Error(d)
	}
	// Other expectations, and it fails as the page says.
	broken := strings.NewReplacer(
		"destination: drop.example, by: 6m", "destination: other.example, severity: critical",
		"alerts: []", "alerts: [{rule: upload-ratio}]",
		"- {rule: dns-tunnel, entity: 10.20.1.11, destination: tunnel.example, by: 4m}", "[]",
	).Replace(file)
	got, _ = run(t, broken)
	got = regexp.MustCompile("(unexpectedly: ).*").ReplaceAllString(got, "$1…")
	if d := cmp.Diff(outputs[1], got+"ebbwatch: not as expected: 3 of 3 tests\n"); d != "" {
		t.Error(d)
	}
}

// Recordings are input as well, and what is wrong with them fails a case.
func TestRecordings(t *testing.T) {
	t.Parallel()
	lab, err := filepath.Abs("../quality/testdata/lab")
	if err != nil {
		t.Fatal(err)
	}
	out, results := run(t, `
site: `+lab+`/site.yaml
tests:
  - name: folder
    input: [{path: `+lab+`/exf_https_20m/conn.log.gz, kind: zeek}, {path: `+lab+`/exf_https_20m/ssl.log.gz}, {path: `+lab+`/exf_https_20m/dns.log.gz}]
    alerts: [{rule: upload-ratio}]
  - name: kind
    input: [{path: `+lab+`/exf_https_20m/conn.log.gz, kind: pcap}]
    others: true
  - name: not a recording
    input: [{path: rules_test.yaml}]
  - name: declared
    input: [{path: rules_test.yaml}]
    dead: 1
`)
	want := []bool{true, false, false, true}
	for i, r := range results {
		if r.Passed != want[i] {
			t.Errorf("%s: passed %t\n%s", r.Name, r.Passed, out)
		}
	}
	for _, text := range []string{"conn.log.gz is zeek-", ", not pcap", "1 records cannot be decoded (unknown_format), 0 expected"} {
		if !strings.Contains(out, text) {
			t.Errorf("%q is not in\n%s", text, out)
		}
	}
}

// A wide expectation leaves an alert to the narrow one.
func TestMatching(t *testing.T) {
	t.Parallel()
	const event = `{kind: conn, source.ip: %, source.bytes: 20000000, destination.ip: 203.0.113.9, destination.port: 443, destination.bytes: 4000, network.transport: tcp, network.layer: payload, conn.state: SF, end: 40s}`
	two := "    start: 2026-11-24T10:00:00Z\n    input: [{event: " + strings.Replace(event, "%", "10.0.0.1", 1) + "}, {at: 1m, event: " + strings.Replace(event, "%", "10.0.0.2", 1) + "}]\n"
	out, results := run(t, "tests:\n"+
		"  - name: a\n"+two+"    alerts: [{rule: upload-ratio}, {rule: upload-ratio, entity: 10.0.0.1, source: 10.0.0.1, reason: \"203[.]0\", points: [ratio_and_8mb]}]\n"+
		"  - name: b\n"+two+"    alerts: [{rule: upload-ratio, entity: 10.0.0.1}, {rule: upload-ratio, entity: 10.0.0.1}]\n"+
		"  - name: c\n"+two+"    alerts: [{rule: upload-ratio, by: 50s}, {rule: upload-ratio, by: 1m30s}]\n")
	if results[1].Passed || len(results[1].Missing) != 1 || results[1].Missing[0].Nearest.Entity != "10.0.0.2" || len(results[1].Unexpected) != 0 {
		t.Errorf("b: %+v", results[1])
	}
	if results[2].Passed || len(results[2].Missing) != 1 || results[2].Missing[0].Differences[0] != (rulestest.Difference{Field: "by", Want: "1m30s", Got: "1m40s"}) {
		t.Errorf("c: %+v", results[2])
	}
	if !results[0].Passed {
		t.Error(out)
	}
}

func TestWrongFiles(t *testing.T) {
	t.Parallel()
	const start = "tests: [{name: a, start: 2026-11-24T10:00:00Z, "
	for name, tc := range map[string][2]string{
		"empty":            {"tests: []", "tests is empty"},
		"unknown key":      {"tets: []", "tets"},
		"no input":         {"tests: [{name: a}]", "a: input is empty"},
		"twice":            {"tests: [{name: a}, {name: a}]", `two tests "a"`},
		"no file":          {"tests: [{name: a, input: [{path: gone.log}]}]", "a: input[0]: gone.log: no such file"},
		"unknown kind":     {"tests: [{name: a, input: [{path: rules_test.yaml, kind: syslog}]}]", `no kind "syslog"`},
		"both":             {start + "input: [{path: x, event: {kind: conn}}]}]", "one of path and event"},
		"repeated file":    {"tests: [{name: a, input: [{path: rules_test.yaml, repeat: 2}]}]", "for events"},
		"no time":          {"tests: [{name: a, input: [{event: {kind: conn}}]}]", "no start"},
		"no such event":    {start + "input: [{event: {kind: con}}]}]", `"con"`},
		"no such field":    {start + "input: [{event: {kind: conn, source.adress: 10.0.0.1}}]}]", "event.source.adress: there is no such field of conn events"},
		"nested":           {start + "input: [{event: {kind: conn, source.ip: {a: b}}}]}]", "flat"},
		"bad value":        {start + "input: [{event: {kind: conn, source.ip: ten}}]}]", "source.ip"},
		"bad end":          {start + "input: [{event: {kind: conn, end: soon}}]}]", `event.end: "soon"`},
		"too many":         {start + "input: [{repeat: 100000000, event: {kind: conn}}]}]", "at most 1000000"},
		"bad start":        {"tests: [{name: a, start: monday}]", `"monday" is not a time`},
		"no rule":          {start + "alerts: [{severity: high}]}]", "alerts[0].rule is empty"},
		"unknown rule":     {start + "alerts: [{rule: dns-tunel}]}]", `no "dns-tunel"`},
		"unknown severity": {start + "alerts: [{rule: dns-tunnel, severity: bad}]}]", `"bad" is not low`},
		"retracted":        {start + "alerts: [{rule: dns-tunnel, status: retracted}]}]", `"retracted"`},
		"bad reason":       {start + "alerts: [{rule: dns-tunnel, reason: '('}]}]", "reason"},
		"by without start": {"tests: [{name: a, alerts: [{rule: dns-tunnel, by: 5m}]}]", "start, which is missing"},
		"bad site":         {"site: {detectors: {dns-tunel: {mode: off}}}\ntests: [{name: a}]", "dns-tunel"},
		"no site":          {"site: gone.yaml\ntests: [{name: a}]", "gone.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := write(t, tc[0])
			_, err := rulestest.Load(path)
			if err == nil || !strings.Contains(err.Error(), tc[1]) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v does not say %q and the file", err, tc[1])
			}
		})
	}
}
