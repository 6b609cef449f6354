package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// EnsureTopics waits for a broker, logging why it is not reachable (or returns
// ErrRefused with the reason where it answers, but not to us), and
// creates those of the topics that are missing (topic.Ensure): whichever
// service starts first prepares a fresh broker for all. Differences of what
// exists are logged.
func EnsureTopics(ctx context.Context, cfg ProducerConfig, log *slog.Logger, topics ...topic.Topic) error {
	c := connection{service: cfg.Service, brokers: cfg.Brokers, embedded: cfg.Embedded, options: cfg.Options, log: log}
	cl, err := kgo.NewClient(c.base()...)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer cl.Close()
	if err := c.waitForBroker(ctx); err != nil {
		return err
	}
	res, err := topic.Ensure(ctx, kadm.NewClient(cl), cfg.Embedded, topics...)
	if why := c.refusal(err); why != nil {
		return why
	}
	if err != nil {
		return err
	}
	if len(res.Created) > 0 {
		log.Info("topics created", "topics", res.Created)
	}
	for _, d := range res.Differences {
		log.Warn("topic differs from the table", "topic", d.Topic, "setting", d.Setting, "got", d.Got, "want", d.Want)
	}
	return nil
}

// EnsureEmpty creates a topic of one partition if it is missing, and reports
// whether it holds records.
func EnsureEmpty(ctx context.Context, cfg ProducerConfig, name string, log *slog.Logger) (holds bool, err error) {
	c := connection{service: cfg.Service, brokers: cfg.Brokers, embedded: cfg.Embedded, options: cfg.Options, log: log}
	if away, refusal := c.ask(ctx); refusal != nil {
		return false, refusal
	} else if away != nil {
		return false, fmt.Errorf("broker %s is not reachable: %s", strings.Join(cfg.Brokers, ","), cause(away))
	}
	cl, err := kgo.NewClient(c.base()...)
	if err != nil {
		return false, fmt.Errorf("connect: %w", err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	_, err = adm.CreateTopic(ctx, 1, -1, nil, name)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		if why := c.refusal(err); why != nil {
			return false, why
		}
		return false, fmt.Errorf("create topic %s: %w", name, err)
	}
	starts, err := adm.ListStartOffsets(ctx, name)
	if err != nil {
		return false, fmt.Errorf("list topic %s: %w", name, err)
	}
	ends, err := adm.ListEndOffsets(ctx, name)
	if err != nil {
		return false, fmt.Errorf("list topic %s: %w", name, err)
	}
	ends.Each(func(e kadm.ListedOffset) {
		s, _ := starts.Lookup(e.Topic, e.Partition)
		holds = holds || e.Offset > s.Offset
	})
	return holds, nil
}
