package analyst

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// MaxDeployment is how long a window may last: a longer one excuses no more.
const MaxDeployment = signal.MaxDeployment

// Begin declares a deployment window from now on, of that length. Where one of
// the same subject is open it is told of again, to end at that time from now,
// though not later than MaxDeployment after its beginning.
func (c *Client) Begin(ctx context.Context, d signal.Deployment, domain string, now time.Time, length time.Duration) (signal.Deployment, error) {
	if length <= 0 || length > MaxDeployment {
		return d, fmt.Errorf("deployment: %s is not within 0 and %s", length, MaxDeployment)
	}
	open, last, err := c.window(ctx, &d, domain, now)
	if err != nil {
		return d, err
	}
	d.From = now.UnixMicro()
	if open {
		d.From = last.From
	}
	d.Until = min(now.Add(length).UnixMicro(), d.From+MaxDeployment.Microseconds())
	return d, c.writeWindow(ctx, &d, domain)
}

// End ends the open window of a subject now. was is false where none is open:
// nothing is written then.
func (c *Client) End(ctx context.Context, d signal.Deployment, domain string, now time.Time) (ended signal.Deployment, was bool, err error) {
	open, last, err := c.window(ctx, &d, domain, now)
	if err != nil || !open {
		return last, false, err
	}
	d.From, d.Until = last.From, max(now.UnixMicro(), last.From+1)
	return d, true, c.writeWindow(ctx, &d, domain)
}

func (c *Client) writeWindow(ctx context.Context, d *signal.Deployment, domain string) error {
	value, err := d.Append(nil)
	if err != nil {
		return fmt.Errorf("encode the window: %w", err)
	}
	return c.write(ctx, signal.KindDeployment, domain, value)
}

// window is the last one of a subject, and whether it is open.
func (c *Client) window(ctx context.Context, of *signal.Deployment, domain string, now time.Time) (open bool, last signal.Deployment, err error) {
	if _, err := c.partitions(ctx, topic.Signals); err != nil {
		return false, last, err
	}
	var d signal.Deployment
	err = c.read(ctx, topic.Signals, all, now.Add(-2*MaxDeployment), func(r *kgo.Record) bool {
		if kindOf(r) == signal.KindDeployment && string(r.Key) == domain && signal.DecodeDeployment(r.Value, &d) == nil &&
			d.Namespace == of.Namespace && strings.EqualFold(d.Host, of.Host) && d.From >= last.From {
			last = d
		}
		return false
	})
	at := now.UnixMicro()
	return err == nil && last.From <= at && at < min(last.Until, last.From+MaxDeployment.Microseconds()), last, err
}
