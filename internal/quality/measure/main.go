// Command measure measures the quality of the detectors and writes
// docs/quality.md and the figures that it is made of:
//
//	go run ./internal/quality/measure            # measure everything, write
//	go run ./internal/quality/measure -check     # compare instead, fail when worse
//	go run ./internal/quality/measure -mutate 7  # rewrite every capture, fail when a verdict changes
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/quality"
)

func main() {
	root := flag.String("root", ".", "root of the project")
	mutate := flag.Uint64("mutate", 0, "seed of a mutation: compare its verdicts with those of the captures as they are")
	check := flag.Bool("check", false, "compare with the committed figures instead of writing them")
	flag.Parse()
	if err := run(os.Stdout, *root, *mutate, *check); err != nil {
		fmt.Fprintln(os.Stderr, "quality:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, root string, seed uint64, check bool) error {
	dir := filepath.Join(root, "internal", "quality", "testdata")
	corpus, err := quality.Open(filepath.Join(dir, "lab"))
	if err != nil {
		return err
	}
	if seed != 0 {
		return mutated(w, corpus, seed)
	}
	figuresPath, pagePath := filepath.Join(dir, "figures.json"), filepath.Join(root, "docs", "quality.md")
	committed, err := quality.ReadFigures(figuresPath)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	began := time.Now()
	now, err := corpus.Measure(filepath.Join(root, "..", "shared", "data", "samples"), check, func(step string) {
		fmt.Fprintf(w, "%6.1f s  %s\n", time.Since(began).Seconds(), step)
	})
	if err != nil {
		return err
	}
	if len(now.Samples) == 0 && committed != nil {
		fmt.Fprintln(w, "the public samples are not beside the repository: their committed figures stay")
		now.Samples = committed.Samples
	}
	if committed != nil {
		now.KeepHours(committed)
	}
	if committed != nil {
		worse := 0
		for _, c := range quality.CompareFigures(committed, now) {
			fmt.Fprintln(w, c)
			if c.Worse {
				worse++
			}
		}
		if check {
			page, err := os.ReadFile(pagePath)
			switch {
			case err != nil:
				return err
			case worse > 0:
				return fmt.Errorf("%d lines are worse than committed", worse)
			case !bytes.Equal(page, now.Page()):
				fmt.Fprintln(w, "docs/quality.md is not what is measured now: run make quality and commit it")
			}
			return nil
		}
	}
	data, err := now.Encode()
	if err != nil {
		return err
	}
	for path, content := range map[string][]byte{figuresPath: data, pagePath: now.Page()} {
		if err := os.WriteFile(path, content, 0o644); err != nil { //nolint:gosec // committed files are for all to read
			return err
		}
	}
	return now.Accept()
}

// mutated compares the verdicts on the captures as they are with those on
// their mutation.
func mutated(w io.Writer, c *quality.Corpus, seed uint64) error {
	changes, lines, err := c.Mutated(seed)
	if err != nil {
		return err
	}
	for _, x := range changes {
		fmt.Fprintln(w, x)
	}
	if len(changes) > 0 {
		return fmt.Errorf("mutation %d changes %d of %d verdicts", seed, len(changes), lines)
	}
	fmt.Fprintf(w, "mutation %d: %d verdicts, none changed\n", seed, lines)
	return nil
}
