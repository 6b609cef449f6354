package event

import (
	"net/netip"

	"pgregory.net/rapid"
)

// The two decoders, for tests that hold them together.
var (
	DecodeGeneral   = decodeGeneral
	DecodeCanonical = func(data []byte, e *Event) bool { e.Reset(); return decodeCanonical(data, e) }
)

// Draw sets the field to a present value.
func (f *Field) Draw(t *rapid.T, e *Event) {
	ip := rapid.OneOf(
		rapid.Map(rapid.Uint32(), func(n uint32) netip.Addr {
			return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		}),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 16, 16), func(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)) }))
	text := rapid.StringN(1, 30, -1).Filter(func(s string) bool { return s != "" })
	switch f.Type {
	case TypeString:
		if len(f.Enum) > 0 {
			*f.str(e) = rapid.SampledFrom(f.Enum).Draw(t, f.Key)
			return
		}
		*f.str(e) = text.Draw(t, f.Key)
	case TypeCount, TypeHash:
		*f.count(e) = N(rapid.Uint64Max(1<<64-2).Draw(t, f.Key))
	case TypeMicros:
		*f.micros(e) = rapid.Int64().Filter(func(n int64) bool { return n != 0 && n != -1<<63 }).Draw(t, f.Key)
	case TypeBool:
		*f.flag(e) = true
	case TypeFloat:
		*f.float(e) = rapid.Float64Range(0.001, 1e9).Draw(t, f.Key)
	case TypeIP:
		*f.addr(e) = ip.Draw(t, f.Key)
	case TypeStrings:
		*f.strs(e) = rapid.SliceOfN(text, 1, 4).Draw(t, f.Key)
	case TypeIPs:
		*f.addrs(e) = rapid.SliceOfN(ip, 1, 4).Draw(t, f.Key)
	}
}
