package volume_test

import (
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/detect/volume"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// states are how many hours of each state a source's baseline has.
func states(p *detecttest.Player, key string) map[string]int {
	out := map[string]int{}
	p.Set.(*detect.Set).Baselines(key, func(b detect.Baseline) bool {
		for x := range b.Series.Each {
			out[b.Observer+" "+b.What+" "+x.State.String()]++
		}
		return true
	})
	return out
}

func purge(p *detecttest.Player, key string, of signal.Purge) {
	of.By, of.Why = "kim", "a test"
	value, err := of.Append(nil)
	if err != nil {
		p.Context.TB.Fatal(err)
	}
	remember(p, []operator.Record{{Topic: "ebb.network.v1", Kind: signal.KindPurge, Key: []byte(key), Value: value}})
}

// A purge takes the hours out of the one source that it names, of the kind and
// the time that it names, and is part of the state.
func TestPurge(t *testing.T) {
	t.Parallel()
	const key = "default|10.0.0.5"
	begin := t0 - t0%day
	p := detecttest.NewPlayer(t, []byte(alone), volume.NewMetered()...)
	remember(p, histories(t, alone, atMidnight(habit(14, 50e6)), begin, begin+14*day))
	all := states(p, key)
	n := all["zeek sent plain"]
	if n < 100 || len(all) != 1 {
		t.Fatalf("%v", all)
	}
	for _, of := range []signal.Purge{
		{Observer: "vpcflow", Last: begin + 20*day},
		{What: detect.Collected, Last: begin + 20*day},
		{What: detect.Sanctioned, Last: begin + 20*day},
		{First: begin + 20*day, Last: begin + 30*day},
	} {
		purge(p, key, of)
	}
	purge(p, "default|10.0.0.6", signal.Purge{Last: begin + 20*day})
	if d := gocmp.Diff(all, states(p, key)); d != "" {
		t.Errorf("a purge of something else: %s", d)
	}
	if p.Context.Counts["purges/unknown"] != 1 || p.Context.Counts["purges/applied"] != 4 {
		t.Errorf("%v", p.Context.Counts)
	}
	purge(p, key, signal.Purge{Observer: "zeek", What: detect.Sent, First: begin + 2*day, Last: begin + 3*day - 1})
	got := states(p, key)
	if got["zeek sent purged"] == 0 || got["zeek sent purged"] > 24 || got["zeek sent purged"]+got["zeek sent plain"] != n {
		t.Errorf("a day: %v of %d", got, n)
	}
	purge(p, key, signal.Purge{Last: begin + 20*day})
	p.Reload([]byte(alone), volume.NewMetered()...)
	if d := gocmp.Diff(map[string]int{"zeek sent purged": n}, states(p, key)); d != "" {
		t.Error(d)
	}
	if d := gocmp.Diff(states(p, key), states(p, "")); d != "" {
		t.Errorf("of all sources: %s", d)
	}
	r := operator.Record{Kind: signal.KindPurge, Key: []byte(key), Value: []byte(`{"kind":"purge","v":1,"first":5,"last":4,"by":"kim","why":"x"}`)}
	if p.Set.Apply(&r, p.Context) == nil {
		t.Error("a purge that ends before it begins was taken")
	}
}

// An hour that is not over when it is purged is taken out when it is.
func TestPurgeOfAnOpenHour(t *testing.T) {
	t.Parallel()
	const key = "default|10.0.0.5"
	site := parse(t, alone)
	for _, purged := range []bool{false, true} {
		p := detecttest.NewPlayer(t, []byte(alone), volume.NewMetered()...)
		events := atMidnight(habit(3, 50e6))
		cut := len(events) / 2
		p.Play(detecttest.Events(t, site, "s1", events[:cut]))
		open := events[cut-1].Time
		if purged {
			purge(p, key, signal.Purge{First: open, Last: open})
		}
		p.Reload([]byte(alone), volume.NewMetered()...)
		p.Play(detecttest.Events(t, site, "s1", events[cut:]))
		state := baseline.Plain
		p.Set.(*detect.Set).Baselines(key, func(b detect.Baseline) bool {
			state = b.Series.StateOf(baseline.HourOf(open))
			return true
		})
		if (state == baseline.Purged) != purged {
			t.Errorf("purged %t: %s", purged, state)
		}
	}
}

// What a host collects has a baseline as well.
func TestBaselinesOfFanIn(t *testing.T) {
	t.Parallel()
	p := detecttest.NewPlayer(t, []byte(alone), volume.NewFanIn())
	var events []event.Event
	for h := range int64(30) {
		for i := range 3 {
			events = append(events, pull(i, h*hour+10*minute, 8e6))
		}
	}
	p.Play(detecttest.Events(t, parse(t, alone), "s1", events))
	before := states(p, "")
	if before[" collected plain"] < 20 {
		t.Fatalf("%v", before)
	}
	purge(p, "default|10.0.0.5", signal.Purge{What: detect.Sent, Last: t0 + 30*day})
	purge(p, "default|10.0.0.5", signal.Purge{Observer: "zeek", Last: t0 + 30*day})
	if d := gocmp.Diff(before, states(p, "")); d != "" {
		t.Error(d)
	}
	purge(p, "default|10.0.0.5", signal.Purge{Last: t0 + 30*day})
	if got := states(p, ""); got[" collected plain"] > 1 || got[" collected purged"] < 20 {
		t.Errorf("%v", got)
	}
}
