package command

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/bench"
	"github.com/ebbwatch/ebbwatch/internal/config"
)

// benchCommand measures this machine.
type benchCommand struct {
	Kafka       []string      `placeholder:"ADDR" help:"Brokers of a Kafka cluster, host:port; it gets topics of its own, named ebb.bench..., which are deleted. Without: the embedded broker, in this process and on the same cores."`
	JSON        bool          `help:"One JSON document on stdout instead of tables."`
	Sources     []int         `default:"100000,1000000" placeholder:"N" help:"Numbers of sources (monitored addresses) to measure with."`
	Active      int           `default:"100000" placeholder:"N" help:"At most so many of them talk while it is measured."`
	Records     int64         `default:"4000000" placeholder:"N" help:"Records that are measured for each number of sources."`
	Partitions  int32         `placeholder:"N" help:"Partitions of the events; default 16, on the embedded broker 4."`
	Commit      time.Duration `default:"1s" help:"Time between commits."`
	Snapshot    time.Duration `default:"30s" help:"Time between snapshots; services take one every 5 minutes, so their share is smaller."`
	EventRate   int           `default:"10000" placeholder:"N" help:"Records a second of event time: with it, how many windows pass."`
	MemoryLimit string        `default:"2700MiB" placeholder:"SIZE" help:"GOMEMLIMIT of each phase."`
	Latency     time.Duration `default:"20s" help:"How long the way from record to alert is measured, without and then with a kill -9 of one instance; 0: not."`
	LatencyRate int           `default:"20000" placeholder:"N" help:"Records a second while it is."`
	Profile     string        `placeholder:"FOLDER" help:"Write a CPU profile of each phase there."`
}

// phaseCommand is one phase in a process of its own; bench starts it.
type phaseCommand struct{}

// phaseName is its name on the command line.
const phaseName = "bench-phase"

// Run runs the phase that stdin describes.
func (c *phaseCommand) Run(w *world) error {
	return bench.Child(w.ctx, os.Stdin, w.stdout, w.logger(slog.LevelError))
}

// Run measures and prints.
func (c *benchCommand) Run(w *world) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cfg := bench.Config{
		Self: []string{self, phaseName}, Brokers: c.Kafka, Sources: slices.DeleteFunc(c.Sources, func(n int) bool { return n == 0 }), Active: c.Active,
		Records: c.Records, Partitions: c.Partitions, Commit: c.Commit, Snapshot: c.Snapshot, EventRate: c.EventRate, MemoryLimit: c.MemoryLimit,
		Latency: c.Latency, LatencyRate: c.LatencyRate, Profiles: c.Profile,
	}
	if cfg.Partitions == 0 {
		cfg.Partitions = 16
		if len(c.Kafka) == 0 {
			cfg.Partitions = 4
		}
	}
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("%w: %s", config.ErrUsage, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if w.terminal {
		drawn := time.Time{}
		cfg.Progress = func(what string, done float64) {
			if time.Since(drawn) < 100*time.Millisecond {
				return
			}
			drawn = time.Now()
			const width = 24
			filled := int(width * min(max(done, 0), 1))
			fmt.Fprintf(w.stderr, "\r\x1b[K[%s%s] %3.0f %%  %s", strings.Repeat("=", filled), strings.Repeat(" ", width-filled), 100*done, what)
		}
	}
	report, err := bench.Run(w.ctx, cfg, w.logger(slog.LevelError))
	if w.terminal {
		fmt.Fprint(w.stderr, "\r\x1b[K")
	}
	if report != nil {
		write := report.WriteText
		if c.JSON {
			write = report.WriteJSON
		}
		if werr := write(w.stdout); err == nil {
			err = werr
		}
	}
	return err
}
