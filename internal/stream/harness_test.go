package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
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

// counter is the test's operator: per key a sum in the current window and one
// for ever, and for each closed window one output per key in order. A record
// is "TIME AMOUNT", or "poison", "panic".
type counter struct {
	partition int32
	buckets   []map[string]*sums
	shared    sharedState
	epoch     string
	touches   bool // call Touch, as the contract demands
}

type sums struct {
	Window, Total int64
	Last          int64 // offset of the last record
	Mix           int64 // of the epochs that held for each record, in order
}

type sharedState struct{ Window, Seq, Poison int64 }

const (
	testBuckets = 16
	windowSize  = 10
)

func newCounter(partition int32) (operator.Operator, error) {
	c := &counter{partition: partition, buckets: make([]map[string]*sums, testBuckets), touches: true}
	return c, nil
}

func bucketOf(key []byte) int {
	h := fnv.New32a()
	h.Write(key)
	return int(h.Sum32() % testBuckets)
}

func (c *counter) Apply(r *operator.Record, ctx operator.Context) error {
	if string(r.Value) == "poison" {
		// What it did before the error must not count.
		ctx.Emit(operator.Output{Topic: "out", Kind: "sum", V: 1, Key: r.Key, Value: []byte("of a poison record")})
		ctx.Count("poisoned", "", 1)
		return errors.New("refused by the test")
	}
	if string(r.Value) == "panic" {
		panic("told to")
	}
	at, amount, _ := strings.Cut(string(r.Value), " ")
	t, err1 := strconv.ParseInt(at, 10, 64)
	n, err2 := strconv.ParseInt(amount, 10, 64)
	if err1 != nil || err2 != nil {
		return fmt.Errorf("value %q", r.Value)
	}
	if w := t / windowSize; w > c.shared.Window {
		c.closeWindow(ctx)
		c.shared.Window = w
	}
	b := bucketOf(r.Key)
	if c.touches {
		ctx.Touch(b)
	}
	if c.buckets[b] == nil {
		c.buckets[b] = map[string]*sums{}
	}
	s := c.buckets[b][string(r.Key)]
	if s == nil {
		s = &sums{}
		c.buckets[b][string(r.Key)] = s
	}
	s.Window += n
	s.Total += n
	s.Last = r.Offset
	for _, b := range []byte(c.epoch) {
		s.Mix = (s.Mix*31 + int64(b)) % 1000003
	}
	ctx.Count("applied", r.Kind, 1)
	return nil
}

func (c *counter) closeWindow(ctx operator.Context) {
	all := map[string]*sums{}
	for i, b := range c.buckets {
		for k, s := range b {
			if s.Window != 0 {
				if c.touches {
					ctx.Touch(i)
				}
				all[k] = s
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		s := all[k]
		c.shared.Seq++
		ctx.Emit(operator.Output{
			Topic: "out", Kind: "sum", V: 1, Key: []byte(k),
			Value: fmt.Appendf(nil, "%d #%d window %d %s=%d of %d last %d mix %d epoch %s", c.partition, c.shared.Seq, c.shared.Window, k, s.Window, s.Total, s.Last, s.Mix, c.epoch),
		})
		s.Window = 0
	}
}

func (c *counter) Epoch(kind string, data []byte) error {
	if kind != "site" {
		return fmt.Errorf("kind %q", kind)
	}
	c.epoch = string(data)
	return nil
}

func (c *counter) Buckets() int { return testBuckets }

func (c *counter) AppendBucket(dst []byte, bucket int) []byte {
	if len(c.buckets[bucket]) == 0 {
		return dst
	}
	data, err := json.Marshal(c.buckets[bucket])
	if err != nil {
		panic(err)
	}
	return append(dst, data...)
}

func (c *counter) LoadBucket(bucket int, data []byte) error {
	return json.Unmarshal(data, &c.buckets[bucket])
}

func (c *counter) AppendShared(dst []byte) []byte {
	data, err := json.Marshal(c.shared)
	if err != nil {
		panic(err)
	}
	return append(dst, data...)
}

func (c *counter) LoadShared(data []byte) error { return json.Unmarshal(data, &c.shared) }

// world is a broker with the test's topics.
type world struct {
	t       *testing.T
	cluster *kfake.Cluster // nil on a real one
	addrs   []string
	cl      *kgo.Client
	adm     *kadm.Client
	cfg     Config
	parts   int32
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
		for began := time.Now(); ; time.Sleep(200 * time.Millisecond) { // an instance of the last test may still be a member
			res, err := w.adm.DeleteGroups(ctx, "test")
			if err == nil {
				err = res["test"].Err
			}
			if err == nil || errors.Is(err, kerr.GroupIDNotFound) {
				break
			}
			if time.Since(began) > 20*time.Second {
				w.t.Fatal(err)
			}
		}
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

// instance is a supervised process: an engine that is started again when it
// ends with an error, as it is meant to be.
type instance struct {
	w      *world
	cfg    Config
	cancel context.CancelFunc
	done   chan error // the first error that it ended with, once it is over
	net    *network
	reg    *prometheus.Registry

	mu     sync.Mutex
	engine *Engine
	epoch  string
	ended  []error
}

// network is the connection of one instance, which can be cut.
type network struct {
	mu    sync.Mutex
	conns []net.Conn
	cut   bool
}

func (n *network) dial(ctx context.Context, proto, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, proto, addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut {
		if err == nil {
			_ = c.Close()
		}
		return nil, errors.New("the network is cut")
	}
	if err == nil {
		n.conns = append(n.conns, c)
	}
	return c, err
}

func (n *network) kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = true
	for _, c := range n.conns {
		_ = c.Close()
	}
}

func testLog(t *testing.T) *slog.Logger {
	t.Helper()
	if testing.Verbose() {
		out := &testOutput{t: t}
		t.Cleanup(out.close)
		return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	return slog.New(slog.DiscardHandler)
}

// testOutput is the output of a test until it ends: a client that was cut off
// may log a little longer.
type testOutput struct {
	mu sync.Mutex
	t  *testing.T
}

func (o *testOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.t == nil {
		return len(p), nil
	}
	return o.t.Output().Write(p)
}

func (o *testOutput) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.t = nil
}

// start runs an instance with the world's configuration as changed.
func (w *world) start(epoch string, change ...func(*Config)) *instance {
	w.t.Helper()
	n := &network{}
	cfg := w.cfg
	cfg.Options = []kgo.Opt{
		kgo.Dialer(n.dial), kgo.SessionTimeout(2 * time.Second), kgo.RebalanceTimeout(4 * time.Second),
		kgo.HeartbeatInterval(100 * time.Millisecond), kgo.TransactionTimeout(1500 * time.Millisecond),
	}
	for _, c := range change {
		c(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	i := &instance{w: w, cfg: cfg.withDefaults(), cancel: cancel, done: make(chan error, 1), net: n, reg: prometheus.NewRegistry(), epoch: epoch}
	i.make()
	go i.supervise(ctx)
	w.t.Cleanup(func() {
		i.kill()
		if err := <-i.done; err != nil {
			w.t.Logf("at the end: %v", err)
		}
	})
	return i
}

func (i *instance) make() *Engine {
	e, err := newEngine(i.cfg, newCounter, testLog(i.w.t), i.reg)
	if err != nil {
		i.w.t.Error(err)
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.epoch != "" {
		if err := e.SetEpoch("site", []byte(i.epoch)); err != nil {
			i.w.t.Error(err)
		}
	}
	i.engine = e
	return e
}

func (i *instance) supervise(ctx context.Context) {
	for e := i.current(); ; e = i.make() {
		err := e.Run(ctx)
		i.mu.Lock()
		if err != nil {
			i.ended = append(i.ended, err)
		}
		i.mu.Unlock()
		if ctx.Err() != nil || len(i.ended) > 20 {
			i.done <- err
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// current is the engine that runs.
func (i *instance) current() *Engine {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.engine
}

func (i *instance) setEpoch(epoch string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.epoch = epoch
	if err := i.engine.SetEpoch("site", []byte(epoch)); err != nil {
		i.w.t.Error(err)
	}
}

// drain stops the instance in order.
func (i *instance) drain() {
	i.w.t.Helper()
	i.cancel()
	select {
	case err := <-i.done:
		i.done <- nil
		if err != nil {
			i.w.t.Logf("drain: %v", err) // too slow; what is committed must be right all the same
		}
	case <-time.After(10 * time.Second):
		i.w.t.Fatal("did not drain within 10 s")
	}
}

// kill cuts the instance off, which for the broker is a kill -9.
func (i *instance) kill() {
	i.net.kill()
	i.cancel()
}

// end waits until the engine has ended by itself and returns the error.
func (i *instance) end() error {
	i.w.t.Helper()
	for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(5 * time.Millisecond) {
		i.mu.Lock()
		n := len(i.ended)
		i.mu.Unlock()
		if n > 0 {
			i.cancel()
			return i.ended[0]
		}
	}
	i.w.t.Fatal("the engine goes on")
	return nil
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

// committed waits until the group has committed the ends of the inputs.
func (w *world) settle() {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
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
