package stream

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// product is a service of the product on a broker of its own.
type product struct {
	*world

	factory operator.Factory
	outputs []string
}

// fed writes records of a life, marks to every partition, others by their keys.
func (p *product) fed(records []*kgo.Record, parts int32) {
	p.t.Helper()
	var rs []*kgo.Record
	for _, r := range records {
		c := clone(r)
		c.Topic, c.Headers, c.Partition = "in", r.Headers, byKey
		if string(r.Headers[0].Value) != event.KindMark.String() || string(r.Key) == "default" {
			rs = append(rs, c)
			continue
		}
		for q := range parts {
			own := *c
			own.Partition = q
			rs = append(rs, &own)
		}
	}
	p.produce(rs...)
}

// serve runs the service until it has read everything.
func (p *product) serve(epoch []byte) {
	p.t.Helper()
	e, err := newEngineWith(p.cfg.withDefaults(), p.factory, testLog(p.t), nil, proof{})
	if err != nil {
		p.t.Fatal(err)
	}
	if err := e.SetEpoch("site", epoch); err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		err := e.Run(ctx)
		if err != nil {
			p.t.Errorf("the service ended: %v", err)
		}
		done <- err
	}()
	p.settle()
	cancel()
	if <-done != nil {
		p.t.FailNow()
	}
}

// said is what was emitted, by whom it is about, without the coordinates of
// evidence. Marks of detect are of partitions, and are left out.
func (p *product) said() map[string][]string {
	p.t.Helper()
	got := map[string][]string{}
	for _, topic := range p.outputs {
		for _, r := range p.readAll(topic) {
			kind := ""
			for _, h := range r.Headers {
				if h.Key == "kind" {
					kind = string(h.Value)
				}
			}
			switch kind {
			case event.KindMark.String():
			case signal.KindSignal:
				var s signal.Signal
				must(p.t, signal.Decode(r.Value, &s))
				for i := range s.Evidence {
					s.Evidence[i].Partition, s.Evidence[i].Offset = 0, 0
				}
				text, err := s.Append(nil)
				must(p.t, err)
				got[s.Key] = append(got[s.Key], string(text))
			default:
				who := topic + " " + string(r.Key)
				got[who] = append(got[who], string(r.Value))
			}
		}
	}
	for who, list := range got {
		if strings.HasSuffix(who, " default") { // facts of several partitions
			slices.Sort(list)
		}
	}
	return got
}

// TestTheProductIsRepartitioned: the services' own operators, moved half-way by
// the migration that a command runs, go on as if nothing had been.
func TestTheProductIsRepartitioned(t *testing.T) {
	t.Parallel()
	if *realBrokers != "" {
		t.Skip("topics of the product's names: not on a cluster that others use")
	}
	cases := []struct {
		name    string
		begin   string // of lives
		factory operator.Factory
		outputs []string
		from    int32
		to      int32
		keys    [][]byte
	}{
		{"detect", "detect", func(int32) (operator.Operator, error) { return pipeline.NewSet("default", detect.Bounds{Keys: 100}) }, []string{"ebb.signals.v1"}, 2, 5, nil},
		{"correlate", "correlate", func(int32) (operator.Operator, error) { return pipeline.NewCorrelator(false) }, []string{"ebb.alerts.v1", "ebb.network.v1"}, 1, 3, [][]byte{[]byte("default")}},
	}
	together(t, len(cases), func(i int) string { return cases[i].name }, func(t *testing.T, i int) {
		t.Helper()
		tc := cases[i]
		rng := rand.New(rand.NewPCG(7, 7))
		l := lives[tc.begin](t, func(what string, n int) int {
			if what == "input" {
				return 25 * n
			}
			return rng.IntN(n)
		})
		run := func(migrate bool) map[string][]string {
			w := newWorld(t, tc.from)
			for _, topic := range tc.outputs {
				if _, err := w.adm.CreateTopic(context.Background(), 1, 1, nil, topic); err != nil {
					t.Fatal(err)
				}
			}
			w.cfg.Outputs, w.cfg.PartBytes, w.cfg.CommitInterval = tc.outputs, 4096, 200*time.Millisecond
			p := &product{world: w, factory: tc.factory, outputs: tc.outputs}
			half, parts := len(l.input)/2, tc.from
			p.fed(l.input[:half], parts)
			p.serve(l.epoch)
			if migrate {
				before := p.said()
				m := Migration{Config: w.cfg, Partitions: map[string]int32{"in": tc.to}, Keys: tc.keys}
				res, err := m.Run(context.Background(), tc.factory, slog.New(slog.DiscardHandler))
				if err != nil || res.Bytes == 0 || res.Nothing {
					t.Fatalf("%+v, %v", res, err)
				}
				if d := cmp.Diff(before, p.said()); d != "" {
					t.Error("a migration emits: " + d)
				}
				w.reconnect()
				parts = tc.to
			}
			p.fed(l.input[half:], parts)
			p.serve(l.epoch)
			if n := len(w.readAll("dead")); n != 0 {
				t.Errorf("%d dead letters", n)
			}
			return p.said()
		}
		want, got := run(false), run(true)
		if len(want) == 0 {
			t.Error("nothing was said: nothing was tested")
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}
