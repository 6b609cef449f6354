package topic

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Difference is one setting of an existing topic that is not what the table
// wants. Ensure never changes an existing topic: partitions cannot shrink,
// and a site may have reasons for its own retention.
type Difference struct {
	Topic, Setting string
	Got, Want      string
}

// String is the difference as one line.
func (d Difference) String() string {
	return fmt.Sprintf("topic %s: %s is %s, expected %s", d.Topic, d.Setting, d.Got, d.Want)
}

// Result is what Ensure found and did.
type Result struct {
	Created     []string
	Differences []Difference
}

// embeddedSegment is how large a log segment of the embedded broker grows.
// Trimming frees whole segments only, and a start reads all of them.
const embeddedSegment = 8 << 20

// configs are the topic's settings at creation.
func (t Topic) configs(embedded bool) map[string]*string {
	if embedded {
		// No cleanup.policy and no retention: either one starts the
		// embedded broker's own cleaner (package documentation).
		return map[string]*string{"segment.bytes": new(strconv.Itoa(embeddedSegment))}
	}
	return map[string]*string{
		"cleanup.policy":         new(string(t.Cleanup)),
		"retention.ms":           new(t.retention()),
		"message.timestamp.type": new("LogAppendTime"),
	}
}

func (t Topic) retention() string {
	if t.Retention == 0 {
		return "-1"
	}
	return strconv.FormatInt(t.Retention.Milliseconds(), 10)
}

// Ensure creates those of the topics that are missing and reports how the
// existing ones differ. Without topics it does so for the whole [Table]. On a
// cluster the replication factor is the brokers' default.
func Ensure(ctx context.Context, adm *kadm.Client, embedded bool, topics ...Topic) (Result, error) {
	if len(topics) == 0 {
		topics = Table()
	}
	names := make([]string, len(topics))
	for i, t := range topics {
		names[i] = t.Name
	}
	have, err := adm.ListTopics(ctx, names...)
	if err != nil {
		return Result{}, fmt.Errorf("list topics: %w", err)
	}
	var res Result
	var existing []Topic
	for _, t := range topics {
		detail, ok := have[t.Name]
		if ok && detail.Err != nil && !errors.Is(detail.Err, kerr.UnknownTopicOrPartition) {
			return res, fmt.Errorf("topic %s: %w", t.Name, detail.Err)
		}
		if ok && detail.Err == nil && len(detail.Partitions) > 0 {
			existing = append(existing, t)
			if got := int32(len(detail.Partitions)); got != t.Count(embedded) {
				res.Differences = append(res.Differences, Difference{t.Name, "partitions", strconv.Itoa(int(got)), strconv.Itoa(int(t.Count(embedded)))})
			}
			continue
		}
		_, err := adm.CreateTopic(ctx, t.Count(embedded), -1, t.configs(embedded), t.Name)
		switch {
		case errors.Is(err, kerr.TopicAlreadyExists): // another service was faster
		case err != nil:
			return res, fmt.Errorf("create topic %s: %w", t.Name, err)
		default:
			res.Created = append(res.Created, t.Name)
		}
	}
	if embedded || len(existing) == 0 {
		return res, nil
	}
	diffs, err := compare(ctx, adm, existing)
	res.Differences = append(res.Differences, diffs...)
	return res, err
}

// compare reads the settings of existing topics.
func compare(ctx context.Context, adm *kadm.Client, topics []Topic) ([]Difference, error) {
	names := make([]string, len(topics))
	for i, t := range topics {
		names[i] = t.Name
	}
	described, err := adm.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("describe topics: %w", err)
	}
	var diffs []Difference
	for _, t := range topics {
		rc, err := described.On(t.Name, nil)
		if err == nil {
			err = rc.Err
		}
		if errors.Is(err, kerr.TopicAuthorizationFailed) {
			continue // whoever may not look has nothing to report
		}
		if err != nil {
			return diffs, fmt.Errorf("describe topic %s: %w", t.Name, err)
		}
		got := map[string]string{}
		for _, c := range rc.Configs {
			got[c.Key] = c.MaybeValue()
		}
		want := t.configs(false)
		if t.Cleanup == Compact {
			delete(want, "retention.ms") // no effect without "delete"
		}
		keys := make([]string, 0, len(want))
		for k := range want {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			if w := *want[k]; normal(got[k]) != normal(w) {
				diffs = append(diffs, Difference{t.Name, k, got[k], w})
			}
		}
	}
	return diffs, nil
}

// normal makes lists of policies comparable.
func normal(v string) string {
	parts := strings.Split(strings.ReplaceAll(v, " ", ""), ",")
	slices.Sort(parts)
	return strings.Join(parts, ",")
}
