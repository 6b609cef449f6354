package packet

import "encoding/binary"

// piece is what an IP header says about fragmentation.
type piece struct {
	is   bool // a fragment
	id   uint32
	off  int
	more bool
}

// header takes the IP headers off data and fills in addresses, protocol and
// payload. length is what the packet had on the wire behind its link header;
// it bounds what the IP header claims. False: not sound, or captured too short.
func (p *packet) header(data []byte, length int) (piece, bool) {
	if len(data) == 0 {
		return piece{}, false
	}
	switch data[0] >> 4 {
	case 4:
		return p.header4(data, length)
	case 6:
		return p.header6(data, length)
	}
	return piece{}, false
}

func (p *packet) header4(data []byte, length int) (frag piece, ok bool) {
	if len(data) < 20 {
		return frag, false
	}
	head := int(data[0]&15) * 4
	total := int(binary.BigEndian.Uint16(data[2:]))
	if total == 0 {
		total = length // segmentation offload: the card had not split it yet
	}
	total = min(total, length)
	if head < 20 || head > total {
		return frag, false
	}
	flags := binary.BigEndian.Uint16(data[6:])
	frag.off = int(flags&0x1fff) * 8
	frag.more = flags&0x2000 != 0
	frag.is = frag.more || frag.off > 0
	frag.id = uint32(binary.BigEndian.Uint16(data[4:]))
	p.proto = data[9]
	copy(p.src[:4], data[12:])
	copy(p.dst[:4], data[16:])
	p.ipBytes, p.size = total, total-head
	p.payload = data[min(head, len(data)):min(total, len(data))]
	return frag, true
}

// Extension headers of IPv6.
const (
	extHop      = 0
	extRouting  = 43
	extFragment = 44
	extAuth     = 51
	extDest     = 60
	extMobility = 135
	extHIP      = 139
	extShim6    = 140

	maxExtensions = 12
)

func (p *packet) header6(data []byte, length int) (frag piece, ok bool) {
	if len(data) < 40 {
		return frag, false
	}
	total := 40 + int(binary.BigEndian.Uint16(data[4:]))
	if total == 40 {
		total = length // a jumbogram, or segmentation offload
	}
	total = min(total, length)
	if total < 40 {
		return frag, false
	}
	p.v6 = true
	copy(p.src[:], data[8:])
	copy(p.dst[:], data[24:])
	p.ipBytes = total
	next, at := data[6], 40
	for range maxExtensions {
		size := 0
		switch next {
		case extHop, extRouting, extDest, extMobility, extHIP, extShim6:
			if len(data) >= at+8 {
				size = 8 + int(data[at+1])*8
			}
		case extAuth:
			if len(data) >= at+8 {
				size = 8 + int(data[at+1])*4
			}
		case extFragment:
			if len(data) >= at+8 {
				size = 8
				word := binary.BigEndian.Uint16(data[at+2:])
				frag = piece{off: int(word &^ 7), more: word&1 != 0, id: binary.BigEndian.Uint32(data[at+4:])}
				// An "atomic" fragment is a whole datagram (RFC 6946).
				frag.is = frag.off > 0 || frag.more
			}
		default:
			p.proto, p.size = next, total-at
			p.payload = data[min(at, len(data)):min(total, len(data))]
			return frag, true
		}
		if size == 0 || at+size > total {
			return frag, false
		}
		next = data[at]
		at += size
		if frag.is {
			// What follows belongs to the datagram as a whole.
			p.proto, p.size = next, total-at
			p.payload = data[min(at, len(data)):min(total, len(data))]
			return frag, true
		}
	}
	return frag, false
}

// unwrap takes the extension headers off a datagram that was put together.
func (p *packet) unwrap() bool {
	for range maxExtensions {
		size := 0
		switch p.proto {
		case extHop, extRouting, extDest, extMobility, extHIP, extShim6:
			if len(p.payload) >= 8 {
				size = 8 + int(p.payload[1])*8
			}
		case extAuth:
			if len(p.payload) >= 8 {
				size = 8 + int(p.payload[1])*4
			}
		default:
			return true
		}
		if size == 0 || size > len(p.payload) {
			return false
		}
		p.proto = p.payload[0]
		p.payload, p.size = p.payload[size:], p.size-size
	}
	return false
}
