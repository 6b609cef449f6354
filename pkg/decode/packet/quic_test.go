package packet_test

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// The examples of RFC 9001 (appendix A.1, A.2) and RFC 9369 (appendix A.1,
// A.2): what is protected, the keys, and how the protected packet begins.
const (
	rfcID      = "8394c8f03e515708"
	rfcPayload = "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c00000413011302010000c000000010000e" +
		"00000b6578616d706c652e636f6dff01000100000a00080006001d0017001800100007000504616c706e000500050100000000003300260024001d0020" +
		"9370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d0010000e0403050306030203080408050806002d" +
		"00020101001c00024001003900320408ffffffffffffffff05048000ffff07048000ffff0801100104800075300901100f088394c8f03e51570806048000ffff"
)

// quicKeys protect the packets of a test.
type quicKeys struct {
	version     uint32
	kind        byte // first byte of a long header
	key, iv, hp string
}

var (
	rfc9001 = quicKeys{1, 0xc3, "1f369613dd76d5467730efcbe3b1a22d", "fa044b2f42a3fd3b46fb255c", "9f50449e04a0e810283a1e9933adedd2"}
	rfc9369 = quicKeys{0x6b3343cf, 0xd3, "8b1a0bc121284290a29e0971b5cd045d", "91f73e2351d8fa91660e909f", "45b95e15235d6f45a6b19cbcb0294ba9"}
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// protect makes an Initial packet of the RFCs' connection.
func (k quicKeys) protect(number uint32, frames []byte) []byte {
	head := binary.BigEndian.AppendUint32([]byte{k.kind}, k.version)
	head = append(append(head, 8), unhex(rfcID)...)
	head = append(head, 0, 0) // source id, token
	head = binary.BigEndian.AppendUint16(head, uint16(0x4000+4+len(frames)+16))
	at := len(head)
	head = binary.BigEndian.AppendUint32(head, number)
	block, _ := aes.NewCipher(unhex(k.key))
	gcm, _ := cipher.NewGCM(block)
	nonce := unhex(k.iv)
	for i := range 4 {
		nonce[8+i] ^= head[at+i]
	}
	out := gcm.Seal(head, nonce, frames, head)
	hp, _ := aes.NewCipher(unhex(k.hp))
	var mask [16]byte
	hp.Encrypt(mask[:], out[at+4:at+20])
	out[0] ^= mask[0] & 0x0f
	for i := range 4 {
		out[at+i] ^= mask[1+i]
	}
	return out
}

func (b *bench) quic(data []byte) *bench { return b.put(udp4(client, 7000, server, 4433, data)) }

func TestInitial(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		keys  quicKeys
		begin string
	}{
		{rfc9001, "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9bd8bab936b47d92ec356c"},
		{rfc9369, "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485dd04de806071bf03dceebfa162e75d6c"},
	} {
		payload := make([]byte, 1162)
		copy(payload, unhex(rfcPayload))
		p := c.keys.protect(2, payload)
		if got := hex.EncodeToString(p[:len(c.begin)/2]); got != c.begin || len(p) != 1200 {
			t.Fatalf("the test does not protect as the RFC does:\n%s\n%s", got, c.begin)
		}
		b := newBench(t, packet.Config{})
		b.quic(p).put(udp4(server, 4433, client, 7000, make([]byte, 1200))).quic([]byte{0x45, 1, 2, 3})
		e := b.only(t, event.KindTLS)
		if e.Destination.Domain != "example.com" || e.TLS.ALPN != "alpn" || e.Network.Protocol != "quic" || e.Network.Transport != "udp" ||
			!e.TLS.Established || e.TLS.Version != "TLSv13" || e.Time != begin+1000 {
			t.Errorf("%+v %+v %q", e.TLS, e.Network, e.Destination.Domain)
		}
		if len(e.TLS.JA4) != 36 || e.TLS.JA4[:10] != "q13d0211an" {
			t.Errorf("JA4 %s", e.TLS.JA4)
		}
		conn := b.flush().only(t, event.KindConn)
		if conn.Network.Protocol != "quic" || conn.Destination.Domain != "example.com" || conn.ID != e.ID {
			t.Errorf("%q %q", conn.Network.Protocol, conn.Destination.Domain)
		}
		b.checkEmpty(t)
	}
}

// TestInitialInPieces: the hello is found in frames of any order over several
// packets, also where packets share a datagram or others are mixed in.
func TestInitialInPieces(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		keys := rapid.SampledFrom([]quicKeys{rfc9001, rfc9369}).Draw(r, "version")
		body := helloBody(0x0303, []uint16{0x1301}, extension(21, make([]byte, rapid.IntRange(0, 3000).Draw(r, "padding"))), sni("q.example"), alpn("h3"))
		_, want, _ := packet.Fingerprint(body, true)
		msg := message(1, body)
		size := len(msg)/rapid.IntRange(1, 8).Draw(r, "frames") + 1
		var frames [][]byte
		for at := 0; at < len(msg); at += size {
			part := msg[at:min(at+size, len(msg))]
			f := binary.BigEndian.AppendUint32([]byte{6}, 0x80000000|uint32(at))
			f = binary.BigEndian.AppendUint16(f, 0x4000|uint16(len(part)))
			frames = append(frames, append(f, part...))
		}
		frames = rapid.Permutation(frames).Draw(r, "order")
		b := newBench(t, packet.Config{})
		junk := keys
		junk.key = "00" + junk.key[2:]
		var datagram []byte
		for i, f := range frames {
			f = append([]byte{0, 1, 2, 0x43, 0x21, 5, 1, 0, 3, 4, 0}, f...) // padding, ping, ack
			datagram = append(datagram, keys.protect(uint32(i), append(f, make([]byte, 30)...))...)
			if rapid.Bool().Draw(r, "more") && i+1 < len(frames) && len(datagram) < 1000 && (i+1)%3 != 0 {
				continue
			}
			b.quic(datagram)
			datagram = nil
			if rapid.IntRange(0, 4).Draw(r, "junk") == 0 && i < 4 {
				b.quic(junk.protect(9, make([]byte, 100)))
			}
		}
		b.flush()
		e := b.only(t, event.KindTLS)
		if e.Destination.Domain != "q.example" || e.TLS.JA4 != want || e.TLS.ALPN != "h3" {
			r.Errorf("%q %s %s", e.Destination.Domain, e.TLS.JA4, e.TLS.ALPN)
		}
		b.checkEmpty(t)
	})
}

// TestInitialOnMDNS: what is no DNS on the multicast ports is looked at.
func TestInitialOnMDNS(t *testing.T) {
	t.Parallel()
	b := newBench(t, packet.Config{})
	b.put(udp4(client, 7000, server, 5353, rfc9001.protect(2, append(unhex(rfcPayload), make([]byte, 200)...)))).flush()
	if e := b.only(t, event.KindTLS); e.Destination.Domain != "example.com" {
		t.Errorf("%q", e.Destination.Domain)
	}
}

func TestNotInitial(t *testing.T) {
	t.Parallel()
	good := rfc9001.protect(2, append(unhex(rfcPayload), make([]byte, 200)...))
	for n := range good {
		b := newBench(t, packet.Config{})
		b.quic(good[:n]).flush()
		if len(b.of(event.KindTLS)) > 0 {
			t.Fatalf("a hello in %d of %d bytes", n, len(good))
		}
		b.checkEmpty(t)
	}
	for i := range 60 {
		b := newBench(t, packet.Config{})
		bad := append([]byte(nil), good...)
		bad[i] ^= 0x55
		for range 40 { // and it stops trying
			b.quic(bad)
		}
		b.flush()
		if len(b.of(event.KindTLS)) > 0 {
			t.Errorf("a hello with byte %d changed", i)
		}
		b.checkEmpty(t)
	}
	// A snapped packet cannot be deciphered.
	b := newBench(t, packet.Config{})
	p := udp4(client, 7000, server, 4433, good)
	b.Packet(b.now, 101, p[:200], len(p), event.Origin{}, b.rec)
	if b.flush(); len(b.of(event.KindTLS)) > 0 {
		t.Error("a hello in a snapped packet")
	}
}
