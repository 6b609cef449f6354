package detect_test

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// silent is an operator.Context that keeps nothing.
type silent struct{ emitted int }

func (c *silent) Emit(operator.Output)        { c.emitted++ }
func (c *silent) Touch(int)                   {}
func (c *silent) Count(string, string, int64) {}

// all returns a set of all detectors.
func all(tb testing.TB, siteFile []byte) *detect.Set {
	tb.Helper()
	set, err := detect.NewSet(detect.Config{}, pipeline.Detectors())
	if err == nil {
		err = set.Epoch(detect.EpochSite, siteFile)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// decoded is a recording whose events need not be decoded any more. A record
// without an event is a mark.
type decoded struct {
	records []operator.Record
	events  []*event.Event
}

// decode takes a recording apart, with a mark after every five seconds.
func decode(tb testing.TB, rec detecttest.Recording) (d decoded) {
	tb.Helper()
	var marked int64
	low := map[event.SourceMark]bool{}
	for i := range rec {
		r := &rec[i]
		low[event.SourceMark{Type: r.Observer.Type, Name: r.Observer.Name, Realm: r.Observer.Realm, Stream: r.Kind.String()}] = true
		if r.Available >= marked+5*second {
			marked = r.Available
			m := event.Mark{Instance: "cost", Full: true}
			for s := range low {
				s.Low = r.Available - 65*second
				m.Sources = append(m.Sources, s)
			}
			data, err := m.Append(nil)
			if err != nil {
				tb.Fatal(err)
			}
			d.records, d.events = append(d.records, operator.Record{Topic: "t", Time: marked, Kind: event.KindMark.String(), Value: data}), append(d.events, nil)
		}
		e := new(event.Event)
		if err := event.Decode(r.Value, e); err != nil {
			tb.Fatal(err)
		}
		d.records = append(d.records, operator.Record{Topic: "t", Offset: int64(i), Time: r.Available, Kind: r.Kind.String(), Key: r.Key, Value: r.Value})
		d.events = append(d.events, e)
	}
	return d
}

// BenchmarkLab is what all detectors together cost for an event of the lab's
// recordings, decoding left out, marks and their timers included. median-ns is
// the median over single events, less what it takes to look at the clock;
// mean-ns the mean, in which what alerts weighs most. ns/op is that of all
// recordings, with a new set for each.
//
//	go test ./pkg/detect -run '^$' -bench Lab
func BenchmarkLab(b *testing.B) {
	dir := detecttest.Lab(b, "../..")
	siteFile, err := os.ReadFile(detecttest.Lab(b, "../..", "site.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	st, err := site.Parse(siteFile)
	if err != nil {
		b.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	for what, read := range map[string]func(string) detecttest.Recording{
		"zeek":    func(dir string) detecttest.Recording { return detecttest.Zeek(b, st, dir, nil) },
		"packets": func(dir string) detecttest.Recording { return detecttest.Packets(b, st, dir, nil) },
	} {
		b.Run(what, func(b *testing.B) {
			var recordings []decoded
			events := 0
			for _, e := range entries {
				if e.IsDir() {
					d := decode(b, read(detecttest.Lab(b, "../..", e.Name())))
					recordings = append(recordings, d)
					events += len(d.events)
				}
			}
			looking := make([]time.Duration, 10001)
			for i := range looking {
				began := time.Now()
				looking[i] = time.Since(began)
			}
			slices.Sort(looking)
			took := make([]time.Duration, 0, events)
			var ctx silent
			b.ReportAllocs()
			for b.Loop() {
				took = took[:0]
				for _, d := range recordings {
					set := all(b, siteFile)
					for i := range d.records {
						r, e := &d.records[i], d.events[i]
						began := time.Now()
						if e != nil {
							detect.ApplyEvent(set, e, r, &ctx)
							took = append(took, time.Since(began))
						} else if err := set.Apply(r, &ctx); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
			slices.Sort(took)
			look := looking[len(looking)/2]
			var sum time.Duration
			for _, t := range took {
				sum += t - look
			}
			b.ReportMetric(float64(took[len(took)/2]-look), "median-ns")
			b.ReportMetric(float64(sum)/float64(len(took)), "mean-ns")
		})
	}
}

// steady are events of one client that does the same again and again.
func steady(tb testing.TB, client int) detecttest.Recording {
	tb.Helper()
	at := int64(1_795_430_400) * second
	observer := event.Observer{Type: "zeek"}
	own := event.Endpoint{IP: netip.AddrFrom4([4]byte{10, 20, byte(client >> 8), byte(client)}), Port: event.N(40000)}
	web := event.Endpoint{IP: netip.MustParseAddr("203.0.113.80"), Port: event.N(443)}
	dns := event.Event{Kind: event.KindDNS, Time: at, Observer: observer, Source: own, Destination: event.Endpoint{IP: netip.MustParseAddr("10.53.0.53"), Port: event.N(53)}}
	dns.DNS = event.DNS{Name: "www.example.com", Type: "A", ResponseCode: "NOERROR", Answers: event.N(1), MinTTL: event.N(60), Addresses: []netip.Addr{web.IP}}
	tls := event.Event{Kind: event.KindTLS, Time: at, ID: "C1", Observer: observer, Source: own, Destination: web}
	tls.Destination.Domain = "www.example.com"
	conn := event.Event{Kind: event.KindConn, Time: at, Start: at - second, ID: "C1", Observer: observer, Source: own, Destination: web}
	conn.Source.Bytes, conn.Destination.Bytes = event.N(900), event.N(20_000)
	conn.Network, conn.Conn.State = event.Network{Transport: "tcp", Protocol: "tls", Layer: event.LayerPayload}, "SF"
	flow := event.Event{Kind: event.KindFlow, Time: at, Start: at - second, Observer: event.Observer{Type: "vpcflow"}, Source: own, Destination: web}
	flow.Source.Bytes, flow.Source.Packets = event.N(900), event.N(9)
	flow.Network, flow.Flow = event.Network{Transport: "tcp", Layer: event.LayerIP}, event.Flow{Action: "accept", Interface: "eni-1"}
	return detecttest.Events(tb, site.Default(), "s", []event.Event{dns, tls, conn, flow})
}

// TestSteadyStateAllocates holds that what a known key does again costs no memory, through all detectors, decoding included.
func TestSteadyStateAllocates(t *testing.T) { //nolint:paralleltest // it counts allocations
	set := all(t, nil)
	var ctx silent
	rec := steady(t, 1)
	var r operator.Record
	apply := func() {
		for i := range rec {
			x := &rec[i]
			r = operator.Record{Topic: "t", Offset: r.Offset + 1, Time: x.Available, Kind: x.Kind.String(), Key: x.Key, Value: x.Value}
			if err := set.Apply(&r, &ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 5000 { // bounded lists have found their room
		apply()
	}
	if n := testing.AllocsPerRun(1000, apply); n > 0 {
		t.Errorf("%g allocations for %d events of a known key", n, len(rec))
	}
}

// TestUsage holds that what a set says of its memory is what it takes, and that
// a client costs no more than it should.
func TestUsage(t *testing.T) { //nolint:paralleltest // it measures the heap
	const clients = 5000
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	st := site.Default()
	var ctx silent
	play := func(most int64, events func(client int) []event.Event) {
		t.Helper()
		set := all(t, nil)
		before := heap()
		var offset int64
		for c := range clients {
			for _, x := range detecttest.Events(t, st, "s", events(c)) {
				offset++
				r := operator.Record{Topic: "t", Offset: offset, Time: x.Available, Kind: x.Kind.String(), Key: x.Key, Value: x.Value}
				if err := set.Apply(&r, &ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		took := heap() - before
		var told int64
		for _, u := range set.Usage() {
			told += u.Bytes
			if u.Detector == detect.UsageKeys && u.Keys != clients {
				t.Errorf("%d keys", u.Keys)
			}
			t.Logf("%-18s %5d keys %6.0f bytes each", u.Detector, u.Keys, float64(u.Bytes)/float64(max(u.Keys, 1)))
		}
		if told < took*6/10 || told > took*14/10 {
			t.Errorf("%d bytes told, %d taken", told, took)
		}
		if took/clients > most {
			t.Errorf("a client takes %d bytes, more than %d", took/clients, most)
		}
		runtime.KeepAlive(set)
	}
	at := int64(1_795_430_400) * second
	client := func(c int) event.Endpoint {
		return event.Endpoint{IP: netip.AddrFrom4([4]byte{10, 20, byte(c >> 8), byte(c)}), Port: event.N(40000)}
	}
	// Twenty questions about thirteen domains, as internal/load makes them.
	play(8<<10, func(c int) (out []event.Event) {
		for i := range 20 {
			e := event.Event{Kind: event.KindDNS, Time: at + int64(i)*150*second, Observer: event.Observer{Type: "zeek"}, Source: client(c)}
			e.Destination = event.Endpoint{IP: netip.MustParseAddr("10.53.0.53"), Port: event.N(53)}
			n := c*13 + i%13
			e.DNS = event.DNS{Name: fmt.Sprintf("host%d.of.d%d.com", i, n), Type: "A", ResponseCode: "NOERROR", Answers: event.N(1), Addresses: []netip.Addr{
				netip.AddrFrom4([4]byte{203, byte(n >> 16), byte(n >> 8), byte(n)}),
			}}
			out = append(out, e)
		}
		return out
	})
	// One flow and its answer.
	play(4<<10, func(c int) (out []event.Event) {
		for i := range 2 {
			e := event.Event{Kind: event.KindFlow, Time: at + int64(i)*second, Observer: event.Observer{Type: "vpcflow"}, Source: client(c)}
			e.Destination = event.Endpoint{IP: netip.AddrFrom4([4]byte{52, 1, byte(c >> 8), byte(c)}), Port: event.N(443)}
			e.Source.Bytes, e.Source.Packets = event.N(1000), event.N(5)
			e.Network, e.Flow = event.Network{Transport: "tcp", Layer: event.LayerIP}, event.Flow{Action: "accept", Interface: fmt.Sprintf("eni-%08x", c)}
			if i == 1 {
				e.Source.IP, e.Destination.IP = e.Destination.IP, e.Source.IP
				e.Source.Port, e.Destination.Port = e.Destination.Port, e.Source.Port
			}
			out = append(out, e)
		}
		return out
	})
}
