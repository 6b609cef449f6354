package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/demo"
	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/twmb/franz-go/pkg/kgo"
)

// system is the broker and all services as processes.
type system struct {
	t       *testing.T
	dir     string
	brokers string
	broker  *process
	admin   map[string]string // service → address
	running []*process        // in order of start
}

func newSystem(t *testing.T, dir string) *system {
	t.Helper()
	s := &system{t: t, dir: dir, brokers: freePort(t), admin: map[string]string{}}
	s.broker = start(t, "ebbwatch", "broker", "--listen", s.brokers, "--data", filepath.Join(dir, "broker"))
	return s
}

// start starts the services and waits until they are ready.
func (s *system) start() {
	s.t.Helper()
	s.running = nil
	for service, extra := range map[string][]string{
		"correlate": nil, "detect": nil,
		"ingest-zeek":  {"-paths", filepath.Join(s.dir, "zeek"), "-name", "sensor-1"},
		"ingest-falco": {"-paths", filepath.Join(s.dir, "falco"), "-name", "falco"},
	} {
		if s.admin[service] == "" {
			s.admin[service] = freePort(s.t)
		}
		args := append([]string{"-kafka.brokers", s.brokers, "-kafka.embedded", "true", "-admin.listen", s.admin[service]}, extra...)
		s.running = append(s.running, start(s.t, service, args...))
	}
	for service, admin := range s.admin {
		eventually(s.t, service+" to be ready", func() bool { code, _ := get(s.t, "http://"+admin+"/readyz"); return code == http.StatusOK })
	}
}

func (s *system) stop() {
	s.t.Helper()
	for _, p := range s.running {
		p.stop()
	}
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
// go on at a second start without repeating an alert. Their metrics say what
// they have sent.
func TestServicesAsProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := demo.Attack().Write(dir, time.Now().Add(-2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, dir)
	s.start()
	eventually(t, "the correlated alert", func() bool { return len(correlated(s.alerts())) > 0 })
	checkMetrics(t, s)
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

// families are the required metric families.
var families = []string{
	"exfil_volumetric_alerts_total", "exfil_dns_tunnelling_suspected_total", "exfil_icmp_tunnel_suspected_total", "exfil_staging_events_total",
	"exfil_correlated_alerts_total", "exfil_s3_bulk_read_alerts_total", "exfil_dlp_findings_total", "exfil_detection_pipeline_lag_seconds",
}

// checkMetrics: all families are exposed, the counters equal the first
// revisions that were sent, and each stage tells its lag.
func checkMetrics(t *testing.T, s *system) {
	t.Helper()
	page := func(service string) string {
		_, body := get(t, "http://"+s.admin[service]+"/metrics")
		return body
	}
	for service, stage := range map[string]string{
		"ingest-zeek": "zeek_ingestion", "ingest-falco": "falco_ingestion", "detect": "detect", "correlate": "correlate",
	} {
		eventually(t, "the lag of "+stage, func() bool {
			return strings.Contains(page(service), `exfil_detection_pipeline_lag_seconds{stage="`+stage+`"}`)
		})
		body := page(service)
		for _, f := range families {
			if !strings.Contains(body, "# TYPE "+f+" ") {
				t.Errorf("%s does not expose %s", service, f)
			}
		}
	}
	var staged, joined float64
	eventually(t, "the counters", func() bool {
		staged, joined = sum(page("detect"), "exfil_staging_events_total"), sum(page("correlate"), "exfil_correlated_alerts_total")
		return staged > 0 && joined > 0
	})
	var wantStaged, wantJoined float64
	for _, r := range s.read("ebb.signals.v1") {
		var sig signal.Signal
		if signal.Decode(r.Value, &sig) == nil && sig.Role == signal.RoleStaging && sig.Revision == 1 {
			wantStaged++
		}
	}
	for _, a := range s.alerts() {
		if a.Joined != nil && a.Joined.Revision == a.Revision {
			wantJoined++
		}
	}
	if staged != wantStaged || joined != wantJoined {
		t.Errorf("counters say %v staged and %v joined, the topics %v and %v", staged, joined, wantStaged, wantJoined)
	}
}

// sum adds up the series of a family.
func sum(page, family string) (total float64) {
	sc := bufio.NewScanner(strings.NewReader(page))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		if line := sc.Text(); strings.HasPrefix(line, family+"{") {
			var v float64
			if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &v); err == nil {
				total += v
			}
		}
	}
	return total
}
