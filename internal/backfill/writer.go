package backfill

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/segmentio/encoding/json"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// batch is how many histories one transaction has at most.
const batch = 5000

// writer writes histories and how far they go.
type writer struct {
	producer *stream.Producer
	topic    string
	key      []byte
	pause    time.Duration
}

// position is a record of ebb.positions.v1 whose key is
// backfill/SOURCE/PLACE/FROM.
type position struct {
	V  int   `json:"v"`
	At int64 `json:"at"` // microseconds
	// Until is the event time before which everything is written, microseconds.
	Until int64 `json:"until"`
}

func open(ctx context.Context, o *Options, log *slog.Logger) (*writer, error) {
	kafka := o.Kafka
	kafka.Service = "backfill-" + o.Kind.Source
	p, err := stream.NewProducer(kafka, log)
	if err != nil {
		return nil, err
	}
	if err := p.Start(ctx); err != nil {
		return nil, err
	}
	w := &writer{
		producer: p, topic: o.Kind.Topics[0],
		key: fmt.Appendf(nil, "backfill/%s/%s/%s", o.Kind.Source, o.Place, o.From.Format(time.RFC3339)),
	}
	if o.Kafka.Embedded {
		w.pause = time.Second // every transaction costs memory there
	}
	for _, name := range []string{w.topic, topic.Positions} {
		if _, err := p.Partitions(ctx, name); err != nil {
			p.Close()
			return nil, fmt.Errorf("the topics are made by the services: start them first: %w", err)
		}
	}
	return w, nil
}

func (w *writer) close() { w.producer.Close() }

// reached is how far an earlier run came, zero where there was none.
func (w *writer) reached(ctx context.Context) (time.Time, error) {
	var latest position
	err := w.producer.ReadAll(ctx, topic.Positions, func(r *kgo.Record) error {
		var p position
		if r.Attrs.IsControl() || string(r.Key) != string(w.key) || json.Unmarshal(r.Value, &p) != nil || p.V != 1 {
			return nil
		}
		if p.At >= latest.At {
			latest = p
		}
		return nil
	})
	if err != nil || latest.Until == 0 {
		return time.Time{}, err
	}
	return time.UnixMicro(latest.Until).UTC(), nil
}

// write commits the histories of a day, and with the last of them that
// everything before until is written.
func (w *writer) write(ctx context.Context, p past, until time.Time) (n, sources int, err error) {
	open, last := false, ""
	begin := func() {
		if !open && err == nil {
			open, err = true, w.producer.Begin()
		}
	}
	for of := range p.Each {
		if of.Key != last {
			sources, last = sources+1, of.Key
		}
		for hours := range slices.Chunk(of.Hours, signal.MaxHistoryHours) {
			value, failed := historyOf(&of, hours).Append(nil)
			if begin(); err != nil || failed != nil {
				return n, sources, fmt.Errorf("history of %s: %w", of.Key, firstOf(err, failed))
			}
			w.producer.Produce(ctx, stream.Record{
				Topic: w.topic, Partition: stream.ByKey, Kind: signal.KindHistory, V: signal.Version, Key: []byte(of.Key), Value: value,
			})
			if n++; n%batch == 0 {
				open = false
				if err := w.commit(ctx); err != nil {
					return n, sources, err
				}
			}
		}
	}
	value, failed := json.Marshal(position{V: 1, At: time.Now().UnixMicro(), Until: until.UnixMicro()})
	if begin(); err != nil || failed != nil {
		return n, sources, fmt.Errorf("position: %w", firstOf(err, failed))
	}
	w.producer.Produce(ctx, stream.Record{Topic: topic.Positions, Partition: stream.ByKey, Kind: "position", V: 1, Key: w.key, Value: value})
	return n, sources, w.commit(ctx)
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) commit(ctx context.Context) error {
	if err := w.producer.Commit(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(w.pause):
		return nil
	}
}

func historyOf(of *baseline.PastOf, hours []baseline.PastHour) *signal.History {
	h := &signal.History{Observer: of.Observer, Source: of.Source}
	for _, x := range hours {
		h.Hours = append(h.Hours, signal.HistoryHour{Start: baseline.TimeOf(x.Hour), Bytes: x.Bytes, Permitted: x.Permitted, Records: x.Records})
	}
	return h
}
