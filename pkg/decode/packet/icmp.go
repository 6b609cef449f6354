package packet

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

const icmpHeader = 8

// icmp emits one event for each message and counts it in a flow of its
// addresses and type. A message cut short by the network (under 8 bytes) has
// no data.
func (t *Tracker) icmp(p *packet, sink decode.Sink) bool {
	h := p.payload
	if len(h) < 4 {
		return false
	}
	typ, code := h[0], h[1]
	group, isReply, isQuery := icmpGroup(p.proto, typ)
	k, sender := tupleOf(p, group, group)
	f := t.find(&k)
	if f == nil {
		orig := sender
		if isReply {
			orig ^= 1 // the question was not seen
		}
		f = t.open(&k, orig, p, sink)
	}
	d := sender ^ f.orig
	size := max(p.size-icmpHeader, 0)
	t.touch(f, d, p)
	f.dir[d].bytes += uint64(size)
	t.settle(f)

	e := t.begin(event.KindICMP, p.ts, p.at)
	t.between(e, &f.tuple, sender, f.id)
	m := &e.ICMP
	m.Type, m.Code, m.Bytes = event.N(typ), event.N(code), event.N(size)
	if isQuery && len(h) >= icmpHeader {
		m.ID, m.Sequence = event.N(binary.BigEndian.Uint16(h[4:])), event.N(binary.BigEndian.Uint16(h[6:]))
	}
	if p.complete() && len(h) >= icmpHeader {
		data := h[icmpHeader:p.size]
		m.Hash = event.N(xxhash.Sum64(data))
		m.Content = m.Hash
		if n := timestamp(data, p.ts); n > 0 {
			m.Content = event.N(xxhash.Sum64(data[n:]))
		}
	}
	sink.Event(e)
	return true
}

// icmpGroup puts the types of one exchange under the number of its question.
// query tells that the message has an id and a sequence number.
func icmpGroup(proto, typ uint8) (group uint16, reply, query bool) {
	question := typ
	if proto == protoICMP {
		switch typ {
		case 0:
			question = 8
		case 14, 16, 18: // timestamp, information, address mask
			question = typ - 1
		case 8, 13, 15, 17:
		default:
			return uint16(typ), false, false
		}
		return uint16(question), typ != question, true
	}
	switch typ {
	case 128, 129: // echo
		return 128, typ == 129, true
	case 134, 136, 140: // router, neighbour, node information
		return uint16(typ - 1), true, false
	}
	return uint16(typ), false, false
}

// aDay is how far a time in a packet may be from the packet's own.
const aDay = 86_400

// timestamp returns the length of the time that senders of echoes put in front
// of their data: struct timeval or timespec of 64 or 32 bits, in either byte
// order, within a day of ts (microseconds). 0 for none.
func timestamp(data []byte, ts int64) int {
	now := ts / second
	near := func(sec uint64) bool {
		return sec < 1<<40 && int64(sec) >= now-aDay && int64(sec) <= now+aDay
	}
	const fraction = 1_000_000_000 // nanoseconds, or fewer microseconds
	for _, order := range [2]binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if len(data) >= 16 && order.Uint64(data[8:]) < fraction && near(order.Uint64(data)) {
			return 16
		}
	}
	for _, order := range [2]binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if len(data) >= 8 && order.Uint32(data[4:]) < fraction && near(uint64(order.Uint32(data))) {
			return 8
		}
	}
	return 0
}
