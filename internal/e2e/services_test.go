package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/demo"
	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/twmb/franz-go/pkg/kgo"
)

// system is the broker and services as processes.
type system struct {
	t        *testing.T
	dir      string
	services map[string][]string // service → its own arguments
	brokers  string
	broker   *process
	admin    map[string]string // service → address
	running  map[string]*process
}

func newSystem(t *testing.T, dir string, services map[string][]string) *system {
	t.Helper()
	s := &system{t: t, dir: dir, services: services, brokers: freePort(t), admin: map[string]string{}, running: map[string]*process{}}
	s.broker = start(t, "ebbwatch", "broker", "--listen", s.brokers, "--data", filepath.Join(dir, "broker"))
	return s
}

// start starts services, without names all, and waits until they are ready.
func (s *system) start(names ...string) {
	s.t.Helper()
	if len(names) == 0 {
		names = slices.Collect(maps.Keys(s.services))
	}
	for _, service := range names {
		if s.admin[service] == "" {
			s.admin[service] = freePort(s.t)
		}
		args := append([]string{"-kafka.brokers", s.brokers, "-kafka.embedded", "true", "-admin.listen", s.admin[service]}, s.services[service]...)
		s.running[service] = start(s.t, service, args...)
	}
	for _, service := range names {
		eventually(s.t, service+" to be ready", func() bool {
			code, _ := get(s.t, "http://"+s.admin[service]+"/readyz")
			return code == http.StatusOK
		})
	}
}

// stop stops services, without names all.
func (s *system) stop(names ...string) {
	s.t.Helper()
	if len(names) == 0 {
		names = slices.Collect(maps.Keys(s.running))
	}
	for _, service := range names {
		s.running[service].stop()
		delete(s.running, service)
	}
}

// page is what a service exposes now.
func (s *system) page(service string) string {
	s.t.Helper()
	_, body := get(s.t, "http://"+s.admin[service]+"/metrics")
	return body
}

func (s *system) read(topic string) []*kgo.Record {
	s.t.Helper()
	return readTopic(s.t, s.brokers, topic)
}

func (s *system) alerts() []alert.Alert {
	s.t.Helper()
	return alertsOf(s.t, s.brokers)
}

// correlated are the ids of the alerts that stand as staging-then-exfil.
func correlated(list []alert.Alert) []string {
	last := map[string]alert.Alert{}
	for _, a := range list {
		last[a.ID] = a
	}
	var ids []string
	for id, a := range last {
		if a.Detector == alert.RuleJoined && a.Status != alert.Retracted {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// The services as separate processes find the attack, drain at SIGTERM, and
// go on at a second start without repeating an alert.
func TestServicesAsProcesses(t *testing.T) {
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
	s.stop()
	before := s.alerts()
	if ids := correlated(before); len(ids) != 1 {
		t.Errorf("%d staging-then-exfil alerts, want 1", len(ids))
	}
	checkRevisions(t, before)

	// The second start goes on with what comes now.
	s.start()
	f, err := os.OpenFile(filepath.Join(dir, "zeek", "dns.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	now := float64(time.Now().UnixMicro()) / 1e6
	fmt.Fprintf(f, `{"ts":%.6f,"uid":"Cafter","id.orig_h":"10.20.87.10","id.orig_p":5353,"id.resp_h":"10.53.0.53","id.resp_p":53,"proto":"udp","trans_id":1,"query":"after-restart.example.com","qtype":1,"qtype_name":"A","rcode":0,"rcode_name":"NOERROR","rejected":false}`+"\n", now)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	count := func() (n int) {
		for _, r := range s.read("ebb.network.v1") {
			if strings.Contains(string(r.Value), "after-restart.example.com") {
				n++
			}
		}
		return n
	}
	eventually(t, "the record after the restart", func() bool { return count() > 0 })
	s.stop()
	after := s.alerts()
	checkRevisions(t, after)
	if ids := correlated(after); len(ids) != 1 {
		t.Errorf("%d staging-then-exfil alerts after the second start, want 1", len(ids))
	}
	if n := count(); n != 1 {
		t.Errorf("the record after the restart stands %d times in the topic", n)
	}
	s.broker.stop()
}

// checkRevisions: no revision of an alert comes twice, and none is left out.
func checkRevisions(t *testing.T, list []alert.Alert) {
	t.Helper()
	next := map[string]uint64{}
	for _, a := range list {
		if want := next[a.ID] + 1; a.Revision != want {
			t.Errorf("alert %s: revision %d, want %d", a.ID, a.Revision, want)
		}
		next[a.ID] = a.Revision
	}
}
