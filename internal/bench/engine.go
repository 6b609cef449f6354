package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/pkg/correlate"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// hosted is an operator of the product that writes to another topic than the
// product's: a benchmark touches nothing of a site's own.
type hosted struct {
	operator.Operator
	to  string
	ctx renaming
}

type renaming struct {
	operator.Context
	to string
}

func (r *renaming) Emit(out operator.Output) {
	out.Topic = r.to
	r.Context.Emit(out)
}

// Apply implements operator.Operator.
func (h *hosted) Apply(r *operator.Record, c operator.Context) error {
	h.ctx.Context = c
	return h.Operator.Apply(r, &h.ctx)
}

// service is an engine with the operators that it runs.
type service struct {
	*stream.Engine
	reg *prometheus.Registry

	mu  sync.Mutex
	ops []operator.Operator
}

// service makes the engine of a phase, as internal/app makes that of the
// product's services.
func (s *spec) service(log *slog.Logger) (*service, error) {
	v := &service{reg: prometheus.NewRegistry()}
	cfg := stream.Config{
		Service: s.topic("detect"), Slot: s.Slot, Brokers: s.Brokers, Embedded: s.Embedded,
		Inputs: []string{s.topic("events")}, State: s.topic("state"), Outputs: []string{s.topic("signals")}, DeadLetter: s.topic("dead"),
		CommitInterval: s.Commit, SnapshotCycle: s.Snapshot,
	}
	build := func() (operator.Operator, error) { return pipeline.NewSet("default", detect.Bounds{Keys: s.MaxKeys}) }
	if s.Phase == phaseCorrelate {
		cfg.Service, cfg.Inputs, cfg.State, cfg.Outputs = s.topic("correlate"), cfg.Outputs, s.topic("correlated"), []string{s.topic("alerts")}
		// Every probe is an alert of one detector: beyond the day's budget they
		// would be rolled up into one.
		build = func() (operator.Operator, error) { return correlate.New(correlate.Config{Budget: -1}) }
	}
	to := cfg.Outputs[0]
	factory := func(int32) (operator.Operator, error) {
		op, err := build()
		if err != nil {
			return nil, err
		}
		v.mu.Lock()
		v.ops = append(v.ops, op)
		v.mu.Unlock()
		return &hosted{Operator: op, to: to, ctx: renaming{to: to}}, nil
	}
	var err error
	if v.Engine, err = stream.New(cfg, factory, log, v.reg); err != nil {
		return nil, err
	}
	return v, v.SetEpoch(detect.EpochSite, nil)
}

// counters are the sums of the engine's counters.
func (v *service) counters() map[string]float64 {
	out := map[string]float64{}
	families, err := v.reg.Gather()
	if err != nil {
		return out
	}
	for _, f := range families {
		if f.GetType() != dto.MetricType_COUNTER {
			continue
		}
		for _, m := range f.Metric {
			out[f.GetName()] += m.GetCounter().GetValue()
		}
	}
	return out
}

// restored is how many partitions have their state.
func (v *service) restored() (n int) {
	families, err := v.reg.Gather()
	if err != nil {
		return 0
	}
	for _, f := range families {
		if f.GetName() == "ebbwatch_stream_restore_seconds" {
			for _, m := range f.Metric {
				n += int(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return n
}

// keys counts the keys of all operators. It is called when nothing runs any
// more.
func (v *service) keys() (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, op := range v.ops {
		if k, ok := op.(interface{ Keys() int }); ok {
			n += k.Keys()
		}
	}
	return n
}

// detect measures the engine, and then waits for its end by its parent: that
// is a kill.
func (s *spec) detect(ctx context.Context, out *teller, log *slog.Logger) error {
	v, err := s.service(log)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx) }()
	m := &meter{begin: s.Begin, end: s.End}
	m.watch(out)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	last := time.Now()
	for done := false; !done; {
		select {
		case err := <-ended:
			return errors.Join(errors.New("bench: the engine ended before its records"), err)
		case <-tick.C:
		}
		c := v.counters()
		was := m.final.records
		done = m.see(int64(c["ebbwatch_stream_records_total"]), counts{
			snapshots: c["ebbwatch_stream_snapshots_total"], snapshotBytes: c["ebbwatch_stream_snapshot_bytes_total"], outputs: c["ebbwatch_stream_outputs_total"],
		})
		if m.final.records != was {
			last = time.Now()
		} else if time.Since(last) > 4*stalled {
			return fmt.Errorf("bench: nothing was committed for %s", 4*stalled)
		}
	}
	result := m.measure()
	return errors.Join(out.result(news{Result: &result}), <-ended)
}

// recover measures how long an engine takes to be ready behind one that was
// killed, and what it holds then.
func (s *spec) recover(ctx context.Context, out *teller, log *slog.Logger) error {
	v, err := s.service(log)
	if err != nil {
		return err
	}
	run, stop := context.WithCancel(ctx)
	defer stop()
	began, cpu := time.Now(), cpuTime()
	ended := make(chan error, 1)
	go func() { ended <- v.Run(run) }()
	// Ready alone may be said before the partitions are assigned.
	for !v.Ready() || v.restored() < len(s.To) {
		select {
		case err := <-ended:
			return errors.Join(errors.New("bench: the engine ended before it was ready"), err)
		case <-time.After(2 * time.Millisecond):
		}
	}
	r := Recovery{Seconds: time.Since(began).Seconds(), CPU: (cpuTime() - cpu).Seconds()}
	r.Replayed = int64(v.counters()["ebbwatch_stream_replayed_records_total"])
	r.RSSMiB = peakRSS()
	stop()
	if err := <-ended; err != nil {
		return err
	}
	r.Keys = v.keys()
	return out.result(news{Recovery: &r})
}

// serve runs a service of the chain until it is told to end, or killed.
func (s *spec) serve(ctx context.Context, out *teller, log *slog.Logger) error {
	v, err := s.service(log)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx) }()
	for !v.Ready() {
		select {
		case err := <-ended:
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
	out.tell(news{Ready: true})
	return <-ended
}
