package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// errUnknownOutcome is returned when nobody knows whether a transaction was
// committed (R4).
var errUnknownOutcome = errors.New("the outcome of a commit is unknown")

// errReplaced is why a transaction is aborted whose partition was assigned
// anew meanwhile.
var errReplaced = errors.New("assigned anew")

// errFence stops an offset commit that would not match what was processed.
var errFence = errors.New("offsets do not match the processed records")

// produce sends one record in the current transaction. Its error shows at the
// end of it.
func (e *Engine) produce(w *worker, r *kgo.Record) error {
	if e.proof.produced != nil {
		e.proof.produced(r)
		return nil
	}
	e.session.Produce(w.ctx, r, func(r *kgo.Record, err error) {
		if err != nil {
			err = fmt.Errorf("produce to %s: %w", r.Topic, err)
			e.produceErr.CompareAndSwap(nil, &err)
			return
		}
		if r.Topic == e.cfg.State {
			storeMax(w, r.Offset+1)
			return
		}
		if e.cfg.Embedded {
			t := tp{r.Topic, r.Partition}
			e.mu.Lock()
			e.outEnds[t] = max(e.outEnds[t], r.Offset+1)
			e.mu.Unlock()
		}
	})
	return w.ctx.Err()
}

func storeMax(w *worker, v int64) {
	for {
		old := w.stateEnd.Load()
		if old >= v || w.stateEnd.CompareAndSwap(old, v) {
			return
		}
	}
}

// finish ends the current transaction: it commits what the workers did since
// its begin, or aborts it and rebuilds them. With a deadline it writes whole
// snapshots.
func (e *Engine) finish(abort error, full time.Time) error {
	began := time.Now()
	workers := e.list()
	parts, err := e.seal(workers, full)
	if err != nil {
		return err
	}
	var touched []sealed
	for _, s := range parts {
		if s.touched() {
			touched = append(touched, s)
		}
		if s.stale != nil && abort == nil {
			abort = fmt.Errorf("%s: %w", s.w.tp, s.stale)
		}
	}
	cl := e.session.Client()
	if len(touched) == 0 && abort == nil {
		e.reconcile(cl.CommittedOffsets())
		e.session.AllowRebalance()
		// Nothing is in it; this also clears a revoke that the session notes.
		if _, err := e.session.End(context.Background(), kgo.TryAbort); err != nil {
			return fmt.Errorf("end an empty transaction: %w: %w", errUnknownOutcome, err)
		}
		e.session.AllowRebalance()
		return nil
	}

	e.proof.at(phaseSealed)
	// Not cancelled by the drain: a commit that has begun must end. Bounded
	// all the same, since the broker aborts the transaction by itself.
	ctx, cancel := context.WithTimeout(e.hard, 2*txnTimeout)
	defer cancel()
	if abort == nil {
		if err := cl.Flush(ctx); err != nil {
			return fmt.Errorf("flush: %w", err)
		}
		if err := e.produceErr.Load(); err != nil {
			abort = *err
		}
	}
	e.proof.at(phaseFlushed)
	owned := cl.CommittedOffsets()
	e.reconcile(owned)
	if abort == nil {
		abort = e.checkOffsets(touched, owned, cl.UncommittedOffsets())
	}
	if abort != nil {
		if err := e.hopeless(abort); err != nil {
			return err
		}
		return e.abort(ctx, touched, abort)
	}

	// Before the end: it waits for a heartbeat or a revoke, and those wait
	// for this.
	e.session.AllowRebalance()
	committed, err := e.session.End(kgo.PreTxnCommitFnContext(ctx, e.fence(touched)), kgo.TryCommit)
	e.session.AllowRebalance()
	if err != nil {
		return fmt.Errorf("%w: %w", errUnknownOutcome, err)
	}
	if !committed {
		return e.rebuildAfter(touched, errors.New("the group has rebalanced"))
	}
	e.proof.at(phaseCommitted)
	e.aborts = 0
	e.metrics.commits.Inc()
	e.metrics.commitSeconds.Observe(time.Since(began).Seconds())
	e.tellLag(touched)
	for _, s := range touched {
		if e.cfg.OnCommitted != nil && len(s.outs) > 0 {
			e.cfg.OnCommitted(s.outs)
		}
		s.w.send(message{committed: true})
	}
	return nil
}

// tellLag reports the partition of a commit that is furthest behind.
func (e *Engine) tellLag(touched []sealed) {
	if e.cfg.OnLag == nil {
		return
	}
	var lag time.Duration
	for _, s := range touched {
		if s.records > 0 && s.newest > 0 {
			lag = max(lag, time.Since(time.UnixMicro(s.newest)))
		}
	}
	e.cfg.OnLag(lag)
}

// seal collects the workers' parts.
func (e *Engine) seal(workers []*worker, full time.Time) ([]sealed, error) {
	asked := workers[:0:0]
	for _, w := range workers {
		if w.send(message{seal: true, full: full}) {
			asked = append(asked, w)
		}
	}
	parts := make([]sealed, 0, len(asked))
	for _, w := range asked {
		select {
		case s := <-w.reply:
			parts = append(parts, s)
		case <-w.ctx.Done():
			// Assigned anew while it worked: what it produced is void.
			parts = append(parts, sealed{w: w, stale: errReplaced})
		case <-e.ctx.Done():
		}
	}
	if e.ctx.Err() != nil {
		return nil, context.Cause(e.ctx)
	}
	return parts, nil
}

// checkOffsets holds the workers' positions against what the client would
// commit (R3).
func (e *Engine) checkOffsets(touched []sealed, owned, uncommitted map[string]map[int32]kgo.EpochOffset) error {
	pending := 0
	for _, parts := range uncommitted {
		pending += len(parts)
	}
	for _, s := range touched {
		t := s.w.tp
		at, ok := owned[t.topic][t.partition]
		if !ok && e.proof.breaks(trustRevokes) {
			continue
		}
		if !ok {
			return fmt.Errorf("%s is not ours any more: %w", t, errFence)
		}
		if u, ok := uncommitted[t.topic][t.partition]; ok {
			at = u
			pending--
		}
		if at.Offset != s.next {
			return fmt.Errorf("%s: the state is at %d, the client at %d: %w", t, s.next, at.Offset, errFence)
		}
	}
	if pending > 0 {
		return fmt.Errorf("offsets of partitions without state: %w", errFence)
	}
	return nil
}

// fence completes the offset commit: it adds the partitions that only wrote
// state, and sets the metadata.
func (e *Engine) fence(touched []sealed) func(*kmsg.TxnOffsetCommitRequest) error {
	want := make(map[tp]int64, len(touched))
	for _, s := range touched {
		want[s.w.tp] = s.next
	}
	metadata := commitMetadata(nil)
	if e.cfg.Embedded {
		e.mu.Lock()
		metadata = commitMetadata(e.outEnds)
		e.mu.Unlock()
	}
	return func(req *kmsg.TxnOffsetCommitRequest) error {
		seen := map[tp]bool{}
		for i := range req.Topics {
			rt := &req.Topics[i]
			for j := range rt.Partitions {
				rp := &rt.Partitions[j]
				t := tp{rt.Topic, rp.Partition}
				if next, ok := want[t]; !ok || next != rp.Offset {
					return fmt.Errorf("%s would be committed at %d: %w", t, rp.Offset, errFence)
				}
				rp.Metadata = &metadata
				seen[t] = true
			}
		}
		for t, next := range want {
			if seen[t] {
				continue
			}
			p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset, p.Metadata = t.partition, next, &metadata
			addPartition(req, t.topic, p)
		}
		if e.proof.breaks(offsetsOutside) {
			return e.commitOutside(req)
		}
		return nil
	}
}

func addPartition(req *kmsg.TxnOffsetCommitRequest, topic string, p kmsg.TxnOffsetCommitRequestTopicPartition) {
	for i := range req.Topics {
		if req.Topics[i].Topic == topic {
			req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
			return
		}
	}
	rt := kmsg.NewTxnOffsetCommitRequestTopic()
	rt.Topic = topic
	rt.Partitions = append(rt.Partitions, p)
	req.Topics = append(req.Topics, rt)
}

// maxAborts is how many transactions may be aborted in a row: what makes them
// abort comes from the log, and comes again with every attempt.
const maxAborts = 8

// hopeless returns an error when trying again does not help.
func (e *Engine) hopeless(abort error) error {
	if err := e.conn.refusal(abort); err != nil {
		return err
	}
	if e.aborts >= maxAborts {
		return fmt.Errorf("%d transactions in a row were aborted, the last because of: %w", e.aborts, abort)
	}
	return nil
}

// abort ends the transaction without a commit and rebuilds the partitions
// that took part in it.
func (e *Engine) abort(ctx context.Context, touched []sealed, why error) error {
	// Paused before the client rewinds: their records must not come before
	// their state.
	for _, s := range touched {
		e.session.Client().PauseFetchPartitions(map[string][]int32{s.w.tp.topic: {s.w.tp.partition}})
	}
	e.session.AllowRebalance()
	_, err := e.session.End(ctx, kgo.TryAbort)
	e.session.AllowRebalance()
	if err != nil {
		return fmt.Errorf("abort (%w): %w: %w", why, errUnknownOutcome, err)
	}
	return e.rebuildAfter(touched, why)
}

func (e *Engine) rebuildAfter(touched []sealed, why error) error {
	if e.ctx.Err() != nil {
		return context.Cause(e.ctx)
	}
	if errors.Is(why, errNoTime) {
		e.log.Warn("the final snapshot was not written; the next start replays from the one before", "error", why)
		return nil
	}
	e.metrics.aborts.Inc()
	e.aborts++
	if e.proof.breaks(patchAfterAbort) {
		e.patch(touched)
		return nil
	}
	e.log.Warn("transaction aborted, rebuilding its partitions", "partitions", len(touched), "why", why)
	parts := e.orphans
	e.orphans = nil
	for _, s := range touched {
		parts = append(parts, s.w.tp)
	}
	ctx, cancel := context.WithTimeout(e.ctx, 2*txnTimeout)
	defer cancel()
	return e.rebuild(ctx, parts)
}

// trimState deletes what no snapshot needs from a partition of the state topic
// of the embedded broker, where nothing is compacted. Only the end of Run waits
// for it: a failure costs space until the next time.
func (e *Engine) trimState(part int32, to int64) {
	e.trims.Go(func() {
		ctx, cancel := context.WithTimeout(e.ctx, 10*time.Second)
		defer cancel()
		var offsets kadm.Offsets
		offsets.AddOffset(e.cfg.State, part, to, -1)
		res, err := e.adm.DeleteRecords(ctx, offsets)
		if err == nil {
			err = res.Error()
		}
		if err != nil && ctx.Err() == nil {
			e.log.Warn("trim state", "partition", part, "error", err)
		}
	})
}
