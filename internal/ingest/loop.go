package ingest

import (
	"context"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/ingest/tail"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
)

// loop reads and commits until ctx ends or, once, nothing is left.
func (s *Service) loop(ctx context.Context) error {
	first := true
	for ctx.Err() == nil {
		now := time.Now()
		s.txn.now = now
		if st := s.changed.Swap(nil); st != nil {
			s.txn.outlet.Site = st
		}
		s.look(now, first)
		if first {
			first = false
			close(s.ready)
		}
		worked := s.receive()
		worked = s.overhear(now) || worked
		worked = s.read() || worked
		if s.txn.err != nil {
			return s.txn.err
		}
		if err := s.commitIfDue(ctx, time.Now(), worked); err != nil {
			return err
		}
		if worked {
			continue
		}
		if s.cfg.Once {
			return nil
		}
		s.wait(ctx)
	}
	return ctx.Err()
}

// look finds out what files there are and which have grown.
func (s *Service) look(now time.Time, first bool) {
	s.rescan = s.watch.Rescan() || s.rescan
	interval := s.cfg.RescanInterval
	if !s.watch.Works() {
		interval = min(interval, max(s.cfg.PollInterval, time.Second))
	}
	switch {
	case first, !s.cfg.Once && (s.rescan && now.Sub(s.lastScan) >= rescanPause || now.Sub(s.lastScan) >= interval):
		s.rescan = false
		for i, set := range s.sets {
			if err := set.Scan(now); err != nil && now.Sub(s.complained) > time.Minute {
				s.complained = now
				s.log.Warn("paths of a source cannot be read", "source", s.sources[i].id(), "error", err)
			}
		}
		s.lastScan, s.lastPeek = now, now
		s.watch.Follow(s.sets...)
		s.count()
	case !s.cfg.Once && now.Sub(s.lastPeek) >= peekInterval:
		for _, set := range s.sets {
			set.Peek(now)
		}
		s.lastPeek = now
	}
}

// How often open files and folders are looked at when notifications pour in.
const (
	peekInterval = 20 * time.Millisecond
	rescanPause  = 100 * time.Millisecond
)

func (s *Service) count() {
	var known, open int
	var failed uint64
	for _, set := range s.sets {
		k, o := set.Files()
		known, open = known+k, open+o
		failed += set.Errors
	}
	s.metrics.files.WithLabelValues("known").Set(float64(known))
	s.metrics.files.WithLabelValues("open").Set(float64(open))
	s.metrics.fileErrors.Add(float64(failed - s.fileErrors))
	s.fileErrors = failed
	s.lag(s.txn.now)
}

// Bounds of one turn at a file.
const (
	turnBytes   = 256 << 10
	turnRecords = 1024
	// aheadTime is how far, in event time, one log may run ahead of the
	// others before it is their turn.
	aheadTime = 30 * time.Second
)

// read takes one turn at the file that is furthest behind.
func (s *Service) read() bool {
	file, set, limit := s.picker.Next(s.sets, func(set int, g *tail.Group) decode.Sink { return s.sinkOf(set, g) })
	if file == nil {
		return false
	}
	k := s.sinkOf(set, file.Group())
	before := k.group.Progress
	if limit < 1<<62 {
		limit += aheadTime.Microseconds()
	}
	var read int64
	out := s.txn.outlet
	start := out.Records
	for read < turnBytes && out.Records-start < turnRecords && k.group.Progress <= limit && s.txn.bytes < s.cfg.CommitBytes && s.txn.err == nil {
		n, err := file.Read(k)
		read += n
		if err != nil {
			break
		}
	}
	if k.group.Progress == before && limit < 1<<62 {
		// It has nothing to say: others come first until it has.
		k.group.Progress = max(before, limit-aheadTime.Microseconds())
	}
	s.metrics.records.WithLabelValues(k.source).Add(float64(out.Records - start))
	s.metrics.bytes.WithLabelValues(k.source).Add(float64(max(read, 0)))
	return true
}

func (s *Service) sinkOf(set int, g *tail.Group) *sink {
	k := s.sinks[g]
	if k == nil {
		src := &s.sources[set]
		k = &sink{
			transaction: s.txn, source: src.id(), name: g.Observer, realm: src.Realm,
			lateness: src.Lateness, feed: g, group: g,
		}
		s.sinks[g] = k
	}
	return k
}

// wait waits for something to do.
func (s *Service) wait(ctx context.Context) {
	now := time.Now()
	until := s.cfg.PollInterval
	if s.txn.open {
		until = min(until, s.txn.began.Add(s.cfg.CommitInterval).Sub(now))
	}
	if s.rescan {
		until = min(until, rescanPause)
	}
	until = min(until, s.lastMark.Add(s.cfg.MarkInterval).Sub(now))
	if !s.txn.open && !s.marks.pending() {
		until = min(s.cfg.PollInterval, s.lastFull.Add(fullMark).Sub(now))
	}
	timer := time.NewTimer(max(until, time.Millisecond))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-s.watch.Wake():
	case <-s.live.wake():
	case d := <-s.requests:
		s.txn.now = time.Now()
		s.take(d)
	}
}
