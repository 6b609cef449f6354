package volume_test

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	godiff "github.com/google/go-cmp/cmp"
)

// many are n connections, every apart, with ids of their own.
func many(n int, every int64, sent, got uint64, o ...option) (out []event.Event) {
	for i := range n {
		out = append(out, conn(fmt.Sprintf("C%d", i), int64(i)*every, sent, got, o...))
	}
	return out
}

func TestUploadRatio(t *testing.T) {
	t.Parallel()
	const declared = `
own_domains: [corp.example]
backup_sources: [10.0.0.7]
mail_relays: [10.0.0.8]
aggregators: [10.0.0.9]
sanctioned_destinations:
  - {value: vault.example, sources: [10.0.0.5]}
  - {value: capped.example, daily_bytes: 15000000}
  - {value: elsewhere.example, sources: [10.0.0.77]}
  - 198.51.100.0/24
`
	for name, tc := range map[string]struct {
		events []event.Event
		want   string // subject and points of each signal that stands
	}{
		"required: one connection of 10 MB at 20:1":       {[]event.Event{conn("C", 0, 10*mb, mb/2)}, "203.0.113.9:443 ratio_and_10mb ratio_and_8mb"},
		"one byte less, and the ratio of 19":              {[]event.Event{conn("C", 0, 10*mb-1, mb/2+1)}, "203.0.113.9:443 ratio_and_8mb"},
		"8 MB at 10:1":                                    {[]event.Event{conn("C", 0, 8*mb, 8*mb/10)}, "203.0.113.9:443 ratio_and_8mb"},
		"8 MB at 9:1":                                     {[]event.Event{conn("C", 0, 8*mb, 8*mb/9)}, ""},
		"3 MB at once is nothing":                         {[]event.Event{conn("C", 0, 3*mb, 5000)}, ""},
		"4 MB at once is weak":                            {[]event.Event{conn("C", 0, 4*mb, 5000)}, "203.0.113.9:443 near_the_limits"},
		"1 MB over 60 s":                                  {[]event.Event{conn("C", 0, mb, 5000, lasted(60*second))}, "203.0.113.9:443 ratio_and_1mb_in_60s"},
		"1 MB over 59 s":                                  {[]event.Event{conn("C", 0, mb, 5000, lasted(59*second))}, ""},
		"over five minutes":                               {[]event.Event{conn("C", 0, 12*mb, 5000, lasted(301*second))}, "203.0.113.9:443 ratio_and_10mb ratio_and_8mb ratio_and_1mb_in_60s longer_than_5min"},
		"twelve of 1 MB":                                  {many(12, minute, mb, 5000), "203.0.113.9:443 ratio_and_10mb ratio_and_8mb ratio_and_1mb_in_60s"},
		"a chunk every ten seconds":                       {many(120, 10*second, 10_000, 300), "203.0.113.9:443 ratio_and_1mb_in_60s longer_than_5min"},
		"two uploads half an hour apart are not a stream": {many(2, 30*minute, 3*mb-mb/2, 5000), "203.0.113.9:443 near_the_limits"},
		"twelve in twelve hours":                          {many(12, hour, mb, 5000), ""},
		"twelve to twelve ports": {
			func() (out []event.Event) {
				for i, e := range many(12, second, mb, 5000) {
					out = append(out, with(e, []option{port(1000 + i)}))
				}
				return out
			}(), "",
		},
		"padded afterwards, in a later pane": {
			append(many(12, second, mb, 5000), conn("D", 20*minute, 5000, 50*mb)), "203.0.113.9:443 ratio_and_10mb ratio_and_8mb",
		},
		"padded before":              {append([]event.Event{conn("D", 0, 5000, 50*mb)}, many(12, second, mb, 5000)...), ""},
		"one upload among downloads": {[]event.Event{conn("D", 0, 5000, 90*mb), conn("C", minute, 20*mb, 5000)}, "203.0.113.9:443 ratio_and_10mb"},
		"a download":                 {[]event.Event{conn("C", 0, 20000, 50*mb)}, ""},
		"UDP that nobody answers":    {[]event.Event{conn("C", 0, 20*mb, 0, func(e *event.Event) { e.Network.Transport, e.Conn.State = "udp", "S0" })}, "203.0.113.9:443 ratio_and_10mb ratio_and_8mb"},
		"a refused connection":       {[]event.Event{conn("C", 0, 20*mb, 0, func(e *event.Event) { e.Conn.State = "REJ" })}, ""},
		"internal":                   {[]event.Event{conn("C", 0, 20*mb, 0, to("10.0.0.6"))}, ""},
		"carrier-grade is inside":    {[]event.Event{conn("C", 0, 20*mb, 0, to("100.64.1.1"))}, ""},
		"172.32 is outside":          {[]event.Event{conn("C", 0, 20*mb, 0, to("172.32.0.1"))}, "172.32.0.1:443 ratio_and_10mb ratio_and_8mb"},
		"IPv6":                       {[]event.Event{conn("C", 0, 20*mb, 0, from("fd00::5"), to("2001:db8::9"))}, "[2001:db8::9]:443 ratio_and_10mb ratio_and_8mb"},
		"mapped IPv4":                {[]event.Event{conn("C", 0, 20*mb, 0, from("::ffff:10.0.0.5"), to("::ffff:203.0.113.9"))}, "203.0.113.9:443 ratio_and_10mb ratio_and_8mb"},
		"ICMP has its own detector":  {[]event.Event{conn("C", 0, 20*mb, 0, func(e *event.Event) { e.Network.Transport = "icmp" })}, ""},
		"answers of our web server":  {[]event.Event{conn("C", 0, 20*mb, 5000, func(e *event.Event) { e.Source.Port, e.Destination.Port = event.N(443), event.N(40000) }, swapped)}, ""},
		"fetched from an unusual port": {
			[]event.Event{conn("C", 0, 20*mb, 5000, func(e *event.Event) { e.Source.Port = event.N(4444) }, swapped)},
			"203.0.113.9:4444 ratio_and_10mb ratio_and_8mb",
		},
		"an absurd sequence number": {
			[]event.Event{conn("C", 0, 4_000*mb, 5000, func(e *event.Event) { e.Source.IPBytes, e.Source.Packets = event.N(3000), event.N(20) })}, "",
		},
		"absurd, but large by its packets": {
			[]event.Event{conn("C", 0, 4_000_000*mb, 5000, func(e *event.Event) { e.Source.IPBytes, e.Source.Packets = event.N(21*mb), event.N(15000) })},
			"203.0.113.9:443 ratio_and_10mb ratio_and_8mb",
		},
		"absent payload": {
			[]event.Event{conn("C", 0, 0, 5000, func(e *event.Event) { e.Source.Bytes, e.Source.IPBytes = event.Count{}, event.N(21*mb) })},
			"203.0.113.9:443 ratio_and_10mb ratio_and_8mb",
		},
		"a lossy sensor": {
			[]event.Event{conn("C", 0, 20*mb, 5000, func(e *event.Event) {
				e.Source.IPBytes, e.Conn.MissedBytes = event.N(mb), event.N(19*mb)
			})},
			"203.0.113.9:443 ratio_and_10mb ratio_and_8mb",
		},
		"own domain":                                   {[]event.Event{hello("C", 0, "files.corp.example"), conn("C", second, 20*mb, 0)}, ""},
		"backup source":                                {[]event.Event{conn("C", 0, 20*mb, 0, from("10.0.0.7"))}, ""},
		"sanctioned":                                   {[]event.Event{hello("C", 0, "eu.vault.example"), conn("C", second, 20*mb, 0)}, ""},
		"sanctioned by network":                        {[]event.Event{conn("C", 0, 20*mb, 0, to("198.51.100.4"))}, ""},
		"sanctioned for another":                       {[]event.Event{hello("C", 0, "x.elsewhere.example"), conn("C", second, 20*mb, 0)}, "elsewhere.example:443 ratio_and_10mb ratio_and_8mb"},
		"sanctioned, within its cap":                   {[]event.Event{hello("C", 0, "a.capped.example"), conn("C", second, 14*mb, 0)}, ""},
		"sanctioned, beyond its cap":                   {[]event.Event{hello("C", 0, "a.capped.example"), conn("C", second, 16*mb, 0)}, "capped.example:443 ratio_and_10mb ratio_and_8mb"},
		"a name that only looks the same":              {[]event.Event{hello("C", 0, "evilvault.example"), conn("C", second, 20*mb, 0)}, "evilvault.example:443 ratio_and_10mb ratio_and_8mb"},
		"mail of a relay":                              {[]event.Event{conn("C", 0, 20*mb, 200, from("10.0.0.8"), port(25))}, ""},
		"a relay that does not send mail":              {[]event.Event{conn("C", 0, 20*mb, 200, from("10.0.0.8"))}, "203.0.113.9:443 ratio_and_10mb ratio_and_8mb"},
		"mail of another":                              {[]event.Event{conn("C", 0, 20*mb, 200, port(25))}, "203.0.113.9:25 ratio_and_10mb ratio_and_8mb"},
		"behind an aggregator, small ones are of many": {many(12, second, mb, 5000, from("10.0.0.9")), ""},
		"behind an aggregator, one connection":         {[]event.Event{conn("C", 0, 20*mb, 5000, from("10.0.0.9"))}, "203.0.113.9:443 ratio_and_10mb"},
		"names by connection: two on one address": {
			[]event.Event{
				hello("A", 0, "a.good.example"), hello("B", 0, "b.evil.example"),
				conn("A", second, 9*mb, 9*mb), conn("B", second, 9*mb, 0),
			},
			"evil.example:443 ratio_and_8mb",
		},
		"names by connection: the sanctioned one does not cover the other": {
			[]event.Event{hello("A", 0, "vault.example"), hello("B", second, "evil.example"), hello("D", 2*second, "vault.example"), conn("B", minute, 9*mb, 0)},
			"evil.example:443 ratio_and_8mb",
		},
		"one name on many addresses": {
			func() (out []event.Event) {
				for i, e := range many(12, second, mb, 5000) {
					e.Destination.IP = netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
					h := hello(e.ID, int64(i)*second, fmt.Sprintf("n%d.cdn.example", i))
					h.Destination.IP = e.Destination.IP
					out = append(out, h, e)
				}
				return out
			}(), "cdn.example:443 ratio_and_10mb ratio_and_8mb",
		},
		"a name from DNS":               {[]event.Event{answer(0, "drop.evil.example", "203.0.113.9", "203.0.113.8"), conn("C", second, 9*mb, 0)}, "evil.example:443 ratio_and_8mb"},
		"a name from DNS, later":        {[]event.Event{conn("C", second, 9*mb, 0), answer(0, "drop.evil.example", "203.0.113.9")}, "evil.example:443 ratio_and_8mb"},
		"the hello comes later":         {[]event.Event{conn("C", second, 9*mb, 0), hello("C", 0, "drop.evil.example")}, "evil.example:443 ratio_and_8mb"},
		"sanctioned, the hello is late": {[]event.Event{conn("C", second, 20*mb, 0), hello("C", 0, "vault.example")}, ""},
		"the name on the connection":    {[]event.Event{conn("C", 0, 9*mb, 0, func(e *event.Event) { e.Destination.Domain = "x.evil.example" })}, "evil.example:443 ratio_and_8mb"},
		"an address is no name":         {[]event.Event{hello("C", 0, "203.0.113.9"), conn("C", second, 9*mb, 0)}, "203.0.113.9:443 ratio_and_8mb"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := play(t, declared, tc.events...)
			if d := godiff.Diff(tc.want, found(p, "upload-ratio")); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestSnapshotsAreNotSummed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		events []event.Event
		bytes  uint64
		want   string
	}{
		"a small connection in twelve snapshots": {
			func() (out []event.Event) {
				for i := range 12 {
					out = append(out, conn("C", int64(i)*minute, mb, mb, open, lasted(int64(i)*minute)))
				}
				return append(out, conn("C", 13*minute, mb, mb, lasted(13*minute)))
			}(), mb, "203.0.113.9 rare_destination",
		},
		"growing": {
			[]event.Event{
				conn("C", minute, 2*mb, mb, open, lasted(minute)), conn("C", 2*minute, 5*mb, 3*mb, open, lasted(2*minute)),
				conn("C", 3*minute, 12*mb, 9*mb, lasted(3*minute)),
			}, 12 * mb, "203.0.113.9 bytes rare_destination",
		},
		"the end comes before a snapshot": {
			[]event.Event{conn("C", 3*minute, 12*mb, 9*mb, lasted(3*minute)), conn("C", 2*minute, 5*mb, 3*mb, open, lasted(2*minute))},
			12 * mb, "203.0.113.9 bytes rare_destination",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := play(t, "", tc.events...)
			if d := godiff.Diff(tc.want, found(p, "external-transfer")); d != "" {
				t.Error(d)
			}
			for _, s := range of(p, "external-transfer") {
				if *s.Bytes != tc.bytes {
					t.Errorf("%d bytes, want %d", *s.Bytes, tc.bytes)
				}
			}
		})
	}
}

// TestLongConnection holds that an hour gets what was sent in it, of a
// connection that goes on for three.
func TestLongConnection(t *testing.T) {
	t.Parallel()
	var events []event.Event
	for i := range 180 {
		at := int64(i) * minute
		events = append(events, conn("C", at, uint64(i)*mb/4, 1000, open, lasted(at)))
	}
	events = append(events, conn("C", 3*hour, 45*mb, 1000, lasted(3*hour)))
	p := play(t, "", events...)
	var got []string
	for _, s := range of(p, "external-transfer") {
		got = append(got, fmt.Sprintf("%d %.2f %s", (s.Start-t0)/minute, float64(*s.Bytes)/1e6, points(&s)))
	}
	// 59, 60, 60 and the last quarter of a megabyte.
	want := []string{"0 14.75 bytes rare_destination", "60 15.00 bytes", "120 15.00 bytes"}
	if d := godiff.Diff(want, got); d != "" {
		t.Error(d)
	}
	// An upload is told while it goes on: at 1 MB, not three hours later.
	for _, s := range p.Context.Signals {
		if s.Detector == "upload-ratio" && s.Alert {
			if s.Time > t0+5*minute {
				t.Errorf("first alert at minute %d", (s.Time-t0)/minute)
			}
			return
		}
	}
	t.Error("no alert")
}

func TestFlowRecords(t *testing.T) {
	t.Parallel()
	rejected := func(e *event.Event) { e.Flow.Action = "reject" }
	iface := func(name string) option { return func(e *event.Event) { e.Flow.Interface = name } }
	ports := func(src, dst int) option {
		return func(e *event.Event) { e.Source.Port, e.Destination.Port = event.N(src), event.N(dst) }
	}
	for name, tc := range map[string]struct {
		events        []event.Event
		ratio, extern string
	}{
		"both directions": {
			[]event.Event{flow(0, 12*mb), flow(0, 100_000, back)},
			"203.0.113.9:443 ratio_and_10mb ratio_and_8mb", "203.0.113.9 bytes rare_destination",
		},
		"what came back first": {
			[]event.Event{flow(0, 100_000, back), flow(0, 12*mb)},
			"203.0.113.9:443 ratio_and_10mb ratio_and_8mb", "203.0.113.9 bytes rare_destination",
		},
		"a download is no upload while its record is missing": {
			[]event.Event{flow(0, 12*mb), flow(0, 600*mb, back)}, "", "203.0.113.9 bytes rare_destination",
		},
		"many windows of a flow": {
			func() (out []event.Event) {
				for i := range 20 {
					out = append(out, flow(int64(i)*minute, mb), flow(int64(i)*minute, 20_000, back))
				}
				return out
			}(),
			"203.0.113.9:443 ratio_and_10mb ratio_and_8mb ratio_and_1mb_in_60s longer_than_5min", "203.0.113.9 bytes rare_destination",
		},
		"rejected":                    {[]event.Event{flow(0, 12*mb, rejected)}, "", ""},
		"no direction is ever seen":   {[]event.Event{flow(0, 12*mb)}, "203.0.113.9:443 ratio_and_10mb ratio_and_8mb", "203.0.113.9 bytes rare_destination"},
		"an answer of our web server": {[]event.Event{flow(0, 12*mb, ports(443, 50123)), flow(0, 100_000, ports(443, 50123), back)}, "", ""},
		"an answer from 8080":         {[]event.Event{flow(0, 12*mb, ports(8080, 50123))}, "", ""},
		"to an unusual port":          {[]event.Event{flow(0, 12*mb, ports(50000, 4444)), flow(0, 1000, ports(50000, 4444), back)}, "203.0.113.9:4444 ratio_and_10mb ratio_and_8mb", "203.0.113.9 bytes rare_destination"},
		"fetched from an unusual port": {
			[]event.Event{flow(0, 12*mb, ports(4444, 50000)), flow(0, 1000, ports(4444, 50000), back)},
			"203.0.113.9:4444 ratio_and_10mb ratio_and_8mb", "203.0.113.9 bytes rare_destination",
		},
		"two interfaces see the same bytes": {
			[]event.Event{flow(0, 6*mb), flow(0, 1000, back), flow(0, 6*mb, iface("eni-nat")), flow(0, 1000, back, iface("eni-nat"))},
			"203.0.113.9:443 near_the_limits", "203.0.113.9 rare_destination",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := play(t, "", tc.events...)
			if d := godiff.Diff(tc.ratio, found(p, "upload-ratio")); d != "" {
				t.Errorf("upload-ratio: %s", d)
			}
			if d := godiff.Diff(tc.extern, found(p, "external-transfer")); d != "" {
				t.Errorf("external-transfer: %s", d)
			}
			for _, s := range of(p, "upload-ratio") {
				if s.Layer != event.LayerIP || s.Entity.Instance != "i-1" {
					t.Errorf("layer %q instance %q", s.Layer, s.Entity.Instance)
				}
			}
		})
	}
}

// TestFlowWaitsForTheOtherDirection holds that a record whose counterpart may
// still come alerts nobody, and that it does once that cannot come any more.
func TestFlowWaitsForTheOtherDirection(t *testing.T) {
	t.Parallel()
	p := play(t, "", flow(0, 12*mb), flow(minute, 600*mb, back))
	for _, s := range p.Context.Signals {
		if s.Detector == "upload-ratio" {
			t.Errorf("revision %d: %s", s.Revision, s.Reason)
		}
	}
	// The next pane's mark says that nothing came back.
	p = play(t, "", flow(0, 12*mb), flow(6*minute, 10, to("203.0.113.10")), flow(7*minute, 10, to("203.0.113.10")))
	for _, s := range p.Context.Signals {
		if s.Detector == "upload-ratio" && s.Revision == 1 {
			if s.Complete == 0 || s.Complete > t0+8*minute {
				t.Errorf("it came when sources were complete up to minute %d", (s.Complete-t0)/minute)
			}
			return
		}
	}
	t.Error("no signal")
}

// The cap of a sanction is for 24 hours of a source: a slow day over it is
// judged like any other transfer, and the next day begins with what the last 24
// hours have used.
func TestCapOfADay(t *testing.T) {
	t.Parallel()
	const declared = "sanctioned_destinations: [{value: capped.example, daily_bytes: 100000000}]\n"
	hourly := func(hours int64, each uint64, o ...option) (out []event.Event) {
		for h := range hours {
			id := fmt.Sprint("C", h)
			out = append(out, hello(id, h*hour+minute, "a.capped.example", o...), conn(id, h*hour+2*minute, each, 5000, o...))
		}
		return out
	}
	two := append(hourly(26, 4*mb), hourly(26, 4*mb, from("10.0.0.6"))...)
	slices.SortStableFunc(two, func(a, b event.Event) int { return cmp.Compare(a.Time, b.Time) })
	for name, tc := range map[string]struct {
		events []event.Event
		ratio  int // signals of upload-ratio
		sent   int // of external-transfer
	}{
		"12 MB an hour, 288 MB a day": {hourly(26, 12*mb), 26 - 8, 26 - 8},
		"4 MB an hour, 96 MB a day":   {hourly(26, 4*mb), 0, 0},
		"of each of two sources":      {two, 0, 0},
		"90 MB on each of two days": {
			[]event.Event{
				hello("A", 0, "capped.example"), conn("A", second, 90*mb, 5000),
				hello("B", 25*hour, "capped.example"), conn("B", 25*hour+second, 90*mb, 5000),
			}, 0, 0,
		},
		"90 MB twice within a day": {
			[]event.Event{
				hello("A", 0, "capped.example"), conn("A", second, 90*mb, 5000),
				hello("B", 22*hour, "capped.example"), conn("B", 22*hour+second, 90*mb, 5000),
			}, 1, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := play(t, declared, tc.events...)
			if got, sent := len(of(p, "upload-ratio")), len(of(p, "external-transfer")); got != tc.ratio || sent != tc.sent {
				t.Errorf("%d signals of upload-ratio, want %d; %d of external-transfer, want %d", got, tc.ratio, sent, tc.sent)
			}
		})
	}
}
