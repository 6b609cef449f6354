package quality

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// Measure measures everything; of the benign hours, which take longest, a check
// takes a part. samples is the folder of the public samples, which may be
// absent; told is called after each step.
func (c *Corpus) Measure(samples string, check bool, told func(step string)) (*Figures, error) {
	f := &Figures{}
	runs := allRuns
	if check {
		runs = checkedRuns
	}
	for _, step := range []struct {
		name string
		run  func() error
	}{
		{"captures, alone and mixed", func() (err error) { f.Lines, err = c.Lines(c.Captures, true, Options{}); return err }},
		{"benign captures without a site file", func() (err error) { f.NoSite, err = c.WithoutSite(); return err }},
		{"slowest forms", func() (err error) { f.Rates, err = c.Rates(); return err }},
		{"thresholds without one tool", func() (err error) { f.Held, err = c.LeaveOneOut(); return err }},
		{"benign hours", func() (err error) { f.Hours, err = c.Hours(samples, runs); return err }},
		{"other people's recordings", func() (err error) { f.Samples, err = Samples(samples); return err }},
	} {
		if err := step.run(); err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
		told(step.name)
	}
	return f, nil
}

// Mutated measures all captures as they are and mutated, and returns the
// verdicts that differ, and how many there are.
func (c *Corpus) Mutated(seed uint64) ([]Change, int, error) {
	plain, err := c.Lines(c.Captures, true, Options{})
	if err != nil {
		return nil, 0, err
	}
	changed, err := c.Lines(c.Captures, true, Options{Mutation: func() *Mutation { return Mutate(seed) }})
	return Verdicts(plain, changed), len(plain), err
}

// CompareFigures tells what has changed.
func CompareFigures(committed, now *Figures) []Change {
	out := append(Compare(committed.Lines, now.Lines), CompareRates(committed.Rates, now.Rates)...)
	out = append(out, CompareHours(committed.Hours, now.Hours)...)
	return append(out, Compare(committed.NoSite, now.NoSite)...)
}

// maxNoSite is how many benign captures may alert without a site file.
const maxNoSite = 3

// Accept reports what falls short of what must hold whatever was committed:
// every attack found where the source can show it, no false alarm that is not
// explained.
func (f *Figures) Accept() error {
	var errs []error
	for i := range f.Lines {
		l := &f.Lines[i]
		if l.mustBeFound() && l.Detector == "" {
			errs = append(errs, fmt.Errorf("%s is missed", l.key()))
		}
		if len(l.False) > 0 && l.Why == "" {
			errs = append(errs, fmt.Errorf("%s: false alarm: %s", l.key(), describeFalse(l.False)))
		}
	}
	for i := range f.Hours {
		r := &f.Hours[i]
		for j := range r.False {
			if x := &r.False[j]; whyHours[x.cause()] == "" {
				errs = append(errs, fmt.Errorf("%s: false alarm that is not explained: %s about %s (%s)", r.key(), x.cause(), x.Subject, x.Points))
			}
		}
	}
	captures := map[string]bool{}
	for i := range f.NoSite {
		l := &f.NoSite[i]
		captures[l.Capture] = true
		if l.Why == "" {
			errs = append(errs, fmt.Errorf("%s without a site file: %s: not explained", l.key(), describeFalse(l.False)))
		}
	}
	if len(captures) > maxNoSite {
		errs = append(errs, fmt.Errorf("%d benign captures alert without a site file", len(captures)))
	}
	return errors.Join(errs...)
}

// ReadFigures reads what Encode wrote.
func ReadFigures(path string) (*Figures, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := &Figures{}
	if err := json.Unmarshal(data, f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// Encode writes the figures, a line each.
func (f *Figures) Encode() ([]byte, error) {
	data, err := json.MarshalIndent(f, "", " ")
	return append(data, '\n'), err
}
