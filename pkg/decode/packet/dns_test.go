package packet_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

var resolver = netip.MustParseAddr("10.0.0.53")

func ask(q []byte) []byte    { return udp4(client, 5000, resolver, 53, q) }
func answer(r []byte) []byte { return udp4(resolver, 53, client, 5000, r) }

func TestTransaction(t *testing.T) {
	t.Parallel()
	b := newBench(t, packet.Config{})
	q := query(4711, "WwW.Example.COM", 28)
	r := respond(q, 0,
		record(5, 300, labels("cdn.example.net")), record(28, 60, six.AsSlice()), record(28, 20, six2.AsSlice()), record(1, 90, server.AsSlice()))
	b.put(ask(q)).put(answer(r))
	e := b.only(t, event.KindDNS)
	want := event.DNS{
		ID: "4711", Name: "www.example.com", Type: "AAAA", ResponseCode: "NOERROR", Addresses: []netip.Addr{six, six2, server},
		Answers: event.N(4), DataBytes: event.N(len(labels("cdn.example.net"))), MinTTL: event.N(20),
		QueryBytes: event.N(len(q)), ResponseBytes: event.N(len(r)), RTT: event.N(1000),
	}
	if d := cmp.Diff(want, e.DNS, cmp.AllowUnexported(event.Count{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if e.Time != begin+1000 || e.Source.IP != client || e.Destination.Port != event.N(53) || e.Origin.Line != event.N(1) || e.Network.Protocol != "dns" {
		t.Errorf("%d %v %v line %v %s", e.Time-begin, e.Source, e.Destination, e.Origin.Line, e.Network.Protocol)
	}
	if c := b.flush().only(t, event.KindConn); c.Network.Protocol != "dns" || c.ID != e.ID || c.Conn.State != "SF" {
		t.Errorf("connection %s of %s: %s", c.ID, e.ID, c.Conn.State)
	}
	b.checkEmpty(t)
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ wire, text string }{
		{"\x03WWW\x07Example\x00", "www.example"},
		{"\x00", "."},
		{"\x03a.b\x01c\x00", `a\x2eb.c`},
		{"\x03a\\b\x00", `a\x5cb`},
		{"\x04\x00\x1f\x7f\xff\x00", `\x00\x1f\x7f\xff`},
		{"\x05a b*c\x00", "a b*c"},
		{"\x01\xc0\x00", `\xc0`},
		{strings.Repeat("\x01\xe4", 127) + "\x00", strings.TrimSuffix(strings.Repeat(`\xe4.`, 127), ".")},
	} {
		msg := append([]byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, c.wire...)
		msg = append(msg, 0, 1, 0, 1)
		b := newBench(t, packet.Config{})
		b.put(ask(msg)).flush()
		if e := b.only(t, event.KindDNS); e.DNS.Name != c.text || e.DNS.NotDNS {
			t.Errorf("%q is %q, want %q", c.wire, e.DNS.Name, c.text)
		}
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	for n, want := range map[uint16]string{
		1: "A", 2: "NS", 5: "CNAME", 10: "NULL", 12: "PTR", 15: "MX", 16: "TXT", 25: "KEY", 28: "AAAA", 33: "SRV", 64: "SVCB", 65: "HTTPS",
		255: "ANY", 256: "URI", 257: "CAA", 0: "TYPE0", 54: "TYPE54", 200: "TYPE200", 65399: "TYPE65399",
	} {
		b := newBench(t, packet.Config{})
		b.put(ask(query(1, "a.test", n))).flush()
		if e := b.only(t, event.KindDNS); e.DNS.Type != want {
			t.Errorf("%d is %s, want %s", n, e.DNS.Type, want)
		}
	}
}

// TestMatching plays messages between one client port and a resolver. A step
// is who sends (q or r), the id, the name and what else.
func TestMatching(t *testing.T) {
	t.Parallel()
	type step struct {
		after int64
		data  []byte
		back  bool
	}
	q := func(id uint16, name string) step { return step{1000, query(id, name, 1), false} }
	r := func(id uint16, name string) step { return step{1000, respond(query(id, name, 1), 0), true} }
	fail := func(id uint16, name string) step { return step{1000, respond(query(id, name, 1), 3), true} }
	wait := func(s step, after int64) step { s.after = after; return s }
	bare := step{1000, []byte{0, 1, 0x81, 0x85, 0, 0, 0, 0, 0, 0, 0, 0}, true}
	for _, c := range []struct {
		name  string
		steps []step
		want  string // name, response code, whether there is a time from query to reply
	}{
		{"one", []step{q(1, "a"), r(1, "a")}, "a NOERROR rtt"},
		{"crossed", []step{q(1, "a"), q(2, "b"), r(2, "b"), fail(1, "a")}, "b NOERROR rtt, a NXDOMAIN rtt"},
		{"same id, other names", []step{q(1, "a"), q(1, "b"), r(1, "a"), r(1, "b")}, "a NOERROR rtt, b NOERROR rtt"},
		{"other case", []step{q(1, "aBc"), r(1, "AbC")}, "abc NOERROR rtt"},
		{"asked again before the reply", []step{q(1, "a"), q(1, "a"), r(1, "a")}, "a NOERROR rtt"},
		{"seen on two interfaces", []step{q(1, "a"), q(1, "a"), r(1, "a"), r(1, "a")}, "a NOERROR rtt"},
		{"two replies", []step{q(1, "a"), r(1, "a"), fail(1, "a")}, "a NOERROR rtt, a NXDOMAIN"},
		{"asked again after the reply", []step{q(1, "a"), r(1, "a"), q(1, "a"), r(1, "a")}, "a NOERROR rtt, a NOERROR rtt"},
		{"reply alone", []step{r(1, "a")}, "a NOERROR"},
		{"other id", []step{q(1, "a"), r(2, "a")}, "a NOERROR, a"},
		{"no reply", []step{q(1, "a")}, "a"},
		{"late reply", []step{q(1, "a"), wait(r(1, "a"), 10*second)}, "a, a NOERROR"},
		{"just in time", []step{q(1, "a"), wait(r(1, "a"), 10*second-1)}, "a NOERROR rtt"},
		{"reply without question", []step{q(1, "a"), bare}, "a REFUSED rtt"},
		{"reply without question to nothing", []step{bare}, " REFUSED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, packet.Config{})
			for _, s := range c.steps {
				p := ask(s.data)
				if s.back {
					p = answer(s.data)
				}
				b.at(b.now+s.after, p)
			}
			var got []string
			for _, e := range b.flush().of(event.KindDNS) {
				text := strings.TrimSpace("|" + e.DNS.Name + " " + e.DNS.ResponseCode)
				if e.DNS.RTT.Known() {
					text += " rtt"
				}
				got = append(got, text[1:])
				if e.Source.IP != client || e.Destination.IP != resolver || e.DNS.NotDNS {
					t.Errorf("from %s to %s", e.Source.IP, e.Destination.IP)
				}
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("got %q, want %q", s, c.want)
			}
			b.checkEmpty(t)
		})
	}
}

func TestTransactionsAreBounded(t *testing.T) {
	t.Parallel()
	for _, spread := range []bool{false, true} { // over ids, or all of one
		b := newBench(t, packet.Config{MaxTransactions: 40})
		const n = 1000
		for i := range n {
			id := uint16(7)
			if spread {
				id = uint16(i)
			}
			b.put(ask(query(id, fmt.Sprintf("n%d.test", i), 1)))
			if _, x, _, _, _ := b.Held(); x > 40 {
				t.Fatalf("%d transactions", x)
			}
		}
		b.flush().checkEmpty(t)
		if got := len(b.of(event.KindDNS)); got != n {
			t.Errorf("%d events of %d questions", got, n)
		}
		if s := b.Stats(); s.Displaced == 0 || s.Transactions != n {
			t.Errorf("%+v", s)
		}
	}
}

func TestManyQuestions(t *testing.T) {
	t.Parallel()
	b := newBench(t, packet.Config{})
	q := query(1, "a.test", 1)
	q[5] = 2
	q = append(q, labels("b.test")...)
	q = append(q, 0, 16, 0, 1)
	r := bytes.Clone(q)
	r[2] = 0x80
	b.put(ask(q)).put(answer(r))
	all := b.of(event.KindDNS)
	if len(all) != 2 || all[0].DNS.Name != "a.test" || all[1].DNS.Name != "b.test" || all[1].DNS.Type != "TXT" {
		t.Fatalf("%d events", len(all))
	}
	if !all[0].DNS.QueryBytes.Known() || all[1].DNS.QueryBytes.Known() || all[1].DNS.ResponseBytes.Known() || !all[1].DNS.RTT.Known() {
		t.Errorf("sizes stand with each question: %+v", all[1].DNS)
	}
}

func TestMulticast(t *testing.T) {
	t.Parallel()
	group, group2 := netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("224.0.0.252")
	b := newBench(t, packet.Config{})
	// mDNS: each question at once, announcements from who makes them.
	b.put(udp4(client, 5353, group, 5353, query(0, "printer.local", 12)))
	if e := b.only(t, event.KindDNS); e.DNS.Name != "printer.local" || e.Source.IP != client {
		t.Errorf("%q from %s", e.DNS.Name, e.Source.IP)
	}
	b.put(udp4(server, 5353, group, 5353, []byte{0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 'p', 0, 0, 16, 0, 1, 0, 0, 0, 9, 0, 2, 1, 'x'}))
	if e := b.events[1]; e.DNS.Name != "" || e.Source.IP != server || e.DNS.DataBytes.Or(0) != 2 || e.DNS.ResponseCode != "NOERROR" {
		t.Errorf("%+v from %s", e.DNS, e.Source.IP)
	}
	// LLMNR: the reply comes from the host itself.
	b.events = nil
	q := query(9, "laptop", 1)
	b.put(udp4(client, 6000, group2, 5355, q)).put(udp4(server, 5355, client, 6000, respond(q, 0, record(1, 30, server.AsSlice()))))
	if e := b.only(t, event.KindDNS); !e.DNS.RTT.Known() || e.DNS.Name != "laptop" || e.Source.IP != client || e.Destination.IP != group2 {
		t.Errorf("%+v from %s to %s", e.DNS, e.Source.IP, e.Destination.IP)
	}
	// What does not parse is no concern on these ports.
	b.events = nil
	b.put(udp4(client, 5353, group, 5353, []byte("rubbish!"))).put(udp4(client, 5355, group2, 5355, []byte("rubbish!")))
	if len(b.of(event.KindDNS)) > 0 {
		t.Errorf("rubbish on multicast ports is reported")
	}
	b.flush().checkEmpty(t)
}

func TestNotDNS(t *testing.T) {
	t.Parallel()
	good := query(1, "a.test", 1)
	answered := respond(good, 0, record(1, 9, []byte{1, 2, 3, 4}))
	looped := append(bytes.Clone(good[:12]), 0xc0, 12, 0, 1, 0, 1)
	for _, c := range []struct {
		name string
		data []byte
		back bool
		not  bool
	}{
		{"a question", good, false, false},
		{"text", []byte("SSH-2.0-OpenSSH_9.6p1 Debian\r\n"), false, true},
		{"one byte", []byte{0}, false, true},
		{"a hello", hello("x.test", "h2"), false, true},
		{"half a question", good[:15], false, true},
		{"asks nothing", make([]byte, 12), false, true},
		{"a name that points to itself", looped, false, true},
		{"label type 01", append(bytes.Clone(good[:12]), 0x41, 0, 0, 1, 0, 1), false, true},
		{"opcode 3", append([]byte{0, 1, 0x18}, good[3:]...), false, true},
		{"an update", append([]byte{0, 1, 0x28}, good[3:]...), false, false},
		{"more answers than fit", append([]byte{0, 1, 0x81, 0x80, 0, 1, 0, 9}, good[8:]...), true, true},
		{"as much, but truncated", append([]byte{0, 1, 0x83, 0x80, 0, 1, 0, 9}, good[8:]...), true, false},
		{"answers that break off", answered[:len(answered)-2], true, false},
		{"a reply towards the server", answered, false, true},
		{"a question from the server", good, true, true},
		{"wireguard", append([]byte{4, 0, 0, 0}, bytes.Repeat([]byte{0x9c, 0x11, 0xe8}, 30)...), false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, packet.Config{})
			// The client is known before.
			b.put(ask(query(77, "first.test", 1)))
			p := ask(c.data)
			if c.back {
				p = answer(c.data)
			}
			b.put(p).flush()
			var found *event.Event
			for _, e := range b.of(event.KindDNS) {
				if e.DNS.NotDNS {
					found = e
				}
			}
			if (found != nil) != c.not {
				t.Fatalf("not DNS: %v, want %v", found != nil, c.not)
			}
			if found == nil {
				return
			}
			size := found.DNS.QueryBytes
			if c.back {
				size = found.DNS.ResponseBytes
			}
			if found.Source.IP != client || size != event.N(len(c.data)) || found.DNS.Name != "" {
				t.Errorf("%+v from %s", found.DNS, found.Source.IP)
			}
		})
	}
	b := newBench(t, packet.Config{})
	b.put(ask(nil)).put(answer(nil)).flush()
	if n := len(b.of(event.KindDNS)); n > 0 {
		t.Errorf("%d events of packets without data", n)
	}
	// Captured too short to tell.
	for n := range len(good) {
		p := ask(good)
		p = p[:len(p)-len(good)+n]
		b.Packet(b.now, 101, p, len(ask(good)), event.Origin{}, b.rec)
	}
	if n := len(b.flush().of(event.KindDNS)); n > 0 {
		t.Errorf("%d events of packets that were cut off", n)
	}
}

// TestParseAny: any bytes parse without harm, a message and all of its
// beginnings are not taken for something else, and names survive.
func TestParseAny(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		name := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 20), 0, 8).Draw(r, "labels")
		var wire []byte
		var text []string
		for _, l := range name {
			wire = append(append(wire, byte(len(l))), l...)
			var out strings.Builder
			for _, c := range l {
				if c >= 'A' && c <= 'Z' {
					c += 32
				}
				if c < 32 || c > 126 || c == '.' || c == '\\' {
					fmt.Fprintf(&out, `\x%02x`, c)
				} else {
					out.WriteByte(c)
				}
			}
			text = append(text, out.String())
		}
		msg := append([]byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, wire...)
		msg = append(msg, 0, 0, 1, 0, 1)
		verdict, names, _, _ := packet.ParseDNS(msg, len(msg))
		want := strings.Join(text, ".")
		if len(name) == 0 {
			want = "."
		}
		if verdict != "dns" || len(names) != 1 || names[0] != want {
			r.Fatalf("%s %q, want %q", verdict, names, want)
		}
		n := rapid.IntRange(0, len(msg)-1).Draw(r, "cut")
		if v, _, _, _ := packet.ParseDNS(msg[:n], len(msg)); v != "cut" {
			r.Errorf("%d of %d bytes: %s", n, len(msg), v)
		}
		if v, _, _, _ := packet.ParseDNS(msg[:n], n); v != "not" {
			r.Errorf("%d bytes alone: %s", n, v)
		}
	})
}

// send puts one segment of a stream on port 53.
func (b *bench) send(back bool, seq uint32, data []byte) {
	if back {
		b.put(tcp4(server, 53, client, 5000, seq, 16, data))
	} else {
		b.put(tcp4(client, 5000, server, 53, seq, 16, data))
	}
}

// TestStreamDNS: DNS over TCP gives the same events however it is cut into
// segments, sent again and mixed up.
func TestStreamDNS(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		var there, back []byte
		n := rapid.IntRange(1, 12).Draw(r, "messages")
		for i := range n {
			q := query(uint16(i), fmt.Sprintf("n%d.example", i), 16)
			a := respond(q, 0, record(16, 9, append([]byte{200}, make([]byte, 200)...)))
			there = append(there, vec16(q)...)
			back = append(back, vec16(a)...)
		}
		b := newBench(t, packet.Config{})
		b.put(tcp4(client, 5000, server, 53, 99, 2, nil)).put(tcp4(server, 53, client, 5000, 199, 18, nil))
		for i, data := range [][]byte{there, back} {
			type seg struct{ from, to int }
			var segs []seg
			for at := 0; at < len(data); {
				n := min(rapid.IntRange(1, 400).Draw(r, "size"), len(data)-at)
				segs = append(segs, seg{at, at + n})
				at += n
			}
			// Swap neighbours, and send some again with more behind.
			for j := 0; j+1 < len(segs); j += 2 {
				if rapid.Bool().Draw(r, "swap") {
					segs[j], segs[j+1] = segs[j+1], segs[j]
				}
			}
			for _, s := range segs {
				b.send(i == 1, uint32(100+100*i+s.from), data[s.from:s.to])
				if rapid.IntRange(0, 5).Draw(r, "again") == 0 {
					from := rapid.IntRange(0, s.from).Draw(r, "from")
					b.send(i == 1, uint32(100+100*i+from), data[from:s.to])
				}
			}
		}
		b.flush()
		all := b.of(event.KindDNS)
		if len(all) != n {
			r.Fatalf("%d events of %d", len(all), n)
		}
		for i, e := range all {
			if e.DNS.Name != fmt.Sprintf("n%d.example", i) || e.DNS.DataBytes.Or(0) != 201 || !e.DNS.QueryBytes.Known() || e.Network.Transport != "tcp" {
				r.Errorf("%d: %+v", i, e.DNS)
			}
		}
		b.checkEmpty(t)
	})
}

func TestStreamNotDNS(t *testing.T) {
	t.Parallel()
	open := func(b *bench) *bench {
		return b.put(tcp4(client, 5000, server, 53, 99, 2, nil)).put(tcp4(server, 53, client, 5000, 199, 18, nil)).put(tcp4(client, 5000, server, 53, 100, 16, nil))
	}
	count := func(b *bench) (not int) {
		for _, e := range b.flush().of(event.KindDNS) {
			if e.DNS.NotDNS {
				not++
			}
		}
		b.checkEmpty(t)
		return not
	}
	good := vec16(query(1, "a.test", 1))

	b := open(newBench(t, packet.Config{}))
	text := []byte("SSH-2.0-OpenSSH_9.6p1 Debian-4\r\n")
	b.send(false, 100, text)
	b.send(false, 100+uint32(len(text)), make([]byte, 900))
	b.send(true, 200, text)
	if n := count(b); n != 3 {
		t.Errorf("shell: %d packets are not DNS, want 3", n)
	}

	b = open(newBench(t, packet.Config{}))
	b.send(false, 100, good)
	b.send(false, 100+uint32(len(good)), []byte{0, 3, 1, 2, 3})
	b.send(false, 105+uint32(len(good)), make([]byte, 900))
	if n := count(b); n != 2 || len(b.of(event.KindDNS)) != 3 {
		t.Errorf("after a message: %d packets are not DNS, want 2", n)
	}

	// Out of step: where the beginning was not seen, or bytes are missing.
	b = newBench(t, packet.Config{})
	b.send(false, 4000, make([]byte, 900))
	b.send(false, 4900, make([]byte, 900))
	if n := count(b); n != 0 {
		t.Errorf("in the middle: %d packets are not DNS, want 0", n)
	}
	b = open(newBench(t, packet.Config{}))
	b.send(false, 100, good)
	p := tcp4(client, 5000, server, 53, 100+uint32(len(good)), 16, good)
	b.Packet(b.now, 101, p[:50], len(p), event.Origin{}, b.rec)
	b.send(false, 100+2*uint32(len(good)), text)
	if n := count(b); n != 0 {
		t.Errorf("snapped: %d packets are not DNS, want 0", n)
	}

	// A message that never ends is bounded.
	b = open(newBench(t, packet.Config{MaxBuffered: 10_000}))
	head := append(binary.BigEndian.AppendUint16(nil, 60_000), query(1, "a.test", 1)...)
	b.send(false, 100, head)
	for i := range 50 {
		b.send(false, 100+uint32(len(head))+uint32(i)*1000, make([]byte, 1000))
		if _, _, _, _, n := b.Held(); n > 10_000 {
			t.Fatalf("%d bytes are held", n)
		}
	}
	if n := count(b); n != 0 {
		t.Errorf("without end: %d packets are not DNS, want 0", n)
	}
}
