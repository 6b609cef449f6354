package ingest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// stock is a feed that has something in stock or not.
type stock bool

// CaughtUp implements feed.
func (s *stock) CaughtUp() bool { return !bool(*s) }

const sec = int64(1_000_000)

func seen(k event.Kind, observer, name string, at int64) *event.Event {
	return &event.Event{Kind: k, Time: at * sec, Observer: event.Observer{Type: observer, Name: name, Realm: "r"}}
}

// lows are the watermarks of a mark in seconds.
func lows(t *watermarks, full bool) map[string]int64 {
	var m event.Mark
	t.mark(&m, full)
	out := map[string]int64{}
	for _, s := range m.Sources {
		out[s.Name+" "+s.Stream] = s.Low / sec
	}
	return out
}

func check(t *testing.T, what string, want, got map[string]int64) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestWatermarks(t *testing.T) {
	t.Parallel()
	w := newWatermarks()
	conn, dns := new(stock), new(stock)
	*conn, *dns = true, true
	w.saw(seen(event.KindConn, "zeek", "a", 1000), conn, 0, false, 1)
	w.saw(seen(event.KindConn, "zeek", "a", 990), conn, 0, false, 1)
	w.saw(seen(event.KindDNS, "zeek", "a", 900), dns, 0, false, 1)
	w.saw(seen(event.KindConn, "zeek", "b", 500), dns, 0, false, 1)
	check(t, "while there is more to read each stream speaks for itself",
		map[string]int64{"a conn": 690, "a dns": 885, "b conn": 190}, lows(w, false))
	check(t, "nothing changed", map[string]int64{}, lows(w, false))
	check(t, "in full", map[string]int64{"a conn": 690, "a dns": 885, "b conn": 190}, lows(w, true))

	*dns = false
	check(t, "a quiet stream that is read to its end follows its sensor, not another one",
		map[string]int64{"a dns": 980}, lows(w, false))
	w.saw(seen(event.KindDNS, "zeek", "a", 950), dns, 0, false, 1)
	check(t, "and does not go back", map[string]int64{"a dns": 980}, lows(w, false))

	future := seen(event.KindConn, "zeek", "a", 9000)
	future.Future = true
	w.saw(future, conn, 0, false, 1)
	check(t, "the future moves nothing", map[string]int64{"a conn": 690}, lows(w, false))
	if w.newest() != 1000*sec {
		t.Errorf("newest %d", w.newest())
	}
}

func TestWatermarksSurviveARestart(t *testing.T) {
	t.Parallel()
	now := time.Unix(5000, 0)
	w := newWatermarks()
	w.saw(seen(event.KindConn, "zeek", "a", 1000), new(stock), 0, false, now.UnixMicro())
	w.saw(seen(event.KindDNS, "zeek", "old", 1000), new(stock), 0, false, now.Add(-keepStreams-time.Hour).UnixMicro())
	want := lows(w, true)
	delete(want, "old dns")
	stored, err := w.append(nil)
	if err != nil {
		t.Fatal(err)
	}
	again := newWatermarks()
	if err := again.load(stored, now); err != nil {
		t.Fatal(err)
	}
	check(t, "loaded", want, lows(again, true))
	again.saw(seen(event.KindConn, "zeek", "a", 1100), new(stock), 0, false, now.UnixMicro())
	check(t, "and on", map[string]int64{"a conn": 790}, lows(again, false))
	if again.byID[streamID{"zeek", "a", "r", "conn"}].Records != 2 {
		t.Error("records begin anew")
	}
	if err := again.load([]byte("{"), now); err == nil {
		t.Error("damage is no error")
	}
}

// Every row of the table in lateness.go.
func TestLateness(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		observer string
		kind     event.Kind
		webhook  bool
		want     lateness
	}{
		{"zeek", event.KindConn, false, lateness{310 * time.Second, true}},
		{"zeek", event.KindDNS, false, lateness{15 * time.Second, true}},
		{"zeek-exfil", event.KindDNS, false, lateness{15 * time.Second, true}},
		{"zeek", event.KindTLS, false, lateness{time.Minute, false}},
		{"zeek", event.KindHTTP, false, lateness{time.Minute, false}},
		{"zeek", event.KindTransfer, false, lateness{time.Minute, false}},
		{"zeek", event.KindWeird, false, lateness{5 * time.Second, true}},
		{"zeek", event.KindHealth, false, lateness{5 * time.Second, true}},
		{"packet", event.KindConn, false, lateness{310 * time.Second, true}},
		{"packet", event.KindICMP, false, lateness{15 * time.Second, true}},
		{"vpcflow", event.KindFlow, false, lateness{15 * time.Minute, false}},
		{"tgwflow", event.KindFlow, false, lateness{15 * time.Minute, false}},
		{"falco", event.KindFile, false, lateness{time.Second, true}},
		{"falco", event.KindFile, true, lateness{30 * time.Second, false}},
		{"cloudtrail", event.KindObject, false, lateness{15 * time.Minute, false}},
		{"other", event.KindObject, false, lateness{time.Minute, false}},
	} {
		if got := latenessOf(tc.observer, tc.kind, tc.webhook); got != tc.want {
			t.Errorf("%s %s: %+v", tc.observer, tc.kind, got)
		}
	}
	w := newWatermarks()
	w.saw(seen(event.KindConn, "zeek", "a", 1000), new(stock), 20*time.Second, false, 1)
	check(t, "a source may say otherwise", map[string]int64{"a conn": 980}, lows(w, false))
}

func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWatermarks()
	for i := range maxStreams + 10 {
		w.saw(seen(event.KindConn, "zeek", string(rune('a'))+time.Duration(i).String(), 1), new(stock), 0, false, 1)
	}
	if len(w.byID) != maxStreams || w.unmarked != 10 {
		t.Errorf("%d streams, %d events unmarked", len(w.byID), w.unmarked)
	}
}
