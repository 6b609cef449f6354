package packet_test

import (
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
		{"one direction only", ">S >A >A100", "OTH"},
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
	for s := range strings.FieldsSeq(script) {
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

// TestForgedReset: a connection that goes on after a RST is still reported.
func TestForgedReset(t *testing.T) {
	t.Parallel()
	b := newBench(t, packet.Config{})
	b.steps(t, ">S <SA >A")
	b.put(tcp4(client, 40000, server, 443, 7, 4, nil))
	for i := range 100 {
		b.at(begin+int64(i+1)*2*second, tcp4(client, 40000, server, 443, 1001+uint32(i)*1000, 16, make([]byte, 1000)))
	}
	open := b.of(event.KindConn)
	if len(open) != 3 || open[2].Source.Bytes.Or(0) < 80_000 {
		t.Errorf("%d reports in 200 s", len(open))
	}
	if all := b.flush().of(event.KindConn); len(all) != 4 || all[3].Source.Bytes.Or(0) != 100_000 || all[3].ID != all[0].ID {
		t.Errorf("%d connections", len(all))
	}
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

// TestProgressReports: a flow that moves much is told about before its minute,
// each time with an eighth more, and its last record has it all.
func TestProgressReports(t *testing.T) {
	t.Parallel()
	b := newBench(t, packet.Config{})
	const chunk, total = 1200, 40 << 20
	for range total / chunk {
		b.now += 10
		b.at(b.now, udp4(client, 4000, server, 9000, make([]byte, chunk)))
	}
	b.flush()
	var last uint64
	open := 0
	for _, e := range b.of(event.KindConn) {
		n := e.Source.Bytes.Or(0)
		if !e.Conn.Open {
			if n != total/chunk*chunk {
				t.Errorf("the last record has %d bytes", n)
			}
			continue
		}
		if open++; n < last+1<<20 || n > max(last+1<<20, last+last/8)+chunk {
			t.Errorf("report %d: %d bytes after %d", open, n, last)
		}
		last = n
	}
	if open < 12 || open > 30 {
		t.Errorf("%d reports of %d bytes", open, total)
	}
}
