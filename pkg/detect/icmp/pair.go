package icmp

import (
	"net/netip"

	"github.com/cespare/xxhash/v2"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/sketch"
)

// Bounds of a side's samples.
const (
	maxContents = 256
	maxLengths  = 128
	// manyLengths is how many contents of a length of their own are taken for
	// probes of the path's MTU.
	manyLengths = 64
)

// longQuote is from how many bytes the quotation of an error is long: scans and
// traces are shorter.
const longQuote = 128

// The sides of a pair.
const (
	out = 0 // sent by the monitored address
	in  = 1 // by the peer
)

// pair is what is known of one peer in one hour, from one observer.
type pair struct {
	peer        netip.Addr
	first, last int64
	side        [2]side
	altered     uint64 // replies that answer a request with other data
	unasked     uint64 // replies without a request
	unused      uint64 // messages of types that no host sends
	// blind is up to when requests were forgotten before their time.
	blind int64
	flow  flow
	// quotes are the errors that the monitored address sent with more data
	// than the usual quotation, explained says that other traffic with the
	// peer was seen that they may quote.
	quotes    side
	explained bool

	points    levels // as last judged
	best      int
	emissions uint32
	evidence  []signal.Evidence
	picked    uint64 // messages at the last piece of evidence
}

// side is what one side of a pair sent.
type side struct {
	messages uint64
	bytes    uint64
	hashed   uint64 // messages with content
	contents sketch.Sample[content]
	lengths  sketch.Sample[content]
	// contentBytes and lengthBytes sum over the samples.
	contentBytes, lengthBytes uint64
	asked                     []asked
	requests                  uint64
	again                     uint64 // requests under an id and number just used
	fresh                     uint64 // requests with a new id
}

// content is one distinct content, or one distinct length.
type content struct {
	hash  uint64
	bytes uint32
}

// Key implements sketch.Hashed.
func (c content) Key() uint64 { return c.hash }

// note enters a message and reports whether its content is new.
func (s *side) note(m *event.ICMP) (fresh bool) {
	n := m.Bytes.Or(0)
	s.messages++
	s.bytes += n
	hash, known := m.Content.Get()
	if !known {
		hash, known = m.Hash.Get()
	}
	if !known || n == 0 {
		return false
	}
	s.hashed++
	fresh = enter(&s.contents, &s.contentBytes, content{sketch.Key(hash), uint32(min(n, 1<<16))}, maxContents)
	if fresh {
		length := [2]byte{byte(n), byte(n >> 8)}
		enter(&s.lengths, &s.lengthBytes, content{sketch.Key(xxhash.Sum64(length[:])), uint32(min(n, 1<<16))}, maxLengths)
	}
	return fresh
}

// enter adds an entry that is not there.
func enter(s *sketch.Sample[content], sum *uint64, c content, limit int) bool {
	if !s.Holds(c.hash) || s.Find(c.hash) != nil {
		return false
	}
	if s.Add(c, limit) {
		*sum += uint64(c.bytes)
		return true
	}
	*sum = sumOf(s)
	return true
}

func sumOf(s *sketch.Sample[content]) (sum uint64) {
	for c := range s.All {
		sum += uint64(c.bytes)
	}
	return sum
}

// changing counts the distinct contents and their bytes, without one of each
// length: probes of the path's MTU send the same at many lengths.
func (s *side) changing() (contents, bytes uint64) {
	contents, bytes = s.contents.Scale(uint64(s.contents.Len())), s.contents.Scale(s.contentBytes)
	lengths := s.lengths.Scale(uint64(s.lengths.Len()))
	if lengths == 0 {
		return 0, 0
	}
	excused := min(lengths, manyLengths)
	lost := s.lengths.Scale(s.lengthBytes) * excused / lengths
	// An estimate may be above what was sent.
	contents, bytes = min(contents, s.hashed), min(bytes, s.bytes)
	return contents - min(contents, excused), bytes - min(bytes, lost)
}

// flow sums records of connections and flows, stitched.
type flow struct {
	records        uint64
	bytes, packets [2]uint64 // payload where the source has it
	layer          string
	start, end     int64 // of the present run
	longest        int64
	exceeds        bool // a record in which the replies outweigh the requests
}

// stitch is how far apart records of one run may be: the longest aggregation
// interval of flow logs.
const stitch = 600 * second

// span enters the time of a record.
func (f *flow) span(start, end int64) {
	if f.records == 0 || start > f.end+stitch || end < f.start-stitch {
		f.start, f.end = start, end
	} else {
		f.start, f.end = min(f.start, start), max(f.end, end)
	}
	f.longest = max(f.longest, f.end-f.start)
	f.records++
}

// mean is the payload of a packet of one side.
func (f *flow) mean(side int) float64 {
	if f.packets[side] == 0 {
		return 0
	}
	return float64(f.bytes[side]) / float64(f.packets[side])
}

// packet enters one message. began is when the observer's view began.
func (p *pair) packet(e *event.Event, side int, v6 bool, began int64) {
	m := &e.ICMP
	s, other := &p.side[side], &p.side[1-side]
	kind := classOf(v6, side == out, m.Type.Or(0), m.Code.Or(0), m.Bytes.Or(0))
	switch kind {
	case control:
		return
	case quote:
		// What it quotes is the peer's own, if the peer sent anything.
		if side == out && m.Bytes.Or(0) >= longQuote {
			p.quotes.note(m)
		}
		return
	case request, reply, unused:
	}
	fresh := s.note(m)
	switch kind {
	case unused:
		p.unused++
	case request:
		again, isNew, lost := s.ask(m, e.Time)
		s.requests++
		if again {
			s.again++
		}
		if isNew {
			s.fresh++
		}
		if lost {
			p.blind = e.Time
		}
	case reply:
		switch other.answer(m) {
		case altered:
			p.altered++
		case shortened:
			// Servers that cut long echoes (8.8.8.8) send the same again and again.
			if fresh {
				p.altered++
			}
		case unasked:
			// Where requests are not seen at all, replies tell by their content.
			asks := other.requests > 0 || fresh && s.contents.Len() > 1
			if asks && e.Time-began > 2*second && (p.blind == 0 || e.Time-p.blind > replyTime) {
				p.unasked++
			}
		case mirrored:
		}
	case control, quote:
	}
}

// record enters a record of a connection or flow.
func (p *pair) record(e *event.Event, c detect.Counters, side int) {
	start := e.Time
	if e.Start != 0 && e.Start < e.Time {
		start = e.Start
	}
	f := &p.flow
	f.span(start, e.Time)
	f.layer = event.LayerPayload
	header := uint64(0)
	if e.Network.Layer == event.LayerIP {
		f.layer = event.LayerIP
		header = 28 // of IPv4 and ICMP
	}
	for i := range 2 {
		n := c.Bytes[i]
		f.packets[side^i] += c.Packets[i]
		f.bytes[side^i] += n - min(n, header*c.Packets[i])
	}
	if e.Kind == event.KindConn && !e.Conn.Open {
		o, r := &e.Source, &e.Destination
		ob, rb, op, rp := o.Bytes.Or(0), r.Bytes.Or(0), o.Packets.Or(0), r.Packets.Or(0)
		// What echoes cannot do: more or larger replies than requests.
		f.exceeds = f.exceeds || op >= 8 && (20*rb > 21*ob+20*4096 || 20*rp > 21*op+20*8)
	}
}
