package stream

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/twmb/franz-go/pkg/kgo"
)

// PartitionState is what a service holds of one input partition.
type PartitionState struct {
	Topic          string `json:"topic"`
	Partition      int32  `json:"partition"`
	StatePartition int32  `json:"state_partition"`
	// Committed is the offset up to which the service has come, −1 if it never
	// has; End is one past the last committed record.
	Committed int64 `json:"committed"`
	End       int64 `json:"end"`
	// Snapshots are the complete ones, the newest first: at most two.
	Snapshots []SnapshotState `json:"snapshots"`
	Epochs    []EpochState    `json:"epochs"`
	// Report is what the operator holds at Committed; nil where it was not
	// asked for or the operator cannot tell.
	Report *operator.Report `json:"report,omitempty"`
	// Error is why the state could not be rebuilt.
	Error string `json:"error,omitempty"`
}

// SnapshotState is a complete snapshot.
type SnapshotState struct {
	Generation uint64    `json:"generation"`
	Offset     int64     `json:"offset"` // of the input: the cut
	Items      int       `json:"items"`
	Bytes      int64     `json:"bytes"`
	Written    time.Time `json:"written"`
}

// EpochState is a declared input that the state topic knows.
type EpochState struct {
	Kind  string `json:"kind"`
	From  int64  `json:"from"` // the offset from which it holds
	Bytes int    `json:"bytes"`
}

// Show describes all partitions. With load it rebuilds each state at the
// committed offset and asks the operator, one partition after the other.
func (a *Archive) Show(ctx context.Context, load bool) ([]PartitionState, error) {
	var list []PartitionState
	for _, in := range a.Inputs() {
		part, st := a.placeOf(tp{in.Topic, in.Partition})
		s := PartitionState{Topic: in.Topic, Partition: in.Partition, StatePartition: part, Committed: in.Committed, End: in.End}
		for _, m := range slices.Backward(st.complete) {
			at := st.places[m]
			s.Snapshots = append(s.Snapshots, SnapshotState{m.seq, m.cut, len(m.entries), at.bytes, time.UnixMicro(at.written).UTC()})
		}
		for _, e := range st.epochsFrom(0) {
			s.Epochs = append(s.Epochs, EpochState{e.kind, e.from, len(e.data)})
		}
		if load && in.Committed >= 0 && len(st.complete) > 0 {
			rep, err := a.report(ctx, in)
			if err != nil && ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil {
				s.Error = err.Error()
			}
			s.Report = rep
		}
		list = append(list, s)
	}
	return list, nil
}

// report rebuilds the state of a partition and asks the operator.
func (a *Archive) report(ctx context.Context, in Input) (rep *operator.Report, err error) {
	err = a.Look(ctx, in, func(op operator.Operator) error {
		if reporter, ok := op.(operator.Reporter); ok {
			rep = new(reporter.Report())
		}
		return nil
	})
	return rep, err
}

// Look rebuilds the state of a partition at the committed offset, and hands its
// operator to fn. The state is a copy: the service may run meanwhile.
func (a *Archive) Look(ctx context.Context, in Input, fn func(operator.Operator) error) error {
	r, err := a.Replica(ctx, in.Topic, in.Partition, in.Committed)
	if err != nil {
		return err
	}
	err = a.Merged(ctx, []Range{{in.Topic, in.Partition, r.From, in.Committed}}, func(rec *kgo.Record) error {
		_, err := r.Apply(rec, silent{}) // a refusal is a dead letter
		return err
	})
	if err != nil {
		return errors.Join(err, ctx.Err())
	}
	return fn(r.Operator())
}

// silent is a context that says nothing.
type silent struct{}

// Emit implements operator.Context.
func (silent) Emit(operator.Output) {}

// Touch implements operator.Context.
func (silent) Touch(int) {}

// Count implements operator.Context.
func (silent) Count(string, string, int64) {}
