package packet_test

import (
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// TestLinks: the same packet gives the same events behind every link header.
func TestLinks(t *testing.T) {
	t.Parallel()
	p4, p6 := udp4(client, 5, server, 53, query(7, "x.example", 16)), udp4(six, 5, six2, 53, query(7, "x.example", 16))
	mac := make([]byte, 12)
	hdr := func(parts ...[]byte) (out []byte) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	v4, v6 := []byte{8, 0}, []byte{0x86, 0xdd}
	for _, c := range []struct {
		name   string
		link   layers.LinkType
		h4, h6 []byte
	}{
		{"ethernet", layers.LinkTypeEthernet, hdr(mac, v4), hdr(mac, v6)},
		{"vlan", layers.LinkTypeEthernet, hdr(mac, []byte{0x81, 0, 0, 5}, v4), hdr(mac, []byte{0x81, 0, 0, 5}, v6)},
		{"qinq", layers.LinkTypeEthernet, hdr(mac, []byte{0x88, 0xa8, 0, 1, 0x81, 0, 0, 5}, v4), hdr(mac, []byte{0x91, 0, 0, 1, 0x81, 0, 0, 5}, v6)},
		{"snap", layers.LinkTypeEthernet, hdr(mac, []byte{0, 90, 0xaa, 0xaa, 3, 0, 0, 0}, v4), hdr(mac, []byte{0, 90, 0xaa, 0xaa, 3, 0, 0, 0}, v6)},
		{"sll", layers.LinkTypeLinuxSLL, hdr(make([]byte, 14), v4), hdr(make([]byte, 14), v6)},
		{"sll vlan", layers.LinkTypeLinuxSLL, hdr(make([]byte, 14), []byte{0x81, 0, 0, 5}, v4), hdr(make([]byte, 14), []byte{0x81, 0, 0, 5}, v6)},
		{"sll2", layers.LinkTypeLinuxSLL2, hdr(v4, make([]byte, 18)), hdr(v6, make([]byte, 18))},
		{"raw", layers.LinkTypeRaw, nil, nil},
		{"ipv4 and ipv6", layers.LinkTypeIPv4, nil, nil},
		{"null", layers.LinkTypeNull, []byte{2, 0, 0, 0}, []byte{30, 0, 0, 0}},
		{"loop", layers.LinkTypeLoop, []byte{0, 0, 0, 2}, []byte{0, 0, 0, 24}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, packet.Config{})
			for _, p := range [][]byte{hdr(c.h4, p4), hdr(c.h6, p6)} {
				// Ethernet pads; what lies behind the IP packet does not count.
				p = append(p, 0, 0, 0, 0)
				b.Packet(begin, c.link, p, len(p), event.Origin{}, b.rec)
			}
			b.flush()
			dns, conns := b.of(event.KindDNS), b.of(event.KindConn)
			if len(dns) != 2 || len(conns) != 2 || dns[0].Source.IP != client || dns[1].Source.IP != six {
				t.Fatalf("%d transactions, %d connections, %v", len(dns), len(conns), b.rec.Deads)
			}
			for i, e := range conns {
				if e.Source.Bytes.Or(0) != 27 || e.Source.IPBytes.Or(0) != uint64([]int{55, 75}[i]) {
					t.Errorf("%d bytes, %d on IP", e.Source.Bytes.Or(0), e.Source.IPBytes.Or(0))
				}
			}
		})
	}
}

// TestUnfit: what is no IP is ignored, what is damaged is dead, and nothing is
// both or neither.
func TestUnfit(t *testing.T) {
	t.Parallel()
	whole := tcp4(client, 1, server, 2, 1, 2, nil)
	damaged := func(at int, v byte) []byte {
		p := append([]byte(nil), whole...)
		p[at] = v
		return p
	}
	for _, c := range []struct {
		name    string
		link    layers.LinkType
		data    []byte
		length  int
		outcome string
	}{
		{"arp", layers.LinkTypeEthernet, append(make([]byte, 12), 8, 6, 0, 1), 0, "not_ip"},
		{"spanning tree", layers.LinkTypeEthernet, append(make([]byte, 12), 0, 38, 0x42, 0x42, 3, 0, 0, 0, 0, 0), 0, "not_ip"},
		{"tags without end", layers.LinkTypeEthernet, append(make([]byte, 12), []byte(strings.Repeat("\x81\x00\x00\x01", 9))...), 0, "not_ip"},
		{"sll2 arp", layers.LinkTypeLinuxSLL2, append([]byte{8, 6}, make([]byte, 40)...), 0, "not_ip"},
		{"wireless", layers.LinkTypeIEEE80211Radio, whole, 0, packet.ReasonLink},
		{"empty", layers.LinkTypeEthernet, nil, 0, packet.ReasonMalformed},
		{"empty, snapped", layers.LinkTypeEthernet, nil, 60, packet.ReasonShort},
		{"version 5", layers.LinkTypeEthernet, append(append(make([]byte, 12), 8, 0), damaged(0, 0x55)...), 0, packet.ReasonMalformed},
		{"header length", layers.LinkTypeRaw, damaged(0, 0x44), 0, packet.ReasonMalformed},
		{"header longer than packet", layers.LinkTypeRaw, damaged(3, 10), 0, packet.ReasonMalformed},
		{"tcp header length", layers.LinkTypeRaw, damaged(32, 0x10), 0, packet.ReasonMalformed},
		{"tcp header longer than packet", layers.LinkTypeRaw, damaged(32, 0xf0), 0, packet.ReasonMalformed},
		{"half a tcp header", layers.LinkTypeRaw, whole[:30], 40, packet.ReasonShort},
		{"half an ip header", layers.LinkTypeRaw, whole[:12], 40, packet.ReasonShort},
		{"ipv6 extension beyond the end", layers.LinkTypeRaw, ip6(six, six2, 60, gopacket.Payload{6, 9, 0, 0, 0, 0, 0, 0}), 0, packet.ReasonMalformed},
		{"ipv6 extensions without end", layers.LinkTypeRaw, ip6(six, six2, 60, gopacket.Payload(strings.Repeat("\x3c\x00\x00\x00\x00\x00\x00\x00", 40))), 0, packet.ReasonMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, packet.Config{})
			b.Packet(begin, c.link, c.data, max(c.length, len(c.data)), event.Origin{}, b.rec)
			b.flush()
			if b.rec.Total() != 1 || b.rec.Ignores[c.outcome]+b.rec.Deads[c.outcome] != 1 {
				t.Errorf("ignored %v, dead %v, %d events; want %s", b.rec.Ignores, b.rec.Deads, b.rec.Events, c.outcome)
			}
			b.checkEmpty(t)
		})
	}
}

// TestExtensions: IPv6 headers between IP and transport are passed over.
func TestExtensions(t *testing.T) {
	t.Parallel()
	u := udp4(six, 5, six2, 53, query(7, "x.example", 16))[40:]
	hop := []byte{60, 0, 1, 4, 0, 0, 0, 0}
	dest := []byte{51, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	auth := []byte{44, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2}
	atomic := []byte{17, 0, 0, 0, 0, 0, 0, 9}
	var all []byte
	for _, p := range [][]byte{hop, dest, auth, atomic, u} {
		all = append(all, p...)
	}
	b := newBench(t, packet.Config{})
	b.put(ip6(six, six2, layers.IPProtocolIPv6HopByHop, gopacket.Payload(all))).flush()
	if e := b.only(t, event.KindDNS); e.DNS.Name != "x.example" || e.DNS.QueryBytes.Or(0) != 27 {
		t.Errorf("%q, %d bytes", e.DNS.Name, e.DNS.QueryBytes.Or(0))
	}
}
