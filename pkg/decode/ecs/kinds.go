package ecs

import (
	"net/netip"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// fill maps what the kind has of its own.
func (d *Decoder) fill() {
	e, f := &d.ev, &d.f
	e.Cloud.Account, e.Cloud.Region = rawjson.Text(f.account), rawjson.Text(f.region)
	switch e.Kind {
	case event.KindDNS:
		d.dns()
	case event.KindTLS:
		e.Destination.Domain = name(f.serverName, e.Destination.Domain)
		e.TLS = event.TLS{
			JA3: rawjson.Text(f.ja3), JA4: rawjson.Text(f.ja4), Version: rawjson.Text(f.tlsVersion), ALPN: rawjson.Text(f.alpn),
			Established: rawjson.True(f.established),
		}
		if e.Network.Protocol == "" {
			e.Network.Protocol = "tls"
		}
	case event.KindHTTP:
		e.Destination.Domain = name(f.domain, e.Destination.Domain)
		e.HTTP = event.HTTP{
			Method: rawjson.Text(f.method), URL: rawjson.Text(f.url), UserAgent: rawjson.Text(f.agent), Status: rawjson.Count(f.status),
			RequestBytes: either(f.requestBody, f.requestBytes), ResponseBytes: either(f.responseBody, f.responseBytes),
		}
		if e.Network.Protocol == "" {
			e.Network.Protocol = "http"
		}
	case event.KindMail:
		e.Mail.From = rawjson.Text(f.mailFrom)
		for to := range rawjson.Each(f.mailTo) {
			if s := rawjson.Text(to); s != "" && len(e.Mail.To) < 16 {
				e.Mail.To = append(e.Mail.To, s)
			}
		}
		if e.Network.Protocol == "" {
			e.Network.Protocol = "smtp"
		}
	default:
		e.Network.Layer = event.LayerIP
		e.Source.Bytes, e.Source.Packets = counter(f.source.bytes), counter(f.source.packets)
		e.Source.IPBytes = e.Source.Bytes
		if e.Kind == event.KindConn {
			e.Destination.Bytes, e.Destination.Packets = counter(f.destination.bytes), counter(f.destination.packets)
			e.Destination.IPBytes = e.Destination.Bytes
			e.Destination.Domain = name(f.domain, e.Destination.Domain)
			return
		}
		e.Flow.InstanceID = rawjson.Text(f.instance)
		if f.denied() {
			e.Flow.Action = "reject"
		}
	}
}

// dns maps a question with what is known of its answer.
func (d *Decoder) dns() {
	e, f := &d.ev, &d.f
	e.Network.Protocol = "dns"
	if e.Source.Port.Or(0) == 53 && e.Destination.Port.Or(53) != 53 {
		e.Source, e.Destination = e.Destination, e.Source
	}
	e.DNS.Name = strings.ToLower(strings.TrimSuffix(rawjson.Text(f.question), "."))
	e.DNS.Type = strings.ToUpper(rawjson.Text(f.questionType))
	e.DNS.ResponseCode = strings.ToUpper(rawjson.Text(f.code))
	e.DNS.ID = rawjson.Scalar(f.dnsID)
	var answers, data uint64
	for a := range rawjson.Each(f.answers) {
		text := rawjson.Text(rawjson.Get(a, "data"))
		if !rawjson.IsObject(a) {
			text = rawjson.Text(a)
		}
		answers++
		if !d.answer(text) {
			data += uint64(len(text))
		}
		if ttl := rawjson.Count(rawjson.Get(a, "ttl")); ttl.Known() && (!e.DNS.MinTTL.Known() || ttl.Or(0) < e.DNS.MinTTL.Or(0)) {
			e.DNS.MinTTL = ttl
		}
	}
	if answers > 0 {
		e.DNS.Answers, e.DNS.DataBytes = event.N(answers), event.N(data)
	} else {
		for a := range rawjson.Each(f.resolved) {
			d.answer(rawjson.Text(a))
		}
	}
	// Packetbeat counts whole messages.
	if q, r := counter(f.source.bytes), counter(f.destination.bytes); q.Known() && q.Or(0) <= 65_535 {
		e.DNS.QueryBytes = q
		if r.Or(0) <= 65_535 {
			e.DNS.ResponseBytes = r
		}
	}
}

// answer adds an address to the answers, or reports that it is none.
func (d *Decoder) answer(text string) bool {
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return false
	}
	if a := &d.ev.DNS.Addresses; len(*a) < maxAnswers {
		*a = append(*a, ip.Unmap().WithZone(""))
	}
	return true
}

// name is the name of a server as a client gave it.
func name(v rawjson.Value, otherwise string) string {
	s := strings.TrimSuffix(strings.ToLower(rawjson.Text(v)), ".")
	if s == "" {
		return otherwise
	}
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return otherwise
	}
	return s
}

// counter reads a counter; one that cannot be is absent.
func counter(v rawjson.Value) event.Count {
	n := rawjson.Count(v)
	if n.Or(0) > 1<<53 {
		return event.Count{}
	}
	return n
}

func either(a, b rawjson.Value) event.Count {
	if n := counter(a); n.Known() {
		return n
	}
	return counter(b)
}
