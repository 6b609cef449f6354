package dns_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/internal/race"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/detect/dns"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

func detectors() []detect.Detector {
	return []detect.Detector{dns.NewTunnel(), dns.NewNotDNS(), dns.NewEncrypted()}
}

// finding is what a recording must give.
type finding struct {
	detector, subject, client string
	severity                  string // "" for any
}

// findings are those of the lab's recordings; none for all others.
func findings(dir string) []finding {
	tool, rest, _ := strings.Cut(dir, "_")
	switch dir {
	case "doh_dig_https":
		return []finding{{dns.EncryptedID, "Google Public DNS", "10.20.63.10", signal.Low}}
	case "iodine_over_doh":
		return []finding{{dns.EncryptedID, "Google Public DNS", "10.20.65.10", signal.High}}
	}
	n := map[string]string{
		"iodine_null_res": "1", "iodine_null_dir": "2", "iodine_private_res": "3", "iodine_txt_res": "4", "iodine_cname_res": "8",
		"iodine_a_res": "10", "iodine_txt_base64_res": "14", "iodine_a_M100_res": "27", "iodine_null_idle_res": "33", "iodine_a_slow_M60_res": "36",
		"dns2tcp_txt_res": "41", "dns2tcp_txt_dir": "43", "dns2tcp_txt_slow_res": "46",
		"dig_hex30_a_res": "49", "dig_b32x3_a_res": "50", "dig_hex8_a_slow_res": "52", "dig_b64_txt_res": "58",
	}[dir]
	if n == "" || rest == "" {
		return nil
	}
	zone := map[string]string{"iodine": "iod", "dns2tcp": "d2t", "dig": "dgl"}[tool]
	return []finding{{dns.TunnelID, zone + strings.Repeat("0", 3-len(n)) + n + ".test", "10.20." + n + ".10", ""}}
}

// check compares the alerts of a run with what the recording must give.
func check(t *testing.T, dir string, signals []signal.Signal, want []finding) {
	t.Helper()
	for _, w := range want {
		if !slices.ContainsFunc(signals, func(s signal.Signal) bool {
			return s.Alert && s.Detector == w.detector && s.Subject == w.subject && s.Entity.IP == w.client && s.Source.IP == w.client &&
				(w.severity == "" || s.Severity == w.severity)
		}) {
			t.Errorf("%s: no alert %+v", dir, w)
		}
	}
	for _, s := range signals {
		if s.Alert && !slices.ContainsFunc(want, func(w finding) bool { return s.Detector == w.detector && s.Subject == w.subject }) {
			t.Errorf("%s: false alarm of %s: %s", dir, s.Detector, s.Reason)
		}
		complete(t, &s)
	}
}

// complete checks that a signal says all that it should.
func complete(t *testing.T, s *signal.Signal) {
	t.Helper()
	sum := 0.0
	for _, p := range s.Points {
		sum += p.Points
	}
	switch {
	case sum != s.Score, s.Role != signal.RoleExfil, s.Channel == "", s.Subject == "", s.Reason == "" || strings.ContainsAny(s.Reason, "\n\r"),
		s.Severity == "", s.Confidence == "", len(s.Technique) == 0, len(s.Observers) != 1, s.Start%detect.HourPane != 0,
		s.First < s.Start && s.Detector == dns.TunnelID, s.Time < s.First, s.Time >= s.End, s.End-s.Start > detect.HourSpan,
		s.Entity.Realm == "" || s.Entity.IP == "":
		t.Errorf("incomplete: %+v", s)
	}
	if s.Alert && (len(s.Evidence) == 0 || len(s.Evidence) > signal.MaxEvidence) {
		t.Errorf("%d pieces of evidence: %s", len(s.Evidence), s.Reason)
	}
	for _, e := range s.Evidence {
		var ev event.Event
		if err := event.Decode(e.Record, &ev); err != nil || e.Topic == "" || e.Name == "" || e.Line == 0 {
			t.Errorf("evidence %s line %d of %s at %d: %v", e.Name, e.Line, e.Topic, e.Offset, err)
		}
	}
}

// siteOf parses a site file.
func siteOf(t *testing.T, path string) ([]byte, *site.Site) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	st, err := site.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return data, st
}

// TestRecordings runs over the recordings that are in every clone.
func TestRecordings(t *testing.T) {
	t.Parallel()
	siteFile, st := siteOf(t, filepath.Join("testdata", "site.yaml"))
	dirs, err := filepath.Glob(filepath.Join("testdata", "*", "conn.log.gz"))
	if err != nil || len(dirs) != 6 {
		t.Fatalf("%d recordings: %v", len(dirs), err)
	}
	for _, d := range dirs {
		d = filepath.Dir(d)
		t.Run(filepath.Base(d), func(t *testing.T) {
			t.Parallel()
			p := detecttest.NewPlayer(t, siteFile, detectors()...).Play(detecttest.Zeek(t, st, d, nil))
			check(t, filepath.Base(d), p.Context.Final(), findings(filepath.Base(d)))
		})
	}
}

// TestLab runs over all recordings of the lab, from Zeek's logs and from
// packets, with the lab's site file and without any.
func TestLab(t *testing.T) {
	t.Parallel()
	root := detecttest.Lab(t, up)
	siteFile, st := siteOf(t, filepath.Join(root, "site.yaml"))
	manifest, err := os.ReadFile(filepath.Join(root, "MANIFEST.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	tunnels := 0
	for i, line := range strings.Split(strings.TrimSpace(string(manifest)), "\n") {
		f := strings.Split(line, "\t")
		if i == 0 {
			continue
		}
		dir := strings.TrimSuffix(f[0], ".pcap")
		want := findings(dir)
		isDNS := strings.Contains(f[6], "DNS") || strings.Contains(f[6], "DoH")
		if isDNS != (len(want) > 0) {
			t.Errorf("%s: the manifest expects %q", dir, f[6])
		}
		tunnels += len(want)
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			zeek := detecttest.Zeek(t, st, filepath.Join(root, dir), nil)
			packets := detecttest.Packets(t, st, filepath.Join(root, dir), nil)
			check(t, "zeek/"+dir, detecttest.NewPlayer(t, siteFile, detectors()...).Play(zeek).Context.Final(), want)
			check(t, "packets/"+dir, detecttest.NewPlayer(t, siteFile, detectors()...).Play(packets).Context.Final(), want)
			if race.Enabled {
				return // ten times as slow, and no other code
			}
			// Without a site file the suffix searches of an AD client are those
			// of any domain with random names.
			if dir == "b_dns_ad" {
				want = []finding{{dns.TunnelID, "example.com", "10.20.96.10", signal.High}}
			}
			check(t, "zeek, no site file/"+dir, detecttest.NewPlayer(t, nil, detectors()...).Play(zeek).Context.Final(), want)
			check(t, "packets, no site file/"+dir, detecttest.NewPlayer(t, nil, detectors()...).Play(packets).Context.Final(), want)
		})
	}
	if tunnels != 19 {
		t.Errorf("%d recordings with findings", tunnels)
	}
}

// TestBackground moves each tunnel into the hour in which its client browses:
// in the same minutes, between the same client's questions and connections.
func TestBackground(t *testing.T) {
	t.Parallel()
	root := detecttest.Lab(t, up)
	siteFile, st := siteOf(t, filepath.Join(root, "site.yaml"))
	client := netip.MustParseAddr("10.20.87.10")
	browse := detecttest.Zeek(t, st, filepath.Join(root, "b_dns_browse"), nil)
	begin := browse[0].Available
	dirs, err := filepath.Glob(filepath.Join(root, "*", "conn.log.gz"))
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range dirs {
		d = filepath.Dir(d)
		want := findings(filepath.Base(d))
		if len(want) == 0 || filepath.Base(d) == "doh_dig_https" || race.Enabled && i%4 != 0 {
			continue
		}
		t.Run(filepath.Base(d), func(t *testing.T) {
			t.Parallel()
			shift := int64(0)
			attack := detecttest.Zeek(t, st, d, func(e *event.Event) {
				if shift == 0 {
					at := e.Time
					if e.Start != 0 {
						at = e.Start
					}
					shift = begin + 180*second - at
					if strings.Contains(d, "slow") && strings.HasPrefix(filepath.Base(d), "dig") {
						shift = begin - at // it takes the whole hour
					}
				}
				e.Time += shift
				if e.Start != 0 {
					e.Start += shift
				}
				if e.End != 0 {
					e.End += shift
				}
				e.Source.IP = client
			})
			p := detecttest.NewPlayer(t, siteFile, detectors()...).Play(detecttest.Merge(browse, attack))
			want[0].client = client.String()
			check(t, filepath.Base(d), p.Context.Final(), want)
		})
	}
}
