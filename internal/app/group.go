package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Task is one thing that runs. Run returns after it has drained: nil when its
// context ended, an error when it could not go on.
type Task struct {
	Name string
	Run  func(context.Context) error
}

// drainTime bounds how long one task may take to stop.
const drainTime = 10 * time.Second

// RunGroup starts the tasks in order and waits. When ctx ends, or one of them
// returns, the others are stopped in reverse order, one at a time: what
// produces stops before what it produces to. All errors are joined.
func RunGroup(ctx context.Context, log *slog.Logger, tasks ...Task) error {
	type result struct {
		index int
		err   error
	}
	ended := make(chan result, len(tasks))
	cancels := make([]context.CancelFunc, len(tasks))
	for i, t := range tasks {
		// Not derived from ctx: a task ends when its turn comes, so that the
		// last ones still answer while the first drain.
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		cancels[i] = cancel
		go func() { ended <- result{i, t.Run(own)} }()
	}
	var errs []error
	done := make([]bool, len(tasks))
	note := func(r result) {
		done[r.index] = true
		if r.err != nil && !errors.Is(r.err, context.Canceled) {
			errs = append(errs, fmt.Errorf("%s: %w", tasks[r.index].Name, r.err))
		}
	}
	select {
	case <-ctx.Done():
		log.Info("stopping")
	case r := <-ended:
		note(r)
	}
	for i := len(tasks) - 1; i >= 0; i-- {
		cancels[i]()
		for timeout := time.After(drainTime); !done[i]; {
			select {
			case r := <-ended:
				note(r)
			case <-timeout:
				errs = append(errs, fmt.Errorf("%s: did not stop within %s", tasks[i].Name, drainTime))
				done[i] = true
			}
		}
		log.Debug("stopped", "task", tasks[i].Name)
	}
	return errors.Join(errs...)
}
