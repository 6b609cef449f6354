package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// observedBalancer tells what the group has assigned to this member as soon as it
// says so. The client's own callback for that would wait for the poll loop.
type observedBalancer struct {
	kgo.GroupBalancer
	assigned func(map[string][]int32)
}

// ParseSyncAssignment implements kgo.GroupBalancer.
func (b observedBalancer) ParseSyncAssignment(data []byte) (map[string][]int32, error) {
	parts, err := b.GroupBalancer.ParseSyncAssignment(data)
	if err == nil {
		b.assigned(parts)
	}
	return parts, err
}

// onJoined notes what is ours after a rebalance.
func (e *Engine) onJoined(assigned map[string][]int32) {
	owned := map[tp]bool{}
	for topic, parts := range assigned {
		for _, p := range parts {
			owned[tp{topic, p}] = true
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.owned = owned
}

// onFetched keeps what the group knows of newly assigned partitions; the
// client itself drops the metadata.
func (e *Engine) onFetched(_ context.Context, _ *kgo.Client, resp *kmsg.OffsetFetchResponse) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	note := func(topic string, partition int32, offset int64, metadata *string) {
		a := assignment{offset: offset, committed: offset >= 0}
		if metadata != nil {
			a.metadata = *metadata
		}
		e.fetched[tp{topic, partition}] = a
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			note(t.Topic, p.Partition, p.Offset, p.Metadata)
		}
	}
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				note(t.Topic, p.Partition, p.Offset, p.Metadata)
			}
		}
	}
	return nil
}

// onAssigned starts the restore of newly assigned partitions. They are paused
// until their state is there. A partition without a commit starts at the
// beginning of its log, as a number: an abort then rewinds to it.
func (e *Engine) onAssigned(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	for topic, parts := range offsets {
		var starts kadm.ListedOffsets
		for p, at := range parts {
			t := tp{topic, p}
			if e.proof.breaks(trustRevokes) && e.keeps(t) {
				continue
			}
			a := assignment{offset: at.EpochOffset().Offset, committed: true}
			if a.offset < 0 {
				if starts == nil {
					var err error
					if starts, err = e.adm.ListStartOffsets(ctx, topic); err != nil {
						return nil, fmt.Errorf("list start of %s: %w", topic, err)
					}
				}
				s, ok := starts.Lookup(topic, p)
				if !ok || s.Err != nil {
					return nil, fmt.Errorf("list start of %s: %w", t, s.Err)
				}
				a = assignment{offset: s.Offset}
				parts[p] = kgo.NewOffset().At(s.Offset)
			}
			e.mu.Lock()
			if f, ok := e.fetched[t]; ok && f.committed && f.offset == a.offset {
				a.metadata = f.metadata
			}
			delete(e.fetched, t)
			e.mu.Unlock()
			e.assign(t, a)
		}
	}
	return offsets, nil
}

// assign replaces the worker of a partition by a new one that restores.
func (e *Engine) assign(t tp, a assignment) {
	part, ok := e.statePart[t]
	if !ok {
		e.fail(fmt.Errorf("%s was added while the service ran: %s", t, repartitionHint))
		return
	}
	e.session.Client().PauseFetchPartitions(map[string][]int32{t.topic: {t.partition}})
	w := newWorker(e, t, part)
	e.mu.Lock()
	defer e.mu.Unlock()
	if old := e.workers[t]; old != nil {
		old.cancel()
	}
	e.workers[t] = w
	go w.run(a)
}

// open lets the records of a restored partition be fetched.
func (e *Engine) open(w *worker) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.workers[w.tp] != w {
		return
	}
	w.open.Store(true)
	e.session.Client().ResumeFetchPartitions(map[string][]int32{w.tp.topic: {w.tp.partition}})
}

// onRevoked ends the workers of partitions that others now own. It runs while
// no transaction has unflushed work: rebalances wait from the poll to the
// flush. The session aborts a transaction that is open.
func (e *Engine) onRevoked(_ context.Context, _ *kgo.Client, revoked map[string][]int32) {
	for topic, parts := range revoked {
		for _, p := range parts {
			e.drop(tp{topic, p}, "revoked")
		}
	}
}

// drop ends a worker.
func (e *Engine) drop(t tp, why string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := e.workers[t]
	if w == nil {
		return
	}
	w.cancel()
	delete(e.workers, t)
	e.metrics.forget(t)
	w.log.Info("partition dropped", "why", why)
}

// reconcile drops workers of partitions that the group does not list as ours:
// the session does not tell of a second revoke before a transaction's end.
func (e *Engine) reconcile(owned map[string]map[int32]kgo.EpochOffset) {
	if e.proof.breaks(trustRevokes) {
		return
	}
	for _, w := range e.list() {
		if _, ok := owned[w.tp.topic][w.tp.partition]; !ok {
			e.drop(w.tp, "not assigned")
		}
	}
}

// listed waits until the client lists a new assignment, which it does a moment
// after it has told us. Then a partition that is not listed was revoked.
func (e *Engine) listed(ctx context.Context, t tp) error {
	for wait := time.Millisecond; ; wait = min(2*wait, time.Second) {
		if _, ok := e.session.Client().CommittedOffsets()[t.topic][t.partition]; ok {
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// restoring waits for a place among the restores.
func (e *Engine) restoring(ctx context.Context) error {
	select {
	case e.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *Engine) restored() { <-e.slots }

// rebuild restores partitions again after an abort, from what the group now
// holds as committed.
func (e *Engine) rebuild(ctx context.Context, parts []tp) error {
	if len(parts) == 0 {
		return nil
	}
	resp, err := e.stableOffsets(ctx, parts)
	if err != nil {
		return fmt.Errorf("fetch the committed offsets: %w", err)
	}
	owned := e.session.Client().CommittedOffsets()
	for _, t := range parts {
		at, ok := owned[t.topic][t.partition]
		if !ok {
			e.drop(t, "not assigned")
			continue
		}
		a := assignment{offset: at.Offset}
		if o, ok := resp.Lookup(t.topic, t.partition); ok && o.At >= 0 {
			if o.At != at.Offset {
				return fmt.Errorf("%s is committed at %d, the client has rewound to %d", t, o.At, at.Offset)
			}
			a.committed, a.metadata = true, o.Metadata
		}
		e.assign(t, a)
	}
	return nil
}

// stableOffsets returns what the group has committed for the partitions, once no
// transaction has a commit of them pending: the end of one is answered before
// all brokers know of it, and until then a partition has an error in place of
// its offset.
func (e *Engine) stableOffsets(ctx context.Context, parts []tp) (kadm.OffsetResponses, error) {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		resp, err := e.adm.FetchOffsets(kadm.RequireStable(ctx), e.cfg.Service)
		for _, t := range parts {
			if o, ok := resp.Lookup(t.topic, t.partition); err == nil && ok && o.Err != nil {
				err = fmt.Errorf("%s: %w", t, o.Err)
			}
		}
		if err == nil || !kerr.IsRetriable(err) {
			return resp, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w, the last answer was: %w", ctx.Err(), err)
		}
	}
}
