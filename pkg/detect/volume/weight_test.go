package volume

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// weighing holds the weight of each state against what it writes.
type weighing struct {
	detect.Detector
	check func(s detect.State)
}

func (d weighing) Base() detect.Detector { return newNameKeeper() }

func (d weighing) New() detect.State { return weighingState{d.Detector.New(), d.check} }

type weighingState struct {
	detect.State
	check func(s detect.State)
}

func (s weighingState) Apply(e *event.Event, env *detect.Env) {
	s.State.Apply(e, env)
	s.check(s.State)
}

// TestWeight: what ledgers and meters weigh is about what they write, for few and
// many destinations, of flow records and of connections with and without a
// finding.
func TestWeight(t *testing.T) {
	t.Parallel()
	const second, start = int64(1_000_000), int64(1_795_430_400_000_000)
	for name, tc := range map[string]struct {
		kind        event.Kind
		peers, each int
		sent        uint64
	}{
		"two flows":              {event.KindFlow, 1, 2, 900},
		"flows to many":          {event.KindFlow, 120, 3, 900},
		"flows to one":           {event.KindFlow, 1, 300, 900},
		"connections to many":    {event.KindConn, 100, 3, 900},
		"a finding":              {event.KindConn, 1, 10, 12_000_000},
		"many small connections": {event.KindConn, 1, 300, 60_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var events []event.Event
			for i := range tc.peers * tc.each {
				e := event.Event{Kind: tc.kind, Time: start + int64(i)*second, Start: start + int64(i-1)*second, ID: fmt.Sprint("C", i)}
				e.Observer.Type = map[event.Kind]string{event.KindConn: "zeek", event.KindFlow: "vpcflow"}[tc.kind]
				e.Source = event.Endpoint{IP: netip.MustParseAddr("10.0.0.5"), Port: event.N(40000 + i%20000), Bytes: event.N(tc.sent)}
				e.Destination = event.Endpoint{IP: netip.AddrFrom4([4]byte{203, 0, 113, byte(i % tc.peers)}), Port: event.N(443), Bytes: event.N(300)}
				e.Network = event.Network{Transport: "tcp", Layer: event.LayerPayload}
				if tc.kind == event.KindFlow {
					e.Network.Layer, e.Destination.Bytes = event.LayerIP, event.Count{}
					e.Flow = event.Flow{Action: "accept", Interface: "eni-0123456789abcdef0", InstanceID: "i-0123456789abcdef0"}
				} else {
					e.Conn.State = "SF"
				}
				events = append(events, e)
			}
			n, last := 0, map[string]float64{}
			check := func(s detect.State) {
				n++
				weight, written := s.(detect.Weighed).Weight(), len(s.Append(nil))
				x := float64(weight) / float64(written)
				if x < 0.6 || x > 1.7 {
					t.Fatalf("after %d calls a %T weighs %d and writes %d", n, s, weight, written)
				}
				last[fmt.Sprintf("%T", s)] = x
			}
			list := NewMetered()
			list[0] = weighing{list[0], check}
			list = append(list, weighing{NewExternalTransfer(), check}, weighing{NewUploadRatio(), check})
			player := detecttest.NewPlayer(t, nil, list...)
			player.Feed(detecttest.Events(t, site.Default(), "sensor-1", events))
			if n < 3*len(events) {
				t.Errorf("%d calls for %d events of three detectors", n, len(events))
			}
			t.Logf("at the end %v", last)
		})
	}
}
