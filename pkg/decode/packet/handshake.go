package packet

import (
	"encoding/binary"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// handshake is a client hello that is being put together, or that waits for
// what the server makes of it.
type handshake struct {
	flow  *flow
	ts    int64 // of the first packet of the hello
	at    event.Origin
	stage stage
	parts assembly
	base  uint32 // TCP: sequence number of the first byte in parts

	initial initial // QUIC: what the packets are deciphered with

	ja3, ja4, domain, alpn, version string

	prev, next *handshake
}

type stage uint8

const (
	collecting stage = iota
	told             // the hello was read
	served           // the server replied
)

// handshakes is the part of a Tracker that follows hellos.
type handshakes struct {
	oldestHello, newestHello *handshake
	spareHellos              []*handshake
	helloBuf                 []byte
	quicHead, quicBuf        []byte
}

func (t *Tracker) beginHello(f *flow, p *packet) *handshake {
	if len(t.spareHellos) == 0 {
		t.spareHellos = append(t.spareHellos, new(handshake))
	}
	h := t.spareHellos[len(t.spareHellos)-1]
	t.spareHellos = t.spareHellos[:len(t.spareHellos)-1]
	h.flow, h.ts, h.at = f, p.ts, p.at
	if h.prev = t.newestHello; h.prev == nil {
		t.oldestHello = h
	} else {
		h.prev.next = h
	}
	t.newestHello = h
	f.hello = h
	return h
}

// dropHello forgets a handshake.
func (t *Tracker) dropHello(f *flow) {
	h := f.hello
	if h.prev == nil {
		t.oldestHello = h.next
	} else {
		h.prev.next = h.next
	}
	if h.next == nil {
		t.newestHello = h.prev
	} else {
		h.next.prev = h.prev
	}
	h.parts.release(&t.budget)
	*h = handshake{}
	t.spareHellos = append(t.spareHellos, h)
	f.hello = nil
}

// finishHello emits what is known of a handshake and forgets it.
func (t *Tracker) finishHello(f *flow, sink decode.Sink) {
	h := f.hello
	if h.stage == collecting {
		var rest []byte
		if f.tuple.proto == protoTCP {
			rest, _, _ = t.helloBytes(h.parts.prefix())
		} else {
			rest = append(t.helloBuf[:0], h.parts.prefix()...)
			t.helloBuf = rest
		}
		t.readHello(f, rest, false)
	}
	if h.stage != collecting {
		t.emitHello(f, false, sink)
	}
	t.dropHello(f)
}

func (t *Tracker) emitHello(f *flow, established bool, sink decode.Sink) {
	h := f.hello
	e := t.begin(event.KindTLS, h.ts, h.at)
	t.between(e, &f.tuple, f.orig, f.id)
	e.Network.Protocol = appTLS
	if f.tuple.proto == protoUDP {
		e.Network.Protocol = appQUIC
	}
	e.Destination.Domain = h.domain
	e.TLS = event.TLS{JA3: h.ja3, JA4: h.ja4, ALPN: h.alpn, Version: h.version, Established: established}
	sink.Event(e)
}

// closeHello emits a handshake of which the end was seen.
func (t *Tracker) closeHello(f *flow, established bool, sink decode.Sink) {
	t.emitHello(f, established, sink)
	t.dropHello(f)
}

func (t *Tracker) expireHandshakes(sink decode.Sink) {
	for h := t.oldestHello; h != nil && t.over(h.ts, handshakeTimeout); h = t.oldestHello {
		t.finishHello(h.flow, sink)
	}
}

// helloSegment follows the handshake of a TLS stream.
func (t *Tracker) helloSegment(f *flow, d uint8, s *segment, p *packet, sink decode.Sink) {
	h := f.hello
	if d == 1 {
		if h != nil && h.stage != collecting {
			t.serverSegment(f, s.data, sink)
		}
		return
	}
	seq := s.seq
	if s.flags&flagSYN != 0 {
		seq++
	}
	switch {
	case h == nil:
		o := &f.dir[0]
		switch {
		case o.syn && o.gap > 0 && o.gap < maxHello && o.bytes == o.gap+uint64(s.size):
			// The first data that came is not the first that was sent.
			h = t.beginHello(f, p)
			h.base = o.isn + 1
		case beginsHello(s.data):
			h = t.beginHello(f, p)
			h.base = seq
		default:
			return
		}
		t.collect(f, int(int32(seq-h.base)), s.data, sink)
	case h.stage == collecting:
		off, data := int(int32(seq-h.base)), s.data
		if off < 0 {
			if -off >= len(data) {
				return
			}
			off, data = 0, data[-off:]
		}
		t.collect(f, off, data, sink)
	case len(s.data) == 0:
	case s.data[0] == recordAlert:
		t.closeHello(f, false, sink)
	case h.stage == served:
		switch s.data[0] {
		case recordHandshake:
			if len(s.data) > recordHeader && s.data[recordHeader] == messageClientHello {
				h.stage = told // once more, with what the server asked for
				return
			}
			t.closeHello(f, true, sink)
		case recordCipherChange, recordData:
			t.closeHello(f, true, sink)
		}
	}
}

// collect adds bytes of the stream to the hello and reads it when it is whole.
func (t *Tracker) collect(f *flow, off int, data []byte, sink decode.Sink) {
	h := f.hello
	raw := data
	if off > 0 || h.parts.n > 0 {
		if !h.parts.put(off, data, maxHello, &t.budget) {
			t.finishHello(f, sink)
			return
		}
		raw = h.parts.prefix()
	}
	if len(raw) == 0 {
		return
	}
	msg, whole, ok := t.helloBytes(raw)
	switch {
	case !ok:
		t.dropHello(f) // something else
	case whole:
		t.readHello(f, msg, true)
		if h.stage == collecting {
			t.dropHello(f) // it did not hold what it said
		}
	case h.parts.n == 0 && !h.parts.put(off, data, maxHello, &t.budget):
		t.finishHello(f, sink)
	}
}

// helloBytes takes the record headers off the beginning of a stream and
// returns the client hello, with its message header, as far as it is there.
// The result lives in t.helloBuf. Not ok: no hello.
func (t *Tracker) helloBytes(raw []byte) (msg []byte, whole, ok bool) {
	out := t.helloBuf[:0]
	defer func() { t.helloBuf = out[:0] }()
	if !beginsHello(raw) {
		return nil, false, false
	}
	for at := 0; at+recordHeader <= len(raw); {
		n := int(binary.BigEndian.Uint16(raw[at+3:]))
		if raw[at] != recordHandshake || raw[at+1] != 3 || n == 0 {
			return nil, false, false
		}
		at += recordHeader
		out = append(out, raw[at:min(at+n, len(raw))]...)
		if len(out) >= messageHeader {
			need := messageSize(out)
			if out[0] != messageClientHello || need > maxHello {
				return nil, false, false
			}
			if len(out) >= need {
				return out[:need], true, true
			}
		}
		at += n
	}
	return out, false, true
}

// messageHeader is the type and length of a handshake message.
const messageHeader = 4

func messageSize(msg []byte) int {
	return messageHeader + int(msg[1])<<16 + int(msg[2])<<8 + int(msg[3])
}

// readHello reads a client hello, or the beginning of one. Of a beginning only
// the name is of use: without it nothing is told.
func (t *Tracker) readHello(f *flow, msg []byte, whole bool) {
	if len(msg) < messageHeader {
		return
	}
	c := &t.hello
	ok := c.parse(msg[messageHeader:])
	quic := f.tuple.proto == protoUDP
	if f.protocol == "" {
		f.protocol = appTLS
		if quic {
			f.protocol = appQUIC
		}
	}
	h := f.hello
	h.domain = domainText(c.name)
	if !whole || !ok {
		if h.domain == "" {
			return
		}
	} else {
		h.ja3, h.ja4 = c.ja3(), c.ja4(quic)
		h.alpn = string(c.protocol[:min(len(c.protocol), maxDomain)])
	}
	if h.domain != "" {
		f.domain = h.domain
	}
	h.stage = told
	h.parts.release(&t.budget)
}

// serverSegment reads the server's answer to a hello.
func (t *Tracker) serverSegment(f *flow, data []byte, sink decode.Sink) {
	h := f.hello
	switch {
	case len(data) == 0 || h.stage == served:
	case data[0] == recordAlert:
		t.closeHello(f, false, sink)
	case data[0] == recordHandshake && len(data) > recordHeader && data[recordHeader] == messageServerHello:
		version, protocol, retry := serverHello(data[recordHeader:])
		h.version = versionText(version)
		if len(protocol) > 0 {
			h.alpn = string(protocol)
		}
		if !retry {
			h.stage = served
		}
	}
}

func versionText(v uint16) string {
	switch v {
	case 0x0304:
		return "TLSv13"
	case 0x0303:
		return "TLSv12"
	case 0x0302:
		return "TLSv11"
	case 0x0301:
		return "TLSv10"
	case 0x0300:
		return "SSLv3"
	}
	return ""
}
