package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/broker"
	"github.com/ebbwatch/ebbwatch/internal/topic"
)

// Config of a run.
type Config struct {
	// Self is the command that runs Child in a process of its own.
	Self []string
	// Brokers of a Kafka cluster; none: the embedded broker in this process.
	Brokers []string
	// Sources are the numbers of sources to measure with. Where there are
	// more than Active, only so many of them talk after the setup.
	Sources []int
	Active  int
	// Records are measured for each number of sources.
	Records    int64
	Partitions int32
	Commit     time.Duration
	Snapshot   time.Duration
	// EventRate is the records a second of event time.
	EventRate int
	// MemoryLimit is the GOMEMLIMIT of the processes that detect.
	MemoryLimit string

	// Latency is how long the chain is measured at LatencyRate records a
	// second, without and with a kill; 0 leaves it out.
	Latency     time.Duration
	LatencyRate int

	// Profiles is a folder for CPU profiles of the phases, "" for none.
	Profiles string
	// Progress is told what is done and how far, 0 to 1. It may be nil.
	Progress func(what string, done float64)
}

// Validate returns all problems.
func (c *Config) Validate() error {
	var errs []error
	if len(c.Sources) == 0 && c.Latency == 0 {
		errs = append(errs, errors.New("nothing to measure"))
	}
	for _, n := range c.Sources {
		if n < 1 || n > 8<<20 {
			errs = append(errs, fmt.Errorf("sources %d: 1 to %d", n, 8<<20))
		}
	}
	if c.Records < 1000 {
		errs = append(errs, fmt.Errorf("records %d: at least 1000", c.Records))
	}
	if c.Active < 1 || c.EventRate < 1 || c.LatencyRate < 1 {
		errs = append(errs, errors.New("active sources and rates are at least 1"))
	}
	if c.Partitions < 1 || c.Partitions > 1024 {
		errs = append(errs, fmt.Errorf("partitions %d: 1 to 1024", c.Partitions))
	}
	return errors.Join(errs...)
}

// run is a run in progress.
type run struct {
	cfg      Config
	log      *slog.Logger
	brokers  []string
	embedded bool
	id       string
}

// Run measures. The report holds what was measured when it ended early.
func Run(ctx context.Context, cfg Config, log *slog.Logger) (*Report, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string, float64) {}
	}
	r := &run{cfg: cfg, log: log, brokers: cfg.Brokers, id: strconv.FormatInt(time.Now().UnixMilli(), 36)}
	report := &Report{Broker: strings.Join(cfg.Brokers, ","), Cores: runtime.GOMAXPROCS(0), Go: runtime.Version(), CommitS: cfg.Commit.Seconds(), SnapshotS: cfg.Snapshot.Seconds(), Partitions: int(cfg.Partitions)}
	if len(cfg.Brokers) == 0 {
		stop, err := r.embed(ctx)
		if err != nil {
			return nil, err
		}
		defer stop()
		report.Broker, report.Embedded = "embedded", true
	}
	for _, n := range cfg.Sources {
		l, err := r.load(ctx, n)
		if l != nil {
			report.Loads = append(report.Loads, l)
		}
		if err != nil {
			return report, fmt.Errorf("%d sources: %w", n, err)
		}
	}
	if cfg.Latency > 0 {
		var err error
		if report.Latency, err = r.latency(ctx); err != nil {
			return report, fmt.Errorf("latency: %w", err)
		}
	}
	return report, nil
}

// embed starts the embedded broker.
func (r *run) embed(ctx context.Context) (stop func(), err error) {
	// It needs a topic, or it makes the product's.
	b, err := broker.New(broker.Config{Topics: []topic.Topic{{Name: "bench", Partitions: 1, Embedded: 1, Cleanup: topic.Delete}}}, r.log)
	if err != nil {
		return nil, err
	}
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- b.Run(own) }()
	select {
	case <-b.Ready():
	case err := <-ended:
		cancel()
		return nil, fmt.Errorf("broker: %w", err)
	}
	r.brokers, r.embedded = []string{b.Addr()}, true
	return func() {
		cancel()
		if err := <-ended; err != nil {
			r.log.Warn("the embedded broker ended", "error", err)
		}
	}, nil
}

// prefix names the topics of one load; nothing of a site's own is like it.
func (r *run) spec(name string) *spec {
	return &spec{
		Brokers: r.brokers, Embedded: r.embedded, Prefix: "ebb.bench." + r.id + "." + name, Slot: "0",
		Commit: r.cfg.Commit, Snapshot: r.cfg.Snapshot,
	}
}

// load measures all phases with a number of sources.
func (r *run) load(ctx context.Context, sources int) (*LoadReport, error) {
	active := min(sources, r.cfg.Active)
	s := r.spec(strconv.Itoa(sources))
	// Twice what a partition should get, so that nothing is evicted.
	s.MaxKeys = max(2*sources/int(r.cfg.Partitions), 1000)
	f, err := newFiller(ctx, s, r.cfg.Partitions)
	if err != nil {
		return nil, err
	}
	defer f.cl.Close()
	defer func() {
		own, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := drop(own, f.adm, s, r.cfg.Partitions); err != nil {
			r.log.Debug("delete the topics of a load", "error", err)
		}
	}()
	say := func(what string) func(float64) {
		return func(done float64) { r.cfg.Progress(fmt.Sprintf("%d sources: %s", sources, what), done) }
	}
	l := newLoad(sources, active, r.cfg.EventRate, time.Now().Add(-time.Hour).UnixMicro())
	if err := f.write(ctx, l, l.setupRecords(), l.setup, say("records that make every source known")); err != nil {
		return nil, err
	}
	from, begin, err := f.ends(ctx)
	if err != nil {
		return nil, err
	}
	f.bytes, f.records = 0, 0
	if err := f.write(ctx, l, r.cfg.Records, l.record, say("records to measure")); err != nil {
		return nil, err
	}
	to, end, err := f.ends(ctx)
	if err != nil {
		return nil, err
	}
	out := &LoadReport{Sources: sources, Active: active, RecordBytes: float64(f.bytes) / float64(f.records)}
	s.From, s.To = from, to
	for _, p := range []struct {
		phase string
		into  **Measure
	}{{phaseRaw, &out.Raw}, {phaseDecode, &out.Decode}, {phaseVolatile, &out.Volatile}, {phaseDetect, &out.Detect}} {
		s.Phase = p.phase
		s.Begin, s.End = begin, end
		if p.phase == phaseRaw || p.phase == phaseDecode {
			s.Begin, s.End = 0, end-begin
		}
		n, err := r.child(ctx, s, say(p.phase), false)
		if err != nil {
			return out, fmt.Errorf("%s: %w", p.phase, err)
		}
		*p.into = n.Result
	}
	s.Phase = phaseRecover
	n, err := r.child(ctx, s, say("recovery after kill -9"), true)
	if err != nil {
		return out, fmt.Errorf("%s: %w", phaseRecover, err)
	}
	out.Recovery = n.Recovery
	out.Memory, out.Volatile.Memory = out.Volatile.Memory, nil
	out.compare()
	return out, nil
}

// child runs a phase in a process until it has a result. Unless it may end by
// itself it is killed then.
func (r *run) child(ctx context.Context, s *spec, progress func(float64), ends bool) (news, error) {
	c, err := r.start(ctx, s)
	if err != nil {
		return news{}, err
	}
	defer c.kill()
	for n := range c.news {
		switch {
		case n.Error != "":
			return n, errors.New(n.Error)
		case n.Result != nil || n.Recovery != nil:
			if ends {
				return n, c.end()
			}
			return n, nil
		default:
			progress(n.Progress)
		}
	}
	return news{}, errors.Join(errors.New("the process ended early"), ctx.Err(), c.cmd.Wait())
}

// process is a child.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	news  chan news
	dead  bool
}

func (r *run) start(ctx context.Context, s *spec) (*process, error) {
	described := *s
	if r.cfg.Profiles != "" {
		described.Profile = filepath.Join(r.cfg.Profiles, strings.TrimPrefix(s.Prefix, "ebb.bench."+r.id+".")+"-"+s.Phase+s.Slot+".pprof")
	}
	data, err := json.Marshal(&described)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, r.cfg.Self[0], r.cfg.Self[1:]...) //nolint:gosec // this very binary
	cmd.Env = os.Environ()
	if r.cfg.MemoryLimit != "" {
		cmd.Env = append(cmd.Env, "GOMEMLIMIT="+r.cfg.MemoryLimit)
	}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a phase: %w", err)
	}
	c := &process{cmd: cmd, stdin: stdin, news: make(chan news, 64)}
	go func() {
		defer close(c.news)
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var n news
			if err := json.Unmarshal(lines.Bytes(), &n); err != nil {
				n.Error = fmt.Sprintf("the process said %q", lines.Text())
			}
			c.news <- n
		}
	}()
	if _, err := stdin.Write(data); err != nil {
		c.kill()
		return nil, fmt.Errorf("start a phase: %w", err)
	}
	return c, nil
}

// kill ends a child as a crash does.
func (c *process) kill() {
	if c.dead {
		return
	}
	c.dead = true
	_ = c.cmd.Process.Kill()
	for range c.news { // so that its reader ends
	}
	_ = c.cmd.Wait() // the error is the kill
}

// end waits for a child that ends by itself.
func (c *process) end() error {
	for n := range c.news {
		if n.Error != "" {
			return errors.New(n.Error)
		}
	}
	c.dead = true
	return c.cmd.Wait()
}
