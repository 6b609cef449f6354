package crash

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// GenerateConfig of the generator.
type GenerateConfig struct {
	Files []string // to append to
	Seed  uint64
	// Lines is the least number of lines in all, Rate how many a second.
	Lines, Rate int
	Start       time.Time // of the first flow
	// The input flows, pauses, and then flows on.
	Flow, Pause time.Duration
}

// hours that the flows of a run span.
const hours = 3

// Generate appends flow log lines to the files until ctx has ended and there are
// enough, from then on slowly. A line is written whole.
func Generate(ctx context.Context, cfg GenerateConfig) error {
	rng := rand.New(rand.NewPCG(cfg.Seed, 0x9e3779b97f4a7c15))
	files := make([]*os.File, len(cfg.Files))
	for i, name := range cfg.Files {
		f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("generate: %w", err)
		}
		defer f.Close()
		files[i] = f
	}
	const tick = 20 * time.Millisecond
	each := max(cfg.Rate/int(time.Second/tick)/len(files), 1)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	began := time.Now()
	for n := 0; ; {
		if n >= cfg.Lines && ctx.Err() != nil {
			return nil
		}
		now := <-ticker.C
		if at := now.Sub(began); at > cfg.Flow && at < cfg.Flow+cfg.Pause {
			continue
		}
		some := each
		if n >= cfg.Lines {
			some = 1
		}
		for i, f := range files {
			var b strings.Builder
			for range some {
				at := cfg.Start.Add(time.Duration(n) * hours * time.Hour / time.Duration(cfg.Lines))
				writeFlow(&b, rng, i, at)
				n++
			}
			if _, err := f.WriteString(b.String()); err != nil {
				return fmt.Errorf("generate: %w", err)
			}
		}
	}
}

// writeFlow writes one line: an internal source and an external destination.
// A few sources upload much, so that detection has something to say.
func writeFlow(b *strings.Builder, rng *rand.Rand, file int, end time.Time) {
	host := rng.IntN(60)
	bytes := 200 + rng.IntN(40_000)
	if host < 6 {
		bytes = 20_000_000 + rng.IntN(60_000_000)
	}
	// Delivery is not in order: up to a minute and a half late.
	end = end.Add(-time.Duration(rng.IntN(90)) * time.Second)
	fmt.Fprintf(b, "2 123456789012 eni-%017x 10.0.%d.%d 203.0.113.%d %d 443 6 %d %d %d %d ACCEPT OK\n",
		host+1, file, 10+host, 1+rng.IntN(20), 1024+rng.IntN(60000), 1+bytes/1200, bytes, end.Add(-time.Minute).Unix(), end.Unix())
}

// line is what the oracle of ingest takes from a line.
type line struct {
	ip    string
	bytes int64
}

// readLines reads a generated file, by splitting at spaces.
func readLines(name string) ([]line, error) {
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return nil, fmt.Errorf("read the input: %w", err)
	}
	defer f.Close()
	var lines []line
	for sc := bufio.NewScanner(f); sc.Scan(); {
		fields := strings.Fields(sc.Text())
		if len(fields) != 14 {
			return nil, errors.New("generated line " + strconv.Itoa(len(lines)+1) + " is not whole")
		}
		n, err := strconv.ParseInt(fields[9], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("generated line %d: %w", len(lines)+1, err)
		}
		lines = append(lines, line{fields[3], n})
	}
	return lines, nil
}
