package volume

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// called are the names of one address, by their places in the list.
type called struct {
	at  [maxCalled]uint16
	len int
}

// few is how many addresses are searched one by one.
const few = 16

// called returns the names of an address, in no order.
func (n *names) called(raw *[16]byte) (c called) {
	if len(n.heads) == 0 {
		for i := range n.addrs {
			if n.addrs[i].addr == *raw && c.len < maxCalled {
				c.at[c.len] = uint16(i)
				c.len++
			}
		}
		return c
	}
	for i := n.heads[n.slot(raw)]; i != 0; i = n.addrs[i-1].chain {
		if n.addrs[i-1].addr == *raw && c.len < maxCalled {
			c.at[c.len] = i - 1
			c.len++
		}
	}
	return c
}

// around returns the last name of an address that held from a time or before,
// and the first that held only later; nil is none. They are valid until the
// next insert.
func (n *names) around(c *called, t int64) (before, after *addrName) {
	for _, i := range c.at[:c.len] {
		switch x := &n.addrs[i]; {
		case x.since <= t && (before == nil || x.since > before.since):
			before = x
		case x.since > t && (after == nil || x.since < after.since):
			after = x
		}
	}
	return before, after
}

// oldest returns the first name of an address that is known, nil if there is
// none.
func (n *names) oldest(a netip.Addr) *addrName {
	raw := a.As16()
	c := n.called(&raw)
	_, x := n.around(&c, math.MinInt64)
	return x
}

// spelled returns where a name of an address stands, noName if it has none such.
func (n *names) spelled(a netip.Addr, name string) nameRef {
	raw := a.As16()
	c := n.called(&raw)
	for _, i := range c.at[:c.len] {
		if n.is(n.addrs[i].name, name) {
			return n.addrs[i].name
		}
	}
	return noName
}

// ofAddr returns the name of an address for traffic from one event time to
// another, nil if it is not known: the last that was said before the traffic
// began, else the first within its pane.
func (n *names) ofAddr(a netip.Addr, from, to int64) *host {
	if n == nil {
		return nil
	}
	raw := a.As16()
	c := n.called(&raw)
	// Flow records tell the second in which traffic began.
	x, later := n.around(&c, from+second)
	if x == nil {
		x = later
	}
	if x != nil && x.names(to) {
		return n.host(x.name)
	}
	return nil
}

// setAddr gives an address a name, which stands at known if that is a place,
// and notes whether it is news. A name holds until the next; of two at one time
// the greater holds. used is as in addrName. It returns where the name stands,
// noName if nowhere.
func (n *names) setAddr(a netip.Addr, name string, known nameRef, at int64, used bool) nameRef {
	raw := a.As16()
	c := n.called(&raw)
	x, next := n.around(&c, at)
	if x != nil {
		if n.is(x.name, name) {
			x.at, x.used = max(x.at, at), true
			return x.name
		}
		if at < x.at || at == x.at && strings.ToLower(name) < string(n.at(x.name)) {
			return known
		}
	}
	if next != nil && n.is(next.name, name) {
		next.since = at
		n.of.news = append(n.of.news, a)
		return next.name
	}
	if known == noName {
		known = n.write(name)
	}
	said := addrName{addr: raw, since: at, at: at, name: known, used: used}
	switch {
	case x != nil && x.since == at:
		x.name, x.used = known, used
	case c.len < maxCalled:
		n.insert(said)
	default:
		_, first := n.around(&c, math.MinInt64)
		if first == next {
			return known // it would be the oldest, which gives way
		}
		said.chain = first.chain
		*first = said
	}
	n.of.news = append(n.of.news, a)
	return known
}

// insert adds a name. Where there is no room, the oldest gives way of those that
// are not used; who is passed over is no longer used.
func (n *names) insert(x addrName) {
	i := len(n.addrs)
	if i < maxAddrNames {
		if i == cap(n.addrs) {
			// Most clients look up few names: little room to grow.
			grown := make([]addrName, i, min(i+max(4, i/4), maxAddrNames))
			copy(grown, n.addrs)
			n.addrs = grown
		}
		n.addrs = append(n.addrs, x)
	} else {
		for n.addrs[n.first].used {
			n.addrs[n.first].used = false
			n.first = (n.first + 1) % maxAddrNames
		}
		i = n.first
		n.unlink(i)
		n.addrs[i] = x
		n.first = (n.first + 1) % maxAddrNames
	}
	switch {
	case len(n.addrs) <= few:
	case len(n.addrs) > len(n.heads):
		n.relink()
	default:
		n.link(i)
	}
}

// portsID tells a connection by the addresses and ports of its two sides, whoever
// logs it; 0 where they are not known. The side within comes first.
func portsID(ours, theirs *event.Endpoint) uint64 {
	p, known := ours.Port.Get()
	q, also := theirs.Port.Get()
	if !known || !also {
		return 0
	}
	var b [36]byte
	from, to := ours.IP.As16(), theirs.IP.As16()
	copy(b[:], from[:])
	copy(b[16:], to[:])
	binary.LittleEndian.PutUint16(b[32:], uint16(p))
	binary.LittleEndian.PutUint16(b[34:], uint16(q))
	return max(xxhash.Sum64(b[:]), 1)
}

// ofPorts returns the name of the connection of which a flow record tells one
// direction, nil if none said one.
func (n *names) ofPorts(e *event.Event) *host {
	if n == nil || len(n.conns) == 0 {
		return nil
	}
	ours, theirs := &e.Source, &e.Destination
	if e.Network.Direction == event.Inbound {
		ours, theirs = theirs, ours
	}
	id := portsID(ours, theirs)
	if id == 0 {
		return nil
	}
	// The newest first: ports are used again.
	for i := n.next - 1; i >= 0; i-- {
		if n.conns[i].ports == id {
			return n.host(n.conns[i].name)
		}
	}
	for i := len(n.conns) - 1; i >= n.next; i-- {
		if n.conns[i].ports == id {
			return n.host(n.conns[i].name)
		}
	}
	return nil
}

// slot is where the chain of an address begins.
func (n *names) slot(raw *[16]byte) int {
	h := binary.LittleEndian.Uint64(raw[8:])*0x9e3779b97f4a7c15 ^ bits.RotateLeft64(binary.LittleEndian.Uint64(raw[:8]), 32)
	return int(h * 0xbf58476d1ce4e5b9 >> 40 & uint64(len(n.heads)-1))
}

func (n *names) relink() {
	n.heads = make([]uint16, 1<<bits.Len(uint(len(n.addrs))))
	for i := range n.addrs {
		n.link(i)
	}
}

func (n *names) link(i int) {
	head := &n.heads[n.slot(&n.addrs[i].addr)]
	n.addrs[i].chain, *head = *head, uint16(i+1)
}

func (n *names) unlink(i int) {
	at := &n.heads[n.slot(&n.addrs[i].addr)]
	for *at != uint16(i+1) {
		at = &n.addrs[*at-1].chain
	}
	*at = n.addrs[i].chain
}
