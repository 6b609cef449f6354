// Package capture reads the packets of a network interface while they pass.
//
// # Invariants
//
//   - Memory is bounded: two batches, one that fills and one that is read. Where
//     packets are not taken in time, the kernel's buffer fills, and the kernel
//     counts what it drops: nothing is lost without a number.
//   - An interface that goes down is waited for.
//
// Times are those of the kernel. Live packets cannot be read again: what passes
// while nobody listens is not seen.
package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/gopacket/gopacket/layers"
)

// ErrUnsupported says that this system has no packet sockets.
var ErrUnsupported = errors.New("live capture needs Linux")

// Config says what is captured.
type Config struct {
	Interface   string `yaml:"interface" help:"network interface whose packets are read as they pass; empty: none"`
	Promiscuous bool   `yaml:"promiscuous" help:"also read packets that are not for this machine, as on a mirror port"`
	Snaplen     int    `yaml:"snaplen" help:"bytes of a packet that are looked at; contents of pings and DNS need whole packets"`
	Name        string `yaml:"name" help:"sensor name of the events; empty: the interface"`
	Realm       string `yaml:"realm" help:"address space of the events; empty: by the site file"`
}

// Default is the configuration unless set.
func Default() Config { return Config{Promiscuous: true, Snaplen: 262_144} }

// Validate returns all problems.
func (c *Config) Validate() error {
	if c.Interface == "" {
		return nil
	}
	var errs []error
	if c.Snaplen < 96 || c.Snaplen > 262_144 {
		errs = append(errs, fmt.Errorf("capture.snaplen: %d is not between 96 and 262144", c.Snaplen))
	}
	return errors.Join(errs...)
}

// Packet is one captured packet; Data is valid until the next Take.
type Packet struct {
	Time   int64 // microseconds since the epoch
	Data   []byte
	Length int // on the wire
}

// batch are packets in the order of their arrival.
type batch struct {
	packets []Packet
	arena   []byte
}

// room reports whether a packet of n bytes fits.
func (b *batch) room(n int) bool {
	return len(b.packets) < cap(b.packets) && cap(b.arena)-len(b.arena) >= n
}

func (b *batch) add(ts int64, data []byte, length int) {
	at := len(b.arena)
	b.arena = append(b.arena, data...)
	b.packets = append(b.packets, Packet{Time: ts, Data: b.arena[at:len(b.arena):len(b.arena)], Length: length})
}

// Stats count since the last call.
type Stats struct{ Received, Dropped uint64 }

// handle is an open interface. next blocks until a packet is there or the handle
// is closed; what it returns is valid until the next call.
type handle interface {
	next() (ts int64, data []byte, length int, err error)
	stats() (Stats, error)
	close() error
}

const (
	batchBytes   = 8 << 20
	batchPackets = 16_384
	// pause is how long a failing interface is left alone.
	pause = time.Second
)

// Source is one interface: Open it, Run it, and Take what Wake tells of. Take is
// called from one goroutine.
type Source struct {
	cfg  Config
	log  *slog.Logger
	h    handle
	link layers.LinkType
	wake chan struct{}

	mu     sync.Mutex
	taken  sync.Cond // filling was exchanged, or the source closed
	closed bool
	// filling is written by Run, reading belongs to who called Take.
	filling, reading batch
}

// Open opens the interface; it needs the right to do so (CAP_NET_RAW).
func Open(cfg Config, log *slog.Logger) (*Source, error) {
	h, link, err := open(cfg)
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", cfg.Interface, err)
	}
	return newSource(cfg, h, link, log), nil
}

func newSource(cfg Config, h handle, link layers.LinkType, log *slog.Logger) *Source {
	s := &Source{cfg: cfg, log: log, h: h, link: link, wake: make(chan struct{}, 1)}
	s.taken.L = &s.mu
	for _, b := range []*batch{&s.filling, &s.reading} {
		b.packets, b.arena = make([]Packet, 0, batchPackets), make([]byte, 0, max(batchBytes, cfg.Snaplen))
	}
	return s
}

// Link is the link layer of the packets.
func (s *Source) Link() layers.LinkType { return s.link }

// Wake is sent to when there is something to take.
func (s *Source) Wake() <-chan struct{} { return s.wake }

// Take returns the packets that have arrived since the last call.
func (s *Source) Take() []Packet {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading.packets, s.reading.arena = s.reading.packets[:0], s.reading.arena[:0]
	s.filling, s.reading = s.reading, s.filling
	s.taken.Signal()
	return s.reading.packets
}

// Stats returns what was received and dropped since the last call.
func (s *Source) Stats() (Stats, error) { return s.h.stats() }

// Run reads until ctx ends, and closes the interface. It is called once. What
// has arrived can still be taken.
func (s *Source) Run(ctx context.Context) error {
	closing := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		s.closed = true
		s.taken.Broadcast()
		s.mu.Unlock()
		closing <- s.h.close()
	})
	failing := false
	for ctx.Err() == nil {
		ts, data, length, err := s.h.next()
		switch {
		case ctx.Err() != nil:
		case err != nil:
			if !failing {
				s.log.Warn("capture fails; it is tried again", "interface", s.cfg.Interface, "error", err)
			}
			failing = true
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		default:
			if failing {
				s.log.Info("capture goes on", "interface", s.cfg.Interface)
			}
			failing = false
			s.put(ts, data, length)
		}
	}
	return <-closing
}

// put waits for room and adds a packet.
func (s *Source) put(ts int64, data []byte, length int) {
	s.mu.Lock()
	for !s.filling.room(len(data)) && !s.closed {
		s.taken.Wait()
	}
	if s.filling.room(len(data)) {
		s.filling.add(ts, data, length)
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
