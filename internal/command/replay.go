package command

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/internal/replay"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
)

// replayCommand rebuilds alerts from the topics.
type replayCommand struct {
	cluster

	From   string `placeholder:"POINT" help:"First record that counts: a time (2026-05-01T00:00:00Z), an age (24h), or offsets (TOPIC/PARTITION@OFFSET,...). Default: the start of the logs. What lies before is applied silently, from the newest snapshot or as far back as the log goes."`
	To     string `placeholder:"POINT" help:"One past the last record, in the same form. Default: the end of the logs now."`
	Stage  string `enum:"events,signals" default:"events" help:"events: detection and correlation over the events; signals: correlation alone over the recorded signals, whose alerts equal the live ones byte for byte."`
	Out    string `placeholder:"TOPIC" help:"Write the alerts to this topic, created if missing, instead of stdout (one JSON document a line)."`
	Append bool   `help:"Permit a topic in --out that holds records."`
	Final  bool   `help:"Only what each alert ended as, not every revision."`
	Site   string `placeholder:"FILE" help:"Judge by this site file instead of those that held at the time."`
	Domain string `default:"default" help:"Correlation domain, as in the configuration of detect."`
	bounds
}

// Run replays and says on stderr what was read.
func (c *replayCommand) Run(w *world) error {
	o, err := c.options(w)
	if err != nil {
		return err
	}
	log := w.logger(slog.LevelWarn)
	var to alertSink = &printedAlerts{out: w.stdout}
	if c.Out != "" {
		if to, err = openTopic(w.ctx, c, o, log); err != nil {
			return err
		}
	}
	if c.Final {
		to = &finalAlerts{to: to}
	}
	if w.terminal {
		o.Progress = func(p replay.Progress) {
			fmt.Fprintf(w.stderr, "\r\x1b[K%3.0f %%  %s records  %s/s  at %s  %d alerts", 100*p.Fraction, thousands(p.Records),
				thousands(int64(float64(p.Records)/max(p.Duration.Seconds(), 0.001))), p.At.UTC().Format(time.DateTime), p.Alerts)
		}
	}
	res, err := replay.Run(w.ctx, o, to.alert, log)
	if w.terminal {
		fmt.Fprint(w.stderr, "\r\x1b[K")
	}
	if err == nil {
		err = to.end(w.ctx)
	}
	to.close()
	if err != nil {
		return err
	}
	c.summary(w.stderr, res)
	return nil
}

func (c *replayCommand) options(w *world) (replay.Options, error) {
	kafka, opts, err := c.settings(w)
	if err != nil {
		return replay.Options{}, err
	}
	o := replay.Options{
		Brokers: kafka.Brokers, Embedded: kafka.Embedded, Client: opts, Domain: c.Domain, Bounds: c.detect(), Stage: replay.Stage(c.Stage),
	}
	now := time.Now()
	if o.From, err = replay.ParsePoint(c.From, now); err != nil {
		return o, fmt.Errorf("%w: --from: %w", config.ErrUsage, err)
	}
	if o.To, err = replay.ParsePoint(c.To, now); err != nil {
		return o, fmt.Errorf("%w: --to: %w", config.ErrUsage, err)
	}
	if c.Site != "" {
		if o.Site, err = os.ReadFile(c.Site); err == nil {
			_, err = pipeline.CheckSite(o.Site)
		}
		if err != nil {
			return o, fmt.Errorf("%w: --site %s: %w", config.ErrUsage, c.Site, err)
		}
		o.SiteGiven = true
	}
	return o, nil
}

func (c *replayCommand) summary(out io.Writer, res *replay.Result) {
	fmt.Fprintf(out, "%s records", thousands(res.Records))
	if c.Stage == string(replay.Events) {
		fmt.Fprintf(out, ", %s signals, facts and marks", thousands(res.Signals))
	}
	fmt.Fprintf(out, ", %d alert records", res.Alerts)
	if !res.First.IsZero() {
		fmt.Fprintf(out, ", from %s to %s", res.First.UTC().Format(time.DateTime), res.Last.UTC().Format(time.DateTime))
	}
	fmt.Fprintln(out)
	if res.Refused > 0 {
		fmt.Fprintf(out, "%s records were refused, as they were live: they are dead letters\n", thousands(res.Refused))
	}
	if len(res.Cold) > 0 {
		fmt.Fprintf(out, "the log does not reach back to the state before the first record of %s: alerts that lean on what was before may differ\n", strings.Join(res.Cold, ", "))
	}
	if len(res.Assumed) > 0 {
		fmt.Fprintf(out, "which site file held for the oldest records of %s is not known: the first one known was taken\n", strings.Join(res.Assumed, ", "))
	}
}

// alertSink is where alerts go.
type alertSink interface {
	alert(a replay.Alert) error
	end(ctx context.Context) error // all alerts have come
	close()
}

// printedAlerts prints one document a line.
type printedAlerts struct{ out io.Writer }

func (p *printedAlerts) alert(a replay.Alert) error {
	_, err := fmt.Fprintf(p.out, "%s\n", a.Value)
	return err
}
func (p *printedAlerts) end(context.Context) error { return nil }
func (p *printedAlerts) close()                    {}

// finalAlerts hands on the last revision of each alert, in the order of the
// first ones.
type finalAlerts struct {
	to    alertSink
	order []string
	last  map[string]replay.Alert
}

func (f *finalAlerts) alert(a replay.Alert) error {
	if f.last == nil {
		f.last = map[string]replay.Alert{}
	}
	if _, known := f.last[string(a.Key)]; !known {
		f.order = append(f.order, string(a.Key))
	}
	f.last[string(a.Key)] = a
	return nil
}

func (f *finalAlerts) end(ctx context.Context) error {
	for _, id := range f.order {
		if err := f.to.alert(f.last[id]); err != nil {
			return err
		}
	}
	return f.to.end(ctx)
}

func (f *finalAlerts) close() { f.to.close() }

// topicAlerts writes alerts to a topic, a thousand in a transaction.
type topicAlerts struct {
	ctx      context.Context //nolint:containedctx // the command's own
	topic    string
	producer *stream.Producer
	waiting  []replay.Alert
}

// batch is how many alerts wait for a transaction: none is open meanwhile, and
// alerts may be rare.
const batch = 1000

// openTopic prepares the topic of --out.
func openTopic(ctx context.Context, c *replayCommand, o replay.Options, log *slog.Logger) (*topicAlerts, error) {
	if strings.HasPrefix(c.Out, "ebb.") {
		return nil, fmt.Errorf("%w: --out %s: names that begin with ebb. are those of the services", config.ErrUsage, c.Out)
	}
	cfg := stream.ProducerConfig{Service: "replay", Brokers: o.Brokers, Embedded: o.Embedded, Options: o.Client}
	holds, err := stream.EnsureEmpty(ctx, cfg, c.Out, log)
	if err != nil {
		return nil, err
	}
	if holds && !c.Append {
		return nil, fmt.Errorf("%w: --out %s holds records already: --append adds to them", config.ErrUsage, c.Out)
	}
	p, err := stream.NewProducer(cfg, log)
	if err != nil {
		return nil, err
	}
	if err := p.Start(ctx); err != nil {
		return nil, err
	}
	return &topicAlerts{ctx: ctx, topic: c.Out, producer: p}, nil
}

func (t *topicAlerts) alert(a replay.Alert) error {
	t.waiting = append(t.waiting, a)
	if len(t.waiting) < batch {
		return nil
	}
	return t.end(t.ctx)
}

func (t *topicAlerts) end(ctx context.Context) error {
	if len(t.waiting) == 0 {
		return nil
	}
	if err := t.producer.Begin(); err != nil {
		return err
	}
	for _, a := range t.waiting {
		t.producer.Produce(ctx, stream.Record{Topic: t.topic, Partition: stream.ByKey, Kind: alert.Kind, V: alert.Version, Key: a.Key, Value: a.Value})
	}
	t.waiting = t.waiting[:0]
	if err := t.producer.Commit(ctx); err != nil {
		return fmt.Errorf("--out %s holds a part of the alerts only: %w", t.topic, err)
	}
	return nil
}

func (t *topicAlerts) close() { t.producer.Close() }
