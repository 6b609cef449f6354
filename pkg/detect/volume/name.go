package volume

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	"github.com/ebbwatch/ebbwatch/pkg/window"
	"golang.org/x/net/publicsuffix"
)

// Bounds of what a key remembers of names.
const (
	maxConnNames = 256 // of connections whose record has not come yet
	maxAddrNames = 512
	maxAnswers   = 8 // addresses of one DNS answer
)

// host is a name by which a destination was asked for.
type host struct {
	name string
	// group is its registered domain: the names under it are one destination.
	group string

	// own is what site said of it in pane: most events ask again and again.
	site *site.Site
	pane int64
	own  bool
}

// isOwn reports whether it is a name of the site's own.
func (h *host) isOwn(s *site.Site, t int64) bool {
	if pane := window.PaneOf(t); h.site != s || h.pane != pane {
		h.site, h.pane, h.own = s, pane, s.OwnDomain(h.name, pane)
	}
	return h.own
}

// newHost clones a name; nil if it is none.
func newHost(name string) *host {
	name = hostName(name)
	if name == "" {
		return nil
	}
	name = strings.ToLower(strings.Clone(name))
	h := &host{name: name, group: name}
	if g, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
		h.group = g
	}
	return h
}

// hostName takes port and trailing dot off; it returns "" for what is an
// address or no name at all.
func hostName(s string) string {
	if i := strings.LastIndexByte(s, ':'); i > 0 && strings.IndexByte(s, ':') == i {
		s = s[:i]
	}
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 || strings.IndexByte(s, '.') < 0 {
		return ""
	}
	if c := s[len(s)-1]; c >= '0' && c <= '9' || c == ']' {
		if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
			return ""
		}
	}
	return s
}

// is reports whether a host has the name, as written by a source.
func (h *host) is(name string) bool { return h != nil && strings.EqualFold(h.name, hostName(name)) }

// names remember how this key called the addresses that it spoke to: by
// connection (SNI, Host), which is exact, and by address (the same, and the
// answers of DNS), which is the last word before the connection.
type names struct {
	conns []connName // ring
	next  int        // where the ring is written
	addrs map[netip.Addr]addrName
	order []netip.Addr // of addrs, ring
	first int          // the oldest of order once it is full
}

type connName struct {
	id   uint64
	host *host
}

type addrName struct {
	host *host
	// since is when the address was first called so, at when last.
	since, at int64
}

// names reports whether the name holds for traffic at an event time: one that
// came in the same pane or before. What comes later says nothing about a window
// that may be closed by then.
func (n addrName) names(t int64) bool {
	return n.host != nil && window.PaneOf(t)+window.Pane > n.since
}

// ofConn returns the name that a connection was opened with, nil if it is not
// known. The newest names are looked at first: a short connection ends soon.
func (n *names) ofConn(id uint64) *host {
	for i := n.next - 1; i >= 0; i-- {
		if n.conns[i].id == id {
			return n.conns[i].host
		}
	}
	for i := len(n.conns) - 1; i >= n.next; i-- {
		if n.conns[i].id == id {
			return n.conns[i].host
		}
	}
	return nil
}

// ofAddr returns the name of an address at an event time, nil if it is not
// known.
func (n *names) ofAddr(a netip.Addr, t int64) *host {
	if x := n.addrs[a]; x.names(t) {
		return x.host
	}
	return nil
}

// known returns a host of that name which is remembered for the address, so
// that a repeated name costs nothing.
func (n *names) known(a netip.Addr, name string) *host {
	if h := n.addrs[a].host; h.is(name) {
		return h
	}
	return nil
}

func (n *names) setConn(id uint64, h *host) {
	if len(n.conns) < maxConnNames {
		n.conns = append(n.conns, connName{id, h})
		n.next = len(n.conns) % maxConnNames
		return
	}
	n.conns[n.next] = connName{id, h}
	n.next = (n.next + 1) % maxConnNames
}

// setAddr gives an address a name and reports whether it is news. The newest
// by event time holds, of equals the greater.
func (n *names) setAddr(a netip.Addr, h *host, at int64) bool {
	old, have := n.addrs[a]
	if have {
		if old.host.name == h.name {
			n.addrs[a] = addrName{old.host, min(old.since, at), max(old.at, at)}
			return at < old.since
		}
		if at < old.at || at == old.at && h.name < old.host.name {
			return false
		}
		n.addrs[a] = addrName{h, at, at}
		return true
	}
	if n.addrs == nil {
		n.addrs = map[netip.Addr]addrName{}
	}
	if len(n.order) < maxAddrNames {
		n.order = append(n.order, a)
	} else {
		delete(n.addrs, n.order[n.first])
		n.order[n.first] = a
		n.first = (n.first + 1) % maxAddrNames
	}
	n.addrs[a] = addrName{h, at, at}
	return true
}

// learn takes the names of a TLS, HTTP or DNS event for addresses that are
// outside and calls named for each whose name is news. It returns the name of
// a connection.
func (n *names) learn(e *event.Event, internal func(netip.Addr) bool, named func(a netip.Addr, h *host)) *host {
	if e.Kind == event.KindDNS {
		if hostName(e.DNS.Name) == "" {
			return nil
		}
		var h *host
		for i, a := range e.DNS.Addresses {
			if i == maxAnswers {
				break
			}
			if a = a.Unmap(); !a.IsValid() || internal(a) {
				continue
			}
			if h == nil {
				if h = n.known(a, e.DNS.Name); h == nil {
					h = newHost(e.DNS.Name)
				}
			}
			if n.setAddr(a, h, e.Time) {
				named(a, h)
			}
		}
		return nil
	}
	a := e.Destination.IP.Unmap()
	h := n.known(a, e.Destination.Domain)
	if h == nil {
		h = newHost(e.Destination.Domain)
	}
	if h == nil || !a.IsValid() || internal(a) {
		return nil
	}
	// The first name holds: a proxy carries many requests in a connection.
	if id := connID(e.ID); e.ID != "" && n.ofConn(id) == nil {
		n.setConn(id, h)
	}
	if n.setAddr(a, h, e.Time) {
		named(a, h)
	}
	return h
}

func (n *names) append(dst []byte) []byte {
	dst = operator.AppendUint(dst, n.next)
	dst = operator.AppendUint(dst, len(n.conns))
	for _, c := range n.conns {
		dst = operator.AppendString(operator.AppendUint(dst, c.id), c.host.name)
	}
	dst = operator.AppendUint(dst, n.first)
	dst = operator.AppendUint(dst, len(n.order))
	for _, a := range n.order {
		x := n.addrs[a]
		dst = operator.AppendString(operator.AppendAddr(dst, a), x.host.name)
		dst = operator.AppendInt(operator.AppendInt(dst, x.since), x.at)
	}
	return dst
}

func (n *names) load(r *operator.Reader) {
	shared := map[string]*host{} // most names stand in both lists
	read := func() *host {
		name := r.String()
		h := shared[name]
		if h == nil {
			if h = newHost(name); h == nil {
				h = &host{name: name, group: name}
			}
			shared[name] = h
		}
		return h
	}
	n.next = int(r.Uint())
	for range r.Count() {
		n.conns = append(n.conns, connName{r.Uint(), read()})
	}
	n.first = int(r.Uint())
	for range r.Count() {
		a := r.Addr()
		if n.addrs == nil {
			n.addrs = map[netip.Addr]addrName{}
		}
		n.order = append(n.order, a)
		n.addrs[a] = addrName{read(), r.Int(), r.Int()}
	}
	if n.next > len(n.conns) || n.first > len(n.order) {
		n.next, n.first = 0, 0
	}
	n.conns, n.order = slices.Clip(n.conns), slices.Clip(n.order)
}
