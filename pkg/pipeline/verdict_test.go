package pipeline_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// TestVerdictTeachesTheBaseline: a new backup alerts every night until somebody
// says that it is benign, and not after. The answer takes its way through the
// correlator back to the source's baseline.
func TestVerdictTeachesTheBaseline(t *testing.T) {
	t.Parallel()
	const (
		hour = int64(3600_000_000)
		t0   = int64(1_795_392_000_000_000) // a Monday, midnight
	)
	site := "detectors:\n  upload-ratio: {mode: off}\n  slow-upload: {mode: off}\n  sustained-upload: {mode: off}\n  new-destination-upload: {mode: off}\n"
	for verdict, want := range map[string]int{"": 6, "benign": 1, "true": 6, "unsure": 6} {
		t.Run("verdict "+verdict, func(t *testing.T) {
			t.Parallel()
			alerts := map[string]bool{}
			var answered string
			chain, err := pipeline.New(pipeline.Config{Site: []byte(site)}, func(a pipeline.Alert) {
				var doc alert.Alert
				if err := alert.Decode(a.Value, &doc); err != nil {
					t.Error(err)
				}
				if doc.Detector == "volume-anomaly" {
					alerts[doc.ID] = true
					answered = doc.ID
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			send := func(at int64, bytes uint64) {
				e := event.Event{Kind: event.KindConn, Time: at, Start: at - 60_000_000, ID: fmt.Sprint("C", at)}
				e.Observer.Type, e.Observer.Name = "zeek", "s1"
				e.Source = event.Endpoint{IP: netip.MustParseAddr("10.0.0.5"), Port: event.N(40000), Bytes: event.N(bytes)}
				e.Destination = event.Endpoint{IP: netip.MustParseAddr("198.51.100.7"), Port: event.N(443), Bytes: event.N(bytes)}
				e.Network.Transport, e.Network.Layer, e.Conn.State = "tcp", event.LayerPayload, "SF"
				if err := chain.Event(&e); err != nil {
					t.Fatal(err)
				}
			}
			for h := range int64(15*24 + 12*24) {
				at := t0 + h*hour
				send(at+20*hour/60, 5e6)
				// From the third week on a backup at three, every second night:
				// an incident is over after a day.
				if h >= 15*24 && h%48 == 27 {
					send(at+30*hour/60, 3e9)
					if verdict != "" && len(alerts) == 1 && answered != "" {
						v := signal.Verdict{AlertID: answered, Verdict: verdict, By: "kim", Why: "nightly", Time: at + hour}
						if err := chain.Verdict(&v); err != nil {
							t.Fatal(err)
						}
						answered = ""
					}
				}
			}
			chain.Close()
			if len(alerts) != want {
				t.Errorf("%d alerts, want %d", len(alerts), want)
			}
			n := chain.Counts()[pipeline.Counter{Name: "hours_answered", Label: verdict}]
			if told := verdict == "benign" || verdict == "true"; told != (n == 1) {
				t.Errorf("%d hours answered", n)
			}
		})
	}
}
