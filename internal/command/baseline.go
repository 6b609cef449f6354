package command

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// baselineCommand are the commands about what is usual.
type baselineCommand struct {
	Show   baselineShow   `cmd:"" help:"What is usual for a source: its limits and its history of 14 days."`
	Audit  baselineAudit  `cmd:"" help:"What somebody should look at: hours in quarantine, baselines that outgrew what may grow without a look, outliers among their hours."`
	Export baselineExport `cmd:"" help:"The hours of all baselines on stdout."`
	Purge  baselinePurge  `cmd:"" help:"Take hours out of what is usual for a source. It is written to the log, and detect applies it in its turn."`
}

// baselineState is how a command reaches the state of detect.
type baselineState struct {
	cluster
	bounds
}

// each rebuilds the states of detect one after the other, as they are at the
// committed offsets, and hands out their baselines: all, or those of a key.
func (c *baselineState) each(w *world, key string, fn func(detect.Baseline) error) error {
	of := stateful{cluster: c.cluster, Service: topic.Detect().Service, Domain: []string{"default"}, bounds: c.bounds}
	cfg, factory, err := of.config(w)
	if err != nil {
		return err
	}
	a, err := stream.OpenArchive(w.ctx, cfg, factory, w.logger(slog.LevelWarn))
	if err != nil {
		return err
	}
	defer a.Close()
	partitions := 0
	for _, in := range a.Inputs() {
		if in.Topic == topic.Network {
			partitions++
		}
	}
	for _, in := range a.Inputs() {
		if in.Topic != topic.Network || in.Committed < 0 || key != "" && stream.PartitionOf([]byte(key), partitions) != in.Partition {
			continue
		}
		err := a.Look(w.ctx, in, func(op operator.Operator) (failed error) {
			set, ok := op.(interface {
				Baselines(key string, yield func(detect.Baseline) bool)
			})
			if !ok {
				return nil
			}
			set.Baselines(key, func(b detect.Baseline) bool {
				failed = fn(b)
				return failed == nil
			})
			return failed
		})
		if err != nil {
			return fmt.Errorf("%s/%d: %w", in.Topic, in.Partition, err)
		}
	}
	return nil
}

// source is whose baseline it is.
type baselineSource struct {
	Source string `arg:"" name:"source" help:"Its address."`
	Realm  string `default:"default" help:"Its address space."`
}

func (s *baselineSource) key() (string, error) {
	a, err := netip.ParseAddr(s.Source)
	if err != nil {
		return "", fmt.Errorf("%w: %q is not an address", config.ErrUsage, s.Source)
	}
	return s.Realm + "|" + a.Unmap().String(), nil
}

type baselineShow struct {
	baselineState
	baselineSource

	JSON bool `help:"JSON instead of text."`
}

// Run shows the baselines of a source.
func (c *baselineShow) Run(w *world) error {
	key, err := c.key()
	if err != nil {
		return err
	}
	list := []usualReport{}
	if err := c.each(w, key, func(b detect.Baseline) error {
		list = append(list, reportOf(&b))
		return nil
	}); err != nil {
		return err
	}
	if c.JSON {
		enc := json.NewEncoder(w.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(list)
	}
	if len(list) == 0 {
		fmt.Fprintf(w.stderr, "ebbwatch: no baseline is known of %s: it has sent less than 1 MB in every hour, or nothing\n", key)
	}
	for i := range list {
		if err := list[i].text(w.stdout); err != nil {
			return err
		}
	}
	return nil
}

type baselineAudit struct {
	baselineState

	JSON bool `help:"One JSON document a finding and line instead of a table."`
}

// Run lists what should be looked at.
func (c *baselineAudit) Run(w *world) error {
	out := newAuditWriter(w.stdout, c.JSON)
	if err := c.each(w, "", func(b detect.Baseline) error { return out.audit(&b) }); err != nil {
		return err
	}
	if err := out.flush(); err != nil {
		return err
	}
	fmt.Fprintf(w.stderr, "%d baselines: %d hours in quarantine, %d outgrown, %d outliers\n",
		out.baselines, out.counts[findingQuarantined], out.counts[findingGrown], out.counts[findingOutlier])
	return nil
}

type baselineExport struct {
	baselineState

	Format string `enum:"json,csv" default:"json" help:"json: a document an hour and line; csv: with a head."`
}

// hourRecord is one hour of an export.
type hourRecord struct {
	Key      string `json:"key"`
	Observer string `json:"observer,omitempty"`
	What     string `json:"what"`
	Hour     string `json:"hour"`
	Bytes    uint64 `json:"bytes"`
	State    string `json:"state"`
}

// Run exports.
func (c *baselineExport) Run(w *world) error {
	write := json.NewEncoder(w.stdout).Encode
	end := func() error { return nil }
	if c.Format == "csv" {
		out := csv.NewWriter(w.stdout)
		if err := out.Write([]string{"key", "observer", "what", "hour", "bytes", "state"}); err != nil {
			return err
		}
		write = func(v any) error {
			r := v.(hourRecord)
			return out.Write([]string{r.Key, r.Observer, r.What, r.Hour, strconv.FormatUint(r.Bytes, 10), r.State})
		}
		end = func() error {
			out.Flush()
			return out.Error()
		}
	}
	err := c.each(w, "", func(b detect.Baseline) error {
		for x := range b.Series.Each {
			if err := write(hourRecord{b.Key, b.Observer, b.What, hourText(x.Hour), x.Bytes, x.State.String()}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return end()
}

type baselinePurge struct {
	baselineState
	baselineSource
	signature

	From     string `placeholder:"TIME" help:"First hour: a time (2026-05-01T00:00:00Z), or an age (36h)."`
	To       string `placeholder:"TIME" help:"Last hour, in the same form. Default: now."`
	All      bool   `help:"The whole history, instead of --from."`
	Observer string `placeholder:"KIND" help:"Only what this kind of source counted: zeek, packet, vpcflow, ..."`
	What     string `enum:"sent,sanctioned,collected," default:"" help:"Only what is sent, what is sent to sanctioned destinations, or what is collected from internal peers."`
}

// Run writes the purge and says what it is about.
func (c *baselinePurge) Run(w *world) error {
	if err := c.check(); err != nil {
		return err
	}
	key, err := c.key()
	if err != nil {
		return err
	}
	if (c.From == "") != c.All {
		return fmt.Errorf("%w: give --from, or --all", config.ErrUsage)
	}
	now := time.Now()
	p := signal.Purge{What: c.What, Observer: c.Observer, By: c.By, Why: c.Why, Time: now.UnixMicro()}
	if p.First, err = instant(c.From, "--from", time.UnixMicro(0), now); err != nil {
		return err
	}
	if p.Last, err = instant(c.To, "--to", now, now); err != nil {
		return err
	}
	if p.Last < p.First {
		return fmt.Errorf("%w: --to is before --from", config.ErrUsage)
	}
	known, hours := 0, 0
	err = c.each(w, key, func(b detect.Baseline) error {
		if c.Observer != "" && c.Observer != b.Observer || c.What != "" && c.What != b.What {
			return nil
		}
		known++
		for x := range b.Series.Each {
			if x.Hour >= baseline.HourOf(p.First) && x.Hour <= baseline.HourOf(p.Last) && x.State != baseline.Purged {
				hours++
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if known == 0 {
		return fmt.Errorf("no such baseline is known of %s: nothing was written", key)
	}
	client, err := c.open(w)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Purge(w.ctx, key, &p); err != nil {
		return err
	}
	fmt.Fprintf(w.stdout, "%s: %d hours from %s to %s are taken out of %d baselines, and what is not over yet\n", key, hours, hourText(baseline.HourOf(p.First)), hourText(baseline.HourOf(p.Last)), known)
	return nil
}

// instant reads a time or an age.
func instant(text, flag string, def, now time.Time) (int64, error) {
	if text == "" {
		return def.UnixMicro(), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil && t.Unix() >= 0 {
		return t.UnixMicro(), nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 && d < 100*365*24*time.Hour {
		return max(now.Add(-d).UnixMicro(), 0), nil
	}
	return 0, fmt.Errorf("%w: %s %q is neither a time (2026-01-02T15:04:05Z) nor an age (24h)", config.ErrUsage, flag, text)
}

// hourText is the begin of an hour.
func hourText(hour int32) string { return clock(baseline.TimeOf(hour)) }
