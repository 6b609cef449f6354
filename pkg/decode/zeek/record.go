package zeek

import (
	"cmp"
	"net/netip"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// maxDuration is the longest duration that is believed, in microseconds: a
// year. Zeek does not run longer, and broken records give the age of the epoch.
const maxDuration = 366 * 24 * 3600 * 1_000_000

// decodeAs makes the event of d.rec, a record of the log t.
func (d *Decoder) decodeAs(t logType, open bool) (outcome, string) {
	switch {
	case t == logOther, t == logUnknown && d.rec.set.has(fTS):
		return ignored, ignoredOther
	case t == logUnknown:
		return dead, decode.ReasonUnknownFormat
	}
	e := &d.ev
	e.Reset()
	e.Observer.Type = ObserverType
	ts := d.rec.get(fTS)
	if ts == nil {
		return dead, decode.ReasonMissing
	}
	var ok bool
	if e.Time, ok = timestamp(ts.b); !ok {
		return dead, decode.ReasonValue
	}
	e.ID = d.text(d.rec.get(fUID))
	var reason string
	switch t {
	case logConn:
		reason = d.conn(open)
	case logDNS, logExfil:
		reason = d.dns(t)
	case logEcho:
		reason = d.echo()
	case logSSL, logQUIC:
		reason = d.tls(t)
	case logHTTP:
		reason = d.http()
	case logFiles:
		if !d.rec.set.hasAny(fOrigH, fRespH) && d.nowhere() {
			return ignored, ignoredNowhere
		}
		reason = d.files()
	case logSMTP:
		reason = d.smtp()
	case logWeird:
		e.Kind = event.KindWeird
		e.Action = d.text(d.rec.get(fName))
		d.endpoints()
	case logFTP, logSMBFiles, logDHCP, logNTLM:
		var told bool
		if told, reason = d.others(t); !told && reason == "" {
			return ignored, ignoredNothing
		}
	case logStats:
		d.stats()
	case logLoss:
		d.captureLoss()
	default: // logUnknown and logOther were sent back above
	}
	if reason != "" {
		return dead, reason
	}
	return decoded, ""
}

// endpoints reads the two sides of a connection. The reason tells what is
// wrong with them, where the log needs them.
func (d *Decoder) endpoints() (reason string) {
	src, dst := &d.ev.Source, &d.ev.Destination
	var of [2]string
	src.IP, of[0] = d.addr(fOrigH)
	dst.IP, of[1] = d.addr(fRespH)
	src.Port = d.port(fOrigP)
	dst.Port = d.port(fRespP)
	return cmp.Or(of[0], of[1])
}

func (d *Decoder) addr(f field) (netip.Addr, string) {
	v := d.rec.get(f)
	if v == nil {
		return netip.Addr{}, decode.ReasonMissing
	}
	a, ok := parseAddr(v.b)
	if !ok {
		return netip.Addr{}, decode.ReasonValue
	}
	return a, ""
}

// parseAddr reads an address. The zone of a link-local one means something on
// its own host only and is dropped; an IPv4 address mapped into IPv6 is the
// IPv4 address.
func parseAddr(b []byte) (netip.Addr, bool) {
	if a, ok := parseIPv4(b); ok {
		return a, true
	}
	colon := false
	for i, c := range b {
		if c == ':' {
			colon = true
		} else if c == '%' {
			b = b[:i]
			break
		}
	}
	if !colon || len(b) > 45 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(view(b))
	return a.Unmap(), err == nil
}

func parseIPv4(b []byte) (netip.Addr, bool) {
	if len(b) < 7 || len(b) > 15 {
		return netip.Addr{}, false
	}
	var ip [4]byte
	part, n, digits := 0, 0, 0
	for _, c := range b {
		switch {
		case c-'0' <= 9:
			if digits > 0 && n == 0 {
				return netip.Addr{}, false // a leading zero
			}
			n = n*10 + int(c-'0')
			if digits++; n > 255 {
				return netip.Addr{}, false
			}
		case c == '.' && digits > 0 && part < 3:
			ip[part] = byte(n)
			part++
			n, digits = 0, 0
		default:
			return netip.Addr{}, false
		}
	}
	if part != 3 || digits == 0 {
		return netip.Addr{}, false
	}
	ip[3] = byte(n)
	return netip.AddrFrom4(ip), true
}

func (d *Decoder) port(f field) event.Count {
	c := d.count(f)
	if n, known := c.Get(); known && n > 65535 {
		return event.Count{}
	}
	return c
}

// count reads a counter; one that cannot be is absent.
func (d *Decoder) count(f field) event.Count {
	v := d.rec.get(f)
	if v == nil {
		return event.Count{}
	}
	n, ok := count(v.b)
	if !ok {
		return event.Count{}
	}
	return event.N(n)
}

func (d *Decoder) flag(f field) bool {
	v := d.rec.get(f)
	return v != nil && (string(v.b) == "T" || string(v.b) == "true")
}

// lower returns s in lower case.
func (d *Decoder) lower(s string) string {
	for i := range len(s) {
		if s[i]-'A' <= 'Z'-'A' {
			at := len(d.scratch)
			d.scratch = append(d.scratch, s...)
			for j, c := range d.scratch[at:] {
				if c-'A' <= 'Z'-'A' {
					d.scratch[at+j] = c + 'a' - 'A'
				}
			}
			return view(d.scratch[at:])
		}
	}
	return s
}

// hostName returns the name of a server as a client gave it: lower case,
// without port and trailing dot.
func (d *Decoder) hostName(f field) string {
	s := d.lower(d.text(d.rec.get(f)))
	for i := len(s) - 1; i > 0 && (s[i]-'0' <= 9 || s[i] == ':'); i-- {
		if s[i] != ':' {
			continue
		}
		// More than one colon: an IPv6 address without brackets.
		if s[i-1] == ']' || !hasColon(s[:i]) {
			s = s[:i]
		}
		break
	}
	if n := len(s); n > 1 && s[n-1] == '.' {
		s = s[:n-1]
	}
	return s
}

func hasColon(s string) bool {
	for i := range len(s) {
		if s[i] == ':' {
			return true
		}
	}
	return false
}
