package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const recordings = "../quality/testdata/lab"

// The draft of a site file names the resolver of the lab, is a site file, and is
// taken into account: what it declares is not proposed again.
func TestSiteSuggest(t *testing.T) {
	t.Parallel()
	code, draft, stderr := run(t, "ebbwatch", "site", "suggest", recordings)
	if code != 0 || !strings.Contains(draft, "  - 10.53.0.53  # ") {
		t.Fatalf("exit %d, %s\n%s", code, stderr, draft)
	}
	file := filepath.Join(t.TempDir(), "site.yaml")
	if err := os.WriteFile(file, []byte(draft), 0o600); err != nil {
		t.Fatal(err)
	}
	code, again, stderr := run(t, "ebbwatch", "site", "suggest", "--site", file, recordings)
	if code != 0 || strings.Contains(again, "resolvers:") {
		t.Errorf("exit %d, %s\n%s", code, stderr, again)
	}
}

// The doctor says what detectors can see of Zeek logs, and of packets besides.
func TestDoctor(t *testing.T) {
	t.Parallel()
	sight := func(paths ...string) map[string]string {
		code, out, stderr := run(t, "ebbwatch", append([]string{"doctor", "--json"}, paths...)...)
		if code != 0 {
			t.Fatalf("exit %d, %s", code, stderr)
		}
		var d struct {
			Events    int
			Detectors []struct{ Detector, Sight string }
		}
		if err := json.Unmarshal([]byte(out), &d); err != nil {
			t.Fatal(err)
		}
		if d.Events == 0 {
			t.Error("no events")
		}
		by := map[string]string{}
		for _, g := range d.Detectors {
			by[g.Detector] = g.Sight
		}
		return by
	}
	logs, err := filepath.Glob(recordings + "/ptunnel_up/*.log.gz")
	if err != nil || len(logs) == 0 {
		t.Fatalf("recordings: %v %v", logs, err)
	}
	fromLogs, fromAll := sight(logs...), sight(recordings+"/ptunnel_up")
	if fromLogs["icmp-tunnel"] != "part" || fromAll["icmp-tunnel"] != "clear" || fromAll["archive-sensitive"] != "blind" {
		t.Errorf("logs %v, logs and packets %v", fromLogs, fromAll)
	}
	code, text, stderr := run(t, "ebbwatch", "doctor", recordings+"/ptunnel_up")
	if code != 0 || !strings.Contains(text, "no process records: feed Falco") {
		t.Errorf("exit %d, %s\n%s", code, stderr, text)
	}
}
