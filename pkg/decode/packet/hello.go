package packet

import (
	"bytes"
	"encoding/binary"
)

// Extensions of a hello (IANA TLS ExtensionType).
const (
	extensionName       = 0
	extensionGroups     = 10
	extensionPoints     = 11
	extensionSignatures = 13
	extensionALPN       = 16
	extensionVersions   = 43
)

// hello is a TLS client hello (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2), as far as
// events need it. It is reused; the slices alias the message or are its own.
type hello struct {
	legacy     uint16 // version
	ciphers    []uint16
	extensions []uint16
	groups     []uint16
	points     []byte
	signatures []uint16
	versions   []uint16
	hasName    bool
	name       []byte // server name
	hasALPN    bool
	protocol   []byte // first of ALPN
}

// reader takes fields off a message. After a field that is not there, all are
// empty and failed is set.
type reader struct {
	data   []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.data) {
		r.data, r.failed = nil, true
		return nil
	}
	out := r.data[:n]
	r.data = r.data[n:]
	return out
}

func (r *reader) uint8() int {
	if b := r.take(1); b != nil {
		return int(b[0])
	}
	return 0
}

func (r *reader) uint16() int {
	if b := r.take(2); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

// beginning takes n bytes, or what there is of them.
func (r *reader) beginning(n int) []byte {
	if n > len(r.data) {
		n, r.failed = len(r.data), true
	}
	out := r.data[:n]
	r.data = r.data[n:]
	return out
}

// parse reads the body of a client hello. False says that it is not whole or
// not sound; what stands before the damage is read.
func (c *hello) parse(body []byte) bool {
	*c = hello{
		ciphers: c.ciphers[:0], extensions: c.extensions[:0], groups: c.groups[:0],
		signatures: c.signatures[:0], versions: c.versions[:0],
	}
	r := reader{data: body}
	c.legacy = uint16(r.uint16())
	r.take(32) // random
	r.take(r.uint8())
	c.ciphers = appendUint16s(c.ciphers, r.take(r.uint16()))
	r.take(r.uint8()) // compression
	if r.failed || len(r.data) == 0 {
		return !r.failed
	}
	all := reader{data: r.beginning(r.uint16())}
	for len(all.data) > 0 {
		kind := uint16(all.uint16())
		data := all.beginning(all.uint16())
		if all.failed {
			break
		}
		c.extensions = append(c.extensions, kind)
		c.extension(kind, data)
	}
	return !r.failed && !all.failed
}

func (c *hello) extension(kind uint16, data []byte) {
	r := reader{data: data}
	switch kind {
	case extensionName:
		c.hasName = true
		list := reader{data: r.take(r.uint16())}
		for len(list.data) > 0 {
			typ, name := list.uint8(), list.take(list.uint16())
			if typ == 0 && c.name == nil {
				c.name = name
			}
		}
	case extensionGroups:
		c.groups = appendUint16s(c.groups, r.take(r.uint16()))
	case extensionPoints:
		c.points = r.take(r.uint8())
	case extensionSignatures:
		c.signatures = appendUint16s(c.signatures, r.take(r.uint16()))
	case extensionALPN:
		c.hasALPN = true
		list := reader{data: r.take(r.uint16())}
		c.protocol = list.take(list.uint8())
	case extensionVersions:
		c.versions = appendUint16s(c.versions, r.take(r.uint8()))
	}
}

func appendUint16s(dst []uint16, data []byte) []uint16 {
	for ; len(data) >= 2; data = data[2:] {
		dst = append(dst, binary.BigEndian.Uint16(data))
	}
	return dst
}

// retryRandom is the random of a server hello that asks for another client
// hello (RFC 8446 §4.1.3).
var retryRandom = []byte("\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91" +
	"\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c")

// serverHello returns the version and the protocol that a server hello, with
// its message header, chose, and whether it is a request for another client
// hello. Since TLS 1.3 the protocol is not told in the open.
func serverHello(msg []byte) (version uint16, protocol []byte, retry bool) {
	r := reader{data: msg}
	r.take(messageHeader)
	version = uint16(r.uint16())
	retry = bytes.Equal(r.take(32), retryRandom)
	r.take(r.uint8())
	r.take(3) // cipher, compression
	if r.failed || len(r.data) == 0 {
		return version, nil, retry
	}
	all := reader{data: r.beginning(r.uint16())}
	for len(all.data) > 0 {
		kind := all.uint16()
		data := all.take(all.uint16())
		switch {
		case kind == extensionVersions && len(data) == 2:
			version = binary.BigEndian.Uint16(data)
		case kind == extensionALPN:
			list := reader{data: data}
			list.uint16()
			protocol = list.take(list.uint8())
		}
	}
	return version, protocol, retry
}
