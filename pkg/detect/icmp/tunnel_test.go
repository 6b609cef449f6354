package icmp_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/detect/icmp"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

const second = int64(1_000_000)

// start is when the events of the tests begin, on the grid of windows.
const start = int64(1_795_430_100) * second

const siteText = "home_networks: [10.20.0.0/16, \"2001:db8:20::/48\"]\nmonitors: [10.20.110.10]\n"

// script makes the messages of one pair.
type script struct {
	rng    *rand.Rand
	at     int64
	us, it string
	typ    [2]int // of requests and replies
	events []event.Event
}

func newScript() *script {
	return &script{rng: rand.New(rand.NewPCG(1, 1)), at: start + 30*second, us: "10.20.1.10", it: "203.0.113.9", typ: [2]int{8, 0}}
}

// message is one ICMP message; content 0 is none.
type message struct {
	pause    float64
	in       bool // from the peer
	typ      int
	code     int
	id, seq  int
	bytes    int
	content  uint64
	stamped  uint64 // what a timestamp adds to the hash of all of it
	unhashed bool
}

func (s *script) put(m message) *script {
	s.at += int64(m.pause * float64(second))
	e := event.Event{Kind: event.KindICMP, Time: s.at, Observer: event.Observer{Type: "packet"}, Origin: event.Origin{Name: "x.pcap", Line: event.N(1)}}
	e.Source.IP, e.Destination.IP = netip.MustParseAddr(s.us), netip.MustParseAddr(s.it)
	if m.in {
		e.Source, e.Destination = e.Destination, e.Source
	}
	e.Network.Transport = "icmp"
	e.ICMP = event.ICMP{Type: event.N(m.typ), Code: event.N(m.code), ID: event.N(m.id), Sequence: event.N(m.seq), Bytes: event.N(m.bytes)}
	if !m.unhashed {
		e.ICMP.Hash, e.ICMP.Content = event.N(m.content*31+m.stamped+uint64(m.bytes)), event.N(m.content+uint64(m.bytes)<<32)
	}
	s.events = append(s.events, e)
	return s
}

// ping is a request and its reply; edit changes the reply.
func (s *script) ping(pause float64, id, seq, bytes int, content, stamped uint64, edit func(*message)) *script {
	m := message{pause: pause, typ: s.typ[0], id: id, seq: seq, bytes: bytes, content: content, stamped: stamped}
	s.put(m)
	m.pause, m.in, m.typ = 0.02, true, s.typ[1]
	if edit != nil {
		edit(&m)
	}
	return s.put(m)
}

// record is a record of a connection or flow.
func (s *script) record(kind event.Kind, lasts float64, outBytes, outPackets, inBytes, inPackets int) *script {
	e := event.Event{Kind: kind, Start: s.at, Time: s.at + int64(lasts*float64(second)), Observer: event.Observer{Type: "zeek"}, Origin: event.Origin{Name: "conn.log", Line: event.N(1)}}
	e.Source.IP, e.Destination.IP = netip.MustParseAddr(s.us), netip.MustParseAddr(s.it)
	e.Network.Transport, e.Network.Layer = "icmp", event.LayerPayload
	e.Source.Bytes, e.Source.Packets, e.Destination.Bytes, e.Destination.Packets = event.N(outBytes), event.N(outPackets), event.N(inBytes), event.N(inPackets)
	s.at = e.Time + second
	s.events = append(s.events, e)
	return s
}

func run(t *testing.T, siteFile string, events []event.Event) []signal.Signal {
	t.Helper()
	st, err := site.Parse([]byte(siteFile))
	if err != nil {
		t.Fatal(err)
	}
	return play(t, []byte(siteFile), detecttest.Merge(detecttest.Events(t, st, "tap", events)))
}

func textOf(list []signal.Signal) string {
	points := map[string]float64{}
	for _, s := range list {
		if s.Score >= s.Floor {
			for _, p := range s.Points {
				points[p.Name] += p.Points
			}
		}
	}
	var parts []string
	for _, n := range slices.Sorted(maps.Keys(points)) {
		parts = append(parts, fmt.Sprintf("%s %g", n, points[n]))
	}
	return strings.Join(parts, ", ")
}

func TestSigns(t *testing.T) {
	t.Parallel()
	pings := func(s *script, n, bytes int) {
		for i := range n {
			s.ping(1, 7, i, bytes, 1, uint64(i), nil)
		}
	}
	for name, c := range map[string]struct {
		make   func(s *script)
		points string
	}{
		"ping":       {func(s *script) { pings(s, 500, 56) }, ""},
		"large ping": {func(s *script) { pings(s, 500, 1472) }, ""},
		"ping over IPv6": {func(s *script) {
			s.us, s.it, s.typ = "2001:db8:20::1", "2001:db8:99::1", [2]int{128, 129}
			pings(s, 500, 56)
		}, ""},
		"ping without replies": {func(s *script) {
			for i := range 300 {
				s.put(message{pause: 1, typ: 8, id: 7, seq: i, bytes: 1472, content: 1, stamped: uint64(i)})
			}
		}, ""},
		"four large contents": {func(s *script) {
			for i := range 4 {
				s.ping(1, 7, i, 1024, uint64(10+i), 0, nil)
			}
		}, "changing_bytes 1, large_contents 4"},
		"one content at three large lengths": {func(s *script) {
			for i := range 30 {
				s.ping(1, 7, i, 1000+i%3, 5, 0, nil)
			}
		}, ""},
		"the same id and number for ever": {func(s *script) {
			for range 30 {
				s.ping(5, 1, 1, 56, 1, 0, nil)
			}
		}, "reused_sequence 2"},
		"each packet twice, by a mirror port": {func(s *script) {
			for i := range 30 {
				s.put(message{pause: 1, typ: 8, id: 7, seq: i, bytes: 56, content: 1}).put(message{pause: 0.001, typ: 8, id: 7, seq: i, bytes: 56, content: 1})
				s.put(message{pause: 0.02, in: true, typ: 0, id: 7, seq: i, bytes: 56, content: 1}).put(message{pause: 0.001, in: true, typ: 0, id: 7, seq: i, bytes: 56, content: 1})
			}
		}, ""},
		"a process for each ping": {func(s *script) {
			for i := range 30 {
				s.ping(60, i, 1, 56, 1, uint64(i), nil)
			}
		}, ""},
		"replies with other data": {func(s *script) {
			for i := range 3 {
				s.ping(1, 7, i, 56, 1, 0, func(m *message) { m.content = uint64(100 + i) })
			}
		}, "replies_not_mirrored 4"},
		"two such replies": {func(s *script) {
			for i := range 2 {
				s.ping(1, 7, i, 56, 1, 0, func(m *message) { m.content = uint64(100 + i) })
			}
		}, ""},
		"replies that are cut short": {func(s *script) {
			for i := range 60 {
				s.ping(1, 7, i, 1472, 1, uint64(i), func(m *message) { m.bytes, m.content = 64, 2 })
			}
		}, ""},
		"short replies with other data each": {func(s *script) {
			for i := range 6 {
				s.ping(1, 7, i, 1472, 1, uint64(i), func(m *message) { m.bytes, m.content = 64, uint64(100+i) })
			}
		}, "replies_not_mirrored 4"},
		"replies that nobody asked for": {func(s *script) {
			pings(s, 3, 56)
			for i := range 5 {
				s.put(message{pause: 1, in: true, typ: 0, id: 9, seq: i, bytes: 56, content: 1})
			}
		}, "replies_not_mirrored 4"},
		"replies whose requests pass elsewhere": {func(s *script) {
			for i := range 100 {
				s.put(message{pause: 1, in: true, typ: 0, id: 9, seq: i, bytes: 56, content: 1, stamped: uint64(i)})
			}
		}, ""},
		"data in replies alone": {func(s *script) {
			for i := range 20 {
				s.put(message{pause: 1, typ: 0, id: 9, seq: i, bytes: 200, content: uint64(i)})
			}
		}, "changing_bytes 1, distinct_contents 2, replies_not_mirrored 4"},
		"data in requests, mirrored": {func(s *script) {
			for i := range 80 {
				s.ping(10, 7, i, 120, uint64(i), 0, nil)
			}
		}, "changing_bytes 2, distinct_contents 3"},
		"a little data": {func(s *script) {
			for i := range 13 {
				s.ping(10, 7, i, 32, uint64(i), 0, nil)
			}
		}, "distinct_contents 2"},
		"data among pings": {func(s *script) {
			for i := range 60 {
				s.ping(10, 7, i, 56, uint64(i)/4*uint64(i%4/3), 0, nil)
			}
		}, ""},
		"path MTU discovery": {func(s *script) {
			for i := range 40 {
				for n := range 3 {
					s.ping(1, 7+i, n, 500+20*i, 1, uint64(i), nil)
				}
			}
		}, ""},
		"every message of another length": {func(s *script) {
			for i := range 400 {
				s.ping(1, 7, i, 100+i, uint64(i), 0, nil)
			}
		}, "changing_bytes 3, distinct_contents 3, large_contents 4, rule_volume 0"},
		"captures cut short": {func(s *script) {
			for i := range 100 {
				s.ping(1, 7, i, 1400, uint64(i), 0, func(m *message) { m.unhashed = true })
				s.events[len(s.events)-2].ICMP.Hash, s.events[len(s.events)-2].ICMP.Content = event.Count{}, event.Count{}
			}
		}, ""},
		"a type that is not assigned": {func(s *script) {
			for range 3 {
				s.put(message{pause: 1, typ: 200, bytes: 100, content: 1})
			}
		}, "unused_types 4"},
		"probes of types without data": {func(s *script) {
			for i := range 256 {
				s.put(message{pause: 1, typ: i})
			}
		}, ""},
		"timestamps": {func(s *script) {
			s.typ = [2]int{13, 14}
			for i := range 40 {
				s.ping(1, 7, i, 12, uint64(i), 0, func(m *message) { m.content += 1000 })
			}
		}, "distinct_contents 2, replies_not_mirrored 4"},
		"timestamps with data": {func(s *script) {
			for i := range 3 {
				s.put(message{pause: 1, typ: 13, bytes: 60, content: uint64(i)})
			}
		}, "unused_types 4"},
		"redirects to the outside": {func(s *script) {
			for i := range 3 {
				s.put(message{pause: 1, typ: 5, bytes: 60, content: uint64(i)})
			}
		}, "unused_types 4"},
		"errors": {func(s *script) {
			for i := range 300 {
				s.put(message{pause: 1, typ: 3, code: 3, bytes: 36, content: uint64(i)})
				s.put(message{pause: 1, in: true, typ: 11, bytes: 60, content: uint64(i)})
			}
		}, ""},
		"errors that quote what nobody sent": {func(s *script) {
			for i := range 100 {
				s.put(message{pause: 1, typ: 3, code: 1, bytes: 500, content: uint64(i)})
			}
		}, "changing_bytes 3, distinct_contents 3, large_contents 4"},
		"errors about what the peer sends": {func(s *script) {
			for i := range 100 {
				s.put(message{pause: 1, typ: 3, code: 3, bytes: 500, content: uint64(i)})
			}
			s.record(event.KindConn, 1, 500, 5, 50000, 100)
			s.events[len(s.events)-1].Network.Transport, s.events[len(s.events)-1].Observer.Type = "udp", "packet"
		}, ""},
		"packets too large for a tunnel of ours": {func(s *script) {
			for i := range 300 {
				s.put(message{pause: 1, typ: 3, code: 4, bytes: 548, content: uint64(i)})
			}
		}, ""},
		"a monitor": {func(s *script) {
			s.us = "10.20.110.10"
			for i := range 200 {
				s.ping(1, 7, i, 1000, uint64(i), 0, nil)
			}
		}, ""},
		"between two of ours": {func(s *script) {
			s.it = "10.20.2.2"
			for i := range 200 {
				s.ping(1, 7, i, 1000, uint64(i), 0, nil)
			}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript()
			s.put(message{typ: 8, id: 999, bytes: 56, content: 1}).put(message{in: true, typ: 0, id: 999, bytes: 56, content: 1})
			s.events[0].Destination.IP, s.events[1].Source.IP = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.1")
			s.at += 10 * second // the sensor has run for a while
			c.make(s)
			if s.us != "10.20.1.10" {
				s.events = s.events[2:]
			}
			got := run(t, siteText, s.events)
			if text := textOf(got); text != c.points {
				t.Errorf("got  %s\nwant %s", text, c.points)
			}
			for _, x := range got {
				if x.Alert != (x.Score >= 4) || x.Entity.IP != s.us || x.Destination.IP != s.it {
					t.Errorf("%+v", x)
				}
			}
		})
	}
}

func TestFlows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		make   func(s *script)
		points string
	}{
		"ping for an hour": {func(s *script) { s.record(event.KindConn, 3000, 56*3000, 3000, 56*3000, 3000) }, ""},
		"large ping":       {func(s *script) { s.record(event.KindConn, 119, 176640, 120, 176640, 120) }, "large_packets 1, rule_volume 1"},
		"the same, cut up": {func(s *script) {
			for range 30 {
				s.record(event.KindFlow, 10, 40000, 30, 0, 0)
			}
		}, "large_packets 1, rule_volume 1"},
		"cut up, hours apart": {func(s *script) {
			for range 3 {
				s.record(event.KindFlow, 10, 30000, 300, 0, 0)
				s.at += 1000 * second
			}
		}, ""},
		"a large echo that is cut short": {func(s *script) { s.record(event.KindConn, 119, 176640, 120, 64*120, 120) }, "large_packets 1, rule_volume 1, uneven_sizes 1"},
		"more comes back than was sent":  {func(s *script) { s.record(event.KindConn, 10, 56000, 1000, 1_400_000, 1000) }, "large_packets 1, replies_exceed_requests 2, uneven_sizes 1, volume 1"},
		"more replies than requests":     {func(s *script) { s.record(event.KindConn, 200, 56*1000, 1000, 56*1100, 1100) }, "replies_exceed_requests 2, rule_volume 1"},
		"rejected": {func(s *script) {
			s.record(event.KindFlow, 119, 1_000_000, 700, 0, 0)
			s.events[0].Flow.Action = "reject"
		}, ""},
		"other traffic": {func(s *script) {
			s.record(event.KindConn, 119, 1_000_000, 700, 0, 0)
			s.events[0].Network.Transport = "udp"
		}, ""},
		"a pair known for a week": {func(s *script) {
			s.record(event.KindConn, 1, 56, 1, 56, 1)
			for range 8 * 24 {
				s.at += 3600 * second
				s.record(event.KindConn, 1, 56, 1, 56, 1)
			}
			s.record(event.KindConn, 50, 176640, 120, 176640, 120)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript()
			c.make(s)
			if got := textOf(run(t, siteText, s.events)); got != c.points {
				t.Errorf("got  %s\nwant %s", got, c.points)
			}
		})
	}
}

// mixed is a recording of a tunnel, pings and probes at once.
func mixed(t *testing.T) ([]byte, detecttest.Recording) {
	t.Helper()
	siteFile, st := siteOf(t, filepath.Join("testdata", "site.yaml"))
	var parts []detecttest.Recording
	base := int64(0)
	for _, d := range []string{"ptunnel_slow", "b_ping_pmtu", "b_ping_1472"} {
		shift := int64(0)
		edit := func(e *event.Event) {
			if base == 0 {
				base = e.Time
			}
			if shift == 0 {
				shift = base - e.Time
			}
			e.Time += shift
			if e.Start != 0 {
				e.Start, e.End = e.Start+shift, e.End+shift
			}
		}
		parts = append(parts, detecttest.Packets(t, st, filepath.Join("testdata", d), edit))
		shift = 0
		parts = append(parts, detecttest.Zeek(t, st, filepath.Join("testdata", d), edit))
	}
	return siteFile, detecttest.Merge(parts...)
}

func texts(t *testing.T, list []signal.Signal) (out []string) {
	t.Helper()
	for i := range list {
		data, err := list[i].Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(data))
	}
	return out
}

func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	siteFile, rec := mixed(t)
	want := detecttest.NewPlayer(t, siteFile, icmp.NewTunnel()).Play(rec)
	if len(want.Context.Final()) < 3 {
		t.Fatalf("only %d signals", len(want.Context.Final()))
	}
	for _, every := range []int64{1, 7, 100} {
		p := detecttest.NewPlayer(t, siteFile, icmp.NewTunnel())
		p.Scribble = true
		p.Cut = func(p *detecttest.Player) {
			if p.Offset%every == 0 {
				p.Reload(siteFile, icmp.NewTunnel())
			}
		}
		p.Play(rec)
		if d := gocmp.Diff(texts(t, want.Context.Signals), texts(t, p.Context.Signals)); d != "" {
			t.Fatalf("cut every %d records (-through +cut):\n%s", every, d)
		}
		if d := gocmp.Diff(want.Save(), p.Save()); d != "" {
			t.Fatalf("state after cuts every %d records:\n%s", every, d)
		}
	}
}

func TestStreamsOutOfStep(t *testing.T) {
	t.Parallel()
	siteFile, rec := mixed(t)
	essence := func(list []signal.Signal) (out []signal.Signal) {
		for _, s := range list {
			s.Revision, s.Complete, s.Evidence = 0, 0, nil
			if s.Score >= s.Floor {
				out = append(out, s)
			}
		}
		slices.SortFunc(out, func(a, b signal.Signal) int { return cmp.Compare(a.ID, b.ID) })
		return out
	}
	want := essence(detecttest.NewPlayer(t, siteFile, icmp.NewTunnel()).Play(rec).Context.Final())
	for i, pick := range []func(n int) int{func(int) int { return 0 }, func(n int) int { return n - 1 }, rand.New(rand.NewPCG(3, 4)).IntN} {
		p := detecttest.NewPlayer(t, siteFile, icmp.NewTunnel())
		p.Interleave(rec, 300*second, pick)
		if d := gocmp.Diff(texts(t, want), texts(t, essence(p.Context.Final()))); d != "" {
			t.Fatalf("pick %d:\n%s", i, d)
		}
	}
}

// TestFlood: contents and peers without end cost bounded memory, and a tunnel
// among the peers is found.
func TestFlood(t *testing.T) {
	t.Parallel()
	s := newScript()
	for i := range 20_000 {
		s.it = fmt.Sprintf("203.%d.%d.9", i/256%64, i%256)
		s.put(message{pause: 0.005, typ: 8, id: i % 65536, seq: i % 1000, bytes: 56, content: 1})
		if i%5 == 0 {
			s.it = "198.51.100.66"
			s.ping(0.001, 7, i%65536, 1000, uint64(i), 0, func(m *message) { m.content++ })
		}
	}
	st, err := site.Parse([]byte(siteText))
	if err != nil {
		t.Fatal(err)
	}
	p := detecttest.NewPlayer(t, []byte(siteText), icmp.NewTunnel())
	p.Feed(detecttest.Events(t, st, "tap", s.events))
	size := 0
	for _, b := range p.Save().Buckets {
		size += len(b)
	}
	if size > 1<<20 {
		t.Errorf("a snapshot of %d KB", size>>10)
	}
	p.Mark(true)
	found := false
	for _, x := range p.Context.Final() {
		found = found || x.Alert && x.Subject == "198.51.100.66"
	}
	if !found || p.Context.Counts["peers_evicted/icmp-tunnel"] == 0 {
		t.Errorf("found %v, %v", found, p.Context.Counts)
	}
}

func TestSite(t *testing.T) {
	t.Parallel()
	s := newScript()
	for i := range 80 {
		s.ping(10, 7, i, 120, uint64(i), 0, nil)
	}
	for file, alerts := range map[string]bool{
		siteText: true,
		siteText + "detectors: {icmp-tunnel: {mode: shadow}}\n":                                                                false,
		siteText + "detectors: {icmp-tunnel: {thresholds: {contents_1: 100, contents_2: 100}}}\n":                              false,
		siteText + "detectors: {icmp-tunnel: {overrides: [{match: 10.20.1.10, thresholds: {bytes_2: 1e6, contents_2: 1e6}}]}}": false,
	} {
		got := slices.ContainsFunc(run(t, file, s.events), func(s signal.Signal) bool { return s.Alert })
		if got != alerts {
			t.Errorf("%s: alert %v", file, got)
		}
	}
	info := icmp.NewTunnel().Info()
	for _, th := range info.Thresholds {
		if th.Name == "" || th.Doc == "" || th.Unit == "" || th.Default <= 0 {
			t.Errorf("%+v", th)
		}
	}
	st, err := site.Parse([]byte("detectors: {icmp-tunnel: {thresholds: {replies: 3}}}"))
	if err != nil || detect.CheckSite(st, []detect.Detector{icmp.NewTunnel()}) != nil || !info.Alone || info.Default.Floor != 2 || info.Default.Alert != 4 {
		t.Errorf("%+v", info)
	}
}

func BenchmarkTunnel(b *testing.B) {
	st, err := site.Parse([]byte(siteText))
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"ping", "tunnel"} {
		b.Run(name, func(b *testing.B) {
			s := newScript()
			for i := range 4096 {
				content := uint64(1)
				if name == "tunnel" {
					content = uint64(i)
				}
				s.ping(0.1, 7, i, 1000, content, uint64(i), nil)
			}
			rec := detecttest.Events(b, st, "tap", s.events)
			p := detecttest.NewPlayer(b, []byte(siteText), icmp.NewTunnel())
			p.Context.Quiet = true
			p.Feed(rec)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p.Feed(rec[i%len(rec) : i%len(rec)+1])
			}
		})
	}
}
