package dns_test

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/detect/dns"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

const siteText = `
home_networks: [10.20.0.0/16, "2001:db8:20::/48"]
resolvers: [10.53.0.53]
own_domains: [corp.example.com]
lookup_domains: [rep.example]
aggregators: [10.20.9.9]
`

// script makes the events of one client.
type script struct {
	rng    *rand.Rand
	at     int64
	events []event.Event
}

func newScript() *script { return &script{rng: rand.New(rand.NewPCG(7, 7)), at: start + 30*second} }

func (s *script) random(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.rng.Uint32())
	}
	return hex.EncodeToString(b)
}

// ask adds a question after a pause of seconds; edit may be nil.
func (s *script) ask(pause float64, name string, edit func(*event.Event)) *script {
	s.at += int64(pause * float64(second))
	e := question(name, s.at)
	if edit != nil {
		edit(&e)
	}
	s.events = append(s.events, e)
	return s
}

// touch adds a connection of the client that begins after a pause of seconds
// and lasts for some.
func (s *script) touch(pause, lasts float64, to string, edit func(*event.Event)) *script {
	begin := s.at + int64(pause*float64(second))
	e := event.Event{Kind: event.KindConn, ID: fmt.Sprint("C", len(s.events)), Start: begin, Observer: event.Observer{Type: "zeek"}, Origin: event.Origin{Name: "conn.log", Line: event.N(1)}}
	e.Time = begin + int64(lasts*float64(second))
	e.End = e.Time
	e.Source.IP, e.Destination.IP, e.Destination.Port = netip.MustParseAddr("10.20.1.10"), netip.MustParseAddr(to), event.N(443)
	e.Network.Transport = "tcp"
	if edit != nil {
		edit(&e)
	}
	s.events = append(s.events, e)
	return s
}

func none(e *event.Event) {
	e.DNS.ResponseCode, e.DNS.Addresses, e.DNS.Answers = "NXDOMAIN", nil, event.N(0)
}

func silent(e *event.Event) {
	e.DNS.ResponseCode, e.DNS.Addresses, e.DNS.Answers = "", nil, event.Count{}
}
func failed(e *event.Event) { silent(e); e.DNS.ResponseCode = "SERVFAIL" }
func direct(e *event.Event) { e.Destination.IP = netip.MustParseAddr("203.0.113.9") }
func google(e *event.Event) { e.Destination.IP = netip.MustParseAddr("8.8.8.8") }

func typed(t string) func(*event.Event) {
	return func(e *event.Event) {
		e.DNS.Type, e.DNS.Addresses = t, nil
		e.DNS.DataBytes = event.N(30)
	}
}

func both(edits ...func(*event.Event)) func(*event.Event) {
	return func(e *event.Event) {
		for _, f := range edits {
			f(e)
		}
	}
}

func run(t *testing.T, siteFile string, events []event.Event) []signal.Signal {
	t.Helper()
	st, err := site.Parse([]byte(siteFile))
	if err != nil {
		t.Fatal(err)
	}
	// In order of availability, as a source delivers them.
	rec := detecttest.Merge(detecttest.Events(t, st, "lab", events))
	p := detecttest.NewPlayer(t, []byte(siteFile), detectors()...).Play(rec)
	out := p.Context.Final()
	for i := range out {
		complete(t, &out[i])
	}
	return out
}

// pointsOf returns the points of the signal about a domain, nil without one.
func pointsOf(list []signal.Signal, subject string) map[string]float64 {
	for _, s := range list {
		if s.Subject == subject && s.Detector == dns.TunnelID && s.Score >= s.Floor {
			out := map[string]float64{}
			for _, p := range s.Points {
				out[p.Name] = p.Points
			}
			return out
		}
	}
	return nil
}

func scoreOf(list []signal.Signal, subject string) (score float64, alert bool) {
	for _, s := range list {
		if s.Subject == subject && s.Detector == dns.TunnelID {
			score, alert = max(score, s.Score), alert || s.Alert
		}
	}
	return score, alert
}

func TestSigns(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		make    func(s *script)
		subject string
		points  string // "name n, …", sorted; "" for no signal
	}{
		"unused types": {func(s *script) {
			for range 3 {
				s.ask(10, "a.evil.test", typed("NULL"))
			}
		}, "evil.test", "unused_types 5"},
		"two are not three": {func(s *script) {
			s.ask(10, "a.evil.test", typed("NULL")).ask(10, "b.evil.test", typed("TYPE65399")).ask(10, "c.evil.test", typed("TKEY"))
		}, "evil.test", ""},
		"odd bytes": {func(s *script) {
			for range 3 {
				s.ask(10, s.random(2)+`\xe4\xff.evil.test`, nil)
			}
		}, "evil.test", "odd_bytes 4"},
		"names once, retries within seconds": {func(s *script) {
			for range 25 {
				n := s.random(30) + ".evil.test"
				s.ask(20, n, silent).ask(5, n, none).ask(0.1, n, func(e *event.Event) { none(e); e.DNS.Type = "AAAA" })
			}
		}, "evil.test", "missing_names 2, name_data 1, name_length 1, once_only_names 1, rule_label_length 0"},
		"names asked again are not once": {func(s *script) {
			var names []string
			for range 25 {
				names = append(names, s.random(20)+".evil.test")
				s.ask(20, names[len(names)-1], none)
			}
			for _, n := range names {
				s.ask(20, n, none)
			}
		}, "evil.test", ""},
		"A, AAAA and HTTPS are one look-up": {func(s *script) {
			var names []string
			for range 30 {
				names = append(names, s.random(18)+".evil.test")
			}
			for _, typ := range []string{"A", "AAAA", "HTTPS"} {
				for _, n := range names {
					s.ask(15, n, func(e *event.Event) { none(e); e.DNS.Type = typ })
				}
			}
		}, "evil.test", "missing_names 2, name_data 1, once_only_names 1"},
		"text without service labels": {func(s *script) {
			for range 30 {
				s.ask(10, s.random(10)+".evil.test", typed("TXT"))
			}
		}, "evil.test", "data_types 2, name_data 1, once_only_names 1, rule_txt_queries 0"},
		"text with service labels": {func(s *script) {
			for range 80 {
				s.ask(10, "_x."+s.random(10)+".evil.test", typed("TXT"))
			}
		}, "evil.test", "name_data 2, once_only_names 1, rule_txt_queries 0"},
		"short-lived answers": {func(s *script) {
			for i := range 30 {
				s.ask(10, fmt.Sprint("a", i, ".evil.test"), func(e *event.Event) {
					typed("TXT")(e)
					e.DNS.DataBytes, e.DNS.MinTTL = event.N(100), event.N(3)
				})
			}
		}, "evil.test", "data_types 2, once_only_names 1, rule_txt_queries 0, short_lived_answers 2"},
		"long-lived answers": {func(s *script) {
			for i := range 30 {
				s.ask(10, fmt.Sprint("a", i, ".evil.test"), func(e *event.Event) {
					typed("TXT")(e)
					e.DNS.DataBytes, e.DNS.MinTTL = event.N(100), event.N(11)
				})
			}
		}, "evil.test", "data_types 2, once_only_names 1, rule_txt_queries 0"},
		"an ACME client": {func(s *script) {
			for i := range 30 {
				s.ask(10, fmt.Sprint("_acme-challenge.host", i, ".evil.test"), func(e *event.Event) {
					typed("TXT")(e)
					e.DNS.DataBytes, e.DNS.MinTTL = event.N(100), event.N(3)
				})
			}
		}, "evil.test", ""},
		"data behind an ACME label": {func(s *script) {
			for range 200 {
				s.ask(10, "_acme-challenge."+s.random(25)+".evil.test", both(typed("TXT"), none))
			}
		}, "evil.test", "missing_names 2, name_data 3, name_length 1, once_only_names 1, rule_txt_queries 0"},
		"asked past the resolvers": {func(s *script) {
			for range 3 {
				s.ask(10, "a.evil.test", both(typed("NULL"), direct))
			}
		}, "evil.test", "undeclared_server 1, unused_types 5"},
		"asked of a public resolver": {func(s *script) {
			for range 3 {
				s.ask(10, "a.evil.test", both(typed("NULL"), google))
			}
		}, "evil.test", "unused_types 5"},
		"a customer's key and an address": {func(s *script) {
			for i := range 200 {
				s.ask(10, fmt.Sprintf("%d.%d.20.10.k3y0fthecust0mer0123456789.list.test", i%256, i/2), none)
			}
		}, "list.test", "missing_names 2, name_data 1, once_only_names 1"},
		"a private suffix": {func(s *script) {
			for range 30 {
				s.ask(10, s.random(30)+".mine.duckdns.org", none)
				s.ask(10, "www.other.duckdns.org", nil)
			}
		}, "mine.duckdns.org", "missing_names 2, name_data 2, name_length 1, once_only_names 1, rule_label_length 0"},
		"a label that is no data": {func(s *script) {
			for i := range 400 {
				s.ask(5, fmt.Sprintf("%s.%s.d%d.fixed-and-long-label-of-a-customer.evil.test", strings.Repeat("a", 1+i%3), strings.Repeat("b", 1+i%7), i%19), nil)
			}
		}, "evil.test", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript()
			c.make(s)
			got := pointsOf(run(t, siteText, s.events), c.subject)
			if text := textOf(got); text != c.points {
				t.Errorf("%s\n  got  %s\n  want %s", name, text, c.points)
			}
		})
	}
}

func textOf(points map[string]float64) string {
	var parts []string
	for _, n := range sortedKeys(points) {
		parts = append(parts, fmt.Sprintf("%s %g", n, points[n]))
	}
	return strings.Join(parts, ", ")
}

func TestSharding(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		domains, names, bytes int
		edit                  func(*event.Event)
		traffic               bool
		want                  bool
	}{
		"three domains":          {3, 14, 40, none, false, true},
		"never contacted":        {3, 14, 40, nil, true, true},
		"contacts are not seen":  {3, 14, 40, nil, false, false},
		"two domains":            {2, 40, 40, none, false, false},
		"few names":              {3, 7, 60, none, false, false},
		"little data":            {3, 8, 6, none, false, false},
		"twenty domains":         {20, 9, 20, none, false, true},
		"addresses in the names": {5, 60, 0, none, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript()
			if c.traffic {
				s.touch(0, 1, "198.51.100.7", nil)
			}
			for i := range c.names {
				for d := range c.domains {
					label := s.random(c.bytes / 2)
					if c.bytes == 0 {
						label = fmt.Sprintf("%d.%d.%d.10", i, d*7+i, i*3%256)
					}
					s.ask(3, fmt.Sprintf("%s.shard%d.test", label, d), c.edit)
				}
			}
			var got *signal.Signal
			list := run(t, siteText, s.events)
			for i := range list {
				if list[i].Subject == "several domains" {
					got = &list[i]
				}
			}
			if (got != nil && got.Alert) != c.want {
				t.Fatalf("%+v", got)
			}
			if got != nil && (got.Points[0].Value != float64(c.domains) || got.Score != 5) {
				t.Errorf("%+v", got.Points)
			}
		})
	}
}

// TestForms: what is exempt, and what only looks like it.
func TestForms(t *testing.T) {
	t.Parallel()
	nibbles := func(s *script, prefix string) string {
		raw := []byte(s.random(16))
		copy(raw, prefix) // from the front of the address
		var b strings.Builder
		for _, c := range slices.Backward(raw) {
			b.WriteByte(c)
			b.WriteByte('.')
		}
		return b.String() + "ip6.arpa"
	}
	for name, c := range map[string]struct {
		name  func(s *script) string
		edit  func(*event.Event)
		found bool
	}{
		"multicast DNS":                 {func(s *script) string { return s.random(30) + "._x._tcp.local" }, func(e *event.Event) { none(e); e.Destination.Port = event.N(5353) }, false},
		".local of a domain controller": {func(s *script) string { return s.random(30) + ".ad.local" }, none, false},
		".local asked outside":          {func(s *script) string { return s.random(30) + ".ad.local" }, both(none, direct), true},
		"NetBIOS":                       {func(s *script) string { return s.random(30) + ".evil.test" }, func(e *event.Event) { none(e); e.Destination.Port = event.N(137) }, false},
		"NetBIOS outside":               {func(s *script) string { return strings.ToUpper(s.random(15)) }, func(e *event.Event) { none(e); direct(e); e.Destination.Port, e.DNS.Type = event.N(137), "NBSTAT" }, false},
		"the port of NetBIOS outside":   {func(s *script) string { return s.random(30) + ".evil.test" }, func(e *event.Event) { none(e); direct(e); e.Destination.Port = event.N(137) }, true},
		"own zone":                      {func(s *script) string { return s.random(30) + ".corp.example.com" }, none, false},
		"own zone at a public resolver": {func(s *script) string { return s.random(30) + ".corp.example.com" }, both(none, google), false},
		"own zone asked of a stranger":  {func(s *script) string { return s.random(30) + ".corp.example.com" }, both(none, direct), true},
		"declared reputation":           {func(s *script) string { return s.random(30) + ".rep.example" }, none, false},
		"built-in reputation":           {func(s *script) string { return s.random(30) + ".zen.spamhaus.org" }, none, false},
		"reverse IPv4": {func(s *script) string {
			return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa", s.rng.IntN(256), s.rng.IntN(256), s.rng.IntN(256), s.rng.IntN(223)+1)
		}, both(none, typed("PTR")), false},
		"data under in-addr.arpa":             {func(s *script) string { return s.random(30) + ".7.20.172.in-addr.arpa" }, both(none, typed("PTR")), true},
		"reverse IPv6 of the site":            {func(s *script) string { return nibbles(s, "20010db80020") }, both(typed("PTR"), none), false},
		"a delegated zone of ip6.arpa":        {func(s *script) string { return nibbles(s, "2001067c") }, both(typed("PTR"), none), true},
		"reverse sweep of many IPv6 networks": {func(s *script) string { return nibbles(s, "2a"+s.random(3)) }, both(typed("PTR"), none), false},
		"a single label":                      {func(s *script) string { return s.random(30) }, none, false},
		"a single label to a stranger":        {func(s *script) string { return s.random(30) }, both(none, direct), true},
		"no public suffix":                    {func(s *script) string { return s.random(30) + ".t.iod001.test" }, none, true},
		"a suffix of two labels":              {func(s *script) string { return s.random(30) + ".evil.co.uk" }, none, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript()
			for range 300 {
				s.ask(5, c.name(s), c.edit)
			}
			found := false
			for _, x := range run(t, siteText, s.events) {
				found = found || x.Alert && x.Detector == dns.TunnelID
			}
			if found != c.found {
				t.Errorf("alert %v, want %v (as %s)", found, c.found, s.events[0].DNS.Name)
			}
		})
	}
}

// TestSlowTunnel: an hour that begins two minutes before the full one is one
// window, and what goes on makes the next.
func TestSlowTunnel(t *testing.T) {
	t.Parallel()
	s := newScript()
	s.at = start - start%(3600*second) + 58*60*second
	for range 300 {
		s.ask(20, s.random(12)+".evil.test", none)
	}
	var starts []int64
	for _, x := range run(t, siteText, s.events) {
		if x.Subject == "evil.test" {
			starts = append(starts, (x.Start-s.events[0].Time+5*60*second)/(5*60*second))
			if !x.Alert {
				t.Errorf("no alert: %s", x.Reason)
			}
		}
	}
	if len(starts) != 2 || starts[0] != 0 || starts[1] != 12 {
		t.Errorf("windows start at panes %v", starts)
	}
}

// TestLimits are the limits that detections.md §3 publishes.
func TestLimits(t *testing.T) {
	t.Parallel()
	hex4 := newScript()
	for range 85 {
		hex4.ask(40, hex4.random(4)+".evil.test", nil)
	}
	if score, alert := scoreOf(run(t, siteText, hex4.events), "evil.test"); alert {
		t.Errorf("4 bytes every 40 s: %g points", score)
	}
	syn := newScript()
	for range 450 {
		syn.ask(7, syn.random(8)+".evil.test", func(e *event.Event) { e.DNS.MinTTL = event.N(300) }).touch(1, 0, "198.51.100.80", nil)
	}
	if score, alert := scoreOf(run(t, siteText, syn.events), "evil.test"); alert || score > 4 {
		t.Errorf("short names, each contacted: %g points", score)
	}
}

// TestLateRecords: what comes after its window is over is counted and dropped,
// and does not say less of what was said.
func TestLateRecords(t *testing.T) {
	t.Parallel()
	s := newScript()
	for range 100 {
		s.ask(5, s.random(30)+".evil.test", none)
	}
	st, _ := site.Parse([]byte(siteText))
	p := detecttest.NewPlayer(t, []byte(siteText), detectors()...)
	p.Feed(detecttest.Events(t, st, "lab", s.events))
	later := question("www.example.com", s.at+3*3600*second)
	p.Feed(detecttest.Events(t, st, "lab", []event.Event{later, later}))
	before := len(p.Context.Signals)
	late := question("late.evil.test", s.at)
	p.Feed(detecttest.Events(t, st, "lab", []event.Event{late}))
	p.Mark(true)
	if p.Context.Counts["late_dropped/dns-tunnel"] != 1 || len(p.Context.Signals) != before {
		t.Errorf("%v, %d signals after %d", p.Context.Counts, len(p.Context.Signals), before)
	}
}

// TestSourceRestarts: a closing mark in the middle of a tunnel neither cuts
// its window nor loses it.
func TestSourceRestarts(t *testing.T) {
	t.Parallel()
	s := newScript()
	for range 200 {
		s.ask(10, s.random(30)+".evil.test", none)
	}
	st, _ := site.Parse([]byte(siteText))
	rec := detecttest.Events(t, st, "lab", s.events)
	whole := detecttest.NewPlayer(t, []byte(siteText), detectors()...).Play(rec).Context.Final()
	p := detecttest.NewPlayer(t, []byte(siteText), detectors()...)
	p.Feed(rec[:100])
	p.Mark(true)
	p.Feed(rec[100:])
	p.Mark(true)
	got := p.Context.Final()
	if len(whole) != 1 || len(got) != 1 || got[0].ID != whole[0].ID || got[0].Reason != whole[0].Reason {
		t.Errorf("whole     %s\nrestarted %s", whole[0].Reason, got[0].Reason)
	}
}
