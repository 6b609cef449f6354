package input_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWalk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root := filepath.Join(dir, "logs")
	conn := tsvLog(3)
	dns := strings.ReplaceAll(string(conn), "#path\tconn", "#path\tdns")
	for name, data := range map[string][]byte{
		"logs/dmz/current/conn.log":      conn,
		"logs/dmz/2026-01-05/dns.log.gz": gzipped(t, []byte(dns)),
		"logs/dmz/2026-01-05/conn.log":   []byte(connJSON),
		"logs/dmz/conn.log.gz":           gzipped(t, tsvLog(2)),
		"logs/dmz/conn.log":              tsvLog(2), // the same content
		"logs/lan/conn.log":              []byte(connJSON),
		"logs/lan/.shadow.conn.log":      []byte(connJSON),
		"logs/lan/.git/conn.log":         []byte(connJSON),
		"logs/lan/README":                []byte("no log\n"),
		"logs/lan/empty.log":             {},
		"logs/lan/gcp.json":              []byte(`{"logName":"projects/p/logs/x","insertId":"1"}`),
		"logs/2026/01/05/trail.json":     trailFile(2),
		"single/x.bin":                   []byte("what is this?"),
	} {
		write(t, filepath.Join(dir, filepath.FromSlash(name)), data)
	}
	inputs, skipped, err := input.Walk([]string{root, filepath.Join(dir, "single", "x.bin"), filepath.Join(root, "lan", "conn.log")}, input.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rel := func(path string) string {
		r, err := filepath.Rel(dir, path)
		if err != nil {
			t.Fatal(err)
		}
		return filepath.ToSlash(r)
	}
	got := map[string]string{}
	for _, in := range inputs {
		got[rel(in.Name())] = in.Observer() + " " + in.Format().String()
	}
	want := map[string]string{
		"logs/2026/01/05/trail.json":     "logs cloudtrail",
		"logs/dmz/2026-01-05/conn.log":   "logs/dmz zeek-json",
		"logs/dmz/2026-01-05/dns.log.gz": "logs/dmz zeek-tsv",
		"logs/dmz/conn.log":              "logs/dmz zeek-tsv",
		"logs/dmz/current/conn.log":      "logs/dmz zeek-tsv",
		"logs/lan/conn.log":              "logs/lan zeek-json",
		"logs/lan/gcp.json":              "logs/lan gcp-log",
		"single/x.bin":                   "single unknown",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	reasons := map[string]string{}
	for _, s := range skipped {
		reason, _, _ := strings.Cut(s.Reason, dir)
		reasons[rel(s.Path)] = strings.TrimSpace(reason)
	}
	wantSkipped := map[string]string{
		"logs/dmz/conn.log.gz": "a copy of",
		"logs/lan/README":      "format not recognised",
		"logs/lan/empty.log":   "empty",
	}
	if d := cmp.Diff(wantSkipped, reasons); d != "" {
		t.Error(d)
	}

	rec := decodetest.New(t)
	names := map[string]int{}
	rec.Each = func(e *event.Event) { names[e.Observer.Name]++ }
	for _, in := range inputs {
		if err := in.Read(context.Background(), rec); err != nil {
			t.Error(err)
		}
	}
	if d := cmp.Diff(map[string]int{"logs": 2, "logs/dmz": 3 + 3 + 2 + 1, "logs/lan": 1}, names); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]int{"unknown_format": 1}, rec.Deads); d != "" {
		t.Error(d)
	}
}

func TestWalkNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	if _, _, err := input.Walk([]string{filepath.Join(t.TempDir(), "nowhere")}, input.Options{}); err == nil {
		t.Error("no error for a path that is not there")
	}
}

func TestObserverNames(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/srv/zeek/conn.log":                        "zeek",
		"/srv/zeek/current/conn.log":                "zeek",
		"/srv/zeek/2026-01-05/conn.log.gz":          "zeek",
		"/srv/zeek/dmz/20260105/conn.log.gz":        "zeek/dmz",
		"/srv/zeek/01/2026/01/05/10/conn.log":       "zeek/01",
		"/srv/zeek/02/conn.log":                     "zeek/02",
		"/srv/zeek/a/year=2026/month=01/day=05/x.z": "zeek/a",
		"/srv/zeek/lan/1984x/conn.log":              "zeek/lan/1984x",
	} {
		if got := input.ObserverName("/srv/zeek", path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := input.ObserverName("/srv/zeek/2026-01-05", "/srv/zeek/2026-01-05/conn.log"); got != "zeek" {
		t.Errorf("a day as the root: %q", got)
	}
}

// Two folders never share a name, though their last parts do.
func TestFoldersKeepApart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a", "logs", "conn.log"), []byte(connJSON))
	write(t, filepath.Join(dir, "b", "logs", "conn.log"), []byte(connJSON))
	inputs, _, err := input.Walk([]string{filepath.Join(dir, "a", "logs"), filepath.Join(dir, "b", "logs")}, input.Options{})
	if err != nil || len(inputs) != 2 {
		t.Fatalf("%d inputs, error %v", len(inputs), err)
	}
	names := map[string]bool{inputs[0].Observer(): true, inputs[1].Observer(): true}
	if len(names) != 2 {
		t.Errorf("names %v", maps.Keys(names))
	}
}
