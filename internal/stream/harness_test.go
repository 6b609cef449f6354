package stream

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// world is a broker with the test's topics.
type world struct {
	t       *testing.T
	cluster *kfake.Cluster // nil on a real one
	addrs   []string
	cl      *kgo.Client
	adm     *kadm.Client
	cfg     Config
	parts   int32
	proof   proof
	quiet   time.Duration // of connections, which is also how often topics are looked at; 0 is a product's
}

// brokers of a real cluster, where group.min.session.timeout.ms is at most
// 1000. Its topics in, out, state, … are deleted and created for every test.
var realBrokers = flag.String("brokers", "", "run on this Kafka (host:port) instead of kfake; use -parallel 1")

func newWorld(t *testing.T, inputParts int32, opts ...kfake.Opt) *world {
	t.Helper()
	w := &world{t: t, parts: inputParts}
	if *realBrokers != "" {
		w.addrs = []string{*realBrokers}
	} else {
		c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(100 * time.Millisecond)}, opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		w.cluster, w.addrs = c, c.ListenAddrs()
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.addrs...), kgo.RecordPartitioner(partitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	w.cl, w.adm = cl, kadm.NewClient(cl)
	w.createTopics()
	w.cfg = Config{
		Service: "test", Slot: "0", Brokers: w.addrs, Inputs: []string{"in"}, State: "state", Outputs: []string{"out"}, DeadLetter: "dead",
		CommitInterval: 20 * time.Millisecond, SnapshotCycle: 60 * time.Millisecond, PartBytes: 48, DrainTimeout: 1500 * time.Millisecond, StallTimeout: 10 * time.Second,
	}
	return w
}

func (w *world) createTopics() {
	w.t.Helper()
	ctx := context.Background()
	topics := map[string]int32{"in": w.parts, "in2": 1, "out": 1, "dead": 1, "state": w.parts, "state2": w.parts + 1}
	if *realBrokers != "" {
		w.deleteGroup()
		if _, err := w.adm.DeleteTopics(ctx, slices.Collect(maps.Keys(topics))...); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Second)
	}
	for name, n := range topics {
		if _, err := w.adm.CreateTopic(ctx, n, 1, nil, name); err != nil {
			w.t.Fatal(err)
		}
	}
}

// deleteGroup deletes what the group has committed, once it is empty: an instance
// that was killed is a member for a while.
func (w *world) deleteGroup() {
	w.t.Helper()
	for began := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		res, err := w.adm.DeleteGroups(context.Background(), "test")
		if err == nil {
			err = res["test"].Err
		}
		if err == nil || errors.Is(err, kerr.GroupIDNotFound) {
			return
		}
		if time.Since(began) > 20*time.Second {
			w.t.Fatal(err)
		}
	}
}

// together runs subtests at the same time, whatever -parallel says: they mostly
// wait. A real cluster has one set of topics, and takes them in turn.
func together(t *testing.T, n int, name func(i int) string, fn func(t *testing.T, i int)) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { t.Run(name(i), func(t *testing.T) { fn(t, i) }) })
		if *realBrokers != "" || i%8 == 7 {
			wg.Wait()
		}
	}
	wg.Wait()
}

// inject is the broker where answers can be forged.
func (w *world) inject() *kfake.Cluster {
	w.t.Helper()
	if w.cluster == nil {
		w.t.Skip("needs kfake")
	}
	return w.cluster
}

// feed writes records of random content to partition p of a topic.
func (w *world) feed(rng *rand.Rand, topic string, p int32, n int, clock *int64) {
	w.t.Helper()
	var rs []*kgo.Record
	for range n {
		*clock += rng.Int64N(4)
		value := fmt.Sprintf("%d %d", *clock, 1+rng.Int64N(9))
		if rng.IntN(50) == 0 {
			value = "poison"
		}
		rs = append(rs, &kgo.Record{
			Topic: topic, Partition: p, Key: []byte("k" + strconv.Itoa(rng.IntN(40))), Value: []byte(value),
			Headers: []kgo.RecordHeader{{Key: "kind", Value: []byte("test")}},
		})
	}
	w.produce(rs...)
}

func (w *world) produce(rs ...*kgo.Record) {
	w.t.Helper()
	if err := w.cl.ProduceSync(context.Background(), rs...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// feedTxn writes records in a transaction, which leaves control records and,
// when it is aborted, records that nobody must see.
func (w *world) feedTxn(rng *rand.Rand, p int32, n int, clock *int64, commit bool) {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.addrs...), kgo.RecordPartitioner(partitioner()), kgo.TransactionalID("feed"+strconv.Itoa(rng.Int())))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	own := &world{t: w.t, cl: cl}
	if err := cl.BeginTransaction(); err != nil {
		w.t.Fatal(err)
	}
	scratch := *clock
	if commit {
		own.feed(rng, "in", p, n, clock)
	} else {
		own.feed(rng, "in", p, n, &scratch)
	}
	if err := cl.EndTransaction(context.Background(), kgo.TransactionEndTry(commit)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) topicID(name string) kadm.TopicID {
	w.t.Helper()
	details, err := w.adm.ListTopics(context.Background(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return details[name].ID
}

// readAll returns the committed records of a topic up to its end.
func (w *world) readAll(topic string) []*kgo.Record {
	w.t.Helper()
	details, err := w.adm.ListTopics(context.Background(), topic)
	if err != nil {
		w.t.Fatal(err)
	}
	from := map[tp]int64{}
	for p := range details[topic].Partitions {
		from[tp{topic, p}] = -1
	}
	conn := connection{service: "test-read", brokers: w.addrs, log: slog.New(slog.DiscardHandler)}
	var rs []*kgo.Record
	err = conn.readToEnd(context.Background(), from, 10*time.Second, func(r *kgo.Record) error { rs = append(rs, r); return nil })
	if err != nil {
		w.t.Fatal(err)
	}
	return rs
}

// settle waits until the group has committed the ends of the inputs, for as long
// as it comes nearer to them.
func (w *world) settle() {
	w.t.Helper()
	const patience = 20 * time.Second
	deadline, least := time.Now().Add(patience), int64(math.MaxInt64)
	for {
		lag := int64(0)
		ends, err := w.adm.ListEndOffsets(context.Background(), w.cfg.Inputs...)
		if err != nil {
			w.t.Fatal(err)
		}
		offsets, err := w.adm.FetchOffsets(context.Background(), "test")
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			w.t.Fatal(err)
		}
		ends.Each(func(e kadm.ListedOffset) {
			at, ok := offsets.Lookup(e.Topic, e.Partition)
			if !ok || at.At < 0 {
				lag++
				return
			}
			lag += e.Offset - at.At
		})
		if lag == 0 {
			return
		}
		if lag < least {
			deadline, least = time.Now().Add(patience), lag
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("lag is %d", lag)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// oracle applies the inputs directly. epochs says which epoch holds from
// which offset of a partition.
type oracleContext struct{ out []string }

func (c *oracleContext) Emit(o operator.Output)      { c.out = append(c.out, string(o.Value)) }
func (c *oracleContext) Touch(int)                   {}
func (c *oracleContext) Count(string, string, int64) {}

func (w *world) oracle(topic string, epochs map[tp][]epoch) (outputs map[tp][]string, poison int) {
	w.t.Helper()
	outputs = map[tp][]string{}
	ops := map[tp]operator.Operator{}
	for _, r := range w.readAll(topic) {
		t := tp{r.Topic, r.Partition}
		if ops[t] == nil {
			ops[t], _ = newCounter(r.Partition)
		}
		for len(epochs[t]) > 0 && epochs[t][0].from <= r.Offset {
			if err := ops[t].Epoch(epochs[t][0].kind, epochs[t][0].data); err != nil {
				w.t.Fatal(err)
			}
			epochs[t] = epochs[t][1:]
		}
		ctx := &oracleContext{}
		rec := operator.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value}
		if err := ops[t].Apply(&rec, ctx); err != nil {
			poison++
			continue
		}
		outputs[t] = append(outputs[t], ctx.out...)
	}
	return outputs, poison
}

// always is one epoch from the first record on.
func (w *world) always(data string) map[tp][]epoch {
	m := map[tp][]epoch{}
	for p := range w.parts {
		m[tp{"in", p}] = []epoch{{"site", 0, []byte(data)}}
	}
	return m
}

// storedEpochs are all epochs that were ever committed, from the state topic.
func (w *world) storedEpochs() map[tp][]epoch {
	w.t.Helper()
	states := map[tp]*storedState{}
	for _, r := range w.readAll("state") {
		t := tp{"in", r.Partition}
		if states[t] == nil {
			states[t] = &storedState{}
		}
		k, err := parseKey(t, r.Key)
		if err != nil {
			w.t.Fatal(err)
		}
		if k.typ == typeEpoch && r.Value != nil {
			if err := states[t].addEpoch(k, r.Value); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	m := map[tp][]epoch{}
	for t, st := range states {
		m[t] = st.epochsFrom(0)
	}
	return m
}

// check compares what is committed with the oracle.
func (w *world) check(epochs map[tp][]epoch) {
	w.t.Helper()
	want, poison := w.oracle("in", epochs)
	got := map[tp][]string{}
	for _, r := range w.readAll("out") {
		p, _, _ := bytes.Cut(r.Value, []byte(" "))
		n, _ := strconv.Atoi(string(p))
		t := tp{"in", int32(n)}
		got[t] = append(got[t], string(r.Value))
	}
	for p := range w.parts {
		t := tp{"in", p}
		for i := range max(len(want[t]), len(got[t])) {
			var g, x string
			if i < len(got[t]) {
				g = got[t][i]
			}
			if i < len(want[t]) {
				x = want[t][i]
			}
			if g != x {
				w.t.Errorf("%s: %d outputs, expected %d; the first difference is at %d:\n got %q\nwant %q", t, len(got[t]), len(want[t]), i, g, x)
				break
			}
		}
	}
	if n := len(w.readAll("dead")); n != poison {
		w.t.Errorf("%d dead letters, expected %d", n, poison)
	}
}

// value sums the series of a metric.
func (i *instance) value(name string) float64 {
	i.w.t.Helper()
	families, err := i.reg.Gather()
	if err != nil {
		i.w.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// newEngine is an engine whose configuration is not checked.
func newEngine(cfg Config, factory operator.Factory, log *slog.Logger, reg prometheus.Registerer) (*Engine, error) {
	return newEngineWith(cfg, factory, log, reg, proof{})
}
