package packet

import (
	"encoding/binary"
	"net/netip"

	"github.com/cespare/xxhash/v2"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// IP protocol numbers.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// tuple is the two ends of a flow in a fixed order, so that both directions
// have the same. An IPv4 address fills the first four bytes.
type tuple struct {
	addr  [2][16]byte
	port  [2]uint16
	proto uint8
	v6    bool
}

func (t *tuple) ip(side uint8) netip.Addr {
	if t.v6 {
		return netip.AddrFrom16(t.addr[side]).Unmap()
	}
	return netip.AddrFrom4([4]byte(t.addr[side][:4]))
}

func (t *tuple) multicast(side uint8) bool {
	if t.v6 {
		return t.addr[side][0] == 0xff
	}
	return t.addr[side][0]&0xf0 == 0xe0 || [4]byte(t.addr[side][:4]) == [4]byte{255, 255, 255, 255}
}

// tupleOf returns the tuple of a packet, and which side of it sent.
func tupleOf(p *packet, from, to uint16) (t tuple, sender uint8) {
	t.proto, t.v6 = p.proto, p.v6
	if less(&p.src, &p.dst, from, to) {
		t.addr, t.port = [2][16]byte{p.src, p.dst}, [2]uint16{from, to}
		return t, 0
	}
	t.addr, t.port = [2][16]byte{p.dst, p.src}, [2]uint16{to, from}
	return t, 1
}

// less reports whether the first end comes first in a tuple.
func less(a, b *[16]byte, pa, pb uint16) bool {
	if x, y := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(b[:8]); x != y {
		return x < y
	}
	if x, y := binary.BigEndian.Uint64(a[8:]), binary.BigEndian.Uint64(b[8:]); x != y {
		return x < y
	}
	return pa <= pb
}

// direction is what one side of a flow sent.
type direction struct {
	packets, ipBytes, bytes uint64
	gap, cut                uint64 // payload lost by the network or the sensor, cut off by the snap length
	isn, next               uint32 // sequence numbers: of the SYN, of what is expected
	syn, fin, rst, seq      bool   // seq: next is known
}

// flow is one connection.
type flow struct {
	tuple tuple
	orig  uint8 // side of the originator
	class uint8 // the list it stands in
	// dirty says that something was seen since the last report.
	dirty bool
	// sniffed counts segments with data that were looked at.
	sniffed     uint8
	greeted     bool // the responder began with "220"
	protocol    string
	domain      string // what the originator called the responder
	start, last int64
	due         int64  // when it was last reported or looked at for a report
	told        uint64 // payload of both sides when it was last reported
	id          uint64
	serial      uint64
	at          event.Origin
	dir         [2]direction // of the originator, of the responder
	hello       *handshake
	dns         *dnsStream
	idle, turn  links // in the list of its class, in the list of reports
}

type links struct{ prev, next *flow }

// list is a queue of flows, oldest first. by tells where a flow keeps its
// links.
type list struct {
	head, tail *flow
	by         func(*flow) *links
}

func byIdle(f *flow) *links { return &f.idle }
func byTurn(f *flow) *links { return &f.turn }

func (l *list) push(f *flow) {
	at := l.by(f)
	at.prev, at.next = l.tail, nil
	if l.tail == nil {
		l.head = f
	} else {
		l.by(l.tail).next = f
	}
	l.tail = f
}

func (l *list) remove(f *flow) {
	at := l.by(f)
	if at.prev == nil {
		l.head = at.next
	} else {
		l.by(at.prev).next = at.next
	}
	if at.next == nil {
		l.tail = at.prev
	} else {
		l.by(at.next).prev = at.prev
	}
	*at = links{}
}

// The classes of flows, in the order in which they make room.
const (
	closing    = iota // both FIN, or a RST
	unanswered        // one side only, and no data of a stream
	datagrams         // not TCP, both sides
	streams
	classes
)

// idleAfter is how long a flow of each class may be silent.
var idleAfter = [classes]int64{closing: linger, unanswered: shortIdle, datagrams: shortIdle, streams: tcpIdle}

func (f *flow) classify() uint8 {
	o, r := &f.dir[0], &f.dir[1]
	switch {
	case f.tuple.proto != protoTCP:
		if o.packets > 0 && r.packets > 0 {
			return datagrams
		}
		return unanswered
	case o.fin && r.fin || o.rst || r.rst:
		return closing
	case o.bytes == 0 && r.bytes == 0 && (o.packets == 0 || r.packets == 0):
		return unanswered
	}
	return streams
}

// find returns the flow of a tuple, nil for none.
func (t *Tracker) find(k *tuple) *flow { return t.flows[*k] }

// open begins a flow, which takes the place of the oldest when there is none.
func (t *Tracker) open(k *tuple, orig uint8, p *packet, sink decode.Sink) *flow {
	if len(t.flows) >= t.cfg.MaxFlows {
		for c := range t.idle {
			if f := t.idle[c].head; f != nil {
				t.stats.Evicted++
				t.end(f, sink)
				break
			}
		}
	}
	if len(t.spareFlows) == 0 {
		block := make([]flow, 64)
		for i := range block {
			t.spareFlows = append(t.spareFlows, &block[i])
		}
	}
	f := t.spareFlows[len(t.spareFlows)-1]
	t.spareFlows = t.spareFlows[:len(t.spareFlows)-1]
	t.serial++
	*f = flow{tuple: *k, orig: orig, start: p.ts, last: p.ts, due: p.ts, serial: t.serial, at: p.at, class: unanswered}
	f.id = f.identity()
	t.flows[*k] = f
	t.idle[f.class].push(f)
	t.turns.push(f)
	t.stats.Flows++
	return f
}

// identity is the hash of the tuple and the time and number of the first
// packet: two connections may begin within a microsecond.
func (f *flow) identity() uint64 {
	var b [54]byte
	copy(b[:16], f.tuple.addr[0][:])
	copy(b[16:32], f.tuple.addr[1][:])
	binary.BigEndian.PutUint16(b[32:], f.tuple.port[0])
	binary.BigEndian.PutUint16(b[34:], f.tuple.port[1])
	b[36], b[37] = f.tuple.proto, f.orig
	binary.BigEndian.PutUint64(b[38:], uint64(f.start))
	binary.BigEndian.PutUint64(b[46:], f.at.Line.Or(0))
	return xxhash.Sum64(b[:])
}

// touch counts a packet in direction d and moves the flow to the end of the
// list of its class.
func (t *Tracker) touch(f *flow, d uint8, p *packet) {
	dir := &f.dir[d]
	dir.packets += uint64(p.packets)
	dir.ipBytes += uint64(p.ipBytes)
	f.last = p.ts
	f.dirty = true
	t.stats.Tracked += uint64(p.packets)
}

// settle puts a flow where it belongs after a packet was counted.
func (t *Tracker) settle(f *flow) {
	c := f.classify()
	l := &t.idle[c]
	if c == f.class && l.tail == f {
		return
	}
	t.idle[f.class].remove(f)
	l.push(f)
	f.class = c
}

// end reports a flow for the last time and forgets it.
func (t *Tracker) end(f *flow, sink decode.Sink) {
	if f.hello != nil {
		t.finishHello(f, sink)
	}
	t.report(f, false, sink)
	if f.dns != nil {
		t.dropStream(f)
	}
	t.idle[f.class].remove(f)
	t.turns.remove(f)
	delete(t.flows, f.tuple)
	*f = flow{}
	t.spareFlows = append(t.spareFlows, f)
}

// expireFlows ends what has been silent for too long and reports what goes on.
func (t *Tracker) expireFlows(sink decode.Sink) {
	for c := range t.idle {
		for f := t.idle[c].head; f != nil && t.over(f.last, idleAfter[c]); f = t.idle[c].head {
			t.end(f, sink)
		}
	}
	for f := t.turns.head; f != nil && t.over(f.due, reportEvery); f = t.turns.head {
		t.turns.remove(f)
		t.turns.push(f)
		f.due = t.now
		if f.dirty && f.worthReport(t.now) {
			t.report(f, true, sink)
			f.dirty = false
		}
	}
}

// progress reports an open flow that has moved much since it was last
// reported: what sends at line rate does not wait for its minute. Each report
// takes an eighth more, so that a flow of any size makes few of them.
func (t *Tracker) progress(f *flow, sink decode.Sink) {
	moved := f.dir[0].bytes + f.dir[1].bytes
	if moved < f.told+max(reportBytes, f.told/8) || f.class == closing {
		return
	}
	t.turns.remove(f)
	t.turns.push(f)
	f.due = t.now
	t.report(f, true, sink)
	f.dirty = false
}

// worthReport tells whether an open flow is reported before its end: not
// where nothing was said yet, and not where the end is near.
func (f *flow) worthReport(now int64) bool {
	switch f.class {
	case closing, streams:
		// What goes on for a minute after a RST did not believe it.
		return true
	}
	return now-f.last < soonOver && (f.tuple.proto != protoTCP || f.dir[1].packets > 0)
}

// report emits the conn event of a flow.
func (t *Tracker) report(f *flow, open bool, sink decode.Sink) {
	f.told = f.dir[0].bytes + f.dir[1].bytes
	e := t.begin(event.KindConn, f.last, f.at)
	t.between(e, &f.tuple, f.orig, f.id)
	e.Start, e.End = f.start, f.last
	e.Network.Protocol = f.protocol
	e.Network.Layer = event.LayerPayload
	e.Destination.Domain = f.domain
	for d, side := range [2]*event.Endpoint{&e.Source, &e.Destination} {
		n := &f.dir[d]
		side.Bytes, side.Packets, side.IPBytes = event.N(n.bytes), event.N(n.packets), event.N(n.ipBytes)
	}
	if f.tuple.proto == protoTCP {
		e.Conn.MissedBytes = event.N(f.dir[0].gap + f.dir[0].cut + f.dir[1].gap + f.dir[1].cut)
	}
	e.Conn.State = f.state()
	e.Conn.Open = open
	sink.Event(e)
}

// state is Zeek's conn_state (formats.md §3.3).
func (f *flow) state() string {
	o, r := &f.dir[0], &f.dir[1]
	if f.tuple.proto != protoTCP {
		switch {
		case f.tuple.proto != protoUDP:
			return "OTH"
		case o.packets == 0:
			return "SHR"
		case r.packets == 0:
			return "S0"
		}
		return "SF"
	}
	switch {
	case !o.syn && !r.syn:
		return "OTH"
	case !o.syn:
		switch {
		case r.rst:
			return "RSTRH"
		case r.fin:
			return "SHR"
		}
		return "OTH"
	case r.packets == 0:
		switch {
		case o.bytes > 0 && o.packets > 1:
			return "OTH" // the other direction is not seen: S0 carries no data
		case o.rst:
			return "RSTOS0"
		case o.fin:
			return "SH"
		}
		return "S0"
	case !r.syn && r.rst:
		return "REJ"
	case o.fin && r.fin:
		return "SF"
	case o.rst:
		return "RSTO"
	case r.rst:
		return "RSTR"
	case o.fin:
		return "S2"
	case r.fin:
		return "S3"
	}
	return "S1"
}
