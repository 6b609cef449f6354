package packet

import (
	"strconv"
	"unsafe"

	"github.com/gopacket/gopacket/layers"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Observer is the Observer.Type of the events.
const Observer = "packet"

// Reasons of packets that are no record of a flow, and of those that cannot
// be decoded.
const (
	IgnoredNotIP = "not_ip" // ARP, LLDP, spanning tree, …

	ReasonLink      = "unknown_link_type"
	ReasonMalformed = "malformed_packet"
	ReasonShort     = "packet_too_short" // captured too short for its headers
)

// Stats counts what a Tracker did. Packets = Tracked + Ignored + Dead +
// Waiting.
type Stats struct {
	Packets, Tracked, Ignored, Dead uint64
	// Waiting are fragments whose datagram is not complete yet.
	Waiting uint64
	// Flows and Transactions are how many were begun, Evicted and Displaced
	// how many of them ended early for want of room.
	Flows, Evicted          uint64
	Transactions, Displaced uint64
	// Repeated are DNS messages that came again before their answer, or after
	// it on a second interface: no event is made of them.
	Repeated uint64
	// Incomplete are fragmented datagrams of which a part never came.
	Incomplete uint64
}

// Tracker turns packets into events. It is owned by one goroutine.
type Tracker struct {
	cfg   Config
	now   int64
	ev    event.Event
	stats Stats

	flows      map[tuple]*flow
	idle       [classes]list
	turns      list
	spareFlows []*flow
	serial     uint64

	transactions
	fragments
	handshakes
	budget      budget
	spareStream *dnsStream

	packet, late packet // scratch: the packet at hand, a datagram that is given up
	message      message
	hello        hello
	id           [16]byte
	name, number []byte
	typ          []byte
}

// NewTracker returns a Tracker that has seen nothing.
func NewTracker(cfg Config) *Tracker {
	t := &Tracker{cfg: cfg.withDefaults(), flows: map[tuple]*flow{}, turns: list{by: byTurn}}
	for c := range t.idle {
		t.idle[c].by = byIdle
	}
	t.byID = map[uint64]*transaction{}
	t.datagrams = map[datagramKey]*datagram{}
	t.budget.left = t.cfg.MaxBuffered
	return t
}

// Stats returns the counts so far.
func (t *Tracker) Stats() Stats {
	s := t.stats
	s.Waiting = t.waitingFragments
	return s
}

// packet is one IP packet, or a datagram put together from fragments.
type packet struct {
	ts       int64
	at       event.Origin
	src, dst [16]byte
	v6       bool
	proto    uint8
	packets  int
	ipBytes  int
	// payload is what was captured of the size bytes behind the IP headers.
	payload []byte
	size    int
	// partial marks a datagram of which fragments are missing.
	partial bool
}

// complete reports whether all of the payload was captured.
func (p *packet) complete() bool { return len(p.payload) >= p.size }

// Packet takes one packet: its time in microseconds since the epoch, the type
// of its link layer, what was captured of it, its length on the wire, and
// where it stands. data is not kept; at.Name is.
func (t *Tracker) Packet(ts int64, link layers.LinkType, data []byte, length int, at event.Origin, sink decode.Sink) {
	ts = max(ts, 1) // 0 is no time
	t.Advance(ts, sink)
	t.stats.Packets++
	length = max(length, len(data))
	from, kind := network(link, data)
	switch kind {
	case isIP:
	case isOther:
		t.stats.Ignored++
		sink.Ignored(IgnoredNotIP)
		return
	case isUnknown:
		t.dead(ReasonLink, data, at, sink)
		return
	case isShort:
		t.unfit(data, length, at, sink)
		return
	}
	p := &t.packet
	*p = packet{ts: ts, at: at, packets: 1}
	frag, ok := p.header(data[from:], length-from)
	if !ok {
		t.unfit(data, length, at, sink)
		return
	}
	if frag.is {
		if p = t.fragment(p, frag, sink); p == nil {
			return
		}
	}
	if !t.transport(p, sink) {
		t.stats.Dead += uint64(p.packets) - 1
		t.unfit(data, length, at, sink)
	}
}

// unfit counts a packet whose headers do not hold together, or are cut off.
func (t *Tracker) unfit(data []byte, length int, at event.Origin, sink decode.Sink) {
	if len(data) < length {
		t.dead(ReasonShort, data, at, sink)
	} else {
		t.dead(ReasonMalformed, data, at, sink)
	}
}

func (t *Tracker) dead(reason string, data []byte, at event.Origin, sink decode.Sink) {
	t.stats.Dead++
	sink.Dead(reason, data[:min(len(data), decode.MaxDead)], at)
}

// transport counts the packet in its flow and looks into it. False says that
// the header of its transport is not sound; nothing was counted then.
func (t *Tracker) transport(p *packet, sink decode.Sink) bool {
	if !p.partial || len(p.payload) > 0 {
		switch p.proto {
		case protoTCP:
			return t.tcp(p, sink)
		case protoUDP:
			return t.udp(p, sink)
		case protoICMP, protoICMPv6:
			return t.icmp(p, sink)
		}
	}
	// Another protocol, or fragments without the first: no ports to go by.
	k, sender := tupleOf(p, 0, 0)
	f := t.find(&k)
	if f == nil {
		f = t.open(&k, sender, p, sink)
	}
	d := sender ^ f.orig
	t.touch(f, d, p)
	f.dir[d].bytes += uint64(p.size)
	t.settle(f)
	t.progress(f, sink)
	return true
}

// Advance tells that time has come to ts though no packet did. It emits what
// has timed out. Time may go back, as in recordings that were joined: what
// was seen in a future farther off than its timeout is over, too.
func (t *Tracker) Advance(ts int64, sink decode.Sink) {
	if t.now == ts {
		return
	}
	t.now = ts
	t.expireFragments(sink)
	t.expireTransactions(sink)
	t.expireHandshakes(sink)
	t.expireFlows(sink)
}

// over reports whether what began or was last seen at since has timed out.
func (t *Tracker) over(since, timeout int64) bool {
	d := t.now - since
	return d >= timeout || d < -timeout
}

// Flush emits all that is open, as ended, and forgets it.
func (t *Tracker) Flush(sink decode.Sink) {
	for t.oldestDatagram != nil {
		t.giveUp(t.oldestDatagram, sink)
	}
	for t.waiting.head != nil {
		t.unanswered(t.waiting.head, sink)
	}
	for t.answered.head != nil {
		t.forget(t.answered.head)
	}
	for {
		// By last packet, whatever the class.
		var next *flow
		for c := range t.idle {
			if f := t.idle[c].head; f != nil && (next == nil || f.last < next.last) {
				next = f
			}
		}
		if next == nil {
			return
		}
		t.end(next, sink)
	}
}

// Low is a promise for marks: no event of the kind with an earlier Time
// follows while time does not go back, except the last record of a connection
// that only repeats what was reported before. It is the time of the last
// packet where nothing is open.
func (t *Tracker) Low(k event.Kind) int64 {
	low := t.now
	switch k {
	case event.KindDNS:
		if x := t.waiting.head; x != nil {
			low = min(low, x.ts)
		}
	case event.KindTLS:
		if h := t.oldestHello; h != nil {
			low = min(low, h.ts)
		}
	case event.KindConn:
		// A flow that was passed over at its turn was seen within the minute
		// before, or it will end within the next.
		if f := t.turns.head; f != nil {
			low = min(low, f.due-reportEvery)
		}
	default:
	}
	if d := t.oldestDatagram; d != nil {
		low = min(low, d.start)
	}
	return low
}

// begin returns the event to fill in.
func (t *Tracker) begin(k event.Kind, ts int64, at event.Origin) *event.Event {
	e := &t.ev
	e.Reset()
	e.Kind, e.Time = k, ts
	e.Observer.Type = Observer
	e.Origin = at
	return e
}

// between fills in the endpoints of a flow, the source being side source.
func (t *Tracker) between(e *event.Event, k *tuple, source uint8, id uint64) {
	e.ID = t.hex(id)
	e.Source.IP, e.Destination.IP = k.ip(source), k.ip(source^1)
	switch k.proto {
	case protoTCP:
		e.Network.Transport = "tcp"
	case protoUDP:
		e.Network.Transport = "udp"
	case protoICMP:
		e.Network.Transport = "icmp"
		return
	case protoICMPv6:
		e.Network.Transport = "ipv6-icmp"
		return
	default:
		t.number = strconv.AppendUint(t.number[:0], uint64(k.proto), 10)
		e.Network.Transport = view(t.number)
		return
	}
	e.Source.Port, e.Destination.Port = event.N(k.port[source]), event.N(k.port[source^1])
}

// hex writes an id into the Tracker's buffer.
func (t *Tracker) hex(id uint64) string {
	const digits = "0123456789abcdef"
	for i := len(t.id) - 1; i >= 0; i-- {
		t.id[i] = digits[id&15]
		id >>= 4
	}
	return view(t.id[:])
}

// view is b as a string without a copy: b must not change while it is in use.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Health emits what a capture says about its own losses: packets received, the
// dropped ones among them, and dropped.
func (t *Tracker) Health(ts int64, at event.Origin, received, dropped event.Count, sink decode.Sink) {
	e := t.begin(event.KindHealth, max(ts, 1), at)
	e.Health.Received, e.Health.Dropped = received, dropped
	if all := received.Or(0); all > 0 && dropped.Known() {
		e.Health.PercentLost = min(100, 100*float64(dropped.Or(0))/float64(all))
	}
	sink.Event(e)
}
