package volume

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestTable compares with a map.
func TestTable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var got table[int, int]
		want := map[int]int{}
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			k, v := rapid.IntRange(0, 20).Draw(t, "key"), rapid.Int().Draw(t, "value")
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				got.del(k)
				delete(want, k)
			default:
				got.set(k, v)
				want[k] = v
			}
			x, ok := got.get(k)
			if y, there := want[k]; ok != there || x != y {
				t.Fatalf("%d: %d %v, want %d %v", k, x, ok, y, there)
			}
			if d := cmp.Diff(want, maps.Collect(got.all)); d != "" || got.len() != len(want) {
				t.Fatalf("%d entries: %s", got.len(), d)
			}
		}
	})
}
