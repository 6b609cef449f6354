package command

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/backfill"
	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
)

// backfillCommand gives baselines the logs of the past.
type backfillCommand struct {
	cluster

	Source string `arg:"" enum:"flow,cloudtrail" help:"What the place holds: flow (VPC, transit gateway and resolver logs) or cloudtrail."`
	Place  string `arg:"" help:"s3://BUCKET/PREFIX, a folder or a file. S3 by the environment, as all AWS tools do."`

	From  string `required:"" placeholder:"TIME" help:"First hour, such as 2026-01-05 or 2026-01-05T10:00:00Z."`
	To    string `placeholder:"TIME" help:"End, itself no part of it. Default: the begin of this hour."`
	Site  string `placeholder:"FILE" help:"The site file of the services: keys, directions and what is sanctioned come from it."`
	Again bool   `help:"Read everything again, whatever an earlier run with the same place and times has done."`

	Name     string `help:"Sensor name, as ingest has it (s3.name); default: the bucket, or by folder."`
	Realm    string `help:"Address space, as ingest has it; default: by the site file."`
	Columns  string `help:"Columns of flow log lines without a header, as in the AWS API."`
	Region   string `help:"AWS region; default: from the environment."`
	Endpoint string `placeholder:"URL" help:"A server that speaks S3, instead of AWS; objects are then addressed by path."`
	Sums     int    `default:"${sums}" help:"Most hourly sums of one day in memory, about 200 bytes each."`
}

// Run fills baselines and says on stderr what was read.
func (c *backfillCommand) Run(w *world) error {
	o, err := c.options(w)
	if err != nil {
		return err
	}
	if w.terminal {
		var told time.Time
		o.Progress = func(p backfill.Progress) {
			if time.Since(told) < 200*time.Millisecond {
				return
			}
			told = time.Now()
			fmt.Fprintf(w.stderr, "\r\x1b[K%3.0f %%  %s  %d of %d objects  %s records", 100*float64(p.Bytes)/float64(max(p.All, 1)),
				p.Day.Format(time.DateOnly), p.Done, p.Things, thousands(p.Records))
		}
	} else {
		var day time.Time
		o.Progress = func(p backfill.Progress) {
			if p.Done == p.Things && !p.Day.Equal(day) {
				day = p.Day
				fmt.Fprintf(w.stderr, "%s read: %d objects, %s records so far\n", day.Format(time.DateTime), p.Things, thousands(p.Records))
			}
		}
	}
	rep, err := backfill.Run(w.ctx, o, w.logger(slog.LevelWarn))
	if w.terminal {
		fmt.Fprint(w.stderr, "\r\x1b[K")
	}
	c.summary(w, &rep, err != nil)
	return err
}

func (c *backfillCommand) options(w *world) (o backfill.Options, err error) {
	var ok bool
	if o.Kind, ok = ingest.KindOf("ingest-" + c.Source); !ok {
		return o, fmt.Errorf("%w: no source %q", config.ErrUsage, c.Source)
	}
	if _, _, s3 := ingest.Place(c.Place); !s3 {
		if _, err := os.Stat(c.Place); err != nil {
			return o, fmt.Errorf("%w: %w", config.ErrUsage, err)
		}
	}
	now := time.Now().UTC().Truncate(time.Hour)
	if o.From, err = hourOf("--from", c.From, now); err != nil {
		return o, err
	}
	if o.To, err = hourOf("--to", c.To, now); err != nil {
		return o, err
	}
	if !o.From.Before(o.To) {
		return o, fmt.Errorf("%w: --to %s is not after --from %s", config.ErrUsage, o.To.Format(time.RFC3339), o.From.Format(time.RFC3339))
	}
	var data []byte
	if c.Site != "" {
		if data, err = os.ReadFile(c.Site); err != nil {
			return o, fmt.Errorf("%w: --site: %w", config.ErrUsage, err)
		}
	}
	if o.Site, err = pipeline.CheckSite(data); err != nil {
		return o, fmt.Errorf("%w: --site %s: %w", config.ErrUsage, c.Site, err)
	}
	kafka, opts, err := c.settings(w)
	if err != nil {
		return o, err
	}
	cfg := ingest.Default()
	cfg.S3.Name, cfg.S3.Realm, cfg.S3.Columns, cfg.S3.Region, cfg.S3.Endpoint = c.Name, c.Realm, c.Columns, c.Region, c.Endpoint
	o.Config, o.Place, o.Again, o.Sums = &cfg, c.Place, c.Again, c.Sums
	o.Kafka = stream.ProducerConfig{Slot: "backfill", Brokers: kafka.Brokers, Embedded: kafka.Embedded, Options: opts}
	return o, nil
}

// hourOf is a full hour in one of two forms.
func hourOf(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return now, nil
	}
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(form, text); err == nil {
			if at.Truncate(time.Hour) != at {
				return at, fmt.Errorf("%w: %s %s is no full hour: baselines are by hours", config.ErrUsage, flag, text)
			}
			return at.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: %s %q is no time such as 2026-01-05 or 2026-01-05T10:00:00Z", config.ErrUsage, flag, text)
}

func (c *backfillCommand) summary(w *world, rep *backfill.Report, failed bool) {
	if !rep.Resumed.IsZero() {
		fmt.Fprintf(w.stderr, "went on at %s, where an earlier run had come to (--again reads all)\n", rep.Resumed.Format(time.RFC3339))
	}
	fmt.Fprintf(w.stderr, "%d objects, %s records: %s events", rep.Things, thousands(rep.Records), thousands(rep.Events))
	reasons(w.stderr, "; ignored: ", rep.Ignored)
	reasons(w.stderr, "; dead: ", rep.Dead)
	fmt.Fprintf(w.stderr, "\n%d histories of up to %d sources, %d steps\n", rep.Histories, rep.Sources, rep.Days)
	if n := len(rep.Skipped); n > 0 {
		fmt.Fprintf(w.stderr, "%d files were not read:\n", n)
		for _, s := range rep.Skipped[:min(n, 10)] {
			fmt.Fprintln(w.stderr, " ", s)
		}
	}
	if failed && w.ctx.Err() != nil {
		fmt.Fprintln(w.stderr, "stopped: the same command goes on where this one ended")
	}
}

func reasons(out io.Writer, what string, counts map[string]int64) {
	for i, reason := range slices.Sorted(maps.Keys(counts)) {
		if i > 0 {
			what = ", "
		}
		fmt.Fprintf(out, "%s%s %s", what, reason, thousands(counts[reason]))
	}
}
