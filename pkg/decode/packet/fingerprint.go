package packet

import (
	"crypto/md5" //nolint:gosec // what JA3 is made of; nothing is secured by it
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
)

// grease reports whether a value is one of those that stand for nothing
// (RFC 8701).
func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// ja3 is the MD5 of version, ciphers, extensions, groups and point formats
// (github.com/salesforce/ja3).
func (c *hello) ja3() string {
	b := strconv.AppendUint(make([]byte, 0, 512), uint64(c.legacy), 10)
	for _, list := range [][]uint16{c.ciphers, c.extensions, c.groups} {
		b = append(b, ',')
		first := true
		for _, v := range list {
			if grease(v) {
				continue
			}
			if !first {
				b = append(b, '-')
			}
			b = strconv.AppendUint(b, uint64(v), 10)
			first = false
		}
	}
	b = append(b, ',')
	for i, v := range c.points {
		if i > 0 {
			b = append(b, '-')
		}
		b = strconv.AppendUint(b, uint64(v), 10)
	}
	sum := md5.Sum(b) //nolint:gosec // see above
	return hex.EncodeToString(sum[:])
}

// ja4 is the JA4 fingerprint (github.com/FoxIO-LLC/ja4, technical_details/
// JA4.md; JA4 itself is under BSD-3-Clause).
func (c *hello) ja4(quic bool) string {
	b := make([]byte, 0, 36)
	if quic {
		b = append(b, 'q')
	} else {
		b = append(b, 't')
	}
	b = append(b, c.ja4Version()...)
	if c.hasName {
		b = append(b, 'd')
	} else {
		b = append(b, 'i')
	}
	ciphers := withoutGrease(c.ciphers)
	extensions := withoutGrease(c.extensions)
	b = appendTwoDigits(b, len(ciphers))
	b = appendTwoDigits(b, len(extensions))
	b = c.appendJA4Protocol(b)

	slices.Sort(ciphers)
	b = append(b, '_')
	b = appendShortHash(b, appendHexList(nil, ciphers))

	extensions = slices.DeleteFunc(extensions, func(v uint16) bool { return v == extensionName || v == extensionALPN })
	slices.Sort(extensions)
	list := appendHexList(nil, extensions)
	if signatures := withoutGrease(c.signatures); len(signatures) > 0 && len(list) > 0 {
		list = appendHexList(append(list, '_'), signatures)
	}
	b = append(b, '_')
	return string(appendShortHash(b, list))
}

// ja4Version is the highest version that the client offers.
func (c *hello) ja4Version() string {
	version := c.legacy
	if offered := withoutGrease(c.versions); len(offered) > 0 {
		version = slices.Max(offered)
	}
	switch version {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	case 0x0002:
		return "s2"
	}
	return "00"
}

// appendJA4Protocol appends the first and last character of the first ALPN
// value, or of its hexadecimal form where one of them is no letter or digit.
func (c *hello) appendJA4Protocol(b []byte) []byte {
	if len(c.protocol) == 0 {
		return append(b, "00"...)
	}
	first, last := c.protocol[0], c.protocol[len(c.protocol)-1]
	if alphanumeric(first) && alphanumeric(last) {
		return append(b, first, last)
	}
	const digits = "0123456789abcdef"
	return append(b, digits[first>>4], digits[last&15])
}

func alphanumeric(c byte) bool {
	return c-'0' <= 9 || c|0x20 >= 'a' && c|0x20 <= 'z'
}

func withoutGrease(list []uint16) []uint16 {
	out := make([]uint16, 0, len(list))
	for _, v := range list {
		if !grease(v) {
			out = append(out, v)
		}
	}
	return out
}

func appendTwoDigits(b []byte, n int) []byte {
	n = min(n, 99)
	return append(b, byte('0'+n/10), byte('0'+n%10))
}

// appendHexList appends values as four hexadecimal digits, with commas.
func appendHexList(b []byte, list []uint16) []byte {
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = hex.AppendEncode(b, []byte{byte(v >> 8), byte(v)})
	}
	return b
}

// appendShortHash appends 12 digits of the SHA-256 of text; of nothing, zeros.
func appendShortHash(b, text []byte) []byte {
	if len(text) == 0 {
		return append(b, "000000000000"...)
	}
	sum := sha256.Sum256(text)
	return hex.AppendEncode(b, sum[:6])
}
