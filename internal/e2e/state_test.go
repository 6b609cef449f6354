package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/demo"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/google/go-cmp/cmp"
)

// The commands about what is in the topics, as a user calls them: after the
// attack, with the services stopped, replay gives the alerts again, state show
// says what is held, and state repartition moves it so that the services go on.
func TestReplayAndState(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := demo.Attack().Write(dir, time.Now().Add(-2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, dir, map[string][]string{
		"correlate": nil, "detect": nil,
		"ingest-zeek":  {"-paths", filepath.Join(dir, "zeek"), "-name", "sensor-1"},
		"ingest-falco": {"-paths", filepath.Join(dir, "falco"), "-name", "falco"},
	})
	s.start()
	eventually(t, "the correlated alert", func() bool { return len(correlated(s.alerts())) > 0 })
	// What sends stops first, and what follows reads to the end.
	s.stop("ingest-zeek", "ingest-falco")
	s.drained("detect", 8)
	s.drained("correlate", 1)
	live := s.alerts()

	t.Run("replay", func(t *testing.T) { s.replays(t, live) })
	t.Run("tune", func(t *testing.T) { s.tunes(t, live) })
	t.Run("baseline", s.baselines)
	t.Run("show", s.shows)
	s.stop()
	t.Run("repartition", s.repartitions)

	// The services go on with the state in its new places.
	s.start("detect", "correlate")
	s.stop()
	if d := cmp.Diff(ids(live), ids(s.alerts())); d != "" {
		t.Error("after the migration: " + d)
	}
	checkRevisions(t, s.alerts())
}

// command runs a command against the system's broker.
func (s *system) command(args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	return run(s.t, "ebbwatch", append(args, "--kafka", s.brokers, "--embedded")...)
}

func (s *system) state(service string, flags ...string) (list []stream.PartitionState) {
	s.t.Helper()
	code, stdout, stderr := s.command(append([]string{"state", "show", "--json", "--service", service}, flags...)...)
	if err := json.Unmarshal([]byte(stdout), &list); code != 0 || err != nil {
		s.t.Fatalf("exit %d, %v, stderr %s", code, err, stderr)
	}
	return list
}

// drained waits until a service has read its inputs.
func (s *system) drained(service string, partitions int) {
	s.t.Helper()
	eventually(s.t, service+" to come to the end", func() bool {
		list := s.state(service, "--quick")
		if len(list) != partitions {
			s.t.Fatalf("%s: %d partitions", service, len(list))
		}
		return !slices.ContainsFunc(list, func(p stream.PartitionState) bool { return p.Committed < p.End })
	})
}

func ids(list []alert.Alert) (out []string) {
	for _, a := range list {
		out = append(out, a.ID+" "+string(a.Status))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (s *system) replays(t *testing.T, live []alert.Alert) {
	t.Helper()
	decoded := func(text string) (list []alert.Alert) {
		for line := range strings.Lines(text) {
			var a alert.Alert
			if err := alert.Decode([]byte(line), &a); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			list = append(list, a)
		}
		return list
	}
	code, stdout, stderr := s.command("replay", "--stage", "signals")
	if code != 0 || !strings.Contains(stderr, "alert records") {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if got := decoded(stdout); len(got) != len(live) {
		t.Errorf("%d alert records, %d live", len(got), len(live))
	}
	var topic []string
	for _, r := range s.read("ebb.alerts.v1") {
		topic = append(topic, string(r.Value))
	}
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	slices.Sort(topic) // it has several partitions
	slices.Sort(lines)
	if d := cmp.Diff(topic, lines); d != "" {
		t.Error("the signals, replayed: " + d)
	}

	code, stdout, stderr = s.command("replay", "--final")
	if code != 0 || !strings.Contains(stderr, "signals, facts and marks") {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if got := correlated(decoded(stdout)); !slices.Equal(got, correlated(live)) {
		t.Errorf("the events, replayed: %v, live %v", got, correlated(live))
	}

	count := func() int { return len(s.read("replayed")) }
	for _, step := range []struct {
		flags []string
		code  int
		want  string
		times int
	}{
		{nil, 0, "alert records", 1},
		{nil, 2, "holds records already", 1},
		{[]string{"--append"}, 0, "alert records", 2},
	} {
		code, stdout, stderr = s.command(append([]string{"replay", "--stage", "signals", "--out", "replayed"}, step.flags...)...)
		if code != step.code || stdout != "" || !strings.Contains(stderr, step.want) || count() != step.times*len(live) {
			t.Errorf("--out %v: exit %d, %d records, stderr %q", step.flags, code, count(), stderr)
		}
	}
}

// tunes: without the detector of the transfer the correlated alert goes, with
// the same settings nothing does.
func (s *system) tunes(t *testing.T, live []alert.Alert) {
	t.Helper()
	type comparison struct {
		Counts  map[string]int
		Changes []struct{ Change, ID, Rule string }
	}
	compare := func(flags ...string) (c comparison) {
		code, stdout, stderr := s.command(append([]string{"tune", "--json"}, flags...)...)
		if err := json.Unmarshal([]byte(stdout), &c); code != 0 || err != nil {
			t.Fatalf("exit %d, %v: %s", code, err, stderr)
		}
		return c
	}
	same := compare("--set", "upload-ratio.mode=alert")
	if same.Counts["stays"] == 0 || len(same.Changes) != 0 {
		t.Errorf("the same: %+v", same)
	}
	off := compare("--set", "archive-sensitive.mode=off")
	gone := map[string]bool{}
	for _, x := range off.Changes {
		gone[x.ID+" "+x.Change] = true
	}
	for _, id := range correlated(live) {
		if !gone[id+" goes"] {
			t.Errorf("%s does not go: %+v", id, off)
		}
	}
}

func (s *system) shows(t *testing.T) {
	t.Helper()
	for service, partitions := range map[string]int{"detect": 8, "correlate": 1} {
		list := s.state(service)
		keys := 0
		for _, p := range list {
			if p.Error != "" || p.Report == nil || len(p.Snapshots) == 0 {
				t.Errorf("%s %s/%d: %+v", service, p.Topic, p.Partition, p)
				continue
			}
			keys += p.Report.Keys
		}
		if len(list) != partitions || keys == 0 {
			t.Errorf("%s: %d partitions, %d keys", service, len(list), keys)
		}
		code, stdout, stderr := s.command("state", "show", "--service", service)
		if n := strings.Count(stdout, "ebb."); code != 0 || stderr != "" || n != partitions || !strings.HasPrefix(stdout, "PARTITION") {
			t.Errorf("%s: exit %d, %d lines, stderr %q", service, code, n, stderr)
		}
	}
}

func (s *system) repartitions(t *testing.T) {
	t.Helper()
	before := s.state("detect")
	for _, step := range []struct {
		partitions string
		code       int
		want       string
	}{
		{"ebb.network.v1=2", 1, "ebb.network.v1 has 4 partitions, and Kafka cannot take any away"},
		{"ebb.alerts.v1=8", 1, "ebb.alerts.v1 is no input of detect"},
		{"ebb.network.v1=0", 2, "--partitions ebb.network.v1=0"},
		{"ebb.network.v1=7", 0, "ebb.network.v1 4 → 7"},
		{"ebb.network.v1=7", 0, "everything is in its place"},
	} {
		code, stdout, stderr := s.command("state", "repartition", "--service", "detect", "--partitions", step.partitions)
		text := stdout
		if code != 0 {
			text = lastLine(stderr)
		}
		if code != step.code || !strings.Contains(text, step.want) || !oneLine(text) || code != 0 && stdout != "" {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", step.partitions, code, stdout, stderr)
		}
	}
	after := s.state("detect")
	keys := func(list []stream.PartitionState) (n int) {
		for _, p := range list {
			n += p.Report.Keys
		}
		return n
	}
	if len(after) != len(before)+3 || keys(after) != keys(before) {
		t.Errorf("%d partitions with %d keys, before %d with %d", len(after), keys(after), len(before), keys(before))
	}
}

func lastLine(text string) string {
	if i := strings.LastIndexByte(strings.TrimSuffix(text, "\n"), '\n'); i >= 0 {
		return text[i+1:]
	}
	return text
}

// TestReplayAndStateOfNothing: before a service has run there is nothing, and
// that is no error.
func TestReplayAndStateOfNothing(t *testing.T) {
	t.Parallel()
	s := newSystem(t, t.TempDir(), nil)
	eventually(t, "the broker", func() bool { return strings.Contains(s.broker.log(), "serves") })
	for service, partitions := range map[string]int{"detect": 8, "correlate": 1} {
		list := s.state(service)
		if len(list) != partitions || slices.ContainsFunc(list, func(p stream.PartitionState) bool { return p.Committed >= 0 || p.Error != "" }) {
			t.Errorf("%s: %+v", service, list)
		}
		if code, stdout, stderr := s.command("state", "show", "--service", service); code != 0 || stderr != "" || strings.Count(stdout, "never") != partitions {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", service, code, stdout, stderr)
		}
		if code, stdout, stderr := s.command("state", "repartition", "--service", service); code != 0 || stdout != "everything is in its place\n" {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", service, code, stdout, stderr)
		}
	}
	if code, stdout, stderr := s.command("replay"); code != 0 || stdout != "" || !strings.Contains(stderr, "0 alert records") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// TestWrongUseOfReplayAndState: one line that says what and where, nothing on
// stdout, and 2 for wrong use or 1 for what could not be done.
func TestWrongUseOfReplayAndState(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	site := filepath.Join(dir, "site.yaml")
	if err := os.WriteFile(site, []byte("detectors: {dns-tunel: {mode: off}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody := freePort(t)
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"replay, no broker":             {[]string{"replay", "--kafka", nobody}, 1, nobody},
		"show, no broker":               {[]string{"state", "show", "--service", "detect", "--kafka", nobody}, 1, nobody},
		"repartition, no broker":        {[]string{"state", "repartition", "--service", "detect", "--kafka", nobody}, 1, nobody},
		"show, no service":              {[]string{"state", "show"}, 2, "--service"},
		"show, unknown service":         {[]string{"state", "show", "--service", "detekt"}, 2, "detekt"},
		"repartition, no count":         {[]string{"state", "repartition", "--service", "detect", "--partitions", "ebb.network.v1"}, 2, "ebb.network.v1"},
		"replay from never":             {[]string{"replay", "--from", "whenever", "--kafka", nobody}, 2, "--from"},
		"replay to never":               {[]string{"replay", "--to", "2026-13-01", "--kafka", nobody}, 2, "--to"},
		"replay into a topic of theirs": {[]string{"replay", "--out", "ebb.alerts.v1", "--kafka", nobody}, 2, "ebb.alerts.v1"},
		"replay by a bad site file":     {[]string{"replay", "--site", site, "--kafka", nobody}, 2, "dns-tunel"},
		"replay of a stage":             {[]string{"replay", "--stage", "alerts", "--kafka", nobody}, 2, "--stage"},
		"replay, no configuration":      {[]string{"replay", "--config", filepath.Join(dir, "none.yaml")}, 2, "none.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := run(t, "ebbwatch", tc.args...)
			if last := lastLine(stderr); code != tc.code || stdout != "" || !oneLine(last) || !strings.Contains(last, tc.want) {
				t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
			}
		})
	}
}
