// Package config loads the configuration of a service: defaults, then a YAML
// file, then the environment, then flags; the later wins. Unknown keys are
// errors, and all problems are reported at once, each with its key.
//
// A configuration is a struct with yaml tags, filled with its defaults. Every
// leaf (a key like kafka.brokers) is at the same time the flag
// -kafka.brokers and the environment variable EBB_KAFKA_BROKERS; its "help"
// tag is the text of the flag and of the reference page.
package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Exit codes of a service.
const (
	ExitOK    = 0
	ExitError = 1 // it could not do its work
	ExitUsage = 2 // it was called or configured wrongly
)

// ErrUsage marks errors of the caller: they end with ExitUsage.
var ErrUsage = errors.New("usage")

// Validator is a configuration that can say what is wrong with it. The error
// joins all problems, each beginning with its key.
type Validator interface{ Validate() error }

// Source is where a service's configuration comes from.
type Source struct {
	Service     string
	Description string // one line for --help
	Args        []string
	LookupEnv   func(string) (string, bool)
	Stdout      io.Writer
	Stderr      io.Writer
}

// Action is what the caller was asked to do.
type Action int

// The actions.
const (
	Run  Action = iota
	Done        // -version, -config.check and -help have answered
)

// Load fills cfg, a pointer to a struct that holds the defaults. Errors of
// use wrap ErrUsage; a file that cannot be read does not.
func (s Source) Load(cfg any, version string) (Action, error) {
	leaves, err := leavesOf(cfg)
	if err != nil {
		return Done, err
	}
	fset := flag.NewFlagSet(s.Service, flag.ContinueOnError)
	fset.SetOutput(io.Discard)
	file := fset.String("config", "", "YAML `file` with the configuration")
	check := fset.Bool("config.check", false, "check the configuration, print it as it would be used, and exit")
	showVersion := fset.Bool("version", false, "print the version and exit")
	given := map[string]string{}
	for _, l := range leaves {
		fset.Func(l.key, l.help, func(text string) error {
			if err := l.probe(text); err != nil {
				return err
			}
			given[l.key] = text
			return nil
		})
	}
	switch err := fset.Parse(s.Args); {
	case errors.Is(err, flag.ErrHelp):
		s.usage(fset, leaves)
		return Done, nil
	case err != nil:
		return Done, fmt.Errorf("%w: %s: %w (-help lists the flags)", ErrUsage, s.Service, err)
	case fset.NArg() > 0:
		return Done, fmt.Errorf("%w: %s: unexpected argument %q", ErrUsage, s.Service, fset.Arg(0))
	}
	if *showVersion {
		fmt.Fprintln(s.Stdout, s.Service, version)
		return Done, nil
	}
	if *file != "" {
		if err := LoadFile(*file, cfg); err != nil {
			return Done, err
		}
	}
	for _, l := range leaves {
		if text, ok := s.LookupEnv(l.env()); ok {
			if err := l.set(text); err != nil {
				return Done, fmt.Errorf("%w: environment %s: %w", ErrUsage, l.env(), err)
			}
		}
	}
	for _, l := range leaves {
		if text, ok := given[l.key]; ok {
			if err := l.set(text); err != nil {
				return Done, fmt.Errorf("%w: flag -%s: %w", ErrUsage, l.key, err)
			}
		}
	}
	if v, ok := cfg.(Validator); ok {
		if err := v.Validate(); err != nil {
			return Done, fmt.Errorf("%w: configuration: %w", ErrUsage, err)
		}
	}
	if *check {
		text, err := yaml.Dump(cfg)
		if err != nil {
			return Done, fmt.Errorf("print configuration: %w", err)
		}
		fmt.Fprintf(s.Stdout, "# the configuration of %s is valid\n%s", s.Service, text)
		return Done, nil
	}
	return Run, nil
}

// LoadFile reads a YAML file strictly over the defaults.
func LoadFile(path string, cfg any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		if at, ok := errors.AsType[*fs.PathError](err); ok {
			return fmt.Errorf("%w: configuration file %s: %w", ErrUsage, path, at.Err)
		}
		return fmt.Errorf("configuration file: %w", err)
	}
	// A file of nothing but comments keeps the defaults.
	var docs []any
	if err := yaml.Load(data, &docs, yaml.WithAllDocuments()); err == nil && (len(docs) == 0 || docs[0] == nil) {
		return nil
	}
	if err := yaml.Load(data, cfg, yaml.WithKnownFields()); err != nil {
		return fmt.Errorf("%w: configuration file %s: %s", ErrUsage, path, oneLine(err))
	}
	return nil
}

// oneLine is a YAML error on one line.
func oneLine(err error) string {
	return strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: ")), " ")
}

func (s Source) usage(fset *flag.FlagSet, leaves []leaf) {
	fmt.Fprintf(s.Stdout, "%s: %s\n\nUsage: %s [-config FILE] [flags]\n\n", s.Service, s.Description, s.Service)
	fmt.Fprintf(s.Stdout, "Defaults < configuration file < environment < flags. Every flag is also a key of the\nfile (kafka.brokers) and a variable of the environment (EBB_KAFKA_BROKERS).\n\n")
	for _, name := range []string{"config", "config.check", "version"} {
		fmt.Fprintf(s.Stdout, "  -%-28s %s\n", name, fset.Lookup(name).Usage)
	}
	for _, l := range leaves {
		def := l.text()
		if def != "" {
			def = " (default " + def + ")"
		}
		fmt.Fprintf(s.Stdout, "  -%-28s %s%s\n", l.key, l.help, def)
	}
}

// Secret is a string that never prints.
type Secret string

const masked = "***"

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// GoString hides the secret.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the secret, in YAML, JSON and logs alike.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal returns the secret.
func (s Secret) Reveal() string { return string(s) }

// Key is one key of a configuration, for the reference page.
type Key struct{ Name, Env, Default, Help string }

// Keys lists the keys of a configuration.
func Keys(cfg any) ([]Key, error) {
	leaves, err := leavesOf(cfg)
	if err != nil {
		return nil, err
	}
	var out []Key
	for _, l := range leaves {
		out = append(out, Key{l.key, l.env(), l.text(), l.help})
	}
	return out, nil
}
