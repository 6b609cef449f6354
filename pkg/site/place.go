package site

import (
	"net/netip"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// MirrorBytes is from how many bytes an internal transfer is told to its peer
// as well (DESIGN §1).
const MirrorBytes = 1 << 20

// Placement says under which keys an event belongs into its topic.
type Placement struct {
	Key []byte
	// Mirror is the key of the mirror copy; empty when there is none.
	Mirror []byte
}

// Place fills in the realm of an event whose source has none of its own, and the
// direction of a network event, and returns its keys, appended to the slices of p
// (DESIGN §1, "the monitored address"). An event without any usable key gets the
// sensor's name.
func (s *Site) Place(e *event.Event, p *Placement) {
	if e.Observer.Realm == "" {
		e.Observer.Realm = s.Realm(e.Flow.VPC, e.Observer.Name)
	}
	p.Key, p.Mirror = p.Key[:0], p.Mirror[:0]
	realm := e.Observer.Realm
	switch e.Kind.Plane() {
	case event.PlaneHost:
		p.Key = pair(p.Key, realm, e.Host.Name)
	case event.PlaneCloud:
		p.Key = append(p.Key, e.User.ID...)
		if len(p.Key) == 0 {
			p.Key = append(p.Key, e.Cloud.Account...)
		}
	default:
		s.placeNetwork(e, p, realm)
	}
	if len(p.Key) == 0 {
		p.Key = append(append(p.Key, "sensor|"...), e.Observer.Name...)
	}
}

func (s *Site) placeNetwork(e *event.Event, p *Placement, realm string) {
	src, dst := e.Source.IP, e.Destination.IP
	if !src.IsValid() && !dst.IsValid() {
		return
	}
	in, out := s.Internal(src), s.Internal(dst)
	monitored, peer := src, dst
	switch {
	case in && out:
		e.Network.Direction = event.Internal
	case in:
		e.Network.Direction = event.Outbound
	case out:
		e.Network.Direction = event.Inbound
		monitored, peer = dst, src
	default:
		e.Network.Direction = event.External
		if dst.IsValid() && (!src.IsValid() || dst.Less(src)) {
			monitored, peer = dst, src
		}
	}
	// A question belongs to the client that asked it, wherever it asked. The
	// decoder makes the client the source.
	if e.Kind == event.KindDNS && src.IsValid() {
		monitored, peer = src, dst
	}
	p.Key = s.address(p.Key, realm, monitored, peer, e.Time)
	if in && out && e.Kind != event.KindDNS && mirrored(e) {
		p.Mirror = s.address(p.Mirror, realm, peer, monitored, e.Time)
	}
}

// mirrored reports whether an internal transfer is large enough for a copy.
func mirrored(e *event.Event) bool {
	size := max(e.Source.Bytes.Or(0), e.Destination.Bytes.Or(0))
	if e.Kind == event.KindTransfer {
		size = e.File.Size.Or(0)
	}
	return size >= MirrorBytes
}

// address appends realm|address, and the peer where the address stands for
// many clients.
func (s *Site) address(dst []byte, realm string, a, peer netip.Addr, at int64) []byte {
	dst = AppendAddressKey(dst, realm, a)
	if peer.IsValid() && s.Aggregator(a, at) {
		dst = append(dst, '|')
		dst = peer.Unmap().AppendTo(dst)
	}
	return dst
}

// AppendAddressKey appends the record key of an address.
func AppendAddressKey(dst []byte, realm string, a netip.Addr) []byte {
	return a.Unmap().AppendTo(append(append(dst, realm...), '|'))
}

func pair(dst []byte, realm, name string) []byte {
	if name == "" {
		return dst
	}
	return append(append(append(dst, realm...), '|'), name...)
}
