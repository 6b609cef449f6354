package zeek

import (
	"bytes"
	"strconv"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

const (
	// maxAddresses is how many answers an event lists (event.DNS).
	maxAddresses = 16
	// maxRTT is the longest answer time that is believed, in microseconds.
	maxRTT = 24 * 3600 * 1_000_000
	// maxTTL is the largest TTL that DNS allows (RFC 2181 §8), in seconds.
	maxTTL = 1<<31 - 1
	// mdnsPort is where replies list records of any type.
	mdnsPort = 5353
)

// dns maps dns.log (formats.md §3.4) and dns_exfil.log (detections.md §9).
func (d *Decoder) dns(t logType) string {
	e := &d.ev
	e.Kind = event.KindDNS
	if reason := d.endpoints(); reason != "" {
		return reason
	}
	e.Network.Transport = d.transport()
	e.Network.Protocol = "dns"
	e.DNS.ID = d.text(d.rec.get(fTransID))
	e.DNS.Name = d.domain(d.rec.get(fQuery))
	e.DNS.Type = d.queryType()
	e.DNS.ResponseCode = d.responseCode()
	if v := d.rec.get(fRTT); v != nil {
		if us, ok := interval(v.b, maxRTT); ok {
			e.DNS.RTT = event.N(us)
		}
	}
	if t == logExfil {
		d.exfil()
		return ""
	}
	d.answers()
	return ""
}

// exfil maps what only dns_exfil.log has. Its counters are 0 without a reply,
// which is not the size of a reply.
func (d *Decoder) exfil() {
	e := &d.ev
	e.Observer.Type = ObserverExfil
	size := d.count(fResponseSize)
	if size.Or(0) == 0 {
		return
	}
	e.DNS.ResponseBytes = size
	e.DNS.Answers = d.count(fAnswerCount)
	// The script counts strings of TXT and nothing else.
	if txt := d.count(fTXTSize); e.DNS.Type == "TXT" || txt.Or(0) > 0 {
		e.DNS.DataBytes = txt
	}
}

// answers maps the answer section. Zeek writes one text an answer: an address,
// a name, "TXT 4 text", or "<unknown type=10>" for data that it does not read.
func (d *Decoder) answers() {
	dns := &d.ev.DNS
	v := d.rec.get(fAnswers)
	if v == nil {
		// An answer without text leaves the list unset: not known to be none.
		dns.Answers = d.count(fTotalAnswers)
		return
	}
	addresses := d.mayBeAddress()
	var n, data uint64
	unknown, counted := false, false
	for l := d.list(v); l.some; {
		elem, set := l.next()
		n++
		if !set {
			continue
		}
		if addresses && len(elem.b) > 0 && (elem.b[0] == ':' || hexDigits[elem.b[0]] < 16) {
			if a, ok := parseAddr(elem.b); ok {
				if len(dns.Addresses) < maxAddresses {
					dns.Addresses = append(dns.Addresses, a)
				}
				continue
			}
		}
		if bytes.HasPrefix(elem.b, unknownAnswer) {
			unknown = true
			continue
		}
		counted = true
		data += uint64(d.answerBytes(&elem))
	}
	dns.Answers = event.N(n)
	if total := d.count(fTotalAnswers); total.Or(0) > n {
		dns.Answers = total
	}
	// Data that Zeek did not read may be anything: 0 would be a claim.
	if counted || !unknown {
		dns.DataBytes = event.N(data)
	}
	d.minTTL()
}

var unknownAnswer = []byte("<unknown type=")

// mayBeAddress reports whether an answer that looks like an address is one.
// To a question for a name it is a name made of digits, which carries data.
func (d *Decoder) mayBeAddress() bool {
	switch d.ev.DNS.Type {
	case "CNAME", "MX", "NS", "PTR", "SRV", "DNAME", "SOA", "TXT":
		return d.ev.Destination.Port.Or(0) == mdnsPort || d.ev.Source.Port.Or(0) == mdnsPort
	}
	return true
}

// answerBytes returns how many bytes of data the text of an answer stands for.
func (d *Decoder) answerBytes(v *value) int {
	b := v.b
	if !v.plain && (v.kind != kindTSV || !plainTSV(b)) {
		at := len(d.scratch)
		d.scratch = unescape(d.scratch, v, asData)
		b = d.scratch[at:]
	}
	if n, ok := stringBytes(b); ok {
		return n
	}
	return len(b)
}

// stringBytes sums the lengths that Zeek writes before each string of a TXT
// or SPF record: "TXT 3 foo TXT 2 ba". They are exact even where the text was
// cut or its escapes are ambiguous. A length that the text contradicts ends
// the walk, and the rest counts as it stands.
func stringBytes(b []byte) (sum int, ok bool) {
	var tag []byte
	switch {
	case bytes.HasPrefix(b, []byte("TXT ")), bytes.HasPrefix(b, []byte("SPF ")):
		tag = b[:4]
	default:
		return 0, false
	}
	for {
		n, i := 0, len(tag)
		for i < len(b) && b[i]-'0' <= 9 && n <= 255 {
			n = n*10 + int(b[i]-'0')
			i++
		}
		switch {
		case i == len(tag) || n > 255:
			return sum + len(b), true
		case i == len(b):
			return sum + n, true // cut behind the length
		case b[i] != ' ':
			return sum + len(b), true
		}
		b = b[i+1:]
		if len(b) <= n {
			return sum + n, true
		}
		if b[n] != ' ' || !bytes.HasPrefix(b[n+1:], tag) {
			return sum + len(b), true
		}
		sum += n
		b = b[n+1:]
	}
}

func (d *Decoder) minTTL() {
	v := d.rec.get(fTTLs)
	for l := d.list(v); l.some; {
		elem, set := l.next()
		if !set {
			continue
		}
		us, ok := interval(elem.b, maxTTL*1_000_000)
		if !ok {
			continue
		}
		s := event.N((us + 500_000) / 1_000_000)
		if least := &d.ev.DNS.MinTTL; !least.Known() || s.Or(0) < least.Or(0) {
			*least = s
		}
	}
}

// queryType returns the question's type in the form of event.DNS.Type.
func (d *Decoder) queryType() string {
	v := d.rec.get(fQTypeName)
	if v == nil {
		return d.numbered(fQType, "TYPE", typeName)
	}
	switch string(v.b) {
	case "A":
		return "A"
	case "AAAA":
		return "AAAA"
	case "*": // as IANA has it; every tool says ANY
		return "ANY"
	}
	if n, ok := bytes.CutPrefix(v.b, []byte("query-")); ok {
		if c, ok := count(n); ok && c <= 65535 {
			return d.join("TYPE", c)
		}
	}
	return d.upper(v)
}

// responseCode returns the code of the reply in upper case; codes without a
// name are RCODEn.
func (d *Decoder) responseCode() string {
	v := d.rec.get(fRCodeName)
	if v == nil {
		return d.numbered(fRCode, "RCODE", rcodeName)
	}
	switch string(v.b) {
	case "NOERROR":
		return "NOERROR"
	case "NXDOMAIN":
		return "NXDOMAIN"
	}
	for _, prefix := range [...]string{"rcode-", "unassigned-"} {
		if n, ok := bytes.CutPrefix(v.b, []byte(prefix)); ok {
			if c, ok := count(n); ok && c <= 65535 {
				return d.join("RCODE", c)
			}
		}
	}
	return d.upper(v)
}

func (d *Decoder) numbered(f field, prefix string, name func(uint64) string) string {
	n, known := d.count(f).Get()
	if !known || n > 65535 {
		return ""
	}
	if s := name(n); s != "" {
		return s
	}
	return d.join(prefix, n)
}

func (d *Decoder) join(prefix string, n uint64) string {
	at := len(d.scratch)
	d.scratch = strconv.AppendUint(append(d.scratch, prefix...), n, 10)
	return view(d.scratch[at:])
}

func (d *Decoder) upper(v *value) string {
	s := d.text(v)
	for i := range len(s) {
		if s[i]-'a' <= 'z'-'a' {
			at := len(d.scratch)
			d.scratch = append(d.scratch, s...)
			for j, c := range d.scratch[at:] {
				if c-'a' <= 'z'-'a' {
					d.scratch[at+j] = c - 'a' + 'A'
				}
			}
			return view(d.scratch[at:])
		}
	}
	return s
}

// typeName names the record types that hosts ask for (IANA, "Resource Record
// (RR) TYPEs"), for records that have the number only.
func typeName(n uint64) string {
	switch n {
	case 1:
		return "A"
	case 2:
		return "NS"
	case 5:
		return "CNAME"
	case 6:
		return "SOA"
	case 10:
		return "NULL"
	case 12:
		return "PTR"
	case 13:
		return "HINFO"
	case 15:
		return "MX"
	case 16:
		return "TXT"
	case 17:
		return "RP"
	case 24:
		return "SIG"
	case 25:
		return "KEY"
	case 28:
		return "AAAA"
	case 29:
		return "LOC"
	case 33:
		return "SRV"
	case 35:
		return "NAPTR"
	case 37:
		return "CERT"
	case 39:
		return "DNAME"
	case 43:
		return "DS"
	case 44:
		return "SSHFP"
	case 46:
		return "RRSIG"
	case 47:
		return "NSEC"
	case 48:
		return "DNSKEY"
	case 50:
		return "NSEC3"
	case 52:
		return "TLSA"
	case 64:
		return "SVCB"
	case 65:
		return "HTTPS"
	case 99:
		return "SPF"
	case 251:
		return "IXFR"
	case 252:
		return "AXFR"
	case 255:
		return "ANY"
	case 256:
		return "URI"
	case 257:
		return "CAA"
	}
	return ""
}

// rcodeName names the response codes of a plain reply (IANA, "DNS RCODEs").
func rcodeName(n uint64) string {
	names := [...]string{
		"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED",
		"YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE",
	}
	if n < uint64(len(names)) {
		return names[n]
	}
	return ""
}
