package dns_test

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/detect/dns"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// slow asks for a new name every so many seconds for some hours, beside a
// client that goes where else it asks.
func slow(every float64, hours int, name func(*script, int) string, edit func(*event.Event)) *script {
	s := newScript()
	for i := range int(float64(hours) * 3600 / every) {
		s.ask(every, name(s, i), edit)
		if i%10 == 0 {
			s.touch(1, 2, "198.51.100.77", nil)
		}
	}
	return s
}

// playDays runs events and returns the last revisions of signals that span a
// day, and whether any hour alerted.
func playDays(t *testing.T, events []event.Event, cut bool) (days []signal.Signal, hourAlert bool) {
	t.Helper()
	st, err := site.Parse([]byte(siteText))
	if err != nil {
		t.Fatal(err)
	}
	p := detecttest.NewPlayer(t, []byte(siteText), detectors()...)
	if n := 0; cut {
		p.Cut = func(p *detecttest.Player) {
			if n++; n%97 == 0 {
				p.Reload([]byte(siteText), detectors()...)
			}
		}
	}
	p.Play(detecttest.Merge(detecttest.Events(t, st, "lab", events)))
	for _, s := range p.Context.Final() {
		switch {
		case s.Detector != dns.TunnelID:
		case s.End-s.Start > 2*3600*second:
			days = append(days, s)
		default:
			hourAlert = hourAlert || s.Alert
		}
	}
	return days, hourAlert
}

// TestSlowDay: what an hour misses is found in a day, at 0.7 B/s of name data
// and at the 0.1 B/s of the lab's probe (hex of 4 bytes every 40 s).
func TestSlowDay(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		every float64
		bytes int
		edit  func(*event.Event)
		alert bool
		hour  bool // an hour of it alerts already
	}{
		"probe of 360 B/h":                       {40, 4, nil, true, false},
		"0.7 B/s, answered":                      {20, 7, nil, true, true},
		"0.7 B/s, of which only the DNS is seen": {25, 9, nil, true, false},
		"0.7 B/s, no such name":                  {40, 14, none, true, true},
		"30 names an hour":                       {120, 20, nil, true, false},
		"TXT, six names an hour":                 {600, 30, typed("TXT"), true, false},
		"16 short names an hour":                 {225, 2, nil, false, false}, // 1.5 KB a day
		"what exists and is visited":             {16, 6, nil, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			visited := strings.Contains(name, "visited")
			s := slow(x.every, 24, func(s *script, i int) string {
				if visited && i > 0 {
					s.touch(2, 1, "198.51.100.80", nil) // after the last name
				}
				return s.random(x.bytes) + ".t.slow.test"
			}, x.edit)
			if strings.Contains(name, "only the DNS") {
				s.events = slices.DeleteFunc(s.events, func(e event.Event) bool { return e.Kind != event.KindDNS })
			}
			days, hour := playDays(t, s.events, false)
			alerts := 0
			for _, d := range days {
				complete24(t, &d)
				if d.Alert {
					alerts++
				}
			}
			if (alerts > 0 || hour) != x.alert || hour != x.hour {
				t.Errorf("%d alerts, hour %v: %+v", alerts, hour, days)
			}
		})
	}
}

func complete24(t *testing.T, d *signal.Signal) {
	t.Helper()
	sum := 0.0
	for _, p := range d.Points {
		sum += p.Points
	}
	if sum != d.Score || d.End-d.Start != 24*3600*second || d.Time < d.First || d.Bytes == nil || d.Alert && len(d.Evidence) == 0 || d.Reason == "" {
		t.Errorf("incomplete: %+v", d)
	}
}

// TestDayIsDistinct: what is asked every hour never adds up, however long.
func TestDayIsDistinct(t *testing.T) {
	t.Parallel()
	s := slow(60, 30, func(_ *script, i int) string {
		return hex.EncodeToString([]byte{byte(i % 60), 7, 9, 11, 13, 15}) + ".same.test"
	}, none)
	days, _ := playDays(t, s.events, false)
	for _, d := range days {
		if d.Alert || *d.Bytes > 60*12+1 {
			t.Errorf("%d bytes of 720: %s", *d.Bytes, d.Reason)
		}
	}
}

// TestDayEstimate: the sample of a day counts within its error.
func TestDayEstimate(t *testing.T) {
	t.Parallel()
	s := slow(12, 20, func(s *script, _ int) string { return s.random(5) + ".many.test" }, func(e *event.Event) { e.DNS.Addresses = nil; e.DNS.Type = "NS" })
	days, _ := playDays(t, s.events, false)
	if len(days) != 1 {
		t.Fatalf("%d days", len(days))
	}
	sent := 0
	for _, e := range s.events {
		if e.Kind == event.KindDNS && e.Time <= days[0].Time {
			sent += 10
		}
	}
	if got := int(*days[0].Bytes); 10*got < 7*sent || 10*got > 13*sent || sent < 30_000 {
		t.Errorf("%d bytes, sent %d", got, sent)
	}
}

// TestDaySurvivesSnapshots: cut anywhere, a day says the same.
func TestDaySurvivesSnapshots(t *testing.T) {
	t.Parallel()
	s := slow(45, 24, func(s *script, _ int) string { return s.random(5) + ".slow.test" }, nil)
	whole, _ := playDays(t, s.events, false)
	cut, _ := playDays(t, s.events, true)
	if len(whole) != 1 || len(cut) != 1 || whole[0].Reason != cut[0].Reason || whole[0].Score != cut[0].Score || !whole[0].Alert {
		t.Errorf("%+v\n%+v", whole, cut)
	}
}

// TestDayFlood: domains that a client asks for in a flood do not push out the
// one that gets the most data.
func TestDayFlood(t *testing.T) {
	t.Parallel()
	s := newScript()
	for i := range 24 * 90 {
		s.ask(38, s.random(8)+".slow.test", none)
		if i%40 == 0 {
			for range 4 {
				s.ask(0.1, s.random(9)+fmt.Sprintf(".flood%d.test", i/40), none)
			}
		}
	}
	days, hour := playDays(t, s.events, false)
	found := hour
	for _, d := range days {
		found = found || d.Subject == "slow.test" && d.Alert
	}
	if !found {
		t.Errorf("%d days", len(days))
	}
}
