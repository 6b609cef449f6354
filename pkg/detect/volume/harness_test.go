package volume_test

import (
	"cmp"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/detect/volume"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

const (
	up     = "../../.."
	second = int64(1_000_000)
	minute = 60 * second
	hour   = 60 * minute
	// t0 is the beginning of a pane.
	t0 = int64(1_795_430_400) * second
	mb = uint64(1_000_000)
)

func detectors() []detect.Detector {
	return []detect.Detector{volume.NewExternalTransfer(), volume.NewUploadRatio()}
}

func parse(tb testing.TB, siteFile string) *site.Site {
	tb.Helper()
	st, err := site.Parse([]byte(siteFile))
	if err != nil {
		tb.Fatal(err)
	}
	return st
}

func labSite(tb testing.TB) string {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "site.yaml"))
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

// option changes an event.
type option func(*event.Event)

func conn(id string, at int64, sent, got uint64, o ...option) event.Event {
	e := event.Event{Kind: event.KindConn, Time: t0 + at, Start: t0 + at - second, ID: id}
	e.Observer.Type = "zeek"
	e.Source = event.Endpoint{IP: netip.MustParseAddr("10.0.0.5"), Port: event.N(40000), Bytes: event.N(sent)}
	e.Destination = event.Endpoint{IP: netip.MustParseAddr("203.0.113.9"), Port: event.N(443), Bytes: event.N(got)}
	e.Network = event.Network{Transport: "tcp", Layer: event.LayerPayload}
	e.Conn.State = "SF"
	return with(e, o)
}

// flow is one direction of a flow, from the internal side unless swapped.
func flow(at int64, sent uint64, o ...option) event.Event {
	e := event.Event{Kind: event.KindFlow, Time: t0 + at, Start: t0 + at - 50*second}
	e.Observer.Type = "vpcflow"
	e.Source = event.Endpoint{IP: netip.MustParseAddr("10.0.0.5"), Port: event.N(40000), Bytes: event.N(sent)}
	e.Destination = event.Endpoint{IP: netip.MustParseAddr("203.0.113.9"), Port: event.N(443)}
	e.Network = event.Network{Transport: "tcp", Layer: event.LayerIP}
	e.Flow = event.Flow{Action: "accept", Interface: "eni-1", InstanceID: "i-1"}
	return with(e, o)
}

func hello(id string, at int64, name string, o ...option) event.Event {
	e := conn(id, at, 0, 0)
	e.Kind = event.KindTLS
	e.Conn, e.Source.Bytes, e.Destination.Bytes, e.Start = event.Conn{}, event.Count{}, event.Count{}, 0
	e.Destination.Domain = name
	return with(e, o)
}

func answer(at int64, name string, addrs ...string) event.Event {
	e := event.Event{Kind: event.KindDNS, Time: t0 + at}
	e.Observer.Type = "zeek"
	e.Source = event.Endpoint{IP: netip.MustParseAddr("10.0.0.5"), Port: event.N(50000)}
	e.Destination = event.Endpoint{IP: netip.MustParseAddr("10.0.0.53"), Port: event.N(53)}
	e.DNS.Name, e.DNS.Type, e.DNS.ResponseCode = name, "A", "NOERROR"
	for _, a := range addrs {
		e.DNS.Addresses = append(e.DNS.Addresses, netip.MustParseAddr(a))
	}
	return e
}

func with(e event.Event, o []option) event.Event {
	for _, f := range o {
		f(&e)
	}
	return e
}

func to(addr string) option {
	return func(e *event.Event) { e.Destination.IP = netip.MustParseAddr(addr) }
}

func from(addr string) option {
	return func(e *event.Event) { e.Source.IP = netip.MustParseAddr(addr) }
}

func port(n int) option { return func(e *event.Event) { e.Destination.Port = event.N(n) } }

func lasted(d int64) option { return func(e *event.Event) { e.Start = e.Time - d } }

func open(e *event.Event) { e.Conn.Open = true }

// swapped is the same the other way round.
func swapped(e *event.Event) { e.Source, e.Destination = e.Destination, e.Source }

func back(e *event.Event) {
	e.Source.IP, e.Destination.IP = e.Destination.IP, e.Source.IP
	e.Source.Port, e.Destination.Port = e.Destination.Port, e.Source.Port
}

// play feeds events in the order given, all of one sensor of each type, with
// marks in between and a closing one.
func play(tb testing.TB, siteFile string, events ...event.Event) *detecttest.Player {
	tb.Helper()
	st := parse(tb, siteFile)
	rec := detecttest.Events(tb, st, "s1", events)
	return detecttest.NewPlayer(tb, []byte(siteFile), detectors()...).Play(rec)
}

// of returns the final signals of a detector that stand, by destination.
func of(p *detecttest.Player, id string) (out []signal.Signal) {
	for _, s := range p.Context.Final() {
		if s.Detector == id && s.Score >= s.Floor {
			out = append(out, s)
		}
	}
	return out
}

func points(s *signal.Signal) string {
	var names []string
	for _, p := range s.Points {
		names = append(names, p.Name)
	}
	return strings.Join(names, " ")
}

// orderless removes what depends on the order of arrival: revisions,
// evidence, and how far sources were.
func orderless(list []signal.Signal) (out []signal.Signal) {
	for _, s := range list {
		if s.Score < s.Floor {
			continue
		}
		s.Revision, s.Evidence, s.Complete = 0, nil, 0
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b signal.Signal) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// mark applies a mark that all sources of the given types are complete.
func mark(p *detecttest.Player, low int64, closing bool, types ...string) {
	m := event.Mark{Instance: "test", Full: true, Closing: closing}
	for _, t := range types {
		m.Sources = append(m.Sources, event.SourceMark{Type: t, Name: "s1", Realm: site.DefaultRealm, Low: low})
	}
	data, err := m.Append(nil)
	if err != nil {
		p.Context.TB.Fatal(err)
	}
	rec := operator.Record{Topic: "ebb.network.v1", Offset: p.Offset, Time: low, Kind: event.KindMark.String(), Key: []byte("mark"), Value: data}
	p.Offset++
	if err := p.Set.Apply(&rec, p.Context); err != nil {
		p.Context.TB.Fatal(err)
	}
}
