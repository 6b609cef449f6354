package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// instance is a process that is started again whenever it ends.
type instance struct {
	run     *run
	service string
	name    string // unique in the run
	command []string
	guest   bool // it has no planned deaths

	mu      sync.Mutex
	cmd     *exec.Cmd
	rest    time.Duration // before the next start
	ending  bool          // it is not started again
	done    chan struct{}
	crashed int // ends that nobody asked for
}

// kills counts what was done to processes.
type kills struct {
	mu    sync.Mutex
	n     map[string]int // by kind
	phase map[string]int // deaths of the tally by phase
}

func (k *kills) add(kind string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.n[kind]++
}

func (k *kills) total() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for kind, c := range k.n {
		if kind != "term" && kind != "guest" {
			n += c
		}
	}
	return n
}

// start begins to supervise an instance.
func (r *run) start(service, name string, command ...string) *instance {
	slot := name[strings.LastIndexByte(name, '-')+1:]
	i := &instance{run: r, service: service, name: name, command: command, guest: slot[0] == 'g', done: make(chan struct{})}
	r.mu.Lock()
	r.instances = append(r.instances, i)
	r.mu.Unlock()
	go i.supervise()
	return i
}

// supervise starts the process again and again, each time with the next
// death that is planned for its service.
func (i *instance) supervise() {
	defer close(i.done)
	for n := 0; ; n++ {
		var d *death
		if !i.guest {
			d = i.run.nextDeath(i.service)
		}
		killLog := filepath.Join(i.run.dir, fmt.Sprintf("%s.kill%d", i.name, n))
		env := i.run.environment(i.service)
		if d != nil {
			env = append(env, fmt.Sprintf("EBBCRASH_KILL=%s:%d", d.phase, d.after), "EBBCRASH_KILL_LOG="+killLog)
		}
		cmd, err := i.spawn(env)
		if err != nil {
			i.run.fail(err)
			return
		}
		err = cmd.Wait()
		died := false
		if text, readErr := os.ReadFile(killLog); readErr == nil && d != nil && strings.TrimSpace(string(text)) == d.phase {
			died = true
			i.run.died(i.service, *d)
		} else if d != nil {
			i.run.giveBack(i.service, *d)
		}
		i.mu.Lock()
		i.cmd = nil
		over, rest := i.ending, i.rest
		i.rest = 0
		if !died && !over && exitCode(err) > 0 {
			i.crashed++
			rest = max(rest, 50*time.Millisecond)
		}
		i.mu.Unlock()
		if over {
			return
		}
		select {
		case <-time.After(rest):
		case <-i.run.ctx.Done():
			return
		}
		i.mu.Lock()
		over = i.ending
		i.mu.Unlock()
		if over {
			return
		}
	}
}

// exitCode is -1 for a process that a signal has ended.
func exitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return 0
}

func (i *instance) spawn(env []string) (*exec.Cmd, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	out, err := os.OpenFile(filepath.Join(i.run.dir, i.name+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.CommandContext(i.run.ctx, i.command[0], i.command[1:]...) //nolint:gosec // the series' own programs
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	// What is started must not outlive the series, whatever ends it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", i.name, err)
	}
	i.cmd = cmd
	return cmd, nil
}

// signal reaches the process if it runs. rest is how long it stays away
// after it has ended.
func (i *instance) signal(sig syscall.Signal, rest time.Duration) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.cmd == nil || i.cmd.Process == nil {
		return false
	}
	i.rest = rest
	return i.cmd.Process.Signal(sig) == nil
}

// end drains the process and does not start it again.
func (i *instance) end(ctx context.Context) error {
	i.mu.Lock()
	i.ending = true
	i.mu.Unlock()
	for {
		wait := 12 * time.Second
		told := i.signal(syscall.SIGTERM, 0)
		if !told { // it is between two lives
			wait = 50 * time.Millisecond
		}
		select {
		case <-i.done:
			return nil
		case <-time.After(wait):
			if told {
				i.run.note(fmt.Sprintf("%s did not drain within %s", i.name, wait))
				i.signal(syscall.SIGKILL, 0)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// of returns the instances of some services.
func (r *run) of(services ...string) []*instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*instance
	for _, i := range r.instances {
		if slices.Contains(services, i.service) {
			list = append(list, i)
		}
	}
	return list
}

// endAll drains all instances of some services at once.
func (r *run) endAll(ctx context.Context, services ...string) error {
	var wg sync.WaitGroup
	errs := make([]error, 0)
	var mu sync.Mutex
	for _, i := range r.of(services...) {
		wg.Go(func() {
			if err := i.end(ctx); err != nil {
				mu.Lock()
				errs = append(errs, fmt.Errorf("end %s: %w", i.name, err))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// nextDeath takes the next death planned for a service.
func (r *run) nextDeath(service string) *death {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.deaths[service]
	if r.calm || len(list) == 0 || service == tallyService && stormy(r.cfg.Seed) && !r.clear {
		return nil
	}
	d := list[0]
	r.deaths[service] = list[1:]
	r.pending[service]++
	return &d
}

// died notes a death as it was planned.
func (r *run) died(service string, d death) {
	r.mu.Lock()
	r.pending[service]--
	r.mu.Unlock()
	r.kills.add("phase")
	if service == tallyService {
		r.kills.mu.Lock()
		r.kills.phase[d.phase]++
		r.kills.mu.Unlock()
	}
}

// giveBack plans a death again whose process ended otherwise.
func (r *run) giveBack(service string, d death) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending[service]--
	r.deaths[service] = append(r.deaths[service], death{d.phase, 0})
}

// deathsLeft is how many deaths of a service are still to come.
func (r *run) deathsLeft(service string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.deaths[service]) + r.pending[service]
}
