package dns

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/publicsuffix"
	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	known := new(cuts)
	for range 2 { // the second time from memory
		for _, c := range []struct {
			name, data, domain string
			ok                 bool
		}{
			{"www.example.com", "www", "example.com", true},
			{"a.b.example.co.uk", "a.b", "example.co.uk", true},
			{"example.com", "", "example.com", true},
			{"com", "com", noDomain, true},
			{"co.uk", "", "", false},
			{"x.t.iod001.test", "x.t", "iod001.test", true},
			{"a.b.github.io", "a", "b.github.io", true},
			{"data.mine.duckdns.org", "data", "mine.duckdns.org", true},
			{"localhost", "localhost", noDomain, true},
			{`a\x2eb.example.com`, `a\x2eb`, "example.com", true},
			{"", "", "", false},
			{".", "", "", false},
			{"1.2.3.4", "", "", false},
			{"4.3.2.1.in-addr.arpa", "4.3.2", "1.in-addr.arpa", true},
			{"8.b.d.0.1.0.0.2.ip6.arpa", "", "8.b.d.0.1.0.0.2.ip6.arpa", true},
			{"f.f.8.b.d.0.1.0.0.2.ip6.arpa", "f.f", "8.b.d.0.1.0.0.2.ip6.arpa", true},
			{"hello.world.1.0.0.2.ip6.arpa", "hello.world", "1.0.0.2.ip6.arpa", true},
			{"hello.ip6.arpa", "", "hello.ip6.arpa", true},
		} {
			var q question
			ok := q.parse(c.name, known)
			data, domain, ok2 := known.split(c.name, q.hash)
			if ok != c.ok || ok2 != c.ok || data != c.data || domain != c.domain || ok && q.domain != c.domain {
				t.Errorf("%q: %q %q %v", c.name, data, domain, ok)
			}
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"abc.de.example.com":                    "3 2 bytes=5",
		"_dmarc.example.com":                    "6 bytes=6 service",
		"a._tcp.example.com":                    "1 4 bytes=5 service",
		`\xe4b\x00.example.com`:                 "3 bytes=3 odd",
		`a=b.example.com`:                       "3 bytes=3 odd",
		`bad\.example.com`:                      "4 bytes=4 odd",
		"1.2.3.4.list.example.com":              "1 1 1 1 4 bytes=8 quad",
		"1.2.3.444.list.example.com":            "1 1 1 3 4 bytes=10",
		"1.2.3.4.example.com":                   "1 1 1 1 bytes=4 quad",
		"1.2.3.example.com":                     "1 1 1 bytes=3",
		"_acme-challenge.www.example.com":       "3 bytes=3 service acme",
		"example.com":                           "bytes=0",
		strings.Repeat("a.", 200) + "example.c": strings.Repeat("1 ", 128) + "bytes=200",
	} {
		var q question
		q.parse(name, new(cuts))
		var got strings.Builder
		for _, l := range q.labels {
			fmt.Fprintf(&got, "%d ", l.bytes)
		}
		fmt.Fprintf(&got, "bytes=%d", q.bytes)
		for _, f := range []struct {
			is   bool
			name string
		}{{q.odd, "odd"}, {q.service, "service"}, {q.quad, "quad"}, {q.acme, "acme"}} {
			if f.is {
				got.WriteString(" " + f.name)
			}
		}
		if got.String() != want {
			t.Errorf("%s: %s, want %s", name, got.String(), want)
		}
	}
}

func TestReverse(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"4.3.2.10.in-addr.arpa":   "10.2.3.4",
		"3.2.10.in-addr.arpa":     "",
		"x.3.2.10.in-addr.arpa":   "",
		"256.3.2.10.in-addr.arpa": "",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa": "2001:db8::1",
		"0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa": "2001:db8::",
		"g.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa": "",
		"0.8.b.d.0.1.0.0.2.ip6.arpa": "",
		"www.example.com":            "",
	} {
		got, ok := reverseAddress(name)
		if ok != (want != "") || ok && got != netip.MustParseAddr(want) {
			t.Errorf("%s: %s %v", name, got, ok)
		}
	}
	for name, want := range map[string]bool{
		"4.3.2.10.in-addr.arpa": true, "2.10.in-addr.arpa": true, "10.in-addr.arpa": true, "1.4.3.2.10.in-addr.arpa": false,
		"0/25.2.0.192.in-addr.arpa": false, "data.2.10.in-addr.arpa": false, "300.10.in-addr.arpa": false, "in-addr.arpa": false,
	} {
		if got := reverse4Zone(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestEntropy(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(0, 300, 300).Draw(t, "text")
		var count [256]float64
		n := min(len(text), 255)
		for i := range n {
			count[text[i]]++
		}
		want := 0.0
		for _, c := range count {
			if c > 0 {
				want -= c / float64(n) * math.Log2(c/float64(n))
			}
		}
		if got := float64(entropy(text)) / 1e6; math.Abs(got-want) > 1e-4 {
			t.Fatalf("%g, want %g", got, want)
		}
	})
	for n := uint64(1); n < 1<<20; n += 1 + n/7 {
		got, want := float64(log2(n))/256, math.Log2(float64(n))
		if got > want+1e-9 || got < want-0.09 {
			t.Errorf("log2(%d) = %g, want %g", n, got, want)
		}
	}
}

// FuzzParse: no name makes trouble, and the memory of where names are cut
// never says something else than the list.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"www.example.com", "a..b.com", ".", "..", "x.ip6.arpa", "1.ip6.arpa", ".ip6.arpa", `\x`, `a\xg.com`, "a.", ".com", "_acme-challenge"} {
		f.Add(s)
	}
	known := new(cuts)
	f.Fuzz(func(t *testing.T, name string) {
		var q question
		ok := q.parse(name, known)
		again := q
		if q.parse(name, known) != ok || q.domain != again.domain || q.hash != again.hash || q.bytes != again.bytes {
			t.Fatalf("%q: the second time it is %+v, before %+v", name, q, again)
		}
		name = strings.TrimRight(name, ".")
		data, domain, _ := split(name)
		if ok && domain != noDomain && (!strings.HasSuffix(name, domain) || data != "" && data+"."+domain != name) {
			t.Fatalf("%q: %q and %q", name, data, domain)
		}
		reverseAddress(name)
		reverse4Zone(name)
	})
}

// naive counts the data of names as the definition says, label by label.
func naive(names []string) float64 {
	seen := map[string]bool{}
	labels := map[string]int{} // label → first place, from the domain outward
	places := map[int]map[string]bool{}
	uses := map[int]int{}
	for _, n := range names {
		if seen[n] {
			continue
		}
		seen[n] = true
		parts := strings.Split(n, ".")
		for i, l := range parts {
			p := len(parts) - 1 - i
			if places[p] == nil {
				places[p] = map[string]bool{}
			}
			places[p][l] = true
			uses[p]++
			if at, ok := labels[l]; !ok || p < at {
				labels[l] = p
			}
		}
	}
	sum := 0.0
	home := map[int]int{}
	for l, p := range labels {
		sum += float64(len(l))
		home[p]++
	}
	for p, n := range uses {
		if n > home[p] {
			sum += float64(n-home[p]) * math.Log2(float64(len(places[p]))) / 8
		}
	}
	return sum
}

// TestData compares with the definition, in any order of the names.
func TestData(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
			parts := rapid.SliceOfN(rapid.StringMatching("[ab]{1,4}"), 1, 5).Draw(t, "labels")
			return strings.Join(parts, ".")
		}), 1, 200).Draw(t, "names")
		w, back := &window{limit: maxSample}, &window{limit: maxSample}
		put := func(w *window, n string) {
			var q question
			q.parse(n+".evil.test", new(cuts))
			e := event.Event{Time: 5_000_000}
			e.DNS.Type = "A"
			a := ask(&q, &e, false, &limits{ttl: 10})
			w.take(&a, 0)
		}
		for i := range names {
			put(w, names[i])
			put(back, names[len(names)-1-i])
		}
		want := naive(names)
		if got := float64(w.data()); math.Abs(got-want) > 1+0.02*want {
			t.Fatalf("%g, want %g", got, want)
		}
		if w.data() != back.data() || w.tally != back.tally {
			t.Fatalf("another order gives %d, not %d", back.data(), w.data())
		}
		// Counted anew from the samples it is the same, and after a snapshot.
		tally, data := w.tally, w.data()
		w.recountNames()
		w.recountLabels()
		if w.tally != tally || w.data() != data {
			t.Fatal("counted anew it differs")
		}
	})
}

// TestDataEstimate: beyond the limit of its samples a window estimates.
func TestDataEstimate(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{minSample, maxSample} {
		w := &window{limit: limit}
		const n = 20_000
		for i := range n {
			var q question
			q.parse(fmt.Sprintf("%020x.%d.t.evil.test", uint64(i)*0x9e3779b97f4a7c15, i%7), new(cuts))
			e := event.Event{Time: int64(i) * 1000}
			e.DNS.Type = "TXT"
			a := ask(&q, &e, false, &limits{ttl: 10})
			w.take(&a, 0)
		}
		off := 4 / math.Sqrt(float64(limit)/2)
		if got := float64(w.scale(w.tally.names)); math.Abs(got-n) > off*n {
			t.Errorf("limit %d: %g names of %d", limit, got, n)
		}
		if got := float64(w.data()); math.Abs(got-20*n) > 2*off*20*n {
			t.Errorf("limit %d: %g bytes of %d", limit, got, 20*n)
		}
		if w.entries() > 2*limit || w.tally.once != w.tally.names || w.tally.data != w.tally.names {
			t.Errorf("limit %d: %d entries, %+v", limit, w.entries(), w.tally)
		}
	}
}

// TestDamagedState: damage in a snapshot is an error or other counts, never a
// panic.
func TestDamagedState(t *testing.T) {
	t.Parallel()
	s := &tunnelState{of: NewTunnel().(*Tunnel)}
	v := s.views.Of("zeek/x/y")
	v.Value.begin()
	for i := range 50 {
		// Some have few questions and stay seeds.
		h, _ := v.Value.hours.At(fmt.Sprint("d", max(i%10, i-44), ".test"), int64(i)*1_000_000, 0)
		var q question
		q.parse(fmt.Sprint("n", i, ".", h.Subject), new(cuts))
		e := event.Event{Time: int64(i) * 1_000_000}
		e.DNS.Type, e.DNS.Addresses = "A", []netip.Addr{netip.MustParseAddr("192.0.2.1")}
		a := ask(&q, &e, false, &s.of.limits)
		s.of.settle(h, s.of.take(h, &a))
		v.Value.await(&q, h, true, &e)
		v.Value.contacted(7, 1, 2)
	}
	whole := s.Append(nil)
	if err := (&tunnelState{of: s.of}).Load(whole); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		data := append([]byte{}, whole...)
		for range rapid.IntRange(1, 5).Draw(t, "errors") {
			data[rapid.IntRange(0, len(data)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		}
		data = data[:rapid.IntRange(0, len(data)).Draw(t, "length")]
		damaged := &tunnelState{of: s.of}
		_ = damaged.Load(data)
		for v := range damaged.views.All {
			for h := range v.Value.hours.All {
				s.of.open(h)
			}
		}
		for _, st := range []interface{ Load([]byte) error }{
			&notDNSState{of: NewNotDNS().(*NotDNS)}, &encryptedState{of: NewEncrypted().(*Encrypted)},
		} {
			_ = st.Load(data)
		}
	})
	if err := (&tunnelState{of: s.of}).Load(operator.AppendUint(nil, 99)); err == nil {
		t.Error("another version was read")
	}
}

func TestResolverTable(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, r := range publicResolvers {
		if r.name == "" || len(r.domains)+len(r.networks) == 0 {
			t.Errorf("%+v says nothing", r)
		}
		for _, n := range append(append([]string{}, r.domains...), r.networks...) {
			if other, twice := seen[n]; twice {
				t.Errorf("%s stands under %s and %s", n, other, r.name)
			}
			seen[n] = r.name
		}
		for _, p := range r.prefixes() {
			if p != p.Masked() {
				t.Errorf("%s: %s has bits behind its mask", r.name, p)
			}
		}
		for _, d := range r.domains {
			if suffix, _ := publicsuffix.PublicSuffix(d); suffix == d || strings.ToLower(d) != d {
				t.Errorf("%s: %s would match a whole suffix", r.name, d)
			}
		}
	}
}
