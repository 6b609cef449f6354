package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Config of a Broker. The zero value is a broker in memory on a free port of
// 127.0.0.1.
type Config struct {
	// Listen is host:port; "" is 127.0.0.1 on a free port.
	Listen string
	// Folder holds the logs; "" keeps everything in memory.
	Folder string
	// AllowRemote permits an address that is not loopback.
	AllowRemote bool
	// Advertise is the host name or address that clients are told to
	// connect to; "" is the host of Listen. It is needed when Listen is a
	// wildcard address.
	Advertise string
	// Topics are created at the start; nil is the whole topic.Table.
	Topics []topic.Topic
	// TrimEvery is how often records are trimmed by age; 0 is 10 minutes.
	TrimEvery time.Duration
}

// ErrInUse is returned when another process has the folder or the port.
var ErrInUse = errors.New("in use")

// Broker is the embedded broker. New is inert, Run does everything.
type Broker struct {
	cfg        Config
	log        *slog.Logger
	host       string
	port       int
	advertised string
	addr       atomic.Pointer[string]
	ready      chan struct{}
}

// New checks the configuration.
func New(cfg Config, log *slog.Logger) (*Broker, error) {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.TrimEvery <= 0 {
		cfg.TrimEvery = 10 * time.Minute
	}
	host, portText, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("broker address %q is not host:port: %w", cfg.Listen, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("broker address %q has no numeric port", cfg.Listen)
	}
	if !cfg.AllowRemote && !loopback(host) {
		return nil, fmt.Errorf("broker address %q is not loopback: the embedded broker has no users and no encryption; allow it explicitly or use Kafka", cfg.Listen)
	}
	b := &Broker{cfg: cfg, log: log, host: host, port: int(port), advertised: cfg.Advertise, ready: make(chan struct{})}
	if b.advertised == "" {
		if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
			return nil, fmt.Errorf("broker address %q is a wildcard: clients must be told a host to connect to (advertise)", cfg.Listen)
		}
		b.advertised = host
	}
	b.addr.Store(&cfg.Listen)
	return b, nil
}

// loopback reports whether a host cannot be reached from another machine.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// Addr is the address that clients connect to. Before Ready it is the
// configured one, whose port may be 0.
func (b *Broker) Addr() string { return *b.addr.Load() }

// Ready is closed once the broker serves and its topics exist. A Run that
// fails before that never closes it.
func (b *Broker) Ready() <-chan struct{} { return b.ready }

// Run serves until ctx ends. It is called once.
func (b *Broker) Run(ctx context.Context) error {
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID("ebbwatch-embedded"),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) { return b.listen(ctx, network) }),
		kfake.BrokerConfigs(map[string]string{
			// Its own retention compares client timestamps and can delete
			// newer batches; retention.go does that work.
			"log.retention.ms": "-1",
			// Groups of a stopped service must find their offsets again.
			"offsets.retention.minutes": "5256000",
		}),
	}
	full := make(chan struct{}, 1)
	opts = append(opts, kfake.WithLogger(brokerLogger{b.log, full}))
	var lock *folderLock
	if b.cfg.Folder != "" {
		var err error
		if lock, err = lockFolder(b.cfg.Folder); err != nil {
			return err
		}
		defer lock.unlock()
		opts = append(opts, kfake.DataDir(b.cfg.Folder))
		if lock.wasFull {
			// Its logs of groups and producers may end in the middle of an
			// entry, behind which nothing would be readable again. An orderly
			// end writes them anew.
			b.log.Warn("the disk was full when the broker ended last: its logs are written anew", "folder", b.cfg.Folder)
			again, err := kfake.NewCluster(opts...)
			if err != nil {
				return fmt.Errorf("broker data in %s: %w", b.cfg.Folder, err)
			}
			again.Close()
		}
	}
	started := time.Now()
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("port %d of %s: %w by another process", b.port, b.host, ErrInUse)
		}
		if opErr, ok := errors.AsType[*net.OpError](err); ok {
			return fmt.Errorf("listen on %s: %w", b.cfg.Listen, opErr.Err)
		}
		return fmt.Errorf("broker data in %s: %w", b.cfg.Folder, err)
	}
	defer cluster.Close()
	addr := cluster.ListenAddrs()[0]
	b.addr.Store(&addr)

	client, err := kgo.NewClient(kgo.SeedBrokers(b.dialAddr(addr)), kgo.Dialer(b.dialer(addr)))
	if err != nil {
		return fmt.Errorf("connect to the embedded broker: %w", err)
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	res, err := topic.Ensure(ctx, adm, true, b.cfg.Topics...)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	for _, d := range res.Differences {
		b.log.Warn("topic differs from the table", "topic", d.Topic, "setting", d.Setting, "got", d.Got, "want", d.Want)
	}
	b.log.Info("embedded broker serves", "address", addr, "folder", b.cfg.Folder, "topics_created", len(res.Created), "took", time.Since(started).Round(time.Millisecond))
	close(b.ready)

	// A broker that cannot keep what it is given ends at once, before it
	// acknowledges an offset or a transaction that is not on the disk.
	serving, stop := context.WithCancel(ctx)
	defer stop()
	var diskErr error
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-full:
			diskErr = fmt.Errorf("data folder %s: the disk is full: %w; make room and start again: what was acknowledged is kept", b.cfg.Folder, syscall.ENOSPC)
			stop()
		case <-serving.Done():
		}
	}()
	b.trimLoop(serving, adm)
	stop()
	<-watched
	if diskErr != nil && lock != nil {
		if err := lock.markFull(); err != nil {
			b.log.Error("note that the disk is full", "error", err)
		}
	}
	b.log.Info("embedded broker stops", "address", addr)
	return diskErr
}

// listen opens the configured address whatever kfake asks for: it only knows
// 127.0.0.1.
func (b *Broker) listen(ctx context.Context, network string) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, network, net.JoinHostPort(b.host, strconv.Itoa(b.port)))
	if err != nil {
		return nil, err
	}
	port := ln.Addr().(*net.TCPAddr).Port
	return advertisedListener{ln, net.JoinHostPort(b.advertised, strconv.Itoa(port))}, nil
}

// advertisedListener reports the address that clients shall use: kfake hands
// the listener's own address out in its metadata.
type advertisedListener struct {
	net.Listener
	address string
}

func (l advertisedListener) Addr() net.Addr { return advertisedAddr(l.address) }

type advertisedAddr string

func (advertisedAddr) Network() string  { return "tcp" }
func (a advertisedAddr) String() string { return string(a) }

// dialAddr is where this process itself reaches the broker: the advertised
// name may not resolve here.
func (b *Broker) dialAddr(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	host := b.host
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

func (b *Broker) dialer(addr string) func(context.Context, string, string) (net.Conn, error) {
	target := b.dialAddr(addr)
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, target)
	}
}

// brokerLogger hands the broker's warnings on; what it calls information is a
// line for each request. It is also where the broker says that the disk is
// full: it has no other word for that.
type brokerLogger struct {
	log  *slog.Logger
	full chan<- struct{}
}

func (l brokerLogger) Logf(level kfake.LogLevel, format string, args ...any) {
	for _, a := range args {
		if err, ok := a.(error); ok && errors.Is(err, syscall.ENOSPC) {
			select {
			case l.full <- struct{}{}:
			default: // it is known
			}
		}
	}
	at := slog.LevelDebug
	switch level {
	case kfake.LogLevelError:
		at = slog.LevelError
	case kfake.LogLevelWarn:
		at = slog.LevelWarn
	case kfake.LogLevelDebug, kfake.LogLevelInfo, kfake.LogLevelNone:
		return
	}
	l.log.Log(context.Background(), at, "embedded broker", "message", fmt.Sprintf(format, args...))
}

// folderError is one line about a folder that cannot be used.
func folderError(folder string, err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		err = pe.Err
	}
	return fmt.Errorf("data folder %s cannot be used: %w", folder, err)
}
