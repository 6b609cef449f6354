package dns_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

func TestNeverContacted(t *testing.T) {
	t.Parallel()
	const tunnel = "evil.test"
	// lookups makes n answered look-ups of names of a domain, each followed by
	// what then adds.
	lookups := func(s *script, n int, domain string, then func(i int)) {
		for i := range n {
			s.ask(4, s.random(4)+"."+domain, nil)
			if then != nil {
				then(i)
			}
		}
	}
	traffic := func(s *script) { s.touch(0, 1, "198.51.100.7", nil) }
	for name, c := range map[string]struct {
		make func(s *script)
		want float64
	}{
		"no traffic is seen": {func(s *script) { lookups(s, 120, tunnel, nil) }, 0},
		"traffic elsewhere":  {func(s *script) { traffic(s); lookups(s, 120, tunnel, nil) }, 3},
		"few names":          {func(s *script) { traffic(s); lookups(s, 22, tunnel, nil) }, 2},
		"too few names":      {func(s *script) { traffic(s); lookups(s, 19, tunnel, nil) }, 0},
		"traffic of the DNS only": {func(s *script) {
			s.touch(0, 1, "10.53.0.53", func(e *event.Event) { e.Destination.Port = event.N(53) })
			lookups(s, 120, tunnel, nil)
		}, 3},
		"each is contacted": {func(s *script) {
			lookups(s, 120, tunnel, func(int) { s.touch(1, 0.5, "198.51.100.80", nil) })
		}, 0},
		"one in ten is contacted": {func(s *script) {
			for i := range 120 {
				s.ask(60, s.random(4)+"."+tunnel, nil)
				if i%10 == 0 {
					s.touch(1, 0.5, "198.51.100.80", nil)
				}
			}
		}, 0},
		"contacted too late": {func(s *script) {
			for range 50 {
				s.ask(70, s.random(4)+"."+tunnel, nil).touch(12, 0.1, "198.51.100.80", nil)
			}
		}, 2},
		"contacted before": {func(s *script) {
			for range 50 {
				s.ask(70, s.random(4)+"."+tunnel, nil).touch(-5, 1, "198.51.100.80", nil)
			}
		}, 2},
		"over a connection that is open": {func(s *script) {
			for i := range 50 {
				s.ask(2, s.random(4)+"."+tunnel, nil)
				if i == 0 {
					s.touch(-5, 110, "198.51.100.80", nil)
				}
			}
		}, 0},
		"by name through another address": {func(s *script) {
			for i := range 60 {
				n := s.random(4) + "." + tunnel
				s.ask(4, n, nil).touch(1, 0.5, "198.51.100.1", func(e *event.Event) {
					e.Kind, e.Start, e.End, e.Destination.Domain, e.Network.Protocol = event.KindTLS, 0, 0, n, "tls"
				})
				_ = i
			}
		}, 0},
		"someone contacts the client": {func(s *script) {
			lookups(s, 60, tunnel, func(int) {
				s.touch(1, 0.5, "10.20.1.10", func(e *event.Event) { e.Source.IP = netip.MustParseAddr("198.51.100.80") })
			})
			traffic(s)
		}, 2},
		"answers in 127/8": {func(s *script) {
			traffic(s)
			for range 60 {
				s.ask(4, s.random(20)+"."+tunnel, func(e *event.Event) { e.DNS.Addresses = []netip.Addr{netip.MustParseAddr("127.0.0.2")} })
			}
		}, 0},
		"a resolver of the site": {func(s *script) {
			traffic(s)
			lookups(s, 120, tunnel, nil)
			for i := range s.events {
				s.events[i].Source.IP = netip.MustParseAddr("10.53.0.53")
				if s.events[i].Kind == event.KindDNS {
					s.events[i].Destination.IP = netip.MustParseAddr("192.0.2.53")
				}
			}
		}, 0},
		"a client that never contacts anything": {func(s *script) {
			traffic(s)
			for i := range 150 {
				s.ask(1, fmt.Sprint("www.site", i, ".example"), nil)
			}
			lookups(s, 120, tunnel, nil)
		}, 0},
		"a client that contacts the rest": {func(s *script) {
			for i := range 150 {
				s.ask(1, fmt.Sprint("www.site", i, ".example"), func(e *event.Event) { e.DNS.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")} })
				s.touch(1, 0.5, "192.0.2.1", nil)
			}
			lookups(s, 120, tunnel, nil)
		}, 3},
		"more addresses than are followed": {func(s *script) {
			traffic(s)
			for range 60 {
				s.ask(4, s.random(20)+"."+tunnel, func(e *event.Event) {
					for i := range 9 {
						e.DNS.Addresses = append(e.DNS.Addresses, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
					}
				})
			}
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript()
			c.make(s)
			// The names are too short for a signal without this sign: three
			// queries of an unused type make one of any.
			for range 3 {
				s.ask(0.1, "x."+tunnel, typed("NULL"))
				s.events[len(s.events)-1].Source.IP = s.events[0].Source.IP
				if s.events[0].Kind == event.KindDNS {
					s.events[len(s.events)-1].Destination.IP = s.events[0].Destination.IP
				}
			}
			got := pointsOf(run(t, siteText, s.events), tunnel)
			if got == nil || got["never_contacted"] != c.want {
				t.Errorf("points %v, want %g", got, c.want)
			}
		})
	}
}

// TestContactShownLate: what was said before a contact was shown is taken
// back.
func TestContactShownLate(t *testing.T) {
	t.Parallel()
	s := newScript()
	s.touch(0, 1, "198.51.100.7", nil)
	for range 30 {
		s.ask(0.1, s.random(15)+".evil.test", nil)
	}
	s.at += 200 * second
	s.ask(0, "www.example.com", nil) // time goes on
	for range 30 {
		n := s.random(15) + ".evil.test"
		s.ask(2, n, nil).touch(1, 0.5, "198.51.100.80", nil)
	}
	s.at += 4000 * second
	s.ask(0, "www.example.com", nil)
	st, _ := site.Parse([]byte(siteText))
	p := detecttest.NewPlayer(t, []byte(siteText), detectors()...).Play(detecttest.Merge(detecttest.Events(t, st, "lab", s.events)))
	var scores []float64
	for _, x := range p.Context.Signals {
		if x.Subject == "evil.test" {
			scores = append(scores, x.Score)
		}
	}
	if len(scores) < 2 || scores[0] < 3 || scores[len(scores)-1] >= scores[0] {
		t.Errorf("scores %v", scores)
	}
}

func TestMissingNames(t *testing.T) {
	t.Parallel()
	ordinary := func(s *script, edit func(*event.Event)) {
		for i := range 40 {
			s.ask(1, fmt.Sprint("www.site", i, ".example"), edit)
		}
	}
	for name, c := range map[string]struct {
		make func(s *script)
		want bool
	}{
		"do not exist":           {func(s *script) { many(s, 30, none) }, true},
		"refused":                {func(s *script) { many(s, 30, func(e *event.Event) { none(e); e.DNS.ResponseCode = "REFUSED" }) }, true},
		"no records":             {func(s *script) { many(s, 30, func(e *event.Event) { none(e); e.DNS.ResponseCode = "NOERROR" }) }, true},
		"records":                {func(s *script) { many(s, 30, nil) }, false},
		"too few":                {func(s *script) { many(s, 18, none) }, false},
		"a resolver that fails":  {func(s *script) { ordinary(s, failed); many(s, 30, failed) }, false},
		"fails for these":        {func(s *script) { ordinary(s, nil); many(s, 30, failed) }, true},
		"replies are not seen":   {func(s *script) { ordinary(s, silent); many(s, 30, silent) }, false},
		"nothing else is asked":  {func(s *script) { many(s, 30, silent) }, false},
		"no reply for these":     {func(s *script) { ordinary(s, nil); many(s, 30, silent) }, true},
		"some of them have data": {func(s *script) { many(s, 30, none); many(s, 10, nil) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript()
			c.make(s)
			for range 3 {
				s.ask(0.1, "x.evil.test", typed("NULL"))
			}
			got := pointsOf(run(t, siteText, s.events), "evil.test")
			if got == nil || (got["missing_names"] == 2) != c.want {
				t.Errorf("points %v, want missing %v", got, c.want)
			}
		})
	}
}

func many(s *script, n int, edit func(*event.Event)) {
	for range n {
		s.ask(5, s.random(6)+".evil.test", edit)
	}
}
