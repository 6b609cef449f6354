package ingest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/ingest/tail"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// fullMark is how often a mark speaks of all sources.
const fullMark = 30 * time.Second

// commitIfDue commits what was read when it is time, and marks what has
// changed.
func (s *Service) commitIfDue(ctx context.Context, now time.Time, worked bool) error {
	s.outside.drain(s.marks, now)
	full := now.Sub(s.lastFull) >= fullMark
	mark := full || now.Sub(s.lastMark) >= s.cfg.MarkInterval
	reason := ""
	switch {
	case s.txn.open && s.txn.bytes >= s.cfg.CommitBytes:
		reason = "size"
	case s.txn.open && now.Sub(s.txn.began) >= s.cfg.CommitInterval:
		reason = "interval"
	case s.txn.open && !worked && s.cfg.Once:
		return nil // the closing mark comes
	case !s.txn.open && mark && (full || s.marks.pending()):
		reason = "mark"
	default:
		return nil
	}
	return s.commit(ctx, now, reason, mark, full, false)
}

// commit writes positions and the mark, and commits. It does not heed the end
// of ctx.
func (s *Service) commit(ctx context.Context, now time.Time, reason string, mark, full, closing bool) error {
	ctx = context.WithoutCancel(ctx)
	s.txn.now = now
	if !s.txn.begin(ctx) {
		return s.txn.err
	}
	at := now.UnixMicro()
	for i, set := range s.sets {
		source := s.sources[i].id()
		var err error
		set.Positions(func(p tail.Position) {
			if err == nil {
				err = s.book.file(ctx, source, p, at)
			}
		})
		if err != nil {
			return err
		}
		for _, key := range set.Forgotten(now) {
			s.book.forget(ctx, source, key)
		}
	}
	if s.txn.embedded {
		for i, name := range s.kind.Topics {
			ends := stored{At: at, Ends: s.txn.ends[name]}
			if closing {
				ends.Ends = nil // it leaves nothing half done behind it
			}
			if err := s.book.put(ctx, endsKey(i, name), ends); err != nil {
				return err
			}
		}
	}
	if mark {
		if err := s.mark(ctx, now, full, closing); err != nil {
			return err
		}
	}
	err := s.producer.Commit(ctx)
	s.txn.open, s.txn.bytes = false, 0
	if err != nil {
		return err
	}
	took := time.Since(now)
	s.metrics.commits.WithLabelValues(reason).Inc()
	s.metrics.commitTime.Observe(took.Seconds())
	s.answer(nil)
	s.lag(now)
	if s.txn.embedded && s.book.written > compactAfter && !closing {
		return s.book.compact(ctx)
	}
	return nil
}

// mark writes the mark to every partition, as the last records of the
// transaction. Each topic is told of the streams that it has.
func (s *Service) mark(ctx context.Context, now time.Time, full, closing bool) error {
	m := event.Mark{Instance: s.kind.Service + "/" + s.world.Kafka.Slot, Closing: closing}
	if full && !s.adopted {
		s.adopted = true
		s.marks.adopt(s.feeds, s.outside.attached.Load())
	}
	listed := s.marks.mark(&m, full)
	for _, sensor := range sensorsOf(listed) {
		raw, err := s.marks.append(nil, sensor)
		if err != nil {
			return fmt.Errorf("streams: %w", err)
		}
		if err := s.book.put(ctx, "streams/"+sensor, stored{At: now.UnixMicro(), Streams: raw}); err != nil {
			return err
		}
	}
	all := m.Sources
	for i, name := range s.kind.Topics {
		if len(s.kind.Topics) > 1 {
			m.Sources = slices.DeleteFunc(slices.Clone(all), func(src event.SourceMark) bool {
				return s.kind.TopicOf(event.ParseKind(src.Stream)) != name
			})
		}
		value, err := m.Append(nil)
		if err != nil {
			return fmt.Errorf("mark: %w", err)
		}
		for p := range s.partitions[i] {
			s.txn.produce(ctx, stream.Record{
				Topic: name, Partition: p, Kind: event.KindMark.String(), V: event.Version, Key: []byte(m.Instance), Value: value,
			})
		}
	}
	s.lastMark = now
	if full {
		s.lastFull = now
	}
	s.metrics.unmarked.Add(float64(s.marks.unmarked))
	s.marks.unmarked = 0
	return nil
}

// feeds are what a sensor's records come from.
func (s *Service) feeds(sensor string) (list []feed) {
	for _, set := range s.sets {
		for _, g := range set.Groups() {
			if g.Observer == sensor {
				list = append(list, g)
			}
		}
	}
	if s.server != nil && s.cfg.Webhook.Name == sensor {
		list = append(list, always{})
	}
	if s.live != nil && s.liveSink.name == sensor {
		list = append(list, always{})
	}
	return list
}

// lag tells how far the newest event lies behind.
func (s *Service) lag(now time.Time) {
	newest := s.marks.newest()
	if newest == 0 {
		return
	}
	s.metrics.newest.Set(float64(newest) / 1e6)
	if s.world.Lag != nil {
		s.world.Lag(s.kind.Stage, now.Sub(time.UnixMicro(newest)))
	}
}

// drain takes the requests and packets that wait, and commits a last time.
func (s *Service) drain(ctx context.Context) error {
	s.txn.now = time.Now()
	s.outside.drain(s.marks, s.txn.now)
	for s.receive() {
	}
	s.hangUp()
	if s.txn.err != nil {
		return s.txn.err
	}
	return s.commit(ctx, time.Now(), "drain", true, true, true)
}
