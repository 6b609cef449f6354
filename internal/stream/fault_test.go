package stream

import (
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/deadletter"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestAbortsRebuildFromTheLog injects what makes a transaction abort without
// killing anything (R4).
func TestAbortsRebuildFromTheLog(t *testing.T) {
	t.Parallel()
	for _, embedded := range []bool{false, true} {
		t.Run(map[bool]string{false: "cluster", true: "embedded"}[embedded], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 2)
			w.cfg.Embedded = embedded
			var n atomic.Int64
			w.inject().ControlKey(int16(kmsg.TxnOffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				w.inject().KeepControl()
				if n.Add(1)%4 != 0 {
					return nil, nil, false
				}
				req := kreq.(*kmsg.TxnOffsetCommitRequest)
				resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
				for _, rt := range req.Topics {
					st := kmsg.NewTxnOffsetCommitResponseTopic()
					st.Topic, st.TopicID = rt.Topic, rt.TopicID
					for _, rp := range rt.Partitions {
						sp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
						sp.Partition, sp.ErrorCode = rp.Partition, kerr.RebalanceInProgress.Code
						st.Partitions = append(st.Partitions, sp)
					}
					resp.Topics = append(resp.Topics, st)
				}
				return resp, nil, true
			})
			rng := rand.New(rand.NewPCG(3, 3))
			var clock int64
			i := w.start("A")
			for began := time.Now(); i.value("ebbwatch_stream_aborts_total") < 5; time.Sleep(10 * time.Millisecond) {
				w.feed(rng, "in", rng.Int32N(2), 1+rng.IntN(40), &clock)
				if time.Since(began) > 15*time.Second {
					t.Fatal("no transactions are aborted")
				}
			}
			w.settle()
			i.drain()
			w.check(w.always("A"))
		})
	}
}

// refuseOutputs lets the broker refuse what is produced to the topic of outputs
// when it is said to.
func (w *world) refuseOutputs(refuse func() bool) {
	outID := w.topicID("out")
	w.inject().ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		w.inject().KeepControl()
		req := kreq.(*kmsg.ProduceRequest)
		for _, rt := range req.Topics {
			if (rt.Topic != "out" && rt.TopicID != outID) || !refuse() {
				continue
			}
			resp := req.ResponseKind().(*kmsg.ProduceResponse)
			for _, rt := range req.Topics {
				st := kmsg.NewProduceResponseTopic()
				st.Topic, st.TopicID = rt.Topic, rt.TopicID
				for _, rp := range rt.Partitions {
					sp := kmsg.NewProduceResponseTopicPartition()
					sp.Partition, sp.ErrorCode = rp.Partition, kerr.MessageTooLarge.Code
					st.Partitions = append(st.Partitions, sp)
				}
				resp.Topics = append(resp.Topics, st)
			}
			return resp, nil, true
		}
		return nil, nil, false
	})
}

// TestALostOutputAborts: an output that the broker refuses must not be missing
// from a committed transaction.
func TestALostOutputAborts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	var n atomic.Int64
	var over atomic.Bool
	w.refuseOutputs(func() bool { return !over.Load() && n.Add(1)%5 == 3 })
	rng := rand.New(rand.NewPCG(16, 1))
	var clock int64
	i := w.start("A")
	for range 40 {
		w.feed(rng, "in", 0, 20, &clock)
		time.Sleep(10 * time.Millisecond)
	}
	w.settle()
	if n.Load() < 5 {
		t.Errorf("only %d produce requests", n.Load())
	}
	i.drain()
	over.Store(true)
	w.check(w.storedEpochs())
}

// TestAPendingCommitIsWaitedFor: a broker may answer the end of a transaction
// before the group's offsets are settled, and then has an error for the
// partition in place of its offset. That is not a partition without a commit.
func TestAPendingCommitIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	var refuse atomic.Bool
	var refused, pending atomic.Int64
	w.refuseOutputs(func() bool { return refuse.CompareAndSwap(true, false) && refused.Add(1) > 0 })
	inID := w.topicID("in")
	w.inject().ControlKey(int16(kmsg.OffsetFetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		w.inject().KeepControl()
		if refused.Load() == 0 || pending.Load() == 3 {
			return nil, nil, false
		}
		pending.Add(1)
		req := kreq.(*kmsg.OffsetFetchRequest)
		resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
		part := kmsg.NewOffsetFetchResponseGroupTopicPartition()
		part.Offset, part.ErrorCode = -1, kerr.UnstableOffsetCommit.Code
		topic := kmsg.NewOffsetFetchResponseGroupTopic()
		topic.Topic, topic.TopicID, topic.Partitions = "in", inID, append(topic.Partitions, part)
		group := kmsg.NewOffsetFetchResponseGroup()
		group.Group, group.Topics = w.cfg.Service, append(group.Topics, topic)
		resp.Groups = append(resp.Groups, group)
		return resp, nil, true
	})
	rng := rand.New(rand.NewPCG(17, 1))
	var clock int64
	w.feed(rng, "in", 0, 50, &clock)
	i := w.start("A")
	w.settle()
	time.Sleep(5 * w.cfg.SnapshotCycle) // the last snapshot holds all
	refuse.Store(true)
	w.feed(rng, "in", 0, 20, &clock)
	w.settle()
	if refused.Load() != 1 || pending.Load() != 3 {
		t.Errorf("refused %d times, asked %d times while a commit was pending", refused.Load(), pending.Load())
	}
	i.drain()
	w.check(w.storedEpochs())
}

// TestUnknownOutcomeEndsTheProcess is R4: the answer to the end of a
// transaction is lost, and what the broker did is not known.
func TestUnknownOutcomeEndsTheProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	var n atomic.Int64
	w.inject().ControlKey(int16(kmsg.EndTxn), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		w.inject().KeepControl()
		if !kreq.(*kmsg.EndTxnRequest).Commit || n.Add(1) != 6 {
			return nil, nil, false
		}
		resp := kreq.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = kerr.InvalidProducerEpoch.Code
		return resp, nil, true
	})
	rng := rand.New(rand.NewPCG(4, 4))
	var clock int64
	i := w.start("A")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				w.feed(rng, "in", 0, 20, &clock)
			}
		}
	})
	err := i.end()
	close(stop)
	wg.Wait()
	if err == nil || !strings.Contains(err.Error(), "outcome of a commit is unknown") {
		t.Errorf("error %v", err)
	}
	i = w.start("A")
	w.settle()
	i.drain()
	w.check(w.always("A"))
}

// TestRebalance moves partitions between instances while records flow.
func TestRebalance(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	rng := rand.New(rand.NewPCG(5, 5))
	var clock int64
	feed := func(n int) {
		for range n {
			w.feed(rng, "in", rng.Int32N(4), 1+rng.IntN(20), &clock)
			time.Sleep(8 * time.Millisecond)
		}
	}
	slot := func(s string) func(*Config) { return func(c *Config) { c.Slot = s } }
	share := func(i *instance, ok func(n int) bool) {
		t.Helper()
		for began := time.Now(); !ok(len(i.current().list())) || !i.current().Ready(); feed(1) {
			if time.Since(began) > 20*time.Second {
				t.Fatalf("%d partitions", len(i.current().list()))
			}
		}
	}
	a := w.start("A")
	feed(30)
	b := w.start("A", slot("1"))
	share(b, func(n int) bool { return n > 0 })
	share(a, func(n int) bool { return n < 4 })
	feed(30)
	a.kill()
	feed(30)
	c := w.start("A", slot("2"))
	share(c, func(n int) bool { return n > 0 })
	feed(30)
	b.drain()
	share(c, func(n int) bool { return n == 4 })
	w.settle()
	c.drain()
	w.check(w.storedEpochs())
}

// TestHalfDoneCommit is what kfake leaves after a kill -9 at the wrong moment:
// the outputs of a transaction are published, its offsets are not.
func TestHalfDoneCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.cfg.Embedded = true
	rng := rand.New(rand.NewPCG(6, 6))
	var clock int64
	w.feed(rng, "in", 0, 200, &clock)
	i := w.start("A")
	w.settle()
	i.drain()
	published := len(w.readAll("out"))

	// What the next transaction would publish, and half of it.
	w.feed(rng, "in", 0, 200, &clock)
	op, _ := newCounter(0)
	if err := op.Epoch("site", []byte("A")); err != nil {
		t.Fatal(err)
	}
	var later []*kgo.Record
	for _, r := range w.readAll("in") {
		ctx := &recordingContext{}
		rec := operator.Record{Topic: "in", Offset: r.Offset, Key: r.Key, Value: r.Value}
		if err := op.Apply(&rec, ctx); err != nil {
			continue
		}
		for _, o := range ctx.out {
			if r.Offset >= 200 {
				later = append(later, &kgo.Record{
					Topic: "out", Partition: byKey, Key: o.Key, Value: o.Value,
					Headers: []kgo.RecordHeader{{Key: fromHeader, Value: i.current().fromValue(tp{"in", 0}, r.Offset)}},
				})
			}
		}
	}
	if published == 0 || len(later) < 20 {
		t.Fatalf("%d outputs before, %d later", published, len(later))
	}
	w.produce(later[:len(later)/2]...)

	var outs atomic.Int64
	i = w.start("A", func(c *Config) {
		c.OnCommitted = func(o []operator.Output) { outs.Add(int64(len(o))) }
	})
	w.settle()
	i.drain()
	w.check(w.always("A"))
	if got := i.value("ebbwatch_stream_suppressed_outputs_total"); int(got) != len(later)/2 {
		t.Errorf("suppressed %v outputs, not %d", got, len(later)/2)
	}
	if int(outs.Load()) != len(later) {
		t.Errorf("told of %d outputs, not %d", outs.Load(), len(later))
	}
}

// TestFirstCommitHalfDone is the same for the first commit of a partition: its
// snapshot is there, the group knows nothing of it.
func TestFirstCommitHalfDone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.cfg.Embedded = true
	i := w.start("A")
	for !i.current().Ready() {
		time.Sleep(time.Millisecond)
	}
	i.drain()
	w.deleteGroup()
	i = w.start("A")
	rng := rand.New(rand.NewPCG(18, 1))
	var clock int64
	w.feed(rng, "in", 0, 100, &clock)
	w.settle()
	i.drain()
	w.check(w.always("A"))
}

type recordingContext struct{ out []operator.Output }

func (c *recordingContext) Emit(o operator.Output)      { c.out = append(c.out, o) }
func (c *recordingContext) Touch(int)                   {}
func (c *recordingContext) Count(string, string, int64) {}

func TestPoisonBecomesADeadLetter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.produce(
		&kgo.Record{Topic: "in", Key: []byte("k"), Value: []byte("1 1"), Timestamp: time.UnixMilli(5)},
		&kgo.Record{Topic: "in", Key: []byte("k"), Value: []byte("poison"), Timestamp: time.UnixMilli(7)},
		&kgo.Record{Topic: "in", Key: []byte("k"), Value: []byte("100 1"), Timestamp: time.UnixMilli(9)},
	)
	i := w.start("A")
	w.settle()
	i.drain()
	dead := w.readAll("dead")
	if len(dead) != 1 {
		t.Fatalf("%d dead letters", len(dead))
	}
	got, err := deadletter.Decode(dead[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	want := deadletter.New("test", reasonRefused, errText("refused by the test"), deadletter.InTopic("in", 0, 1), []byte("poison"), 7000)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if string(dead[0].Key) != "test" || string(dead[0].Headers[0].Value) != "deadletter" {
		t.Errorf("key %q, headers %v", dead[0].Key, dead[0].Headers)
	}
	if i.value("ebbwatch_stream_dead_letters_total") != 1 || i.value("ebbwatch_operator_total") != 2 {
		t.Errorf("counted %v dead letters, %v applied", i.value("ebbwatch_stream_dead_letters_total"), i.value("ebbwatch_operator_total"))
	}
	w.check(w.always("A"))
}

type errText string

func (e errText) Error() string { return string(e) }

func TestPanicEndsTheProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.produce(&kgo.Record{Topic: "in", Value: []byte("1 1")}, &kgo.Record{Topic: "in", Value: []byte("panic")})
	err := w.start("A").end()
	if err == nil || !strings.Contains(err.Error(), "operator of in/0 panicked at offset 1: told to") {
		t.Errorf("error %v", err)
	}
}

func TestRecordsThatComeAgainAbort(t *testing.T) {
	t.Parallel()
	w := benchWorker(t, false)
	w.batch([]*kgo.Record{{Offset: 0, Key: []byte("k"), Value: []byte("1 1")}, {Offset: 1, Key: []byte("k"), Value: []byte("1 1")}})
	if w.stale != nil || w.next != 2 || w.records != 2 {
		t.Fatalf("stale %v, next %d, %d records", w.stale, w.next, w.records)
	}
	w.batch([]*kgo.Record{{Offset: 1, Key: []byte("k"), Value: []byte("1 1")}})
	if s := w.seal(time.Time{}); s.stale == nil || !s.touched() {
		t.Errorf("sealed %+v", s)
	}
}

// TestOnlyWhatTheClientHasCommits is R3: the positions of the workers and those
// of the client must agree.
func TestOnlyWhatTheClientHasCommits(t *testing.T) {
	t.Parallel()
	w := benchWorker(t, false)
	at := func(offset int64) map[string]map[int32]kgo.EpochOffset {
		return map[string]map[int32]kgo.EpochOffset{"in": {3: {Offset: offset}}}
	}
	none := map[string]map[int32]kgo.EpochOffset{}
	s := []sealed{{w: w, next: 10, records: 1}}
	for _, tc := range []struct {
		name               string
		touched            []sealed
		owned, uncommitted map[string]map[int32]kgo.EpochOffset
		ok                 bool
	}{
		{"records", s, at(5), at(10), true},
		{"state only", s, at(10), none, true},
		{"behind", s, at(5), at(9), false},
		{"state only, moved", s, at(9), none, false},
		{"not ours", s, none, at(10), false},
		{"unknown records", nil, at(5), at(10), false},
	} {
		if err := w.eng.checkOffsets(tc.touched, tc.owned, tc.uncommitted); (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, err)
		}
	}

	req := kmsg.NewPtrTxnOffsetCommitRequest()
	if err := w.eng.fence(s)(req); err != nil || len(req.Topics) != 1 || req.Topics[0].Partitions[0].Offset != 10 || *req.Topics[0].Partitions[0].Metadata != "ebb1" {
		t.Errorf("request %+v, error %v", req, err)
	}
	if err := w.eng.fence(s)(req); err != nil || len(req.Topics[0].Partitions) != 1 {
		t.Errorf("request %+v, error %v", req, err)
	}
	req.Topics[0].Partitions[0].Offset = 11
	if err := w.eng.fence(s)(req); err == nil {
		t.Error("a commit beyond what was processed passes")
	}
}
