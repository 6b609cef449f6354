package crash

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Exit codes of Main.
const (
	exitExact = 0
	exitFound = 1 // something is missing, twice, out of order, or could not be judged
	exitUsage = 2
)

// Main is the command line of the series.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case "tally":
			return tallyMain(ctx, args[1:], stderr)
		case "generate":
			return generateMain(ctx, args[1:], stderr)
		}
	}
	return seriesMain(ctx, args, stdout, stderr)
}

func flags(name string, stderr io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(stderr)
	return f
}

func tallyMain(ctx context.Context, args []string, stderr io.Writer) int {
	f := flags("tally", stderr)
	brokers := f.String("brokers", "", "")
	cfg := TallyConfig{}
	f.BoolVar(&cfg.Embedded, "embedded", false, "")
	f.StringVar(&cfg.Slot, "slot", "0", "")
	f.DurationVar(&cfg.Cycle, "cycle", time.Second, "")
	if f.Parse(args) != nil {
		return exitUsage
	}
	cfg.Brokers = strings.Split(*brokers, ",")
	log := slog.New(slog.NewTextHandler(stderr, nil))
	if err := Tally(ctx, cfg, log); err != nil {
		log.Error("tally", "error", err)
		return exitFound
	}
	return exitExact
}

func generateMain(ctx context.Context, args []string, stderr io.Writer) int {
	f := flags("generate", stderr)
	cfg := GenerateConfig{}
	start := f.String("start", "", "")
	f.Uint64Var(&cfg.Seed, "seed", 0, "")
	f.IntVar(&cfg.Lines, "lines", 10_000, "")
	f.IntVar(&cfg.Rate, "rate", 2000, "")
	f.DurationVar(&cfg.Flow, "flow", 0, "")
	f.DurationVar(&cfg.Pause, "pause", 0, "")
	err := f.Parse(args)
	if err == nil {
		cfg.Files = f.Args()
		if cfg.Start, err = time.Parse(time.RFC3339, *start); err == nil {
			err = Generate(ctx, cfg)
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, "generate:", err)
		return exitFound
	}
	return exitExact
}

// series is the configuration of a series.
type series struct {
	Config
	runs, parallel int
	seed           uint64
	kafka, script  string
	brokers        string
	logFile        string
	folder         string
	keep           bool
}

func seriesMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var s series
	f := flags("series", stderr)
	f.IntVar(&s.runs, "runs", 10, "number of runs")
	f.Uint64Var(&s.seed, "seed", 1, "seed of the first run; the next has the next seed")
	f.IntVar(&s.parallel, "parallel", 1, "runs at a time; on a real cluster one")
	f.StringVar(&s.kafka, "kafka", "embedded", "embedded or real: three nodes, started by -script unless -brokers names them")
	f.StringVar(&s.script, "script", "test/real/kafka.sh", "what starts, kills and stops a real cluster")
	f.StringVar(&s.brokers, "brokers", "", "addresses of a real cluster that runs already; its topics are deleted. With three it is the script's, and nodes are killed")
	f.StringVar(&s.Mutation, "mutate", "", "rule of the engine to switch off: offsets-outside, trust-revokes, patch-after-abort, buckets-apart, same-id")
	f.BoolVar(&s.KillBroker, "broker-kills", false, "kill -9 the embedded broker as well: measured, not promised")
	f.IntVar(&s.Outputs, "outputs", 10_500, "least number of outputs of the tally in a run")
	f.StringVar(&s.Bin, "bin", "bin/crash", "folder with the programs, built with -tags ebbcrash")
	f.StringVar(&s.folder, "dir", "", "folder for what the runs write; default: a temporary one")
	f.StringVar(&s.logFile, "log", "", "file to which a line for each run is appended")
	f.BoolVar(&s.keep, "keep", false, "keep the folders of exact runs")
	if f.Parse(args) != nil || f.NArg() > 0 {
		return exitUsage
	}
	code, err := s.main(ctx, stdout)
	if err != nil {
		fmt.Fprintln(stderr, "crash:", err)
		return exitFound
	}
	return code
}

func (s *series) main(ctx context.Context, stdout io.Writer) (int, error) {
	var err error
	if s.Self, err = os.Executable(); err != nil {
		return exitFound, err
	}
	for _, p := range []*string{&s.Bin, &s.script} {
		if *p, err = filepath.Abs(*p); err != nil {
			return exitFound, err
		}
	}
	if s.folder == "" {
		if s.folder, err = os.MkdirTemp("", "ebbwatch-crash-"); err != nil {
			return exitFound, err
		}
	}
	if s.Mutation == "same-id" {
		s.KillBroker = true // nothing else shows it
	}
	if s.Real = s.kafka == "real"; s.Real {
		s.parallel, s.KillBroker = 1, false
		stop, err := s.cluster(ctx)
		if err != nil {
			return exitFound, err
		}
		defer stop()
	}
	out := stdout
	if s.logFile != "" {
		if err := os.MkdirAll(filepath.Dir(s.logFile), 0o750); err != nil {
			return exitFound, err
		}
		f, err := os.OpenFile(s.logFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return exitFound, err
		}
		defer f.Close()
		out = io.MultiWriter(stdout, f)
	}
	fmt.Fprintf(out, "%s crash series: %d runs from seed %d, %s broker, mutation %q, broker kills %v\n",
		time.Now().UTC().Format(time.RFC3339), s.runs, s.seed, s.kafka, s.Mutation, s.KillBroker || s.Real)
	return s.loop(ctx, out), nil
}

// cluster uses the cluster that is named, or starts one.
func (s *series) cluster(ctx context.Context) (stop func(), err error) {
	stop = func() {}
	if s.brokers == "" {
		cmd := exec.CommandContext(ctx, s.script, "start", "nodes=3") //nolint:gosec // the script of this repository
		var errs strings.Builder
		cmd.Stderr = &errs
		text, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("start Kafka: %w: %s", err, errs.String())
		}
		s.brokers = strings.TrimSpace(string(text))
		stop = func() { _ = exec.CommandContext(context.WithoutCancel(ctx), s.script, "stop").Run() } //nolint:gosec // as above
	}
	s.Brokers = strings.Split(s.brokers, ",")
	if len(s.Brokers) == 3 {
		s.Nodes = 3
	}
	s.Node = func(ctx context.Context, verb string, n int) error {
		out, err := exec.CommandContext(ctx, s.script, "node", verb, strconv.Itoa(n)).CombinedOutput() //nolint:gosec // as above
		if err != nil {
			return fmt.Errorf("%s node %d: %w: %s", verb, n, err, out)
		}
		return nil
	}
	return stop, nil
}

// loop makes the runs and prints the last line.
func (s *series) loop(ctx context.Context, out io.Writer) int {
	var mu sync.Mutex
	var sum Report
	done, bad := 0, 0
	over := false
	next := make(chan uint64)
	var wg sync.WaitGroup
	for range max(s.parallel, 1) {
		wg.Go(func() {
			for seed := range next {
				cfg := s.Config
				cfg.Seed, cfg.Dir = seed, filepath.Join(s.folder, fmt.Sprintf("seed-%d", seed))
				_ = os.RemoveAll(cfg.Dir)
				rep := Run(ctx, cfg)
				mu.Lock()
				if ctx.Err() == nil {
					done++
					sum.Missing += rep.Missing + rep.Foreign // what is wrong stands in the place of what is right
					sum.Twice += rep.Twice
					sum.Disorder += rep.Disorder
					sum.Kills += rep.Kills
					fmt.Fprintln(out, rep.line(cfg.Dir))
					if !rep.Exact() {
						bad++
						over = over || s.Mutation != "" // it is found
					}
				}
				mu.Unlock()
				if rep.Exact() && !s.keep {
					_ = os.RemoveAll(cfg.Dir)
				}
			}
		})
	}
	for i := range s.runs {
		mu.Lock()
		stop := over || ctx.Err() != nil
		mu.Unlock()
		if stop {
			break
		}
		next <- s.seed + uint64(i)
	}
	close(next)
	wg.Wait()
	fmt.Fprintf(out, "crash: %d runs, %d kills, %d missing, %d twice, %d out of order\n", done, sum.Kills, sum.Missing, sum.Twice, sum.Disorder)
	if bad > 0 || done == 0 || done < s.runs && !over {
		return exitFound
	}
	return exitExact
}

// line is the report of a run as one line of the log.
func (r *Report) line(dir string) string {
	var b strings.Builder
	state := "exact"
	switch {
	case r.Err != nil:
		state = "FAILED"
	case !r.Exact():
		state = "WRONG"
	}
	fmt.Fprintf(&b, "seed %d: %s in %.1fs, %d outputs (%d of the tally, %d signals, %d alerts), %d kills", r.Seed, state, r.Took.Seconds(),
		r.Outputs+r.Signals+r.Alerts, r.Outputs, r.Signals, r.Alerts, r.Kills)
	for _, m := range []map[string]int{r.Kinds, r.Phases} {
		sep := " ("
		for _, k := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(&b, "%s%s %d", sep, k, m[k])
			sep = ", "
		}
		if sep != " (" {
			b.WriteString(")")
		}
	}
	fmt.Fprintf(&b, ", %d restarts", r.Restarts)
	if !r.Exact() {
		fmt.Fprintf(&b, ", %d missing, %d twice, %d out of order, %d not expected; %s; see %s", r.Missing, r.Twice, r.Disorder, r.Foreign, r.First, dir)
	}
	if r.Err != nil {
		fmt.Fprintf(&b, "; %s", strings.ReplaceAll(errors.Join(r.Err).Error(), "\n", "; "))
	}
	if len(r.Notes) > 0 {
		fmt.Fprintf(&b, " [%s]", strings.Join(r.Notes, "; "))
	}
	return b.String()
}
