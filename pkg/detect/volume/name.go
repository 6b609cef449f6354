package volume

import (
	"net/netip"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/site"
	"github.com/ebbwatch/ebbwatch/pkg/window"
	"golang.org/x/net/publicsuffix"
)

// host is a name by which a destination was asked for.
type host struct {
	name string
	// group is its registered domain: the names under it are one destination.
	group string
	// dest is what a meter files it under: its group, or the name itself where
	// it is one customer's, or of a kind, of which tenant and class tell.
	dest, tenant string
	class        class

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

// newHost is a host of a name in lower case, which it keeps.
func newHost(name string) *host {
	h := &host{name: name, group: name}
	if g, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
		h.group = g
	}
	h.dest, h.class = h.group, classOf(name)
	if _, h.tenant = tenantOf(name); h.tenant != "" || h.class != classNone {
		h.dest = name
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
