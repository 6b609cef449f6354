package packet_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// small bounds, so that a fuzzer comes to them.
var small = packet.Config{MaxFlows: 6, MaxTransactions: 5, MaxDatagrams: 3, MaxBuffered: 40_000}

// checkBounds fails when a Tracker holds more than it may.
func checkBounds(tb testing.TB, tr *packet.Tracker) {
	tb.Helper()
	f, x, d, h, n := tr.Held()
	if f > 6 || x > 5 || d > 3 || h > 6 || n > 40_000 || n < 0 {
		tb.Fatalf("held: %d flows, %d transactions, %d datagrams, %d hellos, %d bytes", f, x, d, h, n)
	}
}

// FuzzPacket feeds packets, each with a length and a step in time in front of
// it, behind any link type. They add up, and nothing is held after a flush.
func FuzzPacket(f *testing.F) {
	join := func(packets ...[]byte) (out []byte) {
		for _, p := range packets {
			out = append(binary.BigEndian.AppendUint16(append(out, 7), uint16(len(p))), p...)
		}
		return out
	}
	q := query(1, "a.test", 16)
	f.Add(uint16(layers.LinkTypeRaw), join(ask(q), answer(respond(q, 0, record(16, 5, []byte("\x03abc"))))))
	f.Add(uint16(layers.LinkTypeRaw), join(tcp4(client, 5, server, 443, 1, 2, nil), tcp4(client, 5, server, 443, 2, 16, hello("a.test", "h2")),
		tcp4(server, 443, client, 5, 2, 16, serverHello(0x0304)), tcp4(client, 5, server, 443, 100, 17, applicationData)))
	f.Add(uint16(layers.LinkTypeRaw), join(tcp4(client, 5, server, 53, 1, 2, nil), tcp4(client, 5, server, 53, 2, 16, append(vec16(q), vec16(q)[:9]...))))
	f.Add(uint16(layers.LinkTypeRaw), join(fragments4(ask(q), 3, 16)...))
	f.Add(uint16(layers.LinkTypeRaw), join(fragments6(udp4(six, 5, six2, 53, q), 3, 16)...))
	f.Add(uint16(layers.LinkTypeRaw), join(udp4(client, 7, server, 443, rfc9001.protect(2, append(unhex(rfcPayload), make([]byte, 100)...)))))
	f.Add(uint16(layers.LinkTypeRaw), join(icmp4(8, 0, 1, 2, make([]byte, 40)), icmp4(0, 0, 1, 2, make([]byte, 40))))
	f.Add(uint16(layers.LinkTypeEthernet), join(append(make([]byte, 12), append([]byte{0x81, 0, 0, 1, 8, 0}, ask(q)...)...)))
	f.Add(uint16(layers.LinkTypeLinuxSLL2), join(append([]byte{8, 0}, append(make([]byte, 18), ask(q)...)...)))
	f.Fuzz(func(t *testing.T, link uint16, data []byte) {
		rec := decodetest.New(t)
		rec.Quiet = true
		tr := packet.NewTracker(small)
		var packets uint64
		now := begin
		for len(data) >= 3 {
			step, n := data[0], int(binary.BigEndian.Uint16(data[1:]))
			data = data[3:]
			p := data[:min(n&0xfff, len(data))]
			data = data[len(p):]
			now += int64(step) * int64(step) * 1000
			length := len(p) + n>>12*100
			packets++
			tr.Packet(now, layers.LinkType(link), p, length, event.Origin{Name: "x", Line: event.N(packets)}, rec)
			checkBounds(t, tr)
		}
		tr.Flush(rec)
		s := tr.Stats()
		if flows, x, d, h, n := tr.Held(); flows+x+d+h+n > 0 {
			t.Errorf("held after a flush: %d %d %d %d %d", flows, x, d, h, n)
		}
		if s.Packets != packets || s.Packets != s.Tracked+s.Ignored+s.Dead || s.Ignored != uint64(rec.Skipped) {
			t.Errorf("%d packets do not add up: %+v", packets, s)
		}
	})
}

// FuzzDNS parses messages. Names have a length that fits, and a message that
// was captured whole is never "cut".
func FuzzDNS(f *testing.F) {
	q := query(1, "www.example.com", 1)
	f.Add(q, 0)
	f.Add(respond(q, 0, record(1, 60, []byte{1, 2, 3, 4}), record(16, 60, []byte("\x05hello"))), 0)
	f.Add(append(bytes.Clone(q[:12]), 0xc0, 12, 0, 1, 0, 1), 5)
	f.Fuzz(func(t *testing.T, msg []byte, more int) {
		more = int(uint16(more))
		verdict, names, _, _ := packet.ParseDNS(msg, len(msg)+more)
		if verdict == "cut" && more == 0 {
			t.Errorf("cut, but whole")
		}
		for _, n := range names {
			if n == "" || len(n) > 4*255 || bytes.IndexFunc([]byte(n), func(r rune) bool { return r < 0x20 || r >= 0x7f || r >= 'A' && r <= 'Z' }) >= 0 {
				t.Errorf("name %q", n)
			}
		}
	})
}

// FuzzReader reads files. Every packet that was numbered has an outcome, and
// reading ends.
func FuzzReader(f *testing.F) {
	classic, _ := classicFile(binary.LittleEndian, false, 101, sample(4))
	big, _ := classicFile(binary.BigEndian, true, 1, sample(3))
	ng, _ := ngFile(f, sample(4))
	for _, file := range [][]byte{classic, big, ng, classic[:90], ng[:200], append(classic[:120:120], classic[130:]...), append(ng[:220:220], ng[230:]...)} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		rec := decodetest.New(t)
		rec.Quiet = true
		tr := packet.NewTracker(small)
		r := packet.NewReader(bytes.NewReader(file), "x", tr)
		steps := 0
		for {
			if err := r.Next(rec); err != nil {
				break
			}
			checkBounds(t, tr)
			if steps++; steps > len(file) {
				t.Fatal("reading does not end")
			}
		}
		tr.Flush(rec)
		if s := tr.Stats(); s.Packets > r.Packets() || s.Packets != s.Tracked+s.Ignored+s.Dead {
			t.Errorf("%d packets were read: %+v", r.Packets(), s)
		}
		if r.Offset() > uint64(len(file)) {
			t.Errorf("offset %d of %d", r.Offset(), len(file))
		}
	})
}
