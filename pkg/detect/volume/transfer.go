package volume

import (
	"net/netip"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// transfer is what one event says about data between an internal address and
// an external one.
type transfer struct {
	src, dst netip.Addr // internal, external
	// port is that of the side which serves.
	port    uint16
	channel channel
	up      uint64 // bytes from src to dst
	down    uint64 // bytes from dst to src
	out, in uint32 // records of that direction: one each of a connection
	start   int64
	time    int64
	id      uint64 // of the connection; 0 for flow records
	open    bool   // a snapshot: counters so far
	layer   layer
	// estimated says that bytes were taken from IP bytes less headers.
	estimated bool
}

type layer uint8

const (
	onPayload layer = iota
	onIP
)

func (l layer) String() string {
	if l == onIP {
		return event.LayerIP
	}
	return event.LayerPayload
}

// measure reads an event and reports whether it counts: data between inside
// and outside that was not an answer of one of our own services.
func measure(e *event.Event, t *transfer) bool {
	*t = transfer{time: e.Time, start: e.Time}
	if e.Start > 0 && e.Start < e.Time {
		t.start = e.Start
	}
	if e.Kind == event.KindFlow {
		return t.flow(e) && t.dst.IsValid()
	}
	return t.conn(e) && t.dst.IsValid()
}

// conn reads a connection with both directions (formats.md §3.3). The internal
// side sends outwards whether it called or was called; only what a service of
// ours answers is no transfer.
func (t *transfer) conn(e *event.Event) bool {
	ours, theirs := &e.Source, &e.Destination
	port := e.Destination.Port.Or(0)
	switch e.Network.Direction {
	case event.Outbound:
	case event.Inbound:
		if service(port) {
			return false
		}
		ours, theirs = theirs, ours
	default:
		return false
	}
	if e.Network.Transport == "tcp" && noData(e.Conn.State) {
		return false
	}
	up, upKnown := t.payload(e, ours)
	down, downKnown := t.payload(e, theirs)
	if !upKnown && !downKnown {
		return false
	}
	t.src, t.dst, t.port = ours.IP.Unmap(), theirs.IP.Unmap(), uint16(port)
	t.up, t.down, t.out, t.in = up, down, 1, 1
	t.channel = channelOf(e, t.port)
	t.open = e.Conn.Open
	if e.ID != "" {
		t.id = connID(e.ID)
	}
	if e.Network.Layer == event.LayerIP {
		t.layer = onIP
	}
	return true
}

// connID is never 0.
func connID(id string) uint64 { return max(xxhash.Sum64String(id), 1) }

// noData tells the states of TCP connections over which no data went.
func noData(state string) bool {
	switch state {
	case "S0", "REJ", "SH", "SHR", "RSTOS0", "RSTRH":
		return true
	}
	return false
}

// payload returns the payload bytes that one side sent. Zeek takes them from
// TCP sequence numbers, so a stray number makes gigabytes of a few packets:
// where the packets and what the sensor missed cannot have carried them, or
// where they are absent, they are taken from the IP bytes less headers.
func (t *transfer) payload(e *event.Event, side *event.Endpoint) (n uint64, known bool) {
	n, known = side.Bytes.Get()
	ip, onIP := side.IPBytes.Get()
	if e.Network.Layer == event.LayerIP || !onIP {
		return n, known
	}
	if known && n <= 2*(ip+e.Conn.MissedBytes.Or(0))+64<<10 {
		return n, true
	}
	t.estimated = true
	header := uint64(40) // IPv4 and TCP without options
	if e.Network.Transport != "tcp" {
		header = 28
	}
	if side.IP.Is6() && !side.IP.Is4In6() {
		header += 20
	}
	return ip - min(ip, header*side.Packets.Or(1)), true
}

// flow reads one direction of a flow (formats.md §1.3). An answer of our own
// service, that is a record from a service port to an ephemeral one, is no
// transfer; the answer of theirs tells what came back.
func (t *transfer) flow(e *event.Event) bool {
	n, known := e.Source.Bytes.Get()
	if !known || e.Flow.Action == "reject" {
		return false
	}
	sp, dp := e.Source.Port.Or(0), e.Destination.Port.Or(0)
	ours, theirs := sp, dp
	switch e.Network.Direction {
	case event.Outbound:
		t.src, t.dst, t.up, t.out = e.Source.IP.Unmap(), e.Destination.IP.Unmap(), n, 1
	case event.Inbound:
		ours, theirs = dp, sp
		t.src, t.dst, t.down, t.in = e.Destination.IP.Unmap(), e.Source.IP.Unmap(), n, 1
	default:
		return false
	}
	switch {
	case service(theirs):
		t.port = uint16(theirs)
	case service(ours):
		return false
	default:
		// Both sides must find the same pair: the lower port serves.
		t.port = uint16(min(ours, theirs))
	}
	t.layer = onIP
	t.channel = channelOf(e, t.port)
	return true
}

// passing ends the name of the view of what only passes an interface: a NAT
// gateway, a firewall or a transit gateway's attachment sees a packet come in on
// its way out and may report it again as it leaves. The two are copies of one
// transfer and must not meet in one view, while what comes back is seen at the
// same two places.
const passing = " (passing)"

// viewed returns where a flow record was seen: its interface, and whether what
// it tells of only passed there. Of records without a direction that is not
// known.
func viewed(e *event.Event) event.Flow {
	f := e.Flow
	out, in := e.Network.Direction == event.Outbound, e.Network.Direction == event.Inbound
	if f.Direction == "ingress" && out || f.Direction == "egress" && in {
		f.Interface += passing
		f.InstanceID = "" // the one that it passes is not the one that sends
	}
	return f
}

// service reports whether a port is one on which services listen: below 1024,
// or one of the ports above it that are known to be served.
func service(port uint64) bool {
	if port == 0 {
		return false
	}
	if port < 1024 {
		return true
	}
	switch port {
	case 1080, 1194, 1433, 1521, 1723, 1883, 2049, 2375, 2376, 2379, 2380, 3000, 3128, 3306, 3389, 3690, 4369, 4443, 4505, 4506,
		5060, 5061, 5222, 5269, 5432, 5601, 5671, 5672, 5900, 5984, 5985, 5986, 6379, 6443, 6667, 6697, 7000, 7001, 7077, 7443, 8000,
		8001, 8008, 8009, 8080, 8081, 8086, 8088, 8090, 8123, 8140, 8200, 8300, 8333, 8443, 8448, 8500, 8883, 8888, 9000, 9042, 9090, 9092,
		9093, 9100, 9200, 9300, 9418, 9443, 10000, 10250, 10443, 11211, 15672, 25565, 26379, 27017, 50051, 51820:
		return true
	}
	return false
}

// channel is how data left, in order of how much it says.
type channel uint8

const (
	chanOther channel = iota
	chanUDP
	chanTCP
	chanICMP
	chanDNS
	chanFTP
	chanSSH
	chanSMTP
	chanHTTP
	chanTLS
	chanQUIC
	chanHTTPS
)

var channelNames = [...]string{"other", "udp", "tcp", "icmp", "dns", "ftp", "ssh", "smtp", "http", "tls", "quic", "https"}

func (c channel) String() string { return channelNames[c] }

func channelOf(e *event.Event, port uint16) channel {
	switch e.Network.Protocol {
	case "tls":
		switch port {
		case 443, 8443:
			return chanHTTPS
		case 25, 465, 587:
			return chanSMTP
		}
		return chanTLS
	case "http":
		return chanHTTP
	case "quic":
		return chanQUIC
	case "smtp":
		return chanSMTP
	case "ssh":
		return chanSSH
	case "ftp", "ftp-data":
		return chanFTP
	case "dns":
		return chanDNS
	}
	switch e.Network.Transport {
	case "icmp", "ipv6-icmp":
		return chanICMP
	case "udp":
		switch port {
		case 443:
			return chanQUIC
		case 53:
			return chanDNS
		}
		return chanUDP
	case "tcp":
		switch port {
		case 443:
			return chanHTTPS
		case 80:
			return chanHTTP
		case 22:
			return chanSSH
		case 25, 465, 587:
			return chanSMTP
		case 53:
			return chanDNS
		case 20, 21, 989, 990:
			return chanFTP
		}
		return chanTCP
	}
	return chanOther
}
