package volume

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// TestCalled holds a key's names against a list of all that was said: an
// address has few names, at times of their own, each is found by its hash, the
// name at a time is the last that was said before (where no more were said than
// are kept, and in order), and a snapshot is the same again.
func TestCalled(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		type said struct {
			at   int64
			name string
		}
		addrs := rapid.IntRange(1, 2*maxAddrNames/maxCalled).Draw(rt, "addresses")
		n := &names{of: newNameKeeper().(*nameKeeper)}
		all := map[netip.Addr][]said{}
		now := int64(0)
		for range rapid.IntRange(1, 200).Draw(rt, "answers") {
			a := netip.AddrFrom4([4]byte{203, 0, byte(rapid.IntRange(0, addrs-1).Draw(rt, "address")), 1})
			now += rapid.Int64Range(1, 90).Draw(rt, "seconds") * second
			s := said{now, fmt.Sprintf("n%d.example.com", rapid.IntRange(0, 2).Draw(rt, "name"))}
			n.setAddr(a, s.name, noName, s.at, rapid.Bool().Draw(rt, "used"))
			all[a] = append(all[a], s)
		}
		if len(n.addrs) > maxAddrNames {
			rt.Fatalf("%d names", len(n.addrs))
		}
		for a, list := range all {
			raw := a.As16()
			c := n.called(&raw)
			var at []int64
			for _, i := range c.at[:c.len] {
				at = append(at, n.addrs[i].since)
			}
			slices.Sort(at)
			stored := 0
			for i := range n.addrs {
				if n.addrs[i].addr == raw {
					stored++
				}
			}
			if stored != c.len || len(slices.Compact(at)) != c.len || len(all) < maxAddrNames/maxCalled && c.len == 0 {
				rt.Fatalf("%s: %d names, %d are found, since %v", a, stored, c.len, at)
			}
			changes := 1
			for i := 1; i < len(list); i++ {
				if list[i].name != list[i-1].name {
					changes++
				}
			}
			if changes > maxCalled || len(all) >= maxAddrNames/maxCalled {
				continue
			}
			for i, s := range list {
				// Flow records tell the second: what was said within it counts.
				for _, from := range []int64{s.at - second, s.at} {
					want := s.name
					for _, next := range list[i+1:] {
						if next.at <= from+second {
							want = next.name
						}
					}
					if got := n.ofAddr(a, from, max(from, s.at)); got == nil || got.name != want {
						rt.Fatalf("%s at %d: %v, want %s of %v", a, from, got, want, list)
					}
				}
			}
		}
		data := n.Append(nil)
		again := &names{of: n.of}
		if err := again.Load(data); err != nil {
			rt.Fatal(err)
		}
		if !bytes.Equal(again.Append(nil), data) {
			rt.Fatal("a snapshot is not the same again")
		}
	})
}

// TestNamesVersion1 holds that the names of the release before are read: it
// knew no ports, and one name of an address.
func TestNamesVersion1(t *testing.T) {
	t.Parallel()
	a := netip.MustParseAddr("203.0.113.9").As16()
	old := []byte{1, 8, 0, 1, 7, 9}
	old = append(append(old, "a.example"...), 0, 1)
	old = append(append(old, a[:]...), 9)
	old = append(append(old, "a.example"...), 4, 8)
	n := &names{of: newNameKeeper().(*nameKeeper)}
	if err := n.Load(old); err != nil {
		t.Fatal(err)
	}
	if h := n.ofConn(7); h == nil || h.name != "a.example" {
		t.Errorf("the connection is %v", h)
	}
	if h := n.ofAddr(netip.MustParseAddr("203.0.113.9"), 4, 4); h == nil || h.name != "a.example" || n.last != 4 {
		t.Errorf("the address is %v, last %d", h, n.last)
	}
}

// TestUsedNamesStay: what a connection has said outlasts a flood of answers to
// which nothing happened, once; and ports of which nothing is known are none.
func TestUsedNamesStay(t *testing.T) {
	t.Parallel()
	n := &names{of: newNameKeeper().(*nameKeeper)}
	n.setAddr(netip.MustParseAddr("203.0.113.9"), "used.example", noName, 1, true)
	n.setAddr(netip.MustParseAddr("203.0.113.10"), "asked.example", noName, 1, false)
	flood := func(k byte) {
		for i := range maxAddrNames {
			n.setAddr(netip.AddrFrom4([4]byte{198, k, byte(i >> 8), byte(i)}), "flood.example", noName, 2, false)
		}
	}
	flood(18)
	if h := n.ofAddr(netip.MustParseAddr("203.0.113.9"), 1, 1); h == nil || h.name != "used.example" {
		t.Errorf("the used name is %v", h)
	}
	if h := n.ofAddr(netip.MustParseAddr("203.0.113.10"), 1, 1); h != nil {
		t.Errorf("the other is %v", h)
	}
	flood(19)
	if h := n.ofAddr(netip.MustParseAddr("203.0.113.9"), 1, 1); h != nil {
		t.Errorf("after two floods it is %v", h)
	}
	e := event.Event{Kind: event.KindFlow}
	n.setConn(connName{id: 7, name: n.write("a.example")})
	if h := n.ofPorts(&e); h != nil {
		t.Errorf("no ports are %v", h)
	}
}
