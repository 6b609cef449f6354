package detect_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

const second = int64(1_000_000)

// toy counts the events of a key in windows of a minute and sends each window
// when its observer is complete past it.
type toy struct {
	id      string
	stuck   bool // asks for the same time again and again
	factor  float64
	mode    string
	expires bool
}

func (d *toy) Info() detect.Info {
	mode := d.mode
	if mode == "" {
		mode = signal.ModeAlert
	}
	return detect.Info{
		ID: d.id, Role: signal.RoleExfil, Kinds: []event.Kind{event.KindConn, event.KindDNS},
		Default: site.Setting{Mode: mode, Floor: 2, Alert: 4}, Alone: true, Technique: []string{"T1048"},
		Thresholds: []detect.Threshold{{Name: "factor", Default: 1}},
	}
}

func (d *toy) Configure(s *site.Site) { d.factor = s.Threshold(d.id, "factor", 1) }

func (d *toy) New() detect.State { return &toyState{of: d} }

type toyWindow struct {
	observer string
	start    int64
	n        uint64
	low      int64 // as last asked for
}

type toyState struct {
	of   *toy
	wins []toyWindow
}

func (s *toyState) Apply(e *event.Event, env *detect.Env) {
	obs := env.Observer(e)
	start := e.Time - e.Time%(60*second)
	i := slices.IndexFunc(s.wins, func(w toyWindow) bool { return w.observer == obs && w.start == start })
	if i < 0 {
		s.wins = append(s.wins, toyWindow{observer: obs, start: start})
		i = len(s.wins) - 1
	}
	w := &s.wins[i]
	w.n++
	w.low = env.Low(obs, event.KindConn)
	if e.Action == "emit" {
		s.emit(w, env)
	}
	if e.Action == "fall" {
		w.n = 0
		s.emit(w, env)
	}
}

func (s *toyState) emit(w *toyWindow, env *detect.Env) {
	score := float64(w.n) * s.of.factor
	env.Emit(&signal.Signal{
		Subject: w.observer, Channel: "test", Start: w.start, End: w.start + 60*second, First: w.start, Time: w.start, Score: score,
		Points: []signal.Point{{Name: "events", Points: score}}, Reason: fmt.Sprint(w.n), Complete: min(env.Low(w.observer, event.KindUnknown), w.start+3600*second),
	}, site.Subject{})
}

func (s *toyState) Next() detect.Timer {
	t := detect.NoTimer
	for _, w := range s.wins {
		if at := w.start + 60*second; at < t.At {
			t = detect.Timer{Observer: w.observer, At: at}
		}
	}
	return t
}

func (s *toyState) Advance(env *detect.Env) {
	if s.of.stuck {
		return
	}
	s.wins = slices.DeleteFunc(s.wins, func(w toyWindow) bool {
		if w.start+60*second > env.Low(w.observer, event.KindUnknown) {
			return false
		}
		s.emit(&w, env)
		return true
	})
}

func (s *toyState) Expired(int64) bool { return s.of.expires && len(s.wins) == 0 }

func (s *toyState) Append(dst []byte) []byte {
	dst = operator.AppendUint(dst, len(s.wins))
	for _, w := range s.wins {
		dst = operator.AppendInt(operator.AppendString(dst, w.observer), w.start)
		dst = operator.AppendInt(operator.AppendUint(dst, w.n), w.low)
	}
	return dst
}

func (s *toyState) Load(data []byte) error {
	r := operator.NewReader(data)
	for range r.Count() {
		s.wins = append(s.wins, toyWindow{r.String(), r.Int(), r.Uint(), r.Int()})
	}
	return r.Err()
}

// world is a context and a log of one partition.
type world struct {
	tb      testing.TB
	set     *detect.Set
	offset  int64
	now     int64
	signals []signal.Signal
	marks   []event.Mark
	counts  map[string]int64
	touched map[int]bool
}

func newWorld(tb testing.TB, cfg detect.Config, ds ...detect.Detector) *world {
	tb.Helper()
	s, err := detect.NewSet(cfg, ds)
	if err != nil {
		tb.Fatal(err)
	}
	// Append time is far from 0, as in life.
	return &world{tb: tb, set: s, now: 1_700_000_000 * second, counts: map[string]int64{}, touched: map[int]bool{}}
}

func (w *world) Emit(out operator.Output) {
	switch out.Kind {
	case signal.KindSignal:
		var s signal.Signal
		if err := signal.Decode(out.Value, &s); err != nil {
			w.tb.Error(err)
		}
		w.signals = append(w.signals, s)
	case event.KindMark.String():
		var m event.Mark
		if err := event.DecodeMark(out.Value, &m); err != nil {
			w.tb.Error(err)
		}
		m.Sources = slices.Clone(m.Sources)
		w.marks = append(w.marks, m)
	}
}
func (w *world) Touch(b int)                          { w.touched[b] = true }
func (w *world) Count(name, label string, n int64)    { w.counts[name+"/"+label] += n }
func (w *world) apply(kind string, key, value []byte) { w.applyErr(kind, key, value, false) }
func (w *world) applyErr(kind string, key, value []byte, wantErr bool) {
	w.tb.Helper()
	r := operator.Record{Topic: "t", Offset: w.offset, Time: w.now, Kind: kind, Key: key, Value: value}
	w.offset++
	if err := w.set.Apply(&r, w); (err != nil) != wantErr {
		w.tb.Fatalf("apply: %v", err)
	}
}

// event applies an event of an observer under a key at a time in seconds.
func (w *world) event(k event.Kind, observer, key string, at int64, action string) {
	w.tb.Helper()
	e := event.Event{Kind: k, Time: at * second, Action: action, Observer: event.Observer{Type: "zeek", Name: observer, Realm: "r"}}
	if k == event.KindDNS {
		e.DNS.Name = "x.test"
	}
	e.Source.IP = netip.MustParseAddr("10.0.0.1")
	data, err := e.Append(nil)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.apply(k.String(), []byte(key), data)
}

// mark applies a mark of an instance: observer/stream=low in seconds.
func (w *world) mark(instance string, closing bool, lows ...string) {
	w.tb.Helper()
	m := event.Mark{Instance: instance, Closing: closing}
	for _, l := range lows {
		var low int64
		name, rest, _ := strings.Cut(l, "/")
		stream, at, _ := strings.Cut(rest, "=")
		if _, err := fmt.Sscan(at, &low); err != nil {
			w.tb.Fatal(err)
		}
		m.Sources = append(m.Sources, event.SourceMark{Type: "zeek", Name: name, Realm: "r", Stream: stream, Low: low * second, Records: 1})
	}
	data, err := m.Append(nil)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.apply(event.KindMark.String(), []byte("mark"), data)
}

// reload replaces the set by one loaded from its snapshot.
func (w *world) reload(cfg detect.Config, ds ...detect.Detector) {
	w.tb.Helper()
	next := newWorld(w.tb, cfg, ds...).set
	for b := range w.set.Buckets() {
		if err := next.LoadBucket(b, w.set.AppendBucket(nil, b)); err != nil {
			w.tb.Fatal(err)
		}
	}
	if err := next.LoadShared(w.set.AppendShared(nil)); err != nil {
		w.tb.Fatal(err)
	}
	w.set = next
}

func (w *world) keys() (out []string) {
	for _, s := range w.signals {
		out = append(out, fmt.Sprintf("%s@%d", s.Key, s.Start/second))
	}
	return out
}

func TestTimersWaitForTheirObserver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, detect.Config{}, &toy{id: "toy"})
	for _, key := range []string{"b", "a", "c"} {
		for range 3 {
			w.event(event.KindConn, "one", key, 30, "")
		}
	}
	w.event(event.KindConn, "two", "d", 31, "")
	w.event(event.KindConn, "two", "d", 32, "")
	w.mark("i", false, "one/=59", "two/=0")
	if len(w.signals) != 0 {
		t.Fatalf("too early: %v", w.keys())
	}
	w.mark("i", false, "one/=70")
	if d := cmp.Diff([]string{"a@0", "b@0", "c@0"}, w.keys()); d != "" {
		t.Fatalf("in order of key (-want +got):\n%s", d)
	}
	w.mark("i", false, "two/=100000")
	if d := cmp.Diff([]string{"a@0", "b@0", "c@0", "d@0"}, w.keys()); d != "" {
		t.Fatal(d)
	}
	if n := detect.Timers(w.set); n != 0 {
		t.Errorf("%d timers are left", n)
	}
}

// TestTwoObserversOfOneKey: the timer of one must not hide that of the other,
// nor pile up while they alternate.
func TestTwoObserversOfOneKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, detect.Config{}, &toy{id: "toy"})
	for i := range int64(20_000) {
		w.event(event.KindConn, []string{"one", "two"}[i%2], "k", 1000-i%7, "")
	}
	if n := detect.Timers(w.set); n > 10 {
		t.Errorf("%d timers for two windows", n)
	}
	w.mark("i", false, "one/=2000", "two/=2000")
	if len(w.signals) != 2 && len(w.signals) != 4 {
		t.Errorf("%d signals: %v", len(w.signals), w.keys())
	}
}

func TestStreamsOfAnObserver(t *testing.T) {
	t.Parallel()
	// What Low says is seen in the state's snapshot: the toy keeps it.
	low := func(w *world) int64 {
		w.event(event.KindConn, "one", "probe", 5, "")
		for b := range w.set.Buckets() {
			data := w.set.AppendBucket(nil, b)
			if i := strings.Index(string(data), "probe"); i >= 0 {
				r := operator.NewReader(data)
				r.Uint()
				r.Uint()
				_, _, _, _ = r.String(), r.Int(), r.Int(), r.Uint()
				_, _ = r.Int(), r.Uint()
				for range r.Count() {
					_, _ = r.String(), r.Uint()
				}
				r.Uint()
				_ = r.String()
				st := operator.NewReader(r.Bytes())
				st.Uint()
				_, _, _ = st.String(), st.Int(), st.Uint()
				return st.Int()
			}
		}
		t.Fatal("the probe is not in a snapshot")
		return 0
	}
	for name, c := range map[string]struct {
		marks func(w *world)
		want  int64
	}{
		"nothing known":                    {func(*world) {}, 0},
		"its own stream":                   {func(w *world) { w.mark("i", false, "one/conn=50", "one/dns=10") }, 50 * second},
		"one stream for all":               {func(w *world) { w.mark("i", false, "one/=40") }, 40 * second},
		"only another stream":              {func(w *world) { w.mark("i", false, "one/dns=40") }, 0},
		"the slowest instance":             {func(w *world) { w.mark("i", false, "one/conn=50"); w.mark("j", false, "one/conn=30") }, 30 * second},
		"it never goes back":               {func(w *world) { w.mark("i", false, "one/conn=50"); w.mark("i", false, "one/conn=20") }, 50 * second},
		"closed":                           {func(w *world) { w.mark("i", true, "one/conn=50", "one/dns=1") }, detect.Never},
		"one of two closed":                {func(w *world) { w.mark("i", true, "one/conn=50"); w.mark("j", false, "one/dns=1") }, detect.Never},
		"a successor takes over":           {func(w *world) { w.mark("i", true, "one/conn=50"); w.mark("j", false, "one/conn=60") }, 60 * second},
		"closing closes what is not named": {func(w *world) { w.mark("i", false, "one/conn=50"); w.mark("i", true) }, detect.Never},
		"an instance that vanished": {func(w *world) {
			w.mark("i", false, "one/conn=50")
			w.now += 121 * second
			w.mark("j", false, "one/conn=70")
		}, 70 * second},
		"an instance that is heard of": {func(w *world) {
			w.mark("i", false, "one/conn=50")
			w.now += 100 * second
			w.mark("i", false, "other/conn=1")
			w.now += 100 * second
			w.mark("j", false, "one/conn=70")
		}, 50 * second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, detect.Config{}, &toy{id: "toy"})
			c.marks(w)
			if got := low(w); got != c.want {
				t.Errorf("low %d, want %d", got, c.want)
			}
			w.reload(detect.Config{}, &toy{id: "toy"})
			if err := w.set.LoadBucket(0, nil); err != nil {
				t.Fatal(err)
			}
			if got := low(w); got != c.want {
				t.Errorf("after a snapshot: low %d, want %d", got, c.want)
			}
		})
	}
}

// TestClosedAndOpened: a closing mark tells windows as they stand; they wait
// for what the next instance says.
func TestStuckTimer(t *testing.T) {
	t.Parallel()
	d := &toy{id: "toy", stuck: true}
	w := newWorld(t, detect.Config{}, d)
	w.event(event.KindConn, "one", "k", 30, "")
	w.event(event.KindConn, "one", "k", 30, "")
	w.mark("i", true, "one/conn=40")
	w.mark("j", false, "one/conn=50")
	d.stuck = false
	w.mark("j", false, "one/conn=100")
	if d := cmp.Diff([]string{"k@0"}, w.keys()); d != "" {
		t.Errorf("the window was not ended by the next instance's mark:\n%s", d)
	}
	d.stuck = true
	w.event(event.KindConn, "one", "k", 130, "")
	w.event(event.KindConn, "one", "k", 130, "")
	w.mark("j", false, "one/conn=1000") // must end
	d.stuck = false
	w.event(event.KindConn, "one", "k", 140, "")
	w.mark("j", false, "one/conn=1001")
	if d := cmp.Diff([]string{"k@0", "k@120"}, w.keys()); d != "" {
		t.Errorf("the next event did not set the timer again:\n%s", d)
	}
}

func TestEmit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, detect.Config{Domain: "corp"}, &toy{id: "toy"})
	type said struct {
		Score    float64
		Alert    bool
		Revision uint64
	}
	for range 2 {
		w.event(event.KindConn, "one", "k", 30, "")
	}
	w.event(event.KindConn, "one", "other", 30, "emit") // 1: below the floor
	w.event(event.KindConn, "one", "k", 30, "emit")     // 3
	w.event(event.KindConn, "one", "k", 30, "emit")     // 4
	w.event(event.KindConn, "one", "k", 30, "fall")     // 0: taken back
	var got []said
	for _, s := range w.signals {
		got = append(got, said{s.Score, s.Alert, s.Revision})
		if s.ID != signal.SignalID("toy", "k", "zeek/one/r", 0) || s.Key != "k" || s.Role != signal.RoleExfil || s.Floor != 2 || s.Threshold != 4 ||
			!slices.Equal(s.Technique, []string{"T1048"}) || s.Mode != signal.ModeAlert {
			t.Errorf("not filled in: %+v", s)
		}
	}
	if d := cmp.Diff([]said{{3, false, 1}, {4, true, 2}, {0, false, 3}}, got); d != "" {
		t.Error(d)
	}
	for mode, alerts := range map[string][]bool{"off": nil, "shadow": {false}, "alert": {true}} {
		w := newWorld(t, detect.Config{}, &toy{id: "toy"})
		if err := w.set.Epoch(detect.EpochSite, []byte("detectors: {toy: {mode: "+mode+", thresholds: {factor: 9}}}")); err != nil {
			t.Fatal(err)
		}
		w.event(event.KindConn, "one", "k", 30, "emit")
		var got []bool
		for _, s := range w.signals {
			got = append(got, s.Alert)
		}
		if !slices.Equal(got, alerts) {
			t.Errorf("mode %s: alerts %v, want %v", mode, got, alerts)
		}
	}
}

// TestFloodOfKeys: forged keys evict each other, not those that come back.
func TestFloodOfKeys(t *testing.T) {
	t.Parallel()
	cfg := detect.Config{Bounds: detect.Bounds{Keys: 100}}
	w := newWorld(t, cfg, &toy{id: "toy"})
	steady := []string{"r1", "r2", "r3", "r4", "r5"}
	for range 2 {
		for _, k := range steady {
			w.event(event.KindConn, "one", k, 30, "")
		}
		w.now += 600 * second
	}
	for i := range 50_000 {
		w.event(event.KindConn, "one", fmt.Sprint("forged", i), 40, "")
		if w.set.Keys() > 100 {
			t.Fatalf("%d keys", w.set.Keys())
		}
	}
	if n := detect.Timers(w.set); n > 10_000 {
		t.Errorf("%d timers for 100 keys", n)
	}
	if n := w.counts["keys_evicted/keys"]; n < 49_000 {
		t.Errorf("%d evictions were counted", n)
	}
	w.reload(cfg, &toy{id: "toy"})
	w.mark("i", false, "one/conn=100")
	for _, k := range steady {
		if !slices.Contains(w.keys(), k+"@0") {
			t.Errorf("the flood evicted %s", k)
		}
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, detect.Config{}, &toy{id: "toy", expires: true})
	w.event(event.KindConn, "one", "a", 30, "")
	w.event(event.KindConn, "one", "b", 90, "")
	w.mark("i", false, "one/conn=70")
	if n := w.set.Keys(); n != 1 {
		t.Errorf("%d keys, want the one with an open window", n)
	}
	w.mark("i", false, "one/conn=200")
	if n := w.set.Keys(); n != 0 {
		t.Errorf("%d keys of which nothing is worth keeping", n)
	}
}

func TestMarkToTheCorrelator(t *testing.T) {
	t.Parallel()
	w := newWorld(t, detect.Config{}, &toy{id: "toy"})
	w.mark("i", false, "one/conn=50", "one/dns=40", "two/=60")
	w.now += 2 * second
	w.mark("i", false, "one/conn=55")
	if len(w.marks) != 1 {
		t.Fatalf("%d marks in two seconds", len(w.marks))
	}
	w.now += 121 * second // the instance is no longer heard of
	w.mark("j", false, "two/conn=90")
	w.mark("j", true)
	var got []event.SourceMark
	for _, m := range w.marks {
		if !m.Full {
			t.Errorf("not full: %+v", m)
		}
		got = append(got, m.Sources...)
	}
	// By type: the least complete source that is there, apart from those that
	// vanished and hold nobody up.
	want := []event.SourceMark{
		{Type: "zeek", Low: 40 * second, Records: 3},
		{Type: "zeek", Low: 90 * second, Records: 1},
		{Type: "zeek", Low: 40 * second, Records: 3, Expired: true},
		{Type: "zeek", Low: detect.Never, Records: 1},
		{Type: "zeek", Low: 40 * second, Records: 3, Expired: true},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestPoisonLeavesNoTrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, detect.Config{}, &toy{id: "toy"})
	w.applyErr("conn", []byte("k"), []byte(`{"kind":"conn"`), true)
	w.applyErr(event.KindMark.String(), []byte("mark"), []byte(`[`), true)
	if w.set.Keys() != 0 || len(w.touched) != 0 {
		t.Error("a record that cannot be read changed the state")
	}
}

// TestSnapshotAnywhere: a set that is saved and loaded after any record says
// what one that runs through says.
func TestSnapshotAnywhere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		cfg := detect.Config{Bounds: detect.Bounds{Keys: rapid.IntRange(3, 8).Draw(rt, "keys"), Bytes: rapid.Int64Range(5_000, 25_000).Draw(rt, "bytes")}}
		type step struct {
			mark, closing bool
			obs, key      string
			at, wait      int64
		}
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
			return step{
				rapid.IntRange(0, 4).Draw(rt, "mark") == 0, rapid.IntRange(0, 9).Draw(rt, "closing") == 0,
				rapid.SampledFrom([]string{"one", "two"}).Draw(rt, "obs"), rapid.StringMatching("[a-j]").Draw(rt, "key"),
				rapid.Int64Range(0, 600).Draw(rt, "at"), rapid.Int64Range(0, 200).Draw(rt, "wait"),
			}
		}), 1, 60).Draw(rt, "steps")
		cut := rapid.IntRange(0, len(steps)).Draw(rt, "cut")
		play := func(cuts bool) *world {
			w := newWorld(t, cfg, &toy{id: "toy", expires: true}, &toy{id: "toy2"})
			for i, s := range steps {
				if cuts && i == cut {
					w.reload(cfg, &toy{id: "toy", expires: true}, &toy{id: "toy2"})
				}
				w.now += s.wait * second
				if s.mark {
					w.mark("i"+s.obs, s.closing, fmt.Sprintf("%s/conn=%d", s.obs, s.at))
				} else {
					w.event(event.KindConn, s.obs, s.key, s.at, "")
				}
			}
			w.mark("i", true, "one/conn=0", "two/conn=0")
			return w
		}
		a, b := play(false), play(true)
		if d := cmp.Diff(a.signals, b.signals); d != "" {
			rt.Fatalf("(-through +cut at %d):\n%s", cut, d)
		}
		for i := range a.set.Buckets() {
			if d := cmp.Diff(a.set.AppendBucket(nil, i), b.set.AppendBucket(nil, i)); d != "" {
				rt.Fatalf("bucket %d:\n%s", i, d)
			}
		}
		if d := cmp.Diff(a.set.AppendShared(nil), b.set.AppendShared(nil)); d != "" {
			rt.Fatalf("shared state:\n%s", d)
		}
	})
}

// TestTouchBeforeChange: a bucket changes only after it was announced.
func TestTouchBeforeChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, detect.Config{Bounds: detect.Bounds{Keys: 20}}, &toy{id: "toy", expires: true})
	before := make([]string, w.set.Buckets())
	for i := range int64(2000) {
		clear(w.touched)
		if i%10 == 9 {
			w.mark("i", false, fmt.Sprintf("one/conn=%d", i))
		} else {
			w.event(event.KindConn, "one", fmt.Sprint("k", i%37), i, "")
		}
		for b := range before {
			if now := string(w.set.AppendBucket(nil, b)); now != before[b] {
				before[b] = now
				if !w.touched[b] {
					t.Fatalf("record %d changed bucket %d without a word", i, b)
				}
			}
		}
	}
}

func TestDamagedSnapshot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, detect.Config{}, &toy{id: "toy"})
	for i := range int64(50) {
		w.event(event.KindConn, "one", fmt.Sprint("k", i), i, "")
	}
	w.mark("i", false, "one/conn=3")
	rapid.Check(t, func(rt *rapid.T) {
		next := newWorld(t, detect.Config{}, &toy{id: "toy"}).set
		for b := range w.set.Buckets() {
			data := w.set.AppendBucket(nil, b)
			if len(data) > 0 {
				data[rapid.IntRange(0, len(data)-1).Draw(rt, "at")] ^= byte(rapid.IntRange(1, 255).Draw(rt, "bits"))
				data = data[:rapid.IntRange(0, len(data)).Draw(rt, "length")]
			}
			_ = next.LoadBucket(b, data) // must not panic
		}
		shared := w.set.AppendShared(nil)
		_ = next.LoadShared(shared[:rapid.IntRange(0, len(shared)).Draw(rt, "shared")])
	})
}
