package resolver

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Type is the observer type of the events.
const Type = "resolver"

// Reasons of ignored records.
const (
	ignoredBlank   = "blank"
	ignoredControl = "control_message"
)

const (
	// maxEnvelope is the longest JSON document: a CloudWatch Logs batch is at
	// most 1 MB compressed.
	maxEnvelope = 16 << 20
	// maxAddresses is how many answers an event lists (event.DNS).
	maxAddresses = 16
	// maxName is the longest name in its text form: 255 bytes, each perhaps
	// written as \DDD.
	maxName = 4 * 255
)

// A Decoder decodes one JSON document a line; it implements decode.Lines. It
// is not safe for concurrent use. Strings of an event alias the line, or the
// Decoder, and hold during the sink's call only.
type Decoder struct {
	ev     event.Event
	rec    record
	name   []byte
	second string // the last timestamp, parsed once
	micros int64
}

var _ decode.Lines = (*Decoder)(nil)

// New returns a decoder.
func New() *Decoder { return &Decoder{} }

// Header implements decode.Lines; records need none.
func (d *Decoder) Header() []byte { return nil }

// SetHeader implements decode.Lines.
func (d *Decoder) SetHeader([]byte) {}

// record is one record, or an envelope of some.
type record struct {
	Time      rawjson.Value `json:"query_timestamp"`
	Name      rawjson.Value `json:"query_name"`
	Kind      rawjson.Value `json:"query_type"`
	Rcode     rawjson.Value `json:"rcode"`
	Answers   rawjson.Value `json:"answers"`
	Source    rawjson.Value `json:"srcaddr"`
	Port      rawjson.Value `json:"srcport"`
	Transport rawjson.Value `json:"transport"`
	VPC       rawjson.Value `json:"vpc_id"`
	Account   rawjson.Value `json:"account_id"`
	Region    rawjson.Value `json:"region"`
	IDs       rawjson.Value `json:"srcids"`
	Firewall  rawjson.Value `json:"firewall_rule_action"`

	Type    rawjson.Value `json:"messageType"` // CloudWatch Logs
	Events  rawjson.Value `json:"logEvents"`   // CloudWatch Logs
	Message rawjson.Value `json:"message"`     // Firehose
}

type answer struct {
	Data rawjson.Value `json:"Rdata"`
	Type rawjson.Value `json:"Type"`
}

// Line implements decode.Lines.
func (d *Decoder) Line(line []byte, at event.Origin, sink decode.Sink) {
	line = bytes.Trim(bytes.TrimPrefix(line, []byte("\uFEFF")), " \t\r\n")
	switch {
	case len(line) == 0:
		sink.Ignored(ignoredBlank)
		return
	case len(line) > maxEnvelope:
		sink.Dead(decode.ReasonTooLong, line, at)
		return
	case !d.parse(line, line, at, sink):
		return
	}
	switch rec := &d.rec; {
	case len(rec.Name) > 0 || len(rec.Time) > 0:
		d.finish(line, at, sink)
	case rawjson.Text(rec.Type) == "CONTROL_MESSAGE":
		sink.Ignored(ignoredControl)
	case rawjson.IsArray(rec.Events):
		n := 0
		for entry := range rawjson.Each(rec.Events) {
			d.message(rawjson.Get(entry, "message"), entry, at, sink)
			n++
		}
		if n == 0 {
			sink.Ignored(ignoredBlank)
		}
	case len(rec.Message) > 0:
		d.message(rec.Message, line, at, sink)
	default:
		sink.Dead(decode.ReasonUnknownFormat, line, at)
	}
}

// parse reads one JSON object into d.rec. What is wrong with it is dead; raw
// is what stands for it then.
func (d *Decoder) parse(text, raw []byte, at event.Origin, sink decode.Sink) bool {
	d.rec = record{}
	switch err := rawjson.Parse(text, &d.rec); {
	case errors.Is(err, rawjson.ErrDeep):
		sink.Dead(decode.ReasonTooDeep, raw, at)
	case err != nil:
		sink.Dead(decode.ReasonJSON, raw, at)
	default:
		return true
	}
	return false
}

// message takes one wrapped record: its JSON as text, or as an object.
func (d *Decoder) message(v rawjson.Value, raw []byte, at event.Origin, sink decode.Sink) {
	text := []byte(v)
	if !rawjson.IsObject(v) {
		text = bytes.TrimSpace([]byte(rawjson.Text(v)))
	}
	if len(text) == 0 {
		sink.Dead(decode.ReasonMissing, raw, at)
		return
	}
	if d.parse(text, raw, at, sink) {
		d.finish(raw, at, sink)
	}
}

// finish makes the event of d.rec. It gives exactly one outcome.
func (d *Decoder) finish(raw []byte, at event.Origin, sink decode.Sink) {
	if reason := d.event(at); reason != "" {
		sink.Dead(reason, raw, at)
		return
	}
	sink.Event(&d.ev)
}

func (d *Decoder) event(at event.Origin) (reason string) {
	rec, e := &d.rec, &d.ev
	e.Reset()
	e.Kind, e.Origin, e.Observer.Type = event.KindDNS, at, Type
	when, name, source := rawjson.Text(rec.Time), rawjson.Text(rec.Name), rawjson.Text(rec.Source)
	if when == "" || name == "" || source == "" {
		return decode.ReasonMissing
	}
	if e.Time = d.time(when); e.Time <= 0 {
		return decode.ReasonValue
	}
	ip, err := netip.ParseAddr(source)
	if err != nil {
		return decode.ReasonValue
	}
	e.Source.IP = ip.Unmap().WithZone("")
	if port := rawjson.Count(rec.Port); port.Or(0) <= 65535 {
		e.Source.Port = port
	}
	if len(name) > maxName {
		return decode.ReasonTooLong
	}
	d.name = appendName(d.name[:0], name)
	e.DNS.Name = rawjson.View(d.name)
	e.DNS.Type = strings.ToUpper(rawjson.Text(rec.Kind))
	e.DNS.ResponseCode = strings.ToUpper(rawjson.Text(rec.Rcode))
	e.Network.Protocol = "dns"
	switch transport := rawjson.Text(rec.Transport); {
	case strings.EqualFold(transport, "udp"):
		e.Network.Transport = "udp"
	case strings.EqualFold(transport, "tcp"):
		e.Network.Transport = "tcp"
	}
	e.Action = rawjson.Text(rec.Firewall)
	e.Flow.VPC = rawjson.Text(rec.VPC)
	e.Flow.InstanceID = rawjson.Text(rawjson.Get(rec.IDs, "instance"))
	e.Cloud.Provider, e.Cloud.Account, e.Cloud.Region = "aws", rawjson.Text(rec.Account), rawjson.Text(rec.Region)
	d.answers()
	return ""
}

// answers reads the answer section; it is absent where the log has none.
func (d *Decoder) answers() {
	dns := &d.ev.DNS
	if !rawjson.IsArray(d.rec.Answers) {
		return
	}
	var n, data uint64
	for v := range rawjson.Each(d.rec.Answers) {
		var a answer
		_ = rawjson.ParseScanned(v, &a) // part of what was parsed: no object says nothing
		n++
		text := rawjson.Text(a.Data)
		switch rawjson.Text(a.Type) {
		case "A", "AAAA":
			if ip, err := netip.ParseAddr(text); err == nil && len(dns.Addresses) < maxAddresses {
				dns.Addresses = append(dns.Addresses, ip.Unmap().WithZone(""))
			}
		case "TXT", "SPF":
			data += uint64(len(strings.Trim(text, `"`)))
		default:
			data += uint64(len(text))
		}
	}
	dns.Answers, dns.DataBytes = event.N(n), event.N(data)
}

// time reads a timestamp, in microseconds; 0 for anything else. Many records
// share a second.
func (d *Decoder) time(s string) int64 {
	if s == d.second {
		return d.micros
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return 0
	}
	d.second, d.micros = strings.Clone(s), t.UnixMicro()
	return d.micros
}

// appendName appends a name in the notation of event.DNS. The log has names in
// the text form of RFC 1035 §5.1: "\DDD" is a byte in decimal, "\X" the
// character X as such.
func appendName(dst []byte, s string) []byte {
	if s == "." {
		return append(dst, '.')
	}
	if strings.HasSuffix(s, ".") && (!strings.HasSuffix(s, `\.`) || strings.HasSuffix(s, `\\.`)) {
		s = s[:len(s)-1]
	}
	for i := 0; i < len(s); i++ {
		c, escaped := s[i], false
		if c == '\\' && i+1 < len(s) {
			escaped = true
			if i+3 < len(s) && digit(s[i+1]) && digit(s[i+2]) && digit(s[i+3]) {
				if v := int(s[i+1]-'0')*100 + int(s[i+2]-'0')*10 + int(s[i+3]-'0'); v <= 255 {
					c = byte(v)
					i += 3
				}
			} else {
				c = s[i+1]
				i++
			}
		}
		switch {
		case c-'A' <= 'Z'-'A':
			dst = append(dst, c+'a'-'A')
		case c < 0x20, c >= 0x7f, c == '\\', c == '.' && escaped:
			const digits = "0123456789abcdef"
			dst = append(dst, '\\', 'x', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

func digit(c byte) bool { return c-'0' <= 9 }
