package app

import (
	"context"
	"errors"

	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/ingest/objects"
	"github.com/ebbwatch/ebbwatch/internal/ingest/pubsub"
	"github.com/ebbwatch/ebbwatch/internal/ingest/topics"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// withObjects puts the reader of announced objects beside an ingest service:
// they are one service to the outside, with one mark and the same metrics.
func withObjects(room *Room, kind ingest.Kind, common *Common, cfg *ingest.Config, opts []kgo.Opt, st *site.Site, s *ingest.Service, files Service) (Service, error) {
	o, err := objects.New(kind, cfg, objects.World{
		Kafka: stream.ProducerConfig{
			Slot: common.Kafka.Instance, Brokers: common.Kafka.Brokers, Embedded: common.Kafka.Embedded, Options: opts,
		},
		Site: st, Log: room.Log, Registerer: prometheus.WrapRegistererWith(prometheus.Labels{"service": kind.Service}, room.Metrics),
		Engine: room.Metrics, Outside: s.Outside(),
	})
	if err != nil {
		return Service{}, err
	}
	run, ready := files.Run, files.Ready
	files.Run = func(ctx context.Context) error { return beside(ctx, o.Run, run) }
	files.Ready = func() error {
		if !o.Ready() {
			return errors.New("the group that reads objects was not joined yet")
		}
		return ready()
	}
	return files, nil
}

// withMessages puts the reader of Pub/Sub beside an ingest service.
func withMessages(room *Room, kind ingest.Kind, common *Common, cfg *ingest.Config, opts []kgo.Opt, st *site.Site, s *ingest.Service, files Service) (Service, error) {
	o, err := pubsub.New(kind, cfg, pubsub.World{
		Kafka: stream.ProducerConfig{
			Slot: common.Kafka.Instance, Brokers: common.Kafka.Brokers, Embedded: common.Kafka.Embedded, Options: opts,
		},
		Site: st, Log: room.Log, Registerer: prometheus.WrapRegistererWith(prometheus.Labels{"service": kind.Service}, room.Metrics),
		Engine: room.Metrics, Outside: s.Outside(),
	})
	if err != nil {
		return Service{}, err
	}
	run, ready := files.Run, files.Ready
	files.Run = func(ctx context.Context) error { return beside(ctx, o.Run, run) }
	files.Ready = func() error {
		if !o.Ready() {
			return errors.New("the group that reads messages was not joined yet")
		}
		return ready()
	}
	return files, nil
}

// withTopics puts the reader of topics that others write beside an ingest service.
func withTopics(room *Room, kind ingest.Kind, common *Common, cfg *ingest.Config, opts []kgo.Opt, st *site.Site, s *ingest.Service, files Service) (Service, error) {
	t, err := topics.New(kind, cfg, topics.World{
		Kafka: stream.ProducerConfig{
			Slot: common.Kafka.Instance, Brokers: common.Kafka.Brokers, Embedded: common.Kafka.Embedded, Options: opts,
		},
		Site: st, Log: room.Log, Registerer: room.Metrics, Outside: s.Outside(),
	})
	if err != nil {
		return Service{}, err
	}
	run, ready := files.Run, files.Ready
	files.Run = func(ctx context.Context) error { return beside(ctx, t.Run, run) }
	files.Ready = func() error {
		if !t.Ready() {
			return errors.New("the group that reads topics was not joined yet")
		}
		return ready()
	}
	return files, nil
}

// beside runs two things until ctx or one of them ends. The second one stops
// after the first: it has the last word on what the first one did.
func beside(ctx context.Context, first, second func(context.Context) error) error {
	firstCtx, stopFirst := context.WithCancel(ctx)
	defer stopFirst()
	secondCtx, stopSecond := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSecond()
	ended := make(chan error, 1)
	go func() {
		defer stopFirst()
		ended <- second(secondCtx)
	}()
	err := first(firstCtx)
	stopSecond()
	return errors.Join(err, <-ended)
}
