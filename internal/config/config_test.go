package config_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/google/go-cmp/cmp"
)

type kafka struct {
	Brokers  []string      `yaml:"brokers" help:"addresses"`
	Password config.Secret `yaml:"password"`
	Wait     time.Duration `yaml:"wait"`
}

type sample struct {
	Kafka kafka `yaml:"kafka"`
	Limit int   `yaml:"limit"`
}

func (s *sample) Validate() error {
	var errs []error
	if s.Limit < 0 {
		errs = append(errs, errors.New("limit: is negative"))
	}
	if len(s.Kafka.Brokers) == 0 {
		errs = append(errs, errors.New("kafka.brokers: is empty"))
	}
	return errors.Join(errs...)
}

func load(t *testing.T, file string, env map[string]string, args ...string) (*sample, string, config.Action, error) {
	t.Helper()
	cfg := &sample{Kafka: kafka{Brokers: []string{"default:1"}, Wait: time.Second}, Limit: 7}
	if file != "" {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"-config", path}, args...)
	}
	var out bytes.Buffer
	action, err := config.Source{
		Service: "svc", Args: args, Stdout: &out, Stderr: &out,
		LookupEnv: func(k string) (string, bool) { v, ok := env[k]; return v, ok },
	}.Load(cfg, "v1")
	return cfg, out.String(), action, err
}

func TestLaterWins(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		file string
		env  map[string]string
		args []string
		want sample
	}{
		"defaults": {want: sample{kafka{[]string{"default:1"}, "", time.Second}, 7}},
		"file":     {file: "kafka: {brokers: [a:1, b:2], wait: 2m}\n", want: sample{kafka{[]string{"a:1", "b:2"}, "", 2 * time.Minute}, 7}},
		"env":      {file: "limit: 8\n", env: map[string]string{"EBB_LIMIT": "9", "EBB_KAFKA_PASSWORD": "p"}, want: sample{kafka{[]string{"default:1"}, "p", time.Second}, 9}},
		"flags":    {file: "limit: 8\n", env: map[string]string{"EBB_LIMIT": "9"}, args: []string{"-limit", "10", "-kafka.brokers", "x:1,y:2"}, want: sample{kafka{[]string{"x:1", "y:2"}, "", time.Second}, 10}},
		"empty":    {file: "# nothing\n", want: sample{kafka{[]string{"default:1"}, "", time.Second}, 7}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _, action, err := load(t, tc.file, tc.env, tc.args...)
			if err != nil || action != config.Run {
				t.Fatalf("action %v, error %v", action, err)
			}
			if d := cmp.Diff(&tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestWrongUseIsOneClearLine(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		file string
		env  map[string]string
		args []string
		want string
	}{
		"unknown key":  {file: "kafka: {borkers: [a]}\n", want: "borkers"},
		"wrong type":   {file: "limit: many\n", want: "line 1"},
		"missing file": {args: []string{"-config", "/does/not/exist.yaml"}, want: "/does/not/exist.yaml"},
		"unknown flag": {args: []string{"-nope"}, want: "-nope"},
		"bad flag":     {args: []string{"-limit", "x"}, want: "limit"},
		"bad env":      {env: map[string]string{"EBB_KAFKA_WAIT": "soon"}, want: "EBB_KAFKA_WAIT"},
		"argument":     {args: []string{"stray"}, want: "stray"},
		"invalid":      {args: []string{"-limit", "-1", "-kafka.brokers", ""}, want: "kafka.brokers: is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, _, err := load(t, tc.file, tc.env, tc.args...)
			if !errors.Is(err, config.ErrUsage) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one of use that names %q", err, tc.want)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"-version"}, "svc v1"},
		{[]string{"-help"}, "-kafka.brokers"},
		{[]string{"-config.check", "-kafka.password", "hunter2"}, "***"},
	} {
		_, out, action, err := load(t, "", nil, tc.args...)
		if err != nil || action != config.Done || !strings.Contains(out, tc.want) || strings.Contains(out, "hunter2") {
			t.Errorf("%v: action %v, error %v, output %q", tc.args, action, err, out)
		}
	}
}
