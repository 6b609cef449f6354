package companion_test

import (
	"bytes"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbwatch/ebbwatch/internal/deadletter"
	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/ingest/companion"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// outputs is the context of an operator that keeps what is emitted.
type outputs []operator.Output

func (o *outputs) Emit(out operator.Output) {
	out.Key, out.Value = bytes.Clone(out.Key), bytes.Clone(out.Value)
	*o = append(*o, out)
}
func (o *outputs) Touch(int)                   {}
func (o *outputs) Count(string, string, int64) {}

func newSink(t *testing.T) *companion.Sink {
	t.Helper()
	kind, _ := ingest.KindOf("ingest-gcp")
	cfg := ingest.Default()
	cfg.PubSub.Subscriptions, cfg.PubSub.Project = []string{"s"}, "p"
	svc, err := ingest.New(kind, cfg, ingest.World{
		Kafka: stream.ProducerConfig{Slot: "0"}, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := companion.NewSink(svc.Outside(), "")
	return &s
}

const now = 1_795_430_400_000_000

// flow is one from a client of the monitored network to elsewhere.
func flow(bytes uint64) *event.Event {
	e := &event.Event{Kind: event.KindFlow, Time: now, Observer: event.Observer{Type: "gcp"}, Origin: event.Origin{Name: "o", Line: event.N(7)}}
	e.Source.IP, e.Destination.IP = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("203.0.113.9")
	e.Source.Bytes = event.N(bytes)
	return e
}

// A changed site file holds from the record after it, and says realm and keys.
func TestTheSiteIsAnEpoch(t *testing.T) {
	t.Parallel()
	s := newSink(t)
	var out outputs
	take := func() {
		s.Begin(&operator.Record{Time: now}, &out, "sensor")
		s.Event(flow(9))
	}
	take()
	for _, declared := range []string{"realms: {sensor: a}\n", "realms: {sensor: b}\n"} {
		if err := s.Epoch(detect.EpochSite, []byte(declared)); err != nil {
			t.Fatal(err)
		}
		take()
	}
	for kind, data := range map[string]string{detect.EpochSite: "realms: 1", "other": ""} {
		if s.Epoch(kind, []byte(data)) == nil {
			t.Errorf("epoch %s of %q was taken", kind, data)
		}
	}
	if err := s.Epoch(detect.EpochOperator, []byte("release: 2")); err != nil {
		t.Error(err)
	}
	take()
	var keys []string
	for _, o := range out {
		keys = append(keys, string(o.Key))
	}
	want := []string{"default|10.0.0.1", "a|10.0.0.1", "b|10.0.0.1", "b|10.0.0.1"}
	if d := cmp.Diff(want, keys); d != "" {
		t.Error(d)
	}
}

// What is written of an event, and of what gives none.
func TestOutlet(t *testing.T) {
	t.Parallel()
	s := newSink(t)
	var out outputs
	s.Begin(&operator.Record{Time: now}, &out, "sensor")
	inside := flow(2 << 20)
	inside.Destination.IP = netip.MustParseAddr("10.0.0.2")
	s.Event(inside)
	future := flow(1)
	future.Time = now + 11*60*1e6
	s.Event(future)
	long := flow(1)
	long.ID = strings.Repeat("x", stream.MaxOutputBytes)
	s.Event(long)
	s.Dead(decode.ReasonJSON, []byte("{"), event.Origin{Name: "o", Line: event.N(9)})
	s.Ignored("nodata")
	var got []string
	for _, o := range out {
		switch o.Topic {
		case topic.Network:
			var e event.Event
			if err := event.Decode(o.Value, &e); err != nil {
				t.Fatal(err)
			}
			got = append(got, string(o.Key)+" "+e.Role+map[bool]string{true: " future"}[e.Future])
		case topic.DeadLetter:
			l, err := deadletter.Decode(o.Value)
			if err != nil {
				t.Fatal(err)
			}
			if len(l.Raw) > decode.MaxDead || string(o.Key) != "gcp" {
				t.Errorf("%d bytes are kept under the key %s", len(l.Raw), o.Key)
			}
			got = append(got, l.Reason+" "+l.Origin.Name)
		}
	}
	want := []string{"default|10.0.0.1 ", "default|10.0.0.2 mirror", "default|10.0.0.1  future", decode.ReasonEventLong + " o", decode.ReasonJSON + " o"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if s.Records != 5 || s.Letters != 2 {
		t.Errorf("%d records, %d letters", s.Records, s.Letters)
	}
	if n, ok := s.Last.Line.Get(); !ok || n != 9 {
		t.Errorf("the last origin is %+v", s.Last)
	}
	if slices.ContainsFunc(out, func(o operator.Output) bool { return len(o.Key)+len(o.Value) > stream.MaxOutputBytes }) {
		t.Error("an output is too long for a topic")
	}
}
