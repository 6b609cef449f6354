package falco

import (
	"net/netip"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// endpoints sets the two sides of a network descriptor and reports whether
// the descriptor is one. Falco gives them as local and remote (fd.lip,
// fd.rip), as client and server (fd.cip, fd.sip), or as the name of the
// descriptor, CLIENT->SERVER.
func (o *output) endpoints(e *event.Event) bool {
	client, server := o.client, o.server
	if !client.Addr().IsValid() || !server.Addr().IsValid() {
		if from, to, ok := tuple(o.fdName); ok {
			client, server = prefer(client, from), prefer(server, to)
		}
	}
	local, remote := client, server
	if accepts(e.Action) {
		local, remote = server, client
	}
	local, remote = prefer(o.local, local), prefer(o.remote, remote)
	if !local.Addr().IsValid() && !remote.Addr().IsValid() {
		return false
	}
	set(&e.Source, local)
	set(&e.Destination, remote)
	e.Destination.Domain = o.domain
	return true
}

// prefer fills what the better source of an endpoint lacks from the other.
func prefer(a, b netip.AddrPort) netip.AddrPort {
	ip, port := a.Addr(), a.Port()
	if !ip.IsValid() {
		ip = b.Addr()
	}
	if port == 0 {
		port = b.Port()
	}
	return netip.AddrPortFrom(ip, port)
}

func set(p *event.Endpoint, a netip.AddrPort) {
	p.IP = a.Addr()
	if a.Port() != 0 {
		p.Port = event.N(a.Port())
	}
}

// accepts reports whether a system call is that of a server, whose own side
// is the second of the descriptor's name.
func accepts(call string) bool {
	return strings.HasPrefix(call, "accept") || call == "listen" || call == "bind"
}

// tuple reads "10.0.0.5:40000->203.0.113.9:443", or the one address of a
// socket that listens. IPv6 stands there without brackets.
func tuple(name string) (client, server netip.AddrPort, ok bool) {
	from, to, pair := strings.Cut(name, "->")
	if !pair {
		server, ok = endpoint(name)
		return client, server, ok
	}
	client, ok1 := endpoint(from)
	server, ok2 := endpoint(to)
	return client, server, ok1 && ok2
}

func endpoint(s string) (netip.AddrPort, bool) {
	i := strings.LastIndexByte(s, ':')
	if i <= 0 {
		return netip.AddrPort{}, false
	}
	ip := address(strings.Trim(s[:i], "[]"))
	n := rawjson.Count(rawjson.Value(s[i+1:]))
	if !ip.IsValid() || !n.Known() || n.Or(0) > 65535 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip, uint16(n.Or(0))), true
}

// address returns the address that s is, or the invalid one.
func address(s string) netip.Addr {
	ip, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap().WithZone("")
}

func port(v rawjson.Value) uint16 {
	if n := rawjson.Count(v).Or(0); n <= 65535 {
		return uint16(n)
	}
	return 0
}
