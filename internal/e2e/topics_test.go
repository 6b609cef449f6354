package e2e

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// readTopic returns all committed records of a topic, as a plain client reads
// them.
func readTopic(t *testing.T, brokers, topic string) []*kgo.Record {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	missing := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			missing[o.Partition] = o.Offset
		}
	})
	var out []*kgo.Record
	for len(missing) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("read %s: %v", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				out = append(out, r)
			}
			if end, ok := missing[r.Partition]; ok && r.Offset+1 >= end {
				delete(missing, r.Partition)
			}
		})
	}
	return out
}

// alertsOf returns all revisions of all alerts, in the order of the topic.
func alertsOf(t *testing.T, brokers string) []alert.Alert {
	t.Helper()
	var out []alert.Alert
	for _, r := range readTopic(t, brokers, alert.Topic) {
		var a alert.Alert
		if err := alert.Decode(r.Value, &a); err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

// standing are the last revisions of those that are not retracted, by time.
func standing(list []alert.Alert) []alert.Alert {
	last := map[string]alert.Alert{}
	for _, a := range list {
		last[a.ID] = a
	}
	var out []alert.Alert
	for _, a := range last {
		if a.Status != alert.Retracted {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b alert.Alert) int { return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.ID, b.ID)) })
	return out
}

// lag is how many records a group has not committed yet; -1 when it has no
// member or no offsets.
func lag(t *testing.T, brokers, group string) int64 {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	lags, err := kadm.NewClient(cl).Lag(t.Context(), group)
	if err != nil {
		return -1
	}
	of := lags[group]
	if of.Error() != nil || len(of.Lag) == 0 {
		return -1
	}
	return of.Lag.Total()
}
