package packet_test

import (
	"encoding/binary"
	"testing"

	"github.com/gopacket/gopacket"
	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

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
		if !e.Conn.Open {
			packets += e.Source.Packets.Or(0)
		}
	}
	if packets != 2000 {
		t.Errorf("%d packets were counted", packets)
	}
}

// TestFragmentsWithExtensions: headers behind the fragment header belong to
// the datagram.
func TestFragmentsWithExtensions(t *testing.T) {
	t.Parallel()
	u := udp4(six, 5, six2, 53, query(7, "x.example", 16))[40:]
	auth := []byte{17, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2}
	dest := []byte{51, 0, 1, 4, 0, 0, 0, 0}
	whole := ip6(six, six2, 60, gopacket.Payload(append(append(dest, auth...), u...)))
	b := newBench(t, packet.Config{})
	for _, p := range fragments6(whole, 9, 16) {
		b.put(p)
	}
	if e := b.flush().only(t, event.KindDNS); e.DNS.Name != "x.example" {
		t.Errorf("%q", e.DNS.Name)
	}
	b.checkEmpty(t)

	// Damaged ones, and too little of the first fragment for the ports, are
	// counted between the addresses.
	dest[1] = 200
	for _, parts := range [][][]byte{
		fragments6(ip6(six, six2, 60, gopacket.Payload(append(dest, u...))), 9, 16),
		fragments6(ip6(six, six2, 60, gopacket.Payload(append(dest, u...))), 9, 16)[:2],
		fragments6(ip6(six, six2, 17, gopacket.Payload(u)), 9, 8)[1:],
		fragments6(ip6(six, six2, 6, gopacket.Payload(u)), 9, 8)[:1],
	} {
		b := newBench(t, packet.Config{})
		wire := 0
		for _, p := range parts {
			b.put(p)
			wire += len(p)
		}
		e := b.flush().only(t, event.KindConn)
		if e.Source.IP != six || e.Source.Port.Or(0) != 0 || e.Source.IPBytes.Or(0) != uint64(wire) || e.Source.Packets.Or(0) != uint64(len(parts)) {
			t.Errorf("%+v, want %d packets of %d bytes", e.Source, len(parts), wire)
		}
		b.checkEmpty(t)
	}
}
