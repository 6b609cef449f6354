package ingest

import (
	"context"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/ebbwatch/ebbwatch/internal/ingest/capture"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

const (
	// healthEvery is how often an interface tells what it received and lost.
	healthEvery = time.Minute
	// quietAfter is for how long no packet must have come before wall time
	// moves the connections on. Packets of that time are on their way.
	quietAfter = time.Second
)

// overheard is an open interface (capture.Source).
type overheard interface {
	Run(ctx context.Context) error
	Wake() <-chan struct{}
	Take() []capture.Packet
	Stats() (capture.Stats, error)
	Link() layers.LinkType
}

// live reads an interface. Its connections are known in memory only: those that
// are open when the service stops are reported then, as ended.
type live struct {
	source  overheard
	tracker *packet.Tracker
	at      event.Origin // the interface
	newest  int64        // time of the newest packet, microseconds
	told    time.Time    // of the last word on losses

	// Of the last turn.
	packets           int
	bytes             int64
	received, dropped uint64
}

func newLive(source overheard, name string, now time.Time) *live {
	return &live{source: source, tracker: packet.NewTracker(packet.Default()), at: event.Origin{Name: name}, told: now}
}

// wake is sent to when packets have come; it may be called on nil.
func (l *live) wake() <-chan struct{} {
	if l == nil {
		return nil
	}
	return l.source.Wake()
}

// turn takes the packets that have come, or tells the connections how late it
// is.
func (l *live) turn(now time.Time, sink decode.Sink) (worked bool) {
	l.take(sink)
	if quiet := now.Add(-quietAfter).UnixMicro(); l.packets == 0 && quiet > l.newest {
		l.tracker.Advance(quiet, sink)
	}
	if now.Sub(l.told) >= healthEvery {
		l.health(now, sink)
	}
	return l.packets > 0
}

func (l *live) take(sink decode.Sink) {
	l.packets = 0
	for _, p := range l.source.Take() {
		l.tracker.Packet(p.Time, l.source.Link(), p.Data, p.Length, l.at, sink)
		l.newest = max(l.newest, p.Time)
		l.packets++
		l.bytes += int64(p.Length)
	}
}

// health tells what was received and lost since it was told last. A sensor that
// has nothing to say but this is alive, and its streams have come so far.
func (l *live) health(now time.Time, sink decode.Sink) {
	l.told = now
	st, err := l.source.Stats()
	if err != nil {
		return // the interface is gone; the source says so
	}
	l.received, l.dropped = st.Received, st.Dropped
	l.tracker.Health(now.UnixMicro(), l.at, event.N(st.Received), event.N(st.Dropped), sink)
}

// capture opens the interface.
func (s *Service) capture() error {
	c := s.cfg.Capture
	source, err := capture.Open(c, s.log)
	if err != nil {
		return err
	}
	name := c.Name
	if name == "" {
		name = c.Interface
	}
	s.live = newLive(source, c.Interface, time.Now())
	s.liveSink = &sink{
		transaction: s.txn, source: name, name: name, realm: c.Realm, feed: always{},
	}
	return nil
}

// listen runs the capture beside the loop. stop ends it, with a last word on its
// losses; what has come by then can still be taken.
func (s *Service) listen(ctx context.Context) (stop func()) {
	if s.live == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- s.live.source.Run(ctx) }()
	return func() {
		s.txn.now = time.Now()
		s.hear(func() { s.live.health(s.txn.now, s.liveSink) })
		cancel()
		if err := <-ended; err != nil {
			s.log.Debug("close the interface", "error", err)
		}
	}
}

// overhear takes what the interface has shown.
func (s *Service) overhear(now time.Time) (worked bool) {
	if s.live == nil {
		return false
	}
	s.hear(func() { worked = s.live.turn(now, s.liveSink) })
	return worked
}

// hear counts what a turn reads.
func (s *Service) hear(turn func()) {
	l, source := s.live, s.liveSink.source
	records := s.txn.outlet.Records
	l.bytes, l.received, l.dropped = 0, 0, 0
	turn()
	s.metrics.records.WithLabelValues(source).Add(float64(s.txn.outlet.Records - records))
	s.metrics.bytes.WithLabelValues(source).Add(float64(l.bytes))
	s.metrics.captured.WithLabelValues("received").Add(float64(l.received))
	s.metrics.captured.WithLabelValues("dropped").Add(float64(l.dropped))
}

// hangUp takes the last packets of an interface that is closed, and reports the
// connections that are open.
func (s *Service) hangUp() {
	if s.live == nil {
		return
	}
	s.hear(func() {
		s.live.take(s.liveSink)
		s.live.tracker.Flush(s.liveSink)
	})
}
