package dns_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/detect/dns"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

func of(list []signal.Signal, detector string) (out []signal.Signal) {
	for _, s := range list {
		if s.Detector == detector {
			out = append(out, s)
		}
	}
	return out
}

func TestNotDNS(t *testing.T) {
	t.Parallel()
	packet := func(sent bool) func(*event.Event) {
		return func(e *event.Event) {
			direct(e)
			e.DNS, e.Observer.Type = event.DNS{NotDNS: true}, "packet"
			if sent {
				e.DNS.QueryBytes = event.N(100)
			} else {
				e.DNS.ResponseBytes = event.N(1200)
			}
		}
	}
	conn := func(edit func(*event.Event)) func(*event.Event) {
		return func(e *event.Event) {
			e.Destination.Port, e.Network.Transport, e.Conn.State, e.Conn.History = event.N(53), "udp", "SF", "Dd"
			e.Source.Packets, e.Destination.Packets = event.N(20), event.N(10)
			e.Source.Bytes, e.Destination.Bytes = event.N(9000), event.N(500)
			if edit != nil {
				edit(e)
			}
		}
	}
	shown := func(s *script) *script { return s.ask(1, "www.example.com", nil) }
	for name, c := range map[string]struct {
		make  func(s *script)
		score float64
	}{
		"packets": {func(s *script) {
			for i := range 5 {
				s.ask(1, "", packet(i < 3))
			}
		}, 5},
		"four packets": {func(s *script) {
			for range 4 {
				s.ask(1, "", packet(true))
			}
		}, 3},
		"two packets":        {func(s *script) { s.ask(1, "", packet(true)).ask(1, "", packet(true)) }, 0},
		"a server's garbage": {func(s *script) { manyPackets(s, 50, packet(false)) }, 3},
		"towards the own resolver": {func(s *script) {
			manyPackets(s, 9, both(packet(true), func(e *event.Event) { e.Destination.IP = netip.MustParseAddr("10.53.0.53") }))
		}, 0},
		"to several servers": {func(s *script) {
			for i := range 20 {
				s.ask(1, "", both(packet(true), func(e *event.Event) { e.Destination.IP = netip.AddrFrom4([4]byte{203, 0, 113, byte(i / 2)}) }))
			}
		}, 0},
		"DNS":                              {func(s *script) { many(s, 50, direct) }, 0},
		"a connection that Zeek knows not": {func(s *script) { shown(s).touch(1, 5, "203.0.113.9", conn(nil)) }, 5},
		"one that Zeek knows": {func(s *script) {
			shown(s).touch(1, 5, "203.0.113.9", conn(func(e *event.Event) { e.Network.Protocol = "dns" }))
		}, 0},
		"no data": {func(s *script) {
			shown(s).touch(1, 5, "203.0.113.9", conn(func(e *event.Event) { e.Source.Bytes = event.N(0) }))
		}, 0},
		"a sensor without DNS": {func(s *script) { s.touch(1, 5, "203.0.113.9", conn(nil)) }, 0},
		"TCP from its beginning": {func(s *script) {
			shown(s).touch(1, 5, "203.0.113.9", conn(func(e *event.Event) { e.Network.Transport, e.Conn.History = "tcp", "ShAD" }))
		}, 5},
		"TCP seen from mid-way": {func(s *script) {
			shown(s).touch(1, 5, "203.0.113.9", conn(func(e *event.Event) { e.Network.Transport, e.Conn.History = "tcp", "DadA" }))
		}, 0},
		"two packets of an error": {func(s *script) {
			shown(s).touch(1, 5, "203.0.113.9", conn(func(e *event.Event) { e.Source.Packets, e.Destination.Packets = event.N(1), event.N(1) }))
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript()
			c.make(s)
			got := of(run(t, siteText, s.events), dns.NotDNSID)
			score := 0.0
			for _, x := range got {
				score = max(score, x.Score)
				if x.Subject != "203.0.113.9" || x.Destination.IP != "203.0.113.9" || x.Destination.Port != 53 || x.Bytes == nil || x.Alert != (x.Score == 5) {
					t.Errorf("%+v", x)
				}
			}
			if score != c.score {
				t.Errorf("score %g, want %g", score, c.score)
			}
		})
	}
}

func manyPackets(s *script, n int, edit func(*event.Event)) {
	for range n {
		s.ask(1, "", edit)
	}
}

func TestEncrypted(t *testing.T) {
	t.Parallel()
	// talk makes n connections of so many bytes to a server.
	talk := func(n int, every, lasts float64, up, down int, to string, edit func(*event.Event)) func(*script) {
		return func(s *script) {
			for range n {
				s.at += int64(every * float64(second))
				s.touch(0, lasts, to, func(e *event.Event) {
					e.Source.Bytes, e.Destination.Bytes, e.Network.Layer = event.N(up), event.N(down), event.LayerPayload
					if edit != nil {
						edit(e)
					}
				})
			}
		}
	}
	port := func(n int) func(*event.Event) { return func(e *event.Event) { e.Destination.Port = event.N(n) } }
	hello := func(name, alpn string) func(*event.Event) {
		return func(e *event.Event) {
			e.Kind, e.Start, e.End = event.KindTLS, 0, 0
			e.Source.Bytes, e.Destination.Bytes, e.Network.Layer = event.Count{}, event.Count{}, ""
			e.Destination.Domain, e.TLS.ALPN = name, alpn
		}
	}
	src := func(a string) func(*event.Event) {
		return func(e *event.Event) { e.Source.IP = netip.MustParseAddr(a) }
	}
	for name, c := range map[string]struct {
		make     func(s *script)
		site     string
		subject  string
		score    float64
		severity string
	}{
		"an address of the list":    {talk(1, 1, 1, 700, 5000, "8.8.4.4", nil), "", "Google Public DNS", 2, "low"},
		"IPv6":                      {talk(1, 1, 1, 700, 5000, "2620:fe::fe", nil), "", "Quad9", 2, "low"},
		"another port":              {talk(1, 1, 1, 700, 5000, "8.8.4.4", port(80)), "", "", 0, ""},
		"a name of the list":        {talk(1, 1, 0, 0, 0, "192.0.2.1", hello("mozilla.cloudflare-dns.com", "h2")), "", "Cloudflare", 2, "low"},
		"a name that ends like one": {talk(1, 1, 0, 0, 0, "192.0.2.1", hello("notdns.google", "h2")), "", "", 0, ""},
		"the operator's home page":  {talk(1, 1, 0, 0, 0, "192.0.2.1", hello("www.quad9.net", "h2")), "", "", 0, ""},
		"DoT to anyone":             {talk(1, 1, 1, 700, 5000, "192.0.2.1", port(853)), "", "192.0.2.1", 2, "low"},
		"a firewall ended it":       {talk(5, 1, 0, 0, 0, "192.0.2.1", port(853)), "", "", 0, ""},
		"by ALPN":                   {talk(1, 1, 0, 0, 0, "192.0.2.1", hello("x.example", "doq")), "", "192.0.2.1", 2, "low"},
		"calls itself one":          {talk(3, 1, 0, 0, 0, "192.0.2.1", hello("doh.example.net", "h2")), "", "192.0.2.1", 1, "low"},
		"does not":                  {talk(3, 1, 0, 0, 0, "192.0.2.1", hello("dot.example", "h2")), "", "192.0.2.1", 1, "low"},
		"is about something else":   {talk(3, 1, 0, 0, 0, "192.0.2.1", hello("doherty.example.net", "h2")), "", "", 0, ""},
		"a resolver of the site":    {talk(1, 1, 1, 700, 5000, "8.8.8.8", both(port(853), src("10.53.0.53"))), "", "", 0, ""},
		"sanctioned address":        {talk(1, 1, 1, 700, 5000, "8.8.8.8", nil), "sanctioned_destinations: [8.8.8.8]", "", 0, ""},
		"sanctioned name":           {talk(1, 1, 0, 0, 0, "192.0.2.1", hello("dns.quad9.net", "h2")), "sanctioned_destinations: [quad9.net]", "", 0, ""},
		"sanctioned for others":     {talk(1, 1, 1, 700, 5000, "8.8.8.8", nil), "sanctioned_destinations: [{value: 8.8.8.8, sources: [10.20.7.0/24]}]", "Google Public DNS", 2, "low"},
		"inside":                    {talk(1, 1, 1, 700, 5000, "10.20.0.53", port(853)), "", "", 0, ""},
		"ordinary use": {func(s *script) {
			for i := range 200 {
				talk(1, float64(1+i*i%17), 5, 900, 4000, "1.1.1.1", nil)(s)
			}
		}, "", "Cloudflare", 3, "low"},
		"a tunnel":          {talk(60, 2, 1, 3000, 1500, "1.1.1.1", nil), "", "Cloudflare", 6, "high"},
		"a long connection": {talk(1, 1, 600, 2_000_000, 1_000_000, "1.1.1.1", nil), "", "Cloudflare", 6, "high"},
		"a tunnel to one that is not listed": {func(s *script) {
			talk(1, 1, 0, 0, 0, "192.0.2.1", hello("doh.evil.test", "h2"))(s)
			talk(1, 1, 600, 2_000_000, 1_000_000, "192.0.2.1", nil)(s)
		}, "", "192.0.2.1", 5, "medium"},
		"one that goes on": {func(s *script) {
			for i := range 10 {
				talk(1, 60, 60, 0, 0, "1.1.1.1", func(e *event.Event) {
					e.ID, e.Start, e.Conn.Open = "C", start, i < 9
					e.Source.Bytes, e.Destination.Bytes = event.N(50_000*(i+1)), event.N(20_000*(i+1))
				})(s)
			}
		}, "", "Cloudflare", 5, "medium"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript()
			c.make(s)
			got := of(run(t, siteText+c.site, s.events), dns.EncryptedID)
			if c.subject == "" {
				if len(got) != 0 {
					t.Errorf("%s", got[0].Reason)
				}
				return
			}
			if len(got) != 1 {
				t.Fatalf("%d signals", len(got))
			}
			x := got[0]
			if x.Subject != c.subject || x.Score != c.score || x.Severity != c.severity || x.Alert != (c.score >= 2) || x.Destination.IP == "" {
				t.Errorf("%s %g %s alert %v: %s", x.Subject, x.Score, x.Severity, x.Alert, x.Reason)
			}
		})
	}
	// The bytes of a connection that goes on are counted once.
	s := newScript()
	for i := range 10 {
		s.at += 60 * second
		s.touch(0, 0, "1.1.1.1", func(e *event.Event) {
			e.ID, e.Start, e.Conn.Open = "C", start, i < 9
			e.Source.Bytes, e.Destination.Bytes = event.N(1000*(i+1)), event.N(1000*(i+1))
		})
	}
	if got := of(run(t, siteText, s.events), dns.EncryptedID); len(got) != 1 || got[0].Bytes == nil || *got[0].Bytes != 10_000 || got[0].Values[0].Value != 1 {
		t.Errorf("%+v", got)
	}
}

// TestEncryptedFlows: flow logs know addresses and ports, one direction a
// record.
func TestEncryptedFlows(t *testing.T) {
	t.Parallel()
	st, err := site.Parse([]byte(siteText))
	if err != nil {
		t.Fatal(err)
	}
	var events []event.Event
	for i := range 20 {
		e := event.Event{Kind: event.KindFlow, Time: start + int64(i)*60*second, Start: start + int64(i-1)*60*second, Observer: event.Observer{Type: "vpcflow"}, Origin: event.Origin{Name: "x", Line: event.N(1)}}
		e.Network.Transport, e.Network.Layer, e.Flow.Action = "tcp", event.LayerIP, "accept"
		e.Source = event.Endpoint{IP: netip.MustParseAddr("10.20.1.10"), Port: event.N(44000), Bytes: event.N(10_000), Packets: event.N(50)}
		e.Destination = event.Endpoint{IP: netip.MustParseAddr("9.9.9.9"), Port: event.N(443)}
		if i == 3 {
			e.Flow.Action = "reject"
		}
		events = append(events, e)
		e.Source, e.Destination = e.Destination, e.Source
		e.Source.Bytes, e.Destination.Bytes, e.Destination.Packets = event.N(4000), event.Count{}, event.Count{}
		events = append(events, e)
	}
	got := of(detecttest.NewPlayer(t, []byte(siteText), detectors()...).Play(detecttest.Events(t, st, "vpc", events)).Context.Final(), dns.EncryptedID)
	if len(got) != 1 || got[0].Score != 5 || *got[0].Bytes != 190_000 || got[0].Layer != event.LayerIP || got[0].Values[2].Value != 76_000 {
		t.Errorf("%+v", got)
	}
}

// TestBounds: peers and resolvers without end cost bounded memory.
func TestBounds(t *testing.T) {
	t.Parallel()
	st, err := site.Parse([]byte(siteText))
	if err != nil {
		t.Fatal(err)
	}
	s := newScript()
	for i := range 1500 {
		a := fmt.Sprintf("198.%d.%d.7", 18+i/256, i%256)
		s.at += second / 100
		s.touch(0, 1, a, func(e *event.Event) {
			e.Destination.Port, e.Source.Bytes = event.N(853), event.N(10)
		})
		s.ask(0, "", func(e *event.Event) {
			e.Destination.IP, e.DNS = netip.MustParseAddr(a), event.DNS{NotDNS: true, QueryBytes: event.N(9)}
		})
	}
	p := detecttest.NewPlayer(t, []byte(siteText), detectors()...)
	p.Context.Quiet = true
	p.Feed(detecttest.Events(t, st, "lab", s.events))
	size := 0
	for b := range p.Set.Buckets() {
		size += len(p.Set.AppendBucket(nil, b))
	}
	if size > 1<<20 {
		t.Errorf("a snapshot of %d KB", size>>10)
	}
	if p.Context.Counts["peers_evicted/encrypted-dns"] == 0 || p.Context.Counts["peers_evicted/dns-not-dns"] == 0 {
		t.Errorf("%v", p.Context.Counts)
	}
}

// TestInfo: what a detector says of itself.
func TestInfo(t *testing.T) {
	t.Parallel()
	for _, d := range detectors() {
		info := d.Info()
		if !info.Alone || info.Default.Mode != signal.ModeAlert || info.Default.Floor >= info.Default.Alert || len(info.Technique) == 0 || !slices.Contains(
			[]string{"dns-tunnel", "dns-not-dns", "encrypted-dns"}, info.ID) {
			t.Errorf("%+v", info)
		}
		for _, th := range info.Thresholds {
			if th.Name == "" || th.Doc == "" || th.Unit == "" || th.Default <= 0 {
				t.Errorf("%s: %+v", info.ID, th)
			}
		}
		st, err := site.Parse([]byte("detectors: {" + info.ID + ": {thresholds: {" + info.Thresholds[0].Name + ": 3}}}"))
		if err != nil || detect.CheckSite(st, detectors()) != nil {
			t.Errorf("%s: %v %v", info.ID, err, detect.CheckSite(st, detectors()))
		}
	}
}
