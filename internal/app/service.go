package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/telemetry"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Room is what the parts of a service share.
type Room struct {
	Log     *slog.Logger
	Metrics *prometheus.Registry
	Exfil   *telemetry.Exfil
}

// NewRoom makes the metrics of a process.
func NewRoom(log *slog.Logger) *Room {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Room{Log: log, Metrics: reg, Exfil: telemetry.New(reg, telemetry.DefaultSeries)}
}

// Service is a service that can be run: what it does, and whether it does it.
type Service struct {
	Name  string
	Run   func(context.Context) error
	Ready func() error
	// Site takes a changed site file while the service runs.
	Site func(*declaredSite) error
}

// Detection configures detect.
type Detection struct {
	Common `yaml:",inline"`

	Domain   string        `yaml:"domain" help:"correlation domain: the key of all signals"`
	MaxKeys  int           `yaml:"max_keys" help:"addresses, hosts or principals kept per partition"`
	MaxBytes int64         `yaml:"max_bytes" help:"about how many bytes of memory these may take per partition; the collector of garbage needs as much again"`
	Commit   time.Duration `yaml:"commit_interval" help:"time between commits; the embedded broker takes at least 1s"`
	Snapshot time.Duration `yaml:"snapshot_cycle" help:"time between full snapshots of the state"`
}

// DefaultDetection are the defaults of detect.
func DefaultDetection() *Detection {
	return &Detection{Common: DefaultCommon("127.0.0.1:9610"), Domain: "default", MaxKeys: detect.DefaultMaxKeys, MaxBytes: detect.DefaultMaxBytes, Commit: time.Second, Snapshot: 5 * time.Minute}
}

// Validate returns all problems.
func (d *Detection) Validate() error {
	errs := []error{d.Common.Validate()}
	if d.Domain == "" {
		errs = append(errs, errors.New("domain: is empty"))
	}
	if d.MaxKeys < 1 {
		errs = append(errs, errors.New("max_keys: is less than 1"))
	}
	if d.MaxBytes < 1<<20 {
		errs = append(errs, errors.New("max_bytes: is less than 1048576"))
	}
	return errors.Join(errs...)
}

// Correlation configures correlate.
type Correlation struct {
	Common `yaml:",inline"`

	Domain   string        `yaml:"domain" help:"correlation domain: the key of the signals"`
	Commit   time.Duration `yaml:"commit_interval" help:"time between commits; the embedded broker takes at least 1s"`
	Snapshot time.Duration `yaml:"snapshot_cycle" help:"time between full snapshots of the state"`
}

// DefaultCorrelation are the defaults of correlate.
func DefaultCorrelation() *Correlation {
	return &Correlation{Common: DefaultCommon("127.0.0.1:9611"), Domain: "default", Commit: time.Second, Snapshot: 5 * time.Minute}
}

// Validate returns all problems.
func (c *Correlation) Validate() error { return c.Common.Validate() }

// engine makes the stream engine of a service.
func engine(room *Room, c *Common, cfg stream.Config, factory operator.Factory) (*stream.Engine, error) {
	opts, err := c.Kafka.Options()
	if err != nil {
		return nil, err
	}
	declared, err := readSite(c)
	if err != nil {
		return nil, err
	}
	cfg.Supersedes = superseding(room)
	cfg.Brokers, cfg.Embedded, cfg.Slot, cfg.Options = c.Kafka.Brokers, c.Kafka.Embedded, c.Kafka.Instance, opts
	e, err := stream.New(cfg, factory, room.Log, room.Metrics)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", config.ErrUsage, err)
	}
	return e, declare(e, declared)
}

// restored is the readiness of an engine.
func restored(e *stream.Engine) func() error {
	return func() error {
		if !e.Ready() {
			return errors.New("partitions are not assigned yet, or their state is being restored")
		}
		return nil
	}
}

// prepared makes sure that the topics exist before a service runs.
func prepared(room *Room, c *Common, s Service) Service {
	run := s.Run
	s.Run = func(ctx context.Context) error {
		opts, err := c.Kafka.Options()
		if err != nil {
			return err
		}
		err = stream.EnsureTopics(ctx, stream.ProducerConfig{Service: s.Name, Brokers: c.Kafka.Brokers, Embedded: c.Kafka.Embedded, Options: opts}, room.Log)
		switch {
		case ctx.Err() != nil:
			return nil // told to stop before a broker was there
		case err != nil:
			return err
		}
		return run(ctx)
	}
	return s
}

// NewDetect makes the detection service.
func NewDetect(room *Room, c *Detection) (Service, error) {
	flow := topic.Detect()
	e, err := engine(room, &c.Common, stream.Config{
		Service: flow.Service, Inputs: flow.Inputs, Outputs: flow.Outputs,
		CommitInterval: c.Commit, SnapshotCycle: c.Snapshot, OnCommitted: room.Exfil.Signals,
		OnLag: func(lag time.Duration) { room.Exfil.Lag(telemetry.StageDetect, lag) },
	}, func(int32) (operator.Operator, error) {
		return pipeline.NewSet(c.Domain, detect.Bounds{Keys: c.MaxKeys, Bytes: c.MaxBytes})
	})
	if err != nil {
		return Service{}, err
	}
	return prepared(room, &c.Common, Service{Name: flow.Service, Run: e.Run, Ready: restored(e), Site: func(d *declaredSite) error { return declareSite(e, d) }}), nil
}

// NewCorrelate makes the correlation service.
func NewCorrelate(room *Room, c *Correlation) (Service, error) {
	flow := topic.Correlate()
	e, err := engine(room, &c.Common, stream.Config{
		Service: flow.Service, Inputs: flow.Inputs, Outputs: flow.Outputs,
		CommitInterval: c.Commit, SnapshotCycle: c.Snapshot, OnCommitted: room.Exfil.Alerts,
		OnLag: func(lag time.Duration) { room.Exfil.Lag(telemetry.StageCorrelate, lag) },
	}, func(int32) (operator.Operator, error) { return pipeline.NewCorrelator(false) })
	if err != nil {
		return Service{}, err
	}
	return prepared(room, &c.Common, Service{Name: flow.Service, Run: e.Run, Ready: restored(e), Site: func(d *declaredSite) error { return declareSite(e, d) }}), nil
}

// Serve runs services with their admin endpoint and the watch over the site
// file until ctx ends.
func Serve(ctx context.Context, room *Room, c *Common, services ...Service) error {
	tasks, _, err := sideTasks(ctx, room, c, services)
	if err != nil {
		return err
	}
	for _, s := range services {
		tasks = append(tasks, Task{s.Name, s.Run})
	}
	return RunGroup(ctx, room.Log, tasks...)
}

func allReady(services []Service) error {
	var errs []error
	for _, s := range services {
		if err := s.Ready(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Main is the whole of a service's main: it loads the configuration, builds
// the service and runs it, and returns the exit code.
func Main[C config.Validator](ctx context.Context, p Process, name, description string, cfg C, common func(C) *Common, build func(*Room, C) (Service, error)) int {
	action, err := config.Source{
		Service: name, Description: description, Args: p.Args, LookupEnv: p.LookupEnv, Stdout: p.Stdout, Stderr: p.Stderr,
	}.Load(cfg, Version())
	if err != nil || action == config.Done {
		return ExitCode(p.Stderr, name, err)
	}
	c := common(cfg)
	room := NewRoom(Logger(p.Stderr, c.Log, name))
	service, err := build(room, cfg)
	if err == nil {
		err = Serve(ctx, room, c, service)
	}
	return ExitCode(p.Stderr, name, err)
}
