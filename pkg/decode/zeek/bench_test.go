package zeek

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// discard is a sink that counts.
type discard struct{ events, ignored, dead int }

func (s *discard) Event(*event.Event)                { s.events++ }
func (s *discard) Ignored(string)                    { s.ignored++ }
func (s *discard) Dead(string, []byte, event.Origin) { s.dead++ }

// corpus is lines of one log in one form, no two alike, as a busy network
// gives them.
type corpus struct {
	name  string
	lines [][]byte
	bytes int64
}

func (c *corpus) add(s string) {
	c.lines = append(c.lines, []byte(s))
	c.bytes += int64(len(s)) + 1
}

// decoder returns a decoder that has read the header.
func (c *corpus) decoder() *Decoder {
	d := New(Options{})
	for len(c.lines) > 0 && c.lines[0][0] == '#' {
		d.Line(c.lines[0], event.Origin{}, &discard{})
		c.lines = c.lines[1:]
	}
	return d
}

func corpora(n int) []*corpus {
	r := rand.New(rand.NewPCG(1, 2))
	dnsJSON, dnsTSV := &corpus{name: "dns/json"}, &corpus{name: "dns/tsv"}
	connJSON, connTSV := &corpus{name: "conn/json"}, &corpus{name: "conn/tsv"}
	tunnel := &corpus{name: "dns-tunnel/json"}
	sslJSON := &corpus{name: "ssl/json"}
	dnsTSV.add("#separator \\x09")
	dnsTSV.add("#path\tdns")
	dnsTSV.add("#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\ttrans_id\trtt\tquery\tqclass\tqclass_name\tqtype\tqtype_name\trcode\trcode_name\tAA\tTC\tRD\tRA\tZ\tanswers\tTTLs\trejected\topcode\topcode_name")
	connTSV.add("#separator \\x09")
	connTSV.add("#path\tconn")
	connTSV.add("#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\tlocal_orig\tlocal_resp\tmissed_bytes\thistory\torig_pkts\torig_ip_bytes\tresp_pkts\tresp_ip_bytes\ttunnel_parents\tip_proto")
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	word := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		return string(b)
	}
	ip := func() string { return fmt.Sprintf("%d.%d.%d.%d", 1+r.IntN(223), r.IntN(256), r.IntN(256), r.IntN(256)) }
	quoted := func(list []string) string { return `["` + strings.Join(list, `","`) + `"]` }
	for i := range n {
		ts := fmt.Sprintf("%d.%06d", 1795430055+i, r.IntN(1e6))
		uid := "C" + word(10+r.IntN(8))
		src, dst := fmt.Sprintf("10.20.%d.%d", r.IntN(256), r.IntN(256)), "10.53.0.53"
		sp, id := 1024+r.IntN(64000), r.IntN(65536)
		rtt := r.Float64() / 10
		name := word(3+r.IntN(12)) + "." + word(4+r.IntN(8)) + ".com"
		kind := []string{"A", "AAAA", "TXT", "A", "A", "HTTPS"}[r.IntN(6)]
		var answers []string
		switch kind {
		case "A":
			answers = []string{word(8) + ".cdn.net"}
			for range r.IntN(4) {
				answers = append(answers, ip())
			}
		case "AAAA":
			answers = []string{fmt.Sprintf("2001:db8:%x::%x", r.IntN(65536), r.IntN(65536))}
		case "TXT":
			s := word(20 + r.IntN(80))
			answers = []string{fmt.Sprintf("TXT %d %s", len(s), s)}
		default:
			answers = []string{"<unknown type=65>"}
		}
		var ttls, ttlsTSV []string
		for range answers {
			ttl := r.IntN(4000)
			ttls = append(ttls, fmt.Sprintf("%d.0", ttl))
			ttlsTSV = append(ttlsTSV, fmt.Sprintf("%d.000000", ttl))
		}
		dnsJSON.add(fmt.Sprintf(`{"ts":%s,"uid":"%s","id.orig_h":"%s","id.orig_p":%d,"id.resp_h":"%s","id.resp_p":53,"proto":"udp","trans_id":%d,"rtt":%v,"query":"%s","qclass":1,"qclass_name":"C_INTERNET","qtype":1,"qtype_name":"%s","rcode":0,"rcode_name":"NOERROR","AA":false,"TC":false,"RD":true,"RA":true,"Z":0,"answers":%s,"TTLs":[%s],"rejected":false,"opcode":0,"opcode_name":"query"}`,
			ts, uid, src, sp, dst, id, rtt, name, kind, quoted(answers), strings.Join(ttls, ",")))
		dnsTSV.add(strings.Join([]string{ts, uid, src, fmt.Sprint(sp), dst, "53", "udp", fmt.Sprint(id), fmt.Sprintf("%.6f", rtt), name, "1", "C_INTERNET", "1", kind, "0", "NOERROR", "F", "F", "T", "T", "0", strings.Join(answers, ","), strings.Join(ttlsTSV, ","), "F", "0", "query"}, "\t"))
		var odd strings.Builder
		for range 80 {
			fmt.Fprintf(&odd, `\\x%02x%c`, 0xbc+r.IntN(0x40), letters[r.IntN(len(letters))])
		}
		tunnel.add(fmt.Sprintf(`{"ts":%s,"uid":"%s","id.orig_h":"%s","id.orig_p":%d,"id.resp_h":"%s","id.resp_p":53,"proto":"udp","trans_id":%d,"rtt":%v,"query":"%s.t.iod001.test","qclass":1,"qclass_name":"C_INTERNET","qtype":65399,"qtype_name":"query-65399","rcode":0,"rcode_name":"NOERROR","AA":false,"TC":false,"RD":true,"RA":true,"Z":0,"answers":["<unknown type=65399>"],"TTLs":[0.0],"rejected":false}`,
			ts, uid, src, sp, dst, id, rtt, odd.String()))
		service := []string{"ssl", "dns", "http", "-", "quic,ssl"}[r.IntN(5)]
		jsonService := ""
		if service != "-" {
			jsonService = fmt.Sprintf(`,"service":"%s"`, service)
		}
		dur, up, down := r.Float64()*300, r.IntN(1e6), r.IntN(1e6)
		server := ip()
		connJSON.add(fmt.Sprintf(`{"ts":%s,"uid":"%s","id.orig_h":"%s","id.orig_p":%d,"id.resp_h":"%s","id.resp_p":443,"proto":"tcp"%s,"duration":%v,"orig_bytes":%d,"resp_bytes":%d,"conn_state":"SF","local_orig":true,"local_resp":false,"missed_bytes":0,"history":"ShADadFf","orig_pkts":%d,"orig_ip_bytes":%d,"resp_pkts":%d,"resp_ip_bytes":%d,"ip_proto":6}`,
			ts, uid, src, sp, server, jsonService, dur, up, down, up/1000+4, up+up/25+200, down/1000+4, down+down/25+200))
		connTSV.add(strings.Join([]string{ts, uid, src, fmt.Sprint(sp), server, "443", "tcp", service, fmt.Sprintf("%.6f", dur), fmt.Sprint(up), fmt.Sprint(down), "SF", "T", "F", "0", "ShADadFf", fmt.Sprint(up/1000 + 4), fmt.Sprint(up + up/25 + 200), fmt.Sprint(down/1000 + 4), fmt.Sprint(down + down/25 + 200), "-", "6"}, "\t"))
		sslJSON.add(fmt.Sprintf(`{"ts":%s,"uid":"%s","id.orig_h":"%s","id.orig_p":%d,"id.resp_h":"%s","id.resp_p":443,"version":"TLSv12","cipher":"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384","curve":"x25519","server_name":"%s","resumed":false,"next_protocol":"h2","established":true,"ssl_history":"CsxknGIi","cert_chain_fps":["%s"],"client_cert_chain_fps":[],"sni_matches_cert":true}`,
			ts, uid, src, sp, server, name, word(64)))
	}
	return []*corpus{dnsJSON, dnsTSV, tunnel, connJSON, connTSV, sslJSON}
}

func BenchmarkLine(b *testing.B) {
	for _, c := range corpora(4096) {
		b.Run(c.name, func(b *testing.B) {
			d := c.decoder()
			sink := &discard{}
			b.SetBytes(c.bytes / int64(len(c.lines)))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				d.Line(c.lines[i%len(c.lines)], event.Origin{Name: "x.log"}, sink)
				i++
			}
			b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "lines/s")
			if sink.dead+sink.ignored > 0 {
				b.Fatalf("%+v", sink)
			}
		})
	}
}

// A line that Zeek wrote costs no allocation once the buffers have grown. Not
// parallel: allocations are counted for the whole process.
func TestAllocations(t *testing.T) {
	for _, c := range corpora(512) {
		d := c.decoder()
		sink := &discard{}
		all := func() {
			for _, line := range c.lines {
				d.Line(line, event.Origin{Name: "x.log"}, sink)
			}
		}
		all()
		if n := testing.AllocsPerRun(5, all); n > 0 {
			t.Errorf("%s: %v allocations in %d lines, want 0", c.name, n, len(c.lines))
		}
		if sink.dead+sink.ignored > 0 {
			t.Errorf("%s: %+v", c.name, sink)
		}
	}
}
