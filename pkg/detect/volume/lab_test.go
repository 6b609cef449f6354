package volume_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/google/go-cmp/cmp"
)

// wantAlerts are the lab's captures in which upload-ratio alerts, with what the
// lab's site declares. smtp_20m is ambiguous by its manifest: mail is one-sided
// by nature, and the host is no declared relay, so it alerts, at low
// confidence. iodine_over_doh sends as much as it receives (1.0:1): nothing in
// its volume tells it from browsing, which is why encrypted-dns exists.
var wantAlerts = map[string]string{
	"exf_https_20m":  "exf117.test:443 ratio_and_10mb ratio_and_8mb",
	"exf_https_slow": "exf118.test:443 ratio_and_1mb_in_60s",
	"smtp_20m":       "mail-example.net:25 ratio_and_10mb ratio_and_8mb",
}

// wantWeak are those with an external-transfer.
var wantWeak = map[string]string{
	"exf_https_20m":  "exf117.test bytes rare_destination",
	"exf_https_slow": "exf118.test rare_destination",
	"smtp_20m":       "mail-example.net bytes rare_destination",
	"b_https_up_3m":  "saas-example.com rare_destination",
	"icmptx_mtu1400": "203.0.113.77 rare_destination",
}

// undeclared is what a site that declares nothing sees in addition.
var undeclared = map[string]bool{"b_restic_rest": true}

func found(p *detecttest.Player, id string) string {
	var lines []string
	for _, s := range of(p, id) {
		lines = append(lines, s.Subject+" "+points(&s))
	}
	return strings.Join(lines, "\n")
}

func checkCapture(t *testing.T, name string, p *detecttest.Player) {
	t.Helper()
	if d := cmp.Diff(wantAlerts[name], found(p, "upload-ratio")); d != "" {
		t.Errorf("upload-ratio: %s", d)
	}
	if d := cmp.Diff(wantWeak[name], found(p, "external-transfer")); d != "" {
		t.Errorf("external-transfer: %s", d)
	}
	for _, s := range p.Context.Final() {
		if s.Alert != (s.Detector == "upload-ratio") {
			t.Errorf("%s alerts: %v", s.Detector, s.Alert)
		}
		if s.First > s.Time || s.Bytes == nil || s.Layer == "" || len(s.Evidence) == 0 || s.Entity.IP == "" || len(s.Observers) == 0 {
			t.Errorf("incomplete: %+v", s)
		}
	}
}

// TestBundled runs some of the lab's logs that are copied here.
func TestBundled(t *testing.T) {
	t.Parallel()
	siteFile := labSite(t)
	dirs, err := filepath.Glob("testdata/*/conn.log.gz")
	if err != nil || len(dirs) < 5 {
		t.Fatalf("%v %v", dirs, err)
	}
	for _, dir := range dirs {
		dir = filepath.Dir(dir)
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec := detecttest.Zeek(t, parse(t, siteFile), dir, nil)
			checkCapture(t, name, detecttest.NewPlayer(t, []byte(siteFile), detectors()...).Play(rec))
		})
	}
}

// fromPackets are captures without a signal that are run from their packets as
// well; the others are small questions and pings.
var fromPackets = []string{"b_https_down_20m", "b_smtp_small", "iodine_over_doh", "dns2tcp_txt_dir", "ptunnel_up", "icmptx_mtu200", "b_ping_flood10"}

// TestLab runs all captures of the lab, from Zeek's logs, and those with volume
// from packets, which show open connections in snapshots.
func TestLab(t *testing.T) {
	t.Parallel()
	root := detecttest.Lab(t, up)
	siteFile, err := os.ReadFile(filepath.Join(root, "site.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := filepath.Glob(filepath.Join(root, "*", "conn.log.gz"))
	if err != nil || len(dirs) < 40 {
		t.Fatalf("%d captures: %v", len(dirs), err)
	}
	st := parse(t, string(siteFile))
	for _, dir := range dirs {
		dir = filepath.Dir(dir)
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkCapture(t, name, detecttest.NewPlayer(t, siteFile, detectors()...).Play(detecttest.Zeek(t, st, dir, nil)))
			if wantAlerts[name]+wantWeak[name] != "" || undeclared[name] || slices.Contains(fromPackets, name) {
				checkCapture(t, name, detecttest.NewPlayer(t, siteFile, detectors()...).Play(detecttest.Packets(t, st, dir, nil)))
			}
			// A site that declares nothing: what is sanctioned alerts, no
			// other capture does.
			p := detecttest.NewPlayer(t, nil, detectors()...).Play(detecttest.Zeek(t, parse(t, ""), dir, nil))
			if got := found(p, "upload-ratio") != ""; got != (wantAlerts[name] != "" || undeclared[name]) {
				t.Errorf("without a site file: %q", found(p, "upload-ratio"))
			}
		})
	}
}
