// Package survey feeds pkg/survey: from recordings, or from the event topics of
// a running site.
package survey

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/internal/hunt"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	"github.com/ebbwatch/ebbwatch/pkg/survey"
)

// Progress is told the part that is done, 0 to 1, and what was read.
type Progress func(done float64, events uint64)

// files is a sink that hands events to a survey.
type files struct {
	to    *survey.Survey
	site  *site.Site
	place site.Placement
	tick  func()
}

// Event implements decode.Sink.
func (f *files) Event(e *event.Event) {
	f.site.Place(e, &f.place)
	f.to.Observe(e)
	f.tick()
}

// Ignored implements decode.Sink.
func (f *files) Ignored(string) {}

// Dead implements decode.Sink.
func (f *files) Dead(string, []byte, event.Origin) {}

// Files surveys recordings. An error joins those of the inputs that could not be
// read; the others were.
func Files(ctx context.Context, inputs []hunt.Input, st *site.Site, to *survey.Survey, told Progress) error {
	var size, done int64
	for _, in := range inputs {
		size += in.Size()
	}
	var errs []error
	for _, in := range inputs {
		n := 0
		sink := &files{to: to, site: st, tick: func() {
			if n++; n%tick == 0 && told != nil {
				told(float64(done+in.Consumed())/float64(max(size, 1)), to.Events)
			}
		}}
		if err := in.Read(ctx, sink); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("stopped: %w", ctx.Err())
			}
			errs = append(errs, fmt.Errorf("%s: %w", in.Name(), err))
		}
		done += in.Size()
	}
	return errors.Join(errs...)
}

// tick is how many events pass between two reports.
const tick = 4096

// stall is how long a topic may send nothing before its end before it counts as
// unreadable.
const stall = 30 * time.Second

// Topics surveys the event topics from the time since to their present ends.
func Topics(ctx context.Context, opts []kgo.Opt, since time.Time, to *survey.Survey, told Progress) error {
	admin, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer admin.Close()
	adm := kadm.NewClient(admin)
	topics := []string{topic.Network, topic.Host, topic.Cloud}
	asking, cancel := context.WithTimeout(ctx, stall)
	defer cancel()
	starts, err := adm.ListOffsetsAfterMilli(asking, since.UnixMilli(), topics...)
	if err != nil {
		return fmt.Errorf("where the topics begin: %w", err)
	}
	ends, err := adm.ListCommittedOffsets(asking, topics...)
	if err != nil {
		return fmt.Errorf("where the topics end: %w", err)
	}
	from := map[string]map[int32]kgo.Offset{}
	left := map[string]map[int32]int64{}
	var records, read int64
	ends.Each(func(end kadm.ListedOffset) {
		start, ok := starts.Lookup(end.Topic, end.Partition)
		if end.Err != nil || !ok || start.Err != nil || start.Offset < 0 || start.Offset >= end.Offset {
			return
		}
		if from[end.Topic] == nil {
			from[end.Topic], left[end.Topic] = map[int32]kgo.Offset{}, map[int32]int64{}
		}
		from[end.Topic][end.Partition] = kgo.NewOffset().At(start.Offset)
		left[end.Topic][end.Partition] = end.Offset
		records += end.Offset - start.Offset
	})
	if err := errors.Join(starts.Error(), ends.Error()); err != nil && len(from) == 0 {
		return fmt.Errorf("event topics: %w", err)
	}
	if len(from) == 0 {
		return nil
	}
	cl, err := kgo.NewClient(append(opts, kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())...)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer cl.Close()
	var e event.Event
	for len(left) > 0 {
		polling, stop := context.WithTimeout(ctx, stall)
		fetches := cl.PollFetches(polling)
		stop()
		if ctx.Err() != nil {
			return fmt.Errorf("stopped: %w", ctx.Err())
		}
		if err := fetches.Err0(); err != nil {
			return fmt.Errorf("nothing more came within %s: %w", stall, err)
		}
		var failed error
		fetches.EachError(func(name string, p int32, err error) { failed = fmt.Errorf("%s/%d: %w", name, p, err) })
		if failed != nil {
			return failed
		}
		fetches.EachRecord(func(r *kgo.Record) {
			end, ok := left[r.Topic][r.Partition]
			if !ok {
				return
			}
			if read++; !r.Attrs.IsControl() && r.Offset < end && event.Decode(r.Value, &e) == nil && e.Kind != event.KindMark && e.Role == "" {
				to.Observe(&e)
			}
			if r.Offset >= end-1 {
				if delete(left[r.Topic], r.Partition); len(left[r.Topic]) == 0 {
					delete(left, r.Topic)
				}
			}
		})
		if told != nil {
			told(float64(read)/float64(max(records, 1)), to.Events)
		}
	}
	return nil
}
