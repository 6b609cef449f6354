package telemetry_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/telemetry"
	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// gather returns every series as NAME{label=value,…} → value.
func gather(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			slices.Sort(labels)
			v := m.GetCounter().GetValue()
			if f.GetType() == dto.MetricType_GAUGE {
				v = m.GetGauge().GetValue()
			}
			out[fmt.Sprint(f.GetName(), labels)] = v
		}
	}
	return out
}

func alertRecord(t *testing.T, a alert.Alert) operator.Output {
	t.Helper()
	data, err := a.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return operator.Output{Kind: alert.Kind, Value: data}
}

func signalRecord(t *testing.T, s signal.Signal) operator.Output {
	t.Helper()
	data, err := s.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return operator.Output{Kind: signal.KindSignal, Value: data}
}

func TestAllFamiliesArePresentFromTheStart(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	x := telemetry.New(reg, 10)
	x.Lag(telemetry.StageDetect, time.Second)
	got := gather(t, reg)
	for _, name := range []string{
		"exfil_volumetric_alerts_total[dst_ip=other protocol=other src_ip=other]", "exfil_dns_tunnelling_suspected_total[resolver=other src_ip=other]",
		"exfil_icmp_tunnel_suspected_total[dst_ip=other src_ip=other]", "exfil_staging_events_total[event_type=other host=other]",
		"exfil_correlated_alerts_total[host=other severity=other]", "exfil_s3_bulk_read_alerts_total[bucket=other principal=other]",
		"exfil_dlp_findings_total[resource=other sensitivity=other]", "exfil_detection_pipeline_lag_seconds[stage=detect]",
	} {
		if _, ok := got[name]; !ok {
			t.Errorf("no %s in %v", name, got)
		}
	}
}

func TestFirstRevisionsCountOnce(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	x := telemetry.New(reg, 10)
	dns := alert.Alert{
		ID: "a", Revision: 1, Status: alert.Open, Detector: "dns-tunnel", Time: 1e15, Severity: "high", Confidence: "high",
		Entity: alert.Entity{Type: "address", Name: "10.0.0.1"}, Source: signal.Endpoint{IP: "10.0.0.1"}, Destination: signal.Endpoint{IP: "10.53.0.53", Domain: "t.test"},
	}
	x.Alerts([]operator.Output{alertRecord(t, dns)})
	dns.Revision = 2
	x.Alerts([]operator.Output{alertRecord(t, dns)})
	dns.Revision, dns.Detector, dns.Severity = 3, "staging-then-exfil", "critical"
	dns.Entity = alert.Entity{Type: "host", Name: "web-1"}
	dns.Joined = &alert.Joined{Revision: 3}
	x.Alerts([]operator.Output{alertRecord(t, dns)})
	dns.Revision = 4
	x.Alerts([]operator.Output{alertRecord(t, dns)})

	size := func(n uint64) *uint64 { return &n }
	transfer := signal.Signal{ID: "s", Revision: 1, Detector: "external-transfer", Key: "k", Role: signal.RoleExfil, Entity: signal.Entity{IP: "10.0.0.1"}, Bytes: size(100)}
	x.Signals([]operator.Output{signalRecord(t, transfer)})
	transfer.Revision, transfer.Bytes = 2, size(250)
	x.Signals([]operator.Output{signalRecord(t, transfer)})
	staged := signal.Signal{ID: "g", Revision: 1, Detector: "archive-sensitive", Key: "k", Role: signal.RoleStaging, Entity: signal.Entity{Host: "web-1"}, Classification: "RESTRICTED", Subject: "/etc/secrets"}
	x.Signals([]operator.Output{signalRecord(t, staged)})
	staged.Revision = 2
	x.Signals([]operator.Output{signalRecord(t, staged)})

	got := gather(t, reg)
	for name, want := range map[string]float64{
		"exfil_dns_tunnelling_suspected_total[resolver=10.53.0.53 src_ip=10.0.0.1]": 1,
		"exfil_correlated_alerts_total[host=web-1 severity=critical]":               1,
		"ebbwatch_volumetric_bytes_total[src_ip=10.0.0.1]":                          250,
		"exfil_staging_events_total[event_type=archive_created host=web-1]":         1,
		"exfil_dlp_findings_total[resource=/etc/secrets sensitivity=RESTRICTED]":    1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}

func TestTheCapHolds(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	x := telemetry.New(reg, 2)
	for i := range 5 {
		x.Signals([]operator.Output{signalRecord(t, signal.Signal{ID: fmt.Sprint(i), Revision: 1, Detector: "archive-sensitive", Key: "k", Role: signal.RoleStaging, Entity: signal.Entity{Host: fmt.Sprintf("h%d", i)}})})
	}
	got := gather(t, reg)
	if n := got["exfil_staging_events_total[event_type=other host=other]"]; n != 3 {
		t.Errorf("other is %v, want 3", n)
	}
	if n := got["ebbwatch_metric_overflow_total[family=exfil_staging_events_total]"]; n != 3 {
		t.Errorf("overflow is %v, want 3", n)
	}
}

func TestLossesAreCapped(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	x := telemetry.New(reg, 2)
	for i := range 4 {
		x.Loss(&event.Event{
			Kind: event.KindHealth, ID: "worker-1", Action: "stats", Observer: event.Observer{Type: "zeek", Name: fmt.Sprintf("s%d", i)},
			Health: event.Health{PercentLost: float64(10 + i)},
		})
	}
	x.Loss(&event.Event{Kind: event.KindHealth, ID: "worker-1", Action: "stats", Observer: event.Observer{Type: "zeek", Name: "s0"}})
	got := gather(t, reg)
	for name, want := range map[string]float64{
		"ebbwatch_sensor_loss_percent[measure=stats peer=worker-1 sensor=s0 type=zeek]":  0,
		"ebbwatch_sensor_loss_percent[measure=stats peer=worker-1 sensor=s1 type=zeek]":  11,
		"ebbwatch_sensor_loss_percent[measure=other peer=other sensor=other type=other]": 13,
		"ebbwatch_metric_overflow_total[family=ebbwatch_sensor_loss_percent]":            2,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v (%v), want %v", name, v, ok, want)
		}
	}
}
