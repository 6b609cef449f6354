package icmp_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/internal/race"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/detect/icmp"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// up is the way to the root of the repository.
const up = "../../.."

// tunnels are the recordings with a tunnel: client, peer, and what records of
// connections alone must show (0 for nothing).
var tunnels = map[string]struct {
	client, peer string
	flows        float64
}{
	"ptunnel_up":     {"10.20.66.10", "203.0.113.66", 2},
	"ptunnel_slow":   {"10.20.69.10", "203.0.113.69", 0},
	"ptunnelng_up":   {"10.20.72.10", "203.0.113.72", 2},
	"icmptx_mtu1400": {"10.20.77.10", "203.0.113.77", 3},
	"icmptx_mtu200":  {"10.20.79.10", "203.0.113.79", 2},
}

// complete checks that a signal says all that it should.
func complete(t *testing.T, s *signal.Signal) {
	t.Helper()
	sum := 0.0
	for _, p := range s.Points {
		sum += p.Points
	}
	switch {
	case sum != s.Score, s.Role != signal.RoleExfil, s.Channel != "icmp", s.Subject != s.Destination.IP, s.Source.IP != s.Entity.IP,
		s.Reason == "" || strings.ContainsAny(s.Reason, "\n\r"), s.Severity == "", s.Confidence == "", len(s.Technique) == 0, len(s.Observers) != 1,
		s.Start%detect.HourPane != 0, s.First < s.Start, s.Time < s.First, s.Time >= s.End, s.Entity.Realm == "", s.Bytes == nil, s.Layer == "",
		len(s.Evidence) == 0, len(s.Evidence) > signal.MaxEvidence:
		t.Errorf("incomplete: %s: %d pieces of evidence, points %+v", s.Reason, len(s.Evidence), s.Points)
	}
	for _, e := range s.Evidence {
		var ev event.Event
		if err := event.Decode(e.Record, &ev); err != nil || e.Topic == "" || e.Name == "" || e.Line == 0 {
			t.Errorf("evidence %s line %d of %s at %d: %v", e.Name, e.Line, e.Topic, e.Offset, err)
		}
	}
}

func play(t *testing.T, siteFile []byte, rec detecttest.Recording) []signal.Signal {
	t.Helper()
	list := detecttest.NewPlayer(t, siteFile, icmp.NewTunnel()).Play(rec).Context.Final()
	for i := range list {
		complete(t, &list[i])
	}
	return list
}

// checkDir runs the recordings of a folder, from packets and from Zeek's logs.
func checkDir(t *testing.T, dir string, siteFile []byte, st *site.Site) {
	t.Helper()
	want, tunnel := tunnels[filepath.Base(dir)]
	alert := func(s signal.Signal) bool { return s.Alert }
	packets := play(t, siteFile, detecttest.Packets(t, st, dir, nil))
	if !tunnel && slices.ContainsFunc(packets, alert) {
		t.Errorf("false alarm: %s", packets[0].Reason)
	}
	if tunnel {
		if len(packets) != 1 || !packets[0].Alert || packets[0].Entity.IP != want.client || packets[0].Destination.IP != want.peer || packets[0].Severity != signal.High {
			t.Errorf("from packets: %+v", packets)
		}
	}
	flows := play(t, siteFile, detecttest.Zeek(t, st, dir, nil))
	if slices.ContainsFunc(flows, alert) {
		t.Errorf("records of connections alone make an alert: %s", flows[0].Reason)
	}
	if tunnel {
		score := 0.0
		for _, s := range flows {
			score = max(score, s.Score)
		}
		if score != want.flows {
			t.Errorf("from records of connections: %g points, want %g", score, want.flows)
		}
	}
}

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
	if err != nil || len(dirs) != 3 {
		t.Fatalf("%d recordings: %v", len(dirs), err)
	}
	for _, d := range dirs {
		d = filepath.Dir(d)
		t.Run(filepath.Base(d), func(t *testing.T) {
			t.Parallel()
			checkDir(t, d, siteFile, st)
		})
	}
}

// TestLab runs over all recordings of the lab, with the lab's site file and
// without any.
func TestLab(t *testing.T) {
	t.Parallel()
	root := detecttest.Lab(t, up)
	siteFile, st := siteOf(t, filepath.Join(root, "site.yaml"))
	manifest, err := os.ReadFile(filepath.Join(root, "MANIFEST.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(manifest)), "\n") {
		f := strings.Split(line, "\t")
		if i == 0 {
			continue
		}
		dir := strings.TrimSuffix(f[0], ".pcap")
		if _, tunnel := tunnels[dir]; tunnel != strings.Contains(f[6], "ICMP") {
			t.Errorf("%s: the manifest expects %q", dir, f[6])
		}
		if race.Enabled && !strings.Contains(f[3], "ICMP") {
			continue
		}
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			checkDir(t, filepath.Join(root, dir), siteFile, st)
			checkDir(t, filepath.Join(root, dir), nil, st)
		})
	}
}
