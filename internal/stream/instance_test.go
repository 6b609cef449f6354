package stream

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// instance is a supervised process: an engine that is started again when it
// ends with an error, as it is meant to be.
type instance struct {
	w      *world
	cfg    Config
	cancel context.CancelFunc
	done   chan error // the first error that it ended with, once it is over
	net    *network
	reg    *prometheus.Registry

	mu     sync.Mutex
	engine *Engine
	epoch  string
	ended  []error
}

// network is the connection of one instance, which can be cut.
type network struct {
	mu    sync.Mutex
	conns []net.Conn
	cut   bool
}

func (n *network) dial(ctx context.Context, proto, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, proto, addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut {
		if err == nil {
			_ = c.Close()
		}
		return nil, errors.New("the network is cut")
	}
	if err == nil {
		n.conns = append(n.conns, c)
	}
	return c, err
}

func (n *network) kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = true
	for _, c := range n.conns {
		_ = c.Close()
	}
}

func testLog(t *testing.T) *slog.Logger {
	t.Helper()
	if testing.Verbose() {
		out := &testOutput{t: t}
		t.Cleanup(out.close)
		return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	return slog.New(slog.DiscardHandler)
}

// testOutput is the output of a test until it ends: a client that was cut off
// may log a little longer.
type testOutput struct {
	mu sync.Mutex
	t  *testing.T
}

func (o *testOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.t == nil {
		return len(p), nil
	}
	return o.t.Output().Write(p)
}

func (o *testOutput) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.t = nil
}

// start runs an instance with the world's configuration as changed.
func (w *world) start(epoch string, change ...func(*Config)) *instance {
	w.t.Helper()
	n := &network{}
	cfg := w.cfg
	cfg.Options = []kgo.Opt{
		kgo.Dialer(n.dial), kgo.SessionTimeout(2 * time.Second), kgo.RebalanceTimeout(4 * time.Second),
		kgo.HeartbeatInterval(100 * time.Millisecond), kgo.TransactionTimeout(1500 * time.Millisecond),
		kgo.MetadataMinAge(100 * time.Millisecond), // else an error of a partition is looked into after up to 5 s
	}
	for _, c := range change {
		c(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	i := &instance{w: w, cfg: cfg.withDefaults(), cancel: cancel, done: make(chan error, 1), net: n, reg: prometheus.NewRegistry(), epoch: epoch}
	i.make()
	go i.supervise(ctx)
	w.t.Cleanup(func() {
		i.kill()
		if err := <-i.done; err != nil {
			w.t.Logf("at the end: %v", err)
		}
	})
	return i
}

func (i *instance) make() *Engine {
	e, err := newEngineWith(i.cfg, newCounter, testLog(i.w.t), i.reg, i.w.proof)
	if err != nil {
		i.w.t.Error(err)
		return nil
	}
	e.conn.quiet = i.w.quiet
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.epoch != "" {
		if err := e.SetEpoch("site", []byte(i.epoch)); err != nil {
			i.w.t.Error(err)
		}
	}
	i.engine = e
	return e
}

func (i *instance) supervise(ctx context.Context) {
	for e := i.current(); ; e = i.make() {
		err := e.Run(ctx)
		i.mu.Lock()
		if err != nil {
			i.ended = append(i.ended, err)
		}
		i.mu.Unlock()
		if ctx.Err() != nil || len(i.ended) > 20 {
			i.done <- err
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// current is the engine that runs.
func (i *instance) current() *Engine {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.engine
}

func (i *instance) setEpoch(epoch string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.epoch = epoch
	if err := i.engine.SetEpoch("site", []byte(epoch)); err != nil {
		i.w.t.Error(err)
	}
}

// drain stops the instance in order.
func (i *instance) drain() {
	i.w.t.Helper()
	i.cancel()
	select {
	case err := <-i.done:
		i.done <- nil
		if err != nil {
			i.w.t.Logf("drain: %v", err) // too slow; what is committed must be right all the same
		}
	case <-time.After(10 * time.Second):
		i.w.t.Fatal("did not drain within 10 s")
	}
}

// kill cuts the instance off, which for the broker is a kill -9.
func (i *instance) kill() {
	i.net.kill()
	i.cancel()
}

// end waits until the engine has ended by itself and returns the error.
func (i *instance) end() error {
	i.w.t.Helper()
	for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(5 * time.Millisecond) {
		i.mu.Lock()
		n := len(i.ended)
		i.mu.Unlock()
		if n > 0 {
			i.cancel()
			return i.ended[0]
		}
	}
	i.w.t.Fatal("the engine goes on")
	return nil
}
