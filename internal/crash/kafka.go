package crash

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// inputs of the groups.
var inputs = map[string][]string{
	tallyService: {topic.Network},
	"detect":     {topic.Network, topic.Host, topic.Cloud},
	"correlate":  {topic.Signals},
}

// partitions of the topics on a cluster, where the table's own counts would
// spread the load of a short run too thinly. On the embedded broker the
// table's are used.
func partitions() map[string]int32 {
	n := map[string]int32{}
	for _, t := range topic.Table() {
		n[t.Name] = 1
	}
	n[topic.Network] = 4
	n[topic.StateName("detect")] = n[topic.Network] + n[topic.Host] + n[topic.Cloud]
	return n
}

// prepare makes fresh topics and forgets the groups of the run before.
func (r *run) prepare(ctx context.Context) error {
	adm := r.adm
	tally := map[string]int32{tallyTopic: 2, topic.StateName(tallyService): 4}
	if r.cfg.Real {
		if err := cleanCluster(ctx, adm); err != nil {
			return err
		}
		all := partitions()
		maps.Copy(all, tally)
		stamp := "LogAppendTime"
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if _, err := adm.CreateTopic(ctx, all[name], -1, map[string]*string{"message.timestamp.type": &stamp}, name); err != nil {
				return fmt.Errorf("create %s: %w", name, err)
			}
		}
		return nil
	}
	// Short sessions, which the broker does not take by itself.
	minimum := "100"
	if _, err := adm.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "group.min.session.timeout.ms", Value: &minimum}}); err != nil {
		return fmt.Errorf("configure the broker: %w", err)
	}
	for name, n := range tally {
		if _, err := adm.CreateTopic(ctx, n, -1, nil, name); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create %s: %w", name, err)
		}
	}
	return nil
}

func cleanCluster(ctx context.Context, adm *kadm.Client) error {
	for end := time.Now().Add(60 * time.Second); ; {
		err := func() error {
			for group := range inputs {
				res, err := adm.DeleteGroups(ctx, group)
				if err == nil {
					err = res[group].Err
				}
				if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
					return fmt.Errorf("delete group %s: %w", group, err)
				}
			}
			names := slices.Collect(maps.Keys(partitions()))
			names = append(names, tallyTopic, topic.StateName(tallyService))
			have, err := adm.ListTopics(ctx, names...)
			if err != nil {
				return err
			}
			names = slices.DeleteFunc(names, func(n string) bool { return !have.Has(n) })
			if len(names) == 0 {
				return nil
			}
			res, err := adm.DeleteTopics(ctx, names...)
			if err == nil {
				err = res.Error()
			}
			return err
		}()
		if err == nil {
			have, listErr := adm.ListTopics(ctx)
			gone := listErr == nil
			for name := range partitions() {
				gone = gone && !have.Has(name)
			}
			if gone {
				return nil
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("clean the cluster: %w", errors.Join(err, ctx.Err()))
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// progress counts the distinct lines that have arrived as events.
type progress struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (p *progress) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.seen)
}

// watch follows the events of a run: it only says when to go on.
func (r *run) watch(ctx context.Context) (*progress, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.brokers()...), kgo.ConsumeTopics(topic.Network), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.UnknownTopicRetries(-1))
	if err != nil {
		return nil, err
	}
	p := &progress{seen: map[string]bool{}}
	go func() {
		defer cl.Close()
		for ctx.Err() == nil {
			cl.PollFetches(ctx).EachRecord(func(rec *kgo.Record) {
				if kindOf(rec) != "flow" {
					return
				}
				p.mu.Lock()
				p.seen[fmt.Sprintf("%d/%d", rec.Partition, rec.Offset)] = true
				p.mu.Unlock()
			})
		}
	}()
	return p, nil
}

// settled waits until a group has committed the ends of its inputs.
func (r *run) settled(ctx context.Context, group string, limit time.Duration) error {
	for end := time.Now().Add(limit); ; {
		lag, err := r.lag(ctx, group)
		if err == nil && lag == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%w: %w", errStuck, errors.Join(fmt.Errorf("%s is %d records behind after %s", group, lag, limit), err))
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *run) lag(ctx context.Context, group string) (lag int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	ends, err := r.adm.ListEndOffsets(ctx, inputs[group]...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return -1, err
	}
	offsets, err := r.adm.FetchOffsets(ctx, group)
	if err != nil {
		return -1, err
	}
	ends.Each(func(e kadm.ListedOffset) {
		at, ok := offsets.Lookup(e.Topic, e.Partition)
		if !ok || at.At < 0 {
			lag += e.Offset + 1
			return
		}
		lag += max(e.Offset-at.At, 0)
	})
	return lag, nil
}

// closeLogs writes an aborted transaction to every input: after a kill of the
// embedded broker the end of a log may otherwise never be reached.
func (r *run) closeLogs(ctx context.Context, names ...string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.brokers()...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.TransactionalID(fmt.Sprintf("crash-end-%d", time.Now().UnixNano())))
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	details, err := r.adm.ListTopics(ctx, names...)
	if err != nil {
		return err
	}
	var records []*kgo.Record
	for name, d := range details {
		for p := range d.Partitions {
			records = append(records, &kgo.Record{Topic: name, Partition: p, Value: []byte("end")})
		}
	}
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return err
	}
	return cl.EndTransaction(ctx, kgo.TryAbort)
}

func (r *run) producer(ctx context.Context) (*stream.Producer, error) {
	p, err := stream.NewProducer(stream.ProducerConfig{
		Service: "crash", Brokers: r.brokers(), Embedded: !r.cfg.Real, StallTimeout: 20 * time.Second,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return p, p.Start(ctx)
}

// read returns what is committed.
func (r *run) read(ctx context.Context) (topics, error) {
	p, err := r.producer(ctx)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	all := topics{}
	for _, name := range []string{topic.Network, topic.Host, topic.Cloud, topic.Signals, topic.Alerts, topic.DeadLetter, tallyTopic} {
		n, err := p.Partitions(ctx, name)
		if err != nil {
			return nil, err
		}
		logs := make([]log, n)
		for i := range logs {
			logs[i] = log{topic: name, partition: int32(i)}
		}
		if err := p.ReadAll(ctx, name, func(rec *kgo.Record) error {
			logs[rec.Partition].records = append(logs[rec.Partition].records, rec)
			return nil
		}); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		all[name] = logs
	}
	return all, nil
}
