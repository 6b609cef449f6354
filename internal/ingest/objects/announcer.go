package objects

import (
	"context"
	"fmt"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/deadletter"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// batch is what a queue or a listing has to say, and waits to be committed.
type batch struct {
	tasks   []*Task
	letters []*deadletter.Record
	done    chan error // gets one value; has room for it
}

// announcer writes announcements to ebb.objects.v1, several batches to a
// transaction.
type announcer struct {
	producer *stream.Producer
	in       chan *batch
	pause    time.Duration // between two commits
	// closed once it takes no more.
	ended chan struct{}
}

func newAnnouncer(p *stream.Producer, embedded bool) *announcer {
	a := &announcer{producer: p, in: make(chan *batch), pause: 50 * time.Millisecond, ended: make(chan struct{})}
	if embedded {
		a.pause = time.Second // every batch costs memory there
	}
	return a
}

// announce returns once the batch is committed.
func (a *announcer) announce(ctx context.Context, b *batch) error {
	b.done = make(chan error, 1)
	select {
	case a.in <- b:
	case <-a.ended:
		return context.Canceled
	case <-ctx.Done():
		return ctx.Err()
	}
	return <-b.done
}

// maxTasks bounds one transaction.
const maxTasks = 5000

// run commits until ctx ends. An error of the broker ends it.
func (a *announcer) run(ctx context.Context) error {
	defer close(a.ended)
	if err := a.producer.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer a.producer.Close()
	for {
		var first *batch
		select {
		case <-ctx.Done():
			return nil
		case first = <-a.in:
		}
		batches := a.collect(ctx, first)
		err := a.commit(ctx, batches)
		for _, b := range batches {
			b.done <- err
		}
		if err != nil {
			return fmt.Errorf("announce: %w", err)
		}
	}
}

// collect waits a little for others.
func (a *announcer) collect(ctx context.Context, first *batch) []*batch {
	batches, n := []*batch{first}, len(first.tasks)
	timer := time.NewTimer(a.pause)
	defer timer.Stop()
	for n < maxTasks {
		select {
		case b := <-a.in:
			batches = append(batches, b)
			n += len(b.tasks)
		case <-timer.C:
			return batches
		case <-ctx.Done():
			return batches
		}
	}
	return batches
}

func (a *announcer) commit(ctx context.Context, batches []*batch) error {
	ctx = context.WithoutCancel(ctx)
	if err := a.producer.Begin(); err != nil {
		return err
	}
	for _, b := range batches {
		for _, t := range b.tasks {
			value, err := t.Append(nil)
			if err != nil {
				return fmt.Errorf("task of %s: %w", t.name(), err)
			}
			a.producer.Emit(ctx, operator.Output{Topic: topic.Objects, Kind: kindTask, V: taskVersion, Key: t.appendKey(nil), Value: value})
		}
		for _, l := range b.letters {
			a.producer.Emit(ctx, l.Output(topic.DeadLetter, nil))
		}
	}
	return a.producer.Commit(ctx)
}
