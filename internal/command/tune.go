package command

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/internal/hunt"
	"github.com/ebbwatch/ebbwatch/internal/replay"
	"github.com/ebbwatch/ebbwatch/internal/tune"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// tuneCommand compares two site files over the same records.
type tuneCommand struct {
	Paths []string `arg:"" optional:"" name:"path" help:"Recordings, as for hunt. Without: the topics of a running site, as replay reads them."`

	cluster

	Site    string   `placeholder:"FILE" help:"The other site file."`
	Set     []string `sep:"none" placeholder:"DETECTOR.NAME=VALUE" help:"Another setting: NAME is a threshold, or mode, floor, alert. May be given several times; on top of --site, or of the present site file."`
	Present string   `placeholder:"FILE" help:"The site file to compare with. Default: of topics the one that detect holds, of recordings none."`
	HomeNet []string `placeholder:"CIDR" help:"Further home network, on both sides; may be given several times."`

	From   string `placeholder:"POINT" help:"First record that counts: a time (2026-05-01T00:00:00Z), an age (24h), or offsets, as for replay."`
	To     string `placeholder:"POINT" help:"One past the last record, in the same form. Default: the end of the logs now."`
	Domain string `default:"default" help:"Correlation domain, as in the configuration of detect."`
	bounds

	All  bool `help:"Alerts that stay as they are as well."`
	JSON bool `help:"One JSON document on stdout instead of a table."`
}

// Run runs both sides and prints what is not the same.
func (c *tuneCommand) Run(w *world) error {
	if c.Site == "" && len(c.Set) == 0 {
		return fmt.Errorf("%w: give the other thresholds: --site, or --set", config.ErrUsage)
	}
	if len(c.Paths) > 0 && (len(c.Kafka) > 0 || c.From != "" || c.To != "") {
		return fmt.Errorf("%w: --kafka, --from and --to are for topics: give them or recordings", config.ErrUsage)
	}
	// What is wrong with the files is said before brokers are asked.
	present, other, err := c.files()
	if err != nil {
		return err
	}
	run, held, err := c.source(w)
	if err != nil {
		return err
	}
	if c.Present == "" {
		present = held
	}
	if c.Site == "" {
		other = present
	}
	if present, err = checked(present, c.HomeNet, nil); err != nil {
		return fmt.Errorf("the present site file: %w", err)
	}
	if other, err = checked(other, c.HomeNet, c.Set); err != nil {
		return fmt.Errorf("%w: --set: %w", config.ErrUsage, err)
	}
	var sides [2]*tune.Side
	for i, data := range [][]byte{present, other} {
		if sides[i], err = run(data, []string{"present", "other"}[i]); err != nil {
			return err
		}
	}
	cmp := tune.Compare(sides[0], sides[1], c.All)
	if c.JSON {
		enc := json.NewEncoder(w.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(cmp)
	}
	return cmp.WriteText(w.stdout)
}

// files are the site files that the command line names, each checked with what
// the command line adds.
func (c *tuneCommand) files() (present, other []byte, err error) {
	for _, f := range []struct {
		flag, path string
		data       *[]byte
	}{{"--present", c.Present, &present}, {"--site", c.Site, &other}} {
		if f.path == "" {
			continue
		}
		if *f.data, err = os.ReadFile(f.path); err != nil {
			return nil, nil, fmt.Errorf("%w: %s: %w", config.ErrUsage, f.flag, err)
		}
		if _, err := checked(*f.data, nil, nil); err != nil {
			return nil, nil, fmt.Errorf("%w: %s %s: %w", config.ErrUsage, f.flag, f.path, err)
		}
	}
	if _, err := checked(nil, c.HomeNet, nil); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", config.ErrUsage, err)
	}
	if _, err := checked(nil, nil, c.Set); err != nil {
		return nil, nil, fmt.Errorf("%w: --set: %w", config.ErrUsage, err)
	}
	return present, other, nil
}

// checked is a site file with what the command line adds.
func checked(data []byte, networks, settings []string) ([]byte, error) {
	for _, n := range networks {
		if _, err := site.ParsePrefix(n); err != nil {
			return nil, fmt.Errorf("--home-net: %w", err)
		}
	}
	data, err := site.WithHomeNetworks(data, networks)
	if err == nil {
		data, err = site.WithSettings(data, settings)
	}
	if err == nil {
		_, err = pipeline.CheckSite(data)
	}
	return data, err
}

// source prepares what is read, and returns how to run over it with a site
// file, and the site file that holds there.
func (c *tuneCommand) source(w *world) (run func(data []byte, side string) (*tune.Side, error), present []byte, err error) {
	if len(c.Paths) > 0 {
		inputs, skipped, err := hunt.Open(c.Paths)
		if err != nil {
			return nil, nil, err
		}
		for _, s := range skipped {
			fmt.Fprintln(w.stderr, "ebbwatch: skipped", s)
		}
		if len(inputs) == 0 {
			return nil, nil, fmt.Errorf("%w: nothing to read in %s", config.ErrUsage, strings.Join(c.Paths, ", "))
		}
		return func(data []byte, side string) (*tune.Side, error) { return c.hunt(w, inputs, data, side) }, nil, nil
	}
	kafka, opts, err := c.settings(w)
	if err != nil {
		return nil, nil, err
	}
	o := replay.Options{
		Brokers: kafka.Brokers, Embedded: kafka.Embedded, Client: opts, Domain: c.Domain, Bounds: c.detect(), Stage: replay.Events, SiteGiven: true,
	}
	now := time.Now()
	if o.From, err = replay.ParsePoint(c.From, now); err != nil {
		return nil, nil, fmt.Errorf("%w: --from: %w", config.ErrUsage, err)
	}
	if o.To, err = replay.ParsePoint(c.To, now); err != nil {
		return nil, nil, fmt.Errorf("%w: --to: %w", config.ErrUsage, err)
	}
	if c.To == "" {
		o.To.Time = now // both sides end at the same record
	}
	log := w.logger(slog.LevelWarn)
	if c.Present == "" {
		if present, err = replay.PresentSite(w.ctx, o, log); err != nil {
			return nil, nil, err
		}
	}
	return func(data []byte, side string) (*tune.Side, error) {
		o.Site = data
		return c.replay(w, o, side, log)
	}, present, nil
}

func (c *tuneCommand) hunt(w *world, inputs []hunt.Input, data []byte, side string) (*tune.Side, error) {
	s := tune.NewSide()
	o := hunt.Options{Site: data, Signals: s.Signal}
	if w.terminal {
		o.Progress = func(p hunt.Progress) { bar(w.stderr, p) }
		defer fmt.Fprint(w.stderr, "\r\x1b[K")
	}
	res, err := hunt.Run(w.ctx, inputs, o)
	if err != nil {
		return nil, err
	}
	if res.Err != nil {
		return nil, res.Err
	}
	for i := range res.Alerts {
		s.Final(&res.Alerts[i].Alert, res.Alerts[i].Opened)
	}
	if side == "other" {
		res.Report.Summary(w.stderr)
	}
	return s, nil
}

func (c *tuneCommand) replay(w *world, o replay.Options, side string, log *slog.Logger) (*tune.Side, error) {
	s := tune.NewSide()
	o.Signals = s.Signal
	if w.terminal {
		o.Progress = func(p replay.Progress) {
			fmt.Fprintf(w.stderr, "\r\x1b[K%s: %3.0f %%  %s records  at %s  %d alerts", side, 100*p.Fraction, thousands(p.Records), p.At.UTC().Format(time.DateTime), p.Alerts)
		}
		defer fmt.Fprint(w.stderr, "\r\x1b[K")
	}
	res, err := replay.Run(w.ctx, o, func(a replay.Alert) error { return s.Alert(a.Value) }, log)
	if err != nil {
		return nil, err
	}
	if side == "other" {
		(&replayCommand{Stage: string(replay.Events)}).summary(w.stderr, res)
	}
	return s, nil
}
