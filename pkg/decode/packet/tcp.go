package packet

import (
	"encoding/binary"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
)

// Flags of a TCP header.
const (
	flagFIN = 1
	flagSYN = 2
	flagRST = 4
	flagACK = 16
)

// segment is one TCP segment of a flow.
type segment struct {
	seq   uint32
	flags uint8
	data  []byte // what was captured
	size  int    // what was sent
}

func (t *Tracker) tcp(p *packet, sink decode.Sink) bool {
	h := p.payload
	if len(h) < 20 {
		return false
	}
	head := int(h[12]>>4) * 4
	if head < 20 || head > p.size {
		return false
	}
	s := segment{
		seq: binary.BigEndian.Uint32(h[4:]), flags: h[13],
		data: h[min(head, len(h)):], size: p.size - head,
	}
	syn, ack := s.flags&flagSYN != 0, s.flags&flagACK != 0
	from, to := binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])
	k, sender := tupleOf(p, from, to)
	f := t.find(&k)
	if f != nil && syn && !ack && f.reopens(sender, s.seq) {
		t.end(f, sink)
		f = nil
	}
	if f == nil {
		orig := sender
		// Of a connection that began before the capture, or whose SYN was
		// lost, the server is who sent SYN-ACK, or sits on the system port.
		if syn && ack || !syn && from < 1024 && to >= 1024 {
			orig ^= 1
		}
		f = t.open(&k, orig, p, sink)
	}
	d := sender ^ f.orig
	t.touch(f, d, p)
	fresh := f.dir[d].follow(&s)
	if s.size > 0 && f.dir[d].seq {
		t.stream(f, d, &s, fresh, p, sink)
	}
	t.settle(f)
	t.progress(f, sink)
	return true
}

// reopens reports whether a SYN begins another connection on the same ports.
func (f *flow) reopens(sender uint8, seq uint32) bool {
	if f.class == closing || sender != f.orig {
		return f.class == closing
	}
	o := &f.dir[0]
	return !o.syn || o.isn != seq
}

// follow counts a segment by its sequence number and returns how many of its
// bytes are new.
func (d *direction) follow(s *segment) (fresh int) {
	seq := s.seq
	if s.flags&flagSYN != 0 {
		if !d.syn {
			d.syn, d.isn = true, seq
			d.seq, d.next = true, seq+1
		}
		seq++
	}
	if s.flags&flagRST != 0 {
		d.rst = true
		if s.size > 0 {
			// Text of a reset (RFC 9293 §3.5.2) is no part of the stream.
			d.bytes += uint64(s.size)
		}
		return 0
	}
	if s.size > 0 {
		if !d.seq {
			d.seq, d.next = true, seq
		}
		ahead := int(int32(seq - d.next))
		switch {
		case ahead > maxGap || ahead < -maxGap:
			// More was lost than can be told from noise: begin anew from here.
			fresh = s.size
		case ahead > 0:
			d.gap += uint64(ahead)
			d.bytes += uint64(ahead)
			fresh = s.size
		default:
			fresh = max(s.size+ahead, 0)
			// What comes late fills the gap that was counted.
			d.gap -= min(d.gap, uint64(s.size-fresh))
		}
		if fresh > 0 {
			d.bytes += uint64(fresh)
			d.next = seq + uint32(s.size)
			d.cut += uint64(min(fresh, s.size-len(s.data)))
		}
	}
	if s.flags&flagFIN != 0 {
		d.fin = true
	}
	return fresh
}
