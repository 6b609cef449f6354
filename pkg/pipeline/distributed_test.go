package pipeline_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// upload is a connection of a machine of the office.
func upload(machine int, at int64, to string, sent, got uint64) event.Event {
	e := event.Event{Kind: event.KindConn, Time: at, Start: at - 20*second, ID: fmt.Sprint("C", machine, to, at)}
	e.Observer.Type, e.Observer.Name = "zeek", "z1"
	e.Source = event.Endpoint{IP: netip.AddrFrom4([4]byte{10, 0, 1, byte(machine)}), Port: event.N(40_000), Bytes: event.N(sent)}
	e.Destination = event.Endpoint{IP: netip.MustParseAddr(to), Port: event.N(443), Bytes: event.N(got)}
	e.Network.Transport, e.Network.Layer, e.Conn.State = "tcp", event.LayerPayload, "SF"
	return e
}

const second = int64(1_000_000)

// TestDistributedUpload: many machines, each below all of its own limits,
// through partitions that see a few of them each, and the correlator. What an
// office does with updates, content networks, calls and the services that it
// has is no alert.
func TestDistributedUpload(t *testing.T) {
	t.Parallel()
	const (
		day   = 24 * 60 * minutes
		hour  = 60 * minutes
		today = storyBegin + 10*day
		known = "198.51.100.7"
	)
	machines := func(n int, f func(machine int) event.Event) (out []event.Event) {
		for i := range n {
			out = append(out, f(1+i))
		}
		return out
	}
	for name, tc := range map[string]struct {
		events []event.Event
		want   []string
	}{
		"eight machines, 7 MB each in a working day": {
			machines(8, func(m int) event.Event { return upload(m, today+int64(m)*hour, "203.0.113.9", 7e6, 1e6) }),
			[]string{"distributed-upload 203.0.113.9 medium"},
		},
		"forty machines, 1.5 MB each": {
			machines(40, func(m int) event.Event { return upload(m, today+int64(m)*7*minutes, "203.0.113.9", 15e5, 2e4) }),
			[]string{"distributed-upload 203.0.113.9 medium"},
		},
		"four machines":                {machines(4, func(m int) event.Event { return upload(m, today+int64(m)*hour, "203.0.113.9", 14e6, 3e6) }), nil},
		"a service that all use":       {machines(40, func(m int) event.Event { return upload(m, today+int64(m)*7*minutes, known, 6e6, 1e6) }), nil},
		"a content network":            {machines(40, func(m int) event.Event { return upload(m, today+int64(m)*7*minutes, "203.0.113.20", 2e6, 150e6) }), nil},
		"updates":                      {machines(40, func(m int) event.Event { return upload(m, today+int64(m)*minutes, "203.0.113.21", 12e5, 800e6) }), nil},
		"a call of twelve":             {machines(12, func(m int) event.Event { return upload(m, today+int64(m)*second, "203.0.113.22", 20e6, 90e6) }), nil},
		"telemetry of a new programme": {machines(40, func(m int) event.Event { return upload(m, today+int64(m)*minutes, "203.0.113.23", 400e3, 10e3) }), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, n := range []int{1, 4} {
				if d := cmp.Diff(tc.want, office(t, n, known, tc.events)); d != "" {
					t.Errorf("%d partitions: alerts (-want +got):\n%s", n, d)
				}
			}
		})
	}
}

// office plays events after ten days of a service that each machine uses, and
// returns the alerts that stand.
func office(tb testing.TB, partitions int, service string, events []event.Event) (out []string) {
	tb.Helper()
	st, err := site.Parse(storySite(tb))
	if err != nil {
		tb.Fatal(err)
	}
	var all []event.Event
	for d := range int64(10) {
		for m := range 40 {
			all = append(all, upload(1+m, storyBegin+d*24*60*minutes+int64(m)*minutes, service, 40e3, 4e6))
		}
	}
	detect, joined := newPartitioned(tb, "ebb.network.v1", partitions), newPartitioned(tb, signalsTopic, 1)
	said, alerts := &outputs{tb: tb}, &outputs{tb: tb}
	step := func(e *entry) {
		said.out = said.out[:0]
		detect.apply(e, said)
		for _, o := range said.out {
			if o.Topic == signalsTopic {
				joined.apply(&entry{Topic: o.Topic, Kind: o.Kind, Key: string(o.Key), Time: e.Time, Value: o.Value}, alerts)
			}
		}
	}
	source := map[event.SourceMark]map[string]bool{{Type: "zeek", Name: "z1", Realm: site.DefaultRealm, Stream: event.KindConn.String()}: {"ebb.network.v1": true}}
	at := storyBegin
	for _, r := range detecttest.Merge(detecttest.Events(tb, st, "z1", append(all, events...))) {
		for ; at+60*minutes <= r.Time; at += 60 * minutes {
			for _, m := range marksAt(tb, source, at) {
				step(&m)
			}
		}
		step(&entry{Topic: "ebb.network.v1", Kind: r.Kind.String(), Key: string(r.Key), Time: r.Time, Value: r.Value})
	}
	for range 4 {
		at += 60 * minutes
		for _, m := range marksAt(tb, source, at) {
			step(&m)
		}
	}
	final := map[string]alert.Alert{}
	for _, o := range alerts.out {
		if o.Kind == alert.Kind {
			var a alert.Alert
			if err := alert.Decode(o.Value, &a); err != nil {
				tb.Fatal(err)
			}
			final[a.ID] = a
		}
	}
	for _, a := range final {
		if a.Status != alert.Retracted {
			out = append(out, strings.Join([]string{a.Detector, a.Entity.Name, a.Severity}, " "))
		}
	}
	return out
}
