package backfill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/detect/object"
	"github.com/ebbwatch/ebbwatch/pkg/detect/volume"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// DefaultSums bounds the hourly sums of one day: about 1 GB.
const DefaultSums = 5_000_000

// Options of a backfill.
type Options struct {
	// Kind is what is read: ingest-flow or ingest-cloudtrail.
	Kind ingest.Kind
	// Place is s3://BUCKET/PREFIX, a folder or a file.
	Place string
	// From and To are full hours, UTC; To is no part of it.
	From, To time.Time
	Site     *site.Site
	// Config has the settings of S3 (also Name, Realm and Columns, of files too)
	// and the limits of content.
	Config *ingest.Config
	// Kafka says how to reach the brokers; Service is filled in.
	Kafka stream.ProducerConfig
	// Again reads everything, whatever an earlier run has done.
	Again bool
	// Sums bounds the hourly sums held at once; 0 is DefaultSums.
	Sums int
	// Progress is told now and then; nil for none.
	Progress func(Progress)
}

// Progress is how far a backfill is.
type Progress struct {
	Day          time.Time
	Done, Things int   // of the day
	Bytes, All   int64 // read, of what all days need
	Records      int64
}

// Report is what was done.
type Report struct {
	Resumed   time.Time // where an earlier run had come to; zero where there was none
	Days      int
	Things    int // files or objects read; one may count for two days
	Records   int64
	Events    int64
	Ignored   map[string]int64
	Dead      map[string]int64
	Histories int
	Sources   int // keys, the most of any day
	Skipped   []string
}

// past is what sums the events of a kind.
type past interface {
	Observe(e *event.Event, key []byte) error
	Each(yield func(baseline.PastOf) bool)
	Len() int
}

func (o *Options) newPast(from, to time.Time) past {
	if o.Kind.Source == "cloudtrail" {
		return object.NewPast(from.UnixMicro(), to.UnixMicro(), o.Sums)
	}
	return volume.NewPast(o.Site, from.UnixMicro(), to.UnixMicro(), o.Sums)
}

// Run reads and writes. The report is valid with an error too.
func Run(ctx context.Context, o Options, log *slog.Logger) (rep Report, err error) {
	if o.Sums == 0 {
		o.Sums = DefaultSums
	}
	rep = Report{Ignored: map[string]int64{}, Dead: map[string]int64{}}
	o.From, o.To = o.From.UTC(), o.To.UTC()
	w, err := open(ctx, &o, log)
	if err != nil {
		return rep, err
	}
	defer w.close()
	from := o.From
	if until, err := w.reached(ctx); err != nil {
		return rep, err
	} else if !o.Again && until.After(from) {
		rep.Resumed, from = until, until
	}
	if !from.Before(o.To) {
		return rep, nil
	}
	o.From = from
	things, skipped, err := find(ctx, &o)
	rep.Skipped = skipped
	if err != nil {
		return rep, err
	}
	spans := days(from, o.To, things)
	r := run{options: &o, report: &rep}
	for _, span := range spans {
		for i := range things {
			if things[i].concerns(span[0], span[1]) {
				r.progress.All += things[i].size
			}
		}
	}
	for _, span := range spans {
		p, err := r.day(ctx, span, things)
		if err != nil {
			return rep, err
		}
		n, sources, err := w.write(ctx, p, span[1])
		rep.Histories += n
		rep.Sources = max(rep.Sources, sources)
		if err != nil {
			return rep, err
		}
		rep.Days++
	}
	return rep, nil
}

// days cuts a span at midnights, if what is to be read says of which day it is.
func days(from, to time.Time, things []thing) (spans [][2]time.Time) {
	for i := range things {
		if things[i].from.IsZero() {
			return [][2]time.Time{{from, to}}
		}
	}
	for from.Before(to) {
		end := from.Truncate(24 * time.Hour).Add(24 * time.Hour)
		if end.After(to) {
			end = to
		}
		spans = append(spans, [2]time.Time{from, end})
		from = end
	}
	return spans
}

// run is a decode.Sink.
type run struct {
	options  *Options
	report   *Report
	progress Progress

	past     past
	observer string
	place    site.Placement
	full     error
	stop     context.CancelFunc
}

// day reads what concerns a day.
func (r *run) day(ctx context.Context, span [2]time.Time, things []thing) (past, error) {
	r.past = r.options.newPast(span[0], span[1])
	r.progress.Day, r.progress.Done, r.progress.Things = span[0], 0, 0
	for i := range things {
		if things[i].concerns(span[0], span[1]) {
			r.progress.Things++
		}
	}
	var reading context.Context
	reading, r.stop = context.WithCancel(ctx)
	defer r.stop()
	for i := range things {
		t := &things[i]
		if !t.concerns(span[0], span[1]) {
			continue
		}
		r.observer = t.observer
		err := t.read(reading, r)
		switch {
		case r.full != nil:
			return nil, fmt.Errorf("%s to %s: more than %d hourly sums: take a shorter span, or a part of the prefix at a time: %w",
				span[0].Format(time.DateTime), span[1].Format(time.DateTime), r.options.Sums, r.full)
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", t.name, err)
		}
		r.report.Things++
		r.progress.Done++
		r.progress.Bytes += t.size
		r.tell(true)
	}
	return r.past, nil
}

// tell reports progress: after each thing, and within one now and then.
func (r *run) tell(whole bool) {
	r.progress.Records = r.report.Records
	if r.options.Progress != nil && (whole || r.report.Records%4096 == 0) {
		r.options.Progress(r.progress)
	}
}

// Event implements decode.Sink.
func (r *run) Event(e *event.Event) {
	r.report.Records++
	r.report.Events++
	e.Observer.Name, e.Observer.Realm = r.observer, r.options.Config.S3.Realm
	r.options.Site.Place(e, &r.place)
	if err := r.past.Observe(e, r.place.Key); err != nil && r.full == nil {
		r.full = err
		r.stop()
	}
	r.tell(false)
}

// Ignored implements decode.Sink.
func (r *run) Ignored(reason string) {
	r.report.Records++
	r.report.Ignored[reason]++
}

// Dead implements decode.Sink.
func (r *run) Dead(reason string, _ []byte, _ event.Origin) {
	r.report.Records++
	r.report.Dead[reason]++
}

// Full reports whether an error of Run is that of the bound.
func Full(err error) bool { return errors.Is(err, baseline.ErrPastFull) }
