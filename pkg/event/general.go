package event

import (
	"fmt"
	"net/netip"

	"github.com/segmentio/encoding/json"
)

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
