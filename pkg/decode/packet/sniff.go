package packet

import (
	"bytes"
	"encoding/binary"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
)

// Application protocols, as Network.Protocol names them.
const (
	appTLS  = "tls"
	appQUIC = "quic"
	appHTTP = "http"
	appSMTP = "smtp"
	appFTP  = "ftp"
	appSSH  = "ssh"
)

// stream takes a segment with data. fresh is how many of its bytes were not
// seen before.
func (t *Tracker) stream(f *flow, d uint8, s *segment, fresh int, p *packet, sink decode.Sink) {
	if f.onDNSPort() {
		t.dnsSegment(f, d, s, p, sink)
		return
	}
	if f.sniffed >= maxSniffed && f.hello == nil {
		return
	}
	if f.sniffed < maxSniffed {
		f.sniffed++
		if fresh == s.size && f.protocol == "" {
			f.sniff(d, s.data)
		}
	}
	t.helloSegment(f, d, s, p, sink)
}

// methods begin the requests of HTTP.
var methods = [...]string{
	"GET ", "POST ", "PUT ", "HEAD ", "OPTIONS ", "DELETE ", "PATCH ", "CONNECT ", "PROPFIND ", "MKCOL ", "REPORT ",
	"PRI * HTTP/2.0\r\n",
}

// sniff names the protocol of a stream by its first lines, not by its port.
func (f *flow) sniff(d uint8, data []byte) {
	switch {
	case hasPrefix(data, "SSH-"):
		f.protocol = appSSH
	case d == 1 && hasPrefix(data, "HTTP/1."):
		f.protocol = appHTTP
	case d == 1 && hasPrefix(data, "220"):
		f.greeted = true // mail or file transfer: the client tells
	case d == 0 && (hasFold(data, "EHLO ") || hasFold(data, "HELO ") || hasFold(data, "MAIL FROM:")):
		f.protocol = appSMTP
	case d == 0 && f.greeted && (hasFold(data, "USER ") || hasFold(data, "AUTH TLS")):
		f.protocol = appFTP
	case d == 0:
		for _, m := range methods {
			if hasPrefix(data, m) {
				f.protocol = appHTTP
				f.domain = requestHost(data)
				return
			}
		}
	}
}

func hasPrefix(data []byte, s string) bool { return len(data) >= len(s) && string(data[:len(s)]) == s }

func hasFold(data []byte, s string) bool {
	return len(data) >= len(s) && bytes.EqualFold(data[:len(s)], []byte(s))
}

// maxRequest is how much of a request is searched for its Host field.
const maxRequest = 4096

// requestHost is the host that an HTTP request names: the target of a CONNECT,
// else the field Host; without its port, lower case.
func requestHost(data []byte) string {
	data = data[:min(len(data), maxRequest)]
	line, rest, _ := bytes.Cut(data, []byte("\r\n"))
	if hasPrefix(line, "CONNECT ") {
		target, _, _ := bytes.Cut(line[len("CONNECT "):], []byte(" "))
		return hostText(target)
	}
	for len(rest) > 0 {
		var ended bool
		if line, rest, ended = bytes.Cut(rest, []byte("\r\n")); len(line) == 0 || !ended {
			break // a line without its end may be cut
		}
		if hasFold(line, "Host:") {
			return hostText(bytes.TrimSpace(line[len("Host:"):]))
		}
	}
	return ""
}

// hostText is a host as text: without a port, lower case, odd bytes as \xNN.
func hostText(host []byte) string {
	if i := bytes.LastIndexByte(host, ':'); i >= 0 && bytes.IndexByte(host[i:], ']') < 0 && bytes.IndexByte(host[:i], ':') < 0 ||
		i > 0 && host[i-1] == ']' {
		host = host[:i]
	}
	return domainText(bytes.Trim(host, "[]"))
}

// domainText is a name that a client sent, in the notation of DNS names, cut
// at maxDomain bytes.
func domainText(name []byte) string {
	name = bytes.TrimSuffix(name, []byte("."))
	out := make([]byte, 0, min(len(name), maxDomain))
	for _, c := range name {
		if c == '.' {
			out = append(out, c)
		} else {
			out = appendNameByte(out, c)
		}
		if len(out) >= maxDomain {
			out = out[:maxDomain]
			break
		}
	}
	return string(out)
}

// recordHeader is a TLS record's type, version and length (RFC 8446 §5.1).
const recordHeader = 5

// Types of TLS records and of the messages in them.
const (
	recordCipherChange = 20
	recordAlert        = 21
	recordHandshake    = 22
	recordData         = 23

	messageClientHello = 1
	messageServerHello = 2
)

// beginsHello reports whether data may begin a client hello. Of a few bytes it
// says so as long as they do not contradict it.
func beginsHello(data []byte) bool {
	return len(data) > 0 && data[0] == recordHandshake &&
		(len(data) < 2 || data[1] == 3) && (len(data) < 3 || data[2] <= 4) &&
		(len(data) < 5 || binary.BigEndian.Uint16(data[3:]) > 0) && (len(data) < 6 || data[5] == messageClientHello)
}
