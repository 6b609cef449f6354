package ingest_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/internal/ingest"
)

func TestConfigFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(`
sources:
  - name: dmz
    paths: [/var/log/zeek/dmz, /spool/*/conn.log]
    realm: prod
    format: zeek
    lateness: 30s
    zeek: {field_names: {src: id.orig_h}, separator: ";"}
  - paths: [/flows]
    columns: ${version} ${srcaddr} ${dstaddr} ${start} ${end}
commit_interval: 100ms
webhook: {listen: "127.0.0.1:8080"}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := ingest.Default()
	var out bytes.Buffer
	action, err := config.Source{
		Service: "ingest-zeek", Args: []string{"-config", path, "-once", "true", "-webhook.token", "hunter2"}, Stdout: &out, Stderr: &out,
		LookupEnv: func(k string) (string, bool) { return "1m", k == "EBB_SETTLE" },
	}.Load(&cfg, "v1")
	if err != nil || action != config.Run {
		t.Fatalf("%v %v", action, err)
	}
	want := ingest.Default()
	want.Sources = []ingest.Source{
		{
			Name: "dmz", Paths: []string{"/var/log/zeek/dmz", "/spool/*/conn.log"}, Realm: "prod", Format: "zeek", Lateness: 30 * time.Second,
			Zeek: ingest.ZeekSource{FieldNames: map[string]string{"src": "id.orig_h"}, Separator: ";"},
		},
		{Paths: []string{"/flows"}, Columns: "${version} ${srcaddr} ${dstaddr} ${start} ${end}"},
	}
	want.CommitInterval, want.Settle, want.Once = 100*time.Millisecond, time.Minute, true
	want.Webhook.Listen, want.Webhook.Token = "127.0.0.1:8080", "hunter2"
	if d := cmp.Diff(want, cfg); d != "" {
		t.Error(d)
	}
}

func TestValidateNamesAllProblems(t *testing.T) {
	t.Parallel()
	c := ingest.Default()
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "sources: is empty") {
		t.Errorf("nothing to read: %v", err)
	}
	c.Paths = []string{"/x"}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	c.Sources = []ingest.Source{
		{Name: "a"},
		{Name: "b", Paths: []string{"", "[", "/x"}, Format: "syslog", Columns: "${nonsense}", Lateness: -1},
		{Name: "b", Paths: []string{"/y"}},
	}
	c.Paths, c.Name = []string{"/z"}, "b"
	c.CommitInterval, c.PollInterval, c.FinishAfter = time.Minute, 0, -1
	c.MaxLine, c.Webhook.Queue, c.Webhook.Listen, c.Webhook.Name = 0, -1, "nowhere", ""
	err := c.Validate()
	for _, key := range []string{
		"sources[0].paths: ", "sources[1].paths[0]: ", "sources[1].paths[1]: ", "sources[1].format: ", "sources[1].columns: ", "sources[1].lateness: ",
		"sources[2]: ", "paths: ", "commit_interval: ", "poll_interval: ", "finish_after: ", "max_line: ", "webhook.queue: ", "webhook.listen: ", "webhook.name: ",
	} {
		if err == nil || !strings.Contains("\n"+err.Error(), "\n"+key) {
			t.Errorf("no problem of %s in:\n%v", key, err)
		}
	}
}
