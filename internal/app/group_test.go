package app_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/app"
	"github.com/google/go-cmp/cmp"
)

// trace records the order in which tasks end.
type trace struct {
	mu    sync.Mutex
	order []string
}

func (tr *trace) add(s string) { tr.mu.Lock(); tr.order = append(tr.order, s); tr.mu.Unlock() }

func (tr *trace) task(name string, drain time.Duration) app.Task {
	return app.Task{Name: name, Run: func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(drain)
		tr.add(name)
		return nil
	}}
}

func TestTasksStopInReverseOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tr trace
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		err := app.RunGroup(ctx, slog.New(slog.DiscardHandler), tr.task("admin", 0), tr.task("publisher", time.Second), tr.task("consumer", 2*time.Second))
		if err != nil {
			t.Error(err)
		}
		if d := cmp.Diff([]string{"consumer", "publisher", "admin"}, tr.order); d != "" {
			t.Error(d)
		}
	})
}

func TestOneFailureStopsAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tr trace
		boom := errors.New("boom")
		err := app.RunGroup(t.Context(), slog.New(slog.DiscardHandler), tr.task("admin", 0),
			app.Task{Name: "consumer", Run: func(context.Context) error { time.Sleep(time.Second); return boom }})
		if !errors.Is(err, boom) || !strings.HasPrefix(err.Error(), "consumer: ") {
			t.Errorf("error %v", err)
		}
		if len(tr.order) != 1 {
			t.Errorf("stopped %v", tr.order)
		}
	})
}

func TestATaskThatHangsIsNamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		release := make(chan struct{})
		err := app.RunGroup(ctx, slog.New(slog.DiscardHandler), app.Task{Name: "stuck", Run: func(context.Context) error { <-release; return nil }})
		if err == nil || !strings.Contains(err.Error(), "stuck: did not stop") {
			t.Errorf("error %v", err)
		}
		close(release)
	})
}
