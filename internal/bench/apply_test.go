package bench

import (
	"encoding/binary"
	"hash"
	"hash/fnv"
	"runtime"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
)

// sum is an operator.Context that keeps a hash of what is emitted.
type sum struct {
	hash.Hash64
	emitted int
}

func (c *sum) Emit(out operator.Output) {
	c.emitted++
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(out.Value)))
	_, _ = c.Write(n[:])
	_, _ = c.Write(out.Value)
}
func (c *sum) Touch(int)                   {}
func (c *sum) Count(string, string, int64) {}

// tape are records, one after the other.
type tape struct {
	data []byte
	ends []int // of key and value of each
	at   []int64
	mark []bool
}

func (t *tape) add(key, value []byte, at int64, mark bool) {
	t.data = append(t.data, key...)
	t.ends = append(t.ends, len(t.data))
	t.data = append(t.data, value...)
	t.ends = append(t.ends, len(t.data))
	t.at, t.mark = append(t.at, at), append(t.mark, mark)
}

func (t *tape) play(tb testing.TB, set operator.Operator, offset int64, c *sum) (records int) {
	tb.Helper()
	flow, mark := event.KindFlow.String(), event.KindMark.String()
	from := 0
	var r operator.Record
	for i := range t.at {
		key, value := t.data[from:t.ends[2*i]], t.data[t.ends[2*i]:t.ends[2*i+1]]
		from = t.ends[2*i+1]
		r = operator.Record{Topic: "events", Offset: offset + int64(i), Time: t.at[i], Kind: flow, Key: key, Value: value}
		if t.mark[i] {
			r.Kind = mark
		} else {
			records++
		}
		if err := set.Apply(&r, c); err != nil {
			tb.Fatal(err)
		}
	}
	return records
}

// parts hands out the tape in pieces of n records.
func (t *tape) parts(n int) func(func(*tape) bool) {
	return func(yield func(*tape) bool) {
		for i := 0; i < len(t.at); i += n {
			j, from := min(i+n, len(t.at)), 0
			if i > 0 {
				from = t.ends[2*i-1]
			}
			part := &tape{data: t.data[from:t.ends[2*j-1]], at: t.at[i:j], mark: t.mark[i:j]}
			for _, end := range t.ends[2*i : 2*j] {
				part.ends = append(part.ends, end-from)
			}
			if !yield(part) {
				return
			}
		}
	}
}

func record(l *load, n int64, record func(int64) (key, value []byte)) *tape {
	t := &tape{}
	second := int64(0)
	for i := range n {
		key, value := record(i)
		if s := l.ev.Time / 1_000_000; s != second {
			second = s
			t.add([]byte("mark"), markValue(l.marks(l.ev.Time-2_000_000, uint64(i)), "bench"), l.ev.Time, true)
		}
		t.add(key, value, l.ev.Time, false)
	}
	return t
}

// BenchmarkApply is what the detectors cost for the flows of a benchmark, without
// a broker and an engine: CPU time and memory for 100 000 keys at their first
// records (setup) and later. The hash is that of all that was emitted; a change
// that is to make it cheaper leaves it as it is.
//
//	go test ./internal/bench -run '^$' -bench Apply -benchtime 1x
func BenchmarkApply(b *testing.B) {
	for b.Loop() {
		l := newLoad(100_000, 100_000, 10_000, 1_795_430_400_000_000)
		setup := record(l, l.setupRecords(), l.setup)
		flows := record(l, 600_000, l.record)
		set, err := pipeline.NewSet("default", detect.Bounds{})
		if err != nil {
			b.Fatal(err)
		}
		c := &sum{Hash64: fnv.New64a()}
		var m, m0 runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m0)
		c0 := cpuTime()
		n := setup.play(b, set, 0, c)
		b.ReportMetric(float64(cpuTime()-c0)/float64(n), "setup-cpu-ns")
		runtime.GC()
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc-m0.HeapAlloc)/1e5, "setup-B/key")
		allocs := m.Mallocs
		c0 = cpuTime()
		n = flows.play(b, set, 1<<20, c)
		took := cpuTime() - c0
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(took)/float64(n), "cpu-ns")
		b.ReportMetric(float64(m.Mallocs-allocs)/float64(n), "mallocs")
		runtime.GC()
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc-m0.HeapAlloc)/1e5, "B/key")
		b.Logf("%d emitted, hash %x", c.emitted, c.Sum64())
		runtime.KeepAlive(set)
		runtime.KeepAlive(setup)
		runtime.KeepAlive(flows)
	}
}
