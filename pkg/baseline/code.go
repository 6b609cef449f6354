package baseline

import (
	"math"
	"math/bits"
)

// A sum is kept as a code: 0 is less than minBytes, code c is a sum of at
// least minBytes·2^((c-1)/7) and less than the next code's.
const (
	minShift = 10
	minBytes = 1 << minShift
	perOct   = 7
)

// steps are 2^(k/7) and middles 2^((k+½)/7), times 2^20.
var (
	steps   = [perOct]uint64{1048576, 1157722, 1278228, 1411279, 1558178, 1720368, 1899440}
	middles = [perOct]uint64{1101798, 1216484, 1343107, 1482910, 1637266, 1807688, 1995849}
)

// codeOf is the code of a sum.
func codeOf(n uint64) uint8 {
	if n < minBytes {
		return 0
	}
	oct := bits.Len64(n) - 1
	// The sum, scaled into [2^20, 2^21).
	var f uint64
	if oct >= 20 {
		f = n >> (oct - 20)
	} else {
		f = n << (20 - oct)
	}
	k := perOct - 1
	for k > 0 && f < steps[k] {
		k--
	}
	return uint8(min((oct-minShift)*perOct+k+1, 255))
}

// valueOf is the sum that a code stands for: the geometric middle of its step.
func valueOf(c uint8) uint64 {
	if c == 0 {
		return 0
	}
	oct, k := int(c-1)/perOct+minShift, int(c-1)%perOct
	if oct >= 20 {
		return middles[k] << (oct - 20)
	}
	return middles[k] >> (20 - oct)
}

// counts are how often each code occurs.
type counts struct {
	of [256]uint32
	n  uint32
}

func (h *counts) add(c uint8) {
	h.of[c]++
	h.n++
}

// merge adds what another counted. Counts end at what all together can hold.
func (h *counts) merge(o *counts) {
	for c, n := range o.of {
		n = min(n, math.MaxUint32-h.n)
		h.of[c] += n
		h.n += n
	}
}

// quantile interpolates the quantile num/den (type 7) of what was counted.
func (h *counts) quantile(num, den uint64) uint64 {
	if h.n == 0 {
		return 0
	}
	at := uint64(h.n-1) * num
	i, rest := at/den, at%den
	low := h.at(i)
	if rest == 0 {
		return low
	}
	return low + (h.at(i+1)-low)*rest/den
}

// at is the value of rank i, from 0.
func (h *counts) at(i uint64) uint64 {
	seen := uint64(0)
	for c := range h.of {
		if seen += uint64(h.of[c]); seen > i {
			return valueOf(uint8(c))
		}
	}
	return 0
}

// spread is the median absolute deviation from a median.
func (h *counts) spread(median uint64) uint64 {
	if h.n == 0 {
		return 0
	}
	// Deviations grow on both sides of the median: walk outwards from the ends
	// of a merged order.
	lo, hi := 0, len(h.of)-1
	left := h.n
	dev := func(c int) uint64 {
		v := valueOf(uint8(c))
		return max(v, median) - min(v, median)
	}
	// The farthest first, until the middle one is reached.
	for {
		for lo < hi && h.of[lo] == 0 {
			lo++
		}
		for hi > lo && h.of[hi] == 0 {
			hi--
		}
		c := lo
		if dev(hi) > dev(lo) {
			c = hi
		}
		if left-min(left, h.of[c]) <= h.n/2 {
			return dev(c)
		}
		left -= h.of[c]
		if c == lo {
			lo++
		} else {
			hi--
		}
	}
}
