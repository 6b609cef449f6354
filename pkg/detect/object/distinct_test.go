package object

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func hashed(n int) uint64 { return xxhash.Sum64String(fmt.Sprint("key", n)) }

// TestDistinct: exact up to the bound, near beyond, a function of the set, and
// the union of parts is the whole.
func TestDistinct(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{0, 1, 500, maxKeys, maxKeys + 1, 3000}).Draw(t, "keys")
		seed := rapid.IntRange(0, 1<<20).Draw(t, "seed")
		parts := make([]distinct, rapid.IntRange(1, 5).Draw(t, "parts"))
		var whole, union distinct
		for i := range n {
			h := hashed(seed + i)
			whole.add(h)
			whole.add(h)
		}
		for i := range n {
			h := hashed(seed + n - 1 - i)
			parts[h>>7%uint64(len(parts))].add(h)
			parts[h>>17%uint64(len(parts))].add(h)
		}
		for i := range parts {
			union.merge(&parts[i])
		}
		if d := cmp.Diff(whole, union, cmp.AllowUnexported(distinct{})); d != "" {
			t.Fatal(d)
		}
		switch got := whole.count(); {
		case n <= maxKeys && got != uint64(n):
			t.Fatalf("%d of %d", got, n)
		case math.Abs(float64(got)-float64(n)) > 0.17*float64(n): // five times the error
			t.Fatalf("%d of %d", got, n)
		}
		if !whole.sound() || len(whole.list) > maxKeys {
			t.Fatal("not sound")
		}
	})
}

// TestTally: which names are kept, and their sums, are a function of the set.
func TestTally(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.IntRange(0, 12), 0, 60).Draw(t, "names")
		const limit = 5
		fill := func(list []int) (out tally) {
			for _, n := range list {
				out.add(hashed(n), 1, uint64(n), limit, func() string { return fmt.Sprint(n) })
			}
			return out
		}
		back := slices.Clone(names)
		slices.Reverse(back)
		got, want := fill(names), fill(back)
		if d := cmp.Diff(want, got, cmp.AllowUnexported(tally{}, entry{})); d != "" {
			t.Fatal(d)
		}
		reads := map[string]uint64{}
		for _, n := range names {
			reads[fmt.Sprint(n)]++
		}
		for _, e := range got.list {
			if e.reads != reads[e.name] {
				t.Fatalf("%d reads of %s, not %d", e.reads, e.name, reads[e.name])
			}
		}
		if len(got.list) != min(limit, len(reads)) || got.more != (len(reads) > limit) || !got.sound(limit) {
			t.Fatalf("%d of %d names, more: %v", len(got.list), len(reads), got.more)
		}
	})
}

func TestWords(t *testing.T) {
	t.Parallel()
	for _, tc := range [][2]string{
		{count(1, "address"), "1 address"},
		{count(2, "address"), "2 addresses"},
		{count(0, "read"), "0 reads"},
		{orMore(16, true, "bucket"), "more than 16 buckets"},
		{size(999), "999 B"},
		{size(1_400_000_000), "1.40 GB"},
		{size(34_000_000), "34.0 MB"},
	} {
		if tc[0] != tc[1] {
			t.Errorf("%q, not %q", tc[0], tc[1])
		}
	}
	for source, want := range map[string][2]string{
		"b/k/l": {"b", "k/l"}, "b": {"b", ""},
		"arn:aws:s3:us-west-2:111122223333:accesspoint/ap/object/k/l": {"arn:aws:s3:us-west-2:111122223333:accesspoint/ap", "k/l"},
	} {
		if bucket, key := cutSource(source); bucket != want[0] || key != want[1] {
			t.Errorf("%s: %q %q", source, bucket, key)
		}
	}
}
