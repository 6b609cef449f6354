package input_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
)

const (
	connJSON   = `{"ts":1795430221.50317,"uid":"CdR4ll4yWj8vWsLd3k","id.orig_h":"10.20.87.10","id.orig_p":58304,"id.resp_h":"198.18.85.224","id.resp_p":443,"proto":"tcp","duration":0.25,"orig_bytes":7,"resp_bytes":9,"conn_state":"SF"}` + "\n"
	zeekTSV    = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tdns\n#fields\tts\tuid\n"
	flowText   = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status\n"
	flowRecord = "2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK\n"
	trail      = `{"Records":[{"eventVersion":"1.08","userIdentity":{"type":"Root","accountId":"123456789012"},"eventTime":"2026-01-05T10:00:00Z","eventSource":"s3.amazonaws.com","eventName":"GetObject","eventID":"a","recipientAccountId":"123456789012"}]}`
	trailLine  = `{"eventVersion":"1.08","userIdentity":{"type":"Root","accountId":"123456789012"},"eventTime":"2026-01-05T10:00:00Z","eventSource":"s3.amazonaws.com","eventName":"GetObject","eventID":"a","recipientAccountId":"123456789012"}` + "\n"
	kernLog    = "Nov 24 10:00:03 h kernel: [   12.5] usb 1-1: Product: X\n"
	alert      = `{"hostname":"n","output":"x","priority":"Notice","rule":"Launch Remote File Copy Tools in Container","source":"syscall","tags":["T1020"],"time":"2026-01-05T10:00:00.000000001Z","output_fields":{"proc.name":"scp"}}` + "\n"
)

func TestRecogniseByContent(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		file, head string
		want       input.Format
	}{
		"pcap":                    {"x", "\xd4\xc3\xb2\xa1\x02\x00\x04\x00", input.Pcap},
		"pcap big endian":         {"x", "\xa1\xb2\xc3\xd4", input.Pcap},
		"pcap nanoseconds":        {"x", "\x4d\x3c\xb2\xa1", input.Pcap},
		"pcapng":                  {"x.pcap", "\x0a\x0d\x0d\x0a\x6c\x00\x00\x00", input.PcapNG},
		"parquet":                 {"x", "PAR1\x15\x04", input.VPCFlowParquet},
		"zeek tsv":                {"x", zeekTSV, input.ZeekTSV},
		"zeek tsv, other prefix":  {"x", strings.ReplaceAll(zeekTSV, "#", "//"), input.ZeekTSV},
		"zeek tsv, plain header":  {"x", "ts\tuid\tid.orig_h\n1\tC\t10.0.0.1\n", input.ZeekTSV},
		"zeek json":               {"x", connJSON, input.ZeekJSON},
		"zeek json, cut":          {"x", connJSON[:90], input.ZeekJSON},
		"zeek json, underscores":  {"x", strings.ReplaceAll(connJSON, "id.", "id_"), input.ZeekJSON},
		"zeek json, nested":       {"x", `{"ts":1.5,"id":{"orig_h":"10.0.0.1"}}`, input.ZeekJSON},
		"zeek json, by name":      {"logs/conn.2026-01-05.log", `{"ts":1.5,"src_ip":"10.0.0.1"}`, input.ZeekJSON},
		"zeek json, not by name":  {"notes.log", `{"ts":1.5,"src_ip":"10.0.0.1"}`, input.Unknown},
		"zeek json, tagged":       {"x", `{"conn":` + strings.TrimSpace(connJSON) + `}`, input.ZeekJSON},
		"zeek json, shipped":      {"x", `{"@timestamp":"x","message":"{\"ts\":1.5,\"uid\":\"C\"}","log":{"file":{"path":"conn.log"}}}`, input.ZeekJSON},
		"flow with header":        {"x.log", flowText + flowRecord, input.VPCFlow},
		"flow, underscores":       {"x", "account_id pkt_srcaddr pkt_dstaddr start end\n", input.VPCFlow},
		"flow without header":     {"x", flowRecord, input.VPCFlow},
		"flow, no data first":     {"x", "2 123456789010 eni-1 - - - - - - - 1431280876 1431280934 - NODATA\n", input.VPCFlow},
		"transit gateway":         {"x", "6 TransitGateway 123456789012 tgw-1 tgw-attach-1\n", input.VPCFlow},
		"flow in firehose":        {"x", `{"message":"2 123456789010 eni-1 10.0.0.1 10.0.0.2 1 2 6 1 40 1 2 ACCEPT OK"}`, input.VPCFlow},
		"flow in cloudwatch":      {"x", `{"messageType":"DATA_MESSAGE","logGroup":"g","logEvents":[{"id":"1","message":"2 123456789010 eni-1 10.0.0.1"}]}`, input.VPCFlow},
		"cloudtrail":              {"x", trail, input.CloudTrail},
		"cloudtrail, cut":         {"x", trail[:40], input.CloudTrail},
		"cloudtrail, line":        {"x", trailLine, input.CloudTrail},
		"cloudtrail, array":       {"x", "[\n" + trailLine + "]", input.CloudTrail},
		"cloudtrail, eventbridge": {"x", `{"version":"0","detail-type":"AWS API Call via CloudTrail","source":"aws.s3","detail":{}}`, input.CloudTrail},
		"cloudtrail, cloudwatch":  {"x", `{"messageType":"DATA_MESSAGE","logEvents":[{"message":"{\"eventVersion\":\"1.08\"}"}]}`, input.CloudTrail},
		"cloudtrail, digest":      {"x", `{"awsAccountId":"1","digestStartTime":"2026-01-05T10:00:00Z","logFiles":[]}`, input.CloudTrail},
		"falco":                   {"x", alert, input.Falco},
		"falco, blank before":     {"x", "\xef\xbb\xbf\n\n" + alert, input.Falco},
		"falco text":              {"x", "10:00:00.000000001: Notice A shell was spawned\n", input.Falco},
		"falco in syslog":         {"x", "Jan  5 10:00:00 node falco: " + alert, input.Falco},
		"gcp":                     {"x", `{"insertId":"1","logName":"projects/p/logs/compute.googleapis.com%2Fvpc_flows","timestamp":"2026-01-05T10:00:00Z","jsonPayload":{}}`, input.GCPLog},
		"gcp array":               {"x", `[{"logName":"projects/p/logs/x","protoPayload":{}}]`, input.GCPLog},
		"gcp push":                {"x", `{"message":{"data":"e30=","messageId":"1"},"subscription":"projects/p/subscriptions/s"}`, input.GCPLog},
		"ecs":                     {"x", `{"@timestamp":"2026-01-05T10:00:00Z","ecs":{"version":"8.11"},"event":{"module":"suricata"},"source":{"ip":"10.0.0.1"}}`, input.ECS},
		"ecs, dotted":             {"x", `{"@timestamp":"2026-01-05T10:00:00Z","source.ip":"10.0.0.1","message":"1,2026/01/05 10:00:00,x"}`, input.ECS},
		"ecs, no network":         {"x", `{"@timestamp":"2026-01-05T10:00:00Z","event":{"dataset":"system.auth"},"user":{"name":"a"}}`, input.ECS},
		"kernel log":              {"x", kernLog, input.HostLog},
		"kernel log, iso":         {"x", "2026-11-24T10:00:00.5+01:00 h kernel: [ 12.5] usb 1-1: Product: X\n", input.HostLog},
		"kernel log, rfc 5424":    {"x", "<6>1 2026-11-24T10:00:00Z h kernel - - - usb 1-1: Product: X\n", input.HostLog},
		"kernel in mixed syslog":  {"x", "Nov 24 10:00:00 h sshd[1]: a\nNov 24 10:00:01 h cron: b\nNov 24 10:00:01 h cron: c\nNov 24 10:00:02 h cron: d\n" + kernLog, input.HostLog},
		"journal":                 {"x", `{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"1795514400000000","_HOSTNAME":"h","MESSAGE":"a"}` + "\n", input.HostLog},
		"audit":                   {"x", "type=DAEMON_START msg=audit(1795514400.123:1): op=start\n", input.HostLog},
		"audit, node":             {"x", "node=h type=SYSCALL msg=audit(1795514400.123:1): arch=c000003e\n", input.HostLog},
		"syslog without a kernel": {"x", "Nov 24 10:00:00 h sshd[1]: a\nNov 24 10:00:01 h cron: b\n", input.Unknown},
		"no audit":                {"x", "type=SYSCALL of a form\n", input.Unknown},
		"one foreign line":        {"x", "hello\n" + alert, input.Falco},
		"text":                    {"x", "some text\nand more\nand more\nand more\n", input.Unknown},
		"other json":              {"x", `{"a":1,"rule":2}`, input.Unknown},
		"nothing":                 {"x", "", input.Unknown},
		"deep":                    {"x", strings.Repeat("[", 10000), input.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, c := input.Recognise(tc.file, []byte(tc.head)); got != tc.want || c != input.Plain {
				t.Errorf("recognised as %s, compression %d", got, c)
			}
			if tc.want == input.Unknown {
				return
			}
			if got, c := input.Recognise(tc.file, gzipped(t, []byte(tc.head))); got != tc.want || c != input.Gzip {
				t.Errorf("gzip: recognised as %s, compression %d", got, c)
			}
			if got, c := input.Recognise(tc.file, zstded(t, []byte(tc.head))); got != tc.want || c != input.Zstd {
				t.Errorf("zstd: recognised as %s, compression %d", got, c)
			}
		})
	}
}

// A large compressed file is recognised by the part of it that is looked at.
func TestRecogniseCutCompression(t *testing.T) {
	t.Parallel()
	big := bytes.Repeat([]byte(connJSON), 20000)
	for name, packed := range map[string][]byte{"gzip": gzipped(t, big), "zstd": zstded(t, big)} {
		if got, _ := input.Recognise("x", packed[:min(len(packed)-1, input.HeadBytes)]); got != input.ZeekJSON {
			t.Errorf("%s: recognised as %s", name, got)
		}
	}
}

func TestRecogniseSamples(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..", "..", "..", "shared", "data")
	if _, err := os.Stat(root); err != nil {
		t.Skip("no sample data beside the repository")
	}
	want := map[string]func(string) []input.Format{
		filepath.Join("lab"): func(name string) []input.Format {
			switch {
			case strings.Contains(name, ".pcap"):
				return []input.Format{input.Pcap, input.PcapNG}
			case strings.Contains(name, ".log"):
				return []input.Format{input.ZeekJSON, input.ZeekTSV}
			}
			return nil
		},
		filepath.Join("samples", "dns_tunnel"): func(name string) []input.Format {
			switch {
			case strings.Contains(name, ".pcap"):
				return []input.Format{input.Pcap, input.PcapNG}
			case strings.Contains(name, ".log"):
				return []input.Format{input.ZeekJSON, input.ZeekTSV}
			}
			return nil
		},
		filepath.Join("samples", "zeek", "brimdata"): func(string) []input.Format { return []input.Format{input.ZeekTSV, input.ZeekJSON} },
		filepath.Join("samples", "falco"):            func(string) []input.Format { return []input.Format{input.Falco} },
		filepath.Join("samples", "gcp", "security_analytics"): func(name string) []input.Format {
			if strings.Contains(name, "google.storage") || strings.Contains(name, "vpc_flows") {
				return []input.Format{input.GCPLog}
			}
			return nil
		},
		filepath.Join("samples", "vpcflow"): func(name string) []input.Format {
			if strings.HasSuffix(name, ".log") {
				return []input.Format{input.VPCFlow}
			}
			return nil
		},
		filepath.Join("samples", "cloudtrail", "stratus"): func(name string) []input.Format {
			if strings.HasSuffix(name, ".json") {
				return []input.Format{input.CloudTrail}
			}
			return nil
		},
	}
	seen := 0
	for dir, formats := range want {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			expected := formats(d.Name())
			if expected == nil {
				return nil
			}
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			k, err := input.Sniff(f, input.Options{Name: path})
			if err != nil {
				return err
			}
			seen++
			if !slices.Contains(expected, k.Format) {
				t.Errorf("%s is recognised as %s", path, k.Format)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if seen < 50 {
		t.Errorf("only %d samples", seen)
	}
}

func FuzzRecognise(f *testing.F) {
	for _, s := range []string{connJSON, zeekTSV, flowText, trail, alert, "[[{\"a\":{\"b\":\"\\", "\x1f\x8b\x08\x00", "\x28\xb5\x2f\xfd\x00"} {
		f.Add("conn.log", []byte(s))
	}
	f.Fuzz(func(t *testing.T, name string, head []byte) {
		input.Recognise(name, head)
	})
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstded(t *testing.T, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	return w.EncodeAll(data, nil)
}
