package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/app"
	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Configuration runs the services on an embedded broker in a folder with a
// scenario's recordings.
func Configuration(dir string) *app.Everything {
	c := app.DefaultEverything()
	c.Broker.Listen, c.Broker.Data = "127.0.0.1:0", filepath.Join(dir, "broker")
	c.Admin.Listen = "127.0.0.1:0"
	c.Zeek.Paths, c.Zeek.Name = []string{filepath.Join(dir, "zeek")}, "sensor-1"
	c.Falco.Paths, c.Falco.Name = []string{filepath.Join(dir, "falco")}, "falco"
	return c
}

// Alert is an alert with its document.
type Alert struct {
	alert.Alert

	JSON []byte
}

// Alerts are what a demonstration has come to.
type Alerts struct {
	// Standing are the last revisions of the alerts that are not retracted.
	Standing []Alert
	// Records counts all revisions of all alerts.
	Records int
	// Seen is when the correlated alert was first there.
	Seen time.Time
}

// ErrNoAlert says that the correlated alert did not come.
var ErrNoAlert = errors.New("no staging-then-exfil alert came")

// Watch reads the alerts until the correlated one is there and nothing new
// has come for a while, as any consumer of the topic would.
func Watch(ctx context.Context, brokers string, timeout, settle time.Duration) (*Alerts, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.ConsumeTopics(alert.Topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(200*time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	last := map[string]Alert{}
	out := &Alerts{}
	deadline := time.Now().Add(timeout)
	var news time.Time
	for {
		poll, cancel := context.WithTimeout(ctx, 250*time.Millisecond)
		fetches := cl.PollFetches(poll)
		cancel()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var bad error
		fetches.EachRecord(func(r *kgo.Record) {
			a := Alert{JSON: r.Value}
			if err := alert.Decode(r.Value, &a.Alert); err != nil {
				bad = fmt.Errorf("%s/%d offset %d: %w", r.Topic, r.Partition, r.Offset, err)
				return
			}
			last[a.ID] = a
			out.Records++
			news = time.Now()
			if a.Detector == alert.RuleJoined && out.Seen.IsZero() {
				out.Seen = news
			}
		})
		if bad != nil {
			return nil, bad
		}
		switch {
		case !out.Seen.IsZero() && time.Since(news) >= settle:
			for _, a := range last {
				if a.Status != alert.Retracted {
					out.Standing = append(out.Standing, a)
				}
			}
			slices.SortFunc(out.Standing, func(a, b Alert) int { return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.ID, b.ID)) })
			return out, nil
		case time.Now().After(deadline):
			return nil, fmt.Errorf("%w within %s (%d alerts: %v)", ErrNoAlert, timeout, len(last), slices.Sorted(maps.Keys(last)))
		}
	}
}
