package event

import "math"

// Count is a counter that may be absent. The zero value is absent, which is
// not the same as a count of zero.
type Count struct{ plus1 uint64 }

// N is a known count. The largest uint64 is not representable and is stored
// as one less.
func N[T ~int | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64](n T) Count {
	if n < 0 {
		return Count{}
	}
	u := uint64(n)
	if u == math.MaxUint64 {
		u--
	}
	return Count{u + 1}
}

// Known reports whether the source gave the counter.
func (c Count) Known() bool { return c.plus1 != 0 }

// Get returns the count and whether it is known.
func (c Count) Get() (n uint64, known bool) {
	if c.plus1 == 0 {
		return 0, false
	}
	return c.plus1 - 1, true
}

// Or returns the count, or otherwise when it is absent.
func (c Count) Or(otherwise uint64) uint64 {
	if c.plus1 == 0 {
		return otherwise
	}
	return c.plus1 - 1
}
