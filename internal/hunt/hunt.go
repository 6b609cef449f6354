// Package hunt looks for exfiltration in recordings: it reads files of any
// known format, runs the same operators as the services over them in the
// order in which a live system would have had them, and prints alerts.
package hunt

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
)

// Options of a hunt.
type Options struct {
	// Site is the bytes of the site file.
	Site []byte
	// Progress takes a line now and then; nil for none.
	Progress func(Progress)
	// Signals, when set, is handed every signal record, weak ones too. The bytes
	// are valid during the call.
	Signals func(value []byte)
	Log     *slog.Logger
}

// Progress is how far a hunt has come.
type Progress struct {
	Records int64
	// Fraction is the part of the inputs' bytes that was read, 0 to 1.
	Fraction float64
	At       time.Time
	Alerts   int
	Duration time.Duration
}

// Result is what a hunt found.
type Result struct {
	// Alerts are the final revisions of all alerts that stand, by time;
	// retracted ones are left out.
	Alerts []Alert
	Report Report
	// Errors says which inputs could not be read, or which records not
	// applied; the rest was.
	Err error
}

// Alert is an alert with its document.
type Alert struct {
	alert.Alert

	JSON []byte
	// Opened is the availability, in microseconds, of the record with which the
	// first revision came: when a live system would have alerted.
	Opened int64
}

// progressEvery is how many records pass between two looks at the clock.
const progressEvery = 4096

// Run hunts through inputs. An error means that there is no result.
func Run(ctx context.Context, inputs []Input, o Options) (*Result, error) {
	began := time.Now()
	last, opened := map[string][]byte{}, map[string]int64{}
	var chain *pipeline.Chain
	chain, err := pipeline.New(pipeline.Config{Site: o.Site, NoShadow: true, Signals: o.Signals}, func(a pipeline.Alert) {
		if _, known := last[string(a.Key)]; !known {
			opened[string(a.Key)] = chain.Now()
		}
		last[string(a.Key)] = bytes.Clone(a.Value)
	})
	if err != nil {
		return nil, err
	}
	stats := make([]*Stats, len(inputs))
	for i := range stats {
		stats[i] = new(Stats)
	}
	var taken int64
	told := began
	mergeErr := merge(ctx, chain.Site(), inputs, stats, func(r *pipeline.Encoded) error {
		if taken++; taken%progressEvery == 0 && o.Progress != nil {
			if now := time.Now(); now.Sub(told) >= 200*time.Millisecond {
				told = now
				o.Progress(progress(inputs, stats, chain, len(last), now.Sub(began)))
			}
		}
		return chain.Record(*r)
	})
	if ctx.Err() != nil {
		return nil, fmt.Errorf("stopped: %w", ctx.Err())
	}
	chain.Close()
	res := &Result{Report: report(inputs, stats, time.Since(began)), Err: mergeErr}
	for id, data := range last {
		a := Alert{JSON: data, Opened: opened[id]}
		if err := alert.Decode(data, &a.Alert); err != nil {
			return nil, fmt.Errorf("an alert cannot be read back: %w", err)
		}
		if a.Status != alert.Retracted {
			res.Alerts = append(res.Alerts, a)
		}
	}
	slices.SortFunc(res.Alerts, func(a, b Alert) int { return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.ID, b.ID)) })
	return res, nil
}

func progress(inputs []Input, stats []*Stats, chain *pipeline.Chain, alerts int, took time.Duration) Progress {
	p := Progress{At: time.UnixMicro(chain.Now()).UTC(), Alerts: alerts, Duration: took}
	var size, read int64
	for i, s := range stats {
		p.Records += s.records()
		size += inputs[i].Size()
		read += inputs[i].Consumed()
	}
	if size > 0 {
		p.Fraction = min(1, float64(read)/float64(size))
	}
	return p
}

// WriteJSON writes one alert document a line.
func (r *Result) WriteJSON(w io.Writer) error {
	for _, a := range r.Alerts {
		if _, err := w.Write(append(bytes.TrimSpace(a.JSON), '\n')); err != nil {
			return err
		}
	}
	return nil
}
