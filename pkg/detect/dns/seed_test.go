package dns

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// counted is what a window has counted, in a form that can be compared.
func counted(w *window) string {
	names := w.names.Append(nil, func(dst []byte, n *name) []byte { return fmt.Appendf(dst, "%+v ", *n) })
	labels := w.labels.Append(nil, func(dst []byte, l *labelEntry) []byte { return fmt.Appendf(dst, "%+v ", *l) })
	return fmt.Sprint(w.queries, w.txt, w.oddTypes, w.direct, w.leftmost, w.entropy, w.fleeting, w.first, w.last, w.server,
		w.data(), w.labelBytes, w.tally, w.examples, "\n", string(names), "\n", string(labels))
}

// TestSeed holds that a window which begins as a seed is the window that it
// would have been, whatever is asked, decided and saved in between.
func TestSeed(t *testing.T) {
	t.Parallel()
	tunnel := NewTunnel().(*Tunnel)
	rapid.Check(t, func(t *rapid.T) {
		start := int64(1_795_430_100) * second
		h := &detect.Hour[domain]{Subject: "example.test", Start: start, End: start + detect.HourSpan}
		want := &window{limit: maxSample}
		var q, other question
		grew := 0
		for i := range rapid.IntRange(1, 12).Draw(t, "questions") {
			name := rapid.SampledFrom([]string{"www", "a.b", "_sip._tcp", "x\\x00y", "192.0.2.1.l", "", "a.b.c.d.e.f.g.h.i.j.k.l.m.n"}).Draw(t, "name")
			if name += ".example.test"; name[0] == '.' {
				name = name[1:]
			}
			e := event.Event{Time: start + rapid.Int64Range(0, detect.HourSpan-1).Draw(t, "time")}
			e.Destination.IP = rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53"), netip.MustParseAddr("fe80::1%eth0")}).Draw(t, "server")
			e.DNS.Name = name
			e.DNS.Type = rapid.SampledFrom([]string{"A", "AAAA", "HTTPS", "TXT", "NULL", "NS"}).Draw(t, "type")
			e.DNS.ResponseCode = rapid.SampledFrom([]string{"", "NOERROR", "NXDOMAIN", "SERVFAIL"}).Draw(t, "code")
			e.DNS.MinTTL, e.DNS.DataBytes = event.N(rapid.IntRange(0, 20).Draw(t, "ttl")), event.N(rapid.IntRange(0, 900).Draw(t, "data"))
			q.parse(name, new(cuts))
			other.parse(name, new(cuts))
			direct := rapid.Bool().Draw(t, "direct")
			a, b := ask(&q, &e, direct, &tunnel.limits), ask(&other, &e, direct, &tunnel.limits)
			got := tunnel.take(h, &a)
			want.take(&b, start)
			if d := cmp.Diff(counted(want), counted(got)); d != "" {
				t.Fatalf("question %d: %s", i, d)
			}
			tunnel.settle(h, got)
			if h.Value.full != nil {
				grew++
			} else if i >= maxSeedQuestions {
				t.Fatal("a seed of too many questions")
			}
			if rapid.Bool().Draw(t, "decide") {
				key, add := nameKey(q.hash), resolved
				if rapid.Bool().Draw(t, "hit") {
					add |= contacted
				}
				changed := want.decide(key, add)
				if w := h.Value.full; w != nil && w.decide(key, add) != changed || w == nil && h.Value.seed.decide(key, add) != changed {
					t.Fatalf("question %d: the decision changed it: %v", i, changed)
				}
				if w := h.Value.full; changed && (!h.Value.mark() || h.Value.mark() || w == nil && h.Value.seed.questions() != i+1) {
					t.Fatalf("question %d: the mark of a change does not hold", i)
				}
				h.Value.unmark()
			}
			saved := appendDomain(nil, &h.Value)
			back := &detect.Hour[domain]{Subject: h.Subject, Start: h.Start, End: h.End}
			loadDomain(operator.NewReader(saved), back)
			if !bytes.Equal(saved, appendDomain(nil, &back.Value)) {
				t.Fatalf("question %d: not the same after a snapshot", i)
			}
			h = back
			if d := cmp.Diff(counted(want), counted(tunnel.open(h))); d != "" {
				t.Fatalf("question %d: after a snapshot: %s", i, d)
			}
		}
	})
}

// TestSeedSize: a domain that was asked for once, as most are, costs little.
func TestSeedSize(t *testing.T) {
	t.Parallel()
	tunnel := NewTunnel().(*Tunnel)
	h := &detect.Hour[domain]{End: detect.HourSpan}
	var q question
	q.parse("www.example.com", new(cuts))
	e := event.Event{Time: second}
	e.DNS.Name, e.DNS.Type, e.DNS.ResponseCode = "www.example.com", "A", "NOERROR"
	e.Destination.IP = netip.MustParseAddr("10.53.0.53")
	for i, most := range [...]int{48, 64, 80} {
		a := ask(&q, &e, false, &tunnel.limits)
		tunnel.settle(h, tunnel.take(h, &a))
		e.Time += 60 * second
		if n := h.Value.size(); n > most {
			t.Errorf("%d questions take %d bytes", i+1, n)
		}
	}
}
