package packet

import (
	"encoding/binary"

	"github.com/gopacket/gopacket/layers"
)

// Link types that gopacket's list does not name.
const (
	linkRawBSD  layers.LinkType = 12 // raw IP, as some systems write their own number
	linkRawOBSD layers.LinkType = 14
)

// verdict is what lies behind a link header.
type verdict uint8

const (
	isIP verdict = iota
	isOther
	isShort
	isUnknown
)

// Ethernet types.
const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	etherVLAN = 0x8100
	etherQinQ = 0x88a8
	etherOld  = 0x9100 // QinQ before it was a standard
)

const maxTags = 4

// network finds where the IP header begins.
func network(link layers.LinkType, data []byte) (from int, v verdict) {
	switch link {
	case layers.LinkTypeEthernet:
		return ether(data, 12)
	case layers.LinkTypeLinuxSLL:
		return ether(data, 14)
	case layers.LinkTypeLinuxSLL2:
		// The type stands in front; what follows the header may be tagged.
		if len(data) < 20 {
			return 0, isShort
		}
		switch binary.BigEndian.Uint16(data) {
		case etherIPv4, etherIPv6:
			return 20, isIP
		case etherVLAN, etherQinQ, etherOld:
			return ether(data, 22)
		}
		return 0, isOther
	case layers.LinkTypeRaw, layers.LinkTypeIPv4, layers.LinkTypeIPv6, linkRawBSD, linkRawOBSD:
		return bare(data, 0)
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		// The number of the address family differs between systems; the
		// version of the IP header does not.
		return bare(data, 4)
	default:
		return 0, isUnknown
	}
}

// ether reads the Ethernet type at data[at:], behind VLAN tags.
func ether(data []byte, at int) (int, verdict) {
	for range maxTags + 1 {
		if len(data) < at+2 {
			return 0, isShort
		}
		switch kind := binary.BigEndian.Uint16(data[at:]); kind {
		case etherIPv4, etherIPv6:
			return at + 2, isIP
		case etherVLAN, etherQinQ, etherOld:
			at += 4
		default:
			// A length instead of a type, and SNAP behind it.
			if kind <= 1500 && len(data) >= at+10 && [6]byte(data[at+2:]) == [6]byte{0xaa, 0xaa, 3} {
				switch binary.BigEndian.Uint16(data[at+8:]) {
				case etherIPv4, etherIPv6:
					return at + 10, isIP
				}
			}
			return 0, isOther
		}
	}
	return 0, isOther
}

// bare is IP without a type in front of it.
func bare(data []byte, at int) (int, verdict) {
	if len(data) <= at {
		return 0, isShort
	}
	if v := data[at] >> 4; v != 4 && v != 6 {
		return 0, isOther
	}
	return at, isIP
}
