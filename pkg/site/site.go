package site

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/gaissmai/bart"
)

// DefaultRealm is the address space of everything that is not mapped.
const DefaultRealm = "default"

// alwaysHome is never outside: RFC 1918, shared (EKS pods), link-local,
// loopback, multicast and their IPv6 counterparts (detections.md §1).
var alwaysHome = []string{
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8",
	"224.0.0.0/4", "255.255.255.255/32", "0.0.0.0/32", "fc00::/7", "fe80::/10", "ff00::/8", "::1/128", "::/128",
}

// Site answers questions about what is declared.
type Site struct {
	realms      map[string]string
	home        bart.Table[Date]
	aggregators bart.Table[Date]
	resolvers   bart.Table[Date]
	monitors    bart.Table[Date]
	relays      bart.Table[Date]
	backups     bart.Table[Date]
	roles       bart.Table[string]
	backupHosts map[string]Date
	own         names
	lookup      names
	sanctions   []sanction
	accounts    map[string]Date
	tenants     map[string]Date
	classified  []Classified
	inventory   []Inventory
	tuning      map[string]Tuning
}

type names map[string]Date

type sanction struct {
	Sanction
	domain  string
	network netip.Prefix
	sources []netip.Prefix
	hosts   []string
}

// Default is the site of someone who has declared nothing.
func Default() *Site {
	s, err := Parse(nil)
	if err != nil {
		panic("site: the empty site does not parse: " + err.Error())
	}
	return s
}

// Parse reads a site file. The error joins all problems, each with its key.
func Parse(data []byte) (*Site, error) {
	f, err := decodeFile(data)
	if err != nil {
		return nil, fmt.Errorf("site file: %w", err)
	}
	return Compile(f)
}

// Compile makes a Site of a decoded file.
func Compile(f *File) (*Site, error) {
	s := &Site{
		realms: f.Realms, own: names{}, lookup: names{}, backupHosts: map[string]Date{},
		accounts: map[string]Date{}, tenants: map[string]Date{}, inventory: f.Inventory, tuning: f.Detectors,
	}
	var errs []error
	for _, p := range alwaysHome {
		s.home.Insert(netip.MustParsePrefix(p), 0)
	}
	prefixes := func(key string, list []Entry, into *bart.Table[Date], hosts map[string]Date) {
		for i, e := range list {
			p, err := ParsePrefix(e.Value)
			switch {
			case err == nil:
				into.Insert(p, e.Until)
			case hosts != nil && e.Value != "":
				hosts[e.Value] = e.Until
			default:
				errs = append(errs, fmt.Errorf("site file: %s[%d]: %w", key, i, err))
			}
		}
	}
	prefixes("home_networks", f.HomeNetworks, &s.home, nil)
	prefixes("aggregators", f.Aggregators, &s.aggregators, nil)
	prefixes("resolvers", f.Resolvers, &s.resolvers, nil)
	prefixes("monitors", f.Monitors, &s.monitors, nil)
	prefixes("mail_relays", f.MailRelays, &s.relays, nil)
	prefixes("backup_sources", f.BackupSources, &s.backups, s.backupHosts)

	for _, name := range slices.Sorted(maps.Keys(f.Roles)) {
		for i, text := range f.Roles[name] {
			p, err := ParsePrefix(text)
			if err != nil {
				errs = append(errs, fmt.Errorf("site file: roles.%s[%d]: %w", name, i, err))
				continue
			}
			s.roles.Insert(p, name)
		}
	}
	domains := func(key string, list []Entry, into names) {
		for i, e := range list {
			n := normalName(e.Value)
			if n == "" {
				errs = append(errs, fmt.Errorf("site file: %s[%d]: empty name", key, i))
				continue
			}
			into[n] = e.Until
		}
	}
	for _, n := range builtinLookups {
		s.lookup[n] = 0
	}
	domains("own_domains", f.OwnDomains, s.own)
	domains("lookup_domains", f.LookupDomains, s.lookup)
	for _, e := range f.OwnAccounts {
		s.accounts[e.Value] = e.Until
	}
	for _, e := range f.OwnTenants {
		s.tenants[e.Value] = e.Until
	}
	for i, x := range f.Sanctioned {
		c := sanction{Sanction: x}
		if p, err := ParsePrefix(x.Value); err == nil {
			c.network = p
		} else if c.domain = normalName(x.Value); c.domain == "" {
			errs = append(errs, fmt.Errorf("site file: sanctioned_destinations[%d]: empty value", i))
		}
		for _, src := range x.Sources {
			if p, err := ParsePrefix(src); err == nil {
				c.sources = append(c.sources, p)
			} else {
				c.hosts = append(c.hosts, src)
			}
		}
		s.sanctions = append(s.sanctions, c)
	}
	for i, c := range f.Classified {
		switch c.Class {
		case Public, InternalUse, Confidential, Restricted, Unclassified:
		default:
			errs = append(errs, fmt.Errorf("site file: classification[%d].class: %q is not PUBLIC, INTERNAL, CONFIDENTIAL, RESTRICTED or UNCLASSIFIED", i, c.Class))
		}
		if c.Bucket == "" && c.Host == "" && c.Dataset == "" {
			errs = append(errs, fmt.Errorf("site file: classification[%d]: names no bucket, host or dataset", i))
		}
		s.classified = append(s.classified, c)
	}
	// The longest prefix decides.
	slices.SortStableFunc(s.classified, func(a, b Classified) int { return len(b.Prefix) - len(a.Prefix) })
	for i, inv := range f.Inventory {
		if inv.Address != "" {
			if _, err := netip.ParseAddr(inv.Address); err != nil {
				errs = append(errs, fmt.Errorf("site file: inventory[%d].address: %w", i, err))
			}
		}
		if len(inv.identifiers()) < 2 {
			errs = append(errs, fmt.Errorf("site file: inventory[%d]: binds fewer than two identifiers", i))
		}
	}
	for id, t := range f.Detectors {
		if err := t.validate(); err != nil {
			errs = append(errs, fmt.Errorf("site file: detectors.%s: %w", id, err))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// ParsePrefix reads a network or a single address.
func ParsePrefix(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither a network nor an address", text)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func holds(t *bart.Table[Date], a netip.Addr, at int64) bool {
	if !a.IsValid() {
		return false
	}
	until, ok := t.Lookup(a.Unmap())
	return ok && (until == 0 || at < int64(until))
}

// Internal reports whether an address is inside: in the home networks or one
// that cannot be outside. The expiry of home networks is not looked at: an
// address space does not become foreign overnight.
func (s *Site) Internal(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	_, ok := s.home.Lookup(a.Unmap())
	return ok
}

// Realm returns the address space of the first of the names that is mapped.
func (s *Site) Realm(names ...string) string {
	for _, n := range names {
		if r, ok := s.realms[n]; ok && n != "" {
			return r
		}
	}
	return DefaultRealm
}

// Aggregator reports whether an address stands for many clients.
func (s *Site) Aggregator(a netip.Addr, at int64) bool { return holds(&s.aggregators, a, at) }

// Resolver reports whether an address is a resolver of the site.
func (s *Site) Resolver(a netip.Addr, at int64) bool { return holds(&s.resolvers, a, at) }

// HasResolvers reports whether the site declares its resolvers.
func (s *Site) HasResolvers() bool { return s.resolvers.Size() > 0 }

// Monitor reports whether an address is a declared monitoring system.
func (s *Site) Monitor(a netip.Addr, at int64) bool { return holds(&s.monitors, a, at) }

// MailRelay reports whether an address is a declared outgoing mail relay.
func (s *Site) MailRelay(a netip.Addr, at int64) bool { return holds(&s.relays, a, at) }

// BackupSource reports whether an address or host is a declared backup source.
func (s *Site) BackupSource(a netip.Addr, host string, at int64) bool {
	if holds(&s.backups, a, at) {
		return true
	}
	until, ok := s.backupHosts[host]
	return ok && host != "" && (until == 0 || at < int64(until))
}

// OwnDomain reports whether a name is, or lies under, a domain of the site.
func (s *Site) OwnDomain(name string, at int64) bool { return s.own.has(name, at) }

// LookupDomain reports whether names under it are questions (reputation,
// DNSBL, measurement) and not data.
func (s *Site) LookupDomain(name string, at int64) bool { return s.lookup.has(name, at) }

func (n names) has(name string, at int64) bool {
	for len(n) > 0 && name != "" {
		if until, ok := n[name]; ok && (until == 0 || at < int64(until)) {
			return true
		}
		dot := strings.IndexByte(name, '.')
		if dot < 0 {
			return false
		}
		name = name[dot+1:]
	}
	return false
}

// Sanctioned returns the declaration of a destination, if it has one that
// holds for this source: address or host. A destination that is declared for
// other sources only is not sanctioned.
func (s *Site) Sanctioned(domain string, dst, src netip.Addr, host string, at int64) (Sanction, bool) {
	for i := range s.sanctions {
		c := &s.sanctions[i]
		if !c.Applies(at) || !c.matches(domain, dst) {
			continue
		}
		if len(c.sources) == 0 && len(c.hosts) == 0 {
			return c.Sanction, true
		}
		if host != "" && slices.Contains(c.hosts, host) {
			return c.Sanction, true
		}
		for _, p := range c.sources {
			if src.IsValid() && p.Contains(src.Unmap()) {
				return c.Sanction, true
			}
		}
	}
	return Sanction{}, false
}

// SanctionedForOthers reports whether a destination is declared at all, for
// whichever sources: whoever is not among them has no business there.
func (s *Site) SanctionedForOthers(domain string, dst netip.Addr, at int64) bool {
	for i := range s.sanctions {
		if c := &s.sanctions[i]; c.Applies(at) && c.matches(domain, dst) {
			return true
		}
	}
	return false
}

// Role returns the role that a site gives an address, "" if it gives none. The
// smallest network wins.
func (s *Site) Role(a netip.Addr) string {
	if s.roles.Size() == 0 || !a.IsValid() {
		return ""
	}
	name, _ := s.roles.Lookup(a.Unmap())
	return name
}

func (c *sanction) matches(domain string, dst netip.Addr) bool {
	if c.domain != "" {
		return domain == c.domain || (len(domain) > len(c.domain) && strings.HasSuffix(domain, c.domain) && domain[len(domain)-len(c.domain)-1] == '.')
	}
	return dst.IsValid() && c.network.Contains(dst.Unmap())
}

// OwnAccount reports whether a cloud account, organisation or project is ours.
func (s *Site) OwnAccount(id string, at int64) bool {
	until, ok := s.accounts[id]
	return ok && (until == 0 || at < int64(until))
}

// HasOwnAccounts reports whether the site declares its accounts.
func (s *Site) HasOwnAccounts() bool { return len(s.accounts) > 0 }

// HasOwnTenants reports whether the site declares its buckets and tenants.
func (s *Site) HasOwnTenants() bool { return len(s.tenants) > 0 }

// OwnTenant reports whether a bucket or SaaS tenant is ours.
func (s *Site) OwnTenant(id string, at int64) bool {
	until, ok := s.tenants[id]
	return ok && (until == 0 || at < int64(until))
}

// ClassifyObject returns the class of an object and whether the principal is
// on its list. Without a declaration it is UNCLASSIFIED.
func (s *Site) ClassifyObject(bucket, key, principal string, at int64) (c Class, listed bool) {
	for _, d := range s.classified {
		if d.Bucket == bucket && bucket != "" && strings.HasPrefix(key, d.Prefix) && (d.Until == 0 || at < int64(d.Until)) {
			return d.Class, slices.Contains(d.Principals, principal)
		}
	}
	return Unclassified, false
}

// ClassifyHost returns the class of a host.
func (s *Site) ClassifyHost(host string, at int64) Class {
	for _, d := range s.classified {
		if d.Host == host && host != "" && (d.Until == 0 || at < int64(d.Until)) {
			return d.Class
		}
	}
	return Unclassified
}

// normalName is a domain name as the events write it.
func normalName(name string) string {
	return strings.ToLower(strings.Trim(strings.TrimPrefix(strings.TrimSpace(name), "*."), "."))
}
