package packet

import (
	"encoding/binary"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
)

// dnsStream is DNS over TCP: messages with their length in front
// (RFC 1035 §4.2.2), in both directions.
type dnsStream struct {
	parts [2]assembly // of the originator, of the responder
	base  [2]uint32   // sequence number of the first byte in parts
	begun [2]bool
	state [2]streamState
}

type streamState uint8

const (
	inStep  streamState = iota
	outStep             // bytes were lost: where the next message begins is not known
	foreign             // not DNS
)

// dnsSegment takes a segment with data on port 53.
func (t *Tracker) dnsSegment(f *flow, d uint8, s *segment, p *packet, sink decode.Sink) {
	st := f.dns
	if st == nil {
		if st = t.spareStream; st == nil {
			st = new(dnsStream)
		}
		t.spareStream = nil
		f.dns = st
	}
	sender := d ^ f.orig
	switch st.state[d] {
	case foreign:
		t.notDNS(f, sender, s.size, p, sink)
		return
	case outStep:
		return
	case inStep:
	}
	seq := s.seq
	if s.flags&flagSYN != 0 {
		seq++
	}
	synced := f.dir[d].syn
	if !st.begun[d] {
		st.begun[d], st.base[d] = true, seq
		if synced {
			st.base[d] = f.dir[d].isn + 1
		}
	}
	off, data := int(int32(seq-st.base[d])), s.data
	if len(data) < s.size {
		t.lose(st, d) // cut off by the snap length
		return
	}
	if off < 0 {
		if -off >= len(data) {
			return
		}
		off, data = 0, data[-off:]
	}
	a := &st.parts[d]
	if off == 0 && a.n == 0 {
		// The usual case: whole messages in one segment.
		n, ok := t.dnsMessages(f, sender, data, p, sink)
		if !ok {
			t.strange(f, d, synced, s.size, p, sink)
			return
		}
		st.base[d] += uint32(n)
		if data = data[n:]; len(data) == 0 {
			return
		}
	}
	if !a.put(off, data, maxDNSStream, &t.budget) {
		t.lose(st, d)
		return
	}
	n, ok := t.dnsMessages(f, sender, a.prefix(), p, sink)
	if !ok {
		t.strange(f, d, synced, s.size, p, sink)
		return
	}
	st.base[d] += uint32(n)
	a.drop(n)
	if a.n == 0 {
		a.release(&t.budget)
	}
}

// dnsMessages takes whole messages from the beginning of data and returns how
// many bytes they were. False: what follows is no message.
func (t *Tracker) dnsMessages(f *flow, sender uint8, data []byte, p *packet, sink decode.Sink) (n int, ok bool) {
	for len(data)-n >= 2 {
		size := int(binary.BigEndian.Uint16(data[n:]))
		msg := data[n+2:]
		if size < dnsHeader || len(msg) >= dnsHeader && !plausibleHeader(msg, size) {
			return n, false
		}
		if len(msg) < size {
			return n, true
		}
		if !t.dnsStreamMessage(f, sender, msg[:size], p, sink) {
			return n, false
		}
		n += 2 + size
	}
	return n, true
}

// dnsStreamMessage takes one message of a stream. False: it is none.
func (t *Tracker) dnsStreamMessage(f *flow, sender uint8, msg []byte, p *packet, sink decode.Sink) bool {
	if t.message.parse(msg, len(msg)) != isDNS || !t.rightWay(f, sender) {
		return false
	}
	t.dnsParsed(f, sender, msg, len(msg), p, sink)
	return true
}

// strange stops reading a direction that is out of step, or that never was
// DNS: the latter only where its beginning was seen.
func (t *Tracker) strange(f *flow, d uint8, synced bool, size int, p *packet, sink decode.Sink) {
	st := f.dns
	if !synced {
		t.lose(st, d)
		return
	}
	st.state[d] = foreign
	st.parts[d].release(&t.budget)
	t.notDNS(f, d^f.orig, size, p, sink)
}

func (t *Tracker) lose(st *dnsStream, d uint8) {
	st.state[d] = outStep
	st.parts[d].release(&t.budget)
}

func (t *Tracker) dropStream(f *flow) {
	for d := range f.dns.parts {
		f.dns.parts[d].release(&t.budget)
	}
	*f.dns = dnsStream{}
	t.spareStream, f.dns = f.dns, nil
}
