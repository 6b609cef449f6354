package stream

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// life is a partition without brokers: its logs are slices, and workers come
// and go over them.
type life struct {
	t       rapid.TB
	factory operator.Factory
	epoch   []byte // of kind site
	broken  mutation

	input     []*kgo.Record
	state     []*kgo.Record
	outputs   []string
	committed int64
	known     bool // the group has a commit

	txn []*kgo.Record // produced, not yet committed
}

// born is a worker that has restored what is committed.
func (l *life) born(compact bool) *worker {
	l.t.Helper()
	l.txn = nil
	e, err := newEngineWith(Config{
		Service: "test", Brokers: []string{"none"}, Inputs: []string{"in"}, State: "state", Outputs: []string{"ebb.signals.v1", "ebb.alerts.v1", "out"},
		CommitInterval: time.Second, SnapshotCycle: 8 * time.Second, PartBytes: 64,
	}.withDefaults(), l.factory, slog.New(slog.DiscardHandler), nil,
		proof{mutation: l.broken, produced: func(r *kgo.Record) { l.txn = append(l.txn, r) }})
	must(l.t, err)
	e.ctx, e.failed = context.WithCancelCause(context.Background())
	must(l.t, e.SetEpoch("site", l.epoch))
	w := newWorker(e, tp{"in", 3}, 0)
	w.open.Store(true)
	must(l.t, w.makeOperator())
	log := l.state
	if compact {
		log = compacted(log)
	}
	st := newStoredState()
	for _, r := range log {
		must(l.t, st.add(w.tp, r))
	}
	must(l.t, st.check())
	w.seq = st.newest
	w.committed, w.next = l.committed, l.committed
	if best, err := w.choose(st, assignment{offset: l.committed, committed: l.known}); err != nil {
		l.t.Fatal(err)
	} else if best != nil {
		w.loadFrom(l.t, st, log, l.committed)
		w.replaying, w.next = true, w.last.cut
		must(l.t, w.applyScheduled(w.next))
		for _, r := range l.input[w.last.cut:l.committed] {
			must(l.t, w.apply(clone(r)))
		}
		w.replaying, w.next = false, l.committed
	}
	must(l.t, w.applyScheduled(w.next))
	must(l.t, w.adoptEpochs())
	return w
}

func must(t rapid.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clone is a record as the client hands it over: used once.
func clone(r *kgo.Record) *kgo.Record {
	c := *r
	c.Key, c.Value = append([]byte(nil), r.Key...), append([]byte(nil), r.Value...)
	return &c
}

// commit ends the transaction of a worker.
func (l *life) commit(w *worker, full time.Time) {
	l.t.Helper()
	s := w.seal(full)
	must(l.t, s.stale)
	for _, r := range l.txn {
		if r.Topic == "state" {
			r.Offset = int64(len(l.state))
			l.state = append(l.state, r)
		} else {
			l.outputs = append(l.outputs, r.Topic+" "+string(r.Value))
		}
	}
	l.txn, l.committed, l.known = nil, s.next, true
	w.stateEnd.Store(int64(len(l.state)))
	w.settle()
}

// live drives a partition through whatever draw says, to the end of its
// input: how much is applied before each commit, when snapshots begin, and when
// a worker dies, has its transaction aborted, or hands over.
func (l *life) live(draw func(what string, n int) int) {
	l.t.Helper()
	w := l.born(false)
	for !l.known || w.next < int64(len(l.input)) {
		if !l.known { // the snapshot that begins a partition
			if draw("dies first", 4) == 0 {
				w = l.born(false)
			}
			l.commit(w, time.Time{})
			continue
		}
		n := min(int64(draw("records", 12)), int64(len(l.input))-w.next)
		for n > 0 { // one or several polls
			k := 1 + int64(draw("poll", int(n)))
			var batch []*kgo.Record
			for _, r := range l.input[w.next : w.next+k] {
				batch = append(batch, clone(r))
			}
			w.batch(batch)
			must(l.t, w.stale)
			n -= k
		}
		w.lastTime = time.Now()
		if draw("snapshot due", 3) == 0 {
			w.lastTime = time.Time{}
		}
		switch draw("end", 8) {
		case 0: // it dies before the commit, or the transaction is aborted
			w = l.born(draw("compacted", 2) == 0)
		case 1: // between the seal and the commit
			w.seal(time.Time{})
			w = l.born(draw("compacted", 2) == 0)
		case 2: // a commit, and it dies before it knows
			l.commit(w, time.Time{})
			w = l.born(draw("compacted", 2) == 0)
		case 3: // it drains and hands over
			l.commit(w, time.Now().Add(time.Hour))
			w = l.born(draw("compacted", 2) == 0)
		default:
			l.commit(w, time.Time{})
		}
	}
	l.commit(w, time.Time{})
}

// want is what one undisturbed pass emits.
func (l *life) want() []string {
	l.t.Helper()
	op, err := l.factory(3)
	must(l.t, err)
	must(l.t, op.Epoch("site", l.epoch))
	c := &lifeContext{}
	for _, r := range l.input {
		rec := operator.Record{Topic: r.Topic, Partition: 3, Offset: r.Offset, Time: r.Timestamp.UnixMicro(), Key: r.Key, Value: r.Value}
		if len(r.Headers) > 0 {
			rec.Kind = string(r.Headers[0].Value)
		}
		must(l.t, op.Apply(&rec, c))
	}
	return c.out
}

type lifeContext struct{ out []string }

func (c *lifeContext) Emit(o operator.Output) {
	c.out = append(c.out, o.Topic+" "+string(o.Value))
}
func (c *lifeContext) Touch(int)                   {}
func (c *lifeContext) Count(string, string, int64) {}

// put appends a record to the input.
func (l *life) put(kind string, key string, value []byte) {
	offset := int64(len(l.input))
	l.input = append(l.input, &kgo.Record{
		Topic: "in", Partition: 3, Offset: offset, Key: []byte(key), Value: value, Timestamp: time.UnixMicro(1_795_500_000_000_000 + offset*1000),
		Headers: []kgo.RecordHeader{{Key: "kind", Value: []byte(kind)}},
	})
}

// counting is a partition of the test's own operator.
func counting(t rapid.TB, draw func(string, int) int) *life {
	l := &life{t: t, factory: newCounter, epoch: []byte("A")}
	clock := 0
	for range 20 + draw("input", 100) {
		clock += draw("time", 4)
		l.put("test", "k", fmt.Appendf(nil, "%d %d", clock, 1+draw("amount", 9)))
		l.input[len(l.input)-1].Key = []byte("k" + strconv.Itoa(draw("key", 30)))
	}
	return l
}

// detecting is a partition of detect: flows and marks.
func detecting(t rapid.TB, draw func(string, int) int) *life {
	l := &life{
		t: t, factory: func(int32) (operator.Operator, error) { return pipeline.NewSet("default", detect.Bounds{Keys: 100}) },
		epoch: []byte("home_networks: [10.0.0.0/8]\n"),
	}
	at := int64(1_795_500_000_000_000)
	for i := range 15 + draw("input", 30) {
		at += int64(draw("seconds", 240)) * 1_000_000
		if draw("mark", 6) == 0 {
			m := &event.Mark{
				Instance: "ingest-flow/0", Full: true,
				Sources: []event.SourceMark{{Type: "vpcflow", Name: "s", Realm: "default", Stream: "flow", Low: at - 60_000_000, Records: uint64(i)}},
			}
			value, err := m.Append(nil)
			must(t, err)
			l.put("mark", "ingest-flow/0", value)
			continue
		}
		host := draw("host", 6)
		e := &event.Event{
			Kind: event.KindFlow, Time: at, Start: at - 60_000_000, End: at, ID: strconv.Itoa(i),
			Observer: event.Observer{Type: "vpcflow", Name: "s", Realm: "default"},
			Origin:   event.Origin{Name: "f", Line: event.N(i + 1)},
		}
		e.Source.IP, e.Source.Port = netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + host)}), event.N(40000+i)
		e.Source.Bytes, e.Source.Packets = event.N(1_000_000*(1+draw("megabytes", 60))), event.N(1000)
		e.Destination.IP, e.Destination.Port = netip.AddrFrom4([4]byte{203, 0, 113, byte(1 + draw("peer", 4))}), event.N(443)
		e.Network.Transport, e.Network.Direction, e.Network.Layer = "tcp", "outbound", "ip"
		e.Flow.Action, e.Flow.Interface = "accept", "eni-"+strconv.Itoa(host)
		value, err := e.Append(nil)
		must(t, err)
		l.put("flow", "default|"+e.Source.IP.String(), value)
	}
	return l
}

// correlating is a partition of correlate: what detecting emits.
func correlating(t rapid.TB, draw func(string, int) int) *life {
	l := &life{
		t: t, factory: func(int32) (operator.Operator, error) { return pipeline.NewCorrelator(false) },
		epoch: []byte("home_networks: [10.0.0.0/8]\n"),
	}
	from := detecting(t, draw)
	op, err := from.factory(3)
	must(t, err)
	must(t, op.Epoch(detect.EpochSite, from.epoch))
	c := &relay{life: l}
	for _, r := range from.input {
		rec := operator.Record{Topic: "ebb.network.v1", Partition: 3, Offset: r.Offset, Time: r.Timestamp.UnixMicro(), Kind: string(r.Headers[0].Value), Key: r.Key, Value: r.Value}
		must(t, op.Apply(&rec, c))
	}
	return l
}

// relay makes outputs of detect the input of correlate.
type relay struct{ life *life }

func (s *relay) Emit(o operator.Output) {
	s.life.put(o.Kind, string(o.Key), append([]byte(nil), o.Value...))
}
func (s *relay) Touch(int)                   {}
func (s *relay) Count(string, string, int64) {}

var lives = map[string]func(rapid.TB, func(string, int) int) *life{
	"counter": counting, "detect": detecting, "correlate": correlating,
}

var productLives = flag.Int("lives", 15, "how many lives of TestAnyLife the product's operators get")

// TestAnyLife is R1 and R2 without a broker: any log, any cut into
// transactions, any schedule of snapshots, any deaths and hand-overs give the
// outputs of one undisturbed pass, of the product's own operators too.
func TestAnyLife(t *testing.T) {
	t.Parallel()
	for name, begin := range lives {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			emitted, checked := 0, 0
			rapid.Check(t, func(t *rapid.T) {
				if checked++; name != "counter" && checked > *productLives {
					return // making a whole set of detectors for each worker takes its time
				}
				draw := func(what string, n int) int { return rapid.IntRange(0, n-1).Draw(t, what) }
				l := begin(t, draw)
				l.live(draw)
				want := l.want()
				emitted += len(want)
				if d := cmp.Diff(want, l.outputs); d != "" {
					t.Fatal(d)
				}
			})
			if emitted == 0 {
				t.Error("nothing was emitted: nothing was tested")
			}
		})
	}
}

// TestALifeByBrokenRules: the property sees that a snapshot is no cut.
func TestALifeByBrokenRules(t *testing.T) {
	t.Parallel()
	found := 0
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 3))
		draw := func(_ string, n int) int { return rng.IntN(n) }
		l := counting(t, draw)
		l.broken = bucketsApart
		l.live(draw)
		if !cmp.Equal(l.want(), l.outputs) {
			found++
		}
	}
	t.Logf("found by %d of 60 seeds", found)
	if found == 0 {
		t.Error("buckets of different offsets go unseen")
	}
}
