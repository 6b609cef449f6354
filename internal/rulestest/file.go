package rulestest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/correlate"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
)

// File is a file of tests. Unknown keys are errors; paths in it are relative to
// its folder.
type File struct {
	// Site is the site file of cases that name none: a path, or its content.
	Site  yaml.Node `yaml:"site"`
	Tests []Case    `yaml:"tests"`

	path string
}

// Case is one test.
type Case struct {
	Name string    `yaml:"name"`
	Site yaml.Node `yaml:"site"`
	// Start is the time that times of events count from.
	Start  Moment        `yaml:"start"`
	Input  []Item        `yaml:"input"`
	Alerts []Expectation `yaml:"alerts"`
	// Others permits alerts that are not expected.
	Others bool `yaml:"others"`
	// Dead is how many records of the input cannot be decoded.
	Dead int64 `yaml:"dead"`

	site []byte
}

// Item is a part of a case's input: a file or folder of raw logs, or an event.
type Item struct {
	Path string `yaml:"path"`
	// Kind is what the files are, where their content does not tell; where it
	// does, they must be of it.
	Kind string `yaml:"kind"`

	Event map[string]any `yaml:"event"`
	// At is when the event is, after the start of the case; it is repeated so
	// many times, Every apart.
	At     time.Duration `yaml:"at"`
	Every  time.Duration `yaml:"every"`
	Repeat int           `yaml:"repeat"`
}

// Moment is a time in the form of RFC 3339.
type Moment struct{ time.Time }

// UnmarshalYAML reads the time.
func (m *Moment) UnmarshalYAML(n *yaml.Node) error {
	t, err := time.Parse(time.RFC3339, n.Value)
	if err != nil {
		return fmt.Errorf("line %d: %q is not a time like 2026-11-24T10:00:00Z", n.Line, n.Value)
	}
	m.Time = t
	return nil
}

// Expectation is an expected alert. What is empty may be anything.
type Expectation struct {
	Rule           string `yaml:"rule" json:"rule"`
	Severity       string `yaml:"severity" json:"severity,omitempty"`
	Confidence     string `yaml:"confidence" json:"confidence,omitempty"`
	Status         string `yaml:"status" json:"status,omitempty"`
	Classification string `yaml:"classification" json:"classification,omitempty"`
	Entity         string `yaml:"entity" json:"entity,omitempty"`
	Source         string `yaml:"source" json:"source,omitempty"`
	// Destination is its domain, or its address.
	Destination string `yaml:"destination" json:"destination,omitempty"`
	Subject     string `yaml:"subject" json:"subject,omitempty"`
	// Reason is a regular expression.
	Reason string `yaml:"reason" json:"reason,omitempty"`
	// Points are names of points that are among the alert's.
	Points []string `yaml:"points" json:"points,omitempty"`
	// By is when it is out at the latest, after the start of the case.
	By time.Duration `yaml:"by" json:"-"`
}

// maxRepeat bounds how often an event is repeated: a case is held in memory.
const maxRepeat = 1_000_000

// Load reads a file of tests. All errors are errors of use.
func Load(path string) (*File, error) {
	f := &File{path: path}
	if err := config.LoadFile(path, f); err != nil {
		return nil, errors.New(strings.Replace(err.Error(), "configuration file", "test file", 1))
	}
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if len(f.Tests) == 0 {
		bad("tests is empty")
	}
	names := map[string]bool{}
	for i := range f.Tests {
		c := &f.Tests[i]
		if c.Name == "" {
			c.Name = fmt.Sprintf("tests[%d]", i)
		}
		if names[c.Name] {
			bad("there are two tests %q", c.Name)
		}
		names[c.Name] = true
		for _, err := range c.check(f) {
			bad("%s: %w", c.Name, err)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("test file %s: %w", path, err)
	}
	return f, nil
}

func (c *Case) check(f *File) (problems []error) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	var err error
	if c.site, err = f.site(&c.Site); err != nil {
		bad("site: %w", err)
	}
	if len(c.Input) == 0 {
		bad("input is empty")
	}
	for i := range c.Input {
		if err := c.Input[i].check(f, c); err != nil {
			bad("input[%d]: %w", i, err)
		}
	}
	known := map[string]bool{}
	for _, info := range append(correlate.Rules(), judging()...) {
		known[info.ID] = true
	}
	for i := range c.Alerts {
		x := &c.Alerts[i]
		if x.Rule == "" {
			bad("alerts[%d].rule is empty", i)
		} else if !known[x.Rule] {
			bad("alerts[%d].rule: there is no %q", i, x.Rule)
		}
		if x.Severity != "" && alert.SeverityRank(x.Severity) == 0 {
			bad("alerts[%d].severity: %q is not low, medium, high or critical", i, x.Severity)
		}
		if x.Confidence != "" && alert.ConfidenceRank(x.Confidence) == 0 {
			bad("alerts[%d].confidence: %q is not low, medium or high", i, x.Confidence)
		}
		switch alert.Status(x.Status) {
		case "", alert.Open, alert.Updated, alert.Suppressed, alert.Closed:
		default:
			bad("alerts[%d].status: %q is not open, updated, suppressed or closed", i, x.Status)
		}
		if _, err := regexp.Compile(x.Reason); err != nil {
			bad("alerts[%d].reason: %w", i, err)
		}
		if x.By < 0 || x.By > 0 && c.Start.IsZero() {
			bad("alerts[%d].by counts from start, which is missing", i)
		}
	}
	return problems
}

// judging are the detectors that judge: one without a role binds identifiers.
func judging() (list []detect.Info) {
	for _, d := range pipeline.Detectors() {
		if info := d.Info(); info.Role != "" {
			list = append(list, info)
		}
	}
	return list
}

func (it *Item) check(f *File, c *Case) error {
	switch {
	case (it.Path == "") == (it.Event == nil):
		return errors.New("one of path and event must be given")
	case it.Path != "":
		if it.At != 0 || it.Every != 0 || it.Repeat != 0 {
			return errors.New("at, every and repeat are for events")
		}
		if _, ok := input.Hint(it.Kind); it.Kind != "" && !ok {
			return fmt.Errorf("there is no kind %q", it.Kind)
		}
		if _, err := os.Stat(f.rel(it.Path)); err != nil {
			if at, ok := errors.AsType[*fs.PathError](err); ok {
				err = at.Err
			}
			return fmt.Errorf("%s: %w", it.Path, err)
		}
		return nil
	case it.Kind != "":
		return errors.New("kind is for files: that of an event stands in the event")
	case it.Repeat < 0 || it.Repeat > maxRepeat || it.Every < 0 || it.At < 0:
		return fmt.Errorf("repeat is at most %d, and nothing is below 0", maxRepeat)
	}
	// The first shows what is wrong with any.
	_, err := it.event(c, 0)
	return err
}

func (f *File) rel(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(f.path), path)
}

// site is the content of the site file of a case, checked.
func (f *File) site(n *yaml.Node) (data []byte, err error) {
	if n.Kind == 0 {
		n = &f.Site
	}
	switch {
	case n.Kind == 0:
		return nil, nil
	case n.Kind == yaml.ScalarNode && n.Value == "":
		return nil, nil
	case n.Kind == yaml.ScalarNode:
		data, err = os.ReadFile(f.rel(n.Value))
	default:
		data, err = yaml.Dump(n)
	}
	if err == nil {
		_, err = pipeline.CheckSite(data)
	}
	return data, err
}
