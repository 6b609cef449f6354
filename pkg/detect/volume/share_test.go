package volume_test

import (
	"fmt"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/detect/volume"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// shares are those that stand: of whom, to what, how much, "~" in shadow.
func shares(p *detecttest.Player) (out []string) {
	for _, s := range of(p, volume.DistributedUpload) {
		flag := ""
		if s.Mode == signal.ModeShadow {
			flag = "~"
		}
		out = append(out, fmt.Sprintf("%s %s%s %d points %v", s.Entity.IP, s.Subject, flag, *s.Bytes, s.Score))
		if s.Alert {
			out = append(out, "a share alerts")
		}
	}
	slices.Sort(out)
	return out
}

// settled is a site that the partition has seen for ten days: a source of
// which a service hears four times a day.
func settled() (out []event.Event) {
	for h := int64(0); h < 10*24; h += 6 {
		out = append(out, conn(fmt.Sprint("k", h), h*hour, 20e3, 90e3, from("10.0.0.77"), to("198.51.100.7")))
	}
	return out
}

func TestShares(t *testing.T) {
	t.Parallel()
	const at = 10*day + 10*hour
	for name, tc := range map[string]struct {
		events []event.Event
		site   string
		want   []string
	}{
		"two chunks": {
			[]event.Event{conn("a", at, 700e3, 10e3), conn("b", at+5*hour, 600e3, 10e3)},
			"",
			[]string{"10.0.0.5 203.0.113.9 1300000 points 2"},
		},
		"too little": {[]event.Event{conn("a", at, 900e3, 10e3)}, "", nil},
		"a day apart": {
			[]event.Event{conn("a", at, 700e3, 10e3), conn("b", at+25*hour, 600e3, 10e3)},
			"", nil,
		},
		"downloads":             {[]event.Event{conn("a", at, 5e6, 90e6)}, "", nil},
		"a call, both ways":     {[]event.Event{conn("a", at, 20e6, 18e6)}, "", nil},
		"a service of the site": {[]event.Event{conn("a", at, 20e6, 1e5, to("198.51.100.7"))}, "", nil},
		"looked at again when the day is over": {
			[]event.Event{
				conn("a", 10*day+75*minute, 979_994, 9e3), conn("b", 11*day+5*minute, 20_006, 2e3), conn("c", 11*day+65*minute, 20e3, 2e3),
				conn("d", 11*day+185*minute, 20e3, 2e3),
			},
			"",
			[]string{"10.0.0.5 203.0.113.9 1000000 points 2"},
		},
		"by name": {
			[]event.Event{hello("a", at-second, "up.evil.example"), conn("a", at, 3e6, 1e5)},
			"",
			[]string{"10.0.0.5 evil.example 3000000 points 2"},
		},
		"own":         {[]event.Event{hello("a", at-second, "up.ours.example"), conn("a", at, 3e6, 1e5)}, "own_domains: [ours.example]\n", nil},
		"sanctioned":  {[]event.Event{conn("a", at, 3e6, 1e5)}, "sanctioned_destinations: [203.0.113.0/24]\n", nil},
		"a resolver":  {[]event.Event{conn("a", at, 3e6, 1e5)}, "aggregators: [10.0.0.5]\n", nil},
		"turned off":  {[]event.Event{conn("a", at, 3e6, 1e5)}, "detectors: {distributed-upload: {mode: off}}\n", nil},
		"flow, ACKs":  {[]event.Event{flow(at, 3e6), flow(at, 1e5, swapped)}, "", []string{"10.0.0.5 203.0.113.9 3000000 points 2"}},
		"flow, alone": {[]event.Event{flow(at, 3e6)}, "", []string{"10.0.0.5 203.0.113.9 3000000 points 2"}},
		"IPv6": {
			[]event.Event{conn("a", at, 3e6, 1e5, from("fd00::5"), to("2001:db8::9"))},
			"",
			[]string{"fd00::5 2001:db8::9 3000000 points 2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := shares(meters(t, tc.site, append(settled(), tc.events...)...))
			if d := gocmp.Diff(tc.want, got); d != "" {
				t.Errorf("shares (-want +got):\n%s", d)
			}
		})
	}
	t.Run("the site is new", func(t *testing.T) {
		t.Parallel()
		got := shares(meters(t, "", conn("a", hour, 3e6, 1e5), conn("b", 30*hour, 3e6, 1e5)))
		if d := gocmp.Diff([]string{"10.0.0.5 203.0.113.9 3000000 points 1", "10.0.0.5 203.0.113.9~ 3000000 points 1"}, got); d != "" {
			t.Errorf("shares (-want +got):\n%s", d)
		}
	})
}

// TestSharesOracle: what a source has sent within the worst 24 hours, in steps
// of ten minutes, that end in a day, by a naive count. A route keeps older
// transfers by the hour, so that of a day its first hour may be missing.
func TestSharesOracle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var events []event.Event
		byTen := map[string]map[int64]uint64{} // source → ten minutes → bytes
		for i := range rapid.IntRange(1, 30).Draw(rt, "transfers") {
			src := rapid.SampledFrom([]string{"10.0.0.5", "10.0.0.6", "10.0.0.7"}).Draw(rt, "source")
			at := 10*day + rapid.Int64Range(0, 60*6).Draw(rt, "ten")*10*minute
			n := rapid.Uint64Range(20_000, 800_000).Draw(rt, "up")
			got := n / 4
			if src == "10.0.0.7" {
				got = n // a call: no upload
			}
			events = append(events, conn(fmt.Sprint("c", i), at, n, got, from(src)))
			if byTen[src] == nil {
				byTen[src] = map[int64]uint64{}
			}
			byTen[src][at] += n
		}
		worst := func(src string, d, span int64) (best uint64) {
			for end := range byTen[src] {
				var sum uint64
				for at, n := range byTen[src] {
					if at > end-span && at <= end {
						sum += n
					}
				}
				if end/day == d {
					best = max(best, sum)
				}
			}
			return best
		}
		found := map[string]uint64{}
		for _, s := range of(meters(t, "", append(settled(), events...)...), volume.DistributedUpload) {
			found[fmt.Sprint(s.Entity.IP, " ", (s.Start-t0+t0%day)/day)] = *s.Bytes
		}
		for src := range byTen {
			for d := int64(10); d < 13; d++ {
				low, high := worst(src, d, day-hour), worst(src, d, day)
				if low < 1e6 || src == "10.0.0.7" {
					low = 0
				}
				if high < 1e6 || src == "10.0.0.7" {
					high = 0
				}
				if got := found[fmt.Sprint(src, " ", d)]; got < low || got > high {
					rt.Fatalf("%s on day %d: share of %d, naively %d to %d", src, d, got, low, high)
				}
			}
		}
	})
}
