package packet

import (
	"encoding/binary"
	"net/netip"
)

// question is one entry of the question section. name is in wire form, lower
// case and without compression: each label with its length, the last of
// length 0.
type question struct {
	name []byte
	typ  uint16
}

// message is a DNS message (RFC 1035 §4.1), as far as events need it. It is
// reused; parse resets it.
type message struct {
	id        uint16
	response  bool
	rcode     uint8
	questions []question
	names     []byte // backs the names of the questions
	answers   int
	dataBytes int
	minTTL    uint32
	addresses []netip.Addr
	// whole is false where the answers were cut off or are damaged: then
	// answers is what the header says, and the rest is not known.
	whole bool
}

// validity is the outcome of parse.
type validity uint8

const (
	isDNS validity = iota
	notDNS
	cutDNS // too little was captured to tell
)

const (
	dnsHeader   = 12
	minQuestion = 5  // root name, type, class
	minRecord   = 11 // root name, type, class, TTL, length
	maxName     = 255
)

// Flags of the second and third byte of a message.
const (
	flagResponse  = 0x8000
	flagTruncated = 0x0200
)

// plausibleHeader reports whether a message of size bytes can begin with this
// header. It keeps other protocols apart whose first bytes happen to look like
// a DNS message.
func plausibleHeader(h []byte, size int) bool {
	flags := binary.BigEndian.Uint16(h[2:])
	switch flags >> 11 & 15 {
	case 0, 1, 2, 4, 5, 6: // QUERY, IQUERY, STATUS, NOTIFY, UPDATE, DSO
	default:
		return false
	}
	qd, rr := int(binary.BigEndian.Uint16(h[4:])), 0
	for at := 6; at < dnsHeader; at += 2 {
		rr += int(binary.BigEndian.Uint16(h[at:]))
	}
	least := dnsHeader + qd*minQuestion
	if flags&flagTruncated == 0 {
		// A truncated message may announce more than it holds.
		least += rr * minRecord
	}
	if flags&flagResponse == 0 && flags>>11&15 == 0 && qd+rr == 0 {
		return false // asks nothing
	}
	return least <= size
}

// parse reads what was captured of a message of size bytes.
func (m *message) parse(data []byte, size int) validity {
	m.questions, m.names, m.addresses = m.questions[:0], m.names[:0], m.addresses[:0]
	m.answers, m.dataBytes, m.minTTL, m.whole = 0, 0, 0, false
	if size < dnsHeader {
		return notDNS
	}
	if len(data) < dnsHeader {
		return cutDNS
	}
	if !plausibleHeader(data, size) {
		return notDNS
	}
	failed := notDNS
	if len(data) < size {
		failed = cutDNS
	}
	flags := binary.BigEndian.Uint16(data[2:])
	m.id, m.response, m.rcode = binary.BigEndian.Uint16(data), flags&flagResponse != 0, uint8(flags&15)
	at := dnsHeader
	for range binary.BigEndian.Uint16(data[4:]) {
		begin := len(m.names)
		var ok bool
		if m.names, at, ok = appendName(m.names, data, at); !ok || at+4 > len(data) {
			return failed
		}
		if len(m.questions) < maxQuestions {
			m.questions = append(m.questions, question{m.names[begin:len(m.names):len(m.names)], binary.BigEndian.Uint16(data[at:])})
		} else {
			m.names = m.names[:begin]
		}
		at += 4
	}
	return m.answerSection(data, at, int(binary.BigEndian.Uint16(data[6:])), failed)
}

// answerSection reads count records at data[at:]. A message of which not even
// the first holds together is none; later damage is put up with.
func (m *message) answerSection(data []byte, at, count int, failed validity) validity {
	for i := range count {
		at = skipName(data, at)
		if at < 0 || at+10 > len(data) {
			return m.damaged(i, count, failed)
		}
		typ, ttl := binary.BigEndian.Uint16(data[at:]), binary.BigEndian.Uint32(data[at+4:])
		n := int(binary.BigEndian.Uint16(data[at+8:]))
		at += 10
		if at+n > len(data) {
			return m.damaged(i, count, failed)
		}
		rdata := data[at : at+n]
		at += n
		if i == 0 || ttl < m.minTTL {
			m.minTTL = ttl
		}
		m.answers++
		switch {
		case typ == typeA && n == 4:
			m.address(netip.AddrFrom4([4]byte(rdata)))
		case typ == typeAAAA && n == 16:
			m.address(netip.AddrFrom16([16]byte(rdata)))
		default:
			m.dataBytes += n
		}
	}
	m.whole = true
	return isDNS
}

func (m *message) address(a netip.Addr) {
	if len(m.addresses) < maxAddresses {
		m.addresses = append(m.addresses, a)
	}
}

// damaged ends the answers before record i of count.
func (m *message) damaged(i, count int, failed validity) validity {
	if i == 0 && failed == notDNS && len(m.questions) == 0 {
		return notDNS
	}
	m.answers = count
	return isDNS
}

// appendName appends the name at msg[at:] in the form of question.name and
// returns where the next field begins. Pointers must lead backwards, as they
// do by RFC 1035 §4.1.4, so that none leads in a circle.
func appendName(dst, msg []byte, at int) (name []byte, next int, ok bool) {
	begin, floor := len(dst), at
	for {
		if at >= len(msg) {
			return dst, 0, false
		}
		n := int(msg[at])
		switch {
		case n == 0:
			if next == 0 {
				next = at + 1
			}
			return append(dst, 0), next, true
		case n < 0x40:
			if at+1+n > len(msg) || len(dst)-begin+1+n >= maxName {
				return dst, 0, false
			}
			dst = append(dst, byte(n))
			for _, c := range msg[at+1 : at+1+n] {
				if c-'A' <= 'Z'-'A' {
					c += 'a' - 'A'
				}
				dst = append(dst, c)
			}
			at += 1 + n
		case n >= 0xc0:
			if at+1 >= len(msg) {
				return dst, 0, false
			}
			if next == 0 {
				next = at + 2
			}
			at = (n&0x3f)<<8 | int(msg[at+1])
			if at >= floor {
				return dst, 0, false
			}
			floor = at
		default:
			return dst, 0, false
		}
	}
}

// skipName returns where the field after the name at msg[at:] begins, or -1.
func skipName(msg []byte, at int) int {
	for at < len(msg) {
		switch n := int(msg[at]); {
		case n == 0:
			return at + 1
		case n < 0x40:
			at += 1 + n
		case n >= 0xc0:
			return at + 2
		default:
			return -1
		}
	}
	return -1
}
