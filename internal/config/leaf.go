package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// leaf is one settable key.
type leaf struct {
	key, help string
	value     reflect.Value
}

// env is the key's environment variable.
func (l leaf) env() string {
	return "EBB_" + strings.NewReplacer(".", "_", "-", "_").Replace(strings.ToUpper(l.key))
}

// leavesOf lists the keys of a struct in the order of its fields.
func leavesOf(cfg any) ([]leaf, error) {
	v := reflect.ValueOf(cfg)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("configuration is a %T, not a pointer to a struct", cfg)
	}
	var out []leaf
	walk(v.Elem(), "", &out)
	return out, nil
}

func walk(v reflect.Value, prefix string, out *[]leaf) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if !field.IsExported() || name == "-" {
			continue
		}
		at := v.Field(i)
		if at.Kind() == reflect.Struct && !isText(at) {
			inner := prefix
			if !strings.Contains(options, "inline") {
				inner += name + "."
			}
			walk(at, inner, out)
			continue
		}
		if settable(at) {
			*out = append(*out, leaf{prefix + name, field.Tag.Get("help"), at})
		}
	}
}

func isText(v reflect.Value) bool {
	_, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr())
	return ok
}

// settable reports whether a value can be given as one text.
func settable(v reflect.Value) bool {
	if isText(v) {
		return true
	}
	switch v.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64, reflect.Float64:
		return true
	case reflect.Slice:
		return settable(reflect.New(v.Type().Elem()).Elem())
	default:
		return false
	}
}

// probe checks a text without setting the value.
func (l leaf) probe(text string) error {
	return leaf{value: reflect.New(l.value.Type()).Elem()}.set(text)
}

// set parses a text into the value; a list is separated by commas.
func (l leaf) set(text string) error {
	v := l.value
	if v.Kind() == reflect.Slice && !isText(v) {
		list := reflect.MakeSlice(v.Type(), 0, 0)
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part == "" {
				continue
			}
			one := reflect.New(v.Type().Elem()).Elem()
			if err := (leaf{value: one}).set(part); err != nil {
				return err
			}
			list = reflect.Append(list, one)
		}
		v.Set(list)
		return nil
	}
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		return u.UnmarshalText([]byte(text))
	}
	if v.Type() == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is no duration such as 500ms or 2m", text)
		}
		v.SetInt(int64(d))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is no integer of %d bits", text, v.Type().Bits())
		}
		v.SetInt(n)
	case reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is no unsigned integer of %d bits", text, v.Type().Bits())
		}
		v.SetUint(n)
	case reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q is no number", text)
		}
		v.SetFloat(x)
	default:
		return fmt.Errorf("a %s cannot be set from a text", v.Type())
	}
	return nil
}

// text is the value as the reference page shows a default.
func (l leaf) text() string {
	v := l.value
	if v.IsZero() && v.Kind() != reflect.Bool {
		return ""
	}
	if m, ok := reflect.TypeAssert[encoding.TextMarshaler](v.Addr()); ok {
		data, err := m.MarshalText()
		if err != nil {
			return ""
		}
		return string(data)
	}
	if v.Kind() == reflect.Slice {
		var parts []string
		for i := range v.Len() {
			parts = append(parts, fmt.Sprint(v.Index(i).Interface()))
		}
		return strings.Join(parts, ",")
	}
	return fmt.Sprint(v.Interface())
}
