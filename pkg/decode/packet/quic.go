package packet

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
)

// Versions of QUIC whose Initial packets are read.
const (
	quicV1 = 0x00000001
	quicV2 = 0x6b3343cf
)

// Types of long-header packets, as version 1 numbers them; version 2 adds one.
const (
	quicInitial   = 0
	quicZeroRTT   = 1
	quicHandshake = 2
	quicRetry     = 3
)

const maxConnectionID = 20

// initial is what the Initial packets of a client are deciphered with: anyone
// who sees its first packet can (RFC 9001 §5.2).
type initial struct {
	id      [maxConnectionID]byte // the destination that the keys are made from
	size    int
	version uint32
	iv      []byte
	header  cipher.Block
	payload cipher.AEAD
}

// initialKeys derives the client's keys from the connection id that it chose
// for the server (RFC 9001 §5.2, RFC 9369 §3.3.1).
func initialKeys(version uint32, id []byte) (iv []byte, header cipher.Block, payload cipher.AEAD, err error) {
	salt, prefix := "\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a", "quic "
	if version == quicV2 {
		salt, prefix = "\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9", "quicv2 "
	}
	secret, err := hkdf.Extract(sha256.New, id, []byte(salt))
	if err != nil {
		return nil, nil, nil, err
	}
	expand := func(from []byte, label string, n int) []byte {
		if err != nil {
			return nil
		}
		// HkdfLabel of RFC 8446 §7.1, with an empty context.
		info := append([]byte{byte(n >> 8), byte(n), byte(len("tls13 ") + len(label))}, "tls13 "...)
		info = append(append(info, label...), 0)
		var out []byte
		out, err = hkdf.Expand(sha256.New, from, string(info), n)
		return out
	}
	client := expand(secret, "client in", sha256.Size)
	key, hp := expand(client, prefix+"key", 16), expand(client, prefix+"hp", 16)
	iv = expand(client, prefix+"iv", 12)
	if err != nil {
		return nil, nil, nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, nil, err
	}
	if header, err = aes.NewCipher(hp); err != nil {
		return nil, nil, nil, err
	}
	payload, err = cipher.NewGCM(block)
	return iv, header, payload, err
}

// quic looks for the client hello in a datagram of a UDP flow.
func (t *Tracker) quic(f *flow, d uint8, data []byte, size int, p *packet, sink decode.Sink) {
	h := f.hello
	if d == 1 {
		if h != nil && h.stage == told {
			h.stage = served
			h.version = versionText(0x0304) // QUIC has no other
		}
		return
	}
	if h != nil && h.stage != collecting {
		// A short header: the client has the keys of the connection.
		if h.stage == served && len(data) > 0 && data[0]&0xc0 == 0x40 {
			t.closeHello(f, true, sink)
		}
		return
	}
	if len(data) < size || len(data) < 7 || data[0]&0xc0 != 0xc0 ||
		f.protocol == appQUIC && h == nil || f.sniffed >= maxInitials {
		return
	}
	for range 4 { // packets may share a datagram
		pkt, rest, ok := longHeader(data)
		if !ok {
			break
		}
		if pkt.kind == quicInitial {
			if h == nil {
				h = t.beginHello(f, p)
			}
			if !t.initial(f, &pkt, sink) {
				return
			}
			if f.hello == nil || h.stage != collecting {
				return
			}
		}
		data = rest
	}
}

// longPacket is a QUIC packet with a long header (RFC 9000 §17.2).
type longPacket struct {
	version uint32
	kind    uint8
	id      []byte // of the destination
	bytes   []byte
	number  int // where the packet number stands
}

// longHeader reads the packet at the beginning of a datagram and returns what
// follows it.
func longHeader(data []byte) (p longPacket, rest []byte, ok bool) {
	r := reader{data: data}
	first := r.uint8()
	head := r.take(4)
	if r.failed || first&0xc0 != 0xc0 {
		return p, nil, false
	}
	p.version = binary.BigEndian.Uint32(head)
	p.kind = uint8(first>>4) & 3
	switch p.version {
	case quicV1:
	case quicV2:
		p.kind = (p.kind - 1) & 3
	default:
		return p, nil, false
	}
	p.id = r.take(r.uint8())
	source := r.take(r.uint8())
	if len(p.id) > maxConnectionID || len(source) > maxConnectionID || p.kind == quicRetry {
		return p, nil, false
	}
	if p.kind == quicInitial {
		r.take(r.varint()) // token
	}
	length := r.varint()
	p.number = len(data) - len(r.data)
	r.take(length)
	if r.failed {
		return p, nil, false
	}
	p.bytes = data[:p.number+length]
	return p, r.data, true
}

// varint reads a variable-length integer (RFC 9000 §16).
func (r *reader) varint() int {
	if len(r.data) == 0 {
		r.failed = true
		return 0
	}
	n := 1 << (r.data[0] >> 6)
	b := r.take(n)
	if b == nil {
		return 0
	}
	v := uint64(b[0] & 0x3f)
	for _, c := range b[1:] {
		v = v<<8 | uint64(c)
	}
	if v > 1<<30 {
		r.data, r.failed = nil, true
		return 0
	}
	return int(v)
}

// initial takes an Initial packet of the client. False: the flow is of no more
// interest.
func (t *Tracker) initial(f *flow, p *longPacket, sink decode.Sink) bool {
	h := f.hello
	in := &h.initial
	f.sniffed++
	plain, ok := t.decipher(in, p)
	if !ok {
		// Forged, another protocol, or the keys are of a packet not seen.
		if in.payload == nil {
			t.dropHello(f)
		}
		return true
	}
	f.protocol = appQUIC
	if !t.cryptoFrames(h, plain) {
		t.finishHello(f, sink)
		return false
	}
	msg := h.parts.prefix()
	switch {
	case len(msg) < messageHeader:
	case msg[0] != messageClientHello || messageSize(msg) > maxHello:
		t.dropHello(f)
		return false
	case len(msg) >= messageSize(msg):
		t.helloBuf = append(t.helloBuf[:0], msg[:messageSize(msg)]...)
		t.readHello(f, t.helloBuf, true)
		if h.stage == collecting {
			t.dropHello(f)
			return false
		}
	}
	return true
}

// decipher returns the frames of an Initial packet. The keys stay those of the
// first packet unless a Retry gave the client another id to go by.
func (t *Tracker) decipher(in *initial, p *longPacket) ([]byte, bool) {
	if in.payload != nil && in.version == p.version {
		if plain, ok := t.unprotect(in, p); ok {
			return plain, true
		}
		if string(in.id[:in.size]) == string(p.id) {
			return nil, false
		}
	}
	next := initial{version: p.version, size: len(p.id)}
	copy(next.id[:], p.id)
	var err error
	if next.iv, next.header, next.payload, err = initialKeys(p.version, p.id); err != nil {
		return nil, false
	}
	plain, ok := t.unprotect(&next, p)
	if ok {
		*in = next
	}
	return plain, ok
}

// sampleAt is where the sample for the header mask stands: behind a packet
// number of the largest size (RFC 9001 §5.4.2).
const (
	sampleAt   = 4
	sampleSize = 16
)

// unprotect takes the protection off one packet. The result lives in t.quicBuf.
func (t *Tracker) unprotect(in *initial, p *longPacket) ([]byte, bool) {
	if len(p.bytes) < p.number+sampleAt+sampleSize {
		return nil, false
	}
	var mask [sampleSize]byte
	in.header.Encrypt(mask[:], p.bytes[p.number+sampleAt:][:sampleSize])
	head := append(t.quicHead[:0], p.bytes[:p.number+4]...)
	head[0] ^= mask[0] & 0x0f
	size := int(head[0]&3) + 1
	head = head[:p.number+size]
	var nonce [12]byte
	copy(nonce[:], in.iv)
	for i := range size {
		head[p.number+i] ^= mask[1+i] //nolint:gosec // size is at most 4
		nonce[len(nonce)-size+i] ^= head[p.number+i]
	}
	t.quicHead = head
	out, err := in.payload.Open(t.quicBuf[:0], nonce[:], p.bytes[p.number+size:], head)
	if err != nil {
		return nil, false
	}
	t.quicBuf = out
	return out, true
}

// Frames that an Initial packet may hold (RFC 9000 §12.4).
const (
	framePadding = 0
	framePing    = 1
	frameAck     = 2
	frameAckECN  = 3
	frameCrypto  = 6
)

// cryptoFrames adds the CRYPTO frames among frames to the hello. False: there
// is no room for them.
func (t *Tracker) cryptoFrames(h *handshake, frames []byte) bool {
	r := reader{data: frames}
	for len(r.data) > 0 && !r.failed {
		switch kind := r.uint8(); kind {
		case framePadding, framePing:
		case frameAck, frameAckECN:
			r.varint()
			r.varint()
			ranges := r.varint()
			r.varint()
			for range ranges {
				r.varint()
				r.varint()
				if r.failed {
					break
				}
			}
			if kind == frameAckECN {
				r.varint()
				r.varint()
				r.varint()
			}
		case frameCrypto:
			off := r.varint()
			data := r.take(r.varint())
			if !h.parts.put(off, data, maxHello, &t.budget) {
				return false
			}
		default:
			return true // CONNECTION_CLOSE, or damage: nothing of use follows
		}
	}
	return true
}
