package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// filler writes the records of a load before they are measured.
type filler struct {
	cl         *kgo.Client
	adm        *kadm.Client
	topic      string
	partitions int32
	err        atomic.Pointer[error]
	bytes      int64
	records    int64
}

func newFiller(ctx context.Context, s *spec, partitions int32) (*filler, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers...), kgo.ProducerBatchCompression(kgo.ZstdCompression()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(20*time.Millisecond), kgo.MaxBufferedRecords(50_000))
	if err != nil {
		return nil, err
	}
	f := &filler{cl: cl, adm: kadm.NewClient(cl), topic: s.topic("events"), partitions: partitions}
	if err := ensure(ctx, f.adm, s, partitions); err != nil {
		cl.Close()
		return nil, err
	}
	return f, nil
}

// ensure makes the topics of a load and waits until the broker knows them: on
// Kafka that is a moment after it has created them.
func ensure(ctx context.Context, adm *kadm.Client, s *spec, partitions int32) error {
	topics := s.topics(partitions)
	if _, err := topic.Ensure(ctx, adm, s.Embedded, topics...); err != nil {
		return err
	}
	var names []string
	for _, t := range topics {
		names = append(names, t.Name)
	}
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		listed, err := adm.ListTopics(ctx, names...)
		if err == nil {
			err = listed.Error()
		}
		if err == nil || time.Since(began) > stalled {
			return err
		}
	}
}

func (f *filler) produce(ctx context.Context, r *kgo.Record) {
	f.cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
		if err != nil {
			f.err.CompareAndSwap(nil, &err)
		}
	})
}

func header(kind event.Kind) []kgo.RecordHeader {
	return []kgo.RecordHeader{{Key: "kind", Value: []byte(kind.String())}, {Key: "v", Value: []byte("1")}}
}

// write produces n records and, once a second of event time, the marks that an
// ingest instance would write with them. It waits until all are stored.
func (f *filler) write(ctx context.Context, l *load, n int64, record func(i int64) (key, value []byte), progress func(done float64)) error {
	flow, mark := header(event.KindFlow), header(event.KindMark)
	second := l.ev.Time / 1_000_000
	for i := range n {
		if i%4096 == 0 {
			if err := f.err.Load(); err != nil {
				return fmt.Errorf("bench: fill %s: %w", f.topic, *err)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			progress(float64(i) / float64(n))
		}
		key, value := record(i)
		if s := l.ev.Time / 1_000_000; s != second {
			second = s
			f.mark(ctx, l, mark)
		}
		buf := append(append([]byte(nil), key...), value...)
		f.produce(ctx, &kgo.Record{Topic: f.topic, Partition: int32(xxhash.Sum64(key) % uint64(f.partitions)), Key: buf[:len(key):len(key)], Value: buf[len(key):], Headers: flow})
		f.bytes += int64(len(value))
		f.records++
	}
	f.mark(ctx, l, mark)
	if err := f.cl.Flush(ctx); err != nil {
		return fmt.Errorf("bench: fill %s: %w", f.topic, err)
	}
	if err := f.err.Load(); err != nil {
		return fmt.Errorf("bench: fill %s: %w", f.topic, *err)
	}
	return nil
}

// mark writes the marks of this moment to every partition, behind what was
// produced before.
func (f *filler) mark(ctx context.Context, l *load, headers []kgo.RecordHeader) {
	value := markValue(l.marks(l.ev.Time-2_000_000, uint64(f.records)), "bench")
	for p := range f.partitions {
		f.produce(ctx, &kgo.Record{Topic: f.topic, Partition: p, Key: []byte("mark"), Value: value, Headers: headers})
	}
}

// ends are the end offsets of the partitions, and their sum.
func (f *filler) ends(ctx context.Context) (map[int32]int64, int64, error) {
	listed, err := f.adm.ListEndOffsets(ctx, f.topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, 0, fmt.Errorf("bench: ends of %s: %w", f.topic, err)
	}
	ends, sum := map[int32]int64{}, int64(0)
	listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset; sum += o.Offset })
	return ends, sum, nil
}

// drop deletes what a load has left behind.
func drop(ctx context.Context, adm *kadm.Client, s *spec, partitions int32) error {
	names := make([]string, 0, 8)
	for _, t := range s.topics(partitions) {
		names = append(names, t.Name)
	}
	_, err := adm.DeleteTopics(ctx, names...)
	_, groups := adm.DeleteGroups(ctx, s.topic("detect"), s.topic("correlate"))
	if err == nil {
		err = groups
	}
	return err
}
