package packet

import (
	"encoding/binary"
	"errors"
	"io"
	"math/bits"

	"github.com/gopacket/gopacket/layers"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Types of pcapng blocks (draft-ietf-opsawg-pcapng §4).
const (
	blockSection    = 0x0a0d0d0a
	blockInterface  = 1
	blockPacket     = 2 // obsolete
	blockSimple     = 3
	blockStatistics = 5
	blockEnhanced   = 6

	sectionMagic = "\x0a\x0d\x0d\x0a" // the same in both byte orders
	orderMagic   = 0x1a2b3c4d
)

const (
	blockFrame    = 12 // type, length in front and behind
	maxInterfaces = 4096
	// maxBlock is the longest block that is read rather than passed over:
	// the longest packet with some options.
	maxBlock = maxCapture + 4000
)

// ng is the state of a pcapng stream.
type ng struct {
	order      binary.ByteOrder
	interfaces []capture
	last       int64 // time of the last packet, for those without
}

// capture is an interface that packets came from.
type capture struct {
	link layers.LinkType
	snap uint32
	// A time is in units of a second / perSecond, from offset seconds on.
	perSecond uint64
	offset    int64
}

// nextBlock reads one block.
func (r *Reader) nextBlock(sink decode.Sink) error {
	head, err := r.peek(blockFrame)
	if len(head) < blockFrame {
		if len(head) == 0 && errors.Is(err, io.EOF) {
			return io.EOF
		}
		return r.truncated(err, sink)
	}
	g := &r.ng
	if string(head[:4]) == sectionMagic {
		switch uint32(orderMagic) {
		case binary.LittleEndian.Uint32(head[8:]):
			g.order = binary.LittleEndian
		case binary.BigEndian.Uint32(head[8:]):
			g.order = binary.BigEndian
		default:
			if g.order == nil {
				return r.unknown(sink)
			}
			return r.resyncBlock(sink)
		}
		g.interfaces = g.interfaces[:0]
	}
	kind, size := g.order.Uint32(head), g.order.Uint32(head[4:])
	size = (size + 3) &^ 3 // some writers do not count the padding
	ours := kind >= blockInterface && kind <= blockSimple || kind == blockStatistics || kind == blockEnhanced
	isPacket := ours && kind != blockInterface && kind != blockStatistics
	if size > maxBlock || size < blockFrame {
		// Passed over, unless it is longer than any or blocks that hold
		// together lie ahead: then it is the length that is damaged.
		ahead, _ := r.peek(window)
		if size < blockFrame || size > 1<<24 || g.search(ahead, len(ahead)-blockFrame) > 0 {
			return r.resyncBlock(sink)
		}
		if ours {
			r.die(decode.ReasonTooLong, ahead[:min(len(ahead), 4096)], sink)
		}
		if isPacket {
			r.packets++
		}
		if err := r.skip(uint64(size)); err != nil {
			return r.truncated(err, sink)
		}
		return nil
	}
	block, err := r.peek(int(size))
	if len(block) < int(size) {
		if g.search(block, len(block)-blockFrame) > 0 {
			return r.resyncBlock(sink)
		}
		return r.truncated(err, sink)
	}
	if tail := g.order.Uint32(block[size-4:]); (tail+3)&^3 != size {
		return r.resyncBlock(sink)
	}
	if !ours {
		return r.skip(uint64(size)) // names, secrets, what others invented
	}
	body := block[8 : size-4]
	ok := false
	switch kind {
	case blockInterface:
		ok = g.addInterface(body)
	case blockStatistics:
		ok = r.statistics(body, sink)
	default:
		ok = r.packetBlock(kind, body, sink)
	}
	if !ok {
		r.die(decode.ReasonValue, block, sink)
		if isPacket {
			r.packets++
		}
	}
	return r.skip(uint64(size))
}

// addInterface reads an interface description.
func (g *ng) addInterface(body []byte) bool {
	if len(body) < 8 || len(g.interfaces) >= maxInterfaces {
		return false
	}
	c := capture{link: layers.LinkType(g.order.Uint16(body)), snap: g.order.Uint32(body[4:]), perSecond: second}
	sound := true
	g.options(body[8:], func(code uint16, value []byte) {
		switch {
		case code == optionResolution && len(value) >= 1:
			c.perSecond, sound = resolution(value[0])
		case code == optionOffset && len(value) >= 8:
			c.offset = int64(g.order.Uint64(value))
		}
	})
	if sound {
		g.interfaces = append(g.interfaces, c)
	}
	return sound
}

// Options of an interface.
const (
	optionResolution = 9
	optionOffset     = 14
)

// resolution reads if_tsresol: a negative power of ten, or of two.
func resolution(b byte) (perSecond uint64, ok bool) {
	exponent := b & 0x7f
	if b&0x80 != 0 {
		return 1 << exponent, exponent < 64
	}
	perSecond = 1
	for range exponent {
		perSecond *= 10
	}
	return perSecond, exponent < 20
}

// options calls each for every option at data.
func (g *ng) options(data []byte, each func(code uint16, value []byte)) {
	for len(data) >= 4 {
		code, n := g.order.Uint16(data), int(g.order.Uint16(data[2:]))
		if data = data[4:]; code == 0 || n > len(data) {
			return
		}
		each(code, data[:n])
		data = data[min((n+3)&^3, len(data)):]
	}
}

// maxTime is the year 9999 in seconds, and beyond any packet.
const maxTime = 253_402_300_800

// time converts a time of the interface to microseconds.
func (c *capture) time(high, low uint32) (ts int64, ok bool) {
	units := uint64(high)<<32 | uint64(low)
	sec := units / c.perSecond
	// units%perSecond < perSecond, so that the quotient is below a second.
	hi, lo := bits.Mul64(units%c.perSecond, second)
	micros, _ := bits.Div64(hi, lo, c.perSecond)
	if sec > maxTime || c.offset > maxTime || c.offset < -maxTime {
		return 0, false
	}
	ts = (int64(sec)+c.offset)*second + int64(micros)
	return ts, ts >= 0
}

// packetBlock reads a packet of any of the three kinds of block.
func (r *Reader) packetBlock(kind uint32, body []byte, sink decode.Sink) bool {
	g := &r.ng
	var (
		id, captured, length uint32
		data                 []byte
	)
	switch {
	case kind == blockSimple && len(body) >= 4:
		length, data = g.order.Uint32(body), body[4:]
		captured = min(length, uint32(len(data)))
	case kind != blockSimple && len(body) >= 20:
		id = g.order.Uint32(body)
		if kind == blockPacket {
			id = uint32(g.order.Uint16(body)) // and a count of drops
		}
		captured, length, data = g.order.Uint32(body[12:]), g.order.Uint32(body[16:]), body[20:]
	default:
		return false
	}
	if int(captured) > len(data) || int(id) >= len(g.interfaces) || length > 1<<30 {
		return false
	}
	c := &g.interfaces[id]
	ts := g.last
	if kind == blockSimple {
		if c.snap > 0 {
			captured = min(captured, c.snap)
		}
	} else {
		var ok bool
		if ts, ok = c.time(g.order.Uint32(body[4:]), g.order.Uint32(body[8:])); !ok {
			return false
		}
	}
	g.last = ts
	r.tracker.Packet(ts, c.link, data[:captured], int(length), r.count(r.consumed), sink)
	return true
}

// Options of interface statistics.
const (
	optionReceived  = 4
	optionDropped   = 5
	optionOSDropped = 7
)

// statistics emits what the capturing system says about its losses.
func (r *Reader) statistics(body []byte, sink decode.Sink) bool {
	g := &r.ng
	if len(body) < 12 {
		return false
	}
	id := g.order.Uint32(body)
	if int(id) >= len(g.interfaces) {
		return false
	}
	ts, ok := g.interfaces[id].time(g.order.Uint32(body[4:]), g.order.Uint32(body[8:]))
	if !ok {
		return false
	}
	var received, dropped, system event.Count
	g.options(body[12:], func(code uint16, value []byte) {
		if len(value) < 8 {
			return
		}
		n := event.N(g.order.Uint64(value))
		switch code {
		case optionReceived:
			received = n
		case optionDropped:
			dropped = n
		case optionOSDropped:
			system = n
		}
	})
	if !received.Known() && !dropped.Known() && !system.Known() {
		return true
	}
	if system.Known() {
		dropped = event.N(dropped.Or(0) + system.Or(0))
	}
	r.tracker.Health(ts, event.Origin{Name: r.name, Offset: event.N(r.consumed)}, received, dropped, sink)
	return true
}

// search returns where in ahead, up to limit but not at its beginning, a
// packet or section begins, by what its frame says; 0 for nowhere.
func (g *ng) search(ahead []byte, limit int) int {
	for at := 1; at <= limit; at++ {
		if g.plausible(ahead[at:]) {
			return at
		}
	}
	return 0
}

// resyncBlock reports damage, once, and passes over it to where blocks go on.
func (r *Reader) resyncBlock(sink decode.Sink) error {
	raw, _ := r.peek(4096)
	r.die(decode.ReasonValue, raw, sink)
	for {
		ahead, err := r.peek(window)
		limit := len(ahead) - blockFrame
		if err == nil {
			limit = window - maxBlock
		}
		skip := limit
		if at := r.ng.search(ahead, limit); at > 0 {
			return r.skip(uint64(at))
		} else if err != nil {
			skip = len(ahead)
		}
		if skipped := r.skip(uint64(skip)); skipped != nil {
			return r.end(skipped)
		}
		if err != nil {
			return r.end(err)
		}
	}
}

// plausible reports whether a block that can be read begins with data: one
// whose two lengths agree.
func (g *ng) plausible(data []byte) bool {
	order := g.order
	if string(data[:4]) == sectionMagic {
		switch uint32(orderMagic) {
		case binary.LittleEndian.Uint32(data[8:]):
			order = binary.LittleEndian
		case binary.BigEndian.Uint32(data[8:]):
			order = binary.BigEndian
		default:
			return false
		}
	} else if order.Uint32(data) != blockEnhanced {
		return false
	}
	size := order.Uint32(data[4:])
	return size >= 28 && size%4 == 0 && int64(size) <= int64(len(data)) && order.Uint32(data[size-4:]) == size
}
