package pipeline_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// The hostile log: recordings of the lab and machines at half of their limits,
// amid forged sources and domains.
const (
	forgedSmall = 60_000
	// EBB_HOSTILE is the number of forged records of the large form: 10000000.
	forgedEnv = "EBB_HOSTILE"
	realKeys  = 10_000
	floodFrom = storyBegin + 14*minutes
	floodTo   = storyBegin + 55*minutes
)

// hostile is what a run has shown.
type hostile struct {
	// alerts are those about the lab's recordings: the record of the lab at
	// which each came and at which it paged again, with its points and measured
	// values, and what stands in the end. That is without values: a source that
	// was seen in one pane only may be forgotten after its alert, and the last
	// word on its hour with it.
	alerts []string
	found  map[string]bool // real machines of which the second half was seen
	counts map[pipeline.Counter]int64
	heap   uint64
}

// TestHostileKeys: alerts come at the same record however many sources and
// domains are forged around it, machines that are half-way to a limit are not
// forgotten, and memory stays at its bound.
func TestHostileKeys(t *testing.T) {
	t.Parallel()
	forged, machines, maxKeys := forgedSmall, realKeys/10, 12_000
	if text := os.Getenv(forgedEnv); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		forged, machines, maxKeys = n, realKeys, 0
	}
	log := hostileLog(t, machines)
	quiet := runHostile(t, log, forged, maxKeys, calm)
	amid := runHostile(t, log, forged, maxKeys, forge)
	if len(quiet.alerts) < 6 || len(quiet.found) != machines {
		t.Fatalf("without a flood %d pages, %d of %d machines", len(quiet.alerts), len(quiet.found), machines)
	}
	if d := cmp.Diff(quiet.alerts, amid.alerts); d != "" {
		t.Errorf("alerts about the lab's recordings (-alone +amid %d forged records):\n%s", forged, d)
	}
	lost := machines - len(amid.found)
	if 1000*lost > machines {
		t.Errorf("%d of %d machines at half of their limit are lost", lost, machines)
	}
	var evicted int64
	for c, n := range amid.counts {
		if c.Name == "keys_evicted" {
			evicted += n
		}
	}
	if evicted == 0 {
		t.Error("no key was evicted: the flood was too small to mean anything")
	}
	t.Logf("%d forged records: %d pages and final alerts the same, %d of %d machines lost, %d keys evicted, heap %d MB (%d MB without the flood)",
		forged, len(amid.alerts), lost, machines, evicted, amid.heap>>20, quiet.heap>>20)
	if limit := uint64(4 << 30); amid.heap > limit {
		t.Errorf("heap of %d MB", amid.heap>>20)
	}
}

// hostileLog are the lab's recordings and the machines, in order.
func hostileLog(tb testing.TB, machines int) detecttest.Recording {
	tb.Helper()
	st, err := site.Parse(storySite(tb))
	if err != nil {
		tb.Fatal(err)
	}
	var parts []detecttest.Recording
	lab := func(minute int64, packets bool, dir ...string) {
		path := filepath.Join(append([]string{"..", "detect"}, dir...)...)
		load := func(edit func(*event.Event)) detecttest.Recording {
			if packets {
				return detecttest.Packets(tb, st, path, edit)
			}
			return detecttest.Zeek(tb, st, path, edit)
		}
		first := storyBegin * 2
		for _, r := range load(nil) {
			first = min(first, r.Time)
		}
		parts = append(parts, load(func(e *event.Event) {
			for _, at := range []*int64{&e.Time, &e.Start, &e.End} {
				if *at != 0 {
					*at += storyBegin + minute*minutes - first
				}
			}
		}))
	}
	lab(15, false, "dns", "testdata", "dig_hex8_a_slow_res")
	lab(25, false, "dns", "testdata", "iodine_null_idle_res")
	lab(35, true, "icmp", "testdata", "ptunnel_slow")
	var events []event.Event
	for _, x := range []struct {
		minute int64
		bytes  uint64
	}{{1, 21e5}, {12, 21e5}, {56, 42e5}} {
		for i := range machines {
			e := upload(0, storyBegin+x.minute*minutes+int64(i)*second/1000, "203.0.113.9", x.bytes, 1e5)
			e.ID, e.Start = fmt.Sprint("R", x.minute, "-", i), e.Time-second
			e.Source.IP = netip.AddrFrom4([4]byte{10, 250, byte(i >> 8), byte(i)})
			e.Destination.IP = netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)})
			events = append(events, e)
		}
	}
	return detecttest.Merge(append(parts, detecttest.Events(tb, st, "z1", events))...)
}

// runHostile runs the log amid a number of other events.
func runHostile(tb testing.TB, log detecttest.Recording, others, maxKeys int, other func(e *event.Event, i int, at int64)) (out hostile) {
	tb.Helper()
	out.found = map[string]bool{}
	at, last := 0, map[string]string{}
	chain, err := pipeline.New(pipeline.Config{
		Site: storySite(tb), Bounds: detect.Bounds{Keys: maxKeys},
		Signals: func(value []byte) {
			var s signal.Signal
			if err := signal.Decode(value, &s); err != nil {
				tb.Error(err)
			}
			if a, err := netip.ParseAddr(s.Entity.IP); err == nil && s.Detector == "upload-ratio" && s.Alert && a.As4()[1] == 250 {
				out.found[s.Entity.IP] = true
			}
		},
	}, func(a pipeline.Alert) {
		var doc alert.Alert
		if err := alert.Decode(a.Value, &doc); err != nil {
			tb.Error(err)
		}
		if doc.Detector == "dns-tunnel" || doc.Detector == "icmp-tunnel" {
			text := strings.Join([]string{doc.ID, doc.Detector, doc.Entity.Name, doc.Severity, doc.Subject}, " ")
			last[doc.ID] = fmt.Sprint("in the end: ", text, " retracted ", doc.Status == alert.Retracted)
			if doc.Notify != "" {
				for _, x := range doc.Points {
					text += fmt.Sprintf(" %s +%v: %v", x.Name, x.Points, x.Value)
				}
				out.alerts = append(out.alerts, fmt.Sprintf("record %d: %s", at, text))
			}
		}
	})
	if err != nil {
		tb.Fatal(err)
	}
	feed := func(r *detecttest.Record) {
		if err := chain.Record(pipeline.Encoded{Topic: pipeline.TopicNetwork, Kind: r.Kind, Observer: r.Observer, Available: r.Available, Key: r.Key, Value: r.Value}); err != nil {
			tb.Fatal(err)
		}
	}
	var e event.Event
	for i := range others {
		now := floodFrom + (floodTo-floodFrom)*int64(i)/int64(others)
		for at < len(log) && log[at].Available <= now {
			feed(&log[at])
			at++
		}
		other(&e, i, now)
		if err := chain.Event(&e); err != nil {
			tb.Fatal(err)
		}
	}
	for ; at < len(log); at++ {
		feed(&log[at])
	}
	chain.Close()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	out.counts, out.heap = chain.Counts(), m.HeapAlloc
	runtime.KeepAlive(chain)
	for _, text := range last {
		out.alerts = append(out.alerts, text)
	}
	slices.Sort(out.alerts)
	return out
}

// calm makes as many events at the same times as forge, so that marks come at the
// same moments, of one machine that asks one domain.
func calm(e *event.Event, i int, at int64) {
	forge(e, 1, at)
	e.Source.Port = event.N(40_000 + i%20_000)
}

// forge makes one forged event: a source that asks a domain of its own, a
// machine that asks ever other domains, a source that sends a little.
func forge(e *event.Event, i int, at int64) {
	*e = event.Event{Kind: event.KindDNS, Time: at}
	e.Observer.Type, e.Observer.Name = "zeek", "z1"
	var raw [4]byte
	binary.BigEndian.PutUint32(raw[:], uint32(i)*2_654_435_761)
	source := netip.AddrFrom4([4]byte{10, 60 + raw[1]%100, raw[2], raw[3]})
	e.Source = event.Endpoint{IP: source, Port: event.N(40_000 + i%20_000)}
	e.Destination = event.Endpoint{IP: netip.AddrFrom4([4]byte{10, 53, 0, 53}), Port: event.N(53)}
	e.Network.Transport = "udp"
	e.DNS.Name, e.DNS.Type, e.DNS.ResponseCode = fmt.Sprintf("w%d.forged%d.test", i, i), "A", "NXDOMAIN"
	switch i % 3 {
	case 1:
		e.Source.IP = netip.AddrFrom4([4]byte{10, 200, 0, 1})
		e.DNS.ResponseCode = "NOERROR"
	case 2:
		*e = upload(0, at, "203.0.113.77", 3000, 9000)
		e.ID, e.Source.IP = fmt.Sprint("F", i), source
		e.Destination.IP = netip.AddrFrom4([4]byte{198, 18 + raw[0]%2, raw[1], raw[2]})
	}
}
