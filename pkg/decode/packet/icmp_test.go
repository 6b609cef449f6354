package packet_test

import (
	"encoding/binary"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

func icmp4(typ, code byte, id, seq uint16, data []byte) []byte {
	h := binary.BigEndian.AppendUint16([]byte{typ, code, 0, 0}, id)
	h = binary.BigEndian.AppendUint16(h, seq)
	return ip(client, server, layers.IPProtocolICMPv4, gopacket.Payload(append(h, data...)))
}

func TestTimestamp(t *testing.T) {
	t.Parallel()
	const sec = begin / second
	le, be := binary.LittleEndian, binary.BigEndian
	join := func(parts ...[]byte) (out []byte) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return append(out, "abcdefghijklmnopqrstuvwxyz"...)
	}
	for _, c := range []struct {
		name string
		data []byte
		want int
	}{
		{"timeval 64 LE", join(le.AppendUint64(nil, uint64(sec)), le.AppendUint64(nil, 999_999)), 16},
		{"timespec 64 BE", join(be.AppendUint64(nil, uint64(sec)), be.AppendUint64(nil, 999_999_999)), 16},
		{"timeval 32 LE", join(le.AppendUint32(nil, uint32(sec)), le.AppendUint32(nil, 999_999)), 8},
		{"timeval 32 BE", join(be.AppendUint32(nil, uint32(sec)), be.AppendUint32(nil, 999_999)), 8},
		{"a day before", join(le.AppendUint64(nil, uint64(sec-86_400)), le.AppendUint64(nil, 0)), 16},
		{"a day after", join(be.AppendUint32(nil, uint32(sec+86_400)), be.AppendUint32(nil, 0)), 8},
		{"more than a day", join(le.AppendUint64(nil, uint64(sec+86_401)), le.AppendUint64(nil, 0)), 0},
		{"no fraction", join(be.AppendUint32(nil, uint32(sec)), be.AppendUint32(nil, 1_000_000_000)), 0},
		{"text", join([]byte("abcdefghijklmnop")), 0},
		{"zeros", make([]byte, 64), 0},
		{"too short", be.AppendUint32(nil, uint32(sec)), 0},
		{"64 bits of seconds only", le.AppendUint64(nil, uint64(sec)), 8},
		{"nothing", nil, 0},
	} {
		if got := packet.Timestamp(c.data, begin+123); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestICMP(t *testing.T) {
	t.Parallel()
	stamp := binary.LittleEndian.AppendUint64(nil, uint64(begin/second))
	stamp = binary.LittleEndian.AppendUint64(stamp, 4711)
	data := append(stamp, "payload"...)
	b := newBench(t, packet.Config{})
	b.put(icmp4(8, 0, 77, 3, data))
	e := b.only(t, event.KindICMP)
	want := event.ICMP{
		Type: event.N(8), Code: event.N(0), ID: event.N(77), Sequence: event.N(3), Bytes: event.N(len(data)),
		Hash: event.N(xxhash.Sum64(data)), Content: event.N(xxhash.Sum64([]byte("payload"))),
	}
	if e.ICMP != want || e.Source.IP != client || e.Destination.IP != server || e.Network.Transport != "icmp" || e.Source.Port.Known() {
		t.Errorf("%+v from %v, want %+v", e.ICMP, e.Source, want)
	}

	// Without a timestamp the content is all of it.
	b.events = nil
	b.put(icmp4(3, 1, 0, 0, []byte("header of another")))
	e = b.only(t, event.KindICMP)
	if e.ICMP.Hash != e.ICMP.Content || e.ICMP.Hash != event.N(xxhash.Sum64([]byte("header of another"))) || e.ICMP.ID.Known() || e.ICMP.Sequence.Known() {
		t.Errorf("unreachable: %+v", e.ICMP)
	}

	// The length is that of the wire, a hash there is only of all.
	b.events = nil
	p := icmp4(8, 0, 1, 1, make([]byte, 500))
	b.Packet(b.now, layers.LinkTypeRaw, p[:300], len(p), event.Origin{}, b.rec)
	if e = b.only(t, event.KindICMP); e.ICMP.Bytes != event.N(500) || e.ICMP.Hash.Known() || e.ICMP.Content.Known() || e.ICMP.ID != event.N(1) {
		t.Errorf("snapped: %+v", e.ICMP)
	}

	b.events = nil
	b.put(ip(six, six2, layers.IPProtocolICMPv6, gopacket.Payload(append([]byte{129, 0, 0, 0, 0, 5, 0, 6}, "xyz"...))))
	if e = b.only(t, event.KindICMP); e.ICMP.Type != event.N(129) || e.ICMP.Sequence != event.N(6) || e.Network.Transport != "ipv6-icmp" || e.Source.IP != six {
		t.Errorf("v6: %+v", e.ICMP)
	}

	// A message of under eight bytes has no data, and is none of under four.
	b.events = nil
	b.put(ip(client, server, layers.IPProtocolICMPv4, gopacket.Payload{8, 0, 0, 0, 9}))
	if e = b.only(t, event.KindICMP); e.ICMP.Bytes != event.N(0) || e.ICMP.Hash.Known() || e.ICMP.ID.Known() {
		t.Errorf("short: %+v", e.ICMP)
	}
	b.put(ip(client, server, layers.IPProtocolICMPv4, gopacket.Payload{8, 0, 0}))
	if b.rec.Deads[packet.ReasonMalformed] != 1 {
		t.Errorf("dead: %v", b.rec.Deads)
	}

	// Question and reply are one connection, begun by who asks; the reply that
	// came first is turned around.
	b.events = nil
	b.flush()
	conns := b.of(event.KindConn)
	if len(conns) != 3 {
		t.Fatalf("%d connections, want 3: echo, unreachable, echo on IPv6", len(conns))
	}
	for _, e := range conns {
		if e.Network.Transport == "ipv6-icmp" && e.Source.IP != six2 {
			t.Errorf("the reply's sender began: %s", e.Source.IP)
		}
	}
	b.checkEmpty(t)
}
