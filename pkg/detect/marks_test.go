package detect

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// plain is the table of marks as one would write it without regard to cost:
// every mark looks at everything.
type plain struct {
	streams []plainStream
	heard   map[string]int64
}

type plainStream struct {
	observer, instance, kind string
	low                      int64
	state                    int
}

func (p *plain) apply(mk *event.Mark, now int64) {
	if p.heard == nil {
		p.heard = map[string]int64{}
	}
	if last, ok := p.heard[mk.Instance]; ok && last+markExpiry < now || ok && p.expired(mk.Instance) {
		for i := range p.streams {
			if st := &p.streams[i]; st.instance == mk.Instance && st.state == streamExpired {
				st.state = streamLive
			}
		}
	}
	p.heard[mk.Instance] = now
	for _, src := range mk.Sources {
		name := src.Type + "/" + src.Name + "/" + src.Realm
		i := slices.IndexFunc(p.streams, func(s plainStream) bool {
			return s.observer == name && s.instance == mk.Instance && s.kind == src.Stream
		})
		if i < 0 {
			p.streams = slices.DeleteFunc(p.streams, func(s plainStream) bool {
				return s.observer == name && s.kind == src.Stream && s.state != streamLive
			})
			p.streams = append(p.streams, plainStream{observer: name, instance: mk.Instance, kind: src.Stream})
			i = len(p.streams) - 1
		}
		st := &p.streams[i]
		st.low, st.state = max(st.low, src.Low), streamLive
		if mk.Closing || src.Closed {
			st.state = streamEnded
		}
	}
	for i := range p.streams {
		st := &p.streams[i]
		if mk.Closing && st.instance == mk.Instance && st.state == streamLive {
			st.state = streamEnded
		}
		if st.state == streamLive && p.heard[st.instance]+markExpiry < now {
			st.state = streamExpired
		}
	}
	p.streams = slices.DeleteFunc(p.streams, func(s plainStream) bool { return p.heard[s.instance]+markForget < now })
}

func (p *plain) expired(instance string) bool {
	return slices.ContainsFunc(p.streams, func(s plainStream) bool { return s.instance == instance && s.state == streamExpired })
}

func (p *plain) low(observer string, k event.Kind) int64 {
	kind := ""
	for _, s := range p.streams {
		if s.observer == observer && k != event.KindUnknown && s.kind == k.String() {
			kind = s.kind
		}
	}
	low, some, heard, live := Never, false, false, false
	for _, s := range p.streams {
		if s.observer != observer {
			continue
		}
		some = true
		live = live || s.state == streamLive
		if k != event.KindUnknown && s.kind != kind {
			continue
		}
		heard = true
		if s.state == streamLive {
			low = min(low, s.low)
		}
	}
	if !some || !heard && live {
		return 0
	}
	return low
}

func (p *plain) lowest() int64 {
	low := Never
	for _, s := range p.streams {
		low = min(low, p.low(s.observer, event.KindUnknown))
	}
	if len(p.streams) == 0 {
		return 0
	}
	return low
}

// TestMarksEqualThePlainTable: whatever instances say, however they close,
// vanish and come back, and wherever the table is written and loaded, each
// watermark is that of the plain table, and nobody whose watermark moved is
// left out.
func TestMarksEqualThePlainTable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m, p := newMarks(), &plain{}
		now := int64(1e15)
		sources := []string{"a", "b", "c", "d", "e"}
		kinds := []event.Kind{event.KindUnknown, event.KindConn, event.KindDNS}
		lows := map[string]int64{}
		for range rapid.IntRange(1, 40).Draw(t, "marks") {
			now += rapid.SampledFrom([]int64{0, 1e6, 5e6, 60e6, 121e6, 4e9, 87e9}).Draw(t, "later")
			mk := event.Mark{Instance: rapid.SampledFrom([]string{"i", "j", "k"}).Draw(t, "instance"), Closing: rapid.IntRange(0, 9).Draw(t, "closing") == 0}
			for range rapid.IntRange(0, 4).Draw(t, "sources") {
				k := rapid.SampledFrom(kinds).Draw(t, "kind")
				src := event.SourceMark{
					Type: "zeek", Name: rapid.SampledFrom(sources).Draw(t, "source"), Low: rapid.Int64Range(1, 50).Draw(t, "low"),
					Closed: rapid.IntRange(0, 9).Draw(t, "closed") == 0,
				}
				if k != event.KindUnknown {
					src.Stream = k.String()
				}
				mk.Sources = append(mk.Sources, src)
			}
			touched := slices.Clone(m.apply(&mk, now))
			p.apply(&mk, now)
			if rapid.IntRange(0, 3).Draw(t, "reload") == 0 {
				data := m.append(nil)
				m = newMarks()
				r := operator.NewReader(data)
				if m.load(r); r.Err() != nil || r.Len() != 0 {
					t.Fatalf("load: %v, %d bytes left", r.Err(), r.Len())
				}
				if again := m.append(nil); string(again) != string(data) {
					t.Fatal("written again it differs")
				}
			}
			for _, s := range sources {
				name := "zeek/" + s + "/"
				for _, k := range kinds {
					if got, want := m.low(name, k), p.low(name, k); got != want {
						t.Fatalf("%s %s: low %d, want %d", name, k, got, want)
					}
				}
				if low := m.low(name, event.KindUnknown); low > lows[name] && !slices.Contains(touched, name) {
					t.Fatalf("%s moved from %d to %d and was not named", name, lows[name], low)
				}
				lows[name] = m.low(name, event.KindUnknown)
			}
			if got, want := m.lowest(), p.lowest(); got != want {
				t.Fatalf("lowest %d, want %d", got, want)
			}
			if !slices.IsSortedFunc(touched, strings.Compare) {
				t.Fatalf("not in order: %q", touched)
			}
		}
	})
}

// fleet are sensors, each with four streams, read by instances.
type fleet struct {
	sensors, instances int
	step               int
}

// mark is the next mark of an instance: of the streams that wait longest, as
// ingest writes it (internal/ingest, limit of a mark).
func (f *fleet) mark(instance, listed int) event.Mark {
	m := event.Mark{Instance: fmt.Sprintf("ingest-zeek/%d", instance)}
	kinds := [...]string{"conn", "dns", "tls", "http"}
	own := f.sensors / f.instances
	for i := range listed {
		at := (f.step*listed + i) % (own * len(kinds))
		m.Sources = append(m.Sources, event.SourceMark{
			Type: "zeek", Name: fmt.Sprintf("sensor-%05d", instance*own+at/len(kinds)), Realm: "default", Stream: kinds[at%len(kinds)],
			Low: 1_795_430_400_000_000 + int64(f.step)*1_000_000, Records: uint64(f.step) * 1000, Promise: true,
		})
	}
	return m
}

// TestAMarkCostsWhatItLists counts what a mark looks at, with few sensors and
// with many: the same.
func TestAMarkCostsWhatItLists(t *testing.T) {
	t.Parallel()
	const instances, listed = 10, 50
	perMark := map[int]float64{}
	for _, sensors := range []int{50, 500, 5000} {
		f := &fleet{sensors: sensors, instances: instances}
		m := newMarks()
		now := int64(1e15)
		round := func() {
			for i := range instances {
				mk := f.mark(i, min(listed, 4*sensors/instances))
				m.apply(&mk, now)
			}
			f.step++
			now += 1e6
		}
		for range 4*sensors/instances/listed + 2 { // all are known
			round()
		}
		m.ops = 0
		const rounds = 50
		for range rounds {
			round()
			m.lowest()
		}
		perMark[sensors] = float64(m.ops) / (rounds * instances) / float64(min(listed, 4*sensors/instances))
		t.Logf("%d sensors: %.1f looks a listed stream", sensors, perMark[sensors])
	}
	// The heap's depth grows by log2(100); nothing else may.
	if perMark[5000] > perMark[50]+2*3*7 || perMark[5000] > 60 {
		t.Errorf("a listed stream costs %.1f looks with 5000 sensors, %.1f with 50", perMark[5000], perMark[50])
	}
}

// The bounds hold, and what is beyond them is counted.
func TestMarksAreBounded(t *testing.T) {
	t.Parallel()
	m := newMarks()
	mk := event.Mark{Instance: "i"}
	for i := range maxObservers + 100 {
		mk.Sources = append(mk.Sources, event.SourceMark{Type: "zeek", Name: fmt.Sprint(i), Stream: "conn", Low: 5})
	}
	m.apply(&mk, 1e15)
	m.apply(&mk, 1e15+1)
	if len(m.byName) != maxObservers || len(m.instances["i"].streams) != maxObservers || m.lost != 200 {
		t.Errorf("%d observers, %d streams, %d counted as lost", len(m.byName), len(m.instances["i"].streams), m.lost)
	}
	for i := range maxInstances + 10 {
		m.apply(&event.Mark{Instance: fmt.Sprint(i)}, 1e15+2)
	}
	if len(m.instances) != maxInstances {
		t.Errorf("%d instances", len(m.instances))
	}
	// A day later all of them are forgotten.
	m.apply(&event.Mark{Instance: "i"}, 1e15+2+markForget+1)
	m.apply(&event.Mark{Instance: "other"}, 1e15+2+markForget+2)
	if len(m.instances) != 2 {
		t.Errorf("%d instances after a day of silence", len(m.instances))
	}
}

// BenchmarkMarks is what marks of 5 000 sensors cost a partition in a second,
// in parts of what the same second's events cost it: 16 partitions take
// 250 000 events a second, 20 000 streams are listed every fifteen seconds.
func BenchmarkMarks(b *testing.B) {
	const instances, sensors, partitions, rate = 10, 5000, 16, 250_000
	const listed = 4 * sensors / instances / 15
	f := &fleet{sensors: sensors, instances: instances}
	set, err := NewSet(Config{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	now := int64(1e15)
	var offset int64
	second := func() (records []operator.Record) {
		for i := range instances {
			mk := f.mark(i, listed)
			data, err := mk.Append(nil)
			if err != nil {
				b.Fatal(err)
			}
			records = append(records, operator.Record{Topic: "ebb.network.v1", Kind: "mark", Time: now, Value: data})
		}
		f.step++
		now += 1e6
		return records
	}
	apply := func(records []operator.Record) {
		for i := range records {
			records[i].Offset = offset
			offset++
			if err := set.Apply(&records[i], discard{}); err != nil {
				b.Fatal(err)
			}
		}
	}
	for range 20 {
		apply(second())
	}
	var rounds [][]operator.Record
	for range 60 {
		rounds = append(rounds, second())
	}
	i := 0
	began := userCPU(b)
	for b.Loop() {
		apply(rounds[i%len(rounds)])
		i++
	}
	// CPU, not time: a busy machine would be counted as cost.
	perSecond := (userCPU(b) - began) / float64(b.N)
	b.ReportMetric(perSecond*1e6, "µs/s_of_log")
	// What the issue asks for: at least 250 000 records/s on two cores, 8 µs of
	// CPU each.
	b.ReportMetric(100*perSecond/(float64(rate)/partitions*8e-6), "%_of_throughput")
}

// userCPU is what the process has used, in seconds.
func userCPU(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()) / 1e9
}

// discard is a context of a benchmark.
type discard struct{}

func (discard) Emit(operator.Output)        {}
func (discard) Touch(int)                   {}
func (discard) Count(string, string, int64) {}
