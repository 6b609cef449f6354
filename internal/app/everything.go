package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/broker"
	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/web"
)

// Everything configures all services in one process. Without kafka.brokers
// they run on the embedded broker.
type Everything struct {
	Common `yaml:",inline"`

	Broker     Broker        `yaml:"broker"`
	Zeek       ingest.Config `yaml:"zeek"`
	Flow       ingest.Config `yaml:"flow"`
	Packet     ingest.Config `yaml:"packet"`
	Falco      ingest.Config `yaml:"falco"`
	CloudTrail ingest.Config `yaml:"cloudtrail"`
	GCP        ingest.Config `yaml:"gcp"`

	Domain   string        `yaml:"domain" help:"correlation domain: the key of all signals"`
	MaxKeys  int           `yaml:"max_keys" help:"addresses, hosts or principals kept per partition"`
	MaxBytes int64         `yaml:"max_bytes" help:"about how many bytes of memory these may take per partition; the collector of garbage needs as much again"`
	Commit   time.Duration `yaml:"commit_interval" help:"time between commits; the embedded broker takes at least 1s"`
	Snapshot time.Duration `yaml:"snapshot_cycle" help:"time between full snapshots of the state"`
}

// Broker is the embedded broker.
type Broker struct {
	Listen string `yaml:"listen" help:"loopback address of the embedded broker, for consumers of the alerts"`
	Data   string `yaml:"data" help:"folder of the embedded broker's logs; empty: in memory, lost at the end"`
}

// DefaultEverything are the defaults.
func DefaultEverything() *Everything {
	d := DefaultDetection()
	c := &Everything{
		Common: DefaultCommon("127.0.0.1:9600"), Broker: Broker{Listen: "127.0.0.1:9092"},
		Zeek: ingest.Default(), Flow: ingest.Default(), Packet: ingest.Default(), Falco: ingest.Default(), CloudTrail: ingest.Default(), GCP: ingest.Default(),
		Domain: d.Domain, MaxKeys: d.MaxKeys, MaxBytes: d.MaxBytes, Commit: d.Commit, Snapshot: d.Snapshot,
	}
	c.Kafka.Brokers = nil
	return c
}

// sources are the ingest services that have something to read.
func (c *Everything) sources() map[string]*ingest.Config {
	out := map[string]*ingest.Config{}
	for name, cfg := range map[string]*ingest.Config{
		"ingest-zeek": &c.Zeek, "ingest-flow": &c.Flow, "ingest-packet": &c.Packet, "ingest-falco": &c.Falco, "ingest-cloudtrail": &c.CloudTrail, "ingest-gcp": &c.GCP,
	} {
		if cfg.Reads() {
			out[name] = cfg
		}
	}
	return out
}

// Validate returns all problems.
func (c *Everything) Validate() error {
	common := c.Common
	if len(common.Kafka.Brokers) == 0 {
		common.Kafka.Brokers = []string{"embedded"}
	}
	errs := []error{common.Validate()}
	sources := c.sources()
	if len(sources) == 0 {
		errs = append(errs, errors.New("zeek, flow, packet, falco, cloudtrail, gcp: no source is configured: nothing to read"))
	}
	for _, name := range []string{"zeek", "flow", "packet", "falco", "cloudtrail", "gcp"} {
		cfg, ok := sources["ingest-"+name]
		if !ok {
			continue
		}
		if err := cfg.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// order of the ingest services within a process.
var order = []string{"ingest-zeek", "ingest-flow", "ingest-packet", "ingest-falco", "ingest-cloudtrail", "ingest-gcp"}

// RunEverything runs all configured services until ctx ends, on the embedded
// broker where no other is named. started is told the broker's address and
// the admin endpoint's once all services run; it may be nil.
func RunEverything(ctx context.Context, room *Room, c *Everything, started func(brokers, admin string)) error {
	common := c.Common
	if len(common.Kafka.Brokers) > 0 {
		return runServices(ctx, room, c, common, started)
	}
	b, err := broker.New(broker.Config{Listen: c.Broker.Listen, Folder: c.Broker.Data}, room.Log)
	if err != nil {
		return fmt.Errorf("%w: broker: %w", config.ErrUsage, err)
	}
	// The broker outlives the services: they commit while they drain.
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- b.Run(own) }()
	select {
	case <-b.Ready():
	case err := <-ended:
		return fmt.Errorf("broker: %w", err)
	}
	common.Kafka.Brokers, common.Kafka.Embedded = []string{b.Addr()}, true
	services, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		err := <-ended
		ended <- err
		cancel(err)
	}()
	err = runServices(services, room, c, common, started)
	stop()
	if brokerErr := <-ended; brokerErr != nil {
		err = errors.Join(fmt.Errorf("broker: %w", brokerErr), err)
	}
	return err
}

// runServices runs the services against a broker that is there.
func runServices(ctx context.Context, room *Room, c *Everything, common Common, started func(brokers, admin string)) error {
	named := func(name string) *Room {
		return &Room{Log: room.Log.With("part", name), Metrics: room.Metrics, Exfil: room.Exfil}
	}
	var services []Service
	add := func(s Service, err error) error {
		services = append(services, s)
		return err
	}
	if err := add(NewCorrelate(named("correlate"), &Correlation{Common: common, Domain: c.Domain, Commit: c.Commit, Snapshot: c.Snapshot})); err != nil {
		return err
	}
	if err := add(NewDetect(named("detect"), &Detection{Common: common, Domain: c.Domain, MaxKeys: c.MaxKeys, MaxBytes: c.MaxBytes, Commit: c.Commit, Snapshot: c.Snapshot})); err != nil {
		return err
	}
	sources := c.sources()
	for _, name := range order {
		cfg, ok := sources[name]
		if !ok {
			continue
		}
		if cfg.Webhook.Domain == ingest.Default().Webhook.Domain {
			cfg.Webhook.Domain = c.Domain // windows belong to the alerts of this process
		}
		s, err := newIngest(named(name), name, &common, cfg)
		if err := add(untilDone(s), err); err != nil {
			return err
		}
	}
	tasks, admin, err := sideTasks(ctx, room, &common, services)
	if err != nil {
		return err
	}
	for _, s := range services {
		tasks = append(tasks, Task{s.Name, s.Run})
	}
	if started != nil {
		started(common.Kafka.Brokers[0], admin)
	}
	return RunGroup(ctx, room.Log, tasks...)
}

// untilDone keeps a service that has read all there is from ending the others.
func untilDone(s Service) Service {
	run := s.Run
	s.Run = func(ctx context.Context) error {
		if err := run(ctx); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}
	return s
}

// sideTasks are what runs beside the services of a process: the admin
// endpoint, if one is configured, and the watch over the site file.
func sideTasks(ctx context.Context, room *Room, c *Common, services []Service) (tasks []Task, admin string, err error) {
	file, err := newSiteFile(room, c, services)
	if err != nil {
		return nil, "", err
	}
	if c.Admin.Listen != "" {
		a, err := web.Listen(ctx, c.Admin.Listen, room.Metrics, func() error { return allReady(services) }, room.Log)
		if err != nil {
			return nil, "", err
		}
		tasks, admin = append(tasks, Task{Name: "admin", Run: a.Run}), a.Addr()
	}
	return append(tasks, Task{Name: "site file", Run: file.task}), admin, nil
}
