package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/ingest/companion"
	"github.com/ebbwatch/ebbwatch/internal/ingest/objects"
	"github.com/ebbwatch/ebbwatch/internal/ingest/pubsub"
	"github.com/ebbwatch/ebbwatch/internal/ingest/topics"
	"github.com/ebbwatch/ebbwatch/internal/stream"
)

// reader reads beside an ingest service what is no file: the embedded part of it
// is a companion.Companion.
type reader interface {
	Run(ctx context.Context) error
	Ready() bool
	SetEpoch(kind string, data []byte) error
}

// withReaders puts the readers that are configured beside an ingest service: they
// are one service to the outside, with one mark and the same metrics.
func withReaders(room *Room, kind ingest.Kind, cfg *ingest.Config, kafka stream.ProducerConfig, declared *declaredSite, s *ingest.Service, out Service) (Service, error) {
	world := func() companion.World {
		return companion.World{
			Kafka: kafka, Supersedes: superseding(room), Log: room.Log, Registerer: labelled(room, kind.Service), Engine: room.Metrics, Outside: s.Outside(),
		}
	}
	for _, r := range []struct {
		reads string
		on    bool
		make  func() (reader, error)
	}{
		{"objects", cfg.S3.Enabled(), func() (reader, error) { return objects.New(kind, cfg, world()) }},
		{"topics", len(cfg.Topics.Read) > 0, func() (reader, error) { return topics.New(kind, cfg, world()) }},
		{"messages", cfg.PubSub.Enabled(), func() (reader, error) { return pubsub.New(kind, cfg, world()) }},
	} {
		if !r.on {
			continue
		}
		made, err := r.make()
		if err != nil {
			return Service{}, fmt.Errorf("%w: %w", config.ErrUsage, err)
		}
		if err := declare(made, declared); err != nil {
			return Service{}, err
		}
		out = withReader(out, made, r.reads)
	}
	return out, nil
}

// withReader puts one reader beside a service.
func withReader(s Service, r reader, reads string) Service {
	with := s
	with.Run = func(ctx context.Context) error { return beside(ctx, r.Run, s.Run) }
	with.Ready = func() error {
		if !r.Ready() {
			return fmt.Errorf("the group that reads %s was not joined yet", reads)
		}
		return s.Ready()
	}
	with.Site = func(d *declaredSite) error { return errors.Join(s.Site(d), declareSite(r, d)) }
	return with
}

// labelled gives metrics the label of their service.
func labelled(room *Room, service string) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"service": service}, room.Metrics)
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
