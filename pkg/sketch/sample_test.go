package sketch_test

import (
	"math"
	"math/bits"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/sketch"
)

type entry struct {
	key   uint64
	times int
}

func (e entry) Key() uint64 { return e.key }

// add counts a key.
func add(s *sketch.Sample[entry], key uint64, limit int) {
	switch e := s.Find(key); {
	case e != nil:
		e.times++
	case s.Holds(key):
		s.Add(entry{key, 1}, limit)
	}
}

func contents(s *sketch.Sample[entry]) map[uint64]int {
	out := map[uint64]int{}
	for e := range s.All {
		out[e.key] = e.times
	}
	return out
}

// TestSampleAgainstNaive compares with a map of all keys: the sample holds
// exactly those of the level, with complete counts, and the level is the
// lowest at which they fit.
func TestSampleAgainstNaive(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 40).Draw(t, "limit")
		numbers := rapid.SliceOfN(rapid.IntRange(0, 300), 0, 600).Draw(t, "numbers")
		var s sketch.Sample[entry]
		all := map[uint64]int{}
		for _, n := range numbers {
			k := sketch.Key(xxhash.Sum64([]byte{byte(n), byte(n >> 8)}))
			all[k]++
			add(&s, k, limit)
		}
		want := map[uint64]int{}
		level := 0
		for ; ; level++ {
			clear(want)
			for k, n := range all {
				if bits.LeadingZeros64(k) >= level {
					want[k] = n
				}
			}
			if len(want) <= limit {
				break
			}
		}
		if int(s.Level()) != level {
			t.Fatalf("level %d, want %d", s.Level(), level)
		}
		if d := cmp.Diff(want, contents(&s)); d != "" {
			t.Fatal(d)
		}
		// Another order gives the same bytes.
		var other sketch.Sample[entry]
		slices.Reverse(numbers)
		for _, n := range numbers {
			add(&other, sketch.Key(xxhash.Sum64([]byte{byte(n), byte(n >> 8)})), limit)
		}
		enc := func(s *sketch.Sample[entry]) []byte {
			return s.Append(nil, func(dst []byte, e *entry) []byte {
				return operator.AppendInt(operator.AppendUint(dst, e.key), e.times)
			})
		}
		if string(enc(&s)) != string(enc(&other)) {
			t.Fatal("the order of arrival changes the encoding")
		}
		var loaded sketch.Sample[entry]
		r := operator.NewReader(enc(&s))
		loaded.Load(r, func(r *operator.Reader) entry { return entry{r.Uint(), int(r.Int())} })
		if r.Err() != nil || r.Len() != 0 || string(enc(&loaded)) != string(enc(&s)) {
			t.Fatalf("not the same after loading: %v", r.Err())
		}
	})
}

func TestSampleEstimates(t *testing.T) {
	t.Parallel()
	var s sketch.Sample[entry]
	const n, limit = 100_000, 1024
	for i := range uint64(n) {
		add(&s, sketch.Key(xxhash.Sum64([]byte{byte(i), byte(i >> 8), byte(i >> 16)})), limit)
	}
	if s.Len() > limit || s.Len() < limit/4 {
		t.Fatalf("%d entries of at most %d", s.Len(), limit)
	}
	got := float64(s.Scale(uint64(s.Len())))
	if off := math.Abs(got-n) / n; off > 4/math.Sqrt(limit/2) {
		t.Errorf("estimate %g of %d is off by %.3f", got, n, off)
	}
}

func TestSampleDamaged(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s sketch.Sample[entry]
		r := operator.NewReader(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		s.Load(r, func(r *operator.Reader) entry { return entry{r.Uint(), int(r.Int())} })
		if s.Find(12345) != nil && s.Len() == 0 {
			t.Fatal("found in an empty sample")
		}
	})
}

func TestSampleCloneAndReset(t *testing.T) {
	t.Parallel()
	var s sketch.Sample[entry]
	for n := range 100 {
		add(&s, sketch.Key(xxhash.Sum64([]byte{byte(n)})), 20)
	}
	want := contents(&s)
	c := s.Clone()
	s.Reset()
	if s.Len() != 0 || s.Level() != 0 || len(contents(&s)) != 0 {
		t.Error("not empty after a reset")
	}
	add(&s, 1, 20)
	if d := cmp.Diff(want, contents(&c)); d != "" {
		t.Errorf("the clone changed: %s", d)
	}
	if d := cmp.Diff(map[uint64]int{1: 1}, contents(&s)); d != "" {
		t.Error(d)
	}
	if c.Size() < 16*c.Len() {
		t.Errorf("%d entries in %d bytes", c.Len(), c.Size())
	}
}
