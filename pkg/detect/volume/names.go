package volume

import (
	"net/netip"
	"strings"
	"unsafe"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	"github.com/ebbwatch/ebbwatch/pkg/window"
)

// namesID is the id under which names stand in snapshots.
const namesID = "names"

// Bounds of what a key remembers of names.
const (
	maxConnNames = 256 // of connections whose record has not come yet
	maxAddrNames = 512
	maxCalled    = 4 // names of one address, the last and those before it
	maxAnswers   = 8 // addresses of one DNS answer
	maxHosts     = 2 * (maxConnNames + maxAddrNames)
)

// nameKeeper makes the states in which each key remembers names. It judges
// nothing: the detectors of this package lean on it (detect.Based).
type nameKeeper struct {
	// news are the addresses of which the event at hand gave a name that is
	// new, conn says that it names a connection.
	news []netip.Addr
	conn bool
}

func newNameKeeper() detect.Detector { return &nameKeeper{} }

// Info implements detect.Detector.
func (k *nameKeeper) Info() detect.Info {
	return detect.Info{ID: namesID, Kinds: []event.Kind{event.KindTLS, event.KindHTTP, event.KindDNS}}
}

// Configure implements detect.Detector.
func (k *nameKeeper) Configure(*site.Site) {}

// New implements detect.Detector.
func (k *nameKeeper) New() detect.State { return &names{of: k} }

// Wants implements detect.Lazy.
func (k *nameKeeper) Wants(e *event.Event, env *detect.Env) bool {
	if e.Kind != event.KindDNS {
		return e.Network.Direction == event.Outbound && hostName(e.Destination.Domain) != "" && outside(e.Destination.IP, env)
	}
	for _, a := range e.DNS.Addresses {
		if outside(a, env) {
			return hostName(e.DNS.Name) != ""
		}
	}
	return false
}

func outside(a netip.Addr, env *detect.Env) bool { return a.IsValid() && !env.Site.Internal(a.Unmap()) }

// names remember how a key called the addresses that it spoke to: by
// connection (SNI, Host), which is exact, and by address (the same, and the
// answers of DNS), which is the last word before the connection.
//
// Every client of a DNS log has them, and most never connect as far as the
// sensors see. So they hold no pointers but to four lists; a nil *names is
// empty.
type names struct {
	of    *nameKeeper
	text  []byte     // names: a byte of length, then the name
	live  int        // how much of text was in use when it was last packed
	conns []connName // ring
	next  int        // where the ring is written
	addrs []addrName // ring; at most maxCalled of one address
	first int        // who gives way next of addrs once it is full
	heads []uint16   // chains of addrs by hash, counted from 1; empty while they are few
	last  int64      // newest event time
	// hosts are those names that a transfer was filed under. It is a cache.
	hosts map[string]*host
}

// nameRef is where a name stands in the text.
type nameRef uint32

// connName is the name of a connection, by its id and by its addresses and
// ports, by which flow records tell of it; ports is 0 where they are not known.
type connName struct {
	id, ports uint64
	name      nameRef
}

// addrName is one name of an address, which held from since until that of the
// next of its names.
type addrName struct {
	addr [16]byte
	// since is when the address was first called so, at when last.
	since, at int64
	name      nameRef
	chain     uint16 // the next of the same hash, counted from 1
	// used says that it was said again, or by a connection: it gives way once
	// more later than an answer to which nothing happened.
	used bool
}

// names reports whether the name holds for traffic at an event time: one that
// came in the same pane or before. What comes later says nothing about a window
// that may be closed by then.
func (x *addrName) names(t int64) bool { return window.PaneOf(t)+window.Pane > x.since }

// Apply implements detect.State: it takes the names of a TLS, HTTP or DNS event
// for addresses that are outside.
func (n *names) Apply(e *event.Event, env *detect.Env) {
	n.of.news, n.of.conn = n.of.news[:0], false
	n.last = max(n.last, e.Time)
	if e.Kind == event.KindDNS {
		name := hostName(e.DNS.Name)
		if name == "" {
			return
		}
		known := noName
		for i, a := range e.DNS.Addresses {
			if i == maxAnswers {
				break
			}
			if outside(a, env) {
				known = n.setAddr(a.Unmap(), name, known, e.Time, false)
			}
		}
		return
	}
	name := hostName(e.Destination.Domain)
	if e.Network.Direction != event.Outbound || name == "" || !outside(e.Destination.IP, env) {
		return
	}
	known := noName
	// The first name holds: a proxy carries many requests in a connection.
	if id := connID(e.ID); e.ID != "" && n.connIndex(id) < 0 {
		if known = n.spelled(e.Destination.IP.Unmap(), name); known == noName {
			known = n.write(name)
		}
		n.setConn(connName{id, portsID(&e.Source, &e.Destination), known})
	}
	n.setAddr(e.Destination.IP.Unmap(), name, known, e.Time, true)
	n.of.conn = true
}

// noName is no place in the text.
const noName = ^nameRef(0)

// at returns a name. It is valid until the next write.
func (n *names) at(r nameRef) []byte {
	size := nameRef(n.text[r])
	return n.text[r+1 : r+1+size]
}

// is reports whether a name is the given one, as written by a source.
func (n *names) is(r nameRef, name string) bool {
	have := n.at(r)
	return string(have) == name || strings.EqualFold(string(have), name)
}

// write adds a name to the text, in lower case.
func (n *names) write(name string) nameRef {
	if len(n.text) > 2*n.live+2048 {
		n.pack()
	}
	r := nameRef(len(n.text))
	n.text = append(append(n.text, byte(len(name))), name...)
	for i, c := range n.text[r+1:] {
		if c-'A' <= 'Z'-'A' {
			n.text[int(r)+1+i] = c + 'a' - 'A'
		}
	}
	return r
}

// pack leaves only the names that are in use in the text.
func (n *names) pack() {
	old := *n
	n.text = make([]byte, 0, len(old.text)/2)
	moved := map[nameRef]nameRef{}
	move := func(r *nameRef) {
		to, ok := moved[*r]
		if !ok {
			to = nameRef(len(n.text))
			moved[*r] = to
			n.text = append(n.text, old.text[*r:int(*r)+1+int(old.text[*r])]...)
		}
		*r = to
	}
	for i := range n.conns {
		move(&n.conns[i].name)
	}
	for i := range n.addrs {
		move(&n.addrs[i].name)
	}
	n.live = len(n.text)
}

func (n *names) setConn(c connName) {
	if len(n.conns) < maxConnNames {
		n.conns = append(n.conns, c)
		n.next = len(n.conns) % maxConnNames
		return
	}
	n.conns[n.next] = c
	n.next = (n.next + 1) % maxConnNames
}

// connIndex finds a connection, −1 if its name is not known. The newest are
// looked at first: a short connection ends soon.
func (n *names) connIndex(id uint64) int {
	for i := n.next - 1; i >= 0; i-- {
		if n.conns[i].id == id {
			return i
		}
	}
	for i := len(n.conns) - 1; i >= n.next; i-- {
		if n.conns[i].id == id {
			return i
		}
	}
	return -1
}

// host returns the host of a name that is known.
func (n *names) host(r nameRef) *host {
	text := n.at(r)
	if h := n.hosts[string(text)]; h != nil {
		return h
	}
	return n.keep(string(text))
}

// named returns the host of a name as an event bears it; nil where that is
// none.
func (n *names) named(name string) *host {
	name = hostName(name)
	if name == "" {
		return nil
	}
	name = strings.ToLower(name)
	if n == nil {
		return newHost(strings.Clone(name))
	}
	if h := n.hosts[name]; h != nil {
		return h
	}
	return n.keep(strings.Clone(name))
}

func (n *names) keep(name string) *host {
	if n.hosts == nil {
		n.hosts = map[string]*host{}
	}
	if len(n.hosts) >= maxHosts {
		clear(n.hosts)
	}
	h := newHost(name)
	n.hosts[name] = h
	return h
}

// ofConn returns the name that a connection was opened with, nil if it is not
// known.
func (n *names) ofConn(id uint64) *host {
	if n == nil {
		return nil
	}
	if i := n.connIndex(id); i >= 0 {
		return n.host(n.conns[i].name)
	}
	return nil
}

// Next implements detect.State.
func (n *names) Next() detect.Timer { return detect.NoTimer }

// Advance implements detect.State.
func (n *names) Advance(*detect.Env) {}

// Expired implements detect.State: names of connections that may still go on
// are worth keeping for a day.
func (n *names) Expired(low int64) bool {
	return len(n.addrs) == 0 || low != detect.Never && n.last+seenFor < low
}

// Size implements detect.Sized.
func (n *names) Size() int {
	size := int(unsafe.Sizeof(*n)) + cap(n.text) + cap(n.conns)*int(unsafe.Sizeof(connName{})) +
		cap(n.addrs)*int(unsafe.Sizeof(addrName{})) + 2*cap(n.heads)
	for name := range n.hosts {
		size += len(name) + int(unsafe.Sizeof(host{})) + 32
	}
	return size
}

// namesVersion is the format of a key's names.
const namesVersion = 2

// Append implements detect.State.
func (n *names) Append(dst []byte) []byte {
	dst = operator.AppendUint(dst, namesVersion)
	dst = operator.AppendInt(dst, n.last)
	dst = operator.AppendUint(operator.AppendUint(dst, n.next), len(n.conns))
	for _, c := range n.conns {
		dst = operator.AppendString(operator.AppendUint(operator.AppendUint(dst, c.id), c.ports), n.at(c.name))
	}
	dst = operator.AppendUint(operator.AppendUint(dst, n.first), len(n.addrs))
	for i := range n.addrs {
		x := &n.addrs[i]
		dst = operator.AppendString(append(dst, x.addr[:]...), n.at(x.name))
		dst = operator.AppendBool(operator.AppendInt(operator.AppendInt(dst, x.since), x.at), x.used)
	}
	return dst
}

// Load implements detect.State.
func (n *names) Load(data []byte) error {
	r := operator.NewReader(data)
	// Version 1 had no ports, and one name of an address.
	version := r.Uint()
	if version != namesVersion && version != 1 {
		return operator.ErrState
	}
	places := map[string]nameRef{} // most names stand in both lists
	read := func() nameRef {
		name := string(r.Bytes())
		if len(name) > 253 {
			name = name[:253]
		}
		at, ok := places[name]
		if !ok {
			at = nameRef(len(n.text))
			n.text = append(append(n.text, byte(len(name))), name...)
			places[name] = at
		}
		return at
	}
	n.last = r.Int()
	n.next = int(r.Uint())
	for i := range r.Count() {
		c := connName{id: r.Uint()}
		if version > 1 {
			c.ports = r.Uint()
		}
		if c.name = read(); i < maxConnNames {
			n.conns = append(n.conns, c)
		}
	}
	n.first = int(r.Uint())
	for range r.Count() {
		var x addrName
		for i := range x.addr {
			x.addr[i] = r.Byte()
		}
		x.name = read()
		x.since, x.at = r.Int(), r.Int()
		x.used = version > 1 && r.Bool()
		if r.Err() == nil && len(n.addrs) < maxAddrNames && n.called(&x.addr).len < maxCalled {
			n.insert(x)
		}
	}
	n.live = len(n.text)
	if uint(n.next) > uint(len(n.conns)) || uint(n.first) >= uint(max(1, len(n.addrs))) {
		n.next, n.first = 0, 0
	}
	return r.Err()
}
