package entity_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/entity"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const (
	minute  = int64(60_000_000)
	hour    = 60 * minute
	day     = 24 * hour
	buckets = 8
)

// t0 is a moment far from the epoch.
const t0 = 20_000 * day

func id(s string) signal.Identifier {
	typ, v, ok := strings.Cut(s, ":")
	if !ok {
		panic("no type in " + s)
	}
	n, ok := entity.Normal(signal.Identifier{Type: signal.IDType(typ), Value: v})
	if !ok {
		panic(s + " names nothing")
	}
	return n
}

type fact struct {
	a, b string
	at   int64 // after t0
}

func observe(g *entity.Graph, facts ...fact) {
	for _, f := range facts {
		g.Observe(&signal.Fact{A: id(f.a), B: id(f.b), From: t0 + f.at}, t0+f.at, func(int) {})
	}
}

// names renders a profile, the identifiers that bind nothing in brackets.
func names(p entity.Profile) string {
	var bound, all []string
	p.Each(func(i signal.Identifier) { bound = append(bound, string(i.Type)+":"+i.Value) })
	p.Met(func(i signal.Identifier) { all = append(all, string(i.Type)+":"+i.Value) })
	var out strings.Builder
	out.WriteString(strings.Join(bound, " "))
	for _, s := range all[len(bound):] {
		out.WriteString(" [" + s + "]")
	}
	return strings.TrimSpace(out.String())
}

func resolve(g *entity.Graph, at int64, ids ...string) entity.Profile {
	var list []signal.Identifier
	for _, s := range ids {
		list = append(list, id(s))
	}
	return g.Resolve(list, t0+at, t0+at)
}

func TestResolve(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		facts []fact
		at    int64
		of    string
		want  string
	}{
		"nothing known": {nil, 0, "address:prod|10.0.0.5", "address:prod|10.0.0.5"},
		"through the interface to host and role": {
			[]fact{{"interface:eni-1", "address:prod|10.0.0.5", 0}, {"instance:i-1", "interface:eni-1", 0}, {"host:Web-1.", "instance:i-1", 0}, {"instance:i-1", "principal:role/app", 0}},
			hour, "address:prod|10.0.0.5", "address:prod|10.0.0.5 interface:eni-1 instance:i-1 host:web-1 principal:role/app",
		},
		"a host finds its instance":            {[]fact{{"instance:i-1", "host:web-1", 0}}, 0, "host:web-1", "instance:i-1 host:web-1"},
		"before it was seen, within the slack": {[]fact{{"address:10.0.0.5", "host:a", hour}}, minute, "address:10.0.0.5", "address:default|10.0.0.5 host:a"},
		"before the slack":                     {[]fact{{"address:10.0.0.5", "host:a", 3 * hour}}, 0, "address:10.0.0.5", "address:default|10.0.0.5"},
		"a day after":                          {[]fact{{"address:10.0.0.5", "host:a", 0}}, day - 1, "address:10.0.0.5", "address:default|10.0.0.5 host:a"},
		"more than a day after":                {[]fact{{"address:10.0.0.5", "host:a", 0}}, day + 1, "address:10.0.0.5", "address:default|10.0.0.5"},
		"reuse: the one before": {
			[]fact{{"address:10.0.0.5", "host:a", 0}, {"address:10.0.0.5", "host:b", 5 * hour}}, 4*hour + 59*minute, "address:10.0.0.5", "address:default|10.0.0.5 host:a",
		},
		"reuse: the one after": {
			[]fact{{"address:10.0.0.5", "host:a", 0}, {"address:10.0.0.5", "host:b", 5 * hour}}, 5 * hour, "address:10.0.0.5", "address:default|10.0.0.5 host:b",
		},
		"reuse and back again": {
			[]fact{{"address:10.0.0.5", "host:a", 0}, {"address:10.0.0.5", "host:b", 5 * hour}, {"address:10.0.0.5", "host:a", 9 * hour}}, 7 * hour, "address:10.0.0.5", "address:default|10.0.0.5 host:b",
		},
		"two hosts by turns share an address": {
			[]fact{{"address:10.0.0.5", "host:a", 0}, {"address:10.0.0.5", "host:b", 10 * minute}, {"address:10.0.0.5", "host:a", 20 * minute}, {"address:10.0.0.5", "host:b", 30 * minute}},
			15 * minute, "address:10.0.0.5", "[address:default|10.0.0.5]",
		},
		"and one of them has it alone later": {
			[]fact{{"address:10.0.0.5", "host:a", 0}, {"address:10.0.0.5", "host:b", 10 * minute}, {"address:10.0.0.5", "host:a", 20 * minute}}, 3 * hour, "address:10.0.0.5", "address:default|10.0.0.5 host:a",
		},
		"at the same moment": {
			[]fact{{"address:10.0.0.5", "host:a", 0}, {"address:10.0.0.5", "host:b", 0}}, 0, "address:10.0.0.5", "[address:default|10.0.0.5]",
		},
		"a node's address with many pods is the node's": {
			[]fact{{"address:10.0.0.5", "host:node", 0}, {"address:10.0.0.5", "pod:ns/p1", 0}, {"address:10.0.0.5", "pod:ns/p2", 0}}, 0, "address:10.0.0.5", "address:default|10.0.0.5 host:node",
		},
		"an address of many pods and no node binds nothing": {
			[]fact{{"address:10.0.0.5", "pod:ns/p1", 0}, {"address:10.0.0.5", "pod:ns/p2", 0}}, 0, "address:10.0.0.5", "[address:default|10.0.0.5]",
		},
		"a host name of two instances": {
			[]fact{{"instance:i-1", "host:app", 0}, {"instance:i-2", "host:app", 0}}, 0, "instance:i-1", "instance:i-1 [host:app]",
		},
		"the role of one instance": {[]fact{{"instance:i-1", "principal:r", 0}}, 0, "principal:r", "instance:i-1 principal:r"},
		"the role of one instance under two names": {
			[]fact{{"instance:i-1", "principal:r", 0}, {"host:web-1", "principal:r", 0}, {"instance:i-1", "host:web-1", 0}}, 0, "instance:i-1", "instance:i-1 host:web-1 principal:r",
		},
		"the role of a fleet says nothing about one of it": {
			[]fact{{"instance:i-1", "principal:r", 0}, {"instance:i-2", "principal:r", 0}}, 0, "instance:i-1", "instance:i-1 [principal:r]",
		},
		"the role of a fleet itself": {
			[]fact{{"instance:i-1", "principal:r", 0}, {"instance:i-2", "principal:r", 0}}, 0, "principal:r", "principal:r",
		},
		"container, pod, node": {
			[]fact{{"container:c1", "pod:ns/p1", 0}, {"pod:ns/p1", "host:node", 0}, {"address:10.1.0.7", "pod:ns/p1", 0}}, 0, "address:10.1.0.7", "address:default|10.1.0.7 pod:ns/p1 host:node",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := entity.New(buckets, 0)
			observe(g, tc.facts...)
			if got := names(resolve(g, tc.at, tc.of)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestLeaseEnds(t *testing.T) {
	t.Parallel()
	g := entity.New(buckets, 0)
	g.Observe(&signal.Fact{A: id("address:10.0.0.5"), B: id("host:a"), From: t0, Until: t0 + 2*hour}, t0, func(int) {})
	if got := names(resolve(g, hour, "address:10.0.0.5")); got != "address:default|10.0.0.5 host:a" {
		t.Error(got)
	}
	if got := names(resolve(g, 2*hour, "address:10.0.0.5")); got != "address:default|10.0.0.5" {
		t.Error("after the lease:", got)
	}
}

func TestInventoryIsTruth(t *testing.T) {
	t.Parallel()
	g := entity.New(buckets, 0)
	observe(g, fact{"address:10.0.0.5", "host:b", 0})
	g.Declare([]signal.Fact{{A: id("host:a"), B: id("address:10.0.0.5"), Until: t0 + 3*hour}})
	for at, want := range map[int64]string{0: "host:a", -900 * day: "host:a", 4 * hour: "host:b"} {
		if got := names(resolve(g, at, "address:10.0.0.5")); got != "address:default|10.0.0.5 "+want {
			t.Errorf("at %d: %s", at/hour, got)
		}
	}
	g.Declare(nil)
	if got := names(resolve(g, 0, "address:10.0.0.5")); got != "address:default|10.0.0.5 host:b" {
		t.Error("a withdrawn declaration holds:", got)
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	p := func(ids ...string) *entity.Profile {
		var out entity.Profile
		for _, s := range ids {
			out.Add(id(s))
		}
		return &out
	}
	for name, tc := range map[string]struct {
		a, b *entity.Profile
		want bool
	}{
		"one host":                       {p("host:a", "address:10.0.0.1"), p("host:a", "instance:i-1"), true},
		"nothing in common":              {p("host:a"), p("instance:i-1"), false},
		"one address, two hosts":         {p("host:a", "address:10.0.0.1"), p("host:b", "address:10.0.0.1"), false},
		"one address, one host known":    {p("host:a", "address:10.0.0.1"), p("address:10.0.0.1"), true},
		"short and full host name":       {p("host:a", "address:10.0.0.1"), p("host:a.corp.example", "address:10.0.0.1"), true},
		"names that only begin alike":    {p("host:a", "address:10.0.0.1"), p("host:ab", "address:10.0.0.1"), false},
		"two pods of a node":             {p("host:n", "pod:x/1"), p("host:n", "pod:x/2"), false},
		"a pod and its node":             {p("host:n", "pod:x/1"), p("host:n"), true},
		"two containers of one pod":      {p("pod:x/1", "container:c1"), p("pod:x/1", "container:c2"), true},
		"two containers of a host":       {p("host:n", "container:c1"), p("host:n", "container:c2"), false},
		"one principal":                  {p("principal:r"), p("principal:r", "instance:i-1"), true},
		"one principal on two instances": {p("principal:r", "instance:i-2"), p("principal:r", "instance:i-1"), false},
		"one record key":                 {p("key:k"), p("key:k", "host:a"), true},
	} {
		if got := tc.a.Matches(tc.b); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
		if got := tc.b.Matches(tc.a); got != tc.want {
			t.Errorf("%s, the other way round: %v", name, got)
		}
	}
}

// A fleet that shares a role, a host name and a NAT address stays a fleet.
func TestFleetDoesNotCollapse(t *testing.T) {
	t.Parallel()
	g := entity.New(buckets, 0)
	const fleet = 300
	for i := range fleet {
		inst := fmt.Sprintf("instance:i-%d", i)
		observe(
			g, fact{fmt.Sprintf("address:10.0.%d.%d", i/200, i%200+1), inst, int64(i)}, fact{inst, "principal:role/app", int64(i)},
			fact{inst, "host:app", int64(i)}, fact{"address:192.0.2.1", inst, int64(i)},
		)
	}
	profiles := make([]entity.Profile, fleet)
	for i := range fleet {
		profiles[i] = resolve(g, minute, fmt.Sprintf("address:10.0.%d.%d", i/200, i%200+1))
	}
	for i := range fleet {
		for j := range i {
			if profiles[i].Matches(&profiles[j]) {
				t.Fatalf("%s matches %s", names(profiles[i]), names(profiles[j]))
			}
		}
	}
}

func TestIgnored(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]signal.Fact{
		"same type":      {A: signal.Identifier{Type: "host", Value: "a"}, B: signal.Identifier{Type: "host", Value: "b"}, From: t0},
		"unknown type":   {A: signal.Identifier{Type: "mac", Value: "a"}, B: signal.Identifier{Type: "host", Value: "b"}, From: t0},
		"no address":     {A: signal.Identifier{Type: "address", Value: "x|y"}, B: signal.Identifier{Type: "host", Value: "b"}, From: t0},
		"loopback":       {A: signal.Identifier{Type: "address", Value: "127.0.0.1"}, B: signal.Identifier{Type: "host", Value: "b"}, From: t0},
		"localhost":      {A: signal.Identifier{Type: "address", Value: "10.0.0.1"}, B: signal.Identifier{Type: "host", Value: "LOCALHOST"}, From: t0},
		"future":         {A: signal.Identifier{Type: "address", Value: "10.0.0.1"}, B: signal.Identifier{Type: "host", Value: "b"}, From: t0 + hour},
		"ends before it": {A: signal.Identifier{Type: "address", Value: "10.0.0.1"}, B: signal.Identifier{Type: "host", Value: "b"}, From: t0, Until: t0 - 1},
		"endless name":   {A: signal.Identifier{Type: "address", Value: "10.0.0.1"}, B: signal.Identifier{Type: "host", Value: strings.Repeat("b", 5000)}, From: t0},
	} {
		g := entity.New(buckets, 0)
		if _, _, change, _ := g.Observe(&f, t0, func(int) { t.Errorf("%s: touched", name) }); change != entity.Ignored || g.Claims() != 0 {
			t.Errorf("%s: change %v, %d claims", name, change, g.Claims())
		}
	}
}

// A flood of forged facts evicts itself, not what has been confirmed.
func TestFlood(t *testing.T) {
	t.Parallel()
	g := entity.New(buckets, 1000)
	for i := range 200 {
		a, h := fmt.Sprintf("address:10.0.0.%d", i+1), fmt.Sprintf("host:real-%d", i)
		observe(g, fact{a, h, 0}, fact{a, h, hour})
	}
	evicted := 0
	for i := range 5000 {
		_, _, _, n := g.Observe(&signal.Fact{A: id(fmt.Sprintf("address:172.16.%d.%d", i/250, i%250+1)), B: id(fmt.Sprintf("host:forged-%d", i)), From: t0 + hour}, t0+2*hour, func(int) {})
		evicted += n
	}
	if g.Claims() > 1000 || evicted != 4200 {
		t.Errorf("%d claims, %d evicted", g.Claims(), evicted)
	}
	for i := range 200 {
		if got := names(resolve(g, hour, fmt.Sprintf("address:10.0.0.%d", i+1))); !strings.Contains(got, "real") {
			t.Fatalf("lost %d: %s", i, got)
		}
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	g := entity.New(buckets, 0)
	observe(g, fact{"address:10.0.0.1", "host:a", 0}, fact{"address:10.0.0.2", "host:b", 40 * hour})
	n := 0
	for b := range buckets {
		n += g.Sweep(b, t0+51*hour, func(touched int) {
			if touched != b {
				t.Errorf("touched %d in %d", touched, b)
			}
		})
	}
	if n != 1 || g.Claims() != 1 {
		t.Errorf("%d forgotten, %d left", n, g.Claims())
	}
}

func drawFacts(t *rapid.T) []fact {
	pick := func(typ string, n int) string { return fmt.Sprintf("%s:%d", typ, rapid.IntRange(1, n).Draw(t, typ)) }
	out := make([]fact, rapid.IntRange(1, 40).Draw(t, "facts"))
	for i := range out {
		addr := fmt.Sprintf("address:10.0.0.%d", rapid.IntRange(1, 3).Draw(t, "address"))
		out[i].at = int64(rapid.IntRange(0, 60).Draw(t, "half hours")) * hour / 2
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			out[i].a, out[i].b = addr, pick("host", 3)
		case 1:
			out[i].a, out[i].b = addr, pick("instance", 3)
		case 2:
			out[i].a, out[i].b = pick("instance", 3), pick("host", 3)
		case 3:
			out[i].a, out[i].b = pick("instance", 3), pick("principal", 2)
		default:
			out[i].a, out[i].b = addr, pick("pod", 2)
		}
	}
	return out
}

func everything(g *entity.Graph) string {
	var b strings.Builder
	for at := int64(-2 * hour); at < 60*hour; at += 130 * minute {
		for i := 1; i <= 3; i++ {
			fmt.Fprintln(&b, at/minute, names(resolve(g, at, fmt.Sprintf("address:10.0.0.%d", i))))
			fmt.Fprintln(&b, at/minute, names(resolve(g, at, fmt.Sprintf("host:%d", i))))
			fmt.Fprintln(&b, at/minute, names(resolve(g, at, fmt.Sprintf("principal:%d", i))))
		}
	}
	return b.String()
}

// What holds when does not depend on the order in which facts arrive.
func TestOrderOfArrivalDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		facts := drawFacts(t)
		a, b := entity.New(buckets, 0), entity.New(buckets, 0)
		observe(a, facts...)
		for _, f := range rapid.Permutation(facts).Draw(t, "order") {
			b.Observe(&signal.Fact{A: id(f.b), B: id(f.a), From: t0 + f.at}, t0+60*hour, func(int) {})
		}
		if diff := cmp.Diff(everything(a), everything(b)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// A graph that says "refreshed" answers as before for all that was.
func TestRefreshedChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := entity.New(buckets, 0)
		for _, f := range drawFacts(t) {
			before := map[int64]string{}
			for at := int64(-2 * hour); at <= f.at; at += 110 * minute {
				before[at] = names(resolve(g, at, "address:10.0.0.1")) + names(resolve(g, at, "address:10.0.0.2")) + names(resolve(g, at, "address:10.0.0.3"))
			}
			_, _, change, _ := g.Observe(&signal.Fact{A: id(f.a), B: id(f.b), From: t0 + f.at}, t0+f.at, func(int) {})
			if change != entity.Refreshed {
				continue
			}
			for at := int64(-2 * hour); at <= f.at; at += 110 * minute {
				if now := names(resolve(g, at, "address:10.0.0.1")) + names(resolve(g, at, "address:10.0.0.2")) + names(resolve(g, at, "address:10.0.0.3")); now != before[at] {
					t.Fatalf("at %d: %s was %s", at, now, before[at])
				}
			}
		}
	})
}

// A snapshot at any cut gives the same graph, and only touched buckets change.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		facts := drawFacts(t)
		cut := rapid.IntRange(0, len(facts)).Draw(t, "cut")
		g := entity.New(buckets, 12)
		observe(g, facts[:cut]...)
		h := entity.New(buckets, 12)
		saved := make([][]byte, buckets)
		for b := range buckets {
			saved[b] = g.AppendBucket(nil, b)
			if err := h.LoadBucket(b, saved[b]); err != nil {
				t.Fatal(err)
			}
		}
		touched := map[int]bool{}
		for _, f := range facts[cut:] {
			g.Observe(&signal.Fact{A: id(f.a), B: id(f.b), From: t0 + f.at}, t0+f.at, func(b int) { touched[b] = true })
			observe(h, f)
		}
		for b := range buckets {
			now := g.AppendBucket(nil, b)
			if !bytes.Equal(now, h.AppendBucket(nil, b)) {
				t.Fatalf("bucket %d differs after the cut", b)
			}
			if !touched[b] && !bytes.Equal(now, saved[b]) {
				t.Fatalf("bucket %d changed untouched", b)
			}
		}
		if diff := cmp.Diff(everything(g), everything(h)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzLoadBucket(f *testing.F) {
	g := entity.New(1, 0)
	observe(g, fact{"address:10.0.0.5", "host:a", 0}, fact{"address:10.0.0.5", "host:b", 5 * hour})
	f.Add(g.AppendBucket(nil, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		g := entity.New(1, 0)
		if g.LoadBucket(0, data) == nil {
			_ = names(g.Resolve([]signal.Identifier{id("address:10.0.0.5")}, t0, t0))
			g.Sweep(0, 1<<62, func(int) {})
		}
	})
}

func BenchmarkResolve(b *testing.B) {
	g := entity.New(64, 0)
	for i := range 20_000 {
		inst := fmt.Sprintf("instance:i-%d", i)
		observe(g, fact{fmt.Sprintf("address:10.%d.%d.1", i/250, i%250), inst, 0}, fact{inst, fmt.Sprintf("host:h-%d", i), 0}, fact{inst, fmt.Sprintf("principal:r-%d", i%1000), 0})
	}
	ids := []signal.Identifier{id("address:10.3.4.1")}
	b.ReportAllocs()
	for b.Loop() {
		if p := g.Resolve(ids, t0, t0+hour); len(p.Of(signal.IDHost)) != 1 {
			b.Fatal(names(p))
		}
	}
}
