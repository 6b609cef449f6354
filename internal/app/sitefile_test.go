package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// bench is a site file with a service that notes what it is given.
type bench struct {
	t    *testing.T
	path string
	now  time.Time
	log  bytes.Buffer
	got  []string
	file *siteFile
}

func newBench(t *testing.T, content string) *bench {
	t.Helper()
	b := &bench{t: t, path: filepath.Join(t.TempDir(), "site.yaml"), now: time.Now().Add(-time.Hour).Truncate(time.Second)}
	b.write(content)
	room := &Room{Log: slog.New(slog.NewTextHandler(&b.log, nil)), Metrics: prometheus.NewRegistry()}
	var err error
	b.file, err = newSiteFile(room, &Common{Site: b.path}, []Service{{Site: func(d *declaredSite) error { b.got = append(b.got, string(d.content)); return nil }}, {}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// write writes the file, modified a minute after the last time.
func (b *bench) write(content string) {
	b.t.Helper()
	b.now = b.now.Add(time.Minute)
	if err := os.WriteFile(b.path, []byte(content), 0o600); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Chtimes(b.path, b.now, b.now); err != nil {
		b.t.Fatal(err)
	}
}

// value is that of a counter or gauge.
func value(m prometheus.Metric) float64 {
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		panic(err)
	}
	return out.GetCounter().GetValue() + out.GetGauge().GetValue()
}

const (
	siteA = "home_networks: [198.51.100.0/24]\n"
	siteB = "home_networks: [203.0.113.0/24]\n"
)

func TestAChangedSiteFileIsHandedOn(t *testing.T) {
	t.Parallel()
	b := newBench(t, siteA)
	b.file.look() // nothing changed
	b.write(siteB)
	b.file.look()
	b.file.look()
	if got := strings.Join(b.got, ""); got != siteA+siteB {
		t.Errorf("the service was given %q", b.got)
	}
	if n := value(b.file.reloads.WithLabelValues("applied")); n != 1 {
		t.Errorf("%v reloads counted", n)
	}
}

func TestAnInvalidSiteFileIsRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ content, says string }{
		"not YAML":           {"home_networks: [1", "site file"},
		"unknown key":        {"home_nets: []\n", "home_nets"},
		"unknown detector":   {"detectors: {dns-tunel: {mode: off}}\n", "dns-tunel"},
		"unknown threshold":  {"detectors: {dns-tunnel: {thresholds: {nonsense: 1}}}\n", "nonsense"},
		"no network":         {"home_networks: [300.1.1.1/8]\n", "home_networks[0]"},
		"gone":               {"", "no such file"},
		"older than it held": {siteB, "touch it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, siteA)
			b.write(tc.content)
			switch name {
			case "gone":
				if err := os.Remove(b.path); err != nil {
					t.Fatal(err)
				}
			case "older than it held":
				old := b.now.Add(-time.Hour)
				if err := os.Chtimes(b.path, old, old); err != nil {
					t.Fatal(err)
				}
			}
			b.file.look()
			b.file.look()
			lines := strings.Split(strings.TrimSpace(b.log.String()), "\n")
			if len(b.got) != 1 || len(lines) != 1 || !strings.Contains(lines[0], "refused") || !strings.Contains(lines[0], tc.says) {
				t.Errorf("handed on %d versions, said\n%s", len(b.got), b.log.String())
			}
			if n, bad := value(b.file.reloads.WithLabelValues("refused")), value(b.file.bad); n != 1 || bad != 1 {
				t.Errorf("counted %v refused, gauge %v", n, bad)
			}
			b.write(siteB)
			b.file.look()
			if len(b.got) != 2 || value(b.file.bad) != 0 {
				t.Errorf("a good one after it was not taken: %q", b.got)
			}
		})
	}
}

// The watch sees a file that is written in place and one that is put in its
// place, by itself.
func TestTheWatchSeesChanges(t *testing.T) {
	t.Parallel()
	b := newBench(t, siteA)
	given := make(chan string, 10)
	b.file.apply = []func(*declaredSite) error{func(d *declaredSite) error { given <- string(d.content); return nil }}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.file.task(ctx) }()
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-given:
			if got != want {
				t.Errorf("handed on %q, want %q", got, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("waited in vain for %q", want)
		}
	}
	time.Sleep(100 * time.Millisecond) // the watch has begun
	b.write(siteB)
	expect(siteB)
	next := b.path + ".new"
	if err := os.WriteFile(next, []byte(siteA), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, b.path); err != nil {
		t.Fatal(err)
	}
	expect(siteA)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTheLaterSiteFileSupersedes(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_795_430_400, 0)
	version := func(content string, since time.Time) []byte {
		return (&declaredSite{content: []byte(content), since: since}).epoch()
	}
	for name, tc := range map[string]struct {
		held, declared []byte
		want           bool
	}{
		"later":                  {version(siteA, at), version(siteB, at.Add(1)), true},
		"earlier":                {version(siteA, at), version(siteB, at.Add(-1)), false},
		"same time":              {version(siteA, at), version(siteB, at), false},
		"later, the same bytes":  {version(siteA, at), version(siteA, at.Add(time.Hour)), false},
		"held by an old release": {[]byte(siteA), version(siteB, at), true},
		"removed later":          {version(siteA, at), version("", at.Add(1)), true},
	} {
		if got := supersedes(detect.EpochSite, tc.held, tc.declared); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if !supersedes(detect.EpochOperator, []byte("a"), []byte("b")) {
		t.Error("another release does not replace the one that held")
	}
	since, content := splitEpoch(version(siteA, at))
	if !since.Equal(at) || string(content) != siteA {
		t.Errorf("taken apart: %s %q", since, content)
	}
	if _, err := site.Parse(version(siteA, at)); err != nil {
		t.Errorf("the head is no comment to the parser: %v", err)
	}
}

// A changed site file reaches what reads beside an ingest service while it runs, as
// an epoch: what came before it keeps its keys, and a restart with an older file
// does not bring that back.
func TestAChangedSiteFileReachesReaders(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "zeek"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics(topic.Network), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if _, err := topic.Ensure(t.Context(), kadm.NewClient(cl), true); err != nil {
		t.Fatal(err)
	}
	cfg := ingest.Default()
	cfg.Topics.Read, cfg.CommitInterval = []string{"zeek"}, 20*time.Millisecond
	modified := time.Now().Add(-time.Hour).Truncate(time.Second)
	write := func(path, content string) {
		t.Helper()
		modified = modified.Add(time.Minute)
		if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), os.Chtimes(path, modified, modified)); err != nil {
			t.Fatal(err)
		}
	}
	start := func(path string) (file *siteFile, stop func()) {
		t.Helper()
		room := NewRoom(slog.New(slog.DiscardHandler))
		common := DefaultCommon("")
		common.Kafka.Brokers, common.Site = cluster.ListenAddrs(), path
		s, err := newIngest(room, "ingest-zeek", &common, &cfg)
		if err != nil {
			t.Fatal(err)
		}
		if file, err = newSiteFile(room, &common, []Service{s}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		return file, func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	// key is that of the event of a record that is sent now.
	n := 0
	key := func() string {
		t.Helper()
		n++
		line := fmt.Appendf(nil, `{"ts":1767600000.5,"uid":"C%d","id.orig_h":"10.0.0.1","id.orig_p":5353,"id.resp_h":"10.0.0.53","id.resp_p":53,"proto":"udp","trans_id":7,"query":"a.example.com"}`, n)
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "zeek", Value: line}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		for {
			fetches := cl.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				t.Fatal(err)
			}
			for r := range fetches.RecordsAll() {
				if bytes.Contains(r.Value, fmt.Appendf(nil, `"C%d"`, n)) {
					return string(r.Key)
				}
			}
		}
	}
	path, old := filepath.Join(t.TempDir(), "site.yaml"), filepath.Join(t.TempDir(), "site.yaml")
	write(old, "realms: {zeek: old}\n")
	write(path, "realms: {zeek: a}\n")
	file, stop := start(path)
	if got := key(); got != "a|10.0.0.1" {
		t.Errorf("by the first file the key is %s", got)
	}
	write(path, "realms: {zeek: b}\n")
	file.look()
	// It holds from the next transaction on, and there is one at least every commit interval.
	if got := key(); got != "a|10.0.0.1" && got != "b|10.0.0.1" {
		t.Errorf("while it changes the key is %s", got)
	}
	if got := key(); got != "b|10.0.0.1" {
		t.Errorf("by the changed file the key is %s", got)
	}
	stop()
	_, stop = start(old)
	defer stop()
	if got := key(); got != "b|10.0.0.1" {
		t.Errorf("by an instance with an older file the key is %s", got)
	}
}
