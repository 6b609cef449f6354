package event

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"strconv"
	"unicode/utf8"
	"unsafe"

	"github.com/segmentio/encoding/json"
)

// The functions of this file read one value of the canonical form from the
// start of d and return it with its length, or 0 where the value is of any
// other form. They work on words of eight bytes, little endian, so that the
// first byte is the lowest.

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks, by the highest bit of a byte, what does not stand for itself
// in a JSON string: a quote, a backslash, a control character, and what is not
// ASCII. Marks above the lowest one may be wrong (a borrow), that one is not.
func special(x uint64) uint64 {
	quote, slash := x^('"'*ones), x^('\\'*ones)
	return ((quote - ones) | (slash - ones) | (x - ' '*ones) | x) & highs
}

// scanText reads a string; d starts with its quote.
func scanText(d []byte) (string, int) {
	i := 1
	for i+8 <= len(d) {
		m := special(binary.LittleEndian.Uint64(d[i:]))
		if m == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(m) >> 3
		if d[i] == '"' {
			return view(d[1:i]), i + 1
		}
		break
	}
	return scanOdd(d, i)
}

// scanOdd reads a string whose bytes up to i are plain.
func scanOdd(d []byte, i int) (string, int) {
	ascii := true
	for ; i < len(d); i++ {
		switch c := d[i]; {
		case c == '"':
			s := view(d[1:i])
			if !ascii && !utf8.ValidString(s) {
				return "", 0
			}
			return s, i + 1
		case c == '\\':
			return scanEscaped(d, i)
		case c < 0x20:
			return "", 0
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return "", 0
}

// scanEscaped reads a string whose first escape stands at d[i].
func scanEscaped(d []byte, i int) (string, int) {
	for ; i < len(d) && d[i] != '"'; i++ {
		if d[i] == '\\' {
			i++
		}
	}
	if i >= len(d) {
		return "", 0
	}
	var s string
	if json.Unmarshal(d[:i+1], &s) != nil {
		return "", 0
	}
	return s, i + 1
}

// digits returns the values of the bytes of a word, and how many at its start
// are decimal digits.
func digits(x uint64) (values uint64, n int) {
	values = x ^ '0'*ones
	return values, bits.TrailingZeros64(((values+0x76*ones)|values)&highs) >> 3
}

// decimal is the number that eight digits make, the lowest byte first.
func decimal(values uint64) uint64 {
	values = values*10 + values>>8
	const pairs = 0x000000ff000000ff
	return ((values&pairs)*(100+1_000_000<<32) + (values>>16&pairs)*(1+10_000<<32)) >> 32
}

// scanUint reads an unsigned integer.
func scanUint(d []byte) (v uint64, n int) {
	if len(d) < 24 {
		return scanUintSlowly(d)
	}
	values, n := digits(binary.LittleEndian.Uint64(d))
	if n < 8 {
		if n == 0 || (n > 1 && d[0] == '0') {
			return 0, 0
		}
		return decimal(values << (64 - 8*n)), n
	}
	if d[0] == '0' {
		return 0, 0
	}
	v = decimal(values)
	values, n = digits(binary.LittleEndian.Uint64(d[8:]))
	if n < 8 {
		return v*powers[n] + decimal(values<<(64-8*n)), 8 + n
	}
	if d[16]-'0' > 9 {
		return v*100_000_000 + decimal(values), 16
	}
	return scanUintSlowly(d)
}

// powers of ten.
var powers = [8]uint64{1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000}

// scanUintSlowly reads one of any length, digit by digit.
func scanUintSlowly(d []byte) (v uint64, n int) {
	for n < len(d) && d[n]-'0' <= 9 {
		digit := uint64(d[n] - '0')
		if v > (math.MaxUint64-digit)/10 {
			return 0, 0
		}
		v = v*10 + digit
		n++
	}
	if n > 1 && d[0] == '0' {
		return 0, 0
	}
	return v, n
}

func scanCount(d []byte) (Count, int) {
	v, n := scanUint(d)
	return N(v), n
}

// scanInt reads a signed integer.
func scanInt(d []byte) (int64, int) {
	neg := len(d) > 0 && d[0] == '-'
	if neg {
		d = d[1:]
	}
	v, n := scanUint(d)
	switch {
	case n == 0 || v > math.MaxInt64:
		return 0, 0
	case neg:
		return -int64(v), n + 1
	}
	return int64(v), n
}

// scanFloat reads a number. What strconv takes beside JSON's numbers (NaN,
// hexadecimal digits, underscores) is left to the general decoder to refuse.
func scanFloat(d []byte) (float64, int) {
	n := 0
	for n < len(d) && d[n] != ',' && d[n] != '}' {
		if c := d[n]; c-'0' > 9 && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return 0, 0
		}
		n++
	}
	if !json.Valid(d[:n]) {
		return 0, 0
	}
	x, err := strconv.ParseFloat(view(d[:n]), 64)
	if err != nil {
		return 0, 0
	}
	return x, n
}

// scanAddr reads an address; d starts with its quote.
func scanAddr(d []byte) (netip.Addr, int) {
	var a [4]byte
	at := 1
	for i := range a {
		// An octet is one to three digits and a dot, at the end a quote.
		if at+4 > len(d) {
			return scanAnyAddr(d)
		}
		x := binary.LittleEndian.Uint32(d[at:])
		values := x ^ 0x30303030
		n := bits.TrailingZeros32(((values+0x76767676)|values)&0x80808080) >> 3
		end := byte('.')
		if i == len(a)-1 {
			end = '"'
		}
		if n == 0 || n == 4 || d[at+n] != end {
			return scanAnyAddr(d)
		}
		y := values << (32 - 8*n) // the digits at the top, zeros below
		v := (y>>8&0xff)*100 + (y>>16&0xff)*10 + y>>24
		if v > 255 || (n > 1 && values&0xff == 0) {
			return scanAnyAddr(d)
		}
		a[i] = byte(v)
		at += n + 1
	}
	return netip.AddrFrom4(a), at
}

// scanAnyAddr reads any address without a zone.
func scanAnyAddr(d []byte) (netip.Addr, int) {
	s, n := scanText(d)
	if n == 0 {
		return netip.Addr{}, 0
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, 0
	}
	return a, n
}

// scanHash reads 16 hexadecimal digits; d starts with their quote.
func scanHash(d []byte) (Count, int) {
	s, n := scanText(d)
	c, ok := parseHash(s)
	if !ok {
		return Count{}, 0
	}
	return c, n
}

func parseHash(s string) (Count, bool) {
	if len(s) != 16 {
		return Count{}, false
	}
	v, err := strconv.ParseUint(s, 16, 64)
	return N(v), err == nil
}

// scanList reads a list behind out; d starts with its bracket.
func scanList[T any](d []byte, out []T, one func([]byte) (T, int)) ([]T, int) {
	for at := 1; at < len(d) && d[at] == '"'; {
		v, n := one(d[at:])
		if n <= 0 || at+n >= len(d) {
			return nil, 0
		}
		out = append(out, v)
		at += n
		switch d[at] {
		case ']':
			return out, at + 1
		case ',':
			at++
		default:
			return nil, 0
		}
	}
	return nil, 0
}

// view is d as a string without a copy.
func view(d []byte) string {
	return unsafe.String(unsafe.SliceData(d), len(d))
}
