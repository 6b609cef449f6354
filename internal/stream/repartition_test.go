package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Adopt implements operator.Divisible.
func (c *counter) Adopt(from []operator.Operator, mine func([]byte) bool) error {
	for _, op := range from {
		o := op.(*counter)
		c.shared.Window = max(c.shared.Window, o.shared.Window)
		c.shared.Seq += o.shared.Seq
		for b := range o.buckets {
			for k, s := range o.buckets[b] {
				if !mine([]byte(k)) {
					continue
				}
				if c.buckets[b] == nil {
					c.buckets[b] = map[string]*sums{}
				}
				own := *s
				c.buckets[b][k] = &own
			}
		}
	}
	return nil
}

// indivisible is a counter that cannot be divided.
type indivisible struct{ operator.Operator }

func newIndivisible(p int32) (operator.Operator, error) {
	op, err := newCounter(p)
	return indivisible{op}, err
}

// feedKeys writes records that are placed by their keys.
func (w *world) feedKeys(from, n, keys int) {
	w.t.Helper()
	var rs []*kgo.Record
	for i := from; i < from+n; i++ {
		rs = append(rs, &kgo.Record{Topic: "in", Partition: byKey, Key: []byte("k" + strconv.Itoa(i%keys)), Value: fmt.Appendf(nil, "%d 1", i/3)})
	}
	w.produce(rs...)
}

// reconnect makes a client that knows the partitions of now.
func (w *world) reconnect() {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.addrs...), kgo.RecordPartitioner(partitioner()))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(cl.Close)
	w.cl, w.adm = cl, kadm.NewClient(cl)
}

func (w *world) migrate(m Migration, f operator.Factory) (*Migrated, error) {
	w.t.Helper()
	m.Config = w.cfg
	m.Config.Options = []kgo.Opt{kgo.RetryTimeout(5 * time.Second)}
	return m.Run(context.Background(), f, slog.New(slog.DiscardHandler))
}

// outputs are the committed outputs by the partition that wrote them.
func (w *world) outputs() map[string][]string {
	got := map[string][]string{}
	for _, r := range w.readAll("out") {
		p, _, _ := bytes.Cut(r.Value, []byte(" "))
		got[string(p)] = append(got[string(p)], string(r.Value))
	}
	return got
}

// TestRepartition moves a service's state to more partitions, twice, and lets
// it go on: the outputs are those of operators that took over as they should.
func TestRepartition(t *testing.T) {
	t.Parallel()
	together(t, 2, func(i int) string { return []string{"cluster", "embedded"}[i] }, func(t *testing.T, i int) {
		t.Helper()
		w := newWorld(t, 2)
		w.cfg.Embedded = i == 1
		counts := []int32{2, 5}
		for round, n := range counts {
			if round > 0 {
				before := w.outputs()
				res, err := w.migrate(Migration{Partitions: map[string]int32{"in": n}}, newCounter)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(&Migrated{Inputs: []MigratedInput{{"in", counts[round-1], n}}, Partitions: n, Bytes: res.Bytes}, res); d != "" || res.Bytes == 0 {
					t.Error(d)
				}
				if d := cmp.Diff(before, w.outputs()); d != "" {
					t.Error("a migration emits: " + d)
				}
				again, err := w.migrate(Migration{Partitions: map[string]int32{"in": n}}, newCounter)
				if err != nil || !again.Nothing {
					t.Errorf("again: %+v, %v", again, err)
				}
			}
			// Two starts: from what the migration wrote, and from a snapshot of
			// its own.
			for range 2 {
				w.reconnect()
				w.feedKeys(len(w.readAll("in")), 300, 40)
				in := w.run("A", func(c *Config) { c.SnapshotCycle = time.Hour })
				if n := in.value("ebbwatch_stream_replayed_records_total"); n != 0 {
					t.Errorf("replayed %v records", n)
				}
			}
		}
		if d := cmp.Diff(w.repartitionOracle(counts, 600), w.outputs()); d != "" {
			t.Error(d)
		}
	})
}

// repartitionOracle applies the input in rounds of per records, each with
// another count of partitions.
func (w *world) repartitionOracle(counts []int32, per int) map[string][]string {
	w.t.Helper()
	var all []*kgo.Record
	all = append(all, w.readAll("in")...)
	// A record's number is its rank among those of its time: the partitions
	// hold the rounds one after the other.
	byRound := make([][]*kgo.Record, len(counts))
	seen := map[int32]int{}
	var ends []map[int32]int
	total := map[int32]int{}
	for range counts {
		ends = append(ends, map[int32]int{})
	}
	for i := range len(counts) * per {
		round := i / per
		p := PartitionOf([]byte("k"+strconv.Itoa(i%40)), int(counts[round]))
		total[p]++
		ends[round][p]++
	}
	for _, r := range all {
		n := seen[r.Partition]
		seen[r.Partition]++
		round := 0
		for n >= ends[round][r.Partition] {
			n -= ends[round][r.Partition]
			round++
		}
		byRound[round] = append(byRound[round], r)
	}
	got := map[string][]string{}
	var old []operator.Operator
	for round, n := range counts {
		var ops []operator.Operator
		for q := range n {
			op, _ := newCounter(q)
			if err := op.Epoch("site", []byte("A")); err != nil {
				w.t.Fatal(err)
			}
			if round > 0 {
				if err := op.(operator.Divisible).Adopt(old, func(key []byte) bool { return PartitionOf(key, int(n)) == q }); err != nil {
					w.t.Fatal(err)
				}
			}
			ops = append(ops, op)
		}
		for _, r := range byRound[round] {
			ctx := &oracleContext{}
			if err := ops[r.Partition].Apply(&operator.Record{Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value}, ctx); err != nil {
				w.t.Fatal(err)
			}
			p := strconv.Itoa(int(r.Partition))
			got[p] = append(got[p], ctx.out...)
		}
		old = ops
	}
	return got
}

// TestRepartitionRefuses what it could not do exactly, and leaves everything as
// it was.
func TestRepartitionRefuses(t *testing.T) {
	t.Parallel()
	keys := func(names ...string) (out [][]byte) {
		for _, n := range names {
			out = append(out, []byte(n))
		}
		return out
	}
	cases := []struct {
		name  string
		m     Migration
		f     operator.Factory
		setup func(w *world)
		want  string // "" does it
	}{
		{"fewer partitions", Migration{Partitions: map[string]int32{"in": 1}}, newCounter, nil, "in has 2 partitions, and Kafka cannot take any away"},
		{"no input", Migration{Partitions: map[string]int32{"out": 3}}, newCounter, nil, "out is no input of test"},
		{"unread records", Migration{Partitions: map[string]int32{"in": 3}}, newCounter, func(w *world) { w.feedKeys(300, 10, 10) }, "holds records that were not processed"},
		{"a running service", Migration{Partitions: map[string]int32{"in": 3}}, newCounter, func(w *world) {
			i := w.start("A")
			for !i.current().Ready() {
				time.Sleep(time.Millisecond)
			}
		}, "group test has 1 members: stop the service on all machines first"},
		{"a service that starts meanwhile", Migration{Partitions: map[string]int32{"in": 3}}, newCounter, func(w *world) {
			w.inject().ControlKey(int16(kmsg.TxnOffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				req := kreq.(*kmsg.TxnOffsetCommitRequest)
				resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
				for _, rt := range req.Topics {
					st := kmsg.NewTxnOffsetCommitResponseTopic()
					st.Topic = rt.Topic
					for _, rp := range rt.Partitions {
						sp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
						sp.Partition, sp.ErrorCode = rp.Partition, kerr.UnknownMemberID.Code
						st.Partitions = append(st.Partitions, sp)
					}
					resp.Topics = append(resp.Topics, st)
				}
				return resp, nil, true
			})
		}, "was the service started meanwhile?"},
		{"indivisible, no keys", Migration{Partitions: map[string]int32{"in": 3}}, newIndivisible, nil, "none of the keys that were named is in it"},
		{"indivisible, too many keys", Migration{Partitions: map[string]int32{"in": 3}, Keys: keys("k0", "k1", "k2", "k3")}, newIndivisible, nil, "this service's state cannot be divided"},
	}
	together(t, len(cases), func(i int) string { return cases[i].name }, func(t *testing.T, i int) {
		t.Helper()
		tc := cases[i]
		w := newWorld(t, 2)
		w.feedKeys(0, 300, 10)
		w.run("A")
		if tc.setup != nil {
			tc.setup(w)
		}
		if _, err := w.migrate(tc.m, tc.f); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("error %v", err)
		}
		// What has begun and was refused goes on when it is called again.
		if tc.name == "a service that starts meanwhile" {
			if _, err := w.migrate(tc.m, tc.f); err != nil {
				t.Error(err)
			}
			w.reconnect()
			w.feedKeys(300, 300, 10)
			w.run("A")
		}
	})
}

// TestTheCountOfPartitionsIsGuarded: a service does not start over a topic with
// another count, and says which command helps; the command finds the topic
// grown and migrates.
func TestTheCountOfPartitionsIsGuarded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.feedKeys(0, 300, 40)
	w.run("A")
	if _, err := w.adm.UpdatePartitions(context.Background(), 4, "in"); err != nil {
		t.Fatal(err)
	}
	if err := w.start("A").end(); !strings.Contains(err.Error(), "ebbwatch state repartition") {
		t.Errorf("error %v", err)
	}
	// Growing the state topic by hand deceives nobody.
	if _, err := w.adm.UpdatePartitions(context.Background(), 4, "state"); err != nil {
		t.Fatal(err)
	}
	if res, err := w.migrate(Migration{}, newCounter); err != nil || res.Inputs[0].New != 4 || res.Inputs[0].Old != 2 {
		t.Fatalf("%+v, %v", res, err)
	}
	w.reconnect()
	w.feedKeys(300, 300, 40)
	w.run("A")
	if n := len(slices.Collect(maps.Keys(w.outputs()))); n != 4 {
		t.Errorf("outputs of %d partitions", n)
	}
}

// TestTheStateOfOneKeyMovesWhole: an operator that cannot be divided goes where
// its one key goes.
func TestTheStateOfOneKeyMovesWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.feedKeys(0, 200, 1) // k0 alone
	w.run("A")
	if _, err := w.migrate(Migration{Partitions: map[string]int32{"in": 5}, Keys: [][]byte{[]byte("k0")}}, newIndivisible); err != nil {
		t.Fatal(err)
	}
	w.reconnect()
	w.feedKeys(200, 200, 1)
	w.run("A")
	total := 0
	to := PartitionOf([]byte("k0"), 5)
	for _, line := range w.outputs()[strconv.Itoa(int(to))] {
		_, rest, _ := strings.Cut(line, " of ")
		text, _, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(errors.Join(err, errors.New(line)))
		}
		total = max(total, n)
	}
	if total < 390 { // all but the open window
		t.Errorf("partition %d has counted %d", to, total)
	}
}
