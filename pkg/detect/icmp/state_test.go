package icmp

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// TestDamagedState: damage in a snapshot is an error or other counts, never a
// panic.
func TestDamagedState(t *testing.T) {
	t.Parallel()
	d := NewTunnel().(*Tunnel)
	s := &state{of: d}
	v := &s.views.Of("packet/x/y").Value
	v.hours.Grace = late
	for i := range 60 {
		h, _ := v.hours.At(fmt.Sprintf("%016d", i%5), int64(i)*second, 0)
		h.Value.peer = netip.MustParseAddr("192.0.2.1")
		v.meet(h.Value.peer, int64(i))
		e := event.Event{Kind: event.KindICMP, Time: int64(i) * second, ID: fmt.Sprint(i)}
		e.ICMP = event.ICMP{Type: event.N(8), ID: event.N(i), Sequence: event.N(i), Bytes: event.N(40), Hash: event.N(i), Content: event.N(i)}
		h.Value.packet(&e, i%2, false, 0)
		e.Conn.Open = true
		c, _ := v.progress.Since(&e)
		h.Value.record(&e, c, i%2)
	}
	whole := s.Append(nil)
	if err := (&state{of: d}).Load(whole); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		data := append([]byte{}, whole...)
		for range rapid.IntRange(1, 5).Draw(t, "errors") {
			data[rapid.IntRange(0, len(data)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		}
		back := &state{of: d}
		if back.Load(data[:rapid.IntRange(0, len(data)).Draw(t, "length")]) == nil {
			for v := range back.views.All {
				for h := range v.Value.hours.All {
					l := h.Value.judge(&d.limits, true, true, true)
					h.Value.list(&l, &d.limits)
				}
			}
		}
	})
}

// TestClasses covers every type once.
func TestClasses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		v6, sent bool
		typ      uint64
		code, n  uint64
		want     class
	}{
		{false, true, 8, 0, 56, request},
		{false, true, 0, 0, 56, reply},
		{true, true, 128, 0, 56, request},
		{true, true, 129, 0, 56, reply},
		{false, true, 3, 3, 100, quote},
		{false, true, 3, 4, 548, control},
		{false, true, 11, 0, 28, quote},
		{true, true, 1, 0, 99, quote},
		{true, true, 2, 0, 1200, control},
		{false, true, 5, 0, 28, unused},
		{false, false, 5, 0, 28, control},
		{false, true, 4, 0, 0, control},
		{false, true, 12, 0, 28, unused},
		{false, true, 13, 0, 12, request},
		{false, true, 14, 0, 12, reply},
		{false, true, 13, 0, 13, unused},
		{false, true, 17, 0, 4, request},
		{false, true, 18, 0, 40, unused},
		{false, true, 15, 0, 0, request},
		{false, true, 15, 0, 1, unused},
		{false, true, 200, 0, 0, control},
		{false, true, 200, 0, 1, unused},
		{false, true, 10, 0, 0, control},
		{false, true, 10, 0, 8, unused},
		{false, true, 42, 0, 8, control},
		{true, true, 135, 0, 24, unused},
		{true, false, 136, 0, 24, control},
		{true, true, 143, 0, 20, control},
		{true, true, 4, 0, 60, control},
		{true, true, 201, 0, 9, unused},
	} {
		if got := classOf(c.v6, c.sent, c.typ, c.code, c.n); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
