package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// TestSiteFileChangesWhileServicesRun: a changed site file becomes an epoch of
// the running services, by the watch and by SIGHUP; one that is not valid is
// refused and said; and after kill -9 the same records are judged as they were,
// by the site that held for them.
func TestSiteFileChangesWhileServicesRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lines := dnsLines(t, "iodine_txt_res")
	// What is off keeps its windows: the tunnel must still grow after the change.
	const few = 15
	half := len(lines) / 2
	path := filepath.Join(dir, "site.yaml")
	const off = "resolvers: [10.53.0.53]\ndetectors: {dns-tunnel: {mode: off}}\n"
	const on = "resolvers: [10.53.0.53]\n"
	writeFile(t, path, []byte(off))
	log := filepath.Join(dir, "zeek", "dns.log")
	writeFile(t, log, bytes.Join(lines[:few], nil))
	site := []string{"-site", path}
	s := newSystem(t, dir, map[string][]string{
		"correlate": site, "detect": append([]string{"-snapshot_cycle", "1s"}, site...),
		"ingest-zeek": append([]string{"-paths", filepath.Join(dir, "zeek"), "-name", "sensor"}, site...),
	})
	s.start()
	feed := func(part [][]byte) {
		t.Helper()
		want := events(s) + len(part)
		f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(bytes.Join(part, nil)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the records to be written", func() bool { return events(s) == want })
		settle(t, s.brokers)
	}
	eventually(t, "the first records", func() bool { return events(s) == few })
	settle(t, s.brokers)
	if n := tunnels(t, s); n != 0 {
		t.Fatalf("%d signals of a detector that is off", n)
	}

	// What is not valid is refused by every service; the old one holds.
	writeFile(t, path, []byte("resolvers: [10.53.0.53]\ndetectors: {dns-tunel: {mode: off}}\n"))
	for service, p := range s.running {
		eventually(t, service+" to refuse it", func() bool { return strings.Contains(s.page(service), "ebbwatch_site_refused 1") })
		// What a process writes arrives a moment after its gauge.
		eventually(t, service+" to say so", func() bool { return strings.Contains(p.log(), "the changed site file is refused") })
	}
	feed(lines[few : few+10])
	if n := tunnels(t, s); n != 0 {
		t.Errorf("%d signals after the refused file", n)
	}

	for service, p := range s.running {
		if log := p.log(); strings.Count(log, "the changed site file is refused") != 1 || !strings.Contains(log, "dns-tunel") {
			t.Errorf("%s does not say once what is wrong with the file:\n%s", service, log)
		}
	}

	// A valid one holds from the next records on, without a restart.
	writeFile(t, path, []byte(on))
	for service, p := range s.running {
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, service+" to take it", func() bool {
			page := s.page(service)
			return strings.Contains(page, `ebbwatch_site_reloads_total{result="applied"} 1`) && strings.Contains(page, "ebbwatch_site_refused 0")
		})
	}
	eventually(t, "the epoch to hold in every partition", func() bool {
		return strings.Count(s.running["detect"].log(), `msg="epoch holds"`) == 2*8+8 // operator and site at first, then site; 4+2+2 partitions
	})
	feed(lines[few+10 : half])
	if tunnels(t, s) == 0 {
		t.Fatal("no signal after the detector was switched on")
	}

	// Killed: what is judged again is judged as it was. The epochs are those of
	// the log, not those of the file at the start.
	if err := s.running["detect"].cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.running["detect"].wait()
	before := signalsOf(t, s)
	s.start("detect")
	settle(t, s.brokers)
	after := signalsOf(t, s)
	if len(after) != len(before) {
		t.Errorf("%d signals after the restart, %d before: a replay emits nothing", len(after), len(before))
	}
	feed(lines[half:])
	next := map[string]uint64{}
	for _, sig := range signalsOf(t, s) {
		if sig.Revision != next[sig.ID]+1 {
			t.Errorf("signal %s: revision %d after %d", sig.ID, sig.Revision, next[sig.ID])
		}
		next[sig.ID] = sig.Revision
	}
	checkRevisions(t, s.alerts())
	if log := s.running["detect"].log(); strings.Contains(log, "epoch holds") {
		t.Error("the restart declared an epoch anew that holds already")
	}
	s.stop()
	s.broker.stop()
}

// events counts the dns events on the network topic.
func events(s *system) (n int) {
	for _, r := range s.read("ebb.network.v1") {
		if kindOf(r) == "dns" {
			n++
		}
	}
	return n
}

func signalsOf(t *testing.T, s *system) (out []signal.Signal) {
	t.Helper()
	for _, r := range s.read("ebb.signals.v1") {
		if kindOf(r) != signal.KindSignal {
			continue
		}
		var sig signal.Signal
		if err := signal.Decode(r.Value, &sig); err != nil {
			t.Fatal(err)
		}
		out = append(out, sig)
	}
	return out
}

func tunnels(t *testing.T, s *system) (n int) {
	t.Helper()
	for _, sig := range signalsOf(t, s) {
		if sig.Detector == "dns-tunnel" {
			n++
		}
	}
	return n
}

// dnsLines are the lines of a recording's dns.log.
func dnsLines(t *testing.T, name string) (lines [][]byte) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "data", "lab", name, "dns.log.gz"))
	if err != nil {
		t.Skip("the lab's recordings are not beside the checkout")
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(plain) {
		if json.Valid(bytes.TrimSpace(line)) {
			lines = append(lines, line)
		}
	}
	return lines
}
