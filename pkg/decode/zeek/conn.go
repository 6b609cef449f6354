package zeek

import "github.com/ebbwatch/ebbwatch/pkg/event"

// conn maps conn.log and its snapshots (formats.md §3.3). The event's time is
// the end of the connection: its bytes are known no sooner.
func (d *Decoder) conn(open bool) string {
	e := &d.ev
	e.Kind = event.KindConn
	if reason := d.endpoints(); reason != "" {
		return reason
	}
	e.Start = e.Time
	if v := d.rec.get(fDuration); v != nil {
		if us, ok := interval(v.b, maxDuration); ok {
			e.Time += us
			e.End = e.Time
		}
	}
	e.Network.Transport = d.transport()
	if e.Network.Transport == icmp4 || e.Network.Transport == icmp6 {
		// Zeek writes type and code where the ports stand.
		e.Source.Port, e.Destination.Port = event.Count{}, event.Count{}
	}
	if v := d.rec.get(fService); v != nil {
		e.Network.Protocol = d.application(v)
	}
	e.Network.Layer = event.LayerPayload
	e.Source.Packets, e.Destination.Packets = d.count(fOrigPkts), d.count(fRespPkts)
	e.Source.IPBytes, e.Destination.IPBytes = d.count(fOrigIPBytes), d.count(fRespIPBytes)
	e.Conn.MissedBytes = d.count(fMissedBytes)
	missed := e.Conn.MissedBytes.Or(0)
	e.Source.Bytes = plausible(d.count(fOrigBytes), e.Source.IPBytes, missed)
	e.Destination.Bytes = plausible(d.count(fRespBytes), e.Destination.IPBytes, missed)
	e.Conn.State = d.text(d.rec.get(fConnState))
	e.Conn.History = d.text(d.rec.get(fHistory))
	e.Conn.Open = open
	return ""
}

// plausible returns the payload bytes of one side, absent where the packets
// cannot have carried them. Zeek takes TCP payload from sequence numbers, so
// one stray number makes gigabytes of a few packets; what a lossy sensor did
// not see (missed) is real. Twice what is accounted for, and 64 KiB, are left
// for loss that went unnoticed.
func plausible(payload, onIP event.Count, missed uint64) event.Count {
	n, known := payload.Get()
	ip, seen := onIP.Get()
	if known && seen && n > 2*(ip+missed)+64<<10 {
		return event.Count{}
	}
	return payload
}

// Values of Network.Transport.
const (
	icmp4 = "icmp"
	icmp6 = "ipv6-icmp"
)

// transport names the transport protocol, by its number where Zeek has no
// name for it ("unknown_transport").
func (d *Decoder) transport() string {
	p := d.rec.get(fProto)
	if p != nil {
		switch string(p.b) {
		case "tcp":
			return "tcp"
		case "udp":
			return "udp"
		case "icmp":
			if d.ev.Source.IP.Is6() {
				return icmp6
			}
			return icmp4
		}
	}
	if n := d.rec.get(fIPProto); n != nil {
		switch string(n.b) {
		case "1":
			return icmp4
		case "6":
			return "tcp"
		case "17":
			return "udp"
		case "58":
			return icmp6
		}
		if c, ok := count(n.b); ok && c <= 255 {
			return d.text(n)
		}
	}
	if p == nil || string(p.b) == "unknown_transport" {
		return ""
	}
	return d.lower(d.text(p))
}

// application picks one protocol of "service", which lists all that Zeek
// recognised in the connection ("http,ssl", "gssapi,smb", "-ssl" for one that
// failed): what carries the data, before TLS, before authentication.
func (d *Decoder) application(v *value) string {
	var best value
	rank := 0
	for l := d.services(v); l.some; {
		name, set := l.next()
		if r := rankOf(name.b); set && r > rank {
			best, rank = name, r
		}
	}
	switch {
	case rank == 0:
		return ""
	case string(best.b) == "ssl":
		return "tls"
	}
	return d.lower(d.text(&best))
}

// services begins a walk of "service": one string with commas in it, whatever
// separates the elements of a set, or an array if a shipper made it one.
func (d *Decoder) services(v *value) list {
	if v.kind == kindArray {
		return d.list(v)
	}
	return list{of: value{kind: kindTSV}, rest: v.b, sep: comma, some: true}
}

var comma = []byte{','}

func rankOf(service []byte) int {
	switch string(service) {
	case "quic":
		return 5
	case "smb":
		return 4
	case "ssl":
		return 2
	case "gssapi", "krb", "krb_tcp", "ntlm", "spnego", "dce_rpc":
		return 1
	}
	if len(service) == 0 || service[0] == '-' {
		return 0
	}
	return 3
}
