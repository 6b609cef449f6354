package e2e

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/app"
	"github.com/ebbwatch/ebbwatch/internal/demo"
	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// The demonstration ends with exactly one critical alert that tells the whole
// story.
func TestDemo(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := run(t, "ebbwatch", "demo", "--json")
	if code != 0 {
		t.Fatalf("exit %d\n%s\n%s", code, stdout, stderr)
	}
	var joined []alert.Alert
	for line := range strings.SplitSeq(strings.TrimSpace(stdout), "\n") {
		var a alert.Alert
		if err := alert.Decode([]byte(line), &a); err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		if a.Detector == alert.RuleJoined {
			joined = append(joined, a)
		}
	}
	if len(joined) != 1 {
		t.Fatalf("%d staging-then-exfil alerts, want 1\n%s", len(joined), stdout)
	}
	a := joined[0]
	if a.Severity != "critical" || a.Joined == nil {
		t.Fatalf("severity %s, joined %v", a.Severity, a.Joined)
	}
	for what, ok := range map[string]bool{
		"host":        a.Entity.Name == "db-prod-3",
		"address":     strings.Contains(strings.Join(a.Entity.Addresses, " "), "10.20.117.10"),
		"staged":      strings.Contains(a.Joined.Staged.Subject, "postgresql"),
		"destination": a.Joined.Sent.Destination.Domain == "drop.exf117.test" && a.Joined.Sent.Destination.IP == "203.0.113.117",
		"bytes":       a.Bytes != nil && *a.Bytes > 20_000_000,
		"delta":       a.Joined.Delta > 8 && a.Joined.Delta < 10,
		"action":      strings.Contains(a.Action, "memory image"),
	} {
		if !ok {
			t.Errorf("%s is missing or wrong:\n%s", what, a.Text())
		}
	}
	planes := map[string]bool{}
	for _, e := range a.Evidence {
		planes[e.Topic] = true
		if e.Name == "" || e.Line == 0 || (len(e.Record) == 0 && !a.EvidenceTrimmed) {
			t.Errorf("evidence does not lead back: %+v", e)
		}
	}
	if !planes["ebb.network.v1"] || !planes["ebb.host.v1"] {
		t.Errorf("evidence of %v, want both planes", planes)
	}
	if !strings.Contains(stderr, "recording") || !strings.Contains(stderr, "composed") {
		t.Errorf("the output does not say what is recorded and what composed:\n%s", stderr)
	}
}

// Without either half, on another host, or too far apart there is no
// correlated alert.
func TestNoCorrelatedAlert(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*demo.Scenario){
		"no staging":         func(s *demo.Scenario) { s.Staging = false },
		"no transfer":        func(s *demo.Scenario) { s.Transfer = false },
		"another host":       func(s *demo.Scenario) { s.TransferHost = "web-prod-1" },
		"66 minutes between": func(s *demo.Scenario) { s.Gap = 66 * time.Minute },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := demo.Attack()
			s.Background = false
			change(&s)
			for _, a := range live(t, s) {
				if a.Joined != nil {
					t.Errorf("a correlated alert:\n%s", a.Text())
				}
			}
		})
	}
}

// live runs a scenario through all services on an embedded broker and returns
// the alerts that stand.
func live(t *testing.T, s demo.Scenario) []alert.Alert {
	t.Helper()
	dir := t.TempDir()
	if err := s.Write(dir, time.Now().Add(-2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	return liveFolder(t, demo.Configuration(dir))
}

// liveFolder runs a configuration until its sources are read to their end and
// everything has gone through, and returns the alerts that stand.
func liveFolder(t *testing.T, cfg *app.Everything) []alert.Alert {
	t.Helper()
	cfg.Zeek.Once, cfg.Falco.Once, cfg.Packet.Once, cfg.Flow.Once, cfg.CloudTrail.Once = true, true, true, true, true
	log := slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	address := make(chan string, 1)
	done := make(chan error, 1)
	go func() {
		done <- app.RunEverything(ctx, app.NewRoom(log), cfg, func(brokers, _ string) { address <- brokers })
	}()
	var out []alert.Alert
	select {
	case brokers := <-address:
		throughput(t, brokers, cfg)
		out = standing(alertsOf(t, brokers))
	case err := <-done:
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return out
}

// throughput waits until the closing mark of every source has gone through
// detect and correlate.
func throughput(t *testing.T, brokers string, cfg *app.Everything) {
	t.Helper()
	want := map[string]int{"ebb.network.v1": 0, "ebb.host.v1": 0, "ebb.cloud.v1": 0}
	for topic, sources := range map[string][]*ingest.Config{
		"ebb.network.v1": {&cfg.Zeek, &cfg.Flow, &cfg.Packet}, "ebb.host.v1": {&cfg.Falco}, "ebb.cloud.v1": {&cfg.CloudTrail},
	} {
		for _, s := range sources {
			if len(s.Paths) > 0 {
				want[topic]++
			}
		}
	}
	for topic, n := range want {
		if n == 0 {
			continue
		}
		eventually(t, "the closing marks on "+topic, func() bool {
			closing := map[string]bool{}
			for _, r := range readTopic(t, brokers, topic) {
				var m event.Mark
				if event.DecodeMark(r.Value, &m) == nil && m.Kind == "mark" && m.Closing {
					closing[m.Instance] = true
				}
			}
			return len(closing) == n
		})
	}
	// Nothing writes events any more: detect comes to their end, and after it
	// correlate to the end of the signals.
	for _, group := range []string{"detect", "correlate"} {
		eventually(t, group+" to come to the end", func() bool { return lag(t, brokers, group) == 0 })
	}
}

type testLog struct{ t *testing.T }

// Write logs a line of the services.
func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}
