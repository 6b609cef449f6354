package bench

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/segmentio/encoding/json"
	"golang.org/x/sys/unix"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/cloudtrail"
	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/decode/vpcflow"
	"github.com/ebbwatch/ebbwatch/pkg/decode/zeek"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// distinct is how many different records each decoder is measured with.
const distinct = 100_000

type counted struct{ events, ignored, dead int }

func (c *counted) Event(*event.Event)                { c.events++ }
func (c *counted) Ignored(string)                    { c.ignored++ }
func (c *counted) Dead(string, []byte, event.Origin) { c.dead++ }

// cpu is the time that this thread has spent on a core: what others do on the
// machine is not in it, but for their share of its caches.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkDecoders decodes the same 100 000 different records with our decoder
// and with a plain decode of the same bytes: strings.Fields, segmentio into a map
// of fields, gopacket's layers. docs/reference/throughput.md has the table.
func BenchmarkDecoders(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	addr := func() string {
		return fmt.Sprintf("%d.%d.%d.%d", 1+r.IntN(200), r.IntN(256), r.IntN(256), r.IntN(256))
	}
	fields := func(line []byte) { _ = strings.Fields(string(line)) }
	object := func(line []byte) {
		var m map[string]json.RawMessage
		_ = json.Unmarshal(line, &m)
	}
	lines := func(d decode.Lines) func([]byte, int, *counted) {
		return func(line []byte, i int, to *counted) {
			d.Line(line, event.Origin{Name: "x", Line: event.N(uint64(i))}, to)
		}
	}
	v5 := vpcflow.New()
	v5.Line([]byte("version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr region az-id flow-direction traffic-path"), event.Origin{}, &counted{})
	tsv := zeek.New(zeek.Options{Path: "conn.log", Columns: strings.Fields("ts uid id.orig_h id.orig_p id.resp_h id.resp_p proto service duration orig_bytes resp_bytes conn_state local_orig local_resp missed_bytes history orig_pkts orig_ip_bytes resp_pkts resp_ip_bytes tunnel_parents")})
	tracker := packet.NewTracker(packet.Config{})
	var ip layers.IPv4
	var udp layers.UDP
	var dns layers.DNS
	parser := gopacket.NewDecodingLayerParser(layers.LayerTypeIPv4, &ip, &udp, &dns)
	var seen []gopacket.LayerType
	for _, c := range []struct {
		name   string
		record func(i int) []byte
		ours   func([]byte, int, *counted)
		plain  func([]byte)
	}{
		{"vpc-v2", func(int) []byte {
			n := 1 + r.Uint64N(100_000)
			return fmt.Appendf(nil, "2 210987654321 eni-%017x 10.%d.%d.%d %s %d 443 6 %d %d %d %d ACCEPT OK", r.Uint64N(1<<40), r.IntN(256), r.IntN(256), r.IntN(256), addr(), r.IntN(65536), n, n*900, 1767607200+r.IntN(3600), 1767610800+r.IntN(60))
		}, lines(vpcflow.New()), fields},
		{"vpc-v5", func(int) []byte {
			n, src, dst := 1+r.Uint64N(100_000), addr(), addr()
			return fmt.Appendf(nil, "5 210987654321 eni-%017x %s %s %d 443 6 %d %d %d %d ACCEPT OK vpc-%x subnet-%x i-%017x 3 IPv4 %s %s eu-central-1 euc1-az1 egress 8", r.Uint64N(1<<40), src, dst, r.IntN(65536), n, n*900, 1767607200+r.IntN(3600), 1767610800+r.IntN(60), r.IntN(9), r.IntN(99), r.Uint64N(1<<40), src, dst)
		}, lines(v5), fields},
		{"zeek-dns-json", func(i int) []byte {
			return fmt.Appendf(nil, `{"ts":%d.%06d,"uid":"C%016x","id.orig_h":"10.0.%d.%d","id.orig_p":%d,"id.resp_h":"10.0.0.53","id.resp_p":53,"proto":"udp","trans_id":%d,"rtt":0.0%d,"query":"h%x.s%d.example.com","qclass":1,"qclass_name":"C_INTERNET","qtype":1,"qtype_name":"A","rcode":0,"rcode_name":"NOERROR","AA":false,"TC":false,"RD":true,"RA":true,"Z":0,"answers":["%s"],"TTLs":[%d.0],"rejected":false}`,
				1767600000+i/50, r.IntN(1e6), r.Uint64(), r.IntN(256), r.IntN(256), r.IntN(65536), r.IntN(65536), 1+r.IntN(99), r.Uint64N(1<<40), r.IntN(500), addr(), r.IntN(3600))
		}, lines(zeek.New(zeek.Options{Path: "dns.log"})), object},
		{"zeek-conn-tsv", func(i int) []byte {
			return fmt.Appendf(nil, "%d.%06d\tC%016x\t10.0.%d.%d\t%d\t%s\t443\ttcp\tssl\t%d.%06d\t%d\t%d\tSF\tT\tF\t0\tShADadFf\t%d\t%d\t%d\t%d\t-", 1767600000+i/50, r.IntN(1e6), r.Uint64(), r.IntN(256), r.IntN(256), r.IntN(65536), addr(),
				r.IntN(60), r.IntN(1e6), r.IntN(1e6), r.IntN(1e6), 1+r.IntN(1000), 1_000_000+r.IntN(1e6), 1+r.IntN(1000), 1_000_000+r.IntN(1e6))
		}, lines(tsv), func(line []byte) { _ = strings.Split(string(line), "\t") }},
		{"cloudtrail", func(i int) []byte {
			return fmt.Appendf(nil, `{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROA%010X:s%d","arn":"arn:aws:sts::111122223333:assumed-role/app%d/s%d","accountId":"111122223333","accessKeyId":"ASIA%016X","sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROA%010X","arn":"arn:aws:iam::111122223333:role/app%d","accountId":"111122223333","userName":"app%d"},"attributes":{"creationDate":"2026-01-05T09:00:00Z","mfaAuthenticated":"false"}}},"eventTime":"2026-01-05T10:%02d:%02dZ","eventSource":"s3.amazonaws.com","eventName":"GetObject","awsRegion":"eu-central-1","sourceIPAddress":"%s","userAgent":"[aws-sdk-go-v2/1.30]","requestParameters":{"bucketName":"bucket-%d","Host":"bucket.s3.amazonaws.com","key":"a/b/%x.parquet"},"responseElements":null,"additionalEventData":{"SignatureVersion":"SigV4","CipherSuite":"TLS_AES_128_GCM_SHA256","bytesTransferredIn":0,"AuthenticationMethod":"AuthHeader","x-amz-id-2":"%x","bytesTransferredOut":%d},"requestID":"%016X","eventID":"%08x-0000-4000-8000-%012x","readOnly":true,"resources":[{"type":"AWS::S3::Object","ARN":"arn:aws:s3:::b/a"},{"accountId":"111122223333","type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::b"}],"eventType":"AwsApiCall","managementEvent":false,"recipientAccountId":"111122223333","eventCategory":"Data"}`,
				r.Uint64N(1<<40), i, i%50, i, r.Uint64(), r.Uint64N(1<<40), i%50, i%50, r.IntN(60), r.IntN(60), addr(), r.IntN(30), r.Uint64(), r.Uint64(), r.IntN(1e8), r.Uint64(), r.Uint32(), r.Uint64N(1<<48))
		}, lines(cloudtrail.New()), object},
		{"cloudtrail-policies", func(i int) []byte {
			return fmt.Appendf(nil, `{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROA%010X:s%d","arn":"arn:aws:sts::111122223333:assumed-role/app%d/s%d","accountId":"111122223333","accessKeyId":"ASIA%016X"},"eventTime":"2026-01-05T10:%02d:%02dZ","eventSource":"s3.amazonaws.com","eventName":"PutBucketPolicy","awsRegion":"eu-central-1","sourceIPAddress":"%s","userAgent":"[aws-cli/2.15]","requestParameters":{"bucketPolicy":{"Version":"2012-10-17","Statement":[{"Sid":"read%x","Effect":"Allow","Principal":{"AWS":["arn:aws:iam::%012d:root","arn:aws:iam::111122223333:role/app%d"]},"Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::bucket-%d","arn:aws:s3:::bucket-%d/*"],"Condition":{"StringEquals":{"aws:SourceVpce":"vpce-%08x"}}},{"Sid":"tls","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::bucket-%d/*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}]},"bucketName":"bucket-%d","Host":"bucket.s3.amazonaws.com","policy":""},"responseElements":null,"requestID":"%016X","eventID":"%08x-0000-4000-8000-%012x","readOnly":false,"resources":[{"accountId":"111122223333","type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::bucket-%d"}],"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"111122223333","eventCategory":"Management"}`,
				r.Uint64N(1<<40), i, i%50, i, r.Uint64(), r.IntN(60), r.IntN(60), addr(), r.Uint64(), r.Uint64N(1e12), i%50, i%30, i%30, r.Uint32(), i%30, i%30, r.Uint64(), r.Uint32(), r.Uint64N(1<<48), i%30)
		}, lines(cloudtrail.New()), object},
		{"packets-dns", func(i int) []byte {
			return question(uint32(i), r.Uint32())
		}, func(p []byte, i int, to *counted) {
			tracker.Packet(1_767_600_000_000_000+int64(i)*20, layers.LinkTypeRaw, p, len(p), event.Origin{Name: "x", Line: event.N(uint64(i))}, to)
		}, func(p []byte) { _ = parser.DecodeLayers(p, &seen) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			records := make([][]byte, distinct)
			size := 0
			for i := range records {
				records[i] = c.record(i)
				size += len(records[i])
			}
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			runtime.GC()
			var to counted
			var ours, plain time.Duration
			n := 0
			for b.Loop() {
				at := cpu(b)
				for _, line := range records {
					n++
					c.ours(line, n, &to)
				}
				mid := cpu(b)
				for _, line := range records {
					c.plain(line)
				}
				ours, plain = ours+mid-at, plain+cpu(b)-mid
			}
			if to.dead > 0 || to.events+to.ignored == 0 {
				b.Fatalf("%+v", to)
			}
			b.ReportMetric(float64(n)/ours.Seconds()/1000, "k/s")
			b.ReportMetric(float64(n)/plain.Seconds()/1000, "plain-k/s")
			b.ReportMetric(plain.Seconds()/ours.Seconds(), "of-plain")
			b.ReportMetric(float64(size)/distinct, "B/record")
		})
	}
}

// question is a packet with a DNS question of a client to a resolver.
func question(i, salt uint32) []byte {
	name := fmt.Sprintf("h%08x", salt)
	msg := []byte{byte(salt), byte(salt >> 8), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, byte(len(name))}
	msg = append(append(msg, name...), 7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 3, 'c', 'o', 'm', 0, 0, 1, 0, 1)
	p := make([]byte, 28, 28+len(msg))
	p[0], p[8], p[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(p[2:], uint16(28+len(msg)))
	copy(p[12:], []byte{10, 20, byte(i >> 8), byte(i), 10, 0, 0, 53})
	binary.BigEndian.PutUint16(p[20:], uint16(1024+i%60000))
	binary.BigEndian.PutUint16(p[22:], 53)
	binary.BigEndian.PutUint16(p[24:], uint16(8+len(msg)))
	return append(p, msg...)
}
