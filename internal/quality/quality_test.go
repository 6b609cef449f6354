package quality

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/race"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

func corpus(t *testing.T) *Corpus {
	t.Helper()
	c, err := Open(filepath.Join("testdata", "lab"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func figures(t *testing.T) *Figures {
	t.Helper()
	f, err := ReadFigures(filepath.Join("testdata", "figures.json"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// some is what of the corpus a test takes: all, or with the race detector a
// part, since it is no other code.
func some(captures []*Capture, part int) []*Capture {
	if !race.Enabled {
		return captures
	}
	var out []*Capture
	for i := 0; i < len(captures); i += part {
		out = append(out, captures[i])
	}
	return out
}

// TestFigures holds the captures by themselves to what is committed: nothing
// may get worse. What got better is told, and wants "make quality".
func TestFigures(t *testing.T) {
	t.Parallel()
	c := corpus(t)
	lines, err := c.Lines(some(c.Captures, 6), false, Options{})
	if err != nil {
		t.Fatal(err)
	}
	check(t, Compare(figures(t).Lines, lines))
}

func check(t *testing.T, changes []Change) {
	t.Helper()
	for _, x := range changes {
		if x.Worse {
			t.Error(x)
		} else {
			t.Log(x, "(run make quality and commit what it writes)")
		}
	}
}

// TestMixed holds some mixed hours to what is committed.
func TestMixed(t *testing.T) {
	t.Parallel()
	c := corpus(t)
	base, err := c.profileRules()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"iodine_a_slow_M60_res", "dig_hex8_a_slow_res", "exf_https_slow", "ptunnel_slow"}
	if race.Enabled {
		names = names[1:2]
	}
	var lines []Line
	for i, name := range names {
		l, err := c.line(c.Named(name), Packets, &profiles[i%len(profiles)], base, Options{})
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	check(t, Compare(figures(t).Lines, lines))
}

// TestCommitted holds the committed figures to what must be true of them, and
// the page to the figures.
func TestCommitted(t *testing.T) {
	t.Parallel()
	f := figures(t)
	if err := f.Accept(); err != nil {
		t.Error(err)
	}
	want, err := os.ReadFile(filepath.Join("..", "..", "docs", "quality.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, f.Page()) {
		t.Error("docs/quality.md is not what the figures say: run make quality")
	}
	c := corpus(t)
	for _, x := range c.Captures {
		for _, s := range []Source{Zeek, Packets, Flow} {
			if !slices.ContainsFunc(f.Lines, func(l Line) bool { return l.Capture == x.Name && l.Source == s && l.Mix == "" }) {
				t.Errorf("%s/%s is not in the figures", x.Name, s)
			}
		}
	}
}

// TestWithoutSite: what alerts when nothing is declared is known and explained.
func TestWithoutSite(t *testing.T) {
	t.Parallel()
	if race.Enabled {
		t.Skip("no other code than TestFigures")
	}
	lines, err := corpus(t).WithoutSite()
	if err != nil {
		t.Fatal(err)
	}
	f := &Figures{NoSite: lines}
	if err := f.Accept(); err != nil {
		t.Error(err)
	}
	check(t, Compare(figures(t).NoSite, lines))
}

// TestMutated: other names, addresses, ids and times, the same verdicts.
func TestMutated(t *testing.T) {
	t.Parallel()
	c := corpus(t)
	captures := some(c.Captures, 9)
	for _, seed := range []uint64{1, 20_261_124} {
		lines, err := c.Lines(captures, false, Options{Mutation: func() *Mutation { return Mutate(seed) }})
		if err != nil {
			t.Fatal(err)
		}
		var committed []Line
		for i := range lines {
			for _, l := range figures(t).Lines {
				if l.key() == lines[i].key() {
					committed = append(committed, l)
				}
			}
		}
		for _, x := range Verdicts(committed, lines) {
			t.Errorf("seed %d: %v", seed, x)
		}
		if race.Enabled {
			return
		}
	}
}

// TestMutation: a mutation changes what it should, in the same way everywhere,
// and leaves what has a meaning of its own.
func TestMutation(t *testing.T) {
	t.Parallel()
	m := Mutate(7)
	a, b := m.name("data-in-a-long-label.d.tunnel.example"), m.name("other.d.tunnel.example")
	_, x, _ := strings.Cut(a, ".d.")
	_, y, _ := strings.Cut(b, ".d.")
	if x != y || x == "tunnel.example" || len(x) != len("tunnel.example") || strings.HasPrefix(a, "data-in") || len(a) != len("data-in-a-long-label.d.tunnel.example") {
		t.Errorf("%s, %s", a, b)
	}
	for _, name := range []string{"", "localhost", "1.2.0.192.in-addr.arpa", "co.uk", "x.zen.spamhaus.org"} {
		if got := m.name(name); got != name {
			t.Errorf("%s became %s", name, got)
		}
	}
	data, err := m.site(corpus(t).Site)
	if err != nil {
		t.Fatal(err)
	}
	st, err := site.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if !st.OwnDomain(m.name("host.corp.example.com"), 0) || st.OwnDomain("host.corp.example.com", 0) {
		t.Error("the own domains did not move with the names")
	}
	lab, err := site.Parse(corpus(t).Site)
	if err != nil {
		t.Fatal(err)
	}
	var e event.Event
	seen := map[string]string{}
	rec, err := corpus(t).Named("b_dns_browse").Recording(Zeek)
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range rec[:min(len(rec), 2000)] {
		if err := event.Decode(item.Value, &e); err != nil {
			t.Fatal(err)
		}
		from, to := e.Source.IP, e.Destination.IP
		(&Edit{Mutation: m}).apply(&e)
		for _, p := range [][2]string{{from.String(), e.Source.IP.String()}, {to.String(), e.Destination.IP.String()}} {
			if was, ok := seen[p[0]]; ok && was != p[1] {
				t.Fatalf("%s became %s and %s", p[0], was, p[1])
			}
			seen[p[0]] = p[1]
		}
		if lab.Internal(from) != st.Internal(e.Source.IP) || lab.Internal(to) != st.Internal(e.Destination.IP) ||
			lab.Resolver(to, 0) != st.Resolver(e.Destination.IP, 0) {
			t.Fatalf("%s → %s became %s → %s", from, to, e.Source.IP, e.Destination.IP)
		}
	}
	values := map[string]bool{}
	for _, v := range seen {
		values[v] = true
	}
	if len(values) != len(seen) {
		t.Errorf("%d addresses became %d", len(seen), len(values))
	}
}

// TestCompare: what is worse is told as worse.
func TestCompare(t *testing.T) {
	t.Parallel()
	was := []Line{{Capture: "a", Source: Zeek, Label: Malicious, Detector: "dns-tunnel", Spent: Spent{NameBytes: 100, Seconds: 5}, Payload: 40}}
	if got := Compare(was, was); len(got) != 0 {
		t.Errorf("the same differs: %v", got)
	}
	for _, x := range []struct {
		change func(*Line)
		worse  bool
	}{
		{func(l *Line) { l.Detector = "" }, true},
		{func(l *Line) { l.Spent.NameBytes = 101 }, true},
		{func(l *Line) { l.Spent.NameBytes = 90 }, false},
		{func(l *Line) { l.Payload = 50 }, true},
		{func(l *Line) { l.Spent.Seconds = 4 }, false},
		{func(l *Line) { l.False = []Finding{{Detector: "x"}} }, true},
	} {
		now := slices.Clone(was)
		x.change(&now[0])
		if got := Compare(was, now); len(got) != 1 || got[0].Worse != x.worse {
			t.Errorf("%+v: %v", now[0], got)
		}
	}
	if got := CompareRates([]Rate{{Capture: "a", Found: 1}}, []Rate{{Capture: "a", Found: 2}}); len(got) != 1 || !got[0].Worse {
		t.Errorf("%v", got)
	}
}

// TestIntervals compares with published values (R's binom.test and
// poisson.test).
func TestIntervals(t *testing.T) {
	t.Parallel()
	near := func(got, want float64) bool { return math.Abs(got-want) < 1e-3 }
	for _, x := range []struct {
		k, n     int
		low, top float64
	}{{0, 18, 0, 0.1853}, {26, 26, 0.8677, 1}, {7, 20, 0.1539, 0.5922}} {
		if i := proportion(x.k, x.n); !near(i.Low, x.low) || !near(i.Top, x.top) {
			t.Errorf("%d of %d: %.4f to %.4f", x.k, x.n, i.Low, i.Top)
		}
	}
	if low, top := rate(0, 1000); low != 0 || !near(1000*top, 3.689) {
		t.Errorf("none in 1000: %g to %g", low, top)
	}
	if low, top := rate(10, 1); !near(low, 4.795) || !near(top, 18.390) {
		t.Errorf("10: %g to %g", low, top)
	}
}

// TestRules: the required rules, as the requirement has them.
func TestRules(t *testing.T) {
	t.Parallel()
	c := corpus(t)
	for name, want := range map[string]Rules{
		"b_dns_mailauth":       {TXT: true},
		"b_dns_cdn_hash":       {Entropy: true},
		"iodine_txt_res":       {Entropy: true, TXT: true, Label: true},
		"dig_hex8_a_slow_res":  {},
		"dns2tcp_txt_slow_res": {TXT: true},
		"b_ping_1472":          {ICMP: true},
	} {
		in, client, err := alone(c.Named(name), Zeek, nil)
		if err != nil {
			t.Fatal(err)
		}
		o, err := Run(c.Site, client, in...)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, o.Rules); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestFlowLog: flow records hold what the connections held.
func TestFlowLog(t *testing.T) {
	t.Parallel()
	c := corpus(t).Named("exf_https_slow")
	zeek, err := c.Recording(Zeek)
	if err != nil {
		t.Fatal(err)
	}
	flows, err := c.Recording(Flow)
	if err != nil {
		t.Fatal(err)
	}
	sum := func(rec Recording, kind event.Kind, of func(*event.Event) uint64) (n uint64) {
		var e event.Event
		for _, item := range rec {
			if err := event.Decode(item.Value, &e); err != nil {
				t.Fatal(err)
			}
			if e.Kind == kind {
				n += of(&e)
			}
		}
		return n
	}
	want := sum(zeek, event.KindConn, func(e *event.Event) uint64 { return e.Source.IPBytes.Or(0) + e.Destination.IPBytes.Or(0) })
	got := sum(flows, event.KindFlow, func(e *event.Event) uint64 { return e.Source.Bytes.Or(0) })
	if want != got || len(flows) < 4 {
		t.Errorf("%d bytes in %d flow records, %d in the connections", got, len(flows), want)
	}
}
