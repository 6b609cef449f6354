package event

import (
	"errors"
	"fmt"
)

// Errors of Decode, to be tested with errors.Is.
var (
	ErrKind    = errors.New("unknown event kind")
	ErrVersion = errors.New("unknown event version")
	ErrFormat  = errors.New("malformed event")
)

// Append appends the canonical JSON form of e to dst.
func (e *Event) Append(dst []byte) ([]byte, error) {
	if e.Kind == KindUnknown || e.Kind >= KindMark {
		return dst, fmt.Errorf("encode event: %w: %d", ErrKind, e.Kind)
	}
	dst = append(dst, `{"kind":"`...)
	dst = append(dst, kindNames[e.Kind]...)
	dst = append(dst, `","v":1`...)
	return append(e.appendFields(dst), '}'), nil
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
// surprise, leaving e half filled. The code for the fields is generated
// (canonical.go): each field is looked for where it stands in canonical order,
// by words of its key, and what is not there costs one comparison.
func decodeCanonical(data []byte, e *Event) bool {
	const head, version = `{"kind":"`, `","v":1`
	if len(data) < len(head)+len(version) || string(data[:8]) != head[:8] || data[8] != head[8] {
		return false
	}
	rest := data[len(head):]
	q := 0
	for q < len(rest)-len(version) && rest[q] != '"' {
		q++
	}
	e.Kind = ParseKind(view(rest[:q]))
	if e.Kind == KindUnknown || e.Kind == KindMark || string(rest[q:q+len(version)]) != version {
		return false
	}
	rest = e.scanFields(rest[q+len(version):])
	return len(rest) == 1 && rest[0] == '}'
}
