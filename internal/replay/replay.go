package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Stage is where a replay begins.
type Stage string

// The stages.
const (
	Events  Stage = "events"  // detection and correlation over the event topics
	Signals Stage = "signals" // correlation over the signals topic
)

// Point is a place in the logs: a time, or offsets of partitions. The zero Point
// is where the logs begin, or end.
type Point struct {
	// Time is an append time.
	Time time.Time
	// Offsets by "TOPIC/PARTITION"; partitions that are not named begin with
	// their log, or end with it.
	Offsets map[string]int64
}

// Options of a replay.
type Options struct {
	Brokers  []string
	Embedded bool
	Client   []kgo.Opt
	Domain   string        // correlation domain; "" is "default"
	Bounds   detect.Bounds // as of detect
	Stage    Stage
	From, To Point
	// Site replaces the site files that the log has as epochs, where Given.
	Site      []byte
	SiteGiven bool
	// Signals, if set, is handed every signal that detection makes within the
	// range, weak ones too. The bytes are valid during the call.
	Signals func(value []byte)
	// Stall bounds the wait for a record; 30 s by default.
	Stall time.Duration
	// Progress, if set, is told now and then.
	Progress func(Progress)
}

// Progress of a replay.
type Progress struct {
	Fraction float64
	Records  int64
	At       time.Time // append time of the last record
	Alerts   int
	Duration time.Duration
}

// Alert is one alert record: a revision.
type Alert struct{ Key, Value []byte }

// Result says what was replayed.
type Result struct {
	Records, Signals int64
	Refused          int64 // records that are dead letters
	Alerts           int
	First, Last      time.Time // append times of the records that count
	// Cold are partitions whose log does not reach back far enough: their
	// state began empty.
	Cold []string
	// Assumed are partitions in whose oldest records another site file may
	// have held than the first one known.
	Assumed []string
}

// Run replays and hands each alert record to sink, in order.
func Run(ctx context.Context, o Options, sink func(Alert) error, log *slog.Logger) (*Result, error) {
	if o.Stall <= 0 {
		o.Stall = 30 * time.Second
	}
	r := &run{opts: o, sink: sink, log: log, began: time.Now(), sets: map[string]*part{}, correlators: map[int32]*part{}}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	defer r.close()
	if o.Stage == Events {
		return &r.result, r.events(ctx)
	}
	return &r.result, r.signals(ctx)
}

// PresentSite is the site file that detect holds now, or held last: of several
// (a change that not all partitions have taken yet) the one that was modified
// last. It is empty where none was declared.
func PresentSite(ctx context.Context, o Options, log *slog.Logger) ([]byte, error) {
	if o.Stall <= 0 {
		o.Stall = 30 * time.Second
	}
	a, err := o.archive(ctx, topic.Detect(), o.newSet, log)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	var last []byte
	for _, data := range a.Epochs(detect.EpochSite) {
		// The bytes begin with the time of the modification.
		if bytes.Compare(data, last) > 0 {
			last = data
		}
	}
	return last, nil
}

// run is one replay.
type run struct {
	opts   Options
	sink   func(Alert) error
	log    *slog.Logger
	began  time.Time
	result Result

	detect, correlate *stream.Archive
	sets              map[string]*part // by "TOPIC/PARTITION"
	correlators       map[int32]*part  // by partition of the signals topic

	total int64 // records to read, about
	told  time.Time
}

// part is an operator with the range that counts.
type part struct {
	replica  *stream.Replica
	from, to int64
	next     int64 // of a correlator's own records
}

// archive opens what a service has left.
func (o *Options) archive(ctx context.Context, f topic.Flow, factory operator.Factory, log *slog.Logger) (*stream.Archive, error) {
	return stream.OpenArchive(ctx, stream.Config{
		Service: f.Service, Inputs: f.Inputs, Outputs: f.Outputs,
		Brokers: o.Brokers, Embedded: o.Embedded, Options: o.Client, StallTimeout: o.Stall,
	}, factory, log)
}

// newSet makes the operators of detect.
func (o *Options) newSet(int32) (operator.Operator, error) {
	return pipeline.NewSet(o.Domain, o.Bounds)
}

func (r *run) open(ctx context.Context) error {
	var err error
	r.correlate, err = r.opts.archive(ctx, topic.Correlate(), func(int32) (operator.Operator, error) { return pipeline.NewCorrelator(false) }, r.log)
	if err != nil || r.opts.Stage != Events {
		return err
	}
	r.detect, err = r.opts.archive(ctx, topic.Detect(), r.opts.newSet, r.log)
	if err != nil {
		r.correlate.Close()
	}
	return err
}

func (r *run) close() {
	r.correlate.Close()
	if r.detect != nil {
		r.detect.Close()
	}
}

// parts makes the operators of an archive's inputs at their first record that
// counts.
func (r *run) parts(ctx context.Context, a *stream.Archive) ([]*part, error) {
	from, err := offsets(ctx, a, r.opts.From)
	if err != nil {
		return nil, err
	}
	to, err := offsets(ctx, a, r.opts.To)
	if err != nil {
		return nil, err
	}
	var list []*part
	for _, in := range a.Inputs() {
		name := nameOf(in.Topic, in.Partition)
		p := &part{from: in.Start, to: in.End}
		if at, ok := from[name]; ok {
			p.from = at
		}
		if at, ok := to[name]; ok {
			p.to = min(at, in.End)
		}
		if p.from < in.Start {
			return nil, fmt.Errorf("%s begins at offset %d: what was before is gone", name, in.Start)
		}
		if p.replica, err = a.Replica(ctx, in.Topic, in.Partition, p.from); err != nil {
			return nil, err
		}
		if r.opts.SiteGiven {
			if err := p.replica.SetEpoch(detect.EpochSite, r.opts.Site); err != nil {
				return nil, err
			}
		}
		if p.replica.Cold {
			r.result.Cold = append(r.result.Cold, name)
		}
		if len(p.replica.Assumed) > 0 && !r.opts.SiteGiven {
			r.result.Assumed = append(r.result.Assumed, name)
		}
		r.total += max(p.to-p.replica.From, 0)
		list = append(list, p)
	}
	return list, nil
}

func nameOf(topic string, partition int32) string { return fmt.Sprintf("%s/%d", topic, partition) }

// offsets are those of a point, by "TOPIC/PARTITION".
func offsets(ctx context.Context, a *stream.Archive, p Point) (map[string]int64, error) {
	out := map[string]int64{}
	if !p.Time.IsZero() {
		byTime, err := a.OffsetsAt(ctx, p.Time.UnixMilli())
		if err != nil {
			return nil, err
		}
		for t, parts := range byTime {
			for i, at := range parts {
				out[nameOf(t, i)] = at
			}
		}
	}
	maps.Copy(out, p.Offsets)
	return out, nil
}

// signals replays the correlator over its topic.
func (r *run) signals(ctx context.Context) error {
	parts, err := r.parts(ctx, r.correlate)
	if err != nil {
		return err
	}
	var ranges []stream.Range
	for i, p := range parts {
		ranges = append(ranges, stream.Range{Topic: topic.Signals, Partition: int32(i), From: p.replica.From, To: p.to})
		r.correlators[int32(i)] = p
	}
	return r.correlate.Merged(ctx, ranges, func(rec *kgo.Record) error {
		p := r.correlators[rec.Partition]
		counts := rec.Offset >= p.from
		r.note(rec, counts)
		return r.apply(p, rec, func(out operator.Output) error { return r.alert(out, counts) })
	})
}

// events replays detection and, with what comes of it, correlation.
func (r *run) events(ctx context.Context) error {
	sets, err := r.parts(ctx, r.detect)
	if err != nil {
		return err
	}
	correlators, err := r.parts(ctx, r.correlate)
	if err != nil {
		return err
	}
	// What the correlators need to know first is in the signals as they are.
	var before, ranges []stream.Range
	for i, p := range correlators {
		r.correlators[int32(i)] = p
		p.next = p.from
		before = append(before, stream.Range{Topic: topic.Signals, Partition: int32(i), From: p.replica.From, To: p.from})
	}
	err = r.correlate.Merged(ctx, before, func(rec *kgo.Record) error {
		r.note(rec, false)
		return r.apply(r.correlators[rec.Partition], rec, func(operator.Output) error { return nil })
	})
	if err != nil {
		return err
	}
	for i, in := range r.detect.Inputs() {
		ranges = append(ranges, stream.Range{Topic: in.Topic, Partition: in.Partition, From: sets[i].replica.From, To: sets[i].to})
		r.sets[nameOf(in.Topic, in.Partition)] = sets[i]
	}
	// Deployments and verdicts are no work of detection: they come from the
	// signals topic, in their turn.
	for i, p := range correlators {
		ranges = append(ranges, stream.Range{Topic: topic.Signals, Partition: int32(i), From: p.from, To: p.to})
	}
	return r.detect.Merged(ctx, ranges, r.event)
}

// event takes one record of the merged logs.
func (r *run) event(rec *kgo.Record) error {
	if rec.Topic == topic.Signals {
		if kind := kindOf(rec); kind != signal.KindDeployment && kind != signal.KindVerdict {
			r.total-- // made anew
			return nil
		}
		r.note(rec, true)
		return r.judge(rec.Partition, rec)
	}
	p := r.sets[nameOf(rec.Topic, rec.Partition)]
	counts := rec.Offset >= p.from
	r.note(rec, counts)
	return r.apply(p, rec, func(out operator.Output) error {
		if !counts || out.Topic != topic.Signals {
			return nil
		}
		r.result.Signals++
		if r.opts.Signals != nil && out.Kind == signal.KindSignal {
			r.opts.Signals(out.Value)
		}
		to := stream.PartitionOf(out.Key, len(r.correlators))
		return r.judge(to, &kgo.Record{
			Topic: topic.Signals, Partition: to, Key: out.Key, Value: out.Value, Timestamp: rec.Timestamp,
			Headers: []kgo.RecordHeader{{Key: "kind", Value: []byte(out.Kind)}},
		})
	})
}

// judge hands a signal to its correlator.
func (r *run) judge(partition int32, rec *kgo.Record) error {
	p := r.correlators[partition]
	own := *rec
	own.Offset = p.next
	p.next++
	return r.apply(p, &own, func(out operator.Output) error { return r.alert(out, true) })
}

// apply applies a record and hands on what it emits.
func (r *run) apply(p *part, rec *kgo.Record, emit func(operator.Output) error) error {
	c := &collector{}
	refusal, err := p.replica.Apply(rec, c)
	if err != nil {
		return err
	}
	if refusal != nil {
		r.result.Refused++
		r.log.Debug("record refused", "topic", rec.Topic, "partition", rec.Partition, "offset", rec.Offset, "error", refusal)
		return nil
	}
	for _, out := range c.out {
		if err := emit(out); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) alert(out operator.Output, counts bool) error {
	if !counts || out.Topic != topic.Alerts {
		return nil
	}
	r.result.Alerts++
	return r.sink(Alert{out.Key, out.Value})
}

// note counts a record and tells the progress.
func (r *run) note(rec *kgo.Record, counts bool) {
	r.result.Records++
	if counts {
		if r.result.First.IsZero() {
			r.result.First = rec.Timestamp
		}
		r.result.Last = rec.Timestamp
	}
	if r.opts.Progress == nil || r.result.Records%1024 != 0 {
		return
	}
	if now := time.Now(); now.Sub(r.told) > 200*time.Millisecond {
		r.told = now
		r.opts.Progress(Progress{
			Fraction: min(float64(r.result.Records)/float64(max(r.total, 1)), 1), Records: r.result.Records, At: rec.Timestamp, Alerts: r.result.Alerts, Duration: now.Sub(r.began),
		})
	}
}

func kindOf(rec *kgo.Record) string {
	for _, h := range rec.Headers {
		if h.Key == "kind" {
			return string(h.Value)
		}
	}
	return ""
}

// collector keeps what an operator emits for one record.
type collector struct{ out []operator.Output }

// Emit implements operator.Context.
func (c *collector) Emit(out operator.Output) {
	out.Key, out.Value = slices.Clone(out.Key), slices.Clone(out.Value)
	c.out = append(c.out, out)
}

// Touch implements operator.Context: a replay takes no snapshots.
func (c *collector) Touch(int) {}

// Count implements operator.Context.
func (c *collector) Count(string, string, int64) {}

// errPoint reports a text that is no Point.
var errPoint = errors.New("neither a time (2026-01-02T15:04:05Z), nor an age (24h), nor offsets (TOPIC/PARTITION@OFFSET,...)")

// ParsePoint reads a point: a time in RFC 3339, an age before now, or offsets.
func ParsePoint(text string, now time.Time) (Point, error) {
	if text == "" {
		return Point{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return Point{Time: t}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return Point{Time: now.Add(-d)}, nil
	}
	p := Point{Offsets: map[string]int64{}}
	for one := range strings.SplitSeq(text, ",") {
		name, at, ok := strings.Cut(strings.TrimSpace(one), "@")
		var offset int64
		var partition int32
		slash := strings.LastIndexByte(name, '/')
		if !ok || slash < 1 || !number(at, &offset) || !number(name[slash+1:], &partition) {
			return Point{}, fmt.Errorf("%q is %w", text, errPoint)
		}
		p.Offsets[nameOf(name[:slash], partition)] = offset
	}
	return p, nil
}

func number[T int32 | int64](text string, to *T) bool {
	n, err := strconv.ParseUint(text, 10, 31)
	if _, wide := any(to).(*int64); wide {
		n, err = strconv.ParseUint(text, 10, 63)
	}
	*to = T(n)
	return err == nil
}
