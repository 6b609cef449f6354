package quality

import (
	"fmt"
	"math"
	"slices"
)

// Interval is an estimate with its 95 % confidence interval.
type Interval struct {
	K, N     int
	Low, Top float64
}

// tail is what each end of a 95 % interval leaves out.
const tail = 0.025

// proportion is the exact interval of k of n (Clopper and Pearson, "The Use of
// Confidence or Fiducial Limits", Biometrika 26, 1934).
func proportion(k, n int) Interval {
	i := Interval{K: k, N: n, Top: 1}
	if n == 0 {
		return i
	}
	if k > 0 {
		i.Low = bisect(func(p float64) bool { return 1-binomialCDF(k-1, n, p) < tail })
	}
	if k < n {
		i.Top = bisect(func(p float64) bool { return binomialCDF(k, n, p) > tail })
	}
	return i
}

func (i Interval) String() string {
	if i.N == 0 {
		return "none"
	}
	return fmt.Sprintf("%d of %d (%s–%s %%)", i.K, i.N, percent(i.Low), percent(i.Top))
}

func percent(p float64) string { return fmt.Sprintf("%.3g", 100*p) }

// bisect finds where a condition that holds below stops to hold, in 0 to 1.
func bisect(holds func(p float64) bool) float64 {
	low, top := 0.0, 1.0
	for range 60 {
		if mid := (low + top) / 2; holds(mid) {
			low = mid
		} else {
			top = mid
		}
	}
	return (low + top) / 2
}

// binomialCDF is the probability of at most k of n.
func binomialCDF(k, n int, p float64) (sum float64) {
	switch {
	case p <= 0:
		return 1
	case p >= 1:
		if k >= n {
			return 1
		}
		return 0
	}
	ln, _ := math.Lgamma(float64(n + 1))
	for i := 0; i <= k; i++ {
		li, _ := math.Lgamma(float64(i + 1))
		lr, _ := math.Lgamma(float64(n - i + 1))
		sum += math.Exp(ln - li - lr + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
	}
	return min(sum, 1)
}

// rate is the exact interval of the mean of a Poisson count (Garwood, 1936),
// per unit of exposure.
func rate(k int, exposure float64) (low, top float64) {
	const most = 1e5
	cdf := func(k int, mean float64) (sum float64) {
		for i := 0; i <= k; i++ {
			li, _ := math.Lgamma(float64(i + 1))
			sum += math.Exp(float64(i)*math.Log(mean) - mean - li)
		}
		return sum
	}
	if k > 0 {
		low = most * bisect(func(p float64) bool { return 1-cdf(k-1, most*p) < tail })
	}
	top = most * bisect(func(p float64) bool { return cdf(k, most*p) > tail })
	return low / exposure, top / exposure
}

// quantile is the value below which a share of the values lies (nearest rank).
func quantile(values []float64, share float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(share*float64(len(sorted))))-1)]
}
