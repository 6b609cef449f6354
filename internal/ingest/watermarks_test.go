package ingest

import (
	"fmt"
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
	stored, err := w.append(nil, "a")
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

func TestLatenessOfASource(t *testing.T) {
	t.Parallel()
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

// With thousands of streams a mark lists a few: each stream that changed within
// fifteen marks, those that wait longest first, and in full ones the others too.
func TestMarksListAFewOfMany(t *testing.T) {
	t.Parallel()
	const n = 3000
	w := newWatermarks()
	from := new(stock)
	*from = true
	read := func(at int64) {
		for i := range n {
			w.saw(seen(event.KindConn, "zeek", fmt.Sprintf("s%04d", i), at), from, 0, false, 1)
		}
	}
	read(1000)
	told := map[string]int64{}
	for range listedShare {
		var m event.Mark
		if w.mark(&m, false); len(m.Sources) != n/listedShare || m.Full {
			t.Fatalf("%d streams in a mark, full %v", len(m.Sources), m.Full)
		}
		for _, s := range m.Sources {
			told[s.Name]++
		}
		read(1001) // what changes again does not go before the others
	}
	if len(told) != n {
		t.Errorf("%d of %d streams were told of", len(told), n)
	}
	// Nothing changes any more: who begins to read learns of all of them.
	for w.pending() {
		w.mark(new(event.Mark), false)
	}
	told = map[string]int64{}
	for range listedShare + 1 {
		var m event.Mark
		w.mark(&m, true)
		for _, s := range m.Sources {
			told[s.Name] = s.Low
		}
	}
	if len(told) != n || told["s0042"] != (1001-310)*sec {
		t.Errorf("full marks told of %d of %d streams, s0042 at %d", len(told), n, told["s0042"])
	}
}

// After a restart a stream of which nothing comes follows its sensor all the
// same, and one whose sensor is no longer read is closed: else they would hold
// up everybody.
func TestQuietStreamsAfterARestart(t *testing.T) {
	t.Parallel()
	now := time.Unix(5000, 0)
	w := newWatermarks()
	from := new(stock)
	w.saw(seen(event.KindConn, "zeek", "a", 1000), from, 0, false, now.UnixMicro())
	w.saw(seen(event.KindMail, "zeek", "a", 900), from, 0, false, now.UnixMicro())
	w.saw(seen(event.KindConn, "zeek", "gone", 950), from, 0, false, now.UnixMicro())
	again := newWatermarks()
	for _, sensor := range []string{"a", "gone"} {
		stored, err := w.append(nil, sensor)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.load(stored, now); err != nil {
			t.Fatal(err)
		}
	}
	again.saw(seen(event.KindConn, "zeek", "a", 2000), from, 0, false, now.UnixMicro())
	again.adopt(func(sensor string) []feed {
		if sensor == "a" {
			return []feed{from}
		}
		return nil
	}, false)
	var m event.Mark
	again.mark(&m, true)
	var got []string
	for _, s := range m.Sources {
		got = append(got, fmt.Sprintf("%s %s %d %v", s.Name, s.Stream, s.Low/sec, s.Closed))
	}
	want := []string{"a conn 1690 false", "a mail 1935 false", "gone conn 0 true"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	again.mark(&m, true)
	if len(m.Sources) != 2 {
		t.Errorf("what was closed is told of again: %+v", m.Sources)
	}
}
