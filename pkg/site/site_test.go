package site_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

const full = `
home_networks: [10.20.0.0/16, 203.0.113.0/24, {value: "2001:db8::/32", owner: net, why: own range}]
realms: {vpc-1: prod}
resolvers: [10.53.0.53]
aggregators: [{value: 10.20.0.1, owner: net, until: 2027-01-01, why: NAT}]
own_domains: [Corp.Example.com.]
lookup_domains: ["*.rep.example"]
sanctioned_destinations:
  - backup.example
  - {value: saas.example, sources: [10.20.1.0/24, host-a], daily_bytes: 1000, until: 2026-06-01}
backup_sources: [10.20.9.9, backup-host]
roles: {web: [10.20.1.0/24], build: [10.20.1.128/25]}
own_tenants: [our-bucket]
classification:
  - {bucket: b, class: INTERNAL}
  - {bucket: b, prefix: secret/, class: RESTRICTED, principals: [arn:x]}
inventory: [{host: web-1, address: 10.20.1.10, instance: i-1}]
detectors:
  dns-tunnel: {alert: 6, thresholds: {window: 3}, overrides: [{match: 10.20.1.0/24, mode: shadow}]}
`

func at(day string) int64 {
	t, err := time.Parse(time.DateOnly, day)
	if err != nil {
		panic(err)
	}
	return t.UnixMicro()
}

func TestQuestions(t *testing.T) {
	t.Parallel()
	s, err := site.Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	now := at("2026-05-01")
	ip := netip.MustParseAddr
	for name, ok := range map[string]bool{
		"home":                 s.Internal(ip("203.0.113.9")),
		"home v6":              s.Internal(ip("2001:db8::1")),
		"172.31 is inside":     s.Internal(ip("172.31.0.1")),
		"172.32 is outside":    !s.Internal(ip("172.32.0.1")),
		"mapped address":       s.Internal(ip("::ffff:10.0.0.1")),
		"outside":              !s.Internal(ip("8.8.8.8")),
		"realm":                s.Realm("x", "vpc-1") == "prod" && s.Realm("x") == "default",
		"resolver":             s.Resolver(ip("10.53.0.53"), now),
		"aggregator":           s.Aggregator(ip("10.20.0.1"), now),
		"aggregator expired":   !s.Aggregator(ip("10.20.0.1"), at("2027-01-01")),
		"own domain":           s.OwnDomain("a.b.corp.example.com", now) && s.OwnDomain("corp.example.com", now),
		"not own domain":       !s.OwnDomain("notcorp.example.com", now),
		"look-up":              s.LookupDomain("x.rep.example", now),
		"built-in look-up":     s.LookupDomain("1.2.3.4.zen.spamhaus.org", now),
		"backup host":          s.BackupSource(netip.Addr{}, "backup-host", now),
		"no host is no backup": !s.BackupSource(netip.Addr{}, "", now),
		"role":                 s.Role(ip("10.20.1.10")) == "web" && s.Role(ip("10.20.1.200")) == "build" && s.Role(ip("10.20.2.1")) == "",
		"for others":           s.SanctionedForOthers("x.saas.example", netip.Addr{}, now) && !s.SanctionedForOthers("x.example", netip.Addr{}, now),
		"own tenants":          s.HasOwnTenants() && s.OwnTenant("our-bucket", now),
		"unknown threshold":    s.Threshold("dns-tunnel", "other", 7) == 7,
		"threshold":            s.Threshold("dns-tunnel", "window", 7) == 3,
	} {
		if !ok {
			t.Errorf("%s: wrong answer", name)
		}
	}
	if _, ok := s.Sanctioned("x.backup.example", netip.Addr{}, ip("10.20.7.7"), "", now); !ok {
		t.Error("a sanctioned domain with any source is not sanctioned")
	}
	if _, ok := s.Sanctioned("evilbackup.example", netip.Addr{}, ip("10.20.7.7"), "", now); ok {
		t.Error("a name that only ends like a sanctioned one is sanctioned")
	}
	if _, ok := s.Sanctioned("saas.example", netip.Addr{}, ip("10.20.7.7"), "", now); ok {
		t.Error("sanctioned for an undeclared source")
	}
	if c, ok := s.Sanctioned("saas.example", netip.Addr{}, ip("10.20.1.7"), "", now); !ok || c.DailyBytes != 1000 {
		t.Error("not sanctioned for a declared source")
	}
	if _, ok := s.Sanctioned("saas.example", netip.Addr{}, ip("10.20.1.7"), "", at("2026-06-01")); ok {
		t.Error("an expired sanction applies")
	}
	if c, listed := s.ClassifyObject("b", "secret/x", "arn:x", now); c != site.Restricted || !listed {
		t.Errorf("class %s, listed %v", c, listed)
	}
	if c, _ := s.ClassifyObject("other", "x", "", now); c != site.Unclassified {
		t.Errorf("class %s of an undeclared bucket", c)
	}
	def := site.Setting{Mode: "alert", Floor: 3, Alert: 5}
	if got := s.Setting("dns-tunnel", def, site.Subject{Address: ip("10.20.1.10")}, now); got != (site.Setting{Mode: "shadow", Floor: 3, Alert: 6}) {
		t.Errorf("setting %+v", got)
	}
	if facts := s.Facts(); len(facts) != 2 || facts[0].A.Value != "web-1" || facts[1].B.Value != "default|10.20.1.10" {
		t.Errorf("facts %+v", facts)
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := site.Parse([]byte("home_networks: [10.0.0.0/99]\nresolvers: [nope]\ninventory: [{host: a}]\nroles: {web: [x]}\ndetectors: {dns-tunnel: {mode: loud}}\n"))
	for _, want := range []string{"home_networks[0]", "resolvers[0]", "inventory[0]", "detectors.dns-tunnel", "roles.web[0]"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %s", err, want)
		}
	}
	for _, bad := range []string{"unknown_key: 1\n", "monitors: [{value: 10.0.0.1, oops: 1}]\n", "sanctioned_destinations: [{value: x.example, oops: 1}]\n"} {
		if _, err := site.Parse([]byte(bad)); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	s, err := site.Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	ip := netip.MustParseAddr
	for name, tc := range map[string]struct {
		kind             event.Kind
		src, dst         string
		bytes            uint64
		key, mirror, dir string
	}{
		"outbound":   {event.KindConn, "10.20.1.1", "8.8.8.8", 5, "r|10.20.1.1", "", event.Outbound},
		"inbound":    {event.KindConn, "8.8.8.8", "10.20.1.1", 5, "r|10.20.1.1", "", event.Inbound},
		"question":   {event.KindDNS, "10.20.1.1", "10.53.0.53", 5, "r|10.20.1.1", "", event.Internal},
		"internal":   {event.KindConn, "10.20.1.1", "10.20.1.2", 5, "r|10.20.1.1", "", event.Internal},
		"mirror":     {event.KindConn, "10.20.1.1", "10.20.1.2", 1 << 20, "r|10.20.1.1", "r|10.20.1.2", event.Internal},
		"external":   {event.KindConn, "9.9.9.9", "8.8.8.8", 5, "r|8.8.8.8", "", event.External},
		"aggregator": {event.KindConn, "10.20.0.1", "8.8.8.8", 5, "r|10.20.0.1|8.8.8.8", "", event.Outbound},
		"mapped":     {event.KindConn, "::ffff:10.20.1.1", "8.8.8.8", 5, "r|10.20.1.1", "", event.Outbound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &event.Event{Kind: tc.kind, Time: at("2026-05-01")}
			e.Observer.Realm = "r"
			e.Source.IP, e.Destination.IP, e.Source.Bytes = ip(tc.src), ip(tc.dst), event.N(tc.bytes)
			var p site.Placement
			s.Place(e, &p)
			if string(p.Key) != tc.key || string(p.Mirror) != tc.mirror || e.Network.Direction != tc.dir {
				t.Errorf("key %q mirror %q direction %q", p.Key, p.Mirror, e.Network.Direction)
			}
		})
	}
}

func TestLabSite(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "data", "lab", "site.yaml"))
	if err != nil {
		t.Skip("the lab recordings are not beside the checkout")
	}
	s, err := site.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Resolver(netip.MustParseAddr("10.53.0.53"), 1) || !s.OwnDomain("x.corp.example.com", 1) {
		t.Error("the lab's resolver or domain is not known")
	}
}

func TestWithHomeNetworks(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"", "# nothing\n", full} {
		data, err := site.WithHomeNetworks([]byte(in), []string{"198.51.100.0/24"})
		if err != nil {
			t.Fatal(err)
		}
		s, err := site.Parse(data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if !s.Internal(netip.MustParseAddr("198.51.100.7")) {
			t.Errorf("the added network is not inside:\n%s", data)
		}
		if in == full && !s.Internal(netip.MustParseAddr("203.0.113.9")) {
			t.Error("the declared network is lost")
		}
	}
}
