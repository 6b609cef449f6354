package zeek

import (
	"math"
	"strconv"
)

// maxCount is the largest counter that is believed: 2^53, above which JSON
// writers lose digits and no connection gets.
const maxCount = 1 << 53

// maxSeconds is the end of the year 9999.
const maxSeconds = 253402300799

// count reads a counter: digits, or a float without a fraction. ok is false
// for anything negative, above maxCount, or no number.
func count(b []byte) (n uint64, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	for i, c := range b {
		d := c - '0'
		if d > 9 || i >= 17 {
			return countSlow(b)
		}
		n = n*10 + uint64(d)
	}
	return n, n <= maxCount
}

func countSlow(b []byte) (uint64, bool) {
	x, ok := float(b)
	if !ok || x < 0 || x > maxCount || x != math.Trunc(x) {
		return 0, false
	}
	return uint64(x), true
}

// float reads a finite number. Go's own spellings (hexadecimal, underscores,
// names) are refused.
func float(b []byte) (float64, bool) {
	if len(b) == 0 || len(b) > 400 {
		return 0, false
	}
	for _, c := range b {
		if c-'0' > 9 && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return 0, false
		}
	}
	x, err := strconv.ParseFloat(view(b), 64)
	return x, err == nil
}

// micros reads decimal seconds as microseconds, rounded as printf("%.6f")
// rounds the double that the digits stand for: that is what makes the JSON
// form (full precision) and the TSV form (six decimals) of one value equal.
func micros(b []byte) (int64, bool) {
	digits, neg := b, false
	if len(b) > 0 && b[0] == '-' {
		digits, neg = b[1:], true
	}
	var whole int64
	i := 0
	for ; i < len(digits) && digits[i]-'0' <= 9; i++ {
		if i >= 12 {
			return microsSlow(b)
		}
		whole = whole*10 + int64(digits[i]-'0')
	}
	if i == 0 {
		return microsSlow(b)
	}
	var frac int64
	if i < len(digits) {
		if digits[i] != '.' {
			return microsSlow(b)
		}
		tail := digits[i+1:]
		unit := int64(100_000)
		for j, c := range tail {
			if c-'0' > 9 {
				return microsSlow(b)
			}
			if j < 6 {
				frac += int64(c-'0') * unit
				unit /= 10
			}
		}
		if len(tail) > 6 {
			up, sure := rounds(whole, tail[6:])
			if !sure {
				return microsSlow(b)
			}
			if up {
				frac++
			}
		}
	}
	us := whole*1_000_000 + frac
	if neg {
		us = -us
	}
	return us, true
}

// rounds tells whether the digits after the sixth decimal round up. It is not
// sure where the double that they stand for may lie on the other side of the
// half: within 1e-3 of it for values up to 1e6, anywhere for larger ones.
func rounds(whole int64, tail []byte) (up, sure bool) {
	if whole >= 1_000_000 {
		return false, false
	}
	n := 0
	for j := range 3 {
		n *= 10
		if j < len(tail) {
			n += int(tail[j] - '0')
		}
	}
	return n >= 500, n < 499 || n > 500
}

func microsSlow(b []byte) (int64, bool) {
	x, ok := float(b)
	if !ok || math.Abs(x) > maxSeconds {
		return 0, false
	}
	var buf [32]byte
	s := strconv.AppendFloat(buf[:0], x, 'f', 6, 64)
	// s has six decimals: without the dot it counts microseconds.
	dot := len(s) - 7
	us, err := strconv.ParseInt(view(append(s[:dot], s[dot+1:]...)), 10, 64)
	return us, err == nil
}

// interval reads a duration in seconds, as microseconds from 0 to limit.
func interval(b []byte, limit int64) (int64, bool) {
	us, ok := micros(b)
	if !ok || us < 0 || us > limit {
		return 0, false
	}
	return us, true
}

// timestamp reads a time in any of Zeek's three forms (formats.md §3.2) as
// microseconds since the epoch: seconds with a fraction, milliseconds (any
// number above 1e11; the unsigned form of a negative one as well), or ISO 8601.
func timestamp(b []byte) (int64, bool) {
	if len(b) >= 19 && b[4] == '-' {
		return isoTime(b)
	}
	whole, exp := len(b), false
	for i, c := range b {
		if c == '.' && whole == len(b) {
			whole = i
		} else if c == 'e' || c == 'E' {
			exp = true
		}
	}
	if whole < 12 && !exp { // below 1e11 whatever the digits
		return micros(b)
	}
	if whole == len(b) && !exp {
		if ms, err := strconv.ParseInt(view(b), 10, 64); err == nil {
			return millis(ms)
		}
		ms, err := strconv.ParseUint(view(b), 10, 64)
		if err != nil {
			return 0, false
		}
		return millis(int64(ms)) // TS_MILLIS_UNSIGNED of a time before 1970
	}
	x, ok := float(b)
	switch {
	case !ok || math.Abs(x) > maxSeconds*1000:
		return 0, false
	case math.Abs(x) <= 1e11:
		return microsSlow(b)
	}
	return int64(math.Round(x * 1000)), true
}

func millis(ms int64) (int64, bool) {
	if ms > -1e11 && ms < 1e11 {
		return ms * 1_000_000, true
	}
	if ms < -maxSeconds*1000 || ms > maxSeconds*1000 {
		return 0, false
	}
	return ms * 1000, true
}

// isoTime reads YYYY-MM-DDTHH:MM:SS with any fraction and Z, an offset, or
// nothing (UTC).
func isoTime(b []byte) (int64, bool) {
	year, ok1 := digits(b, 0, 4)
	month, ok2 := digits(b, 5, 2)
	day, ok3 := digits(b, 8, 2)
	hour, ok4 := digits(b, 11, 2)
	minute, ok5 := digits(b, 14, 2)
	second, ok6 := digits(b, 17, 2)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 ||
		b[4] != '-' || b[7] != '-' || (b[10] != 'T' && b[10] != ' ') || b[13] != ':' || b[16] != ':' ||
		month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 60 {
		return 0, false
	}
	us := ((daysFromCivil(year, month, day)*24+hour)*60+minute)*60 + second
	us *= 1_000_000
	rest := b[19:]
	if len(rest) > 0 && rest[0] == '.' {
		n := 1
		for n < len(rest) && rest[n]-'0' <= 9 {
			n++
		}
		us += isoFraction(rest[1:n])
		rest = rest[n:]
	}
	switch {
	case len(rest) == 0, len(rest) == 1 && (rest[0] == 'Z' || rest[0] == 'z'):
		return us, true
	case rest[0] == '+' || rest[0] == '-':
		h, ok := digits(rest, 1, 2)
		at := 3
		if len(rest) == 6 && rest[3] == ':' {
			at = 4
		}
		m, okm := digits(rest, at, 2)
		if !ok || !okm || at+2 != len(rest) || h > 14 || m > 59 {
			return 0, false
		}
		off := (h*60 + m) * 60_000_000
		if rest[0] == '-' {
			off = -off
		}
		return us - off, true
	}
	return 0, false
}

// isoFraction returns the microseconds of the digits after the point. Zeek
// prints microseconds with "%06.0f", so a value that rounds up to a second
// has seven digits and means that second.
func isoFraction(b []byte) int64 {
	if string(b) == "1000000" {
		return 1_000_000
	}
	var us int64
	for i := range 6 {
		us *= 10
		if i < len(b) {
			us += int64(b[i] - '0')
		}
	}
	if len(b) > 6 && b[6] >= '5' {
		us++
	}
	return us
}

func digits(b []byte, at, n int) (v int64, ok bool) {
	if at+n > len(b) {
		return 0, false
	}
	for _, c := range b[at : at+n] {
		if c-'0' > 9 {
			return 0, false
		}
		v = v*10 + int64(c-'0')
	}
	return v, true
}

func daysIn(year, month int64) int64 {
	switch {
	case month == 2 && year%4 == 0 && (year%100 != 0 || year%400 == 0):
		return 29
	case month == 2:
		return 28
	case month == 4 || month == 6 || month == 9 || month == 11:
		return 30
	}
	return 31
}

// daysFromCivil counts the days from 1970-01-01 in the proleptic Gregorian
// calendar (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
func daysFromCivil(y, m, d int64) int64 {
	if m <= 2 {
		y--
	}
	era := y / 400
	if y < 0 {
		era = (y - 399) / 400
	}
	yoe := y - era*400
	doy := (153*((m+9)%12)+2)/5 + d - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146097 + doe - 719468
}
