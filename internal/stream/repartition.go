package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Migration moves the state of a stopped service to other partition counts of
// its inputs.
type Migration struct {
	// Config is that of the service.
	Config Config
	// Partitions are the wanted counts by input; an input that is not named
	// keeps what its topic has now. Kafka cannot take partitions away.
	Partitions map[string]int32
	// Keys are all record keys in use, for operators that are not
	// operator.Divisible: the state of a partition then goes, as a whole,
	// where its one key goes.
	Keys [][]byte
	// Progress, if set, is told what is being done.
	Progress func(what string)
}

// Migrated says what a Migration did.
type Migrated struct {
	Inputs []MigratedInput
	// Partitions is the count of the state topic, Bytes how much was written.
	Partitions int32
	Bytes      int64
	// Nothing says that everything was in its place.
	Nothing bool
}

// MigratedInput is an input with its counts before and after.
type MigratedInput struct {
	Topic    string
	Old, New int32
}

// migrateTimeout bounds the transaction that carries the state: below a
// broker's default of transaction.max.timeout.ms, 15 minutes.
const migrateTimeout = 10 * time.Minute

// Run migrates. Everything is written in one transaction: the state in its new
// places, the layout that voids the old, and the committed offsets; an end on
// the way leaves all as it was, but for partitions that were added, and another
// Run goes on. It refuses while the group has members, and while records are
// unread: those in an old partition are for the state as it is.
func (m *Migration) Run(ctx context.Context, factory operator.Factory, log *slog.Logger) (*Migrated, error) {
	g := &migration{Migration: m, factory: factory, log: log, moved: map[tp]*worker{}}
	res, err := g.run(ctx)
	if g.archive != nil {
		err = g.archive.explained(err)
		g.archive.Close()
	}
	return res, err
}

type migration struct {
	*Migration
	factory operator.Factory
	log     *slog.Logger
	archive *Archive
	old     map[string]int32 // counts of the layout that the state has
	count   map[string]int32 // of the new one
	moved   map[tp]*worker   // by new partition
	result  Migrated
}

func (g *migration) run(ctx context.Context) (*Migrated, error) {
	g.tell("reading what is there")
	var err error
	if g.archive, err = OpenArchive(ctx, g.Config, g.factory, g.log); err != nil {
		return nil, err
	}
	if err := g.plan(); err != nil {
		return nil, err
	}
	if g.result.Nothing {
		return &g.result, nil
	}
	if err := errors.Join(g.checkStopped(ctx), g.checkDrained()); err != nil {
		return nil, err
	}
	if err := g.grow(ctx); err != nil {
		return nil, err
	}
	for _, in := range g.archive.eng.cfg.Inputs {
		if err := g.move(ctx, in); err != nil {
			return nil, fmt.Errorf("state of %s: %w", in, err)
		}
	}
	return &g.result, g.write(ctx)
}

func (g *migration) tell(what string) {
	if g.Progress != nil {
		g.Progress(what)
	}
}

// plan compares the layout that the state has with the one that is wanted.
func (g *migration) plan() error {
	a := g.archive
	g.old, g.count = map[string]int32{}, maps.Clone(a.inputs)
	for i := range a.places {
		if o := a.places[i].owner; o != (tp{}) {
			g.old[o.topic] = max(g.old[o.topic], o.partition+1)
		}
	}
	for in, n := range g.Partitions {
		has, ok := a.inputs[in]
		switch {
		case !ok:
			return fmt.Errorf("%s is no input of %s, these are %v", in, a.eng.cfg.Service, a.eng.cfg.Inputs)
		case n < has:
			return fmt.Errorf("%s has %d partitions, and Kafka cannot take any away", in, has)
		}
		g.count[in] = n
	}
	total := int32(0)
	same := true
	for _, in := range a.eng.cfg.Inputs {
		same = same && (g.old[in] == g.count[in] || g.old[in] == 0) && g.count[in] == a.inputs[in]
		g.result.Inputs = append(g.result.Inputs, MigratedInput{in, g.old[in], g.count[in]})
		total += g.count[in]
	}
	if int32(len(a.places)) > total {
		return fmt.Errorf("topic %s has %d partitions, the inputs need %d, and Kafka cannot take any away", a.eng.cfg.State, len(a.places), total)
	}
	g.result.Partitions = total
	g.result.Nothing = same && int32(len(a.places)) == total
	return nil
}

// checkStopped refuses while the service runs. The transaction itself is
// refused as well if it starts meanwhile.
func (g *migration) checkStopped(ctx context.Context) error {
	group := g.archive.eng.cfg.Service
	described, err := g.archive.eng.adm.DescribeGroups(ctx, group)
	if err == nil {
		err = described[group].Err
	}
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return fmt.Errorf("describe group %s: %w", group, err)
	}
	if n := len(described[group].Members); n > 0 {
		return fmt.Errorf("group %s has %d members: stop the service on all machines first", group, n)
	}
	return nil
}

// checkDrained refuses while an old partition holds records that were not
// processed.
func (g *migration) checkDrained() error {
	for _, in := range g.archive.Inputs() {
		if in.Partition < g.old[in.Topic] && max(in.Committed, in.Start) < in.End {
			return fmt.Errorf("%s/%d holds records that were not processed (%d of %d): stop what writes to it, let the service come to the end, stop it, and try again",
				in.Topic, in.Partition, in.Committed, in.End)
		}
	}
	return nil
}

// grow gives the topics their partitions.
func (g *migration) grow(ctx context.Context) error {
	grow := func(name string, has, want int32) error {
		if has >= want {
			return nil
		}
		g.tell(fmt.Sprintf("%s: %d partitions more", name, want-has))
		res, err := g.archive.eng.adm.UpdatePartitions(ctx, int(want), name)
		if err == nil {
			err = res.Error()
		}
		if err != nil {
			return fmt.Errorf("add partitions to %s: %w", name, err)
		}
		return nil
	}
	for _, in := range g.archive.eng.cfg.Inputs {
		if err := grow(in, g.archive.inputs[in], g.count[in]); err != nil {
			return err
		}
	}
	return grow(g.archive.eng.cfg.State, int32(len(g.archive.places)), g.result.Partitions)
}

// move makes the operators of an input's new partitions from the old ones.
func (g *migration) move(ctx context.Context, topic string) error {
	a, oldCount, n := g.archive, g.old[topic], g.count[topic]
	if oldCount == 0 {
		return nil // it never had a state
	}
	var ops []operator.Operator
	olds := make([]*worker, oldCount)
	for p := range oldCount {
		g.tell(fmt.Sprintf("%s/%d: rebuilding its state", topic, p))
		committed, ok := a.offsets.Lookup(topic, p)
		began := ok && committed.At >= 0 // else nothing was ever there
		r, err := a.Replica(ctx, topic, p, max(committed.At, 0))
		switch {
		case err == nil && began && r.w.last == nil:
			err = fmt.Errorf("%w: %s/%d has no complete snapshot", ErrState, topic, p)
		case err == nil && began:
			err = r.w.replayTo(ctx, committed.At)
		case err == nil:
			r.w.next = r.From
		}
		if err != nil {
			return err
		}
		olds[p] = r.w
		ops = append(ops, r.w.op)
	}
	for q := range n {
		t := tp{topic, q}
		w, err := g.newPlace(t, olds)
		if err != nil {
			return err
		}
		switch op, divisible := w.op.(operator.Divisible); {
		case n == oldCount:
			w.op = ops[q] // only its place is another
		case divisible:
			err = op.Adopt(ops, func(key []byte) bool { return PartitionOf(key, int(n)) == q })
		default:
			err = g.moveWhole(w, ops)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
		g.moved[t] = w
	}
	return nil
}

// newPlace makes the worker that writes the state of a new partition, under the
// epochs that the old partition of its number had, or else the first.
func (g *migration) newPlace(t tp, olds []*worker) (*worker, error) {
	part := t.partition
	for _, in := range g.archive.eng.cfg.Inputs {
		if in == t.topic {
			break
		}
		part += g.count[in]
	}
	w := newWorker(g.archive.eng, t, part)
	if err := w.makeOperator(); err != nil {
		return nil, err
	}
	like := olds[0]
	kept := int(t.partition) < len(olds)
	if kept {
		like = olds[t.partition]
		w.next = like.next
	} else {
		starts, err := g.archive.eng.adm.ListStartOffsets(w.ctx, t.topic)
		if err != nil {
			return nil, fmt.Errorf("list start of %s: %w", t, err)
		}
		s, _ := starts.Lookup(t.topic, t.partition)
		w.next = s.Offset
	}
	for _, kind := range slices.Sorted(maps.Keys(like.inForce)) {
		e := like.inForce[kind]
		if !kept {
			e.from = w.next
			w.stored = append(w.stored, storedEpoch{epoch: e})
		}
		if err := w.applyEpoch(e); err != nil {
			return nil, err
		}
	}
	if kept { // with the history that a replay needs
		_, st := g.archive.placeOf(t)
		w.stored = st.stored(true)
	}
	return w, nil
}

// moveWhole gives a partition the state of the old one whose key is now its.
func (g *migration) moveWhole(w *worker, ops []operator.Operator) error {
	owners := map[int32]int{} // old partition → keys
	from := int32(-1)
	for _, key := range g.Keys {
		at := PartitionOf(key, len(ops))
		if owners[at]++; owners[at] > 1 {
			return fmt.Errorf("several of the keys are in partition %d, and this service's state cannot be divided", at)
		}
		if PartitionOf(key, int(g.count[w.tp.topic])) != w.tp.partition {
			continue
		}
		if from >= 0 {
			return errors.New("several of the keys come into this partition, and this service's state cannot be joined")
		}
		from = at
	}
	for p, op := range ops {
		if owners[int32(p)] == 0 && !empty(op) {
			return fmt.Errorf("partition %d has a state, and none of the keys that were named is in it: name all that are in use", p)
		}
	}
	if from >= 0 {
		w.op = ops[from]
	}
	return nil
}

// empty says that an operator has no keyed state.
func empty(op operator.Operator) bool {
	for b := range op.Buckets() {
		if len(op.AppendBucket(nil, b)) > 0 {
			return false
		}
	}
	return true
}

// replayTo applies the records from the snapshot to an offset.
func (w *worker) replayTo(ctx context.Context, to int64) error {
	w.replaying = true
	defer func() { w.replaying = false }()
	err := w.eng.conn.readRange(ctx, w.tp, w.last.cut, to, w.eng.cfg.StallTimeout, w.apply)
	w.next = to
	return err
}

// write writes everything in one transaction.
func (g *migration) write(ctx context.Context) error {
	a, cfg := g.archive, &g.archive.eng.cfg
	conn := a.eng.conn
	id := "ebbwatch-" + cfg.Service + "-repartition"
	if cfg.Embedded {
		id = conn.transactionalID("-repartition")
	}
	cl, err := kgo.NewClient(conn.base(producing(id, migrateTimeout)...)...)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer cl.Close()
	pid, epoch, err := cl.ProducerID(ctx)
	if err != nil {
		return fmt.Errorf("transaction: %w", err)
	}
	places, err := g.oldKeys(ctx)
	if err != nil {
		return err
	}
	if err := cl.BeginTransaction(); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	g.tell("writing the state in its new places")
	first := make([]int64, len(places))
	err = g.produce(ctx, cl, places, first)
	if err == nil {
		err = g.commitOffsets(ctx, cl, id, pid, epoch)
	}
	if err != nil {
		return errors.Join(err, cl.EndTransaction(context.WithoutCancel(ctx), kgo.TryAbort))
	}
	if err := cl.EndTransaction(context.WithoutCancel(ctx), kgo.TryCommit); err != nil {
		return fmt.Errorf("%w (run it again: it finds out): %w", errUnknownOutcome, err)
	}
	if cfg.Embedded { // nothing is compacted there
		var o kadm.Offsets
		for i, at := range first {
			o.AddOffset(cfg.State, int32(i), at, -1)
		}
		if res, err := a.eng.adm.DeleteRecords(ctx, o); err != nil || res.Error() != nil {
			g.log.Warn("trim the old state", "error", errors.Join(err, res.Error()))
		}
	}
	return nil
}

// oldKeys are the keys that live in each state partition.
func (g *migration) oldKeys(ctx context.Context) ([]map[string]bool, error) {
	places := make([]map[string]bool, g.result.Partitions)
	for i := range g.archive.places {
		p, err := g.archive.survey(ctx, int32(i), true)
		if err != nil {
			return nil, err
		}
		places[i] = p.keys
	}
	return places, nil
}

// produce writes each place: the end of the old keys, the layout, the epochs and
// a whole snapshot. first gets the offsets of the layouts.
func (g *migration) produce(ctx context.Context, cl *kgo.Client, places []map[string]bool, first []int64) error {
	var failed error
	promise := func(r *kgo.Record, err error) {
		if err != nil && failed == nil { // one at a time, says the client
			failed = fmt.Errorf("produce to %s: %w", r.Topic, err)
		}
		if string(r.Key) == layoutKey {
			first[r.Partition] = r.Offset
		}
	}
	owners := map[int32]*worker{}
	for _, w := range g.moved {
		owners[w.statePart] = w
	}
	for i := range places {
		w := owners[int32(i)]
		if w != nil {
			if err := w.wholeState(g.count[w.tp.topic]); err != nil {
				return err
			}
		}
		for _, key := range slices.Sorted(maps.Keys(places[i])) {
			if places[i][key] && key != layoutKey {
				cl.Produce(ctx, &kgo.Record{Topic: g.archive.eng.cfg.State, Partition: int32(i), Key: []byte(key)}, promise)
			}
		}
		if w == nil {
			continue
		}
		for _, r := range w.queue {
			g.result.Bytes += int64(len(r.Value))
			cl.Produce(ctx, r, promise)
		}
		w.queue, w.op = nil, nil
	}
	if err := cl.Flush(ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return failed
}

// wholeState queues a layout, the epochs and a snapshot.
func (w *worker) wholeState(partitions int32) error {
	w.queue = append(w.queue, w.stateRecord([]byte(layoutKey), encodeLayout(w.tp, partitions)))
	for _, s := range w.stored {
		w.writeEpoch(s.epoch)
	}
	w.stored, w.last = nil, nil
	w.beginSnapshot()
	return w.writeSnapshot(len(w.changed), time.Now().Add(time.Hour))
}

// commitOffsets adds the committed offsets of all partitions to the
// transaction.
func (g *migration) commitOffsets(ctx context.Context, cl *kgo.Client, id string, pid int64, epoch int16) error {
	cfg := &g.archive.eng.cfg
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = id, pid, epoch, cfg.Service
	added, err := add.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(added.ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("add the offsets to the transaction: %w", err)
	}
	metadata := commitMetadata(nil)
	if cfg.Embedded {
		ends, err := g.archive.eng.adm.ListEndOffsets(ctx, append(slices.Clone(cfg.Outputs), cfg.DeadLetter)...)
		if err == nil {
			err = ends.Error()
		}
		if err != nil {
			return fmt.Errorf("list outputs: %w", err)
		}
		outEnds := map[tp]int64{}
		ends.Each(func(o kadm.ListedOffset) { outEnds[tp{o.Topic, o.Partition}] = o.Offset })
		metadata = commitMetadata(outEnds)
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = id, cfg.Service, pid, epoch, -1
	for _, t := range slices.SortedFunc(maps.Keys(g.moved), tp.compare) {
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.Metadata = t.partition, g.moved[t].next, &metadata
		addPartition(req, t.topic, p)
	}
	for i := range req.Topics { // newer brokers go by these
		req.Topics[i].TopicID = g.archive.ids[req.Topics[i].Topic]
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return fmt.Errorf("commit the offsets: %w", err)
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("commit the offset of partition %d: %w (was the service started meanwhile?)", p.Partition, err)
			}
		}
	}
	return nil
}
