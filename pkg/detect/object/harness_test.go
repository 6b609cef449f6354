package object_test

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/detect/object"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

const (
	second = int64(1_000_000)
	minute = 60 * second
	hour   = 60 * minute
	// t0 is the beginning of a pane.
	t0   = int64(1_795_430_400) * second
	mb   = uint64(1_000_000)
	role = "arn:aws:iam::111122223333:role/app"
)

const siteFile = `
classification:
  - {bucket: web, class: PUBLIC}
  - {bucket: wiki, class: INTERNAL}
  - {bucket: crm, class: CONFIDENTIAL, principals: ["arn:aws:iam::111122223333:role/etl"]}
  - {bucket: payroll, class: RESTRICTED}
  - {bucket: payroll, prefix: forms/, class: PUBLIC}
`

func detectors() []detect.Detector { return []detect.Detector{object.NewBulkRead()} }

func parse(tb testing.TB, file string) *site.Site {
	tb.Helper()
	st, err := site.Parse([]byte(file))
	if err != nil {
		tb.Fatal(err)
	}
	return st
}

// option changes an event.
type option func(*event.Event)

// get is a GetObject of a role inside.
func get(at int64, bucket, key string, bytes uint64, o ...option) event.Event {
	e := event.Event{Kind: event.KindObject, Time: t0 + at, Action: "GetObject", Outcome: "success"}
	e.Observer.Type = "cloudtrail"
	e.Source.IP = netip.MustParseAddr("10.0.0.5")
	e.User = event.User{ID: role, Type: "AssumedRole", Session: "one"}
	e.Cloud = event.Cloud{Provider: "aws", Account: "111122223333", Service: "s3.amazonaws.com"}
	e.Object = event.Object{Bucket: bucket, Key: key, BytesOut: event.N(bytes)}
	for _, f := range o {
		f(&e)
	}
	return e
}

// many are n reads of different objects, a tenth of a second apart.
func many(n int, at int64, bucket string, bytes uint64, o ...option) (out []event.Event) {
	for i := range n {
		out = append(out, get(at+int64(i)*second/10, bucket, fmt.Sprintf("k%d", i), bytes, o...))
	}
	return out
}

func by(id string) option { return func(e *event.Event) { e.User.ID = id } }

func session(s string) option { return func(e *event.Event) { e.User.Session = s } }

func from(addr string) option {
	return func(e *event.Event) { e.Source.IP = netip.MustParseAddr(addr) }
}

func service(name string) option {
	return func(e *event.Event) { e.Source.IP, e.Source.Address = netip.Addr{}, name }
}

func endpoint(e *event.Event) { e.Cloud.EndpointID = "vpce-1" }

func presigned(e *event.Event) { e.Object.Presigned = true }

func failed(e *event.Event) { e.Outcome, e.Cloud.ErrorCode = "failure", "AccessDenied" }

func denied(e *event.Event) { e.Outcome, e.Cloud.ErrorCode = "", "AccessDenied" }

func call(name string) option {
	return func(e *event.Event) { e.Action, e.Object.BytesOut = name, event.Count{} }
}

// copied is a copy of the object into another bucket.
func copied(e *event.Event) {
	e.Action, e.Object.BytesOut = "CopyObject", event.Count{}
	e.Object.CopySource = e.Object.Bucket + "/" + e.Object.Key
	e.Object.Bucket, e.Object.Key = "elsewhere", "same"
}

func gcs(e *event.Event) {
	e.Observer.Type, e.Action, e.Object.BytesOut = "gcp", "storage.objects.get", event.Count{}
	e.Cloud = event.Cloud{Provider: "gcp", Account: "project", Service: "storage.googleapis.com"}
}

func sensor(typ string) option { return func(e *event.Event) { e.Observer.Type = typ } }

// play feeds events in the order given, with marks in between and a closing
// one.
func play(tb testing.TB, file string, events ...event.Event) *detecttest.Player {
	tb.Helper()
	rec := detecttest.Events(tb, parse(tb, file), "s1", events)
	return detecttest.NewPlayer(tb, []byte(file), detectors()...).Play(rec)
}

func points(s *signal.Signal) string {
	var names []string
	for _, p := range s.Points {
		names = append(names, p.Name)
	}
	return strings.Join(names, " ")
}

func value(tb testing.TB, s *signal.Signal, name string) signal.Value {
	tb.Helper()
	for _, v := range s.Values {
		if v.Name == name {
			return v
		}
	}
	tb.Errorf("no value %s in %+v", name, s.Values)
	return signal.Value{}
}

// standing removes signals that were taken back and what depends on the order
// of arrival: revisions, evidence, and how far sources were.
func standing(list []signal.Signal) (out []signal.Signal) {
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

// mark applies a mark that sources of the given types are complete.
func mark(p *detecttest.Player, low int64, closing bool, types ...string) {
	m := event.Mark{Instance: "test", Full: true, Closing: closing}
	for _, t := range types {
		m.Sources = append(m.Sources, event.SourceMark{Type: t, Name: "s1", Realm: site.DefaultRealm, Low: low})
	}
	data, err := m.Append(nil)
	if err != nil {
		p.Context.TB.Fatal(err)
	}
	rec := operator.Record{Topic: "ebb.cloud.v1", Offset: p.Offset, Time: low, Kind: event.KindMark.String(), Key: []byte("mark"), Value: data}
	p.Offset++
	if err := p.Set.Apply(&rec, p.Context); err != nil {
		p.Context.TB.Fatal(err)
	}
}
