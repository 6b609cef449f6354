package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/demo"
	"github.com/ebbwatch/ebbwatch/pkg/alert"
	gocmp "github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/twmb/franz-go/pkg/kgo"
)

// families are the required metric families (detections.md §8) with their
// labels.
var families = map[string][]string{
	"exfil_volumetric_alerts_total":        {"src_ip", "dst_ip", "protocol"},
	"exfil_dns_tunnelling_suspected_total": {"src_ip", "resolver"},
	"exfil_icmp_tunnel_suspected_total":    {"src_ip", "dst_ip"},
	"exfil_staging_events_total":           {"host", "event_type"},
	"exfil_correlated_alerts_total":        {"host", "severity"},
	"exfil_s3_bulk_read_alerts_total":      {"principal", "bucket"},
	"exfil_dlp_findings_total":             {"sensitivity", "resource"},
	"exfil_detection_pipeline_lag_seconds": {"stage"},
	"ebbwatch_volumetric_bytes_total":      {"src_ip"},
	"ebbwatch_dns_suspect_queries_total":   {"src_ip", "resolver"},
}

const metricsSite = `
home_networks: [10.20.0.0/16, 10.53.0.0/24]
resolvers: [10.53.0.53]
classification:
  - {bucket: payroll, class: RESTRICTED, owner: hr}
`

// TestMetricsEqualTheTopics: with records that raise every counter family,
// each series of each family equals what the first revisions on the topics
// say, told by an account of its own; a restart of detect and correlate adds
// nothing; and every stage tells its lag.
func TestMetricsEqualTheTopics(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// Staging and transfer of one host, a DNS tunnel and a slow upload from
	// Zeek logs, an ICMP tunnel from packets, bulk reads from CloudTrail,
	// flow logs for the lag of their stage.
	lab(t, dir, "iodine_txt_res", "exf_https_slow")
	labPackets(t, dir, "ptunnel_up")
	attack := demo.Attack()
	attack.Background = false
	if err := attack.Write(dir, time.Now().Add(-2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "cloudtrail", "trail.json"), bulkReads(time.Now().Add(-10*time.Minute)))
	writeFile(t, filepath.Join(dir, "flow", "flow.log"), fmt.Appendf(nil,
		"version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status\n"+
			"2 111122223333 eni-1 10.20.9.9 203.0.113.9 40000 443 6 10 4000 %d %d ACCEPT OK\n", time.Now().Unix()-700, time.Now().Unix()-640))
	end := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	writeFile(t, filepath.Join(dir, "gcp", "flows.json"), fmt.Appendf(nil,
		`{"insertId":"a","logName":"projects/p/logs/compute.googleapis.com%%2Fvpc_flows","timestamp":%q,"jsonPayload":{"connection":{"src_ip":"10.20.9.8","dest_ip":"203.0.113.8",`+
			`"src_port":40000,"dest_port":443,"protocol":6},"bytes_sent":"4000","packets_sent":"10","start_time":%q,"end_time":%q,"reporter":"SRC"}}`+"\n", end, end, end))
	writeFile(t, filepath.Join(dir, "zeek", "exf_https_slow", "capture_loss.log"), fmt.Appendf(nil,
		`{"_path":"capture_loss","ts":%d.0,"ts_delta":900.0,"peer":"worker-1","gaps":125,"acks":1000,"percent_lost":12.5}`+"\n", time.Now().Unix()))
	writeFile(t, filepath.Join(dir, "site.yaml"), []byte(metricsSite))

	ingests := map[string]string{
		"ingest-zeek": "zeek", "ingest-packet": "packet", "ingest-falco": "falco", "ingest-cloudtrail": "cloudtrail", "ingest-flow": "flow", "ingest-gcp": "gcp",
	}
	site := []string{"-site", filepath.Join(dir, "site.yaml")}
	services := map[string][]string{"detect": site, "correlate": site}
	for name, folder := range ingests {
		services[name] = append([]string{"-paths", filepath.Join(dir, folder)}, site...)
	}
	s := newSystem(t, dir, services)
	s.start()
	checkStages(t, s)
	// What a sensor says about its own losses is a gauge of its own.
	const loss = `ebbwatch_sensor_loss_percent{measure="capture_loss",peer="worker-1",sensor="zeek/exf_https_slow",type="zeek"} 12.5`
	eventually(t, "the sensor's loss", func() bool { return strings.Contains(s.page("ingest-zeek"), loss) })
	// Each family has something to count, once all records are through.
	eventually(t, "alerts of every kind", func() bool {
		want := account(t, s)
		for family := range families {
			if family != "exfil_detection_pipeline_lag_seconds" && len(want[family]) == 0 {
				return false
			}
		}
		return true
	})
	s.stop(slices.Collect(maps.Keys(ingests))...)
	settle(t, s.brokers)
	compareCounters(t, s, account(t, s))

	// A restart counts from nothing, and replays without counting.
	s.stop("detect", "correlate")
	before := account(t, s)
	s.start("detect", "correlate")
	settle(t, s.brokers)
	added := account(t, s)
	for family, series := range before {
		for labels, n := range series {
			if strings.HasPrefix(family, "ebbwatch_") {
				// The part that was counted before is not known after a restart;
				// here no amount grows any more.
				delete(added[family], labels)
				continue
			}
			if added[family][labels] -= n; added[family][labels] == 0 {
				delete(added[family], labels)
			}
		}
	}
	compareCounters(t, s, added)
	s.stop()
	s.broker.stop()
}

// checkStages: all families are exposed by every service, and each stage
// tells its lag.
func checkStages(t *testing.T, s *system) {
	t.Helper()
	for service, stage := range map[string]string{
		"ingest-zeek": "zeek_ingestion", "ingest-falco": "falco_ingestion", "ingest-packet": "packet_ingestion", "ingest-flow": "flow_ingestion",
		"ingest-cloudtrail": "cloudtrail_ingestion", "ingest-gcp": "gcp_ingestion", "detect": "detect", "correlate": "correlate",
	} {
		eventually(t, "the lag of "+stage, func() bool {
			_, ok := seriesOf(t, s.page(service))["exfil_detection_pipeline_lag_seconds"]["stage="+stage]
			return ok
		})
		body := s.page(service)
		for f := range families {
			if !strings.Contains(body, "# TYPE "+f+" ") {
				t.Errorf("%s does not expose %s", service, f)
			}
		}
	}
}

// settle waits until detect and correlate have come to the end of what was
// written.
func settle(t *testing.T, brokers string) {
	t.Helper()
	for _, group := range []string{"detect", "correlate"} {
		eventually(t, group+" to come to the end", func() bool { return lag(t, brokers, group) == 0 })
	}
}

// counters are series by family: labels in the order of the family's
// definition, as name=value pairs.
type counters map[string]map[string]float64

func (c counters) add(family string, n float64, values ...string) {
	if c[family] == nil {
		c[family] = map[string]float64{}
	}
	var pairs []string
	for i, name := range families[family] {
		pairs = append(pairs, name+"="+values[i])
	}
	c[family][strings.Join(pairs, " ")] += n
}

// compareCounters compares what detect and correlate expose with what is
// expected. A commit is counted a moment after its offsets are seen.
func compareCounters(t *testing.T, s *system, want counters) {
	t.Helper()
	expected, got := counters{}, counters{}
	for family, series := range want {
		for labels, n := range series {
			if n != 0 {
				if expected[family] == nil {
					expected[family] = map[string]float64{}
				}
				expected[family][labels] = n
			}
		}
	}
	read := func() counters {
		out := counters{}
		for _, service := range []string{"detect", "correlate"} {
			for family, series := range seriesOf(t, s.page(service)) {
				for labels, n := range series {
					if n == 0 || strings.HasSuffix(family, "_seconds") {
						continue
					}
					if out[family] == nil {
						out[family] = map[string]float64{}
					}
					out[family][labels] += n
				}
			}
		}
		return out
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if got = read(); gocmp.Equal(expected, got) {
			return
		}
	}
	t.Errorf("counters (-topics +metrics)\n%s", gocmp.Diff(expected, got))
}

// seriesOf reads the required families of a page.
func seriesOf(t *testing.T, page string) counters {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	parsed, err := parser.TextToMetricFamilies(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	out := counters{}
	for family, names := range families {
		for _, m := range parsed[family].GetMetric() {
			values := make([]string, len(names))
			for i, name := range names {
				at := slices.IndexFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == name })
				if at < 0 {
					t.Fatalf("%s has no label %s", family, name)
				}
				values[i] = m.GetLabel()[at].GetValue()
			}
			out.add(family, m.GetCounter().GetValue()+m.GetGauge().GetValue(), values...)
		}
	}
	return out
}

// familyOf are the families of alerts, as detections.md §8 and DESIGN §5 have
// them. What is in none has no required counter.
var familyOf = map[string]string{
	"dns-tunnel": "exfil_dns_tunnelling_suspected_total", "dns-not-dns": "exfil_dns_tunnelling_suspected_total",
	"icmp-tunnel": "exfil_icmp_tunnel_suspected_total", "bulk-object-read": "exfil_s3_bulk_read_alerts_total",
	"sensitive-object-read": "exfil_s3_bulk_read_alerts_total", "principal-anomaly": "exfil_s3_bulk_read_alerts_total",
	"volume-anomaly": "exfil_volumetric_alerts_total", "volume-fixed": "exfil_volumetric_alerts_total", "upload-ratio": "exfil_volumetric_alerts_total",
	"sustained-upload": "exfil_volumetric_alerts_total", "slow-upload": "exfil_volumetric_alerts_total", "new-destination-upload": "exfil_volumetric_alerts_total",
	"distributed-upload": "exfil_volumetric_alerts_total", "no-dns-upload": "exfil_volumetric_alerts_total", "sanctioned-abuse": "exfil_volumetric_alerts_total",
	"foreign-tenant": "exfil_volumetric_alerts_total", "mail-upload": "exfil_volumetric_alerts_total",
}

// eventTypes are those of detections.md §5.
var eventTypes = map[string]string{
	"archive-sensitive": "archive_created", "bulk-secret-read": "bulk_read", "bulk-object-read": "bulk_read", "sensitive-object-read": "bulk_read",
	"internal-fan-in": "bulk_read", "transfer-tool": "transfer_tool", "mounted-share-write": "share_write", "removable-media": "media_attached",
}

// account counts the first revisions on the topics, from the documents as a
// consumer of them reads them.
func account(t *testing.T, s *system) counters {
	t.Helper()
	out := counters{}
	grown := map[string]struct {
		detector, ip, resolver string
		amount                 float64
	}{}
	for _, r := range s.read("ebb.signals.v1") {
		if kindOf(r) != "signal" {
			continue
		}
		var sig struct {
			ID             string   `json:"id"`
			Revision       uint64   `json:"revision"`
			Detector       string   `json:"detector"`
			Role           string   `json:"role"`
			Bytes          *float64 `json:"bytes"`
			Subject        string   `json:"subject"`
			Classification string   `json:"classification"`
			Entity         struct{ Host, Namespace, Pod, IP, Principal string }
			Destination    struct{ IP string }
			Values         []struct {
				Name  string
				Value float64
			}
		}
		if err := json.Unmarshal(r.Value, &sig); err != nil {
			t.Fatal(err)
		}
		g := grown[sig.ID]
		g.detector, g.ip = sig.Detector, sig.Entity.IP
		if sig.Detector == "external-transfer" && sig.Bytes != nil {
			g.amount = max(g.amount, *sig.Bytes)
		}
		for _, v := range sig.Values {
			if sig.Detector == "dns-tunnel" && v.Name == "queries" {
				g.amount, g.resolver = max(g.amount, v.Value), sig.Destination.IP
			}
		}
		grown[sig.ID] = g
		if sig.Revision != 1 {
			continue
		}
		if sig.Role == "staging" {
			e := sig.Entity
			out.add("exfil_staging_events_total", 1, cmp.Or(e.Host, e.Pod, e.IP, e.Principal, "unknown"), cmp.Or(eventTypes[sig.Detector], sig.Detector))
		}
		if sig.Classification == "CONFIDENTIAL" || sig.Classification == "RESTRICTED" {
			// Reads of several buckets have no one subject: here it is the only
			// bucket that is read in bulk.
			out.add("exfil_dlp_findings_total", 1, sig.Classification, cmp.Or(sig.Subject, bulkBucket))
		}
	}
	for _, g := range grown {
		switch {
		case g.amount == 0:
		case g.detector == "dns-tunnel":
			out.add("ebbwatch_dns_suspect_queries_total", g.amount, g.ip, g.resolver)
		default:
			out.add("ebbwatch_volumetric_bytes_total", g.amount, g.ip)
		}
	}
	for _, r := range s.read(alert.Topic) {
		a := decodeAlert(t, r)
		switch family := familyOf[a.Detector]; {
		case a.Joined != nil && a.Joined.Revision == a.Revision:
			out.add("exfil_correlated_alerts_total", 1, a.Entity.Name, a.Severity)
		case a.Revision != 1 || family == "":
		case family == "exfil_volumetric_alerts_total":
			out.add(family, 1, a.Source.IP, a.Destination.IP, a.Channel)
		case family == "exfil_s3_bulk_read_alerts_total":
			out.add(family, 1, a.Entity.Name, bulkBucket)
		default:
			out.add(family, 1, a.Source.IP, a.Destination.IP)
		}
	}
	return out
}

func decodeAlert(t *testing.T, r *kgo.Record) (a alert.Alert) {
	t.Helper()
	if err := alert.Decode(r.Value, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func kindOf(r *kgo.Record) string {
	for _, h := range r.Headers {
		if h.Key == "kind" {
			return string(h.Value)
		}
	}
	return ""
}

// labPackets copies the captures of recordings, a sensor each.
func labPackets(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "data", "lab", name, name+".pcap.gz"))
		if err != nil {
			t.Skip("the lab's recordings are not beside the checkout")
		}
		writeFile(t, filepath.Join(dir, "packet", name, name+".pcap.gz"), data)
	}
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// bulkBucket is the bucket that bulkReads reads.
const bulkBucket = "payroll"

// bulkReads is a CloudTrail file in which a role reads 700 objects of the
// bucket payroll.
func bulkReads(from time.Time) []byte {
	var out bytes.Buffer
	out.WriteString(`{"Records":[`)
	for i := range 700 {
		if i > 0 {
			out.WriteByte(',')
		}
		fmt.Fprintf(&out, `{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROAEXAMPLEROLEID0001:s","arn":"arn:aws:sts::111122223333:assumed-role/etl/s",`+
			`"accountId":"111122223333","sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAEXAMPLEROLEID0001","arn":"arn:aws:iam::111122223333:role/etl",`+
			`"accountId":"111122223333","userName":"etl"}}},"eventTime":%q,"eventSource":"s3.amazonaws.com","eventName":"GetObject","awsRegion":"eu-central-1",`+
			`"sourceIPAddress":"10.20.4.17","requestParameters":{"bucketName":"payroll","key":"2026/%d.csv"},"responseElements":null,"requestID":"R%d",`+
			`"eventID":"00000000-0000-4000-8000-%012d","readOnly":true,"eventType":"AwsApiCall","managementEvent":false,"recipientAccountId":"111122223333",`+
			`"eventCategory":"Data","additionalEventData":{"bytesTransferredIn":0,"bytesTransferredOut":20000.0},"resources":[{"accountId":"111122223333",`+
			`"type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::payroll"}]}`, from.Add(time.Duration(i)*time.Second/2).UTC().Format(time.RFC3339), i, i, i)
	}
	out.WriteString("]}\n")
	return out.Bytes()
}
