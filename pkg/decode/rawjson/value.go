package rawjson

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"unsafe"

	"github.com/segmentio/encoding/json"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Value is the text of one valid JSON value; empty when there is none.
type Value = json.RawMessage

// Errors of Parse, to be tested with errors.Is.
var (
	ErrSyntax = errors.New("not one valid JSON value")
	ErrDeep   = errors.New("nested too deep")
)

// Parse parses data, which must be one JSON value, into the struct that into
// points to. Its fields should be Values: they alias data, and a type that
// was not expected is no error. Keys match whatever their case is. Errors
// wrap ErrSyntax or ErrDeep.
func Parse(data []byte, into any) error {
	var scan Scan
	if n, status := scan.Feed(data); status == Broken || status == More && !scan.Ends() {
		return fmt.Errorf("%w: byte %d", ErrSyntax, n)
	}
	if scan.Deep() {
		return ErrDeep
	}
	return ParseScanned(data, into)
}

// ParseScanned is Parse for data that a Scan has found to be a value that is
// not too deep.
func ParseScanned(data []byte, into any) error {
	rest, err := json.Parse(data, into, json.ZeroCopy)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes behind the value", len(rest))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSyntax, err)
	}
	return nil
}

// IsObject reports whether v is an object.
func IsObject(v Value) bool { return len(v) > 0 && v[0] == '{' }

// IsArray reports whether v is an array.
func IsArray(v Value) bool { return len(v) > 0 && v[0] == '[' }

// IsNull reports whether v is null or absent.
func IsNull(v Value) bool { return len(v) == 0 || v[0] == 'n' }

// True reports whether v is true, also as text.
func True(v Value) bool { return string(v) == "true" || string(v) == `"true"` }

// Text returns a string, "" for any other value. An array of one string is
// taken for that string: some exporters wrap every value.
func Text(v Value) string {
	if IsArray(v) {
		only, n := Value(nil), 0
		for e := range Each(v) {
			only = e
			n++
		}
		if n != 1 || IsArray(only) {
			return ""
		}
		v = only
	}
	if len(v) < 2 || v[0] != '"' {
		return ""
	}
	if bytes.IndexByte(v, '\\') >= 0 {
		return unescape(v)
	}
	return View(v[1 : len(v)-1])
}

func unescape(v Value) string {
	var s string
	if json.Unmarshal(v, &s) != nil {
		return ""
	}
	return s
}

// Scalar returns a string as it is, a number or a boolean as its text, and ""
// for null, objects and arrays.
func Scalar(v Value) string {
	if IsNull(v) || IsObject(v) || IsArray(v) {
		return ""
	}
	if v[0] == '"' {
		return Text(v)
	}
	return View(v)
}

// Int returns an integer, also one written as text. A number that is not an
// integer of 64 bits is none.
func Int(v Value) (n int64, ok bool) {
	s := Scalar(v)
	if s == "" || s[0] == '+' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// Count returns a number that is not negative, written as integer, float
// (89.0) or text; fractions are cut off. Anything else is absent.
func Count(v Value) event.Count {
	s := Scalar(v)
	if s == "" || s[0] < '0' || s[0] > '9' || strings.ContainsAny(s, "_xXpP") {
		return event.Count{} // ParseFloat reads more than JSON has
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return event.N(n)
	}
	if x, err := strconv.ParseFloat(s, 64); err == nil && x >= 0 && x < math.MaxInt64 {
		return event.N(uint64(x))
	}
	return event.Count{}
}

// Each yields the elements of an array (up to where an invalid one breaks off); of any other value but null and ""
// the value itself. APIs that stem from XML write a list of one as the bare
// element and an empty list as "".
func Each(v Value) iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if !IsArray(v) {
			if !IsNull(v) && string(v) != `""` {
				yield(v)
			}
			return
		}
		for at := skipSpace(v, 1); at < len(v) && v[at] != ']'; {
			end := valueEnd(v, at)
			if end == at || !yield(v[at:end]) {
				return
			}
			at = skipSpace(v, end)
			if at < len(v) && v[at] == ',' {
				at = skipSpace(v, at+1)
			}
		}
	}
}

// Object yields the keys and values of an object, nothing for other values.
func Object(v Value) iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if !IsObject(v) {
			return
		}
		for at := skipSpace(v, 1); at < len(v) && v[at] == '"'; {
			end := valueEnd(v, at)
			key := v[at:end]
			at = skipSpace(v, end)
			if at >= len(v) || v[at] != ':' {
				return
			}
			at = skipSpace(v, at+1)
			end = valueEnd(v, at)
			if end == at || !yield(Text(key), v[at:end]) {
				return
			}
			at = skipSpace(v, end)
			if at < len(v) && v[at] == ',' {
				at = skipSpace(v, at+1)
			}
		}
	}
}

// Get follows keys, whatever their case is, down nested objects.
func Get(v Value, path ...string) Value {
	for _, want := range path {
		found := Value(nil)
		for key, value := range Object(v) {
			if len(key) == len(want) && strings.EqualFold(key, want) {
				found = value
				break
			}
		}
		if v = found; v == nil {
			return nil
		}
	}
	return v
}

// View is data as a string without a copy.
func View(data []byte) string {
	return unsafe.String(unsafe.SliceData(data), len(data))
}

func skipSpace(v Value, at int) int {
	for at < len(v) && (v[at] == ' ' || v[at] == '\n' || v[at] == '\r' || v[at] == '\t') {
		at++
	}
	return at
}

// valueEnd returns where the value ends that begins at v[at]. It relies on v
// being valid; on other text it returns some place at or behind at.
func valueEnd(v Value, at int) int {
	depth := 0
	for i := at; i < len(v); i++ {
		switch v[i] {
		case '"':
			for i++; i < len(v) && v[i] != '"'; i++ {
				if v[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return min(i+1, len(v))
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
			if depth < 0 {
				return i
			}
		case ',', ':', ' ', '\n', '\r', '\t':
			if depth == 0 {
				return i
			}
		}
	}
	return len(v)
}
