package packet_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

const (
	second = int64(1_000_000)
	begin  = 1_700_000_000 * second
)

var (
	client = netip.MustParseAddr("10.0.0.1")
	server = netip.MustParseAddr("192.0.2.80")
	six    = netip.MustParseAddr("2001:db8::1")
	six2   = netip.MustParseAddr("2001:db8::2")
)

// bench is a Tracker with a sink that keeps the events.
type bench struct {
	*packet.Tracker

	rec    *decodetest.Recorder
	events []*event.Event
	now    int64
	line   uint64
}

func newBench(tb testing.TB, cfg packet.Config) *bench {
	tb.Helper()
	b := &bench{Tracker: packet.NewTracker(cfg), rec: decodetest.New(tb), now: begin}
	b.rec.Quiet = true
	b.rec.Each = func(e *event.Event) { b.events = append(b.events, clone(e)) }
	return b
}

// put sends a raw IP packet a millisecond after the one before.
func (b *bench) put(p []byte) *bench {
	b.now += 1000
	return b.at(b.now, p)
}

func (b *bench) at(ts int64, p []byte) *bench {
	b.now = ts
	b.line++
	b.Packet(ts, layers.LinkTypeRaw, p, len(p), event.Origin{Name: "test", Line: event.N(b.line)}, b.rec)
	return b
}

func (b *bench) flush() *bench { b.Flush(b.rec); return b }

// of returns the events of a kind so far.
func (b *bench) of(k event.Kind) (out []*event.Event) {
	for _, e := range b.events {
		if e.Kind == k {
			out = append(out, e)
		}
	}
	return out
}

// only returns the event of a kind, of which there must be one.
func (b *bench) only(tb testing.TB, k event.Kind) *event.Event {
	tb.Helper()
	all := b.of(k)
	if len(all) != 1 {
		tb.Fatalf("%d events of kind %s, want 1", len(all), k)
	}
	return all[0]
}

// checkEmpty fails unless nothing is held after a flush.
func (b *bench) checkEmpty(tb testing.TB) {
	tb.Helper()
	f, x, d, h, n := b.Held()
	if f != 0 || x != 0 || d != 0 || h != 0 || n != 0 {
		tb.Errorf("held after a flush: %d flows, %d transactions, %d datagrams, %d hellos, %d bytes", f, x, d, h, n)
	}
	s := b.Stats()
	if s.Packets != s.Tracked+s.Ignored+s.Dead || s.Waiting != 0 {
		tb.Errorf("packets do not add up: %+v", s)
	}
}

// TestStates names connections as Zeek does. A step is the direction, the
// flags, and how many bytes are sent.
func TestStates(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, steps, state string }{
		{"normal", ">S <SA >A >A100 <A2000 >FA <FA >A", "SF"},
		{"reset after both ends", ">S <SA >A >FA >R <FA", "SF"},
		{"no answer", ">S", "S0"},
		{"refused", ">S <RA", "REJ"},
		{"open", ">S <SA >A >A10", "S1"},
		{"originator closed", ">S <SA >A >FA <A", "S2"},
		{"responder closed", ">S <SA >A <FA >A", "S3"},
		{"originator reset", ">S <SA >A >R", "RSTO"},
		{"responder reset", ">S <SA >A >A5 <R", "RSTR"},
		{"reset without answer", ">S >R", "RSTOS0"},
		{"half open", ">S >FA", "SH"},
		{"answer only", "<SA <R", "RSTRH"},
		{"answer and end only", "<SA <FA", "SHR"},
		{"in the middle", ">A10 <A10", "OTH"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, packet.Config{})
			b.steps(t, c.steps)
			e := b.flush().only(t, event.KindConn)
			if e.Conn.State != c.state || e.Source.IP != client || e.Source.Port != event.N(40000) {
				t.Errorf("%s from %s, want %s from %s", e.Conn.State, e.Source.IP, c.state, client)
			}
			b.checkEmpty(t)
		})
	}
}

// steps plays a conversation between client:40000 and server:443.
func (b *bench) steps(tb testing.TB, script string) {
	tb.Helper()
	seq := map[byte]uint32{'>': 1000, '<': 5000}
	for _, s := range strings.Fields(script) {
		var flags uint8
		n := 0
		for i, c := range s[1:] {
			switch c {
			case 'F':
				flags |= 1
			case 'S':
				flags |= 2
			case 'R':
				flags |= 4
			case 'A':
				flags |= 16
			default:
				if _, err := fmt.Sscan(s[1+i:], &n); err != nil {
					tb.Fatal(err)
				}
			}
			if n > 0 {
				break
			}
		}
		at := seq[s[0]]
		if s[0] == '>' {
			b.put(tcp4(client, 40000, server, 443, at, flags, make([]byte, n)))
		} else {
			b.put(tcp4(server, 443, client, 40000, at, flags, make([]byte, n)))
		}
		seq[s[0]] += uint32(n)
		if flags&3 != 0 {
			seq[s[0]]++
		}
	}
}

func TestStreamBytes(t *testing.T) {
	t.Parallel()
	const syn = 0xffffff00 // wraps around within the first segments
	for _, c := range []struct {
		name          string
		segments      [][2]int // offset and size
		bytes, missed uint64
	}{
		{"in order", [][2]int{{0, 500}, {500, 500}}, 1000, 0},
		{"sent again", [][2]int{{0, 500}, {0, 500}, {500, 10}}, 510, 0},
		{"out of order", [][2]int{{500, 500}, {0, 500}, {1000, 1}}, 1001, 0},
		{"lost", [][2]int{{0, 500}, {900, 100}}, 1000, 400},
		{"overlap", [][2]int{{0, 500}, {400, 200}}, 600, 0},
		{"keep-alive", [][2]int{{0, 500}, {499, 1}, {500, 1}}, 501, 0},
		{"far ahead: counted from there", [][2]int{{0, 500}, {1 << 30, 100}, {1<<30 + 100, 100}}, 700, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, packet.Config{})
			b.put(tcp4(client, 1, server, 2, syn, 2, nil))
			for _, s := range c.segments {
				b.put(tcp4(client, 1, server, 2, syn+1+uint32(s[0]), 16, make([]byte, s[1])))
			}
			e := b.flush().only(t, event.KindConn)
			if e.Source.Bytes.Or(0) != c.bytes || e.Conn.MissedBytes.Or(0) != c.missed {
				t.Errorf("%d bytes, %d missed; want %d, %d", e.Source.Bytes.Or(0), e.Conn.MissedBytes.Or(0), c.bytes, c.missed)
			}
		})
	}
}

// TestSnapLength: volumes are those of the wire, however little was captured.
func TestSnapLength(t *testing.T) {
	t.Parallel()
	for _, snap := range []int{42, 54, 60, 96, 2000} {
		b := newBench(t, packet.Config{})
		for _, p := range [][]byte{
			tcp4(client, 1, server, 2, 99, 2, nil),
			tcp4(client, 1, server, 2, 100, 16, make([]byte, 1400)),
			tcp4(client, 1, server, 2, 1500, 16, make([]byte, 600)),
			udp4(client, 7, server, 8, make([]byte, 1400)),
		} {
			b.now += 1000
			b.Packet(b.now, layers.LinkTypeRaw, p[:min(len(p), snap)], len(p), event.Origin{}, b.rec)
		}
		var got [][3]uint64
		for _, e := range b.flush().of(event.KindConn) {
			got = append(got, [3]uint64{e.Source.Bytes.Or(0), e.Source.IPBytes.Or(0), e.Conn.MissedBytes.Or(0)})
		}
		cut := uint64(max(0, 1440-snap) + max(0, 640-snap))
		want := [][3]uint64{{2000, 2000 + 120, cut}, {1400, 1428, 0}}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("snap length %d (-want +got):\n%s", snap, d)
		}
	}
}

func TestReports(t *testing.T) {
	t.Parallel()
	b := newBench(t, packet.Config{})
	b.steps(t, ">S <SA >A")
	for i := range 300 {
		b.at(begin+int64(i+1)*second, tcp4(client, 40000, server, 443, 1001+uint32(i)*1000, 16, make([]byte, 1000)))
	}
	var last uint64
	all := b.of(event.KindConn)
	if len(all) != 4 && len(all) != 5 {
		t.Fatalf("%d reports in five minutes", len(all))
	}
	for i, e := range all {
		if !e.Conn.Open || e.ID != all[0].ID || e.Source.Bytes.Or(0) <= last || e.Time-begin > int64(i+1)*60*second+second {
			t.Errorf("report %d: open %v, id %s, bytes %d, at %d", i, e.Conn.Open, e.ID, e.Source.Bytes.Or(0), e.Time-begin)
		}
		last = e.Source.Bytes.Or(0)
	}
	b.events = nil
	b.now += 299 * second
	b.Advance(b.now, b.rec)
	for _, e := range b.of(event.KindConn) {
		if !e.Conn.Open {
			t.Errorf("ended after 299 s of silence")
		}
	}
	b.now += second
	b.Advance(b.now, b.rec)
	e := b.events[len(b.events)-1]
	if e.Conn.Open || e.ID != all[0].ID || e.Source.Bytes.Or(0) != 300_000 || e.Time != begin+300*second {
		t.Errorf("the end: %+v at %d with %d bytes", e.Conn, e.Time-begin, e.Source.Bytes.Or(0))
	}
	b.checkEmpty(t)
}

func TestIdle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		put    func(b *bench)
		lasts  int64 // microseconds after the last packet
		events int
	}{
		{"udp", func(b *bench) {
			b.put(udp4(client, 1, server, 2, []byte("a"))).put(udp4(server, 2, client, 1, []byte("b")))
		}, 60 * second, 1},
		{"udp unanswered", func(b *bench) { b.put(udp4(client, 1, server, 2, []byte("a"))) }, 60 * second, 1},
		{"icmp", func(b *bench) { b.put(ip(client, server, layers.IPProtocolICMPv4, gopacket.Payload(make([]byte, 64)))) }, 60 * second, 2},
		{"gre", func(b *bench) { b.put(ip(client, server, layers.IPProtocolGRE, gopacket.Payload(make([]byte, 64)))) }, 60 * second, 1},
		{"tcp unanswered", func(b *bench) { b.steps(t, ">S") }, 60 * second, 1},
		{"tcp", func(b *bench) { b.steps(t, ">S <SA >A") }, 300 * second, 2},
		{"tcp closed", func(b *bench) { b.steps(t, ">S <SA >A >FA <FA >A") }, 5 * second, 1},
		{"tcp reset", func(b *bench) { b.steps(t, ">S <RA") }, 5 * second, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, packet.Config{})
			c.put(b)
			last := b.now
			b.Advance(last+c.lasts-1, b.rec)
			if f, _, _, _, _ := b.Held(); f != 1 {
				t.Errorf("%d flows before the time, want 1", f)
			}
			b.Advance(last+c.lasts, b.rec)
			if f, _, _, _, _ := b.Held(); f != 0 || len(b.events) != c.events {
				t.Errorf("%d flows and %d events after the time, want 0 and %d", f, len(b.events), c.events)
			}
			if e := b.events[len(b.events)-1]; e.Kind != event.KindConn || e.Conn.Open || e.Time != last {
				t.Errorf("last event: %s at %d", e.Kind, e.Time-last)
			}
		})
	}
}

func TestPortsAreUsedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, packet.Config{})
	b.steps(t, ">S <SA >A >A10 >FA <FA >A")
	b.put(tcp4(client, 40000, server, 443, 77_000, 2, nil))
	b.put(tcp4(server, 443, client, 40000, 88_000, 18, nil))
	b.flush()
	all := b.of(event.KindConn)
	if len(all) != 2 || all[0].Conn.State != "SF" || all[1].Conn.State != "S1" || all[0].ID == all[1].ID {
		t.Fatalf("%d connections", len(all))
	}
	if all[1].Source.IP != client || all[1].Source.Packets.Or(0) != 1 {
		t.Errorf("second connection from %s with %d packets", all[1].Source.IP, all[1].Source.Packets.Or(0))
	}
}

// TestTimeGoesBack: recordings that were joined in the wrong order, or one
// packet with a wrong clock, leave nothing behind.
func TestTimeGoesBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, packet.Config{})
	b.at(begin, udp4(client, 1, server, 53, query(1, "a.example", 1)))
	b.at(begin+10*365*86400*second, udp4(client, 1, server, 53, query(2, "b.example", 1)))
	if len(b.of(event.KindDNS)) != 1 || len(b.of(event.KindConn)) != 1 {
		t.Errorf("the past is not over: %d events", len(b.events))
	}
	b.at(begin+second, udp4(client, 1, server, 53, query(3, "c.example", 1)))
	if len(b.of(event.KindDNS)) != 2 || len(b.of(event.KindConn)) != 2 {
		t.Errorf("the future is not over: %d events", len(b.events))
	}
	b.flush().checkEmpty(t)
}

// TestFlood: forged packets do not push out what is answered, and what they
// push out is reported.
func TestFlood(t *testing.T) {
	t.Parallel()
	const room = 100
	b := newBench(t, packet.Config{MaxFlows: room})
	b.steps(t, ">S <SA >A >A1000")
	b.put(udp4(client, 1, server, 2, []byte("a"))).put(udp4(server, 2, client, 1, []byte("b")))
	const n = 5000
	for i := range n {
		from := netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)})
		if i%2 == 0 {
			b.now += 10
			b.at(b.now, tcp4(from, 99, server, 443, uint32(i), 2, nil))
		} else {
			b.now += 10
			b.at(b.now, udp4(from, 99, server, 9999, make([]byte, 10)))
		}
		if f, _, _, _, _ := b.Held(); f > room {
			t.Fatalf("%d flows", f)
		}
	}
	if got := len(b.of(event.KindConn)); got != n+2-room {
		t.Errorf("%d connections were pushed out and reported, want %d", got, n+2-room)
	}
	for _, e := range b.of(event.KindConn) {
		if e.Source.IP == client {
			t.Errorf("an answered connection was pushed out")
		}
	}
	if s := b.Stats(); s.Evicted != n+2-room {
		t.Errorf("%d evicted", s.Evicted)
	}
	b.flush().checkEmpty(t)
	if got := len(b.of(event.KindConn)); got != n+2 {
		t.Errorf("%d connections, want %d", got, n+2)
	}
}

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

// fragments4 cuts an IPv4 packet at multiples of 8 bytes of its payload.
func fragments4(p []byte, id uint16, size int) (out [][]byte) {
	body := p[20:]
	for at := 0; at < len(body); at += size {
		end := min(at+size, len(body))
		f := append(append([]byte(nil), p[:20]...), body[at:end]...)
		binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
		binary.BigEndian.PutUint16(f[4:], id)
		word := uint16(at / 8)
		if end < len(body) {
			word |= 0x2000
		}
		binary.BigEndian.PutUint16(f[6:], word)
		out = append(out, f)
	}
	return out
}

func fragments6(p []byte, id uint32, size int) (out [][]byte) {
	body := p[40:]
	for at := 0; at < len(body); at += size {
		end := min(at+size, len(body))
		h := []byte{p[6], 0, byte(at >> 8), byte(at), 0, 0, 0, 0}
		if end < len(body) {
			h[3] |= 1
		}
		binary.BigEndian.PutUint32(h[4:], id)
		f := append(append(append([]byte(nil), p[:40]...), h...), body[at:end]...)
		f[6] = 44
		binary.BigEndian.PutUint16(f[4:], uint16(len(f)-40))
		out = append(out, f)
	}
	return out
}

func TestFragments(t *testing.T) {
	t.Parallel()
	long := respond(query(9, "big.example", 16), 0, record(16, 5, append([]byte{255}, make([]byte, 255)...)))
	rapid.Check(t, func(r *rapid.T) {
		b := newBench(t, packet.Config{})
		var parts [][]byte
		whole := udp4(server, 53, client, 999, long)
		if rapid.Bool().Draw(r, "v6") {
			whole = udp4(six, 53, six2, 999, long)
			parts = fragments6(whole, 77, 8*rapid.IntRange(1, 20).Draw(r, "size"))
		} else {
			parts = fragments4(whole, 77, 8*rapid.IntRange(1, 20).Draw(r, "size"))
		}
		// Holes are kept track of up to eight ranges.
		if len(parts) <= 8 {
			parts = rapid.Permutation(parts).Draw(r, "order")
		}
		wire := uint64(0)
		for _, p := range parts {
			b.put(p)
			wire += uint64(len(p))
		}
		b.flush()
		e, c := b.only(t, event.KindDNS), b.only(t, event.KindConn)
		if e.DNS.Name != "big.example" || e.DNS.DataBytes.Or(0) != 256 || e.DNS.ResponseBytes.Or(0) != uint64(len(long)) {
			r.Errorf("%+v", e.DNS)
		}
		if c.Destination.IPBytes.Or(0) != wire || c.Destination.Packets.Or(0) != uint64(len(parts)) || c.Destination.Bytes.Or(0) != uint64(len(long)) {
			r.Errorf("%+v, want %d packets of %d bytes", c.Destination, len(parts), wire)
		}
		b.checkEmpty(t)
	})
}

// TestFragmentsMissing: what came is counted, and with ports where they came.
func TestFragmentsMissing(t *testing.T) {
	t.Parallel()
	parts := fragments4(udp4(client, 999, server, 4242, make([]byte, 4000)), 1, 1480)
	for missing := range parts {
		b := newBench(t, packet.Config{})
		for i, p := range parts {
			if i != missing {
				b.put(p)
			}
		}
		if s := b.Stats(); s.Waiting != uint64(len(parts)-1) || len(b.events) > 0 {
			t.Errorf("without %d: %+v", missing, s)
		}
		b.now += 31 * second
		b.Advance(b.now, b.rec)
		e := b.flush().only(t, event.KindConn)
		if e.Source.Packets.Or(0) != 2 || e.Source.IP != client {
			t.Errorf("without %d: %+v", missing, e.Source)
		}
		if known := missing != 0; (e.Destination.Port == event.N(4242)) != known {
			t.Errorf("without %d: port %v", missing, e.Destination.Port)
		}
		if b.Stats().Incomplete != 1 {
			t.Errorf("without %d: %+v", missing, b.Stats())
		}
		b.checkEmpty(t)
	}
}

// TestFragmentFlood: datagrams that are never completed are bounded.
func TestFragmentFlood(t *testing.T) {
	t.Parallel()
	b := newBench(t, packet.Config{MaxDatagrams: 50, MaxBuffered: 100_000})
	first := fragments4(udp4(client, 999, server, 4242, make([]byte, 4000)), 0, 1480)[0]
	for i := range 2000 {
		binary.BigEndian.PutUint16(first[4:], uint16(i))
		b.now += 10
		b.at(b.now, first)
		if _, _, d, _, n := b.Held(); d > 50 || n > 100_000 {
			t.Fatalf("%d datagrams, %d bytes", d, n)
		}
	}
	b.flush().checkEmpty(t)
	packets := uint64(0)
	for _, e := range b.of(event.KindConn) {
		packets += e.Source.Packets.Or(0)
	}
	if packets != 2000 {
		t.Errorf("%d packets were counted", packets)
	}
}

// drawTraffic makes packets of few addresses, so that they meet.
func drawTraffic(r *rapid.T) [][]byte {
	addrs := []netip.Addr{client, server, six, six2}
	one := rapid.Custom(func(r *rapid.T) []byte {
		v6 := rapid.Bool().Draw(r, "v6")
		a, b := addrs[0], addrs[1]
		if v6 {
			a, b = addrs[2], addrs[3]
		}
		pa, pb := rapid.SampledFrom([]uint16{53, 443, 1000, 5353, 5355}).Draw(r, "a"), rapid.SampledFrom([]uint16{53, 999, 443}).Draw(r, "b")
		if rapid.Bool().Draw(r, "back") {
			a, b, pa, pb = b, a, pb, pa
		}
		q := query(uint16(rapid.IntRange(0, 3).Draw(r, "id")), rapid.SampledFrom([]string{"a.example", "b.example"}).Draw(r, "name"), 1)
		payload := rapid.SampledFrom([][]byte{
			nil, q, respond(q, 0, record(1, 9, []byte{1, 2, 3, 4})), []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), make([]byte, 900),
			hello("a.test", "h2"), append([]byte{0, byte(len(q))}, q...),
		}).Draw(r, "payload")
		var p []byte
		switch rapid.IntRange(0, 3).Draw(r, "kind") {
		case 0:
			proto := layers.IPProtocolICMPv4
			if v6 {
				proto = layers.IPProtocolICMPv6
			}
			p = ip(a, b, proto, gopacket.Payload(append([]byte{byte(rapid.SampledFrom([]int{0, 8, 3, 128, 129}).Draw(r, "type")), 0, 0, 0, 0, 1, 0, 2}, payload...)))
		case 1:
			p = tcp4(a, pa, b, pb, rapid.SampledFrom([]uint32{0, 1, 28, 900, 1 << 31}).Draw(r, "seq"), uint8(rapid.IntRange(0, 31).Draw(r, "flags")), payload)
		default:
			p = udp4(a, pa, b, pb, payload)
		}
		if len(payload) > 500 && rapid.Bool().Draw(r, "fragment") {
			parts := fragments4
			if v6 {
				return fragments6(p, 5, 400)[rapid.IntRange(0, 1).Draw(r, "which")]
			}
			return parts(p, 5, 400)[rapid.IntRange(0, 1).Draw(r, "which")]
		}
		return p
	})
	return rapid.SliceOfN(one, 1, 60).Draw(r, "packets")
}

// TestAnyTraffic: whatever the packets, they add up, the same packets give the
// same events, no event comes with a time before what Low promised, and no
// counter of a connection goes back.
func TestAnyTraffic(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		traffic := drawTraffic(r)
		gaps := rapid.SliceOfN(rapid.SampledFrom([]int64{0, 1, 1000, second, 11 * second, 45 * second, 70 * second, 400 * second}), len(traffic), len(traffic)).Draw(r, "gaps")
		var runs [2][]byte
		for i := range runs {
			b := newBench(t, packet.Config{MaxFlows: 5, MaxTransactions: 4, MaxDatagrams: 2})
			b.rec.Quiet = false
			type told struct {
				bytes, packets uint64
				time           int64
			}
			before := map[string]told{}
			low := map[event.Kind]int64{}
			b.rec.Each = func(e *event.Event) {
				repeats := false
				if e.Kind == event.KindConn {
					now := told{e.Source.Bytes.Or(0) + e.Destination.Bytes.Or(0), e.Source.Packets.Or(0) + e.Destination.Packets.Or(0), e.Time}
					id := strings.Clone(e.ID) // e lives only during the call
					was := before[id]
					if now.bytes < was.bytes || now.packets < was.packets || now.time < was.time {
						r.Errorf("connection %s went back from %v to %v", e.ID, was, now)
					}
					repeats = now == was
					before[id] = now
				}
				if l, ok := low[e.Kind]; ok && e.Time < l && !repeats {
					r.Errorf("%s at %d, though %d was promised", e.Kind, e.Time, l)
				}
			}
			for j, p := range traffic {
				b.at(b.now+gaps[j], p)
				for _, k := range []event.Kind{event.KindConn, event.KindDNS, event.KindTLS, event.KindICMP} {
					low[k] = b.Low(k)
				}
			}
			b.flush().checkEmpty(t)
			if s := b.Stats(); s.Packets != uint64(len(traffic)) {
				r.Errorf("%+v of %d packets", s, len(traffic))
			}
			runs[i] = b.rec.Out
		}
		if d := cmp.Diff(string(runs[0]), string(runs[1])); d != "" {
			r.Errorf("the same packets gave other events:\n%s", d)
		}
	})
}

// TestAllocations: a packet of a known flow, and a DNS transaction, allocate
// nothing once the tables have grown.
func TestAllocations(t *testing.T) {
	tr, sink := packet.NewTracker(packet.Config{}), new(nowhere)
	now := begin
	feed := func(p []byte) {
		now += 100
		tr.Packet(now, layers.LinkTypeRaw, p, len(p), event.Origin{Name: "x", Line: event.N(1)}, sink)
	}
	q := query(3, "www.example.com", 1)
	for name, packets := range map[string][][]byte{
		"stream": {tcp4(client, 1, server, 2, 5, 16, make([]byte, 1000)), tcp4(server, 2, client, 1, 5, 16, nil)},
		"echo":   {ip(client, server, layers.IPProtocolICMPv4, gopacket.Payload(append([]byte{8, 0, 0, 0, 0, 1, 0, 1}, make([]byte, 56)...)))},
		"dns":    {udp4(client, 7, server, 53, q), udp4(server, 53, client, 7, respond(q, 0, record(1, 60, []byte{1, 2, 3, 4})))},
	} {
		for range 100 {
			for _, p := range packets {
				feed(p)
			}
		}
		if n := testing.AllocsPerRun(1000, func() {
			for _, p := range packets {
				feed(p)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
