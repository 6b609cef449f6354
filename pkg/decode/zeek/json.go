package zeek

import (
	"bytes"
	"slices"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/segmentio/encoding/json"
)

// maxDepth bounds how deep arrays and objects may be nested in a value.
const maxDepth = 64

// object is a nested object whose name is no field of a record.
type object struct {
	name, body []byte
}

// readObject reads a JSON object into d.rec and the objects nested in it into
// d.objects. It returns the reason why it could not, or "".
func (d *Decoder) readObject(b []byte) string {
	if d.scanObject(b) {
		return ""
	}
	if deeperThan(b, maxDepth) {
		return decode.ReasonTooDeep
	}
	if d.generalObject(b) {
		return ""
	}
	return decode.ReasonJSON
}

// scanObject reads the object without making anything of it: values alias b.
// It gives up on malformed JSON and on what is legal but not seen in practice
// (escapes in names), leaving d.rec half filled.
func (d *Decoder) scanObject(b []byte) bool {
	d.rec.reset()
	d.objects = d.objects[:0]
	end, ok := d.scanFields(b, skipSpace(b, 0), false)
	return ok && skipSpace(b, end) == len(b)
}

// scanFields reads the fields of the object that begins at b[i] and returns
// where it ends. With id set it is the "id" of a record.
func (d *Decoder) scanFields(b []byte, i int, id bool) (end int, ok bool) {
	if i >= len(b) || b[i] != '{' {
		return 0, false
	}
	if i = skipSpace(b, i+1); i < len(b) && b[i] == '}' {
		return i + 1, true
	}
	for {
		if i >= len(b) || b[i] != '"' {
			return 0, false
		}
		start := i + 1
		for i = start; i < len(b) && b[i] != '"'; i++ {
			if b[i] == '\\' || b[i] < 0x20 {
				return 0, false
			}
		}
		if i >= len(b) {
			return 0, false
		}
		name := b[start:i]
		if i++; i < len(b) && b[i] != ':' {
			i = skipSpace(b, i)
		}
		if i >= len(b) || b[i] != ':' {
			return 0, false
		}
		if i++; i < len(b) && b[i] <= ' ' {
			i = skipSpace(b, i)
		}
		var f field
		if id {
			f = endpointNamed(name)
		} else {
			f = d.fieldNamed(name)
		}
		if !id && f == fNone && string(name) == "id" && i < len(b) && b[i] == '{' {
			if i, ok = d.scanFields(b, i, true); !ok {
				return 0, false
			}
		} else {
			v, n, set := scanValue(b[i:])
			if n == 0 {
				return 0, false
			}
			i += n
			d.keep(f, name, v, set)
		}
		if i < len(b) && b[i] <= ' ' {
			i = skipSpace(b, i)
		}
		if i >= len(b) {
			return 0, false
		}
		switch b[i] {
		case ',':
			if i++; i < len(b) && b[i] <= ' ' {
				i = skipSpace(b, i)
			}
		case '}':
			return i + 1, true
		default:
			return 0, false
		}
	}
}

// keep files one value of a JSON object.
func (d *Decoder) keep(f field, name []byte, v value, set bool) {
	switch {
	case !set:
	case v.kind == kindObject:
		if len(d.objects) < maxObjects {
			d.objects = append(d.objects, object{name, v.b})
		}
	case f != fNone:
		d.rec.put(f, v)
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// stops is set for bytes at which the scan of a JSON string looks closer.
var stops = stopTable()

func stopTable() (t [256]bool) {
	for c := range t {
		t[c] = c < 0x20 || c >= 0x7f || c == '"' || c == '\\'
	}
	return t
}

// scanValue reads the JSON value that b begins with and returns its length,
// 0 if it is malformed. set is false for null and for a number that is none
// (NaN, Infinity: not JSON, but some writers have them).
func scanValue(b []byte) (v value, n int, set bool) {
	if len(b) == 0 {
		return v, 0, false
	}
	switch c := b[0]; {
	case c == '"':
		n, plain := scanString(b)
		if n == 0 {
			return v, 0, false
		}
		return value{b: b[1 : n-1], kind: kindString, plain: plain}, n, true
	case c == '[' || c == '{':
		n := scanNested(b)
		if n == 0 {
			return v, 0, false
		}
		v = value{b: b[:n], kind: kindArray}
		if c == '{' {
			v.kind = kindObject
		}
		return v, n, true
	case c-'0' <= 9 || c == '-':
		n = 1
		for n < len(b) && (b[n]-'0' <= 9 || b[n] == '.' || b[n]|0x20 == 'e' || b[n] == '-' || b[n] == '+') {
			n++
		}
		if n == 1 && c == '-' {
			if bytes.HasPrefix(b, []byte("-Infinity")) {
				return v, len("-Infinity"), false
			}
			return v, 0, false
		}
		return value{b: b[:n], kind: kindBare}, n, true
	}
	switch b[0] {
	case 'f':
		return literal(b, "false", true)
	case 't':
		return literal(b, "true", true)
	case 'n':
		return literal(b, "null", false)
	case 'N':
		return literal(b, "NaN", false)
	case 'I':
		return literal(b, "Infinity", false)
	}
	return v, 0, false
}

func literal(b []byte, word string, set bool) (value, int, bool) {
	if len(b) < len(word) || string(b[:len(word)]) != word {
		return value{}, 0, false
	}
	return value{b: b[:len(word)], kind: kindBare}, len(word), set
}

// scanString returns the length of the JSON string that b begins with, quotes
// included, 0 if it is malformed.
func scanString(b []byte) (n int, plain bool) {
	plain = true
	for i := 1; i < len(b); i++ {
		c := b[i]
		if !stops[c] {
			continue
		}
		switch {
		case c == '"':
			return i + 1, plain
		case c == '\\':
			if i++; i >= len(b) {
				return 0, false
			}
			switch b[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if _, ok := unicodeEscape(b[i-1:]); !ok {
					return 0, false
				}
			default:
				return 0, false
			}
		case c < 0x20:
			return 0, false
		}
		plain = false
	}
	return 0, false
}

// scanNested returns the length of the array or object that b begins with, 0
// if its brackets do not match or stand too deep. What stands between them is
// not judged: no field of ours is read from a malformed one.
func scanNested(b []byte) int {
	var objects uint64 // a bit a level: set for an object
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			n, _ := scanString(b[i:])
			if n == 0 {
				return 0
			}
			i += n - 1
		case '[', '{':
			if depth == maxDepth {
				return 0
			}
			objects = objects<<1 | uint64(b[i]>>5&1) // '[' is 0x5b, '{' 0x7b
			depth++
		case ']', '}':
			if objects&1 != uint64(b[i]>>5&1) {
				return 0
			}
			objects >>= 1
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// deeperThan reports whether brackets outside strings nest deeper than limit
// within the record.
func deeperThan(b []byte, limit int) bool {
	depth := -1 // the record itself
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			if depth++; depth > limit {
				return true
			}
		case ']', '}':
			depth--
		}
	}
	return false
}

// generalObject reads what scanObject gave up on with a general decoder. It
// allocates.
func (d *Decoder) generalObject(b []byte) bool {
	d.rec.reset()
	d.objects = d.objects[:0]
	var raw map[string]json.RawMessage
	if json.Unmarshal(b, &raw) != nil || raw == nil {
		return false
	}
	// Two names may mean one field: the order decides, so it must be fixed.
	names := make([]string, 0, len(raw))
	for name := range raw {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		body := []byte(raw[name])
		if name == "id" && d.fieldNamed([]byte(name)) == fNone && len(body) > 0 && body[0] == '{' {
			d.generalID(body)
			continue
		}
		v, n, set := scanValue(body)
		if n == 0 {
			continue // legal, but nothing that a field of ours can be
		}
		d.keep(d.fieldNamed([]byte(name)), []byte(name), v, set)
	}
	return true
}

func (d *Decoder) generalID(b []byte) {
	var raw map[string]json.RawMessage
	if json.Unmarshal(b, &raw) != nil {
		return
	}
	for _, name := range [...]string{"orig_h", "orig_p", "resp_h", "resp_p"} {
		if v, n, set := scanValue(raw[name]); n > 0 && set && v.kind != kindObject {
			d.rec.put(endpointNamed([]byte(name)), v)
		}
	}
}
