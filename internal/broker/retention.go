package broker

import (
	"context"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/twmb/franz-go/pkg/kadm"
)

// trimLoop trims the logs by age until ctx ends.
//
// kfake's own retention is not used: one batch with an old client timestamp
// deletes all newer batches before it, it does not run after a restart unless
// a topic is altered, and a log that it empties starts again at offset 0
// after a kill. DeleteRecords up to the first record that is young enough has
// none of these, as long as the last batch stays.
func (b *Broker) trimLoop(ctx context.Context, adm *kadm.Client) {
	tick := time.NewTicker(b.cfg.TrimEvery)
	defer tick.Stop()
	for {
		if n, err := b.trim(ctx, adm, time.Now()); err != nil && ctx.Err() == nil {
			b.log.Warn("trim by age", "error", err)
		} else if n > 0 {
			b.log.Info("trimmed by age", "partitions", n)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// trim deletes the records of event topics that are older than the topic's
// retention and returns in how many partitions it did.
func (b *Broker) trim(ctx context.Context, adm *kadm.Client, now time.Time) (int, error) {
	rows := b.cfg.Topics
	if len(rows) == 0 {
		rows = topic.Table()
	}
	del := kadm.Offsets{}
	n := 0
	for _, t := range rows {
		age := t.TrimAfter()
		if age == 0 {
			continue
		}
		// The ends first: where nothing is young enough the next answer is the
		// end of that moment, and what came meanwhile is not old.
		ends, err := adm.ListEndOffsets(ctx, t.Name)
		if err != nil {
			return n, err
		}
		young, err := adm.ListOffsetsAfterMilli(ctx, now.Add(-age).UnixMilli(), t.Name)
		if err != nil {
			return n, err
		}
		starts, err := adm.ListStartOffsets(ctx, t.Name)
		if err != nil {
			return n, err
		}
		starts.Each(func(s kadm.ListedOffset) {
			y, okY := young.Lookup(t.Name, s.Partition)
			e, okE := ends.Lookup(t.Name, s.Partition)
			if s.Err != nil || !okY || !okE || y.Err != nil || e.Err != nil {
				return
			}
			// The last batch stays: without any, a killed broker would
			// start the log at offset 0 again, below what groups have
			// committed.
			if to := min(y.Offset, e.Offset-1); to > s.Offset {
				del.AddOffset(t.Name, s.Partition, to, -1)
				n++
			}
		})
	}
	if n == 0 {
		return 0, nil
	}
	res, err := adm.DeleteRecords(ctx, del)
	if err != nil {
		return 0, err
	}
	return n, res.Error()
}
