package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/ingest/webhook"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// delivery is one alert, or the encoded form of a deployment window, that waits
// for its commit.
type delivery struct {
	body   []byte
	window bool
	bad    bool
	done   chan error // buffered
}

// Announce hands in the announcement of a deployment window and returns once it
// is committed to ebb.signals.v1. Its errors are those of Deliver, or
// webhook.ErrWindow with what is wrong with it.
func (s *Service) Announce(ctx context.Context, body []byte) error {
	d, err := signal.ParseAnnouncement(body, time.Now().UnixMicro())
	if err != nil {
		return fmt.Errorf("%w: %w", webhook.ErrWindow, err)
	}
	value, err := d.Append(nil)
	if err != nil {
		return fmt.Errorf("%w: %w", webhook.ErrWindow, err)
	}
	return s.enqueue(ctx, &delivery{body: value, window: true, done: make(chan error, 1)})
}

// Deliver hands in one alert and returns once it is committed. body must not
// be changed any more, even after an error. An error other than
// webhook.ErrBad means that nobody knows whether the alert was taken: deliver
// it again.
func (s *Service) Deliver(ctx context.Context, body []byte) error {
	return s.enqueue(ctx, &delivery{body: body, done: make(chan error, 1)})
}

func (s *Service) enqueue(ctx context.Context, d *delivery) error {
	select {
	case <-s.draining:
		return webhook.ErrStopping
	default:
	}
	select {
	case s.requests <- d:
	default:
		return webhook.ErrBusy
	}
	select {
	case err := <-d.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.draining:
		// It may have been answered at the last moment.
		select {
		case err := <-d.done:
			return err
		default:
			return webhook.ErrStopping
		}
	}
}

// receive takes the alerts that are there.
func (s *Service) receive() bool {
	took := false
	for {
		select {
		case d := <-s.requests:
			s.take(d)
			took = true
		default:
			return took
		}
		if s.txn.bytes >= s.cfg.CommitBytes {
			return took
		}
	}
}

// take decodes one alert into the transaction.
func (s *Service) take(d *delivery) {
	if d.window {
		s.announce(d)
		return
	}
	records, letters := s.txn.outlet.Records, s.txn.outlet.Letters
	s.alerts.Decode(d.body, event.Origin{Name: s.cfg.Webhook.Name}, s.hook)
	d.bad = s.txn.outlet.Letters > letters
	s.metrics.records.WithLabelValues(s.hook.source).Add(float64(s.txn.outlet.Records - records))
	s.metrics.bytes.WithLabelValues(s.hook.source).Add(float64(len(d.body)))
	s.answers = append(s.answers, d)
	if !s.txn.open {
		// An alert that is ignored changes nothing: there is nothing to wait for.
		s.answer(s.txn.err)
	}
}

// announce writes a deployment window into the transaction.
func (s *Service) announce(d *delivery) {
	s.answers = append(s.answers, d)
	if !s.txn.begin(s.txn.ctx) {
		s.answer(s.txn.err)
		return
	}
	s.txn.produce(s.txn.ctx, stream.Record{
		Topic: topic.Signals, Partition: stream.ByKey, Kind: signal.KindDeployment, V: signal.Version,
		Key: []byte(s.cfg.Webhook.Domain), Value: d.body,
	})
}

// answer tells those who wait how the commit ended.
func (s *Service) answer(err error) {
	for _, d := range s.answers {
		switch {
		case err != nil:
			d.done <- webhook.ErrStopping
		case d.bad:
			d.done <- webhook.ErrBad
		default:
			d.done <- nil
		}
	}
	s.answers = s.answers[:0]
}

// WebhookAddr is the address that the webhook listens on, "" without one. It
// waits for Run.
func (s *Service) WebhookAddr() string {
	if s.server == nil {
		return ""
	}
	return s.server.Addr().String()
}
