package packet

import (
	"encoding/binary"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
)

// Ports on which DNS is read.
const (
	portDNS   = 53
	portMDNS  = 5353
	portLLMNR = 5355
)

func (t *Tracker) udp(p *packet, sink decode.Sink) bool {
	h := p.payload
	if len(h) < 8 {
		return false
	}
	from, to := binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])
	size := p.size - 8
	// The length of the header may be shorter than the packet; it is 0 in a
	// jumbogram and under segmentation offload.
	if n := int(binary.BigEndian.Uint16(h[4:])); n >= 8 {
		size = min(size, n-8)
	}
	data := h[8:]
	data = data[:min(len(data), size)]
	k, sender := tupleOf(p, from, to)
	f := t.find(&k)
	dns := isDNSPort(from) || isDNSPort(to)
	if f == nil {
		orig := sender
		if dns && isDNSPort(from) && !isDNSPort(to) && len(data) > 2 && data[2]&0x80 != 0 {
			orig ^= 1 // the reply to a question that was not seen
		}
		f = t.open(&k, orig, p, sink)
	}
	d := sender ^ f.orig
	t.touch(f, d, p)
	f.dir[d].bytes += uint64(size)
	if size > 0 && (!dns || !t.dnsMessage(f, sender, data, size, p, sink)) {
		t.quic(f, d, data, size, p, sink)
	}
	t.settle(f)
	t.progress(f, sink)
	return true
}

func isDNSPort(n uint16) bool { return n == portDNS || n == portMDNS || n == portLLMNR }

// onDNSPort reports whether one end of a flow is the DNS port itself.
func (f *flow) onDNSPort() bool { return f.tuple.port[0] == portDNS || f.tuple.port[1] == portDNS }
