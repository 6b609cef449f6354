package icmp

import "github.com/ebbwatch/ebbwatch/pkg/event"

// class is what a type of message is used for.
type class uint8

const (
	request class = iota // a question that the peer mirrors or answers
	reply
	control // neighbours and the like: nothing is judged
	quote   // an error, which quotes a packet of the peer
	unused  // nothing that a host sends, or more data than its format has
)

// classOf classifies a message between a host of the site and one outside
// (IANA, "ICMP Type Numbers", "ICMPv6 type Numbers"). n is the length of the
// data behind the first eight bytes; sent says that the site's host sent it.
func classOf(v6, sent bool, typ, code, n uint64) class {
	if v6 {
		return classOf6(sent, typ, n)
	}
	switch typ {
	case 8:
		return request
	case 0:
		return reply
	case 3:
		if code == 4 {
			return control // fragmentation needed: gateways tell senders of large packets
		}
		return quote
	case 11:
		return quote
	case 4, 5, 9, 12:
		// Quench is gone (RFC 6633), redirects and advertisements are for
		// one's own link, and nobody mends the packets of others.
		return outward(sent, n)
	case 13, 14: // timestamps: three times of four bytes
		return fixed(n, 12, typ == 13)
	case 15, 16: // information
		return fixed(n, 0, typ == 15)
	case 17, 18: // address mask
		return fixed(n, 4, typ == 17)
	case 40, 42, 43: // security failures, extended echo
		return control
	}
	return empty(n)
}

func classOf6(sent bool, typ, n uint64) class {
	switch {
	case typ == 128:
		return request
	case typ == 129:
		return reply
	case typ == 1, typ == 3: // unreachable, time exceeded
		return quote
	case typ == 2: // packet too big
		return control
	case typ >= 133 && typ <= 137: // neighbours: one's own link only
		return outward(sent, n)
	case typ == 4, typ >= 130 && typ <= 161: // listeners, mobility, routing
		return control
	}
	return empty(n)
}

// outward is a message that stays on the link, or that nobody sends: from
// outside it is noise.
func outward(sent bool, n uint64) class {
	if sent && n > 0 {
		return unused
	}
	return control
}

// fixed is a message whose format has so much data.
func fixed(n, most uint64, asks bool) class {
	switch {
	case n > most:
		return unused
	case asks:
		return request
	}
	return reply
}

// empty is a message of a type that hosts do not send. Without data it is a
// probe.
func empty(n uint64) class {
	if n == 0 {
		return control
	}
	return unused
}

// asked is a request that a reply may mirror.
type asked struct {
	key    uint32 // id and sequence number
	bytes  uint32
	hash   uint64
	t      int64
	hashed bool
}

func keyOf(m *event.ICMP) uint32 { return uint32(m.ID.Or(0))<<16 | uint32(m.Sequence.Or(0))&0xffff }

const (
	second = int64(1_000_000)

	// The requests that are kept: the last ones, and all that a reply may
	// still come for.
	fewAsked  = 64
	maxAsked  = 512
	replyTime = 30 * second

	// sameMessage is within what time the same message is a second copy of
	// one, from a sensor that sees both sides of a switch.
	sameMessage = second / 10
)

// ask notes a request and reports whether its id and sequence number have just
// been used, and whether its id is new. lost says that requests were forgotten
// that a reply may come for.
func (s *side) ask(m *event.ICMP, t int64) (again, fresh, lost bool) {
	a := asked{key: keyOf(m), bytes: uint32(m.Bytes.Or(0)), t: t}
	a.hash, a.hashed = m.Hash.Get()
	fresh = true
	for i := len(s.asked) - 1; i >= 0; i-- {
		o := &s.asked[i]
		fresh = fresh && o.key>>16 != a.key>>16
		if o.key != a.key {
			continue
		}
		if o.hash == a.hash && o.hashed == a.hashed && t-o.t < sameMessage {
			return false, false, false
		}
		again = true
		break
	}
	n := 0
	for len(s.asked)-n >= fewAsked && s.asked[n].t < t-replyTime {
		n++
	}
	if len(s.asked)-n >= maxAsked {
		n = max(n, len(s.asked)/4)
		lost = true
	}
	if n > 0 {
		s.asked = append(s.asked[:0], s.asked[n:]...)
	}
	s.asked = append(s.asked, a)
	return again, fresh, lost
}

// mirror is how a reply relates to the requests.
type mirror uint8

const (
	mirrored  mirror = iota
	altered          // it answers a request with other data
	shortened        // with other and less data
	unasked
)

// answer looks for the request that a reply answers.
func (s *side) answer(m *event.ICMP) mirror {
	key := keyOf(m)
	hash, hashed := m.Hash.Get()
	best := unasked
	for i := len(s.asked) - 1; i >= 0; i-- {
		o := &s.asked[i]
		switch {
		case o.key != key:
		case !hashed || !o.hashed || o.hash == hash:
			return mirrored
		case uint64(o.bytes) > m.Bytes.Or(0):
			best = min(best, shortened)
		default:
			best = min(best, altered)
		}
	}
	return best
}
