package telemetry

import (
	"strings"
	"sync"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/prometheus/client_golang/prometheus"
)

// DefaultSeries is the default cap of series per family.
const DefaultSeries = 1000

// Stages of the pipeline lag.
const (
	StageFlow       = "flow_ingestion"
	StageZeek       = "zeek_ingestion"
	StageFalco      = "falco_ingestion"
	StageCloudTrail = "cloudtrail_ingestion"
	StagePacket     = "packet_ingestion"
	StageGCP        = "gcp_ingestion"
	StageDetect     = "detect"
	StageCorrelate  = "correlate"
)

// Exfil are the required metric families. Counters count first revisions of
// what was committed: feed it from the engine's commit hook, which does not
// run during a replay.
type Exfil struct {
	volumetric, dns, icmp, staging, correlated, bulk, dlp *capped
	volumeBytes, dnsQueries                               *capped
	lag                                                   *prometheus.GaugeVec
	loss, lastCorrelated                                  *cappedGauge

	mu    sync.Mutex
	grown map[string]float64 // signal id → amount counted so far
}

// maxGrown bounds the signals whose growth is remembered.
const maxGrown = 10_000

// New registers the families, each with at most limit series.
func New(reg prometheus.Registerer, limit int) *Exfil {
	overflow := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ebbwatch_metric_overflow_total", Help: "Increments that went to the series \"other\" because the family has reached its cap.",
	}, []string{"family"})
	reg.MustRegister(overflow)
	family := func(name, help string, labels ...string) *capped {
		return newCapped(reg, limit, overflow, name, help, labels...)
	}
	x := &Exfil{
		volumetric:  family("exfil_volumetric_alerts_total", "Alerts on the volume or shape of a transfer.", "src_ip", "dst_ip", "protocol"),
		dns:         family("exfil_dns_tunnelling_suspected_total", "Alerts on DNS tunnels.", "src_ip", "resolver"),
		icmp:        family("exfil_icmp_tunnel_suspected_total", "Alerts on ICMP tunnels.", "src_ip", "dst_ip"),
		staging:     family("exfil_staging_events_total", "Staging signals.", "host", "event_type"),
		correlated:  family("exfil_correlated_alerts_total", "Alerts that join staging and transfer.", "host", "severity"),
		bulk:        family("exfil_s3_bulk_read_alerts_total", "Alerts on bulk reads of objects.", "principal", "bucket"),
		dlp:         family("exfil_dlp_findings_total", "Signals on data that is classified as sensitive.", "sensitivity", "resource"),
		volumeBytes: family("ebbwatch_volumetric_bytes_total", "Bytes of external transfers that have a signal.", "src_ip"),
		dnsQueries:  family("ebbwatch_dns_suspect_queries_total", "Questions of DNS tunnels that have a signal.", "src_ip", "resolver"),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "exfil_detection_pipeline_lag_seconds", Help: "Time from an event to its handling, by stage.",
		}, []string{"stage"}),
		loss: newCappedGauge(reg, limit, overflow, "ebbwatch_sensor_loss_percent",
			"Share of packets, acknowledged data or records that a sensor says it lost when it said so last.", "type", "sensor", "peer", "measure"),
		lastCorrelated: newCappedGauge(reg, limit, overflow, "ebbwatch_correlated_alert_timestamp_seconds",
			"When this process last counted a correlated alert: what pages on it needs no history, and no increase of a series that is born at 1.", "host", "severity"),
		grown: map[string]float64{},
	}
	reg.MustRegister(x.lag)
	return x
}

// Lag sets how far a stage is behind the events' time.
func (x *Exfil) Lag(stage string, lag time.Duration) { x.lag.WithLabelValues(stage).Set(lag.Seconds()) }

// Loss takes what a sensor says about its own losses: in per cent, of the
// worker (peer) and by the measure (stats, capture_loss) that the event names.
// The label values are copied.
func (x *Exfil) Loss(e *event.Event) {
	c := strings.Clone
	x.loss.set(e.Health.PercentLost, c(e.Observer.Type), c(e.Observer.Name), c(e.ID), c(e.Action))
}

// stagingTypes are the values of event_type, by detector.
var stagingTypes = map[string]string{
	"archive-sensitive": "archive_created", "bulk-secret-read": "bulk_read", "bulk-object-read": "bulk_read", "sensitive-object-read": "bulk_read", "internal-fan-in": "bulk_read",
	"transfer-tool": "transfer_tool", "mounted-share-write": "share_write", "removable-media": "media_attached",
}

// Signals counts committed outputs of detection.
func (x *Exfil) Signals(outs []operator.Output) {
	for _, out := range outs {
		var s signal.Signal
		if out.Kind != signal.KindSignal || signal.Decode(out.Value, &s) != nil {
			continue
		}
		x.growth(&s)
		if s.Revision != 1 {
			continue
		}
		if s.Role == signal.RoleStaging {
			host := first(s.Entity.Host, s.Entity.Pod, s.Entity.IP, s.Entity.Principal)
			x.staging.add(1, host, first(stagingTypes[s.Detector], s.Detector))
		}
		if s.Classification == "CONFIDENTIAL" || s.Classification == "RESTRICTED" {
			x.dlp.add(1, s.Classification, first(s.Subject, bucketOf(s.Evidence)))
		}
	}
}

// growth adds what a signal's amount has grown by since its last revision.
func (x *Exfil) growth(s *signal.Signal) {
	var amount float64
	switch s.Detector {
	case "external-transfer":
		if s.Bytes != nil {
			amount = float64(*s.Bytes)
		}
	case "dns-tunnel":
		for _, v := range s.Values {
			if v.Name == "queries" {
				amount = v.Value
			}
		}
	}
	if amount == 0 {
		return
	}
	x.mu.Lock()
	before, known := x.grown[s.ID]
	if len(x.grown) >= maxGrown {
		clear(x.grown)
	}
	x.grown[s.ID] = amount
	x.mu.Unlock()
	if amount <= before || (!known && s.Revision > 1) {
		return // after a restart the part that was counted before is not known
	}
	if s.Detector == "dns-tunnel" {
		x.dnsQueries.add(amount-before, s.Entity.IP, s.Destination.IP)
		return
	}
	x.volumeBytes.add(amount-before, s.Entity.IP)
}

// Alerts counts committed outputs of correlation: an alert under its detector
// when it is opened, and under the correlated family in the revision that
// joins its halves.
func (x *Exfil) Alerts(outs []operator.Output) {
	for _, out := range outs {
		var a alert.Alert
		if out.Kind != alert.Kind || alert.Decode(out.Value, &a) != nil {
			continue
		}
		if a.Joined != nil && a.Joined.Revision == a.Revision {
			x.correlated.add(1, a.Entity.Name, a.Severity)
			x.lastCorrelated.set(float64(time.Now().UnixMilli())/1e3, a.Entity.Name, a.Severity)
			continue
		}
		if a.Revision == 1 {
			x.opened(&a)
		}
	}
}

func (x *Exfil) opened(a *alert.Alert) {
	switch a.Detector {
	case "dns-tunnel", "dns-not-dns":
		x.dns.add(1, a.Source.IP, a.Destination.IP)
	case "icmp-tunnel":
		x.icmp.add(1, a.Source.IP, a.Destination.IP)
	case "bulk-object-read", "sensitive-object-read", "principal-anomaly":
		x.bulk.add(1, a.Entity.Name, first(bucketOf(a.Evidence), a.Subject))
	case "distributed-upload":
		x.volumetric.add(1, first(a.Source.IP, "several"), a.Destination.IP, a.Channel)
	case "volume-anomaly", "volume-fixed", "upload-ratio", "sustained-upload", "slow-upload", "new-destination-upload",
		"no-dns-upload", "sanctioned-abuse", "foreign-tenant", "mail-upload":
		x.volumetric.add(1, a.Source.IP, a.Destination.IP, a.Channel)
	}
}

// bucketOf is the bucket that the first piece of evidence of an object is
// about, "" without one: a principal may have read several.
func bucketOf(evidence []signal.Evidence) string {
	var e event.Event
	for _, ev := range evidence {
		if event.Decode(ev.Record, &e) == nil && e.Object.Bucket != "" {
			return strings.Clone(e.Object.Bucket)
		}
	}
	return ""
}

func first(names ...string) string {
	for _, n := range names {
		if n = strings.TrimSpace(n); n != "" {
			return n
		}
	}
	return "unknown"
}
