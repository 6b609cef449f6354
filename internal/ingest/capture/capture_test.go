package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gopacket/gopacket/layers"
)

// scripted gives packets numbered from 0 until its end, then blocks until it is
// closed. With fail it fails now and then.
type scripted struct {
	n, size int
	fail    bool
	at      int
	read    atomic.Int64
	closed  chan struct{}
}

func (h *scripted) next() (int64, []byte, int, error) {
	h.at++
	if h.fail && h.at%10 == 0 {
		return 0, nil, 0, errors.New("network is down")
	}
	i := h.read.Load()
	if i == int64(h.n) {
		<-h.closed
		return 0, nil, 0, net.ErrClosed
	}
	h.read.Add(1)
	data := make([]byte, h.size)
	binary.BigEndian.PutUint64(data, uint64(i))
	return i, data, h.size + 10, nil
}

func (h *scripted) stats() (Stats, error) { return Stats{Received: uint64(h.read.Load())}, nil }

func (h *scripted) close() error {
	close(h.closed)
	return nil
}

func script(n, size int, fail bool) (*scripted, *Source) {
	h := &scripted{n: n, size: size, fail: fail, closed: make(chan struct{})}
	return h, newSource(Config{Interface: "test", Snaplen: 1 << 18}, h, layers.LinkTypeEthernet, slog.New(slog.DiscardHandler))
}

// Every packet arrives once, in order, also where more come than a batch holds
// and where the interface fails in between.
func TestEveryPacketOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		n, size int
		fail    bool
	}{"small": {50_000, 60, false}, "large": {200, 200_000, false}, "failing": {300, 60, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, s := script(c.n, c.size, c.fail)
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- s.Run(ctx) }()
				want := int64(0)
				for want < int64(c.n) {
					<-s.Wake()
					for _, p := range s.Take() {
						if p.Time != want || binary.BigEndian.Uint64(p.Data) != uint64(want) || p.Length != c.size+10 || len(p.Data) != c.size {
							t.Fatalf("packet %d: time %d, %d of %d bytes", want, p.Time, len(p.Data), p.Length)
						}
						want++
					}
				}
				cancel()
				if err := <-ended; err != nil {
					t.Errorf("Run: %v", err)
				}
			})
		})
	}
}

// Where nobody takes packets, reading stops when a batch is full: the rest is
// the kernel's to hold or to drop.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, s := script(1_000_000, 1000, false)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		synctest.Wait()
		if n := h.read.Load(); n > batchPackets+1 || n < 1000 {
			t.Errorf("%d packets were read while nobody took any", n)
		}
		before := h.read.Load()
		if got := len(s.Take()); int64(got) < before-1 {
			t.Errorf("took %d of %d", got, before)
		}
		synctest.Wait()
		if n := h.read.Load(); n == before {
			t.Error("reading did not go on")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		snaplen int
		ok      bool
	}{{95, false}, {96, true}, {262_144, true}, {262_145, false}} {
		cfg := Default()
		cfg.Interface, cfg.Snaplen = "eth0", c.snaplen
		if err := cfg.Validate(); (err == nil) != c.ok {
			t.Errorf("snaplen %d: %v", c.snaplen, err)
		}
	}
	if _, err := Open(Config{Interface: "no-such-interface", Snaplen: 96}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("an interface that does not exist was opened")
	}
}

// TestLoopback captures what this test sends to itself.
func TestLoopback(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("no packet sockets")
	}
	cfg := Default()
	cfg.Interface, cfg.Promiscuous = "lo", false
	s, err := Open(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Skipf("no right to capture: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	to, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = to.Close() }()
	text := []byte("ebbwatch capture test, " + t.Name())
	found := false
	deadline := time.After(30 * time.Second)
	for tick := time.Tick(10 * time.Millisecond); !found; {
		select {
		case <-deadline:
			t.Fatal("the packet was not seen")
		case <-tick:
			if _, err := to.WriteTo(text, to.LocalAddr()); err != nil {
				t.Fatal(err)
			}
		case <-s.Wake():
			for _, p := range s.Take() {
				found = found || bytes.HasSuffix(p.Data, text) && p.Length == len(p.Data) && time.Since(time.UnixMicro(p.Time)).Abs() < time.Minute
			}
		}
	}
	if st, err := s.Stats(); err != nil || st.Received == 0 {
		t.Errorf("counters %+v, %v", st, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}
