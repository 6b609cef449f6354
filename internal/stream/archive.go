package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// Archive reads what a service has left in its topics: committed offsets,
// snapshots, epochs and inputs. It joins no group and writes nothing, so the
// service may run. An end is that of the committed records at the time of the
// call.
type Archive struct {
	eng *Engine
	cl  *kgo.Client

	inputs  map[string]int32 // partitions by topic
	ids     map[string]kadm.TopicID
	offsets kadm.OffsetResponses
	starts  kadm.ListedOffsets
	ends    kadm.ListedOffsets // of committed records
	places  []archivePlace     // by state partition
}

// archivePlace is a partition of the state topic: who wrote there, and what.
type archivePlace struct {
	owner tp // zero where nothing is
	state *storedState
	keys  map[string]bool // all keys of the place, only where asked for
}

// Input is one input partition of a service.
type Input struct {
	Topic     string
	Partition int32
	// Start and End are the first offset and one past the last committed one.
	Start, End int64
	// Committed is the group's offset, −1 without one.
	Committed int64
}

// OpenArchive connects and takes stock. Of the configuration it needs Service,
// Brokers, Embedded, Inputs and Options.
func OpenArchive(ctx context.Context, cfg Config, factory operator.Factory, log *slog.Logger) (*Archive, error) {
	cfg = cfg.withDefaults()
	cfg.Slot = ""
	eng, err := newEngineWith(cfg, factory, log, nil, proof{})
	if err != nil {
		return nil, err
	}
	eng.ctx, eng.failed = context.WithCancelCause(ctx)
	if away, refusal := eng.conn.ask(ctx); away != nil {
		eng.failed(nil)
		if refusal != nil {
			return nil, refusal
		}
		return nil, fmt.Errorf("broker %s is not reachable: %s", strings.Join(cfg.Brokers, ","), cause(away))
	}
	cl, err := kgo.NewClient(eng.conn.base()...)
	if err != nil {
		eng.failed(nil)
		return nil, fmt.Errorf("connect: %w", err)
	}
	eng.adm = kadm.NewClient(cl)
	a := &Archive{eng: eng, cl: cl, inputs: map[string]int32{}, ids: map[string]kadm.TopicID{}}
	if err := a.look(ctx); err != nil {
		a.Close()
		return nil, a.explained(err)
	}
	return a, nil
}

// Close ends the connection.
func (a *Archive) Close() {
	a.eng.failed(nil)
	a.cl.Close()
}

func (a *Archive) explained(err error) error {
	if why := a.eng.conn.refusal(err); why != nil {
		return why
	}
	return err
}

// look lists topics and offsets, and finds out what the state topic holds.
func (a *Archive) look(ctx context.Context) error {
	cfg := &a.eng.cfg
	details, err := a.eng.adm.ListTopics(ctx, append(slices.Clone(cfg.Inputs), cfg.State)...)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	for _, name := range append(slices.Clone(cfg.Inputs), cfg.State) {
		d, ok := details[name]
		if err := a.eng.conn.refusal(d.Err); err != nil {
			return err
		}
		if !ok || d.Err != nil {
			return fmt.Errorf("topic %s: %w", name, errNoTopic)
		}
		if name != cfg.State {
			a.inputs[name], a.ids[name] = int32(len(d.Partitions)), d.ID
		}
	}
	a.offsets, err = a.eng.adm.FetchOffsets(kadm.RequireStable(ctx), cfg.Service)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // a service that has not run yet has no group
		return fmt.Errorf("fetch the committed offsets: %w", err)
	}
	if a.starts, err = a.eng.adm.ListStartOffsets(ctx, cfg.Inputs...); err == nil {
		a.ends, err = a.eng.adm.ListCommittedOffsets(ctx, append(slices.Clone(cfg.Inputs), cfg.State)...)
	}
	if err == nil {
		err = errors.Join(a.starts.Error(), a.ends.Error())
	}
	if err != nil {
		return fmt.Errorf("list offsets: %w", err)
	}
	a.places = make([]archivePlace, len(details[cfg.State].Partitions))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i := range a.places {
		g.Go(func() error {
			p, err := a.survey(ctx, int32(i), false)
			a.places[i] = p
			return err
		})
	}
	return g.Wait()
}

// survey reads a partition of the state topic.
func (a *Archive) survey(ctx context.Context, part int32, keys bool) (archivePlace, error) {
	at := tp{a.eng.cfg.State, part}
	p := archivePlace{state: newStoredState()}
	if keys {
		p.keys = map[string]bool{}
	}
	end, _ := a.ends.Lookup(at.topic, at.partition)
	err := a.readAll(ctx, at, end.Offset, func(r *kgo.Record) error {
		if p.keys != nil {
			p.keys[string(r.Key)] = r.Value != nil
		}
		owner, ok := ownerOf(r)
		if ok && (p.owner == tp{} || string(r.Key) == layoutKey) {
			p.owner = owner
		}
		err := p.state.add(p.owner, r)
		if errors.Is(err, errCorrupt) {
			a.eng.log.Warn("state record is corrupt", "partition", part, "offset", r.Offset, "key", string(r.Key))
			return nil
		}
		return err
	})
	if err == nil {
		err = p.state.check()
	}
	if err != nil {
		return p, fmt.Errorf("%w: %s: %w", ErrState, at, err)
	}
	return p, nil
}

// readAll hands the committed records of a partition that lie below end to fn.
func (a *Archive) readAll(ctx context.Context, t tp, end int64, fn func(*kgo.Record) error) error {
	starts, err := a.eng.adm.ListStartOffsets(ctx, t.topic)
	if err != nil {
		return fmt.Errorf("list start of %s: %w", t, err)
	}
	start, _ := starts.Lookup(t.topic, t.partition)
	if start.Offset >= end {
		return nil
	}
	return a.eng.conn.read(ctx, map[tp]int64{t: start.Offset}, a.eng.cfg.StallTimeout, func(_ tp, offset int64) bool { return offset >= end-1 }, func(r *kgo.Record) error {
		if r.Attrs.IsControl() || r.Offset >= end {
			return nil
		}
		return fn(r)
	})
}

// ownerOf is the input partition that a state record belongs to.
func ownerOf(r *kgo.Record) (tp, bool) {
	if string(r.Key) == layoutKey {
		return layoutOwner(r.Value)
	}
	f := strings.SplitN(string(r.Key), "/", 3)
	if len(f) < 3 {
		return tp{}, false
	}
	return parseTP(f[0] + "/" + f[1])
}

// Inputs are the input partitions in the order of the configuration.
func (a *Archive) Inputs() []Input {
	var list []Input
	for _, topic := range a.eng.cfg.Inputs {
		for p := range a.inputs[topic] {
			in := Input{Topic: topic, Partition: p, Committed: -1}
			if o, ok := a.offsets.Lookup(topic, p); ok && o.At >= 0 {
				in.Committed = o.At
			}
			s, _ := a.starts.Lookup(topic, p)
			e, _ := a.ends.Lookup(topic, p)
			in.Start, in.End = s.Offset, e.Offset
			list = append(list, in)
		}
	}
	return list
}

// OffsetsAt returns, by topic and partition, the first offset whose append time
// is not before a time in milliseconds, or the end.
func (a *Archive) OffsetsAt(ctx context.Context, millis int64) (map[string]map[int32]int64, error) {
	listed, err := a.eng.adm.ListOffsetsAfterMilli(ctx, millis, a.eng.cfg.Inputs...)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, a.explained(fmt.Errorf("list offsets by time: %w", err))
	}
	out := map[string]map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) {
		if out[o.Topic] == nil {
			out[o.Topic] = map[int32]int64{}
		}
		end, _ := a.ends.Lookup(o.Topic, o.Partition)
		out[o.Topic][o.Partition] = min(o.Offset, end.Offset)
	})
	return out, nil
}

// placeOf is the place of an input partition in the state topic.
func (a *Archive) placeOf(t tp) (int32, *storedState) {
	for i := range a.places {
		if a.places[i].owner == t {
			return int32(i), a.places[i].state
		}
	}
	return 0, newStoredState()
}

// Epochs are the newest declared inputs of a kind, one for each input partition
// that has any, in the order of Inputs.
func (a *Archive) Epochs(kind string) (list [][]byte) {
	for _, in := range a.Inputs() {
		_, st := a.placeOf(tp{in.Topic, in.Partition})
		var known []epoch
		if n := len(st.complete); n > 0 {
			known = st.inForce(st.complete[n-1])
		}
		var last *epoch
		for _, e := range append(known, st.epochsFrom(0)...) {
			if e.kind == kind && (last == nil || e.from >= last.from) {
				last = &e
			}
		}
		if last != nil {
			list = append(list, last.data)
		}
	}
	return list
}

// Replica is the operator of an input partition as it was at an offset, and as
// it becomes with the records that follow.
type Replica struct {
	w *worker
	// From is the offset of the snapshot, or of the log's start, from which
	// its records follow.
	From int64
	// Cold says that the log before From is gone and no snapshot tells what
	// was there: the state began empty.
	Cold bool
	// Assumed are kinds of epochs of which nothing is known as early as From:
	// the first one known was taken.
	Assumed []string
	fixed   map[string]bool
}

// Replica makes an operator from the newest snapshot at or below an offset, or
// from the start of the log where there is none. Its state is that at From:
// the records from there on are for the caller to apply.
func (a *Archive) Replica(ctx context.Context, topic string, partition int32, offset int64) (*Replica, error) {
	t := tp{topic, partition}
	part, st := a.placeOf(t)
	w := newWorker(a.eng, t, part)
	if err := w.makeOperator(); err != nil {
		return nil, err
	}
	r := &Replica{w: w, fixed: map[string]bool{}}
	start, _ := a.starts.Lookup(topic, partition)
	best, _ := st.newestAt(offset)
	if best != nil {
		r.From = best.cut
		if err := w.load(st, best, func(l *loading) error { return w.readSnapshot(ctx, l, st.places[best]) }); err != nil {
			return nil, a.explained(err)
		}
	} else {
		r.From, r.Cold = start.Offset, start.Offset > 0
		w.schedule = st.epochsFrom(0)
		r.assume()
	}
	if err := w.applyScheduled(r.From); err != nil {
		return nil, err
	}
	return r, nil
}

// assume moves the first epoch of each kind to the begin.
func (r *Replica) assume() {
	seen := map[string]bool{}
	for i := range r.w.schedule {
		e := &r.w.schedule[i]
		if !seen[e.kind] && e.from > r.From {
			r.Assumed = append(r.Assumed, e.kind)
			e.from = r.From
		}
		seen[e.kind] = true
	}
	slices.SortStableFunc(r.w.schedule, epoch.order)
}

// SetEpoch makes an epoch valid from here on, whatever the log says of that
// kind.
func (r *Replica) SetEpoch(kind string, data []byte) error {
	r.w.schedule = slices.DeleteFunc(r.w.schedule, func(e epoch) bool { return e.kind == kind })
	r.fixed[kind] = true
	return r.w.applyEpoch(epoch{kind: kind, from: r.From, data: data})
}

// Apply applies one record, and before it the epochs that hold from its offset
// on. An error of the operator (a dead letter of the service) is refusal; err is
// one of the archive.
func (r *Replica) Apply(rec *kgo.Record, c operator.Context) (refusal, err error) {
	w := r.w
	if rec.Offset >= w.nextEpochAt {
		if err := w.applyScheduled(rec.Offset); err != nil {
			return nil, err
		}
	}
	w.next = rec.Offset + 1
	if rec.Attrs.IsControl() {
		return nil, nil
	}
	w.rec = operator.Record{
		Topic: w.tp.topic, Partition: w.tp.partition, Offset: rec.Offset, Time: rec.Timestamp.UnixMicro(),
		Kind: w.kind(rec.Headers), Key: rec.Key, Value: rec.Value,
	}
	return w.op.Apply(&w.rec, c), nil
}

// Operator is the replica's operator.
func (r *Replica) Operator() operator.Operator { return r.w.op }

// Epochs are the kinds in force with the offsets from which they hold.
func (r *Replica) Epochs() map[string]int64 {
	out := map[string]int64{}
	for _, kind := range slices.Sorted(maps.Keys(r.w.inForce)) {
		out[kind] = r.w.inForce[kind].from
	}
	return out
}
