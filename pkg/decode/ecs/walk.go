package ecs

import "github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"

// walk takes the values of an object, whose own path stands in d.path: nested
// objects and dotted keys make the same path.
func (d *Decoder) walk(object rawjson.Value, depth int) {
	from := len(d.path)
	for key, v := range rawjson.Object(object) {
		d.path = d.path[:from]
		if from > 0 {
			d.path = append(d.path, '.')
		}
		if len(key) > 128 {
			continue
		}
		d.path = append(d.path, key...)
		if rawjson.IsObject(v) {
			if depth < maxNesting {
				d.walk(v, depth+1)
			}
			continue
		}
		if rawjson.IsNull(v) {
			continue
		}
		if to := d.f.at(rawjson.View(d.path)); to != nil && len(*to) == 0 {
			*to = v
			d.f.some = d.f.some || to != &d.f.index
		}
	}
	d.path = d.path[:from]
}

// at returns where the value of a path belongs, nil for one that is not read.
func (f *fields) at(path string) *rawjson.Value {
	switch path {
	case "@timestamp":
		return &f.timestamp
	case "event.start":
		return &f.start
	case "event.end":
		return &f.end
	case "event.duration":
		return &f.duration
	case "event.id":
		return &f.id
	case "event.action":
		return &f.action
	case "event.outcome":
		return &f.outcome
	case "event.category":
		return &f.categories
	case "event.type":
		return &f.types
	case "event.module":
		return &f.module
	case "event.dataset", "data_stream.dataset":
		return &f.dataset
	case "network.transport":
		return &f.transport
	case "network.iana_number":
		return &f.iana
	case "network.protocol", "network.application":
		return &f.protocol
	case "dns.question.name":
		return &f.question
	case "dns.question.type":
		return &f.questionType
	case "dns.response_code":
		return &f.code
	case "dns.id":
		return &f.dnsID
	case "dns.answers", "dns.answers.data":
		return &f.answers
	case "dns.resolved_ip":
		return &f.resolved
	case "tls.client.server_name":
		return &f.serverName
	case "tls.client.ja3":
		return &f.ja3
	case "tls.client.ja4":
		return &f.ja4
	case "tls.version":
		return &f.tlsVersion
	case "tls.next_protocol":
		return &f.alpn
	case "tls.established":
		return &f.established
	case "url.domain":
		return &f.domain
	case "url.original", "url.full", "url.path":
		return &f.url
	case "http.request.method":
		return &f.method
	case "http.request.body.bytes":
		return &f.requestBody
	case "http.request.bytes":
		return &f.requestBytes
	case "http.response.body.bytes":
		return &f.responseBody
	case "http.response.bytes":
		return &f.responseBytes
	case "http.response.status_code":
		return &f.status
	case "user_agent.original":
		return &f.agent
	case "email.from.address":
		return &f.mailFrom
	case "email.to.address":
		return &f.mailTo
	case "cloud.account.id":
		return &f.account
	case "cloud.region":
		return &f.region
	case "cloud.instance.id":
		return &f.instance
	case "create._index", "index._index":
		return &f.index
	}
	return f.endpoint(path)
}

func (f *fields) endpoint(path string) *rawjson.Value {
	for _, s := range [...]struct {
		prefix string
		to     *side
	}{{"source.", &f.source}, {"destination.", &f.destination}, {"client.", &f.client}, {"server.", &f.server}} {
		if len(path) <= len(s.prefix) || path[:len(s.prefix)] != s.prefix {
			continue
		}
		switch path[len(s.prefix):] {
		case "ip":
			return &s.to.ip
		case "address":
			return &s.to.address
		case "port":
			return &s.to.port
		case "bytes":
			return &s.to.bytes
		case "packets":
			return &s.to.packets
		case "domain":
			return &s.to.domain
		case "nat.ip":
			return &s.to.nat
		}
	}
	return nil
}
