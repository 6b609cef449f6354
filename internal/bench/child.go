package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/pprof"
	"sync"
)

// Child runs the phase that stdin describes and says on stdout how it goes.
// The end of stdin ends it: no child outlives its parent.
func Child(ctx context.Context, stdin io.Reader, stdout io.Writer, log *slog.Logger) error {
	var s spec
	in := json.NewDecoder(stdin)
	if err := in.Decode(&s); err != nil {
		return fmt.Errorf("bench: what to do: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		_, _ = io.Copy(io.Discard, io.MultiReader(in.Buffered(), stdin))
		cancel(errors.New("the parent is gone"))
	}()
	out := &teller{w: stdout}
	if s.Profile != "" {
		f, err := os.Create(s.Profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
		out.heap = s.Profile + ".heap"
	}
	err := s.run(ctx, out, log)
	if err != nil {
		out.tell(news{Error: err.Error()})
	}
	return err
}

func (s *spec) run(ctx context.Context, out *teller, log *slog.Logger) error {
	switch s.Phase {
	case phaseRaw, phaseDecode:
		return s.consume(ctx, out)
	case phaseVolatile:
		return s.volatile(ctx, out)
	case phaseDetect:
		return s.detect(ctx, out, log)
	case phaseRecover:
		return s.recover(ctx, out, log)
	case phaseDetector, phaseCorrelate:
		return s.serve(ctx, out, log)
	}
	return fmt.Errorf("bench: no phase %q", s.Phase)
}

// teller writes news, a line each.
type teller struct {
	mu   sync.Mutex
	w    io.Writer
	heap string // a file for a heap profile when there is a result
}

// result says what was measured, and closes the profiles: the parent may kill
// this process then.
func (t *teller) result(n news) error {
	if t.heap != "" {
		pprof.StopCPUProfile()
		f, err := os.Create(t.heap)
		if err != nil {
			return err
		}
		if err := errors.Join(pprof.Lookup("heap").WriteTo(f, 0), f.Close()); err != nil {
			return err
		}
	}
	t.tell(n)
	return nil
}

func (t *teller) tell(n news) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = t.w.Write(n.line())
}
