package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/internal/app"
	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/internal/hunt"
	looked "github.com/ebbwatch/ebbwatch/internal/survey"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	"github.com/ebbwatch/ebbwatch/pkg/survey"
)

// looking is what doctor and site suggest look at.
type looking struct {
	Paths []string      `arg:"" optional:"" name:"path" help:"Recordings: files and folders as for hunt."`
	Kafka []string      `placeholder:"ADDR" help:"Brokers of a running site, host:port: the event topics are read. TLS and login by the environment, EBB_KAFKA_..., as for the services."`
	Since time.Duration `default:"24h" help:"How far back the topics are read."`
	Site  string        `placeholder:"FILE" help:"Site file: what it declares is known."`
}

// run surveys and says what was read.
func (l *looking) run(w *world) (s *survey.Survey, st *site.Site, read string, err error) {
	if (len(l.Paths) == 0) == (len(l.Kafka) == 0) {
		return nil, nil, "", fmt.Errorf("%w: give recordings, or --kafka", config.ErrUsage)
	}
	var data []byte
	if l.Site != "" {
		if data, err = os.ReadFile(l.Site); err != nil {
			return nil, nil, "", fmt.Errorf("%w: --site: %w", config.ErrUsage, err)
		}
	}
	if st, err = pipeline.CheckSite(data); err != nil {
		return nil, nil, "", fmt.Errorf("%w: --site %s: %w", config.ErrUsage, l.Site, err)
	}
	s = survey.New(st)
	var told looked.Progress
	if w.terminal {
		told = func(done float64, events uint64) {
			fmt.Fprintf(w.stderr, "\r\x1b[K%3.0f %%  %s events", 100*min(done, 1), thousands(int64(min(events, 1<<62))))
		}
		defer fmt.Fprint(w.stderr, "\r\x1b[K")
	}
	if len(l.Kafka) > 0 {
		opts, err := connection(w, l.Kafka)
		if err != nil {
			return nil, nil, "", err
		}
		return s, st, "the topics of the last " + l.Since.String(), looked.Topics(w.ctx, opts, time.Now().Add(-l.Since), s, told)
	}
	inputs, skipped, err := hunt.Open(l.Paths)
	if err != nil {
		return nil, nil, "", err
	}
	for _, name := range skipped {
		fmt.Fprintln(w.stderr, "ebbwatch: skipped", name)
	}
	if len(inputs) == 0 {
		return nil, nil, "", fmt.Errorf("%w: nothing to read in %s", config.ErrUsage, strings.Join(l.Paths, ", "))
	}
	return s, st, fmt.Sprintf("%d files", len(inputs)), looked.Files(w.ctx, inputs, st, s, told)
}

// connection makes the client options of brokers, with the settings of the
// environment.
func connection(w *world, brokers []string) ([]kgo.Opt, error) {
	common := app.DefaultCommon("")
	source := config.Source{Service: "ebbwatch", LookupEnv: w.process.LookupEnv, Stdout: io.Discard, Stderr: w.stderr}
	if _, err := source.Load(&common, app.Version()); err != nil {
		return nil, err
	}
	opts, err := common.Kafka.Options()
	if err != nil {
		return nil, err
	}
	return append(opts, kgo.SeedBrokers(brokers...)), nil
}

// siteCommand are the commands about site files.
type siteCommand struct {
	Suggest suggestCommand `cmd:"" help:"Draft a site file from recordings or topics, each entry with its evidence; never applied by itself."`
}

type suggestCommand struct{ looking }

// Run prints a draft.
func (c *suggestCommand) Run(w *world) error {
	s, _, read, err := c.run(w)
	if s == nil {
		return err
	}
	if _, err := w.stdout.Write(s.Draft(read)); err != nil {
		return err
	}
	return err
}

// doctorCommand says what detectors lack to see.
type doctorCommand struct {
	looking

	JSON bool `help:"One JSON document on stdout instead of text."`
}

// diagnosis is what doctor prints.
type diagnosis struct {
	Read      string        `json:"read"`
	Events    uint64        `json:"events"`
	First     string        `json:"first,omitempty"`
	Last      string        `json:"last,omitempty"`
	Detectors []survey.Gap  `json:"detectors"`
	Notes     []survey.Note `json:"notes,omitempty"`
}

// Run prints the diagnosis.
func (c *doctorCommand) Run(w *world) error {
	s, st, read, err := c.run(w)
	if s == nil {
		return err
	}
	d := diagnosis{Read: read, Events: s.Events, Detectors: s.Gaps(needs(st, s.Last)), Notes: s.Notes()}
	if s.First > 0 {
		d.First, d.Last = time.UnixMicro(s.First).UTC().Format(time.RFC3339), time.UnixMicro(s.Last).UTC().Format(time.RFC3339)
	}
	if c.JSON {
		enc := json.NewEncoder(w.stdout)
		enc.SetIndent("", "  ")
		return errors.Join(enc.Encode(d), err)
	}
	return errors.Join(d.text(w.stdout), err)
}

// needs are what the detectors of this build read.
func needs(st *site.Site, at int64) []survey.Need {
	var list []survey.Need
	for _, d := range pipeline.Detectors() {
		info := d.Info()
		if info.Role == "" {
			continue
		}
		list = append(list, survey.Need{Detector: info.ID, Kinds: info.Kinds, Off: st.Setting(info.ID, info.Default, site.Subject{}, at).Mode == "off"})
	}
	slices.SortFunc(list, func(a, b survey.Need) int { return strings.Compare(a.Detector, b.Detector) })
	return list
}

func (d *diagnosis) text(out io.Writer) error {
	fmt.Fprintf(out, "%s: %d events", d.Read, d.Events)
	if d.First != "" {
		fmt.Fprintf(out, ", %s to %s", d.First, d.Last)
	}
	fmt.Fprint(out, "\n\n")
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, g := range d.Detectors {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", g.Detector, g.Sight, strings.Join(g.Reads, ", "))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	said := map[string][]string{}
	var order []string
	for _, g := range d.Detectors {
		for _, m := range g.Missing {
			if said[m] == nil {
				order = append(order, m)
			}
			said[m] = append(said[m], g.Detector)
		}
	}
	if len(order) > 0 {
		fmt.Fprintln(out, "\nWhat would let them see more:")
	}
	for _, m := range order {
		fmt.Fprintf(out, "- %s\n  %s\n", m, strings.Join(said[m], ", "))
	}
	if len(d.Notes) > 0 {
		fmt.Fprintln(out, "\nWhat is odd:")
	}
	for _, n := range d.Notes {
		fmt.Fprintf(out, "- %s: %s\n", n.Source, n.Text)
	}
	return nil
}
