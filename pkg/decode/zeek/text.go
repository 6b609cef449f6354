package zeek

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// view is b as a string without a copy.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// plainTSV reports whether b is printable ASCII without a backslash, so that
// it stands for itself.
func plainTSV(b []byte) bool {
	for _, c := range b {
		if c == '\\' || c < 0x20 || c >= 0x7f {
			return false
		}
	}
	return true
}

// text returns the canonical text of a value, "" for what is no scalar. It
// aliases the line or d.scratch.
func (d *Decoder) text(v *value) string {
	if v == nil || v.kind == kindArray || v.kind == kindObject {
		return ""
	}
	if v.plain || v.kind == kindBare || v.kind == kindTSV && plainTSV(v.b) {
		return view(v.b)
	}
	at := len(d.scratch)
	d.scratch = unescape(d.scratch, v, asText)
	raw := d.scratch[at:]
	if printable(raw) {
		return view(raw)
	}
	at = len(d.scratch)
	d.scratch = appendText(d.scratch, raw)
	return view(d.scratch[at:])
}

// printable reports whether raw is UTF-8 without control bytes.
func printable(raw []byte) bool {
	for _, c := range raw {
		if c < 0x20 || c == 0x7f {
			return false
		}
	}
	return utf8.Valid(raw)
}

// appendText appends raw with control bytes and what is not UTF-8 as \xNN.
func appendText(dst, raw []byte) []byte {
	for len(raw) > 0 {
		r, n := utf8.DecodeRune(raw)
		if r < 0x20 || r == 0x7f || r == utf8.RuneError && n == 1 {
			dst = appendHex(dst, raw[0])
		} else {
			dst = append(dst, raw[:n]...)
		}
		raw = raw[n:]
	}
	return dst
}

func appendHex(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'x', hex[c>>4], hex[c&15])
}

// domain returns the canonical form of a DNS name (event.DNS.Name): lower
// case, odd bytes as \xNN, no trailing dot, "." for the root.
func (d *Decoder) domain(v *value) string {
	if v == nil || v.kind == kindArray || v.kind == kindObject {
		return ""
	}
	b := v.b
	if !plainName(b) {
		at := len(d.scratch)
		if v.plain {
			for _, c := range b {
				d.scratch = appendNameByte(d.scratch, c)
			}
		} else {
			d.scratch = unescape(d.scratch, v, asName)
		}
		b = d.scratch[at:]
	}
	if n := len(b); n > 1 && b[n-1] == '.' {
		b = b[:n-1]
	}
	if len(b) == 0 {
		return "."
	}
	return view(b)
}

// plainName reports whether b is a DNS name in canonical form already.
func plainName(b []byte) bool {
	for _, c := range b {
		if c == '\\' || c < 0x20 || c >= 0x7f || c-'A' <= 'Z'-'A' {
			return false
		}
	}
	return true
}

func appendNameByte(dst []byte, c byte) []byte {
	switch {
	case c-'A' <= 'Z'-'A':
		return append(dst, c+'a'-'A')
	case c == '\\' || c < 0x20 || c >= 0x7f:
		return appendHex(dst, c)
	}
	return append(dst, c)
}

// form is what unescape makes of a string.
type form uint8

const (
	asText form = iota // characters
	asData             // bytes: what Zeek writes as a character below U+0100 may be one
	asName             // asData, in the form of event.DNS.Name
)

// unescape appends what a TSV or JSON string stands for, undoing JSON's
// escapes and Zeek's own, whichever policy wrote them (formats.md §3.1, §3.2).
//
// Zeek's \xNN inside JSON is not reversible: a name may hold those four
// characters itself. It is undone where NN cannot stand unescaped, which is
// all that Zeek escapes there. Zeek 8.1 wrote \u00NN for a byte.
func unescape(dst []byte, v *value, to form) []byte {
	name := to == asName
	emit := func(c byte, escaped bool) {
		switch {
		case !name:
			dst = append(dst, c)
		case escaped && (c == '.' || c == '\\'):
			dst = appendHex(dst, c)
		default:
			dst = appendNameByte(dst, c)
		}
	}
	json := v.kind == kindString
	b := v.b
	for i := 0; i < len(b); {
		c := b[i]
		switch {
		case c == 0xF3 && json:
			if p, ok := puaByte(b[i:]); ok {
				emit(p, true)
				i += 4
				continue
			}
			emit(c, false)
			i++
		case c != '\\' || i+1 == len(b):
			emit(c, false)
			i++
		case !json:
			if p, ok := hexByte(b[i+1:]); ok {
				emit(p, true)
				i += 4
			} else if b[i+1] == '\\' {
				emit('\\', false)
				i += 2
			} else {
				emit('\\', false)
				i++
			}
		case b[i+1] == '\\':
			if p, ok := hexByte(b[i+2:]); ok && (p < 0x20 || p >= 0x7f || name && (p == '.' || p == '\\')) {
				emit(p, true)
				i += 5
			} else {
				emit('\\', false)
				i += 2
			}
		case b[i+1] == 'u':
			r, n := jsonRune(b[i:])
			i += n
			switch {
			case r >= 0xF0000 && r <= 0xF00FF: // policy PUA
				emit(byte(r), true)
			case to != asText && r < 0x100:
				emit(byte(r), true)
			default:
				var buf [utf8.UTFMax]byte
				for _, c := range buf[:utf8.EncodeRune(buf[:], r)] {
					emit(c, false)
				}
			}
		default:
			emit(jsonEscape(b[i+1]), false)
			i += 2
		}
	}
	return dst
}

// hexByte reads "xNN".
func hexByte(b []byte) (byte, bool) {
	if len(b) < 3 || b[0] != 'x' {
		return 0, false
	}
	hi, lo := hexDigits[b[1]], hexDigits[b[2]]
	return hi<<4 | lo&15, hi < 16 && lo < 16
}

// hexDigits holds the value of each hexadecimal digit, 0xff for other bytes.
var hexDigits = hexTable()

func hexTable() (t [256]byte) {
	for c := range t {
		switch {
		case c >= '0' && c <= '9':
			t[c] = byte(c - '0')
		case c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
			t[c] = byte(c|0x20) - 'a' + 10
		default:
			t[c] = 0xff
		}
	}
	return t
}

// puaByte reads the UTF-8 form of U+F0000 to U+F00FF, which stands for a byte
// under the escaping policy PUA.
func puaByte(b []byte) (byte, bool) {
	if len(b) < 4 || b[0] != 0xF3 || b[1] != 0xB0 || b[2]&^3 != 0x80 || b[3]&^0x3f != 0x80 {
		return 0, false
	}
	return b[2]&3<<6 | b[3]&0x3f, true
}

// jsonRune reads \uXXXX, or two of them that form a surrogate pair, and
// returns the rune with the length of its text. A lone surrogate is U+FFFD.
func jsonRune(b []byte) (rune, int) {
	r, ok := unicodeEscape(b)
	if !ok {
		return utf8.RuneError, min(len(b), 2)
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if low, ok := unicodeEscape(b[6:]); ok {
		if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
			return both, 12
		}
	}
	return utf8.RuneError, 6
}

func unicodeEscape(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		d := hexDigits[c]
		if d > 15 {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	return r, true
}

func jsonEscape(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// list walks the elements of a set or vector.
type list struct {
	of value
	// rest is what is left of an array behind its bracket, or of a column.
	rest []byte
	// sep stands between the elements of a column, empty for "" and unset
	// for one that is not there.
	sep, empty, unset []byte
	// some tells whether an element is left; "" is one.
	some bool
}

// list begins a walk. A scalar is a list of itself.
func (d *Decoder) list(v *value) list {
	switch {
	case v == nil || v.kind == kindObject:
		return list{}
	case v.kind == kindArray:
		inner := v.b[skipSpace(v.b, 1):]
		return list{of: *v, rest: inner, some: len(inner) > 0 && inner[0] != ']'}
	case v.kind == kindTSV:
		// The marker of an empty list was replaced by nothing.
		return list{of: *v, rest: v.b, sep: d.head.setSep, empty: d.head.empty, unset: d.head.unset, some: len(v.b) > 0}
	}
	return list{of: *v, some: true}
}

// next returns the next element; ok is false for one that is unset.
func (l *list) next() (elem value, ok bool) {
	switch l.of.kind {
	case kindTSV:
		if i := bytes.Index(l.rest, l.sep); i >= 0 {
			elem = value{b: l.rest[:i], kind: kindTSV}
			l.rest = l.rest[i+len(l.sep):]
		} else {
			elem = value{b: l.rest, kind: kindTSV}
			l.some = false
		}
		if bytes.Equal(elem.b, l.unset) {
			return elem, false
		}
		if bytes.Equal(elem.b, l.empty) {
			elem.b = elem.b[:0]
		}
		return elem, true
	case kindArray:
		elem, n, set := scanValue(l.rest)
		i := skipSpace(l.rest, n)
		l.some = n > 0 && i < len(l.rest) && l.rest[i] == ','
		if l.some {
			l.rest = l.rest[skipSpace(l.rest, i+1):]
		}
		return elem, set
	default:
		l.some = false
		return l.of, true
	}
}
