package packet_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// serialize is gopacket's, so that what is read here was not written here.
func serialize(parts ...gopacket.SerializableLayer) []byte {
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, parts...); err != nil {
		panic(err)
	}
	return bytes.Clone(buf.Bytes())
}

func ip4(src, dst netip.Addr, proto layers.IPProtocol, rest ...gopacket.SerializableLayer) []byte {
	h := &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	return serialize(append([]gopacket.SerializableLayer{h}, rest...)...)
}

func ip6(src, dst netip.Addr, proto layers.IPProtocol, rest ...gopacket.SerializableLayer) []byte {
	h := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	return serialize(append([]gopacket.SerializableLayer{h}, rest...)...)
}

func ip(src, dst netip.Addr, proto layers.IPProtocol, rest ...gopacket.SerializableLayer) []byte {
	if src.Is4() {
		return ip4(src, dst, proto, rest...)
	}
	return ip6(src, dst, proto, rest...)
}

func udp4(src netip.Addr, from uint16, dst netip.Addr, to uint16, payload []byte) []byte {
	return ip(src, dst, layers.IPProtocolUDP, &layers.UDP{SrcPort: layers.UDPPort(from), DstPort: layers.UDPPort(to)}, gopacket.Payload(payload))
}

func tcp4(src netip.Addr, from uint16, dst netip.Addr, to uint16, seq uint32, flags uint8, payload []byte) []byte {
	return ip(src, dst, layers.IPProtocolTCP, &layers.TCP{
		SrcPort: layers.TCPPort(from), DstPort: layers.TCPPort(to), Seq: seq,
		FIN: flags&1 != 0, SYN: flags&2 != 0, RST: flags&4 != 0, PSH: flags&8 != 0, ACK: flags&16 != 0,
	}, gopacket.Payload(payload))
}

// labels is a name in wire form.
func labels(name string) (out []byte) {
	for l := range strings.SplitSeq(name, ".") {
		out = append(append(out, byte(len(l))), l...)
	}
	return append(out, 0)
}

// query is a DNS question.
func query(id uint16, name string, typ uint16) []byte {
	out := binary.BigEndian.AppendUint16(nil, id)
	out = append(out, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	out = append(out, labels(name)...)
	return append(binary.BigEndian.AppendUint16(out, typ), 0, 1)
}

// record is an answer to the name of the question.
func record(typ uint16, ttl uint32, data []byte) []byte {
	out := binary.BigEndian.AppendUint16([]byte{0xc0, 12}, typ)
	out = binary.BigEndian.AppendUint32(append(out, 0, 1), ttl)
	return append(binary.BigEndian.AppendUint16(out, uint16(len(data))), data...)
}

// respond is the reply to a question.
func respond(q []byte, rcode byte, answers ...[]byte) []byte {
	out := bytes.Clone(q)
	out[2], out[3] = 0x81, 0x80|rcode
	out[7] = byte(len(answers))
	return append(out, bytes.Join(answers, nil)...)
}

// pcapFile writes packets, a millisecond apart, with gopacket's writer.
func pcapFile(link layers.LinkType, packets [][]byte) []byte {
	var out bytes.Buffer
	w := pcapgo.NewWriter(&out)
	if err := w.WriteFileHeader(262144, link); err != nil {
		panic(err)
	}
	for i, p := range packets {
		ci := gopacket.CaptureInfo{Timestamp: time.UnixMicro(1_700_000_000_000_000 + int64(i)*1000), CaptureLength: len(p), Length: len(p)}
		if err := w.WritePacket(ci, p); err != nil {
			panic(err)
		}
	}
	return out.Bytes()
}
