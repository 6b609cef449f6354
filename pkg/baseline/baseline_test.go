package baseline_test

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// h0 is a Monday at midnight.
const h0 = int32(1_795_392_000 / 3600)

var params = baseline.Params{Factor: 5, Floor: 100e6}

// oracle keeps every sum exactly and answers by the book: floating point,
// sorted lists.
type oracle struct {
	sums   map[int32]float64
	states map[int32]baseline.State
	first  int32
	last   int32
}

func (o *oracle) put(h int32, sum float64) {
	if o.last == 0 {
		o.first, o.last = h, h
	}
	o.first = min(o.first, h)
	o.last = max(o.last, h)
	o.sums[h] = sum
}

func (o *oracle) oldest() int32 { return max(o.first, o.last-14*24+1) }

func weekday(h int32) bool { d := (h/24 + 4) % 7; return d != 0 && d != 6 }

func (o *oracle) samples(h int32, all bool) (out []float64) {
	for x := o.oldest(); x <= o.last; x++ {
		if x == h || o.states[x] == baseline.Quarantined || o.states[x] == baseline.Purged {
			continue
		}
		v := o.sums[x]
		d := math.Abs(float64(x%24 - h%24))
		if all && v < 1024 || !all && (weekday(x) != weekday(h) || min(d, 24-d) > 1) {
			continue
		}
		out = append(out, v)
	}
	slices.Sort(out)
	return out
}

func quantile(list []float64, q float64) float64 {
	if len(list) == 0 {
		return 0
	}
	at := q * float64(len(list)-1)
	i := int(at)
	if i+1 == len(list) {
		return list[i]
	}
	return list[i] + (list[i+1]-list[i])*(at-float64(i))
}

func mad(list []float64, median float64) float64 {
	var d []float64
	for _, v := range list {
		d = append(d, math.Abs(v-median))
	}
	slices.Sort(d)
	return quantile(d, 0.5)
}

// TestAgainstOracle: percentile and median of any history are those that a
// naive count finds, within the grain of a code.
func TestAgainstOracle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var s baseline.Series
		o := &oracle{sums: map[int32]float64{}, states: map[int32]baseline.State{}}
		h := h0 + rapid.Int32Range(0, 200).Draw(rt, "start")
		for range rapid.IntRange(1, 400).Draw(rt, "hours") {
			h += rapid.Int32Range(0, 3).Draw(rt, "gap")
			at := h - rapid.Int32Range(0, 2).Draw(rt, "late")
			sum := rapid.Uint64Range(0, 1<<40).Draw(rt, "sum")
			_, st := s.Put(at, sum, baseline.Plain, baseline.Params{Factor: 1e9, Floor: 1 << 50})
			if st != baseline.Plain {
				rt.Fatalf("hour below the limit is %v", st)
			}
			o.put(at, float64(sum))
		}
		if n := rapid.Int32Range(0, 5).Draw(rt, "purged"); n > 0 {
			from := o.last - rapid.Int32Range(0, 300).Draw(rt, "from")
			s.Purge(from, from+n)
			for x := from; x <= from+n; x++ {
				if o.sums[x] >= 1024 {
					o.states[x] = baseline.Purged
				}
			}
		}
		at := o.last + rapid.Int32Range(0, 30).Draw(rt, "asked")
		u := s.Usual(at, params)
		want := o.samples(at, false)
		if len(want) < 10 {
			want = o.samples(at, true)
		}
		if u.Samples != len(want) {
			rt.Fatalf("%d samples, want %d", u.Samples, len(want))
		}
		near := func(what string, got uint64, want, scale float64) {
			// A code is off by at most 5.1 %, and sums below 1 KiB count as none.
			if math.Abs(float64(got)-want) > 0.0511*scale+1024 {
				rt.Fatalf("%s %d, want %.0f of %d samples", what, got, want, u.Samples)
			}
		}
		p95, median := quantile(want, 0.95), quantile(want, 0.5)
		near("p95", u.P95, p95, p95)
		near("median", u.Median, median, median)
	})
}

// TestSpread: the deviation is that of sums on the grid.
func TestSpread(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var s baseline.Series
		n := rapid.Int32Range(1, 300).Draw(rt, "n")
		for h := range n {
			s.Put(h0+h, rapid.Uint64Range(0, 1<<30).Draw(rt, "sum"), baseline.Plain, baseline.Params{Factor: 1e9, Floor: 1 << 50})
		}
		at := h0 + n
		u := s.Usual(at, params)
		var list []float64
		for x := range s.Each {
			d := math.Abs(float64(x.Hour%24 - at%24))
			if !u.Slot || weekday(x.Hour) == weekday(at) && min(d, 24-d) <= 1 {
				list = append(list, float64(x.Bytes))
			}
		}
		for len(list) < u.Samples {
			list = append(list, 0)
		}
		slices.Sort(list)
		want := mad(list, float64(u.Median))
		lo, hi := want, want
		if k := len(list); k%2 == 0 && k > 0 {
			// Of an even number the upper of the two middle deviations is told.
			var d []float64
			for _, v := range list {
				d = append(d, math.Abs(v-float64(u.Median)))
			}
			slices.Sort(d)
			lo, hi = d[k/2-1], d[k/2]
		}
		if got := float64(u.Spread); got < lo-1 || got > hi+1 {
			rt.Fatalf("spread %v, want %v to %v of %d", got, lo, hi, len(list))
		}
	})
}

// fill puts a history of full days, the sum of each hour from f.
func fill(s *baseline.Series, from int32, days int, f func(h int32) uint64) int32 {
	h := from
	for range days * 24 {
		s.Put(h, f(h), baseline.Plain, params)
		h++
	}
	return h
}

func office(h int32) uint64 {
	if d := h % 24; weekday(h) && d >= 8 && d < 18 {
		return 60e6
	}
	return 200e3
}

func TestLikeWithLike(t *testing.T) {
	t.Parallel()
	var s baseline.Series
	end := fill(&s, h0, 14, office)
	day, night := s.Usual(end+10, params), s.Usual(end+2, params)
	if !day.Slot || day.Limit < 280e6 || day.Limit > 320e6 {
		t.Errorf("by day: %+v", day)
	}
	if !night.Slot || night.Limit != params.Floor {
		t.Errorf("by night the floor holds: %+v", night)
	}
	// A day's total is 24 times an hour's: compared with that, five hours'
	// worth in one hour would be nothing.
	if total := uint64(10 * 60e6); day.Limit >= total {
		t.Errorf("the limit of an hour %d is not below a day's total", day.Limit)
	}
}

// TestOneBadDay: one hour far above all others, unless it is quarantined
// anyway, moves a percentile of weekdays by nothing.
func TestOneBadDay(t *testing.T) {
	t.Parallel()
	var s baseline.Series
	end := fill(&s, h0, 14, func(h int32) uint64 {
		if h == h0+24*8+10 {
			return 50e9 // before the history is complete: nothing quarantines it
		}
		return office(h)
	})
	if u := s.Usual(end+10, params); u.Limit > 320e6 {
		t.Errorf("one bad hour owns the limit: %+v", u)
	}
	if out := s.Outliers(100e6); len(out) != 1 || out[0].Hour != h0+24*8+10 {
		t.Errorf("outliers of the audit: %+v", out)
	}
}

func TestNewcomer(t *testing.T) {
	t.Parallel()
	var s baseline.Series
	end := fill(&s, h0, 13, office)
	if u := s.Usual(end, params); u.Limit != 0 || s.Mature(end) {
		t.Errorf("thirteen days are a history: %+v", u)
	}
	// Idle days count: it was there and sent nothing.
	var quiet baseline.Series
	quiet.Begin(h0)
	if u := quiet.Usual(h0+14*24, params); u.Limit != params.Floor {
		t.Errorf("a quiet source's limit is the floor: %+v", u)
	}
}

// TestQuarantine: an hour above the limit is no sample until it is answered.
// Benign lets it go on at its time of day, at its size; true never.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	backup := uint64(3e9)
	for _, benign := range []bool{true, false} {
		var s baseline.Series
		end := fill(&s, h0, 14, office)
		before := s.Usual(end+3+24, params)
		if _, st := s.Put(end+3, backup, baseline.Plain, params); st != baseline.Quarantined {
			t.Fatalf("the first backup is %v", st)
		}
		if u := s.Usual(end+3+24, params); u.P95 != before.P95 || u.Limit != before.Limit {
			t.Errorf("a quarantined hour is a sample: %+v, before %+v", u, before)
		}
		if n := s.Answer(end+3, end+3, benign, params); n != 1 {
			t.Fatalf("%d hours answered", n)
		}
		var last baseline.State
		h := end + 4
		for range 60 * 24 { // two months, each night
			sum := office(h)
			if h%24 == 3 {
				sum = backup
			}
			_, last = s.Put(h, sum, baseline.Plain, params)
			if h%24 == 3 && benign && last == baseline.Quarantined {
				t.Fatalf("a benign backup alerts again after %d hours: %+v", h-end, s.Usual(h, params))
			}
			if h%24 == 3 && !benign && last != baseline.Quarantined {
				t.Fatalf("what was answered as true passes after %d hours", h-end)
			}
			h++
		}
		// It may not grow on the strength of the answer.
		if _, st := s.Put(h-h%24+24+3, 3*backup, baseline.Plain, params); st != baseline.Quarantined {
			t.Errorf("three times the backup is %v (benign %v)", st, benign)
		}
		if _, st := s.Put(h-h%24+24+15, backup, baseline.Plain, params); st != baseline.Quarantined {
			t.Errorf("the backup at another time of day is %v (benign %v)", st, benign)
		}
	}
}

// TestWeeklyBackup: what was answered as benign once a week stays so.
func TestWeeklyBackup(t *testing.T) {
	t.Parallel()
	var s baseline.Series
	sum := func(h int32) uint64 {
		if h%(7*24) == (h0+6*24+3)%(7*24) { // Sundays at 3
			return 5e9
		}
		return office(h)
	}
	h := fill(&s, h0, 14, office)
	answered := false
	for range 12 * 7 * 24 {
		_, st := s.Put(h, sum(h), baseline.Plain, params)
		if st == baseline.Quarantined {
			if answered {
				t.Fatalf("it alerts again in week %d", (h-h0)/(7*24))
			}
			answered = true
			s.Answer(h, h, true, params)
		}
		h++
	}
	if !answered {
		t.Error("the first was no finding")
	}
}

// TestPoisoning: an attacker who raises its own volume by 3 % a day for 30
// days gets at most half more, and the drift shows. By day, at night from
// nothing, and at weekends.
func TestPoisoning(t *testing.T) {
	t.Parallel()
	for name, hours := range map[string][2]int32{"by day": {8, 18}, "at night": {1, 4}, "all day": {0, 24}} {
		var s baseline.Series
		base := func(h int32) uint64 {
			if d := h % 24; d >= hours[0] && d < hours[1] {
				return 200e6
			}
			return 100e3
		}
		h := fill(&s, h0, 14, base)
		limits := map[int32]uint64{}
		for x := h; x < h+7*24; x++ {
			limits[x%24+100*int32(b2i(weekday(x)))] = max(s.Usual(x, params).Limit, limits[x%24+100*int32(b2i(weekday(x)))])
		}
		worst, drift := 0.0, 0.0
		for day := range 30 {
			for range 24 {
				u, st := s.Put(h, uint64(float64(base(h))*math.Pow(1.03, float64(day+1))), baseline.Plain, params)
				if st == baseline.Quarantined && day < 10 {
					t.Fatalf("%s: 3 %% a day is a finding on day %d", name, day)
				}
				before := limits[h%24+100*int32(b2i(weekday(h)))]
				worst = max(worst, float64(s.Usual(h+24, params).Own)/float64(max(before, limits[(h+24)%24+100*int32(b2i(weekday(h+24)))])))
				drift = max(drift, u.Drift())
				h++
			}
		}
		if worst > 1.5 {
			t.Errorf("%s: the limit grew %.2f-fold", name, worst)
		}
		if worst < 1.2 {
			t.Errorf("%s: the limit grew only %.2f-fold: growth is not followed at all", name, worst)
		}
		if drift < 1.25 {
			t.Errorf("%s: drift %.2f", name, drift)
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestOrdinaryGrowth: a source that grows by a third in a month is followed
// and shows no drift.
func TestOrdinaryGrowth(t *testing.T) {
	t.Parallel()
	var s baseline.Series
	h := fill(&s, h0, 14, office)
	for day := range 30 {
		for range 24 {
			u, st := s.Put(h, uint64(float64(office(h))*(1+float64(day)/90)), baseline.Plain, params)
			if st != baseline.Plain || u.Drift() > 1.2 {
				t.Fatalf("day %d: %v, drift %.2f", day, st, u.Drift())
			}
			h++
		}
	}
}

// TestCorrection: a sum put again for the same hour counts once and undoes no
// answer.
func TestCorrection(t *testing.T) {
	t.Parallel()
	var s baseline.Series
	end := fill(&s, h0, 14, office)
	s.Put(end, 9e9, baseline.Plain, params)
	s.Answer(end, end, false, params)
	if _, st := s.Put(end, 9.1e9, baseline.Plain, params); st != baseline.Purged {
		t.Errorf("a correction made a purged hour %v", st)
	}
	a, b := s, s
	a.Put(end+1, 5e6, baseline.Plain, params)
	b.Put(end+1, 9e6, baseline.Plain, params)
	b.Put(end+1, 5e6, baseline.Plain, params)
	if d := cmp.Diff(a.Append(nil), b.Append(nil)); d != "" {
		t.Error(d)
	}
}

func TestGroup(t *testing.T) {
	t.Parallel()
	var g baseline.Group
	for h := range int32(24 * 10) {
		for src := range uint64(3) {
			g.Add(src+1, h0+h, 40e6)
		}
	}
	if u := g.Usual(h0+240, params); u.Limit != 0 {
		t.Errorf("three sources are a group: %+v", u)
	}
	g.Add(9, h0+240, 40e6)
	u := g.Usual(h0+240, params)
	if u.Limit < 190e6 || u.Limit > 211e6 {
		t.Errorf("limit of the group %+v", u)
	}
	if u := g.Usual(h0+24*40, params); u.Limit != 0 {
		t.Errorf("a group that has been silent for a month measures: %+v", u)
	}
	r := operator.NewReader(g.Append(nil))
	var back baseline.Group
	back.Load(r)
	if r.Err() != nil || r.Len() != 0 || back != g {
		t.Errorf("codec: %v, %d bytes left", r.Err(), r.Len())
	}
}

// TestCodec: what is written is read, and goes on the same way.
func TestCodec(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var s baseline.Series
		h := h0
		for range rapid.IntRange(0, 500).Draw(rt, "hours") {
			h += rapid.SampledFrom([]int32{1, 1, 1, 1, 5, 60}).Draw(rt, "gap")
			s.Put(h, rapid.SampledFrom([]uint64{0, 10e6, 200e6, 9e9}).Draw(rt, "sum"), baseline.Plain, params)
			if rapid.IntRange(0, 30).Draw(rt, "answers") == 0 {
				s.Answer(h-20, h, rapid.Bool().Draw(rt, "benign"), params)
			}
		}
		data := s.Append(nil)
		var back baseline.Series
		r := operator.NewReader(data)
		if err := back.Load(r); err != nil || r.Len() != 0 {
			rt.Fatalf("%v, %d bytes left", err, r.Len())
		}
		u, v := s.Usual(h+1, params), back.Usual(h+1, params)
		if u != v {
			rt.Fatalf("%+v\n%+v", u, v)
		}
		s.Put(h+2, 50e6, baseline.Plain, params)
		back.Put(h+2, 50e6, baseline.Plain, params)
		if d := cmp.Diff(s.Append(nil), back.Append(nil)); d != "" {
			rt.Fatal(d)
		}
	})
}

// FuzzLoad: damage is an error, never a panic.
func FuzzLoad(f *testing.F) {
	var s baseline.Series
	fill(&s, h0, 15, office)
	f.Add(s.Append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		var s baseline.Series
		if s.Load(operator.NewReader(data)) != nil {
			return
		}
		s.Usual(s.Last()+1, params)
		var back baseline.Series
		if err := back.Load(operator.NewReader(s.Append(nil))); err != nil {
			t.Fatalf("what was loaded and written does not load: %v", err)
		}
		var g baseline.Group
		g.Load(operator.NewReader(data))
		g.Usual(h0, params)
	})
}

// sources makes n series, each with a full history and all its ceilings.
func sources(n int) []*baseline.Series {
	rng := rand.New(rand.NewPCG(1, 2))
	out := make([]*baseline.Series, n)
	for i := range out {
		s := new(baseline.Series)
		for h := range int32(16 * 24) {
			s.Put(h0+h, rng.Uint64N(1<<30), baseline.Plain, params)
		}
		out[i] = s
	}
	return out
}

// TestMemory: a source takes at most 700 bytes however much it sends. Measured
// over the heap, pointers included; a million of them is the same times 2 000
// (BenchmarkMillion).
func TestMemory(t *testing.T) { //nolint:paralleltest // it measures the heap
	const n = 500
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	list := sources(n)
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(after.HeapAlloc-before.HeapAlloc) / n
	if each > 700 {
		t.Errorf("%.0f bytes a source", each)
	}
	t.Logf("%.0f bytes a source, the structure itself %d", each, unsafe.Sizeof(*list[0]))
	runtime.KeepAlive(list)
}

// BenchmarkMillion makes a million sources with a full history and reports
// what the heap holds: go test -bench Million -benchtime 1x.
func BenchmarkMillion(b *testing.B) {
	for b.Loop() {
		proto := sources(64)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		list := make([]*baseline.Series, 1_000_000)
		for i := range list {
			s := new(baseline.Series)
			if err := s.Load(operator.NewReader(proto[i%len(proto)].Append(nil))); err != nil {
				b.Fatal(err)
			}
			list[i] = s
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB/1M")
		runtime.KeepAlive(list)
	}
}

// BenchmarkPut is one hour of a source, which comes once an hour.
func BenchmarkPut(b *testing.B) {
	s := sources(1)[0]
	h := s.Last()
	b.ReportAllocs()
	for b.Loop() {
		h++
		s.Put(h, 50e6, baseline.Plain, params)
	}
}

// TestGroupsOfPartitionsMerge: two groups that saw half of the sources each
// judge as one that saw all, also where one of them is a week behind.
func TestGroupsOfPartitionsMerge(t *testing.T) {
	t.Parallel()
	const week = 7 * 24
	for _, behind := range []int32{0, 1, 2} {
		var a, b, all baseline.Group
		for i := range int32(60) {
			for source := range uint64(6) {
				hour, sum := 10*week+i, 1_000_000*(1+source)
				part := &a
				if source%2 == 0 {
					part, hour = &b, hour-behind*week
				}
				part.Add(source+1, hour, sum)
				if behind < 2 || source%2 == 1 {
					all.Add(source+1, hour, sum)
				}
			}
		}
		ab, ba := a, b
		ab.Merge(&b)
		ba.Merge(&a)
		p := baseline.Params{Factor: 2}
		want := all.Usual(10*week+70, p)
		for _, g := range []baseline.Group{ab, ba} {
			got := g.Usual(10*week+70, p)
			if behind == 2 { // the members are still known
				got.Own, got.Limit, want.Own, want.Limit = 0, 0, 0, 0
			}
			if got != want {
				t.Errorf("%d weeks behind: %+v, want %+v", behind, got, want)
			}
		}
	}
}
