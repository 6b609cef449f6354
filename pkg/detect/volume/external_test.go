package volume_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/google/go-cmp/cmp"
)

func TestExternalTransfer(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		events []event.Event
		want   string
	}{
		"10 MB, whatever came back": {[]event.Event{conn("C", 0, 10*mb, 900*mb)}, "203.0.113.9 bytes rare_destination"},
		"1 MB to a new destination": {[]event.Event{conn("C", 0, mb, mb)}, "203.0.113.9 rare_destination"},
		"less":                      {[]event.Event{conn("C", 0, mb-1, 0)}, ""},
		"1 MB to one that was used in an earlier hour": {
			[]event.Event{conn("A", 0, 1000, 0), conn("B", 2*hour, 2*mb, 0)}, "",
		},
		"10 MB to one that was used in an earlier hour": {
			[]event.Event{conn("A", 0, 1000, 0), conn("B", 2*hour, 12*mb, 0)}, "203.0.113.9 bytes",
		},
		"what was fetched is no use": {[]event.Event{conn("A", 0, 0, 1000), conn("B", 2*hour, 2*mb, 0)}, "203.0.113.9 rare_destination"},
		"ports are one destination": {
			[]event.Event{conn("A", 0, 6*mb, 0, port(443)), conn("B", second, 6*mb, 0, port(8443))}, "203.0.113.9 bytes rare_destination",
		},
		"names of one domain are one destination": {
			[]event.Event{
				hello("A", 0, "a.drop.example"), conn("A", second, 6*mb, 0),
				hello("B", 0, "b.drop.example", to("203.0.113.20")), conn("B", second, 6*mb, 0, to("203.0.113.20")),
			}, "drop.example bytes rare_destination",
		},
		"buckets are not one domain": {
			[]event.Event{
				hello("A", 0, "ours.s3.amazonaws.com"), conn("A", second, 6*mb, 0),
				hello("B", 0, "theirs.s3.amazonaws.com"), conn("B", second, 6*mb, 0),
			}, "ours.s3.amazonaws.com rare_destination\ntheirs.s3.amazonaws.com rare_destination",
		},
		"a renamed address is one destination": {
			[]event.Event{conn("A", 0, 6*mb, 0), conn("B", second, 6*mb, 0), answer(2*second, "drop.example", "203.0.113.9")}, "drop.example bytes rare_destination",
		},
		"ICMP counts": {[]event.Event{conn("C", 0, 2*mb, 0, func(e *event.Event) { e.Network.Transport = "icmp" })}, "203.0.113.9 rare_destination"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := play(t, "", tc.events...)
			if d := cmp.Diff(tc.want, found(p, "external-transfer")); d != "" {
				t.Error(d)
			}
			for _, s := range p.Context.Signals {
				if s.Detector == "external-transfer" && s.Alert {
					t.Error("it alerts alone")
				}
			}
		})
	}
}

// TestTwoObservers holds that the bytes of two observers are not added, and
// that the signal says whose word it takes.
func TestTwoObservers(t *testing.T) {
	t.Parallel()
	packet := func(e *event.Event) { e.Observer.Type = "packet" }
	p := play(t, "", conn("A", 0, 6*mb, 1000), conn("p1", 0, 6*mb, 1000, packet), conn("p2", second, 3*mb, 1000, packet))
	list := of(p, "external-transfer")
	if len(list) != 1 {
		t.Fatalf("%d signals", len(list))
	}
	s := list[0]
	if *s.Bytes != 9*mb || points(&s) != "rare_destination" {
		t.Errorf("%d bytes: %s", *s.Bytes, points(&s))
	}
	if s.Values[0].Text != "packet/s1/default" {
		t.Errorf("values: %+v", s.Values)
	}
	if d := cmp.Diff([]string{"packet", "zeek"}, s.Observers); d != "" {
		t.Error(d)
	}
}

// TestEmissions holds when a signal is sent: when points change, at each
// doubling, and at the end of the window.
func TestEmissions(t *testing.T) {
	t.Parallel()
	events := many(64, 30*second, mb/2, 1000)
	events = append(events, conn("X", 3*hour, 1, 1, to("203.0.113.77")), conn("Y", 3*hour+minute, 1, 1, to("203.0.113.77")))
	p := play(t, "", events...)
	var got []string
	for _, s := range p.Context.Signals {
		if s.Detector == "external-transfer" {
			got = append(got, fmt.Sprintf("%d: %.1f %s", s.Revision, float64(*s.Bytes)/1e6, points(&s)))
		}
	}
	want := []string{
		"1: 1.0 rare_destination", "2: 2.0 rare_destination", "3: 4.0 rare_destination", "4: 8.0 rare_destination",
		"5: 10.0 bytes rare_destination", "6: 20.0 bytes rare_destination", "7: 32.0 bytes rare_destination",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	s := of(p, "external-transfer")[0]
	if s.Start != t0 || s.End != t0+hour || s.First != t0-second || s.Time != t0+63*30*second || len(s.Evidence) == 0 || len(s.Evidence) > signal.MaxEvidence {
		t.Errorf("start %d end %d first %d time %d, %d pieces of evidence", s.Start-t0, s.End-t0, s.First-t0, s.Time-t0, len(s.Evidence))
	}
}

// TestEarlierEventMovesTheWindow holds that what was said of a window that
// turns out to start elsewhere is taken back.
func TestEarlierEventMovesTheWindow(t *testing.T) {
	t.Parallel()
	p := play(t, "", conn("B", 12*minute, 12*mb, 0), conn("A", 3*minute, mb, 0))
	var standing, back int
	for _, s := range p.Context.Final() {
		switch {
		case s.Score >= s.Floor:
			standing++
			if s.Start != t0 || *s.Bytes != 13*mb {
				t.Errorf("start %d, %d bytes", s.Start-t0, *s.Bytes)
			}
		default:
			back++
			if s.Start != t0+10*minute || !strings.HasPrefix(s.Reason, "taken back") || s.Alert {
				t.Errorf("start %d: %s", s.Start-t0, s.Reason)
			}
		}
	}
	if standing != 2 || back != 2 {
		t.Errorf("%d stand, %d were taken back", standing, back)
	}
}

// TestLateRecordRevises holds that a record which comes after the window was
// closed still counts.
func TestLateRecordRevises(t *testing.T) {
	t.Parallel()
	st := parse(t, "")
	p := detecttest.NewPlayer(t, nil, detectors()...)
	p.NoMarks = true
	p.Feed(detecttest.Events(t, st, "s1", []event.Event{conn("A", 0, 12*mb, 0)}))
	mark(p, t0+hour+minute, false, "zeek")
	n := len(p.Context.Signals)
	p.Feed(detecttest.Events(t, st, "s1", []event.Event{conn("B", minute, 2*mb, 0)}))
	late := p.Context.Signals[n:]
	if len(late) != 2 || *late[0].Bytes != 14*mb || late[0].ID != p.Context.Signals[0].ID && late[0].ID != p.Context.Signals[1].ID {
		t.Errorf("%d signals after a late record: %+v", len(late), late)
	}
}

// TestCloseAndReturn holds that the sums of an hour survive the stop of an
// instance.
func TestCloseAndReturn(t *testing.T) {
	t.Parallel()
	st := parse(t, "")
	p := detecttest.NewPlayer(t, nil, detectors()...)
	p.NoMarks = true
	p.Feed(detecttest.Events(t, st, "s1", []event.Event{conn("A", 0, 6*mb, 0)}))
	mark(p, t0, true, "zeek")
	mark(p, t0, true, "zeek")
	p.Feed(detecttest.Events(t, st, "s1", []event.Event{conn("B", 10*minute, 6*mb, 0)}))
	mark(p, t0+20*minute, false, "zeek")
	mark(p, t0+2*hour, false, "zeek")
	list := of(p, "external-transfer")
	if len(list) != 1 || *list[0].Bytes != 12*mb || points(&list[0]) != "bytes rare_destination" {
		t.Errorf("%+v", list)
	}
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	const tuned = `
detectors:
  external-transfer:
    thresholds: {bytes: 5000000, rare_bytes: 5000000}
    overrides:
      - {match: 10.0.0.6, thresholds: {rare_bytes: 100}, why: test}
      - {match: quiet.example, mode: "off", why: test}
  upload-ratio: {mode: shadow, thresholds: {volume_bytes: 1000, near: 1}}
`
	if err := detect.CheckSite(parse(t, tuned), detectors()); err != nil {
		t.Fatal(err)
	}
	p := play(t, tuned, conn("A", 0, 4*mb, 0), conn("B", 0, 6*mb, 0, to("203.0.113.10")), conn("C", 0, 200, 0, from("10.0.0.6")),
		hello("D", 0, "a.quiet.example", to("203.0.113.11")), conn("D", second, 50*mb, 0, to("203.0.113.11")))
	if d := cmp.Diff("203.0.113.10 bytes rare_destination\n203.0.113.9 rare_destination", found(p, "external-transfer")); d != "" {
		t.Error(d)
	}
	for _, s := range of(p, "upload-ratio") {
		if s.Mode != signal.ModeShadow || s.Alert {
			t.Errorf("mode %s alert %v", s.Mode, s.Alert)
		}
	}
}

func TestInfo(t *testing.T) {
	t.Parallel()
	for _, d := range detectors() {
		info := d.Info()
		for _, th := range info.Thresholds {
			if th.Doc == "" || th.Unit == "" || th.Default <= 0 {
				t.Errorf("%s: %+v", info.ID, th)
			}
		}
		if info.Default.Floor >= info.Default.Alert || len(info.Technique) == 0 {
			t.Errorf("%+v", info)
		}
	}
}

// TestFlood holds that very many destinations cost bounded memory, and that
// they do not hide an upload.
func TestFlood(t *testing.T) {
	t.Parallel()
	st := parse(t, "")
	p := detecttest.NewPlayer(t, nil, detectors()...)
	p.NoMarks, p.Context.Quiet = true, true
	const n, batch = 50_000, 5_000
	for i := 0; i < n; i += batch {
		var events []event.Event
		for j := i; j < i+batch; j++ {
			e := conn(fmt.Sprintf("C%d", j), int64(j/1000)*second, 3000, 3000)
			e.Destination.IP = netip.AddrFrom4([4]byte{203, byte(j >> 16), byte(j >> 8), byte(j)})
			events = append(events, e)
		}
		if i%(n/10) == 0 {
			events = append(events, conn(fmt.Sprintf("E%d", i), int64(i/1000)*second, mb, 100, to("198.51.100.9")))
		}
		p.Feed(detecttest.Events(t, st, "s1", events))
	}
	size := 0
	for b := range p.Set.Buckets() {
		size += len(p.Set.AppendBucket(nil, b))
	}
	if size > 300<<10 {
		t.Errorf("%d KiB of state", size>>10)
	}
	p.Context.Quiet = false
	p.Mark(true)
	if got := found(p, "external-transfer"); got != "198.51.100.9 bytes rare_destination" {
		t.Errorf("found %q", got)
	}
	if p.Context.Counts["pairs_evicted/upload-ratio"] == 0 {
		t.Error("nothing was counted as evicted")
	}
}
