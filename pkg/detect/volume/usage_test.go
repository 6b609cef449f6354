package volume

import (
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/google/go-cmp/cmp"
)

// sharing is the detector that has the shared state.
func sharing() *metered { return &metered{} }

// TestSharedStateOfPartitionsIsJoined: what two partitions know of the site is
// known by the one that takes over from both, in whatever order, and joining
// what is known already changes nothing of it.
func TestSharedStateOfPartitionsIsJoined(t *testing.T) {
	t.Parallel()
	a, b := sharing(), sharing()
	a.shared.used(7, 1, 100)
	a.shared.used(8, 1, 103)
	a.shared.lookUp(1<<40|5, 100)
	b.shared.used(7, 2, 90)
	b.shared.used(7, 3, 120)
	b.shared.used(9, 2, 91)
	b.shared.lookUp(1<<40|5, 104)
	b.shared.lookUp(2<<40|6, 90)
	for i := range uint64(30) {
		a.shared.group("role", true).Add(i%2+1, int32(i), 1_000_000)
		b.shared.group("role", true).Add(i%2+10, int32(i), 1_000_000)
		b.shared.group("other", true).Add(1, int32(i), 5_000_000)
	}
	for _, order := range [][]*metered{{a, b}, {b, a}} {
		to := sharing()
		if err := to.LoadShared(order[0].AppendShared(nil)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := to.MergeShared(order[1].AppendShared(nil)); err != nil {
				t.Fatal(err)
			}
			u := &to.shared
			type of struct {
				first   int32
				sources int
			}
			got := map[uint64]of{}
			for _, tag := range []uint64{7, 8, 9, 10} {
				first, n := u.of(tag)
				got[tag] = of{first, n}
			}
			if d := cmp.Diff(map[uint64]of{7: {90, 3}, 8: {103, 1}, 9: {91, 1}, 10: {}}, got, cmp.AllowUnexported(of{})); d != "" {
				t.Error(d)
			}
			if u.first != 90 || !u.lookedUp(1<<40|5, 104+lookedFor) || u.lookedUp(1<<40|5, 105+lookedFor) || !u.lookedUp(2<<40|6, 90) {
				t.Errorf("first %d, looked up %v", u.first, u.lookedUp(2<<40|6, 90))
			}
		}
		// Two sources of each partition make a group, which neither had.
		for name, g := range map[string]bool{"role": true, "other": false} {
			if known := to.shared.group(name, false).Usual(40, baseline.Params{Factor: 2}).Limit > 0; known != g {
				t.Errorf("group %s: known %v", name, known)
			}
		}
		if a.shared.group("role", false).Usual(40, baseline.Params{Factor: 2}).Limit > 0 {
			t.Error("half of the group was enough")
		}
	}
	if sharing().MergeShared([]byte{9}) == nil {
		t.Error("damaged state is joined")
	}
}

// TestJoiningKeepsTheBounds: a set of places that is full keeps what more
// sources use and have used last.
func TestJoiningKeepsTheBounds(t *testing.T) {
	t.Parallel()
	a, b := sharing(), sharing()
	for i := range uint64(usageWays) {
		a.shared.used(3+i*usageSets, 1, 100)
		b.shared.used(3+(100+i)*usageSets, 1, 101)
	}
	b.shared.used(3+100*usageSets, 2, 99)
	a.shared.used(3, 2, 100)
	if err := a.MergeShared(b.AppendShared(nil)); err != nil {
		t.Fatal(err)
	}
	kept := 0
	for i := range uint64(200) {
		if _, n := a.shared.of(3 + i*usageSets); n > 0 {
			kept++
		}
	}
	_, own := a.shared.of(3)
	_, others := a.shared.of(3 + 100*usageSets)
	if kept != usageWays || own != 2 || others != 2 {
		t.Errorf("%d places, %d and %d sources", kept, own, others)
	}
}
