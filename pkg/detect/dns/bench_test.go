package dns_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/internal/race"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/detect/dns"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// up is the way to the root of the repository.
const up = "../../.."

const second = int64(1_000_000)

// start is when the events of the tests begin, on the grid of windows.
const start = int64(1_795_430_100) * second

func question(name string, at int64) event.Event {
	e := event.Event{Kind: event.KindDNS, Time: at, Observer: event.Observer{Type: "zeek"}, Origin: event.Origin{Name: "dns.log", Line: event.N(1)}}
	e.Source = event.Endpoint{IP: netip.MustParseAddr("10.20.1.10"), Port: event.N(40000)}
	e.Destination = event.Endpoint{IP: netip.MustParseAddr("10.53.0.53"), Port: event.N(53)}
	e.Network.Transport, e.Network.Protocol = "udp", "dns"
	e.DNS = event.DNS{
		ID: "4711", Name: name, Type: "A", ResponseCode: "NOERROR", Answers: event.N(1), DataBytes: event.N(0), MinTTL: event.N(60), RTT: event.N(20_000),
		Addresses: []netip.Addr{netip.MustParseAddr("198.51.100.80")},
	}
	return e
}

// quiet counts nothing and keeps nothing.
type quiet struct{ emitted int }

func (q *quiet) Emit(operator.Output)        { q.emitted++ }
func (q *quiet) Touch(int)                   {}
func (q *quiet) Count(string, string, int64) {}

// applier gives records to a set.
func applier(tb testing.TB, d detect.Detector) func(r *detecttest.Record) {
	tb.Helper()
	set, err := detect.NewSet(detect.Config{}, []detect.Detector{d})
	if err != nil {
		tb.Fatal(err)
	}
	var q quiet
	var rec operator.Record
	return func(r *detecttest.Record) {
		rec = operator.Record{Topic: "t", Offset: rec.Offset + 1, Time: r.Available, Kind: r.Kind.String(), Key: r.Key, Value: r.Value}
		if err := set.Apply(&rec, &q); err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkTunnel is the cost of an event, decoding left out: it is measured
// against the same set with a detector that wants nothing of it.
func BenchmarkTunnel(b *testing.B) {
	st := site.Default()
	var known, fresh []event.Event
	for i := range 4096 {
		known = append(known, question(fmt.Sprintf("host%d.cdn.example%d.com", i%4, i%50), start+int64(i)*second/100))
		fresh = append(fresh, question(fmt.Sprintf("%016x%016x.%d.t.tunnel.test", uint64(i)*0x9e3779b97f4a7c15, uint64(i)*0xbf58476d1ce4e5b9, i), start+int64(i)*second/100))
	}
	for name, events := range map[string][]event.Event{"known": known, "fresh": fresh} {
		rec := detecttest.Events(b, st, "lab", events)
		for what, d := range map[string]detect.Detector{"tunnel": dns.NewTunnel(), "decode": dns.NewNotDNS()} {
			b.Run(name+"/"+what, func(b *testing.B) {
				apply := applier(b, d)
				for i := range rec {
					apply(&rec[i])
				}
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					apply(&rec[i%len(rec)])
					i++
				}
			})
		}
	}
}

// TestAllocations: a question that the client has asked before costs nothing.
func TestAllocations(t *testing.T) {
	st := site.Default()
	rec := detecttest.Events(t, st, "lab", []event.Event{question("www.example.com", start), question("www.example.com", start+second)})
	rec[0].Kind = event.KindDNS
	for what, d := range map[string]detect.Detector{
		"dns-tunnel": dns.NewTunnel(), "dns-not-dns": dns.NewNotDNS(), "encrypted-dns": dns.NewEncrypted(),
	} {
		apply := applier(t, d)
		for range 2000 { // look-ups that wait for a contact have found their room
			apply(&rec[0])
		}
		if n := testing.AllocsPerRun(1000, func() { apply(&rec[1]) }); n > 0 {
			t.Errorf("%s: %g allocations for a question asked before", what, n)
		}
	}
}

// template makes records of questions that differ in name and time only.
type template struct {
	record     detecttest.Record
	head, tail []byte // around the time
	middle     []byte // between time and name
	buf        []byte
}

func newTemplate(t *testing.T, st *site.Site, edit func(*event.Event)) *template {
	t.Helper()
	e := question("NAME", start)
	if edit != nil {
		edit(&e)
	}
	rec := detecttest.Events(t, st, "lab", []event.Event{e})[0]
	at := fmt.Sprint(start)
	head, rest, ok := bytes.Cut(rec.Value, []byte(at))
	middle, tail, ok2 := bytes.Cut(rest, []byte("NAME"))
	if !ok || !ok2 {
		t.Fatalf("no time or name in %s", rec.Value)
	}
	return &template{record: rec, head: head, middle: middle, tail: tail}
}

// at returns the record for a name and time; it is valid until the next call.
func (p *template) at(name []byte, time int64) detecttest.Recording {
	p.buf = strconv.AppendInt(append(p.buf[:0], p.head...), time, 10)
	p.buf = append(append(append(p.buf, p.middle...), name...), p.tail...)
	r := p.record
	r.Time, r.Available, r.Value = time, time+20_000, p.buf
	return detecttest.Recording{r}
}

// TestFlood: a million names and domains of one client cost bounded memory,
// and a tunnel among them is found.
func TestFlood(t *testing.T) {
	st := site.Default()
	p := detecttest.NewPlayer(t, nil, dns.NewTunnel())
	p.Context.Quiet = true
	answered, missing := newTemplate(t, st, nil), newTemplate(t, st, none)
	var before, after runtime.MemStats
	x := uint64(1)
	next := func() uint64 { x ^= x << 13; x ^= x >> 7; x ^= x << 17; return x }
	var name []byte
	questions := 1_000_000
	if race.Enabled { // ten times as slow
		questions = 60_000
	}
	for i := range questions {
		name = name[:0]
		switch i % 4 {
		case 0:
			name = fmt.Appendf(name, "%x.d%x.com", next(), next())
		case 1:
			name = fmt.Appendf(name, "%x.%x.few%d.net", next(), next(), next()%2000)
		case 2:
			name = fmt.Appendf(name, "a%d.b%d.org", next()%1000, next()%5000)
		default:
			name = fmt.Appendf(name, "%016x.t.tunnel.test", next())
		}
		use := answered
		if i%3 == 0 {
			use = missing
		}
		p.Context.Quiet = i < questions-20_000
		p.Feed(use.at(name, start+int64(i)*second/1000))
	}
	snapshot := p.Save()
	runtime.GC()
	runtime.ReadMemStats(&after)
	p.Set = nil
	runtime.GC()
	runtime.ReadMemStats(&before)
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	if grown > 8<<20 {
		t.Errorf("the client costs %d MB", grown>>20)
	}
	p.Load(snapshot, nil, dns.NewTunnel())
	p.Mark(true)
	found := false
	for _, s := range p.Context.Final() {
		found = found || s.Alert && s.Subject == "tunnel.test"
	}
	if !found {
		t.Error("the tunnel inside the flood was not found")
	}
	if p.Context.Counts["domains_evicted/dns-tunnel"] == 0 || p.Context.Counts["lookups_dropped/dns-tunnel"] == 0 {
		t.Errorf("what was dropped was not counted: %v", p.Context.Counts)
	}
	size := 0
	for b := range p.Set.Buckets() {
		size += len(p.Set.AppendBucket(nil, b))
	}
	if size > 16<<20 {
		t.Errorf("the snapshot has %d MB", size>>20)
	}
	t.Logf("heap %d KB, snapshot %d KB", grown>>10, size>>10)
}

func sortedKeys(m map[string]float64) []string { return slices.Sorted(maps.Keys(m)) }
