package survey_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	internal "github.com/ebbwatch/ebbwatch/internal/survey"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	"github.com/ebbwatch/ebbwatch/pkg/survey"
)

// A survey of topics reads what is committed, up to the ends: not marks, not
// what was aborted, and a log that ends in an abort ends.
func TestTopics(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, topic.Network, topic.Host, topic.Cloud))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	opts := []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...)}
	cl, err := kgo.NewClient(append(opts, kgo.TransactionalID("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	produce := func(n int, end kgo.TransactionEndTry) {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			e := event.Event{Kind: event.KindDNS, Time: time.Now().UnixMicro()}
			e.Observer.Type = "zeek"
			e.Source.IP, e.Destination.IP = netip.AddrFrom4([4]byte{10, 0, 0, byte(i%4 + 1)}), netip.MustParseAddr("10.0.0.53")
			e.DNS.Name, e.DNS.Type = fmt.Sprintf("n%d.example.com", i), "A"
			value, err := e.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			cl.Produce(ctx, &kgo.Record{Topic: topic.Network, Partition: int32(i % 2), Value: value}, nil)
		}
		cl.Produce(ctx, &kgo.Record{Topic: topic.Network, Value: []byte(`{"kind":"mark","v":1}`)}, nil)
		if err := cl.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(ctx, end); err != nil {
			t.Fatal(err)
		}
	}
	produce(100, kgo.TryCommit)
	produce(40, kgo.TryAbort)

	s := survey.New(site.Default())
	told := 0
	if err := internal.Topics(ctx, opts, time.Now().Add(-time.Hour), s, func(float64, uint64) { told++ }); err != nil {
		t.Fatal(err)
	}
	if s.Events != 100 || told == 0 {
		t.Errorf("%d events, told %d times", s.Events, told)
	}
	if d := string(s.Draft("x")); !strings.Contains(d, "10.0.0.53  # 100 questions of 4 clients") {
		t.Errorf("draft\n%s", d)
	}
	// Nothing younger than this moment: nothing, and no waiting for it.
	empty := survey.New(site.Default())
	if err := internal.Topics(ctx, opts, time.Now().Add(time.Hour), empty, nil); err != nil || empty.Events != 0 {
		t.Errorf("%d events, %v", empty.Events, err)
	}
}
