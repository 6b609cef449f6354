package ingest

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/ebbwatch/ebbwatch/internal/ingest/capture"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// script is an interface that shows what it is told to.
type script struct {
	packets []capture.Packet
	stats   capture.Stats
}

func (*script) Run(context.Context) error { return nil }
func (*script) Wake() <-chan struct{}     { return nil }
func (*script) Link() layers.LinkType     { return layers.LinkTypeRaw }

func (s *script) Take() []capture.Packet {
	p := s.packets
	s.packets = nil
	return p
}

func (s *script) Stats() (capture.Stats, error) {
	st := s.stats
	s.stats = capture.Stats{}
	return st, nil
}

// udp is a packet from 10.0.0.1 with n bytes of content.
func udp(at time.Time, n int) capture.Packet {
	b := make([]byte, 28+n)
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], []byte{10, 0, 0, 1, 198, 51, 100, 7})
	binary.BigEndian.PutUint16(b[20:], 40000)
	binary.BigEndian.PutUint16(b[22:], 9999)
	binary.BigEndian.PutUint16(b[24:], uint16(8+n))
	return capture.Packet{Time: at.UnixMicro(), Data: b, Length: len(b)}
}

type collected struct{ events []event.Event }

func (c *collected) Event(e *event.Event)            { c.events = append(c.events, *e) }
func (*collected) Ignored(string)                    {}
func (*collected) Dead(string, []byte, event.Origin) {}
func (c *collected) of(k event.Kind) (list []event.Event) {
	for i := range c.events {
		if c.events[i].Kind == k {
			list = append(list, c.events[i])
		}
	}
	return list
}

// An open connection is reported each minute, and its end without another
// packet; losses are told each minute.
func TestLiveByTheClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)
	src := &script{stats: capture.Stats{Received: 10}}
	l := newLive(src, "eth0", now)
	got := &collected{}
	for n := range 600 { // five minutes, of which the first two have packets
		if n < 240 {
			src.packets = append(src.packets, udp(now, 100))
		}
		if n == 100 {
			src.stats = capture.Stats{Received: 200, Dropped: 50}
		}
		if worked := l.turn(now, got); worked != (n < 240) {
			t.Fatalf("turn %d: worked %v", n, worked)
		}
		now = now.Add(500 * time.Millisecond)
	}
	conns := got.of(event.KindConn)
	var reported, ended int
	for i := range conns {
		if !conns[i].Conn.Open {
			ended++
		} else {
			reported++
		}
	}
	if reported < 2 || reported > 3 || ended != 1 || conns[len(conns)-1].Source.Bytes != event.N(240*100) {
		t.Errorf("%d reports, %d ends: %+v", reported, ended, conns)
	}
	if end := time.UnixMicro(conns[len(conns)-1].Time); end.Sub(time.Date(2026, 1, 5, 10, 2, 0, 0, time.UTC)).Abs() > time.Second {
		t.Errorf("it ended at %s", end)
	}
	health := got.of(event.KindHealth)
	if len(health) != 4 || health[0].Health.Received != event.N(200) || health[0].Health.PercentLost != 25 || health[1].Health.Received != event.N(0) || health[1].Health.PercentLost != 0 {
		t.Errorf("losses %+v", health)
	}
}
