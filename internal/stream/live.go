package stream

import (
	"context"
	"time"
)

// Live is implemented by an operator that reads the world, as the reader of
// announced objects does (internal/ingest/objects). What its state becomes must
// follow from the records alone, since a restore applies them again; only what
// it emits may come from outside, since nothing is emitted then.
type Live interface {
	// Live is called once the state is restored, before the first record that
	// is not a replay. ctx ends when the partition is taken away or rebuilt.
	Live(ctx context.Context)
}

// Deadline is implemented by the Context of an operator.
type Deadline interface {
	// Deadline is when the operator must have returned from all records at
	// hand: the transaction must end before the broker ends it.
	Deadline() time.Time
}

// Deadline implements the interface of that name.
func (w *worker) Deadline() time.Time {
	return time.Unix(0, w.eng.began.Load()).Add(txnTimeout / 2)
}
