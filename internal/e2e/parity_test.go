package e2e

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/demo"
	"github.com/ebbwatch/ebbwatch/pkg/alert"
	gocmp "github.com/google/go-cmp/cmp"
)

// essence is what a hunt and the services must agree on.
type essence struct {
	ID, Detector, Status, Severity, Entity string
	Points                                 string
}

func essenceOf(a *alert.Alert) essence {
	var points []string
	for _, p := range a.Points {
		data, err := json.Marshal(p)
		if err != nil {
			panic(err)
		}
		points = append(points, string(data))
	}
	slices.Sort(points)
	status := a.Status
	if status == alert.Open || status == alert.Updated {
		status = "standing" // how many revisions it took is not the matter
	}
	return essence{a.ID, a.Detector, string(status), a.Severity, a.Entity.Name, strings.Join(points, " ")}
}

func sorted(list []essence) []essence {
	slices.SortFunc(list, func(a, b essence) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// The same records through the services and through a hunt give the same
// alerts.
func TestHuntEqualsTheServices(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(t *testing.T, dir string){
		"attack": func(t *testing.T, dir string) {
			t.Helper()
			if err := demo.Attack().Write(dir, time.Now().Add(-2*time.Minute)); err != nil {
				t.Fatal(err)
			}
		},
		"dns tunnel in an hour of browsing": func(t *testing.T, dir string) { t.Helper(); lab(t, dir, "b_dns_browse", "iodine_txt_res") },
		"slow dns tunnel":                   func(t *testing.T, dir string) { t.Helper(); lab(t, dir, "dig_hex8_a_slow_res") },
		"uploads": func(t *testing.T, dir string) {
			t.Helper()
			lab(t, dir, "exf_https_slow", "iodine_over_doh", "b_https_up_3m")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			prepare(t, dir)
			cfg := demo.Configuration(dir)
			if _, err := os.Stat(filepath.Join(dir, "falco")); err != nil {
				cfg.Falco.Paths = nil
			}
			// One sensor a folder, on both sides.
			cfg.Zeek.Name, cfg.Falco.Name = "", ""
			var live, hunted []essence
			for _, a := range liveFolder(t, cfg) {
				live = append(live, essenceOf(&a))
			}
			args := []string{"hunt", "--json"}
			for _, sub := range []string{"zeek", "falco"} {
				if _, err := os.Stat(filepath.Join(dir, sub)); err == nil {
					args = append(args, filepath.Join(dir, sub))
				}
			}
			code, stdout, stderr := run(t, "ebbwatch", args...)
			if code != 3 {
				t.Fatalf("hunt: exit %d, want 3\n%s", code, stderr)
			}
			for line := range strings.SplitSeq(strings.TrimSpace(stdout), "\n") {
				var a alert.Alert
				if err := alert.Decode([]byte(line), &a); err != nil {
					t.Fatal(err)
				}
				hunted = append(hunted, essenceOf(&a))
			}
			if len(live) == 0 {
				t.Error("the services raised no alert")
			}
			if d := gocmp.Diff(sorted(live), sorted(hunted)); d != "" {
				t.Errorf("(-services +hunt)\n%s", d)
			}
		})
	}
}

// lab copies the Zeek logs of recordings, a sensor each, and skips where they
// are absent.
func lab(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		from := filepath.Join("..", "..", "..", "shared", "data", "lab", name)
		logs, err := filepath.Glob(filepath.Join(from, "*.log.gz"))
		if err != nil || len(logs) == 0 {
			t.Skip("the lab's recordings are not beside the checkout")
		}
		to := filepath.Join(dir, "zeek", name)
		if err := os.MkdirAll(to, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, log := range logs {
			data, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(to, filepath.Base(log)), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}
