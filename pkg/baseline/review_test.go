package baseline_test

import (
	"math"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/baseline"
)

// What grew unreviewed is found, at the hour where it grew; what grows as
// anything does is not.
func TestGrown(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		grows float64 // a day
		bytes uint64
		want  bool
	}{
		"3 % a day":         {1.03, 200e6, true},
		"0.8 % a day":       {1.008, 200e6, false},
		"not at all":        {1, 200e6, false},
		"below what counts": {1.03, 1e6, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s baseline.Series
			base := func(h int32) uint64 {
				if d := h % 24; d >= 8 && d < 18 {
					return tc.bytes
				}
				return 0
			}
			h := fill(&s, h0, 14, base)
			if _, _, ok := s.Grown(params); ok {
				t.Error("it has grown before it was complete")
			}
			for day := range 30 {
				for range 24 {
					s.Put(h, uint64(float64(base(h))*math.Pow(tc.grows, float64(day+1))), baseline.Plain, params)
					h++
				}
			}
			hour, u, ok := s.Grown(params)
			if ok && u.Drift() < 1.1 {
				ok = false // as coarse as sums are kept
			}
			if ok != tc.want {
				t.Fatalf("%t: hour %d, %+v", ok, hour, u)
			}
			if d := hour % 24; ok && (d < 7 || d > 18) {
				t.Errorf("it grew at %d", d)
			}
			if next, _ := s.Next(params); next != s.Last()+1 {
				t.Errorf("next is %d after %d", next, s.Last())
			}
		})
	}
}
