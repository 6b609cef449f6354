package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/internal/rulestest"
)

// errExpectation ends tests of which some failed.
var errExpectation = errors.New("not as expected")

// testCommand runs tests of a site's detection.
type testCommand struct {
	Paths []string `arg:"" name:"RULES_TEST.yaml" help:"Files of tests: events in, alerts expected."`
	Only  string   `name:"run" placeholder:"REGEX" help:"Only the tests whose name matches."`
	JSON  bool     `help:"One JSON document a test on stdout instead of text."`
}

// Run runs all tests of all files.
func (c *testCommand) Run(w *world) error {
	only, err := regexp.Compile(c.Only)
	if err != nil {
		return fmt.Errorf("%w: --run: %w", config.ErrUsage, err)
	}
	files := make([]*rulestest.File, len(c.Paths))
	for i, path := range c.Paths {
		// All are read first: what is wrong in the last one is said at once.
		if files[i], err = rulestest.Load(path); err != nil {
			return fmt.Errorf("%w: %w", config.ErrUsage, err)
		}
	}
	ran, failed := 0, 0
	for i, f := range files {
		if len(files) > 1 && !c.JSON {
			fmt.Fprintln(w.stdout, c.Paths[i])
		}
		for j := range f.Tests {
			if !only.MatchString(f.Tests[j].Name) {
				continue
			}
			res, err := f.Run(w.ctx, &f.Tests[j])
			if err != nil {
				return err
			}
			if c.JSON {
				err = json.NewEncoder(w.stdout).Encode(res)
			} else {
				err = res.WriteText(w.stdout)
			}
			if err != nil {
				return err
			}
			ran++
			if !res.Passed {
				failed++
			}
		}
	}
	switch {
	case ran == 0:
		return fmt.Errorf("%w: no test has a name that matches --run %q", config.ErrUsage, c.Only)
	case failed > 0:
		return fmt.Errorf("%w: %d of %d tests", errExpectation, failed, ran)
	}
	return nil
}
