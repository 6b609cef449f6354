package volume_test

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/detect/volume"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

const day = 24 * hour

// meters plays events, in the order of their time, through the metered
// detectors. They are moved so that t0 is the midnight before it, of a Monday.
func meters(tb testing.TB, siteFile string, events ...event.Event) *detecttest.Player {
	tb.Helper()
	events = slices.Clone(events)
	for i := range events {
		events[i].Time -= t0 % day
		events[i].Start -= t0 % day
	}
	slices.SortStableFunc(events, func(a, b event.Event) int { return cmp.Compare(a.Time, b.Time) })
	st := parse(tb, siteFile)
	var parts []detecttest.Recording
	byType := map[string][]event.Event{}
	var types []string
	for _, e := range events {
		if byType[e.Observer.Type] == nil {
			types = append(types, e.Observer.Type)
		}
		byType[e.Observer.Type] = append(byType[e.Observer.Type], e)
	}
	for _, t := range types {
		parts = append(parts, detecttest.Events(tb, st, "s1", byType[t]))
	}
	return detecttest.NewPlayer(tb, []byte(siteFile), volume.NewMetered()...).Play(detecttest.Merge(parts...))
}

// stands are the findings of all metered detectors that stand, with their
// points, "!" for those that alert and "~" for those in shadow.
func stands(p *detecttest.Player) (out []string) {
	for _, s := range p.Context.Final() {
		if s.Score < s.Floor || s.Detector == volume.DistributedUpload {
			continue // shares have tests of their own
		}
		flag := ""
		switch {
		case s.Mode == signal.ModeShadow:
			flag = "~"
		case s.Alert:
			flag = "!"
		}
		out = append(out, s.Detector+flag+" "+s.Subject+" "+points(&s))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func expect(tb testing.TB, p *detecttest.Player, want ...string) {
	tb.Helper()
	for i := range want {
		want[i] = strings.TrimSpace(want[i])
	}
	got := stands(p)
	for i := range got {
		got[i] = strings.Join(strings.Fields(got[i]), " ")
	}
	if d := gocmp.Diff(want, got); d != "" {
		tb.Errorf("findings (-want +got):\n%s", d)
	}
}

// both makes downloads as large as uploads: no other rule looks at them.
func both(id string, at int64, sent uint64, o ...option) event.Event {
	return conn(id, at, sent, 2*sent, o...)
}

// habit is what a source does every day for some days: office hours to a
// destination that everybody uses.
func habit(days int, sent uint64) (out []event.Event) {
	for h := range int64(days * 24) {
		n := sent / 100
		if d := h % 24; d >= 8 && d < 18 {
			n = sent
		}
		out = append(out, conn(fmt.Sprint("h", h), h*hour+20*minute, n, 5*n, to("198.51.100.7"), port(8443)))
	}
	return out
}

// office is a Monday at 10 in the third week.
const office = 14*day + 10*hour

// alone switches off the rules about destinations.
const alone = "detectors:\n  slow-upload: {mode: off}\n  sustained-upload: {mode: off}\n  new-destination-upload: {mode: off}\n"

func TestVolumeAnomaly(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		extra []event.Event
		site  string
		want  []string
	}{
		"as always":  {nil, "", nil},
		"a good day": {[]event.Event{both("x", office+30*minute, 60e6, to("198.51.100.7"))}, "", nil},
		"six times as much": {
			[]event.Event{both("x", office+30*minute, 320e6, to("198.51.100.7"))},
			"",
			[]string{"volume-anomaly! above_own_p95 deviations_above_median"},
		},
		"near": {
			[]event.Event{both("x", office+30*minute, 130e6, to("198.51.100.7"))},
			"",
			[]string{"volume-anomaly near_the_limit"},
		},
		"at night the floor holds": {
			[]event.Event{both("x", office+16*hour, 120e6, to("198.51.100.7"))},
			"",
			[]string{"volume-anomaly! above_own_p95 deviations_above_median"},
		},
		"in many pieces": {
			pieces(300, office+5*minute, 4*second, 1e6), "",
			[]string{"volume-anomaly! above_own_p95 deviations_above_median"},
		},
		"cut by the clock": {
			slices.Concat(pieces(100, office+50*minute, 5*second, 2e6), pieces(100, office+61*minute, 5*second, 2e6)), "",
			[]string{"volume-anomaly near_the_limit", "volume-anomaly! above_own_p95 deviations_above_median"},
		},
		"to an own domain": {
			[]event.Event{hello("x", office+29*minute, "files.corp.example", to("198.51.100.7")), both("x", office+30*minute, 900e6, to("198.51.100.7"))},
			"own_domains: [corp.example]\n", nil,
		},
		"a backup source": {[]event.Event{both("x", office+30*minute, 900e6, to("198.51.100.7"))}, "backup_sources: [10.0.0.5]\n", nil},
		"an aggregator":   {[]event.Event{both("x", office+30*minute, 900e6, to("198.51.100.7"))}, "aggregators: [10.0.0.5]\n", nil},
		"tuned": {
			[]event.Event{both("x", office+30*minute, 320e6, to("198.51.100.7"))},
			"  volume-anomaly: {overrides: [{match: 10.0.0.0/24, thresholds: {factor: 20}}]}\n", nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, meters(t, alone+tc.site, append(habit(15, 50e6), tc.extra...)...), tc.want...)
		})
	}
}

func pieces(n int, at, every int64, sent uint64) (out []event.Event) {
	for i := range int64(n) {
		out = append(out, both(fmt.Sprint("p", at, i), at+i*every, sent, to("198.51.100.7")))
	}
	return out
}

func TestVolumeFixed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		events []event.Event
		want   []string
	}{
		"more than a gigabyte": {pieces(12, 5*minute, minute, 100e6), []string{"volume-fixed! above_fixed_limit"}},
		"less":                 {pieces(9, 5*minute, minute, 100e6), []string{"volume-fixed near_the_limit"}},
		"in two hours":         {pieces(12, 5*minute, 12*minute, 90e6), nil},
		"cut by the clock":     {pieces(12, 55*minute, minute, 100e6), []string{"volume-fixed near_the_limit", "volume-fixed! above_fixed_limit"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Everybody uses the destination: the other rules are silent.
			expect(t, meters(t, alone, tc.events...), tc.want...)
		})
	}
}

// TestSeenTwice: what Zeek, flow logs and two interfaces show is one transfer.
func TestSeenTwice(t *testing.T) {
	t.Parallel()
	var events []event.Event
	for i := range int64(6) {
		events = append(events, both(fmt.Sprint(i), i*minute+minute, 120e6))
		for _, eni := range []string{"eni-1", "eni-nat"} {
			events = append(events, flow(i*minute+2*minute, 125e6, func(e *event.Event) { e.Flow.Interface = eni }), flow(i*minute+2*minute, 250e6, back, func(e *event.Event) { e.Flow.Interface = eni }))
		}
	}
	expect(t, meters(t, alone, events...), "volume-fixed near_the_limit")
}

// TestSnapshotsOfOpenConnections are cumulative: each counts for what came
// since the one before.
func TestSnapshotsOfOpenConnections(t *testing.T) {
	t.Parallel()
	var events []event.Event
	for i := range int64(20) {
		events = append(events, both("c", i*minute+minute, uint64(i+1)*30e6, lasted(i*minute+second), open))
	}
	events = append(events, both("c", 21*minute, 610e6, lasted(21*minute)))
	p := meters(t, alone, events...)
	expect(t, p, "volume-fixed near_the_limit")
	for _, s := range p.Context.Final() {
		if *s.Bytes != 610e6 {
			t.Errorf("%d bytes", *s.Bytes)
		}
	}
}

// TestGroupOfNewcomers: a source without a history is compared with others of
// its subnet, or of its role.
func TestGroupOfNewcomers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ addr, site, want string }{
		"same subnet":  {"10.0.0.99", "", "volume-anomaly! above_group_p95 deviations_above_median"},
		"other subnet": {"10.0.7.99", "", ""},
		"same role":    {"10.0.7.99", "roles: {web: [10.0.0.0/24, 10.0.7.0/24]}\n", "volume-anomaly! above_group_p95 deviations_above_median"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var events []event.Event
			for i := range 5 {
				for _, e := range habit(22, 30e6) {
					e.Source.IP = netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + i)})
					e.ID += fmt.Sprint("-", i)
					events = append(events, e)
				}
			}
			events = append(events, both("x", 21*day+10*hour, 400e6, from(tc.addr), to("198.51.100.7")))
			var want []string
			if tc.want != "" {
				want = append(want, tc.want)
			}
			expect(t, meters(t, alone+tc.site, events...), want...)
		})
	}
}

func TestSustainedUpload(t *testing.T) {
	t.Parallel()
	off := "detectors: {slow-upload: {mode: off}, new-destination-upload: {mode: off}, volume-fixed: {mode: off}}\n"
	flows := func(n int, bytes uint64) (out []event.Event) {
		for i := range int64(n) {
			out = append(out, flow(minute+i*minute, bytes, lasted(59*second)), flow(minute+i*minute, 2*bytes, back, lasted(59*second)))
		}
		return out
	}
	for name, tc := range map[string]struct {
		events []event.Event
		found  bool
	}{
		"one connection":       {[]event.Event{both("x", 10*minute, 500e6, lasted(400*second))}, true},
		"too short":            {[]event.Event{both("x", 10*minute, 500e6, lasted(150*second))}, false},
		"too slow":             {[]event.Event{both("x", 30*minute, 900e6, lasted(1200*second))}, false},
		"stitched flows":       {flows(7, 80e6), true},
		"stitched, too few":    {flows(3, 80e6), false},
		"with a pause":         {append(flows(3, 80e6), flow(9*minute, 80e6, lasted(59*second)), flow(10*minute, 80e6, lasted(59*second))), false},
		"small connections":    {pieces(300, minute, 2*second, 3e6), true},
		"to two destinations":  {twoWays(300), false},
		"an hour, open so far": {snapshots(30, 100e6), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := slices.ContainsFunc(stands(meters(t, off, tc.events...)), func(s string) bool { return strings.HasPrefix(s, "sustained-upload! ") })
			if got != tc.found {
				t.Errorf("found: %v", got)
			}
		})
	}
}

func twoWays(n int) []event.Event {
	out := pieces(n, minute, 2*second, 16e5)
	for i := range out {
		if i%2 == 1 {
			out[i].Destination.IP = netip.MustParseAddr("192.0.2.80")
		}
	}
	return out
}

func snapshots(n int64, each uint64) (out []event.Event) {
	for i := range n {
		out = append(out, both("c", i*minute+minute, uint64(i+1)*each, lasted(i*minute+second), open))
	}
	return out
}

// veteran makes the site known for long: another source uses it.
func veteran() []event.Event {
	return []event.Event{both("v", -9*day, 100, from("10.0.0.77"), to("192.0.2.77")), answer(-9*day, "v.example.com", "192.0.2.77")}
}

func TestSlowUpload(t *testing.T) {
	t.Parallel()
	hours := func(n int, sent, got uint64) (out []event.Event) {
		for i := range int64(n) {
			out = append(out, conn(fmt.Sprint(i), i*hour+7*minute, sent, got))
		}
		return append(out, veteran()...)
	}
	off := "detectors: {new-destination-upload: {mode: off}}\n"
	for name, tc := range map[string]struct {
		events []event.Event
		want   []string
	}{
		"5 MB an hour":           {hours(24, 5e6, 1e4), []string{"slow-upload! 203.0.113.9 bytes_in_24h sent_to_received"}},
		"3 MB an hour":           {hours(24, 3e6, 1e4), nil},
		"3.5 MB an hour, a week": {hours(160, 35e5, 1e4), []string{"slow-upload! 203.0.113.9 bytes_in_7d sent_to_received"}},
		"as much came back":      {hours(24, 5e6, 5e6), []string{"slow-upload 203.0.113.9 bytes_in_24h"}},
		"a week of a little":     {hours(160, 1e5, 1e5), nil},
		"a pair that changes its habit": {
			append(hours(7*24, 1e5, 1e5), conn("x", 7*day+hour, 40e6, 40e6)), []string{"slow-upload 203.0.113.9 above_pairs_own_p95"},
		},
		"still open": {append(openHours(24, 5e6), veteran()...), []string{"slow-upload! 203.0.113.9 bytes_in_24h sent_to_received"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, meters(t, off, tc.events...), tc.want...)
		})
	}
	t.Run("the site is new", func(t *testing.T) {
		t.Parallel()
		events := hours(20, 6e6, 1e4)
		expect(t, meters(t, off, events[:20]...), "slow-upload~ 203.0.113.9 bytes_in_24h sent_to_received")
	})
}

func openHours(n int64, each uint64) (out []event.Event) {
	for i := range n {
		out = append(out, conn("c", i*hour+minute, uint64(i+1)*each, 1000, lasted(i*hour+second), open))
	}
	return out
}

func TestNewDestination(t *testing.T) {
	t.Parallel()
	upload := both("x", hour, 30e6)
	others := func(n int, at int64) (out []event.Event) {
		for i := range n {
			out = append(out, both(fmt.Sprint("o", i), at, 100, from(fmt.Sprintf("10.0.1.%d", i+1))))
		}
		return out
	}
	rare := func(e *event.Event) { e.TLS.JA4 = "t13d0000_aaaa_bbbb" }
	for name, tc := range map[string]struct {
		events []event.Event
		want   []string
	}{
		"new":                 {append(veteran(), upload), []string{"new-destination-upload! 203.0.113.9 new_destination_bytes no_name"}},
		"no names are seen":   {append(veteran()[:1], upload), []string{"new-destination-upload! 203.0.113.9 new_destination_bytes"}},
		"the site is new too": {[]event.Event{answer(0, "v.example.com", "192.0.2.77"), upload}, []string{"new-destination-upload! 203.0.113.9 new_destination_bytes no_name"}},
		"the site is new, the destination has a name": {
			[]event.Event{hello("x", hour-second, "a.example.com"), upload}, []string{"new-destination-upload example.com new_destination_bytes"},
		},
		"others use it":  {append(append(veteran(), upload), others(3, minute)...), nil},
		"it is old":      {append(append(veteran(), upload), both("o", -8*day, 100)), nil},
		"too little":     {append(veteran(), both("x", hour, 20e6)), nil},
		"a rare program": {append(veteran(), hello("x", hour-second, "a.example.com", rare), upload), []string{"new-destination-upload! example.com new_destination_bytes"}},
		"a rare program again": {
			append(veteran(), upload, hello("x1", hour+minute, "b.example.net", rare, to("192.0.2.1")), both("x1", hour+2*minute, 30e6, to("192.0.2.1"))),
			[]string{
				"new-destination-upload! 203.0.113.9 new_destination_bytes no_name",
				"new-destination-upload! example.net new_destination_bytes rare_client_fingerprint",
			},
		},
		"one-sided": {append(veteran(), conn("x", hour, 30e6, 1e5)), []string{"new-destination-upload! 203.0.113.9 new_destination_bytes sent_to_received no_name"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, meters(t, "", tc.events...), tc.want...)
		})
	}
}

func TestNoDNS(t *testing.T) {
	t.Parallel()
	begin := []event.Event{both("w", 0, 20e3, to("192.0.2.1")), answer(minute, "www.example.com", "192.0.2.1")}
	upload := both("x", 10*minute, 12e6)
	none := "detectors: {new-destination-upload: {mode: off}}\n"
	for name, tc := range map[string]struct {
		events []event.Event
		want   []string
	}{
		"nobody asked":         {append([]event.Event{upload}, begin...), []string{"no-dns-upload! 203.0.113.9 address_nobody_looked_up"}},
		"it asked":             {append([]event.Event{upload, answer(5*minute, "x.example.net", "203.0.113.9")}, begin...), nil},
		"another asked":        {append([]event.Event{upload, with(answer(5*minute, "x.example.net", "203.0.113.9"), []option{from("10.0.0.44")})}, begin...), nil},
		"a name is no answer":  {append([]event.Event{hello("x", 9*minute, "cdn.example.org"), upload}, begin...), []string{"no-dns-upload! example.org address_nobody_looked_up"}},
		"questions unseen":     {[]event.Event{upload, both("w", 0, 20e3, to("192.0.2.1"))}, nil},
		"asked three days ago": {append([]event.Event{upload, answer(-3*day, "x.example.net", "203.0.113.9")}, begin...), []string{"no-dns-upload! 203.0.113.9 address_nobody_looked_up"}},
		"too little":           {append([]event.Event{both("x", 10*minute, 9e6)}, begin...), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, meters(t, none, tc.events...), tc.want...)
		})
	}
}

// TestNoDNSWaits: a sensor that tells of transfers before it tells of the
// questions that led to them raises nothing, not even in passing; where nobody
// asked it is told once the questions are complete, not when the hour is over.
func TestNoDNSWaits(t *testing.T) {
	t.Parallel()
	for name, asked := range map[string]bool{"it asked": true, "nobody asked": false} {
		for order, pick := range map[string]func(n int) int{
			"transfers first": func(int) int { return 0 },
			"questions first": func(n int) int { return n - 1 },
		} {
			t.Run(name+", "+order, func(t *testing.T) {
				t.Parallel()
				events := []event.Event{both("w", 0, 20e3, to("192.0.2.1")), answer(minute, "www.example.com", "192.0.2.1")}
				if asked {
					events = append(events, answer(5*minute, "x.example.net", "203.0.113.9"))
				}
				events = append(events, both("x", 6*minute, 12e6))
				for i := range int64(120) {
					at := 6*minute + i*10*second
					events = append(events, both(fmt.Sprint("w", i), at, 20e3, to("192.0.2.1")), answer(at, "www.example.com", "192.0.2.1"))
				}
				p := detecttest.NewPlayer(t, []byte("detectors: {new-destination-upload: {mode: off}}\n"), volume.NewMetered()...)
				p.Interleave(detecttest.Events(t, parse(t, ""), "s1", events), 4*minute, pick)
				var said []signal.Signal
				for _, s := range p.Context.Signals {
					if s.Detector == "no-dns-upload" {
						said = append(said, s)
					}
				}
				switch {
				case asked && len(said) > 0:
					t.Errorf("%d signals, the first: %s", len(said), said[0].Reason)
				case !asked && (len(said) != 1 || said[0].Score != 4 || said[0].Complete > t0+20*minute):
					t.Errorf("want one signal before the hour is over: %+v", said)
				}
			})
		}
	}
}

func TestSanctionedAbuse(t *testing.T) {
	t.Parallel()
	declared := "sanctioned_destinations: [{value: 203.0.113.9/32, sources: [10.0.0.5], daily_bytes: %d}]\ndetectors: {new-destination-upload: {mode: off}, volume-fixed: {mode: off}, volume-anomaly: {mode: off}}\n"
	hourly := func(hours int64, each uint64) (out []event.Event) {
		for h := range hours {
			out = append(out, both(fmt.Sprint("b", h), h*hour, each))
		}
		return out
	}
	backups := hourly(16*24, 80e6)
	for name, tc := range map[string]struct {
		cap    int
		events []event.Event
		want   []string
	}{
		"as declared":                         {0, backups, nil},
		"undeclared source":                   {0, []event.Event{both("x", minute, 12e6, from("10.0.0.6"))}, []string{"sanctioned-abuse! 203.0.113.9 undeclared_source"}},
		"undeclared, a little":                {0, []event.Event{both("x", minute, 5e6, from("10.0.0.6"))}, nil},
		"four times as much":                  {0, append(slices.Clone(backups), both("x", 15*day+30*minute, 260e6)), []string{"sanctioned-abuse! sanctioned destinations above_own_p95"}},
		"above its cap":                       {1e9, backups[:14], []string{"sanctioned-abuse! 203.0.113.9 above_daily_cap"}},
		"below its cap":                       {2e9, backups[:14], nil},
		"26 hours, 24 of them within the cap": {1e9, hourly(26, 40e6), nil},
		"26 hours, 24 of them above the cap":  {1e9, hourly(26, 45e6), []string{"sanctioned-abuse! 203.0.113.9 above_daily_cap"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, meters(t, fmt.Sprintf(declared, tc.cap), tc.events...), tc.want...)
		})
	}
}

func TestForeignTenant(t *testing.T) {
	t.Parallel()
	off := "detectors: {new-destination-upload: {mode: off}}\n"
	own := "own_tenants: [our-bucket, ouraccount, ours, files.example.storage.googleapis.com]\n" + off
	for name, tc := range map[string]struct {
		host, site, want string
	}{
		"foreign s3":        {"their-bucket.s3.amazonaws.com", own, "foreign-tenant! their-bucket.s3.amazonaws.com tenant_not_ours"},
		"foreign, region":   {"their.bucket.s3.eu-west-1.amazonaws.com", own, "foreign-tenant! their.bucket.s3.eu-west-1.amazonaws.com tenant_not_ours"},
		"own s3":            {"our-bucket.s3.eu-west-1.amazonaws.com", own, ""},
		"path style":        {"s3.eu-west-1.amazonaws.com", own, ""},
		"nothing declared":  {"their-bucket.s3.amazonaws.com", off, ""},
		"foreign azure":     {"theiraccount.blob.core.windows.net", own, "foreign-tenant! theiraccount.blob.core.windows.net tenant_not_ours"},
		"own azure":         {"ouraccount.blob.core.windows.net", own, ""},
		"own personal site": {"ours-my.sharepoint.com", own, ""},
		"their site":        {"theirs-my.sharepoint.com", own, "foreign-tenant! theirs-my.sharepoint.com tenant_not_ours"},
		"own by host":       {"files.example.storage.googleapis.com", own, ""},
		"foreign b2":        {"loot.s3.us-west-004.backblazeb2.com", own, "foreign-tenant! loot.s3.us-west-004.backblazeb2.com tenant_not_ours"},
		"no tenant":         {"www.example.com", own, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var want []string
			if tc.want != "" {
				want = append(want, tc.want)
			}
			expect(t, meters(t, tc.site, hello("x", minute, tc.host), both("x", 2*minute, 6e6)), want...)
		})
	}
}

func TestMailUpload(t *testing.T) {
	t.Parallel()
	off := "detectors: {new-destination-upload: {mode: off}}\n"
	many := func(n int, size uint64) (out []event.Event) {
		for i := range n {
			out = append(out, conn(fmt.Sprint(i), int64(i)*minute+minute, size, 1000, to(fmt.Sprintf("198.51.100.%d", i+1)), port(25)))
		}
		return out
	}
	for name, tc := range map[string]struct {
		site   string
		events []event.Event
		want   []string
	}{
		"one large mail":     {off, []event.Event{conn("x", minute, 12e6, 1000, port(587))}, []string{"mail-upload! mail mail_past_the_relay"}},
		"to many servers":    {off, many(12, 1e6), []string{"mail-upload! mail mail_past_the_relay"}},
		"small mails":        {off, many(12, 1e5), nil},
		"a relay":            {off + "mail_relays: [10.0.0.5]\n", []event.Event{conn("x", minute, 90e6, 1000, port(25))}, nil},
		"a file drop":        {off, []event.Event{hello("x", minute, "transfer.sh"), both("x", 2*minute, 12e6)}, []string{"mail-upload! transfer.sh file_drop_service"}},
		"webmail":            {off, []event.Event{hello("x", minute, "mail.google.com"), both("x", 2*minute, 12e6)}, []string{"mail-upload mail.google.com webmail_service"}},
		"webmail, one-sided": {off, []event.Event{hello("x", minute, "mail.google.com"), conn("x", 2*minute, 12e6, 1e5)}, []string{"mail-upload! mail.google.com webmail_service sent_to_received"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, meters(t, tc.site, tc.events...), tc.want...)
		})
	}
}
