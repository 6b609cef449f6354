package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// repartitionHint is what to do about partition counts that do not fit.
const repartitionHint = "stop the service on all machines, then: ebbwatch state repartition"

// guardEvery is how often a running engine looks whether its topics are still
// those that it began with.
const guardEvery = 5 * time.Second

// readTopics learns the partition counts and the ends of the outputs.
func (e *Engine) readTopics(ctx context.Context) error {
	names := e.topicNames()
	details, err := e.listTopics(ctx)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	for _, name := range names {
		d, ok := details[name]
		if err := e.conn.refusal(d.Err); err != nil {
			return err
		}
		if !ok || d.Err != nil {
			return fmt.Errorf("topic %s: %w", name, errNoTopic)
		}
	}
	e.statePart = map[tp]int32{}
	next := int32(0)
	for _, in := range e.cfg.Inputs {
		for p := range int32(len(details[in].Partitions)) {
			e.statePart[tp{in, p}] = next
			next++
		}
	}
	if got := int32(len(details[e.cfg.State].Partitions)); got != next {
		return fmt.Errorf("topic %s has %d partitions, the inputs together %d: %s", e.cfg.State, got, next, repartitionHint)
	}
	e.topics = details
	if !e.cfg.Embedded {
		return nil
	}
	ends, err := e.adm.ListEndOffsets(ctx, append(slices.Clone(e.cfg.Outputs), e.cfg.DeadLetter)...)
	if err != nil {
		return fmt.Errorf("list outputs: %w", err)
	}
	ends.Each(func(o kadm.ListedOffset) { e.outEnds[tp{o.Topic, o.Partition}] = o.Offset })
	return ends.Error()
}

var errNoTopic = errors.New("the topic does not exist")

// listTopics lists the topics. One that was created a moment ago may not be
// known to every broker yet: it is waited for a little.
func (e *Engine) listTopics(ctx context.Context) (kadm.TopicDetails, error) {
	for end := time.Now().Add(5 * time.Second); ; {
		details, err := e.adm.ListTopics(ctx, e.topicNames()...)
		missing := false
		for _, d := range details {
			missing = missing || errors.Is(d.Err, kerr.UnknownTopicOrPartition)
		}
		if err != nil || !missing || time.Now().After(end) {
			return details, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// topicNames are all topics of the service.
func (e *Engine) topicNames() []string {
	return append(append(slices.Clone(e.cfg.Inputs), e.cfg.Outputs...), e.cfg.DeadLetter, e.cfg.State)
}

// watchers look after the cluster and the topics while the engine runs, until
// stop is called or ctx ends.
func (e *Engine) watchers(ctx context.Context) (stop func()) {
	own, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, watch := range []func(context.Context) error{
		e.guard,
		func(ctx context.Context) error { return e.conn.watch(ctx, &e.pulse) },
	} {
		wg.Go(func() {
			if err := watch(own); err != nil && own.Err() == nil {
				e.fail(err)
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// explained is an error as a person needs it: where the cluster refuses us, or
// a topic is not what it was, that and nothing else.
func (e *Engine) explained(err error) error {
	if why := e.conn.refusal(err); why != nil {
		return why
	}
	if why := e.changedTopics(); why != nil {
		return why
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errStalled) {
		// Its cause may be that the cluster began to refuse us.
		if why := e.conn.diagnose(context.WithoutCancel(e.ctx)); why != nil {
			return why
		}
	}
	return err
}

// changedTopics looks once more, past what the client remembers, whether the
// topics are those of the start.
func (e *Engine) changedTopics() error {
	if e.topics == nil {
		return nil
	}
	cl, err := kgo.NewClient(e.conn.base(kgo.WithLogger(nil))...)
	if err != nil {
		return nil //nolint:nilerr // the same options made a client before
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), askTimeout)
	defer cancel()
	details, err := kadm.NewClient(cl).ListTopics(ctx, e.topicNames()...)
	if err != nil {
		return nil //nolint:nilerr // nothing is known
	}
	return e.checkTopics(details)
}

// guard watches the topics until ctx ends, and returns what has become of them.
// The client alone would wait for ever for a topic that is gone, and go on in
// the wrong log where it was created anew.
func (e *Engine) guard(ctx context.Context) error {
	tick := time.NewTicker(cmp.Or(e.conn.quiet, guardEvery))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		try, cancel := context.WithTimeout(ctx, guardEvery)
		details, err := e.adm.ListTopics(try, e.topicNames()...)
		cancel()
		if err != nil {
			continue // watch tells of a cluster that does not answer
		}
		if err := e.checkTopics(details); err != nil {
			return err
		}
	}
}

// checkTopics compares the topics with those of the start.
func (e *Engine) checkTopics(now kadm.TopicDetails) error {
	for _, name := range e.topicNames() {
		was, is := e.topics[name], now[name]
		switch {
		case errors.Is(is.Err, kerr.UnknownTopicOrPartition) || errors.Is(is.Err, kerr.UnknownTopicID):
			return fmt.Errorf("topic %s was deleted while the service ran", name)
		case is.Err != nil || len(is.Partitions) == 0:
			continue // not known at the moment
		case was.ID != is.ID:
			return fmt.Errorf("topic %s was deleted and created anew while the service ran: the committed offsets are those of the old one", name)
		case len(was.Partitions) != len(is.Partitions) && e.fixed(name):
			return fmt.Errorf("topic %s has %d partitions now, %d when the service began: %s", name, len(is.Partitions), len(was.Partitions), repartitionHint)
		}
	}
	return nil
}

// fixed says that state depends on the topic's partition count.
func (e *Engine) fixed(name string) bool {
	return name == e.cfg.State || slices.Contains(e.cfg.Inputs, name)
}
