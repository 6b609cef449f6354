package command

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
)

// stateCommand are the commands about the state of services.
type stateCommand struct {
	Show        showCommand        `cmd:"" help:"What each partition of a service holds: keys, bytes, ages, watermarks, snapshots."`
	Repartition repartitionCommand `cmd:"" help:"Give a topic more partitions and move the state of the service that reads it along. The service is stopped and has read everything."`
}

// stateful is a service with state.
type stateful struct {
	cluster

	Service string   `enum:"detect,correlate" required:"" help:"detect or correlate."`
	Domain  []string `default:"default" help:"Correlation domains in use: the keys of the signals."`
	bounds
}

// bounds are those of detect, where they are not the defaults.
type bounds struct {
	MaxKeys  int   `help:"Keys kept per partition, as in the configuration of detect."`
	MaxBytes int64 `help:"Bytes kept per partition, as in the configuration of detect."`
}

func (b *bounds) detect() detect.Bounds { return detect.Bounds{Keys: b.MaxKeys, Bytes: b.MaxBytes} }

// config is that of the service, with what makes its operators.
func (s *stateful) config(w *world) (stream.Config, operator.Factory, error) {
	kafka, opts, err := s.settings(w)
	if err != nil {
		return stream.Config{}, nil, err
	}
	flow, limits := topic.Detect(), s.detect()
	factory := func(int32) (operator.Operator, error) { return pipeline.NewSet(s.Domain[0], limits) }
	if s.Service == topic.Correlate().Service {
		flow, factory = topic.Correlate(), func(int32) (operator.Operator, error) { return pipeline.NewCorrelator(false) }
	}
	return stream.Config{
		Service: flow.Service, Inputs: flow.Inputs, Outputs: flow.Outputs,
		Brokers: kafka.Brokers, Embedded: kafka.Embedded, Options: opts, StallTimeout: 30 * time.Second,
	}, factory, nil
}

// showCommand shows state.
type showCommand struct {
	stateful

	Quick bool `help:"Only what the topics say, without rebuilding each state to look into it."`
	JSON  bool `help:"JSON instead of a table."`
}

// Run shows what is there. The service may run meanwhile.
func (c *showCommand) Run(w *world) error {
	cfg, factory, err := c.config(w)
	if err != nil {
		return err
	}
	a, err := stream.OpenArchive(w.ctx, cfg, factory, w.logger(slog.LevelWarn))
	if err != nil {
		return err
	}
	defer a.Close()
	list, err := a.Show(w.ctx, !c.Quick)
	if err != nil {
		return err
	}
	if c.JSON {
		enc := json.NewEncoder(w.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(list)
	}
	return showState(w.stdout, list, time.Now())
}

// showState prints a table, a line a partition, and below what detectors and
// sources of all of them are.
func showState(out io.Writer, list []stream.PartitionState, now time.Time) error {
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "PARTITION\tCOMMITTED\tBEHIND\tSNAPSHOT\tAT\tAGE\tSIZE\tKEYS\tMEMORY\tLAST HEARD\tCOMPLETE UP TO")
	parts := map[string]*operator.PartReport{}
	for _, s := range list {
		fmt.Fprintf(tw, "%s/%d\t", s.Topic, s.Partition)
		if s.Committed < 0 {
			fmt.Fprintln(tw, "never")
			continue
		}
		fmt.Fprintf(tw, "%d\t%d\t", s.Committed, max(s.End-s.Committed, 0))
		if len(s.Snapshots) == 0 {
			fmt.Fprintln(tw, "none")
			continue
		}
		snap := s.Snapshots[0]
		fmt.Fprintf(tw, "#%d\t%d\t%s\t%s\t", snap.Generation, snap.Offset, age(now.Sub(snap.Written)), size(snap.Bytes))
		if s.Error != "" {
			fmt.Fprintln(tw, s.Error)
			continue
		}
		if s.Report == nil {
			fmt.Fprintln(tw, "-\t-\t-\t-")
			continue
		}
		r := s.Report
		heard := "-"
		if r.Newest > 0 {
			heard = age(now.Sub(time.UnixMicro(r.Newest))) + " ago"
		}
		fmt.Fprintf(tw, "%d\t%s\t%s\t%s\n", r.Keys, size(r.Bytes), heard, complete(r.Sources))
		for _, p := range r.Parts {
			sum := parts[p.Name]
			if sum == nil {
				sum = &operator.PartReport{Name: p.Name}
				parts[p.Name] = sum
			}
			sum.Keys, sum.Bytes = sum.Keys+p.Keys, sum.Bytes+p.Bytes
		}
	}
	if len(parts) > 0 {
		fmt.Fprintln(tw, "\nPART\tKEYS\tMEMORY")
		for _, name := range slices.Sorted(maps.Keys(parts)) {
			fmt.Fprintf(tw, "%s\t%d\t%s\n", name, parts[name].Keys, size(parts[name].Bytes))
		}
	}
	return tw.Flush()
}

// complete is the least complete source of a partition.
func complete(list []operator.SourceReport) string {
	if len(list) == 0 {
		return "no source"
	}
	least, unknown, ended := int64(0), 0, 0
	for _, s := range list {
		switch {
		case s.Ended:
			ended++
		case s.Low == 0:
			unknown++
		case least == 0 || s.Low < least:
			least = s.Low
		}
	}
	text := "-"
	if least > 0 {
		text = time.UnixMicro(least).UTC().Format(time.DateTime)
	}
	return fmt.Sprintf("%s (%d sources, %d ended, %d unknown)", text, len(list), ended, unknown)
}

func age(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	switch {
	case d > 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	case d > time.Hour:
		return d.Round(time.Minute).String()
	}
	return d.Round(time.Second).String()
}

func size(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

// repartitionCommand migrates.
type repartitionCommand struct {
	stateful

	Partitions map[string]int32 `placeholder:"TOPIC=N" help:"Wanted partitions of an input topic, several separated by ';'. Without: what the topics have now."`
}

// Run migrates and says what was done.
func (c *repartitionCommand) Run(w *world) error {
	cfg, factory, err := c.config(w)
	if err != nil {
		return err
	}
	m := stream.Migration{Config: cfg, Partitions: c.Partitions, Progress: func(what string) { fmt.Fprintln(w.stderr, what) }}
	for _, d := range c.Domain {
		m.Keys = append(m.Keys, []byte(d))
	}
	for name, n := range c.Partitions {
		if n < 1 || n > 10000 {
			return fmt.Errorf("%w: --partitions %s=%d", config.ErrUsage, name, n)
		}
	}
	res, err := m.Run(w.ctx, factory, w.logger(slog.LevelWarn))
	if err != nil {
		return err
	}
	if res.Nothing {
		fmt.Fprintln(w.stdout, "everything is in its place")
		return nil
	}
	var text []string
	for _, in := range res.Inputs {
		text = append(text, fmt.Sprintf("%s %d → %d", in.Topic, in.Old, in.New))
	}
	fmt.Fprintf(w.stdout, "%s: %s; %s of state moved, %d state partitions\n", c.Service, strings.Join(text, ", "), size(res.Bytes), res.Partitions)
	return nil
}
