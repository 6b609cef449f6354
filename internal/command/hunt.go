package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/internal/hunt"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// huntCommand looks through recordings.
type huntCommand struct {
	Paths   []string `arg:"" name:"path" help:"Files and folders; formats are recognised by content, plain or compressed."`
	JSON    bool     `help:"One alert document a line on stdout instead of text."`
	Site    string   `placeholder:"FILE" help:"Site file: home networks, resolvers, own and sanctioned names, thresholds."`
	HomeNet []string `placeholder:"CIDR" help:"Further home network; may be given several times."`
	Stats   string   `placeholder:"FILE" help:"Write what was read, by file, as JSON."`
}

// huntGC is the GOGC of a hunt, where the user sets none.
const huntGC = 80

// Run hunts and returns errAlerts when something was found.
func (c *huntCommand) Run(w *world) error {
	data, err := c.site()
	if err != nil {
		return err
	}
	inputs, skipped, err := hunt.Open(c.Paths)
	if err != nil {
		return err
	}
	for _, s := range skipped {
		fmt.Fprintln(w.stderr, "ebbwatch: skipped", s)
	}
	if len(inputs) == 0 {
		return fmt.Errorf("%w: nothing to read in %s", config.ErrUsage, strings.Join(c.Paths, ", "))
	}
	// A hunt uses a machine that does other things as well: less garbage for a
	// little more collecting, on the core that decoding leaves idle.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(huntGC)
	}
	opts := hunt.Options{Site: data}
	if w.terminal {
		opts.Progress = func(p hunt.Progress) { bar(w.stderr, p) }
	}
	res, err := hunt.Run(w.ctx, inputs, opts)
	if w.terminal {
		fmt.Fprint(w.stderr, "\r\x1b[K")
	}
	if err != nil {
		return err
	}
	if err := c.print(w, res); err != nil {
		return err
	}
	res.Report.Summary(w.stderr)
	if res.Err != nil {
		return res.Err
	}
	if len(res.Alerts) > 0 {
		return errAlerts
	}
	return nil
}

// site reads the site file and adds the networks of the command line.
func (c *huntCommand) site() ([]byte, error) {
	var data []byte
	if c.Site != "" {
		var err error
		if data, err = os.ReadFile(c.Site); err != nil {
			return nil, fmt.Errorf("%w: --site: %w", config.ErrUsage, err)
		}
	}
	for _, n := range c.HomeNet {
		if _, err := site.ParsePrefix(n); err != nil {
			return nil, fmt.Errorf("%w: --home-net: %w", config.ErrUsage, err)
		}
	}
	data, err := site.WithHomeNetworks(data, c.HomeNet)
	if err == nil {
		_, err = pipeline.CheckSite(data)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: --site %s: %w", config.ErrUsage, c.Site, err)
	}
	return data, nil
}

func (c *huntCommand) print(w *world, res *hunt.Result) error {
	if c.Stats != "" {
		f, err := os.Create(c.Stats)
		if err != nil {
			return fmt.Errorf("--stats: %w", err)
		}
		if err := errors.Join(res.Report.Write(f), f.Close()); err != nil {
			return fmt.Errorf("--stats %s: %w", c.Stats, err)
		}
	}
	if c.JSON {
		return res.WriteJSON(w.stdout)
	}
	return res.WriteText(w.stdout)
}

// bar is one line of progress, drawn over the last one.
func bar(out io.Writer, p hunt.Progress) {
	const width = 24
	filled := int(float64(width) * p.Fraction)
	fmt.Fprintf(out, "\r\x1b[K[%s%s] %3.0f %%  %s records  %s/s  at %s  %d alerts",
		strings.Repeat("=", filled), strings.Repeat(" ", width-filled), 100*p.Fraction, thousands(p.Records),
		thousands(int64(float64(p.Records)/max(p.Duration.Seconds(), 0.001))), p.At.Format(time.DateTime), p.Alerts)
}

// thousands writes a count with thin separators.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	var parts []string
	for len(text) > 3 {
		parts = append([]string{text[len(text)-3:]}, parts...)
		text = text[:len(text)-3]
	}
	return strings.Join(append([]string{text}, parts...), " ")
}
