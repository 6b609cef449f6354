package crash

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Config of a run.
type Config struct {
	Bin  string // folder with the programs
	Self string // the program that runs tally and generator
	Dir  string // of the run: input, logs of the processes, the broker's data

	Seed     uint64
	Outputs  int    // that the tally must have at least
	Mutation string // rule of the engine to switch off

	// Real uses the cluster at Brokers; Nodes of it are killed by Node.
	Real    bool
	Brokers []string
	Nodes   int
	Node    func(ctx context.Context, verb string, n int) error
	// KillBroker kills the embedded broker as well.
	KillBroker bool
}

// Bounds that keep a run short: what in a product is seconds.
const (
	session  = 1500 * time.Millisecond
	txn      = 1000 * time.Millisecond
	interval = 100 * time.Millisecond
	cycle    = 700 * time.Millisecond
	// A cluster that loses a node needs a few seconds to name new leaders.
	realSession = 2500 * time.Millisecond
	realTxn     = 2000 * time.Millisecond
)

// Report is what a run has shown.
type Report struct {
	Seed                     uint64
	Missing, Twice, Disorder int
	Foreign                  int
	Outputs, Signals, Alerts int
	Expected                 int
	Kills                    int
	Kinds                    map[string]int // of what was done
	Phases                   map[string]int // deaths of the tally in each phase of a commit
	Restarts                 int            // of services that ended by themselves
	Took                     time.Duration
	First                    string   // the first finding
	Notes                    []string // what was odd but not wrong
	Err                      error    // the run could not be judged
}

// Exact reports whether the run was judged and nothing was wrong.
func (r *Report) Exact() bool { return r.Err == nil && r.Missing+r.Twice+r.Disorder+r.Foreign == 0 }

// run is a run that is going on.
type run struct {
	cfg    Config
	dir    string
	site   string
	plan   plan
	ctx    context.Context //nolint:containedctx // the run's own: processes end with it
	cancel context.CancelCauseFunc
	listen string // of the embedded broker
	cl     *kgo.Client
	adm    *kadm.Client
	kills  kills

	mu        sync.Mutex
	instances []*instance
	deaths    map[string][]death
	pending   map[string]int
	calm      bool // no more deaths
	clear     bool // the storm is over
	notes     []string
}

const siteFile = "home_networks: [10.0.0.0/8]\n"

// Run makes one run and judges it.
func Run(ctx context.Context, cfg Config) Report {
	began := time.Now()
	own, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	nodes := 0
	if cfg.Real {
		nodes = cfg.Nodes
	}
	s := session
	if cfg.Real {
		s = realSession
	}
	r := &run{
		cfg: cfg, dir: cfg.Dir, plan: newPlan(cfg.Seed, s, nodes, cfg.KillBroker), ctx: own, cancel: cancel,
		kills: kills{n: map[string]int{}, phase: map[string]int{}}, pending: map[string]int{},
	}
	r.deaths = maps.Clone(r.plan.others)
	r.deaths[tallyService] = r.plan.tally
	v, err := r.do(own)
	if cause := context.Cause(own); err != nil && cause != nil {
		err = cause
	}
	rep := Report{
		Seed: cfg.Seed, Missing: v.Missing, Twice: v.Twice, Disorder: v.Disordered, Foreign: v.Foreign, Expected: v.Expected,
		Outputs: v.outputs, Signals: v.signals, Alerts: v.alerts, Kills: r.kills.total(), Kinds: r.kills.n, Phases: r.kills.phase,
		First: v.first, Notes: r.notes, Err: err,
	}
	for _, i := range r.instances {
		rep.Restarts += i.crashed
	}
	cancel(nil)
	for _, i := range r.instances {
		<-i.done
	}
	if r.cl != nil {
		r.cl.Close()
	}
	rep.Took = time.Since(began)
	return rep
}

func (r *run) fail(err error) { r.cancel(err) }

func (r *run) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, text)
}

func (r *run) brokers() []string {
	if r.cfg.Real {
		return r.cfg.Brokers
	}
	return []string{r.listen}
}

// environment of a process.
func (r *run) environment(service string) []string {
	s, t := session, txn
	if r.cfg.Real {
		s, t = realSession, realTxn
	}
	every := interval
	if service == tallyService && r.storm() {
		s, t, every = stormSession, stormTxn, stormInterval
	}
	env := []string{"EBBCRASH_SESSION=" + s.String(), "EBBCRASH_TXN=" + t.String(), "EBBCRASH_INTERVAL=" + every.String()}
	if r.cfg.Mutation != "" {
		env = append(env, "EBBCRASH_MUTATE="+r.cfg.Mutation)
	}
	return env
}

// do is the run: begin, chaos, calm, verdict.
func (r *run) do(ctx context.Context) (verdict, error) {
	files, err := r.begin(ctx)
	if err != nil {
		return verdict{}, err
	}
	seen, err := r.watch(ctx)
	if err != nil {
		return verdict{}, err
	}
	gen, err := r.generator(ctx, files)
	if err != nil {
		return verdict{}, err
	}
	if err := r.chaos(ctx); err != nil {
		return verdict{}, err
	}
	_ = gen.Process.Signal(syscall.SIGTERM)
	if err := gen.Wait(); err != nil {
		return verdict{}, fmt.Errorf("generator: %w", err)
	}
	input := map[string][]line{}
	total := 0
	for _, f := range files {
		if input[f], err = readLines(f); err != nil {
			return verdict{}, err
		}
		total += len(input[f])
	}
	stuck := r.calmDown(ctx, seen, total)
	if stuck != nil && !errors.Is(stuck, errStuck) {
		return verdict{}, stuck
	}
	t, err := r.read(ctx)
	if err != nil {
		return verdict{}, errors.Join(stuck, err)
	}
	v, err := judge(t, input, []byte(siteFile))
	if stuck != nil {
		v.note(stuck.Error())
		if v.exact() {
			err = errors.Join(err, stuck)
		}
	}
	if err == nil && v.outputs < r.cfg.Outputs {
		err = fmt.Errorf("only %d outputs were expected", v.outputs)
	}
	if err == nil && r.cfg.Mutation == "" {
		for _, ph := range enginePhases {
			if r.kills.phase[ph] == 0 {
				err = fmt.Errorf("nobody died in phase %s", ph)
			}
		}
	}
	return v, err
}

// begin starts the broker, the topics and the services.
func (r *run) begin(ctx context.Context) (files []string, err error) {
	for _, sub := range []string{"in0", "in1"} {
		if err := os.MkdirAll(filepath.Join(r.dir, sub), 0o700); err != nil {
			return nil, err
		}
		files = append(files, filepath.Join(r.dir, sub, "flow.log"))
	}
	r.site = filepath.Join(r.dir, "site.yaml")
	if err := os.WriteFile(r.site, []byte(siteFile), 0o600); err != nil {
		return nil, err
	}
	if !r.cfg.Real {
		if r.listen, err = freePort(ctx); err != nil {
			return nil, err
		}
		r.start("broker", "broker", filepath.Join(r.cfg.Bin, "ebbwatch"), "broker", "--listen", r.listen, "--data", filepath.Join(r.dir, "broker"))
	}
	if r.cl, err = kgo.NewClient(kgo.SeedBrokers(r.brokers()...)); err != nil {
		return nil, err
	}
	r.adm = kadm.NewClient(r.cl)
	if err := r.reachable(ctx); err != nil {
		return nil, err
	}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	for n := range 2 {
		slot := strconv.Itoa(n)
		r.service("ingest-flow", slot, "-paths", filepath.Dir(files[n]), "-name", "sensor-"+slot, "-commit_interval", interval.String(),
			"-rescan_interval", "500ms", "-poll_interval", "200ms")
		if n == 0 || !r.storm() {
			r.tally(slot)
		}
		r.service("detect", slot, "-snapshot_cycle", cycle.String())
		r.service("correlate", slot, "-snapshot_cycle", cycle.String())
	}
	return files, nil
}

// service starts an instance of a product.
func (r *run) service(name, slot string, args ...string) *instance {
	all := append([]string{
		filepath.Join(r.cfg.Bin, name), "-kafka.brokers", strings.Join(r.brokers(), ","), "-kafka.embedded", strconv.FormatBool(!r.cfg.Real),
		"-kafka.instance", slot, "-admin.listen", "", "-site", r.site,
	}, args...)
	return r.start(name, name+"-"+slot, all...)
}

func (r *run) tally(slot string) *instance {
	return r.start(tallyService, tallyService+"-"+slot, r.cfg.Self, "tally", "-brokers", strings.Join(r.brokers(), ","),
		"-embedded="+strconv.FormatBool(!r.cfg.Real), "-slot", slot, "-cycle", cycle.String())
}

// generator starts the process that writes the input.
func (r *run) generator(ctx context.Context, files []string) (*exec.Cmd, error) {
	args := append([]string{
		"generate", "-seed", strconv.FormatUint(r.cfg.Seed, 10), "-lines", strconv.Itoa(r.cfg.Outputs), "-rate", strconv.Itoa(r.cfg.Outputs / 5),
		"-start", time.Now().Add(-5 * hours * time.Hour).UTC().Format(time.RFC3339),
	}, files...)
	if stormy(r.cfg.Seed) {
		args = append([]string{args[0], "-flow", stormFlow.String(), "-pause", stormPause.String()}, args[1:]...)
	}
	cmd := exec.CommandContext(ctx, r.cfg.Self, args...) //nolint:gosec // the series' own program
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("generator: %w", err)
	}
	return cmd, nil
}

// reachable waits for a broker.
func (r *run) reachable(ctx context.Context) error {
	for end := time.Now().Add(30 * time.Second); ; {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := r.cl.Ping(try)
		cancel()
		if err == nil {
			return nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("no broker: %w", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Bounds of the chaos: the schedule of signals ends after the first, and then
// what is left of the planned deaths of the tally is waited for.
const (
	chaosTime  = 6 * time.Second
	deathsMost = 2 * time.Minute
)

// chaos kills by the plan.
func (r *run) chaos(ctx context.Context) error {
	began := time.Now()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, b := range r.plan.blows {
		wg.Go(func() { r.strike(ctx, b) })
	}
	if r.storm() {
		r.weather(ctx)
		began = time.Now()
	}
	for _, h := range r.plan.events {
		most := chaosTime
		if stormy(r.cfg.Seed) { // it has had its share
			most /= 3
		}
		if time.Since(began)+h.after > most {
			break
		}
		select {
		case <-time.After(h.after):
		case <-ctx.Done():
			return ctx.Err()
		}
		wg.Go(func() { r.act(ctx, h) })
	}
	for time.Since(began) < deathsMost && r.deathsLeft(tallyService) > 0 {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// act does one thing of the schedule.
func (r *run) act(ctx context.Context, h happening) {
	list := r.of("ingest-flow", tallyService, "detect", "correlate")
	slices.SortFunc(list, func(a, b *instance) int { return strings.Compare(a.name, b.name) })
	i := list[h.target%len(list)]
	switch h.act {
	case actKill:
		if i.signal(syscall.SIGKILL, 0) {
			r.kills.add("kill")
		}
	case actKillLong:
		if i.signal(syscall.SIGKILL, h.length) {
			r.kills.add("kill-long")
		}
	case actTerm:
		if i.signal(syscall.SIGTERM, 0) {
			r.kills.add("term")
		}
	case actStop:
		if i.signal(syscall.SIGSTOP, 0) {
			r.kills.add("stop")
			r.sleep(ctx, h.length)
			i.signal(syscall.SIGCONT, 0)
		}
	case actJoin:
		name := fmt.Sprintf("g%d", h.target)
		r.kills.add("guest")
		guest := r.tally(name)
		r.sleep(ctx, h.length)
		if err := guest.end(ctx); err != nil && ctx.Err() == nil {
			r.note(err.Error())
		}
	}
}

// weather is the storm, and what comes after it: instances as in other runs.
func (r *run) weather(ctx context.Context) {
	var wg sync.WaitGroup
	for n, g := range r.plan.guests {
		wg.Go(func() { r.visit(ctx, n, g) })
	}
	wg.Wait()
	r.sleep(ctx, 2*stormInterval) // what was lent comes back, and records with it
	r.mu.Lock()
	r.clear = true
	r.mu.Unlock()
	r.of(tallyService)[0].signal(syscall.SIGTERM, 0)
	r.tally("1")
}

// storm says that it is still to come, or goes on.
func (r *run) storm() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return stormy(r.cfg.Seed) && !r.clear
}

// visit lets a guest join the tally for a while.
func (r *run) visit(ctx context.Context, n int, v visit) {
	if !r.sleep(ctx, v.at) {
		return
	}
	r.kills.add("guest")
	guest := r.tally(fmt.Sprintf("g%d", n))
	r.sleep(ctx, v.length)
	if err := guest.end(ctx); err != nil && ctx.Err() == nil {
		r.note(err.Error())
	}
}

// sleep reports whether the time has passed before the end of ctx.
func (r *run) sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// strike kills a broker and starts it again.
func (r *run) strike(ctx context.Context, b blow) {
	if !r.sleep(ctx, b.at) {
		return
	}
	if !r.cfg.Real {
		if r.of("broker")[0].signal(syscall.SIGKILL, b.down) {
			r.kills.add("broker")
		}
		return
	}
	if err := r.cfg.Node(ctx, "kill", b.node); err != nil {
		r.fail(err)
		return
	}
	r.kills.add("node")
	r.sleep(ctx, b.down)
	if err := r.cfg.Node(context.WithoutCancel(ctx), "start", b.node); err != nil {
		r.fail(err)
	}
}

// calmDown lets everything that was written be processed, and drains service by
// service in the order of the flow.
func (r *run) calmDown(ctx context.Context, seen *progress, lines int) error {
	r.mu.Lock()
	r.calm = true
	r.mu.Unlock()
	for _, i := range r.of("ingest-flow", tallyService, "detect", "correlate") {
		i.signal(syscall.SIGCONT, 0)
	}
	patience := 90 * time.Second
	if r.cfg.Mutation != "" {
		patience = 12 * time.Second
	}
	var stuck []error
	for end := time.Now().Add(patience); seen.count() < lines; time.Sleep(20 * time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(end) {
			stuck = append(stuck, fmt.Errorf("%w: ingest has published %d of %d lines after %s", errStuck, seen.count(), lines, patience))
			break
		}
	}
	step := func(feeding []string, closed []string, groups ...string) error {
		if err := r.endAll(ctx, feeding...); err != nil {
			return err
		}
		if r.cfg.KillBroker {
			if err := r.closeLogs(ctx, closed...); err != nil {
				return err
			}
		}
		for _, g := range groups {
			if err := r.settled(ctx, g, patience); errors.Is(err, errStuck) {
				stuck = append(stuck, err)
			} else if err != nil {
				return err
			}
		}
		return nil
	}
	if err := step([]string{"ingest-flow"}, []string{topic.Network, topic.Host, topic.Cloud}, tallyService, "detect"); err != nil {
		return err
	}
	if err := step([]string{tallyService, "detect"}, []string{topic.Signals}, "correlate"); err != nil {
		return err
	}
	if err := r.endAll(ctx, "correlate"); err != nil {
		return err
	}
	return errors.Join(stuck...)
}
