package analyst

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// Answered is what a verdict was about.
type Answered struct {
	// Alert is the last revision; only its ID is set where the site writes
	// documents of another format.
	Alert  alert.Alert
	Domain string
}

// Verdict writes an analyst's answer under the domain of its alert; a domain
// that is given holds instead of what is found. The error wraps ErrUnknownAlert
// where there is no such alert, and ErrDomain where several partitions could
// hold it and nothing says which.
func (c *Client) Verdict(ctx context.Context, v signal.Verdict, domain string) (Answered, error) {
	a, err := c.alert(ctx, v.AlertID)
	if err != nil {
		return Answered{}, err
	}
	if domain == "" {
		if domain, err = c.domainOf(ctx, &a); err != nil {
			return Answered{}, err
		}
	}
	value, err := v.Append(nil)
	if err != nil {
		return Answered{}, fmt.Errorf("encode the verdict: %w", err)
	}
	return Answered{a, domain}, c.write(ctx, signal.KindVerdict, domain, value)
}

// alert reads the last revision of an alert.
func (c *Client) alert(ctx context.Context, id string) (a alert.Alert, err error) {
	n, err := c.partitions(ctx, topic.Alerts)
	if err != nil {
		return a, err
	}
	var last []byte
	err = c.read(ctx, topic.Alerts, stream.PartitionOf([]byte(id), n), time.Time{}, func(r *kgo.Record) bool {
		if string(r.Key) == id {
			last = r.Value
		}
		return false
	})
	if err != nil {
		return a, err
	}
	if last == nil {
		return a, fmt.Errorf("%w: %q is not on %s (the id is ebbwatch.id of the alert)", ErrUnknownAlert, id, topic.Alerts)
	}
	if alert.Decode(last, &a) != nil {
		return alert.Alert{ID: id}, nil
	}
	return a, nil
}

// defaultDomain is that of a site that configures none.
const defaultDomain = "default"

// before is how long before an alert was made its signals are sought first.
const before = time.Hour

// domainOf finds the domain of an alert: the key of one of its signals.
func (c *Client) domainOf(ctx context.Context, a *alert.Alert) (string, error) {
	n, err := c.partitions(ctx, topic.Signals)
	if err != nil {
		return "", err
	}
	ids := make([]string, len(a.Signals))
	for i, s := range a.Signals {
		ids[i] = s.ID
	}
	var s signal.Signal
	domain := ""
	find := func(r *kgo.Record) bool {
		if kindOf(r) == signal.KindSignal && signal.Decode(r.Value, &s) == nil && slices.Contains(ids, s.ID) {
			domain = string(r.Key)
		}
		return domain != ""
	}
	for _, since := range []time.Time{time.UnixMicro(a.Created).Add(-before), {}} {
		if len(ids) == 0 {
			break
		}
		if err := c.read(ctx, topic.Signals, all, since, find); err != nil {
			return "", err
		}
		if domain != "" {
			return domain, nil
		}
	}
	if n == 1 {
		return defaultDomain, nil // one correlator takes whatever comes
	}
	return "", fmt.Errorf("%w: none of the signals of alert %s is on %s any more: --domain says it", ErrDomain, a.ID, topic.Signals)
}
