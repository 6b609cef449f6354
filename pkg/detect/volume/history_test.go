package volume_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/detect/volume"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// atMidnight moves events so that t0 is the midnight before it, as meters does.
func atMidnight(events []event.Event) []event.Event {
	events = slices.Clone(events)
	for i := range events {
		events[i].Time -= t0 % day
		events[i].Start -= t0 % day
	}
	return events
}

// histories is what a backfill makes of events.
func histories(tb testing.TB, siteFile string, events []event.Event, from, to int64) (out []operator.Record) {
	tb.Helper()
	st := parse(tb, siteFile)
	past := volume.NewPast(st, from, to, 1<<20)
	for _, r := range detecttest.Events(tb, st, "s1", events) {
		var e event.Event
		if err := event.Decode(r.Value, &e); err != nil {
			tb.Fatal(err)
		}
		if err := past.Observe(&e, r.Key); err != nil {
			tb.Fatal(err)
		}
	}
	for of := range past.Each {
		for part := range slices.Chunk(of.Hours, signal.MaxHistoryHours) {
			h := signal.History{Observer: of.Observer, Source: of.Source}
			for _, x := range part {
				h.Hours = append(h.Hours, signal.HistoryHour{Start: baseline.TimeOf(x.Hour), Bytes: x.Bytes, Permitted: x.Permitted, Records: x.Records})
			}
			value, err := h.Append(nil)
			if err != nil {
				tb.Fatal(err)
			}
			out = append(out, operator.Record{Topic: "ebb.network.v1", Kind: signal.KindHistory, Key: []byte(of.Key), Value: value})
		}
	}
	return out
}

func remember(p *detecttest.Player, records []operator.Record) {
	for _, r := range records {
		r.Offset = p.Offset
		p.Offset++
		if err := p.Set.Apply(&r, p.Context); err != nil {
			p.Context.TB.Fatal(err)
		}
	}
}

// TestHistoryIsAsGoodAsEvents: what a source did in hours of a history is as
// usual as what it did under detection, and a spike stands out alike.
func TestHistoryIsAsGoodAsEvents(t *testing.T) {
	t.Parallel()
	begin := t0 - t0%day
	for name, tc := range map[string]struct {
		sent uint64
		site string
		want bool
	}{
		"six times as much": {320e6, "", true},
		"a good day":        {60e6, "", false},
		"sanctioned": {
			900e6, "sanctioned_destinations: [{value: 198.51.100.0/24, sources: [10.0.0.5], daily_bytes: 1000000000000}]\n", true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			past, now := habit(14, 50e6), []event.Event{both("x", office+30*minute, tc.sent, to("198.51.100.7"))}
			now = append(now, habit(15, 50e6)[14*24:14*24+10]...)
			slices.SortFunc(now, func(a, b event.Event) int { return int(a.Time - b.Time) })
			live := meters(t, alone+tc.site, append(slices.Clone(past), now...)...)
			filled := detecttest.NewPlayer(t, []byte(alone+tc.site), volume.NewMetered()...)
			records := histories(t, alone+tc.site, atMidnight(past), begin, begin+14*day)
			if len(records) != 14 {
				t.Errorf("%d histories of 14 days", len(records))
			}
			remember(filled, records)
			remember(filled, records[3:9]) // a repetition changes nothing
			filled.Reload([]byte(alone+tc.site), volume.NewMetered()...)
			filled.Play(detecttest.Events(t, parse(t, alone+tc.site), "s1", atMidnight(now)))
			a, b := byBaseline(live), byBaseline(filled)
			if (len(a) > 0) != tc.want {
				t.Fatalf("with events: %v", a)
			}
			if d := gocmp.Diff(a, b); d != "" {
				t.Errorf("by events, by history:\n%s", d)
			}
		})
	}
}

// byBaseline are the findings that lean on what is usual.
func byBaseline(p *detecttest.Player) (out []string) {
	for _, s := range orderless(p.Context.Final()) {
		switch s.Detector {
		case "volume-anomaly", "volume-fixed", "sanctioned-abuse":
			out = append(out, fmt.Sprint(s.Detector, s.Alert, s.Mode, s.Points, s.Bytes != nil, s.Start, s.Severity, s.Confidence))
		}
	}
	return out
}

// TestHistoryIsNoEvent: a history makes no signal, nor the state of what it means
// nothing to; what events know more of stays.
func TestHistoryIsNoEvent(t *testing.T) {
	t.Parallel()
	begin := t0 - t0%day
	events := atMidnight(habit(3, 5e9))
	p := detecttest.NewPlayer(t, []byte(alone), volume.NewMetered()...)
	remember(p, histories(t, alone, events, begin, begin+3*day))
	if got := p.Context.Final(); len(got) > 0 {
		t.Errorf("signals: %v", stands(p))
	}
	if n := p.Context.Counts["histories/zeek"]; n != 3 {
		t.Errorf("%d histories counted", n)
	}
	p.Offset = 0
	remember(p, histories(t, alone, events, begin, begin+3*day))
	before := p.Save()
	// Less than is known: of the hours nothing changes.
	p.Offset = 0
	remember(p, histories(t, alone, atMidnight(habit(3, 2e6)), begin, begin+3*day))
	if d := gocmp.Diff(before, p.Save()); d != "" {
		t.Error(d)
	}
	h := signal.History{Observer: "cloudtrail", Hours: []signal.HistoryHour{{Start: begin, Bytes: 1 << 30}}}
	value, err := h.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	remember(p, []operator.Record{{Kind: signal.KindHistory, Key: []byte("role"), Value: value}})
	if n := p.Context.Counts["histories/unused"]; n != 1 {
		t.Errorf("%d of nobody's", n)
	}
	h = signal.History{Observer: "zeek", Source: netip.MustParseAddr("10.0.0.9"), Hours: []signal.HistoryHour{{Start: begin + 1, Bytes: 1}}}
	if value, err = h.Append(nil); err != nil {
		t.Fatal(err)
	}
	r := operator.Record{Kind: signal.KindHistory, Key: []byte("k"), Value: value}
	if p.Set.Apply(&r, p.Context) == nil {
		t.Error("an hour that is none was taken")
	}
}
