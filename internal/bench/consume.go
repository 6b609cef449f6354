package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
	"github.com/twmb/franz-go/pkg/kgo"
)

// pollRecords is what the engine polls at once.
const pollRecords = 10_000

// client reads the events as the engine does, without a group.
func (s *spec) client(from map[int32]int64, more ...kgo.Opt) (*kgo.Client, error) {
	offsets := map[int32]kgo.Offset{}
	for p, o := range from {
		offsets[p] = kgo.NewOffset().At(o)
	}
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(s.Brokers...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.topic("events"): offsets}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()),
	}, more...)...)
}

// consume measures raw and decode.
func (s *spec) consume(ctx context.Context, out *teller) error {
	cl, err := s.client(s.From)
	if err != nil {
		return err
	}
	defer cl.Close()
	if s.Phase == phaseRaw {
		var n int64
		return s.meter(ctx, cl, out, func([]*kgo.Record) error { return nil }, func(records int) int64 { n += int64(records); return n }, nil)
	}
	return s.fanOut(ctx, cl, out, func(int32) (func(*kgo.Record) error, error) {
		var p event.Plain
		return func(r *kgo.Record) error {
			if isMark(r) {
				return nil
			}
			return event.DecodePlain(r.Value, &p)
		}, nil
	}, nil)
}

func isMark(r *kgo.Record) bool {
	return len(r.Headers) > 0 && string(r.Headers[0].Value) == "mark"
}

// volatile measures detection without durability: nothing is committed, no
// snapshot is written; signals are produced.
func (s *spec) volatile(ctx context.Context, out *teller) error {
	from := map[int32]int64{}
	for p := range s.To {
		from[p] = 0
	}
	cl, err := s.client(from, stream.Fetching()...)
	if err != nil {
		return err
	}
	defer cl.Close()
	var signals atomic.Int64
	var sets []*detect.Set
	return s.fanOut(ctx, cl, out, func(p int32) (func(*kgo.Record) error, error) {
		op, err := pipeline.NewSet("default", detect.Bounds{Keys: s.MaxKeys})
		if err == nil {
			err = op.Epoch(detect.EpochSite, nil)
		}
		if err != nil {
			return nil, err
		}
		if set, ok := op.(*detect.Set); ok {
			sets = append(sets, set)
		}
		c := &producing{cl: cl, topic: s.topic("signals"), signals: &signals}
		return func(r *kgo.Record) error {
			c.rec = operator.Record{Topic: r.Topic, Partition: p, Offset: r.Offset, Time: r.Timestamp.UnixMicro(), Kind: kindOf(r), Key: r.Key, Value: r.Value}
			err := op.Apply(&c.rec, c)
			r.Recycle()
			return err
		}, nil
	}, &told{signals: &signals, memory: func() []Memory { return memoryOf(sets) }})
}

// told is what a phase tells beside records.
type told struct {
	signals *atomic.Int64
	memory  func() []Memory // once all records are done
}

// memoryOf adds up what the parts of sets take.
func memoryOf(sets []*detect.Set) (sum []Memory) {
	for _, set := range sets {
		for i, u := range set.Usage() {
			if i == len(sum) {
				sum = append(sum, Memory{Detector: u.Detector})
			}
			sum[i].Keys += u.Keys
			sum[i].Bytes += u.Bytes
		}
	}
	return slices.DeleteFunc(sum, func(m Memory) bool { return m.Bytes == 0 })
}

// kindOf is the record's kind without an allocation.
func kindOf(r *kgo.Record) string {
	for i := range r.Headers {
		if r.Headers[i].Key != "kind" {
			continue
		}
		for k := event.KindFlow; k <= event.KindMark; k++ {
			if string(r.Headers[i].Value) == k.String() {
				return k.String()
			}
		}
	}
	return ""
}

// producing is an operator's context that produces what it emits, outside of
// any transaction.
type producing struct {
	cl      *kgo.Client
	topic   string
	rec     operator.Record
	signals *atomic.Int64
}

func (p *producing) Emit(out operator.Output) {
	p.signals.Add(1)
	r := &kgo.Record{Topic: p.topic, Key: append([]byte(nil), out.Key...), Value: append([]byte(nil), out.Value...), Headers: []kgo.RecordHeader{{Key: "kind", Value: []byte(out.Kind)}}}
	p.cl.Produce(context.Background(), r, nil)
}

func (p *producing) Touch(int) {}

func (p *producing) Count(string, string, int64) {}

// fanOut gives each partition a goroutine of its own, as the engine does, and
// measures how many records they have done.
func (s *spec) fanOut(ctx context.Context, cl *kgo.Client, out *teller, start func(partition int32) (func(*kgo.Record) error, error), more *told) error {
	var done atomic.Int64
	var failed atomic.Pointer[error]
	workers := map[int32]chan []*kgo.Record{}
	var wg sync.WaitGroup
	defer wg.Wait()
	for p := range s.To {
		apply, err := start(p)
		if err != nil {
			return err
		}
		in := make(chan []*kgo.Record, 2)
		workers[p] = in
		defer close(in)
		wg.Go(func() {
			for records := range in {
				for _, r := range records {
					if err := apply(r); err != nil {
						failed.CompareAndSwap(nil, &err)
					}
				}
				done.Add(int64(len(records)))
			}
		})
	}
	return s.meter(ctx, cl, out, func(records []*kgo.Record) error {
		workers[records[0].Partition] <- records
		if err := failed.Load(); err != nil {
			return *err
		}
		return nil
	}, func(int) int64 { return done.Load() }, more)
}

// stalled is how long nothing may come before a phase gives up.
const stalled = 30 * time.Second

// meter polls until all records are done.
func (s *spec) meter(ctx context.Context, cl *kgo.Client, out *teller, take func([]*kgo.Record) error, done func(int) int64, more *told) error {
	m := &meter{begin: s.Begin, end: s.End}
	m.watch(out)
	left := s.End
	for {
		var n int
		if left > 0 {
			poll, cancel := context.WithTimeout(ctx, stalled)
			fetches := cl.PollRecords(poll, pollRecords)
			cancel()
			if err := fetches.Err(); err != nil {
				return fmt.Errorf("bench: consume: %w", err)
			}
			var err error
			fetches.EachPartition(func(p kgo.FetchTopicPartition) {
				if len(p.Records) > 0 && err == nil {
					err = take(p.Records)
				}
			})
			if err != nil {
				return err
			}
			n = fetches.NumRecords()
			left -= int64(n)
		} else {
			time.Sleep(time.Millisecond)
		}
		var c counts
		if more != nil {
			c.outputs = float64(more.signals.Load())
		}
		if m.see(done(n), c) {
			break
		}
	}
	result := m.measure()
	if more != nil {
		result.Memory = more.memory()
	}
	return out.result(news{Result: &result})
}
