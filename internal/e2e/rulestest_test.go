package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Tests of detection end with 0 or 1, for a person and as JSON.
func TestRulesTest(t *testing.T) {
	t.Parallel()
	lab, err := filepath.Abs(recordings)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rules_test.yaml")
	text := "site: " + lab + "/site.yaml\ntests:\n" +
		"  - {name: upload, input: [{path: " + lab + "/exf_https_20m/conn.log.gz}], alerts: [{rule: upload-ratio}]}\n" +
		"  - {name: silence, input: [{path: " + lab + "/exf_https_20m/conn.log.gz}]}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := run(t, "ebbwatch", "test", "--run", "upload", path); code != 0 || !strings.HasPrefix(stdout, "ok    upload (") || stderr != "" {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
	code, stdout, stderr := run(t, "ebbwatch", "test", "--json", path)
	if code != 1 || stderr != "ebbwatch: not as expected: 1 of 2 tests\n" {
		t.Errorf("exit %d, %q", code, stderr)
	}
	var last struct {
		Test       string
		Passed     bool
		Unexpected []struct{ Rule string }
	}
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	if len(lines) != 2 || last.Test != "silence" || last.Passed || len(last.Unexpected) != 1 || last.Unexpected[0].Rule != "upload-ratio" {
		t.Errorf("%s", stdout)
	}
	if code, _, stderr := run(t, "ebbwatch", "test", "--run", "nothing", path); code != 2 || !oneLine(stderr) || !strings.Contains(stderr, `"nothing"`) {
		t.Errorf("exit %d, %q", code, stderr)
	}
}
