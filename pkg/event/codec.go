package event

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"unicode/utf8"
	"unsafe"

	"github.com/segmentio/encoding/json"
)

// Errors of Decode, to be tested with errors.Is.
var (
	ErrKind    = errors.New("unknown event kind")
	ErrVersion = errors.New("unknown event version")
	ErrFormat  = errors.New("malformed event")
)

// quotedKey is `"key":` for every field, in the order of fieldsOf.
var quotedKey = quoteKeys()

func quoteKeys() (out [kindCount][]string) {
	for k := range fieldsOf {
		for _, f := range fieldsOf[k] {
			out[k] = append(out[k], `"`+f.Key+`":`)
		}
	}
	return out
}

// Append appends the canonical JSON form of e to dst.
func (e *Event) Append(dst []byte) ([]byte, error) {
	if e.Kind == KindUnknown || e.Kind >= KindMark {
		return dst, fmt.Errorf("encode event: %w: %d", ErrKind, e.Kind)
	}
	dst = append(dst, `{"kind":"`...)
	dst = append(dst, kindNames[e.Kind]...)
	dst = append(dst, `","v":1`...)
	keys := quotedKey[e.Kind]
	for i := range fieldsOf[e.Kind] {
		f := &fieldsOf[e.Kind][i]
		dst = f.append(dst, keys[i], e)
	}
	return append(dst, '}'), nil
}

func (f *Field) append(dst []byte, key string, e *Event) []byte {
	switch f.Type {
	case TypeString:
		if s := *f.str(e); s != "" {
			dst = append(append(dst, ','), key...)
			dst = AppendString(dst, s)
		}
	case TypeCount:
		if n, known := f.count(e).Get(); known {
			dst = append(append(dst, ','), key...)
			dst = strconv.AppendUint(dst, n, 10)
		}
	case TypeHash:
		if n, known := f.count(e).Get(); known {
			dst = append(append(dst, ','), key...)
			var raw [8]byte
			for i := range raw {
				raw[i] = byte(n >> (56 - 8*i))
			}
			dst = append(dst, '"')
			dst = hex.AppendEncode(dst, raw[:])
			dst = append(dst, '"')
		}
	case TypeMicros:
		if n := *f.micros(e); n != 0 {
			dst = append(append(dst, ','), key...)
			dst = strconv.AppendInt(dst, n, 10)
		}
	case TypeBool:
		if *f.flag(e) {
			dst = append(append(append(dst, ','), key...), "true"...)
		}
	case TypeFloat:
		if x := *f.float(e); x != 0 && !math.IsNaN(x) && !math.IsInf(x, 0) {
			dst = append(append(dst, ','), key...)
			dst = strconv.AppendFloat(dst, x, 'g', -1, 64)
		}
	case TypeIP:
		if a := *f.addr(e); a.IsValid() {
			dst = append(append(append(dst, ','), key...), '"')
			dst = append(a.AppendTo(dst), '"')
		}
	case TypeStrings:
		if s := *f.strs(e); len(s) > 0 {
			dst = append(append(append(dst, ','), key...), '[')
			for i := range s {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = AppendString(dst, s[i])
			}
			dst = append(dst, ']')
		}
	case TypeIPs:
		if s := *f.addrs(e); len(s) > 0 {
			dst = append(append(append(dst, ','), key...), '[')
			for i := range s {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = append(s[i].AppendTo(append(dst, '"')), '"')
			}
			dst = append(dst, ']')
		}
	}
	return dst
}

// AppendString appends s as a JSON string. Bytes that are not UTF-8 become
// U+FFFD: the text of an event is always valid.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
			dst = append(append(dst, s[start:i]...), "\uFFFD"...)
			i++
			start = i
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			const digits = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

// Decode decodes one event. Strings of e alias data wherever the JSON holds
// them unescaped: data must not change while e is in use, and what outlives
// it must be cloned. Unknown fields are ignored. Errors wrap ErrFormat,
// ErrKind or ErrVersion.
func Decode(data []byte, e *Event) error {
	e.Reset()
	if decodeCanonical(data, e) {
		return nil
	}
	e.Reset()
	return decodeGeneral(data, e)
}

// decodeCanonical reads the form that Append writes and gives up at the first
// surprise, leaving e half filled.
func decodeCanonical(data []byte, e *Event) bool {
	const head, version = `{"kind":"`, `,"v":1`
	if len(data) < len(head) || string(data[:len(head)]) != head {
		return false
	}
	rest := data[len(head):]
	q := bytes.IndexByte(rest, '"')
	if q < 0 {
		return false
	}
	k := ParseKind(view(rest[:q]))
	rest = rest[q+1:]
	if k == KindUnknown || k == KindMark || len(rest) < len(version) || string(rest[:len(version)]) != version {
		return false
	}
	e.Kind = k
	rest = rest[len(version):]
	fields, keys := fieldsOf[k], quotedKey[k]
	for next := 0; ; next++ {
		if len(rest) == 1 && rest[0] == '}' {
			return true
		}
		if len(rest) < 3 || rest[0] != ',' {
			return false
		}
		rest = rest[1:]
		for next < len(keys) && !hasKey(rest, keys[next]) {
			next++
		}
		if next == len(keys) {
			return false
		}
		rest = rest[len(keys[next]):]
		n := fields[next].parse(rest, e)
		if n <= 0 {
			return false
		}
		rest = rest[n:]
	}
}

// hasKey is hasPrefix for a `"key":`, quick to say no: where another key
// stands, there is rarely a colon at the end of this one.
func hasKey(data []byte, key string) bool {
	return len(data) >= len(key) && data[len(key)-1] == ':' && string(data[:len(key)]) == key
}

func hasPrefix(data []byte, key string) bool {
	return len(data) >= len(key) && string(data[:len(key)]) == key
}

// view is data as a string without a copy.
func view(data []byte) string {
	return unsafe.String(unsafe.SliceData(data), len(data))
}

// parse reads one value of the canonical form and returns its length, or 0
// when the value is not of that form.
func (f *Field) parse(data []byte, e *Event) int {
	switch f.Type {
	case TypeString:
		s, n := parseString(data)
		*f.str(e) = s
		return n
	case TypeCount:
		v, n := parseUint(data)
		*f.count(e) = N(v)
		return n
	case TypeHash:
		s, n := parseString(data)
		c, ok := parseHash(s)
		if !ok {
			return 0
		}
		*f.count(e) = c
		return n
	case TypeMicros:
		neg := len(data) > 0 && data[0] == '-'
		if neg {
			data = data[1:]
		}
		v, n := parseUint(data)
		if n == 0 || v > math.MaxInt64 {
			return 0
		}
		*f.micros(e) = int64(v)
		if neg {
			*f.micros(e) = -int64(v)
			n++
		}
		return n
	case TypeBool:
		if !hasPrefix(data, "true") {
			return 0
		}
		*f.flag(e) = true
		return len("true")
	case TypeFloat:
		n := 0
		for n < len(data) && data[n] != ',' && data[n] != '}' {
			n++
		}
		x, err := strconv.ParseFloat(view(data[:n]), 64)
		if err != nil {
			return 0
		}
		*f.float(e) = x
		return n
	case TypeIP:
		a, n := parseAddr(data)
		*f.addr(e) = a
		return n
	case TypeStrings:
		return parseList(data, f.strs(e), parseString)
	case TypeIPs:
		return parseList(data, f.addrs(e), parseAddr)
	}
	return 0
}

func parseList[T any](data []byte, out *[]T, one func([]byte) (T, int)) int {
	if len(data) < 2 || data[0] != '[' {
		return 0
	}
	for at := 1; at < len(data); {
		v, n := one(data[at:])
		if n <= 0 || at+n >= len(data) {
			return 0
		}
		*out = append(*out, v)
		at += n
		switch data[at] {
		case ']':
			return at + 1
		case ',':
			at++
		default:
			return 0
		}
	}
	return 0
}

// plain marks the bytes that stand for themselves in a JSON string.
var plain = func() (t [256]bool) {
	for c := 0x20; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// parseString reads a JSON string and returns it with its quoted length.
func parseString(data []byte) (string, int) {
	if len(data) < 2 || data[0] != '"' {
		return "", 0
	}
	ascii := true
	for i := 1; i < len(data); i++ {
		c := data[i]
		if plain[c] {
			continue
		}
		switch {
		case c == '"':
			s := view(data[1:i])
			if !ascii && !utf8.ValidString(s) {
				return "", 0
			}
			return s, i + 1
		case c == '\\':
			return parseEscaped(data, i)
		case c < 0x20:
			return "", 0
		}
		ascii = false
	}
	return "", 0
}

// parseEscaped reads a JSON string whose first escape stands at data[i].
func parseEscaped(data []byte, i int) (string, int) {
	for ; i < len(data) && data[i] != '"'; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	if i >= len(data) {
		return "", 0
	}
	var s string
	if json.Unmarshal(data[:i+1], &s) != nil {
		return "", 0
	}
	return s, i + 1
}

func parseUint(data []byte) (v uint64, n int) {
	for n < len(data) && data[n]-'0' <= 9 {
		d := uint64(data[n] - '0')
		if v > (math.MaxUint64-d)/10 {
			return 0, 0
		}
		v = v*10 + d
		n++
	}
	if n > 1 && data[0] == '0' {
		return 0, 0
	}
	return v, n
}

func parseAddr(data []byte) (netip.Addr, int) {
	s, n := parseString(data)
	if n == 0 {
		return netip.Addr{}, 0
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, 0
	}
	return a, n
}

func parseHash(s string) (Count, bool) {
	if len(s) != 16 {
		return Count{}, false
	}
	v, err := strconv.ParseUint(s, 16, 64)
	return N(v), err == nil
}

// decodeGeneral reads any valid JSON object with the same keys, in any order
// and with any white space. It allocates.
func decodeGeneral(data []byte, e *Event) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	var name string
	if json.Unmarshal(raw["kind"], &name) != nil {
		return fmt.Errorf("%w: no kind", ErrFormat)
	}
	e.Kind = ParseKind(name)
	if e.Kind == KindUnknown || e.Kind == KindMark {
		return fmt.Errorf("%w: %q", ErrKind, name)
	}
	if v := string(raw["v"]); v != "1" {
		return fmt.Errorf("%w: %.20q", ErrVersion, v)
	}
	for i := range fieldsOf[e.Kind] {
		f := &fieldsOf[e.Kind][i]
		value, present := raw[f.Key]
		if !present || string(value) == "null" {
			continue
		}
		if err := f.unmarshal(value, e); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrFormat, f.Key, err)
		}
	}
	return nil
}

func (f *Field) unmarshal(value []byte, e *Event) error {
	switch f.Type {
	case TypeString:
		return json.Unmarshal(value, f.str(e))
	case TypeCount:
		var n uint64
		err := json.Unmarshal(value, &n)
		*f.count(e) = N(n)
		return err
	case TypeHash:
		var s string
		if err := json.Unmarshal(value, &s); err != nil {
			return err
		}
		c, ok := parseHash(s)
		if !ok {
			return fmt.Errorf("%.20q is not 16 hexadecimal digits", s)
		}
		*f.count(e) = c
	case TypeMicros:
		return json.Unmarshal(value, f.micros(e))
	case TypeBool:
		return json.Unmarshal(value, f.flag(e))
	case TypeFloat:
		return json.Unmarshal(value, f.float(e))
	case TypeIP:
		a, err := unmarshalAddr(value)
		*f.addr(e) = a
		return err
	case TypeStrings:
		return json.Unmarshal(value, f.strs(e))
	case TypeIPs:
		var list []json.RawMessage
		if err := json.Unmarshal(value, &list); err != nil {
			return err
		}
		for _, v := range list {
			a, err := unmarshalAddr(v)
			if err != nil {
				return err
			}
			*f.addrs(e) = append(*f.addrs(e), a)
		}
	}
	return nil
}

func unmarshalAddr(value []byte) (netip.Addr, error) {
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return netip.Addr{}, err
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, err
	}
	return a.WithZone(""), nil
}
