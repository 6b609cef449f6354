package stream

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// proof are the hooks of the crash series (internal/crash). Its zero value,
// which is all that a product build can have, changes nothing: only a build with
// the tag ebbcrash reads one from its environment (proof_on.go), and tests of
// this package set one.
type proof struct {
	// mutation switches one rule of the engine off, to show that the series
	// finds it.
	mutation mutation
	// produced takes the records of transactions in the place of a broker.
	produced func(*kgo.Record)
	// reach is told of each phase of a commit as the process comes to it.
	reach func(phase)
	// options come last among the client's; hooks see the requests of the
	// transactions only.
	options []kgo.Opt
	hooks   []kgo.Opt
	// interval, if set, is the commit interval, also below its lower bound.
	interval time.Duration
}

// mutation is a rule of the engine that is switched off.
type mutation string

const (
	// offsetsOutside commits offsets, but not in the transaction (R1).
	offsetsOutside mutation = "offsets-outside"
	// trustRevokes believes the revoke callbacks alone: what was not revoked
	// is still ours, and its state still good (R3).
	trustRevokes mutation = "trust-revokes"
	// patchAfterAbort goes on with the state in memory after an abort (R4).
	patchAfterAbort mutation = "patch-after-abort"
	// bucketsApart takes the buckets of a snapshot at different offsets (R2).
	bucketsApart mutation = "buckets-apart"
	// sameID uses one transactional id for ever on the embedded broker.
	sameID mutation = "same-id"
)

// phase is a point in the life of a transaction at which the series kills.
type phase string

// The phases in their order. Those of a request lie where it is written and
// where its answer was read: between them nobody knows what the broker did.
const (
	phaseBegun       phase = "begun"        // the transaction, nothing polled
	phasePolled      phase = "polled"       // records processed
	phaseProduceSent phase = "produce-sent" // a produce request
	phaseSealed      phase = "sealed"       // all is produced, not all sent
	phaseFlushed     phase = "flushed"      // all is in the log, uncommitted
	phaseOffsetsSent phase = "offsets-sent" // the offset commit
	phaseOffsetsDone phase = "offsets-done"
	phaseEndSent     phase = "end-sent" // the end of the transaction
	phaseEndDone     phase = "end-done"
	phaseCommitted   phase = "committed" // the engine knows
)

func (p *proof) at(ph phase) {
	if p.reach != nil {
		p.reach(ph)
	}
}

func (p *proof) breaks(m mutation) bool { return p.mutation == m }

// commitOutside is the mutation offsetsOutside: it commits what req says at
// once, and leaves nothing to the transaction.
func (e *Engine) commitOutside(req *kmsg.TxnOffsetCommitRequest) error {
	out := kmsg.NewPtrOffsetCommitRequest()
	out.Group, out.MemberID, out.Generation, out.InstanceID = req.Group, req.MemberID, req.Generation, req.InstanceID
	for _, t := range req.Topics {
		ot := kmsg.NewOffsetCommitRequestTopic()
		ot.Topic, ot.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			op := kmsg.NewOffsetCommitRequestTopicPartition()
			op.Partition, op.Offset, op.Metadata = p.Partition, p.Offset, p.Metadata
			ot.Partitions = append(ot.Partitions, op)
		}
		out.Topics = append(out.Topics, ot)
	}
	req.Topics = nil
	_, err := out.RequestWith(e.hard, e.session.Client())
	return err
}

// patch is the mutation patchAfterAbort: the partitions of an aborted
// transaction go on with their state as it is.
func (e *Engine) patch(touched []sealed) {
	for _, s := range touched {
		s.w.send(message{patched: true})
		e.open(s.w)
	}
}

func (w *worker) patch() {
	w.stale, w.queue, w.records, w.outputs, w.dead, w.outs = nil, w.queue[:0], 0, 0, 0, nil
	w.dropSnapshot()
}

// unapplied passes over the records that the state already holds.
func (w *worker) unapplied(records []*kgo.Record) []*kgo.Record {
	i := 0
	for i < len(records) && records[i].Offset < w.next {
		i++
	}
	w.records += i
	return records[i:]
}

// keeps is the mutation trustRevokes: a partition that is assigned and was not
// revoked has its state.
func (e *Engine) keeps(t tp) bool {
	e.mu.Lock()
	w := e.workers[t]
	e.mu.Unlock()
	if w == nil || !w.ready.Load() {
		return false
	}
	w.log.Info("partition kept")
	e.open(w)
	return true
}
