package packet_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// nowhere is a sink that keeps nothing.
type nowhere struct{ events, ignored, dead int }

func (n *nowhere) Event(*event.Event)                { n.events++ }
func (n *nowhere) Ignored(string)                    { n.ignored++ }
func (n *nowhere) Dead(string, []byte, event.Origin) { n.dead++ }

// traffic makes packets of DNS over UDP: clients of one resolver, each
// question from another port, each answered after a few others.
func traffic(n int) (packets [][]byte) {
	resolver := netip.MustParseAddr("10.53.0.53")
	var asked [][]byte
	for i := range n / 2 {
		client := netip.AddrFrom4([4]byte{10, 20, byte(i >> 8), byte(i)})
		name := []byte("host0000.example.com")
		copy(name[4:], []byte{'a' + byte(i%26), 'a' + byte(i/26%26), 'a' + byte(i/676%26), 'a' + byte(i/17576%26)})
		q := query(uint16(i), string(name), 1)
		port := uint16(1024 + i%60000)
		packets = append(packets, udp4(client, port, resolver, 53, q))
		asked = append(asked, udp4(resolver, 53, client, port, respond(q, 0, record(1, 60, []byte{192, 0, 2, 1}))))
		if len(asked) > 16 {
			packets = append(packets, asked[0])
			asked = asked[1:]
		}
	}
	return append(packets, asked...)
}

func BenchmarkDNS(b *testing.B) {
	packets := traffic(1 << 16)
	tr := packet.NewTracker(packet.Config{})
	sink := new(nowhere)
	var ts int64 = 1_700_000_000_000_000
	i, line := 0, uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		// 50 000 packets a second of packet time.
		ts += 20
		line++
		p := packets[i]
		tr.Packet(ts, layers.LinkTypeRaw, p, len(p), event.Origin{Name: "x", Line: event.N(line)}, sink)
		if i++; i == len(packets) {
			i = 0
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
}

// BenchmarkReader reads a whole capture of DNS from memory.
func BenchmarkReader(b *testing.B) {
	packets := traffic(1 << 16)
	file := pcapFile(layers.LinkTypeRaw, packets)
	sink := new(nowhere)
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		tr := packet.NewTracker(packet.Config{})
		if err := packet.NewReader(bytes.NewReader(file), "x", tr).ReadAll(sink); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(packets))/b.Elapsed().Seconds(), "packets/s")
}

// BenchmarkStream is one TCP connection that carries bulk data.
func BenchmarkStream(b *testing.B) {
	tr := packet.NewTracker(packet.Config{})
	sink := new(nowhere)
	p := tcp4(netip.MustParseAddr("10.0.0.1"), 40000, netip.MustParseAddr("192.0.2.1"), 443, 1, 0x10, make([]byte, 1400))
	var ts int64 = 1_700_000_000_000_000
	seq := uint32(1)
	b.ReportAllocs()
	for b.Loop() {
		ts += 100
		binary.BigEndian.PutUint32(p[24:], seq)
		seq += 1400
		tr.Packet(ts, layers.LinkTypeRaw, p, len(p), event.Origin{}, sink)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
}
