package packet

import (
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// datagramKey is what the fragments of one datagram have in common.
type datagramKey struct {
	src, dst [16]byte
	id       uint32
	proto    uint8
	v6       bool
}

// datagram is being put together from its fragments.
type datagram struct {
	key        datagramKey
	start      int64
	at         event.Origin // of the first fragment seen
	parts      assembly
	size       int // of the payload, 0 until the last fragment came
	far        int // how far the fragments reach
	packets    int
	ipBytes    int
	prev, next *datagram
}

// fragments is the part of a Tracker that puts datagrams together.
type fragments struct {
	datagrams                      map[datagramKey]*datagram
	oldestDatagram, newestDatagram *datagram
	waitingFragments               uint64
}

// fragment keeps a fragment and returns the datagram when it is complete, nil
// before. The result is valid until the next call.
func (t *Tracker) fragment(p *packet, frag piece, sink decode.Sink) *packet {
	k := datagramKey{p.src, p.dst, frag.id, p.proto, p.v6}
	d := t.datagrams[k]
	if d == nil {
		if len(t.datagrams) >= t.cfg.MaxDatagrams {
			t.giveUp(t.oldestDatagram, sink)
		}
		d = &datagram{key: k, start: p.ts, at: p.at, prev: t.newestDatagram}
		if d.prev == nil {
			t.oldestDatagram = d
		} else {
			d.prev.next = d
		}
		t.newestDatagram = d
		t.datagrams[k] = d
	}
	t.waitingFragments++
	d.packets++
	d.ipBytes += p.ipBytes
	d.far = max(d.far, frag.off+p.size)
	d.parts.put(frag.off, p.payload, maxDatagram, &t.budget)
	if !frag.more {
		d.size = frag.off + p.size
	}
	if whole := d.parts.prefix(); d.size > 0 && len(whole) >= d.size {
		p.payload = whole[:d.size]
		p.size, p.packets, p.ipBytes, p.at = d.size, d.packets, d.ipBytes, d.at
		t.forgetDatagram(d)
		if p.v6 && !p.unwrap() {
			p.proto = extNone
		}
		return p
	}
	return nil
}

// extNone is the protocol number for "no next header".
const extNone = 59

// forgetDatagram removes d. Its bytes stay readable until the next is removed.
func (t *Tracker) forgetDatagram(d *datagram) {
	delete(t.datagrams, d.key)
	if d.prev == nil {
		t.oldestDatagram = d.next
	} else {
		d.prev.next = d.next
	}
	if d.next == nil {
		t.newestDatagram = d.prev
	} else {
		d.next.prev = d.prev
	}
	t.waitingFragments -= uint64(d.packets)
	d.parts.release(&t.budget)
}

// giveUp counts a datagram of which fragments are missing: as what its first
// fragment says, or without ports where that did not come.
func (t *Tracker) giveUp(d *datagram, sink decode.Sink) {
	t.stats.Incomplete++
	p := &t.late
	*p = packet{
		ts: d.start, at: d.at, src: d.key.src, dst: d.key.dst, v6: d.key.v6, proto: d.key.proto,
		packets: d.packets, ipBytes: d.ipBytes, payload: d.parts.prefix(), size: max(d.size, d.far), partial: true,
	}
	t.forgetDatagram(d)
	if p.v6 && !p.unwrap() {
		p.payload = nil
	}
	if !t.transport(p, sink) {
		p.payload = nil // too little even for the ports
		t.transport(p, sink)
	}
}

func (t *Tracker) expireFragments(sink decode.Sink) {
	for d := t.oldestDatagram; d != nil && t.over(d.start, fragmentTimeout); d = t.oldestDatagram {
		t.giveUp(d, sink)
	}
}
