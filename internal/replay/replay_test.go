package replay_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/app"
	"github.com/ebbwatch/ebbwatch/internal/broker"
	"github.com/ebbwatch/ebbwatch/internal/demo"
	"github.com/ebbwatch/ebbwatch/internal/replay"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// site is a broker on which all services have run over a recorded attack, and
// have drained.
type site struct {
	t      *testing.T
	addr   string
	alerts []replay.Alert
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	if err := demo.Attack().Write(dir, time.Now().Add(-2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	b, err := broker.New(broker.Config{Folder: filepath.Join(dir, "broker")}, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-b.Ready()
	s := &site{t: t, addr: b.Addr()}

	cfg := demo.Configuration(dir)
	cfg.Kafka.Brokers, cfg.Kafka.Embedded, cfg.Snapshot = []string{b.Addr()}, true, 2*time.Second
	services, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- app.RunEverything(services, app.NewRoom(log), cfg, nil) }()
	if _, err := demo.Watch(ctx, b.Addr(), 2*time.Minute, 3*time.Second); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s.alerts = s.read(topic.Alerts)
	if len(s.alerts) == 0 {
		t.Fatal("no alerts")
	}
	return s
}

// read returns what is committed in a topic now.
func (s *site) read(name string) (out []replay.Alert) {
	s.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.addr), kgo.ConsumeTopics(name), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		s.t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(s.t.Context(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	for len(left) > 0 {
		cl.PollFetches(s.t.Context()).EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				out = append(out, replay.Alert{Key: r.Key, Value: r.Value})
			}
			if r.Offset >= left[r.Partition]-1 {
				delete(left, r.Partition)
			}
		})
	}
	return out
}

func (s *site) replay(change func(*replay.Options)) ([]replay.Alert, *replay.Result) {
	s.t.Helper()
	o := replay.Options{Brokers: []string{s.addr}, Embedded: true, Stage: replay.Signals}
	change(&o)
	var got []replay.Alert
	res, err := replay.Run(s.t.Context(), o, func(a replay.Alert) error { got = append(got, a); return nil }, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	return got, res
}

// final is what each alert ended as, without what tells of the way there: the
// numbers and append times of revisions, and who was paged when.
func final(t *testing.T, list []replay.Alert) map[string]map[string]any {
	t.Helper()
	out := map[string]map[string]any{}
	for _, a := range list {
		doc := map[string]any{}
		if err := json.Unmarshal(a.Value, &doc); err != nil {
			t.Fatal(err)
		}
		own := doc["ebbwatch"].(map[string]any)
		for _, k := range []string{"revision", "notify", "completeness", "evidence_trimmed"} {
			delete(own, k)
		}
		for _, e := range own["evidence"].([]any) {
			delete(e.(map[string]any), "record") // as much of it as the rest leaves room for
		}
		delete(doc["event"].(map[string]any), "created")
		out[string(a.Key)] = doc
	}
	return out
}

// TestAReplayGivesTheAlertsOfTheLiveRun is the promise of the package.
func TestAReplayGivesTheAlertsOfTheLiveRun(t *testing.T) {
	t.Parallel()
	s := newSite(t)

	t.Run("signals", func(t *testing.T) {
		got, res := s.replay(func(*replay.Options) {})
		if d := cmp.Diff(s.alerts, got); d != "" {
			t.Error(d)
		}
		if len(res.Cold) != 0 || len(res.Assumed) != 0 || res.Alerts != len(got) {
			t.Errorf("result %+v", res)
		}
	})

	t.Run("events", func(t *testing.T) {
		got, res := s.replay(func(o *replay.Options) { o.Stage = replay.Events })
		if d := cmp.Diff(final(t, s.alerts), final(t, got)); d != "" {
			t.Error(d)
		}
		if res.Signals == 0 || res.Refused != 0 {
			t.Errorf("result %+v", res)
		}
		again, _ := s.replay(func(o *replay.Options) { o.Stage = replay.Events })
		if d := cmp.Diff(got, again); d != "" {
			t.Error("not the same twice: " + d)
		}
	})

	// Any part of the log: what lies before is applied and not said.
	t.Run("parts", func(t *testing.T) {
		signals := s.ends(topic.Signals)[0]
		for _, cut := range []int64{1, signals / 3, signals / 2, signals - 2} {
			at := map[string]int64{topic.Signals + "/0": cut}
			first, _ := s.replay(func(o *replay.Options) { o.To.Offsets = at })
			second, _ := s.replay(func(o *replay.Options) { o.From.Offsets = at })
			if d := cmp.Diff(s.alerts, slices.Concat(first, second)); d != "" {
				t.Errorf("cut at %d of %d: %s", cut, signals, d)
			}
		}
		none, _ := s.replay(func(o *replay.Options) { o.From.Time = time.Now().Add(time.Hour) })
		all, _ := s.replay(func(o *replay.Options) { o.From.Time = time.Now().Add(-time.Hour) })
		if len(none) != 0 || len(all) != len(s.alerts) {
			t.Errorf("%d alerts from an hour to come, %d of the last hour", len(none), len(all))
		}
	})

	// Another site file, as of a person who tries one.
	t.Run("site", func(t *testing.T) {
		got, _ := s.replay(func(o *replay.Options) {
			o.Stage, o.SiteGiven = replay.Events, true
			o.Site = []byte("detectors: {external-transfer: {mode: off}, upload-ratio: {mode: off}, volume-anomaly: {mode: off}, volume-fixed: {mode: off}, archive-sensitive: {mode: off}}\n")
		})
		for _, a := range got {
			if strings.Contains(string(a.Value), `"`+alert.RuleJoined+`"`) {
				t.Errorf("an alert of what is off: %s", a.Value)
			}
		}
	})

	t.Run("nothing is written", func(t *testing.T) {
		if d := cmp.Diff(s.alerts, s.read(topic.Alerts)); d != "" {
			t.Error(d)
		}
	})
}

func (s *site) ends(name string) map[int32]int64 {
	s.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.addr))
	if err != nil {
		s.t.Fatal(err)
	}
	defer cl.Close()
	listed, err := kadm.NewClient(cl).ListCommittedOffsets(s.t.Context(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	out := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { out[o.Partition] = o.Offset })
	return out
}

func TestPoints(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]replay.Point{
		"":                                   {},
		"2026-04-30T10:00:00Z":               {Time: time.Date(2026, 4, 30, 10, 0, 0, 0, time.UTC)},
		"36h":                                {Time: now.Add(-36 * time.Hour)},
		"ebb.cloud.v1/3@17, ebb.host.v1/0@2": {Offsets: map[string]int64{"ebb.cloud.v1/3": 17, "ebb.host.v1/0": 2}},
	} {
		got, err := replay.ParsePoint(text, now)
		if err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"yesterday", "-3h", "ebb.cloud.v1/3", "ebb.cloud.v1@4", "a/b@c", "a/1@-4", "/1@4"} {
		if p, err := replay.ParsePoint(text, now); err == nil {
			t.Errorf("%q is %+v", text, p)
		}
	}
}
