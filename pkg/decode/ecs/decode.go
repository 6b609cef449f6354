package ecs

import (
	"bytes"
	"net/netip"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// TypePrefix begins the Observer.Type of the events.
const TypePrefix = "ecs-"

// Reasons of ignored documents.
const (
	ignoredBlank   = "blank"
	ignoredOther   = "no_network_traffic"
	ignoredControl = "bulk_action" // the line before a document in a bulk file
)

const (
	// maxDocument is the longest document.
	maxDocument = 4 << 20
	// maxNesting is how deep the schema's objects nest; what lies deeper is of
	// the source's own fields.
	maxNesting = 6
	maxModule  = 32
	maxAnswers = 16
	// aYear is the longest duration that is believed, in microseconds.
	aYear = 366 * 24 * 3600 * 1_000_000
)

// A Decoder decodes documents, one a line; it implements decode.Lines. It is not
// safe for concurrent use.
type Decoder struct {
	ev     event.Event
	f      fields
	path   []byte
	module []byte // the text of Observer.Type
}

var _ decode.Lines = (*Decoder)(nil)

// New returns a decoder.
func New() *Decoder { return &Decoder{} }

// Header implements decode.Lines; documents need none.
func (d *Decoder) Header() []byte { return nil }

// SetHeader implements decode.Lines.
func (d *Decoder) SetHeader([]byte) {}

// Line implements decode.Lines.
func (d *Decoder) Line(line []byte, at event.Origin, sink decode.Sink) {
	text := bytes.Trim(bytes.TrimPrefix(line, []byte("\uFEFF")), " \t\r\n\x00")
	if len(text) == 0 {
		sink.Ignored(ignoredBlank)
		return
	}
	if len(text) > maxDocument {
		sink.Dead(decode.ReasonTooLong, line, at)
		return
	}
	var scan rawjson.Scan
	switch n, status := scan.Feed(text); {
	case text[0] != '{':
		sink.Dead(decode.ReasonUnknownFormat, line, at)
		return
	case status != rawjson.Done || n != len(text):
		sink.Dead(decode.ReasonJSON, line, at)
		return
	case scan.Deep():
		sink.Dead(decode.ReasonTooDeep, line, at)
		return
	}
	switch ignored, dead := d.document(text); {
	case dead != "":
		sink.Dead(dead, line, at)
	case ignored != "":
		sink.Ignored(ignored)
	default:
		d.ev.Origin = at
		sink.Event(&d.ev)
	}
}

// fields are the values of a document that this package reads.
type fields struct {
	timestamp, start, end, duration        rawjson.Value
	id, action, outcome                    rawjson.Value
	categories, types                      rawjson.Value
	module, dataset                        rawjson.Value
	source, destination, client, server    side
	transport, iana, protocol              rawjson.Value
	question, questionType, code, dnsID    rawjson.Value
	answers, resolved                      rawjson.Value
	serverName, ja3, ja4, tlsVersion, alpn rawjson.Value
	established                            rawjson.Value
	domain, url, method, agent, status     rawjson.Value
	requestBody, requestBytes              rawjson.Value
	responseBody, responseBytes            rawjson.Value
	mailFrom, mailTo                       rawjson.Value
	account, region, instance, index       rawjson.Value
	some                                   bool // any field was known
}

// side is one endpoint.
type side struct{ ip, address, port, bytes, packets, domain, nat rawjson.Value }

// document fills d.ev from a document whose structure is sound.
func (d *Decoder) document(doc rawjson.Value) (ignored, dead string) {
	d.f = fields{}
	d.path = d.path[:0]
	d.walk(doc, 0)
	f := &d.f
	if !f.some && len(f.index) > 0 {
		return ignoredControl, ""
	}
	e := &d.ev
	e.Reset()
	d.observer()
	if f.source.empty() && f.destination.empty() {
		f.source, f.destination = f.client, f.server
	}
	kind := f.kind()
	if kind == event.KindUnknown {
		return ignoredOther, ""
	}
	e.Kind = kind
	if reason := d.time(); reason != "" {
		return "", reason
	}
	// A proxy may know its client's destination by name only.
	if !d.endpoint(&e.Source, &f.source) || !d.endpoint(&e.Destination, &f.destination) && (kind != event.KindHTTP || len(f.domain) == 0) {
		return "", decode.ReasonMissing
	}
	e.ID, e.Action = rawjson.Text(f.id), rawjson.Text(f.action)
	switch o := rawjson.Text(f.outcome); o {
	case "success", "failure":
		e.Outcome = o
	}
	e.Network.Transport, e.Network.Protocol = d.transport(), strings.ToLower(rawjson.Text(f.protocol))
	d.fill()
	return "", ""
}

func (s *side) empty() bool { return len(s.ip) == 0 && len(s.address) == 0 }

// endpoint fills one side and reports whether it has an address.
func (d *Decoder) endpoint(to *event.Endpoint, s *side) bool {
	text := rawjson.Text(s.ip)
	if text == "" {
		text = rawjson.Text(s.address)
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return false
	}
	to.IP = ip.Unmap().WithZone("")
	if p := rawjson.Count(s.port); p.Or(0) > 0 && p.Or(0) <= 65535 {
		to.Port = p
	}
	if nat, err := netip.ParseAddr(rawjson.Text(s.nat)); err == nil && nat.Unmap() != to.IP {
		to.NatIP = nat.Unmap().WithZone("")
	}
	if name := strings.TrimSuffix(strings.ToLower(rawjson.Text(s.domain)), "."); name != "" && name != text {
		to.Domain = name
	}
	return true
}

// kind says what a document tells.
func (f *fields) kind() event.Kind {
	both := !f.source.empty() && !f.destination.empty()
	switch {
	case len(f.question) > 0 && !f.source.empty():
		return event.KindDNS
	case len(f.method) > 0 && len(f.domain) > 0 && !f.source.empty():
		return event.KindHTTP
	case !both:
		return event.KindUnknown
	case len(f.serverName) > 0, len(f.ja3) > 0, len(f.ja4) > 0:
		return event.KindTLS
	case len(f.mailFrom) > 0, len(f.mailTo) > 0:
		return event.KindMail
	case len(f.method) > 0, len(f.status) > 0 && (len(f.url) > 0 || len(f.domain) > 0):
		return event.KindHTTP
	case f.denied(), len(f.source.bytes) > 0 && len(f.destination.bytes) == 0:
		return event.KindFlow
	case len(f.destination.bytes) > 0, len(f.source.packets) > 0, f.has(f.categories, "network"), f.has(f.categories, "network_traffic"):
		return event.KindConn
	}
	return event.KindUnknown
}

// has reports whether a value, or one of an array, is a word.
func (f *fields) has(v rawjson.Value, word string) bool {
	for e := range rawjson.Each(v) {
		if rawjson.Text(e) == word {
			return true
		}
	}
	return false
}

// denied reports whether the traffic was stopped.
func (f *fields) denied() bool {
	if f.has(f.types, "denied") {
		return true
	}
	switch strings.ToLower(rawjson.Text(f.action)) {
	case "deny", "denied", "drop", "dropped", "block", "blocked", "reject", "rejected", "flow_denied", "flow_dropped", "firewall-rule-denied", "connection-denied":
		return true
	}
	return false
}

// time sets the times and returns why it cannot.
func (d *Decoder) time() string {
	e, f := &d.ev, &d.f
	stamp := micros(f.timestamp)
	e.Start, e.End = micros(f.start), micros(f.end)
	ns := rawjson.Count(f.duration).Or(0)
	if us := int64(min(ns/1000, aYear+1)); us <= aYear && ns > 0 {
		switch {
		case e.End == 0 && e.Start != 0:
			e.End = e.Start + us
		case e.Start == 0 && e.End != 0:
			e.Start = e.End - us
		}
	}
	if e.Start < 0 || e.Start > e.End && e.End != 0 || e.End-e.Start > aYear {
		e.Start = 0
	}
	if e.Kind == event.KindConn || e.Kind == event.KindFlow {
		e.Time = first(e.End, stamp)
	} else {
		e.Time = first(e.Start, stamp) // of a transaction the time is its begin
	}
	if e.Time-e.Start > aYear {
		e.Start = 0
	}
	if e.Time == 0 {
		if len(f.timestamp) > 0 {
			return decode.ReasonValue
		}
		return decode.ReasonMissing
	}
	return ""
}

func first(a, b int64) int64 {
	if a != 0 {
		return a
	}
	return b
}

// micros reads an ISO 8601 time, or milliseconds since the epoch; 0 for anything
// else.
func micros(v rawjson.Value) int64 {
	if ms, ok := rawjson.Int(v); ok {
		if ms > 0 && ms < 1<<52/1000 {
			return ms * 1000
		}
		return 0
	}
	t, err := time.Parse(time.RFC3339Nano, rawjson.Text(v))
	if err != nil {
		t, err = time.Parse("2006-01-02T15:04:05.999999999-0700", rawjson.Text(v))
	}
	if err != nil || t.Unix() <= 0 {
		return 0
	}
	return t.UnixMicro()
}

// observer sets Observer.Type from the module, or the first part of the dataset.
func (d *Decoder) observer() {
	name := rawjson.Text(d.f.module)
	if name == "" {
		name, _, _ = strings.Cut(rawjson.Text(d.f.dataset), ".")
	}
	d.module = append(d.module[:0], TypePrefix...)
	for i := range min(len(name), maxModule) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_', c == '-':
			d.module = append(d.module, c)
		case c >= 'A' && c <= 'Z':
			d.module = append(d.module, c+'a'-'A')
		default:
			d.module = append(d.module, '_')
		}
	}
	if len(d.module) == len(TypePrefix) {
		d.module = append(d.module, "other"...)
	}
	d.ev.Observer.Type = rawjson.View(d.module)
}

// transport is the name of the protocol.
func (d *Decoder) transport() string {
	if t := strings.ToLower(rawjson.Text(d.f.transport)); t != "" {
		if t == "icmpv6" || t == "icmp6" {
			return "ipv6-icmp"
		}
		return t
	}
	switch n := rawjson.Scalar(d.f.iana); n {
	case "1":
		return "icmp"
	case "6":
		return "tcp"
	case "17":
		return "udp"
	case "58":
		return "ipv6-icmp"
	default:
		return n
	}
}
