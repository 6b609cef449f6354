package topic_test

import (
	"context"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func admin(t *testing.T) *kadm.Client {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

func TestStateHasAPlaceForEveryInputPartition(t *testing.T) {
	t.Parallel()
	got := topic.State("detect", topic.Network, topic.Host, topic.Cloud)
	want := topic.Topic{Name: "ebb.state.detect.v1", Partitions: 32, Embedded: 8, Cleanup: topic.Compact}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestOnlyWhatIsDeletedOnAClusterIsTrimmed(t *testing.T) {
	t.Parallel()
	for _, row := range topic.Table() {
		trimmed := row.TrimAfter() > 0
		if want := row.Cleanup == topic.Delete; trimmed != want {
			t.Errorf("%s: trimmed %v", row.Name, trimmed)
		}
	}
}

func TestEnsureCreatesWhatIsMissingAndReportsWhatDiffers(t *testing.T) {
	t.Parallel()
	adm, ctx := admin(t), context.Background()
	if _, err := adm.CreateTopic(ctx, 3, 1, map[string]*string{"cleanup.policy": new("compact")}, topic.Host); err != nil {
		t.Fatal(err)
	}
	res, err := topic.Ensure(ctx, adm, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Created) != len(topic.Table())-1 {
		t.Errorf("created %v", res.Created)
	}
	want := []topic.Difference{
		{Topic: topic.Host, Setting: "partitions", Got: "3", Want: "8"},
		{Topic: topic.Host, Setting: "cleanup.policy", Got: "compact", Want: "delete"},
		{Topic: topic.Host, Setting: "message.timestamp.type", Got: "CreateTime", Want: "LogAppendTime"},
	}
	if d := cmp.Diff(want, res.Differences); d != "" {
		t.Error(d)
	}

	res, err = topic.Ensure(ctx, adm, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Created) != 0 || cmp.Diff(want, res.Differences) != "" {
		t.Errorf("second call: %+v", res)
	}
}

func TestEnsureEmbeddedAsksForNoCleaner(t *testing.T) {
	t.Parallel()
	adm, ctx := admin(t), context.Background()
	if _, err := topic.Ensure(ctx, adm, true); err != nil {
		t.Fatal(err)
	}
	details, err := adm.ListTopics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range topic.Table() {
		if got := len(details[row.Name].Partitions); got != int(row.Embedded) {
			t.Errorf("%s has %d partitions", row.Name, got)
		}
	}
	cfgs, err := adm.DescribeTopicConfigs(ctx, topic.Alerts, topic.StateName("detect"))
	if err != nil {
		t.Fatal(err)
	}
	for _, rc := range cfgs {
		for _, c := range rc.Configs {
			if (c.Key == "cleanup.policy" && c.MaybeValue() != "delete") || (c.Key == "retention.ms" && c.Source.String() == "DYNAMIC_TOPIC_CONFIG") {
				t.Errorf("%s: %s=%s from %s", rc.Name, c.Key, c.MaybeValue(), c.Source)
			}
		}
	}
}
