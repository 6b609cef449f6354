package correlate_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/correlate"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

const (
	second = int64(1_000_000)
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour
)

// t0 is 2026-03-02 10:00:00 UTC.
var t0 = time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC).UnixMicro()

// reporter is what testing.T and rapid.T have in common.
type reporter interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Error(args ...any)
}

// runner is an operator.Context and the log before the correlator.
type runner struct {
	tb     reporter
	c      *correlate.Correlator
	offset int64
	out    []operator.Output
	counts map[string]int64
	// saved are the buckets as they stood before the record; a change without
	// Touch is found against them.
	check   bool
	touched map[int]bool
}

func newRunner(tb reporter, cfg correlate.Config) *runner {
	tb.Helper()
	c, err := correlate.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	// The rules of a site that has taken the day's rule out of its shadow.
	if err := c.Epoch(correlate.EpochSite, []byte("detectors: {staging-then-exfil-24h: {mode: alert}, distributed-upload: {thresholds: {sources: 3}}}\n")); err != nil {
		tb.Fatal(err)
	}
	return &runner{tb: tb, c: c, counts: map[string]int64{}}
}

func (r *runner) Emit(o operator.Output) {
	o.Key, o.Value = slices.Clone(o.Key), slices.Clone(o.Value)
	r.out = append(r.out, o)
}

func (r *runner) Touch(b int) {
	if r.touched != nil {
		r.touched[b] = true
	}
}

func (r *runner) Count(name, label string, n int64) { r.counts[name+"/"+label] += n }

// feed applies a record at an append time (after t0).
func (r *runner) feed(at int64, kind string, value []byte) {
	r.tb.Helper()
	var before [][]byte
	if r.check {
		r.touched = map[int]bool{}
		before = r.buckets()
	}
	rec := operator.Record{Topic: "ebb.signals.v1", Offset: r.offset, Time: t0 + at, Kind: kind, Key: []byte("default"), Value: value}
	r.offset++
	if err := r.c.Apply(&rec, r); err != nil {
		r.tb.Fatalf("offset %d: %v", rec.Offset, err)
	}
	if r.check {
		for b, now := range r.buckets() {
			if !r.touched[b] && !bytes.Equal(now, before[b]) {
				r.tb.Fatalf("offset %d (%s): bucket %d changed without Touch", rec.Offset, kind, b)
			}
		}
	}
}

func (r *runner) buckets() [][]byte {
	out := make([][]byte, r.c.Buckets())
	for b := range out {
		out[b] = r.c.AppendBucket(nil, b)
	}
	return out
}

func (r *runner) signal(at int64, s signal.Signal) {
	r.tb.Helper()
	data, err := s.Append(nil)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.feed(at, signal.KindSignal, data)
}

func (r *runner) fact(at int64, a, b string, from int64) {
	r.tb.Helper()
	f := signal.Fact{A: ident(a), B: ident(b), From: t0 + from, Source: "test"}
	data, err := f.Append(nil)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.feed(at, signal.KindFact, data)
}

func (r *runner) markAt(at int64, low int64) {
	r.tb.Helper()
	m := event.Mark{Instance: "detect/ebb.network.v1/0", Full: true, Sources: []event.SourceMark{{Type: "zeek", Name: "z", Realm: "default", Low: low}}}
	data, err := m.Append(nil)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.feed(at, event.KindMark.String(), data)
}

func (r *runner) verdict(at int64, id, answer string) {
	r.tb.Helper()
	v := signal.Verdict{AlertID: id, Verdict: answer, By: "kim", Why: "known job", Time: t0 + at}
	data, err := v.Append(nil)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.feed(at, signal.KindVerdict, data)
}

func (r *runner) deployment(at int64, d signal.Deployment) {
	r.tb.Helper()
	data, err := d.Append(nil)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.feed(at, signal.KindDeployment, data)
}

func (r *runner) epoch(site string) {
	r.tb.Helper()
	if err := r.c.Epoch(correlate.EpochSite, []byte(site)); err != nil {
		r.tb.Fatal(err)
	}
}

// alerts decodes all that was emitted.
func (r *runner) alerts() []alert.Alert {
	r.tb.Helper()
	out := make([]alert.Alert, len(r.out))
	for i, o := range r.out {
		if o.Topic != alert.Topic || o.Kind != alert.Kind {
			r.tb.Fatalf("output to %s of kind %s", o.Topic, o.Kind)
		}
		if len(o.Value) > alert.MaxBytes {
			r.tb.Fatalf("alert of %d bytes", len(o.Value))
		}
		if err := alert.Decode(o.Value, &out[i]); err != nil {
			r.tb.Fatal(err)
		}
		if string(o.Key) != out[i].ID {
			r.tb.Fatalf("key %s of alert %s", o.Key, out[i].ID)
		}
	}
	return out
}

// final are the last revisions, by id; revisions must count up from 1.
func (r *runner) final() map[string]alert.Alert {
	r.tb.Helper()
	out := map[string]alert.Alert{}
	for _, a := range r.alerts() {
		if want := out[a.ID].Revision + 1; a.Revision != want {
			r.tb.Fatalf("alert %s: revision %d, want %d", a.ID, a.Revision, want)
		}
		out[a.ID] = a
	}
	return out
}

// standing are the final alerts that are not retracted, as "rule entity
// status" in order.
func (r *runner) standing() []string {
	r.tb.Helper()
	var out []string
	for _, a := range r.final() {
		if a.Status != alert.Retracted {
			out = append(out, fmt.Sprintf("%s %s %s", a.Detector, a.Entity.Name, a.Status))
		}
	}
	slices.Sort(out)
	return out
}

// story is every revision in one word each.
func (r *runner) story() string {
	r.tb.Helper()
	names := map[string]string{}
	var out []string
	for _, a := range r.alerts() {
		if names[a.ID] == "" {
			names[a.ID] = string(rune('a' + len(names)))
		}
		s := fmt.Sprintf("%s%d:%s:%s", names[a.ID], a.Revision, a.Detector, a.Status)
		if a.Notify != "" {
			s += "!" + string(a.Notify)
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func (r *runner) expectStory(want string) {
	r.tb.Helper()
	if got := r.story(); got != want {
		r.tb.Errorf("story\n got %s\nwant %s", got, want)
	}
}

func (r *runner) expectStanding(want ...string) {
	r.tb.Helper()
	if got := r.standing(); !slices.Equal(got, want) {
		r.tb.Errorf("standing alerts\n got %q\nwant %q", got, want)
	}
}

func ident(s string) signal.Identifier {
	typ, v, _ := strings.Cut(s, ":")
	return signal.Identifier{Type: signal.IDType(typ), Value: v}
}

// option changes a signal.
type option func(*signal.Signal)

// sig is a signal of a detector from first to last (after t0).
func sig(detector string, first, last int64, opts ...option) signal.Signal {
	s := signal.Signal{
		Detector: detector, Key: "default|x", Role: signal.RoleExfil, Mode: signal.ModeAlert, Channel: "tls", Revision: 1,
		Start: t0 + first, End: t0 + last, First: t0 + first, Time: t0 + last,
		Score: 3, Floor: 1, Threshold: 5, Severity: signal.Medium, Confidence: "medium", Reason: detector + " saw it",
		Points: []signal.Point{{Name: detector + "-point", Points: 3, Value: 1, Threshold: 1}},
		Evidence: []signal.Evidence{
			{Topic: "ebb.network.v1", Partition: 1, Offset: first, At: -1, Name: detector + ".log", Line: 7, Record: []byte(`{"kind":"conn","v":1}`)},
		},
		Observers: []string{"zeek"},
	}
	switch detector {
	case "archive-sensitive", "bulk-secret-read", "internal-fan-in", "bulk-object-read":
		s.Role, s.Channel = signal.RoleStaging, "archive"
	case "sensor-silent":
		s.Role = signal.RoleHealth
	case "dns-tunnel":
		s.Channel = "dns"
	}
	for _, o := range opts {
		o(&s)
	}
	s.ID = signal.SignalID(s.Detector, s.Key, s.Subject, s.Start)
	return s
}

func strong(s *signal.Signal) {
	s.Alert, s.Score, s.Severity, s.Confidence = true, 7, signal.High, "high"
}

func shadow(s *signal.Signal) { s.Mode = signal.ModeShadow }

func restricted(s *signal.Signal) { s.Classification = "RESTRICTED" }

func onHost(name string) option {
	return func(s *signal.Signal) { s.Key, s.Entity.Host = "default|"+name, name }
}

func onAddress(ip string) option {
	return func(s *signal.Signal) {
		s.Key, s.Entity.Realm, s.Entity.IP, s.Source.IP = "default|"+ip, "default", ip, ip
	}
}

func onPod(node, ns, pod string) option {
	return func(s *signal.Signal) {
		s.Key, s.Entity.Host, s.Entity.Namespace, s.Entity.Pod = "default|"+node, node, ns, pod
		s.Subject += "@" + pod
	}
}

func byPrincipal(p string) option {
	return func(s *signal.Signal) { s.Key, s.Entity.Principal = p, p }
}

func bytesOf(n uint64) option {
	return func(s *signal.Signal) { s.Bytes, s.Layer = &n, "ip" }
}

func rare(s *signal.Signal) { s.Points[0].Name = "rare_destination" }

func about(subject string) option { return func(s *signal.Signal) { s.Subject = subject } }

func to(ip string) option {
	return func(s *signal.Signal) { s.Destination = signal.Endpoint{IP: ip, Port: 443} }
}

func score(x float64) option { return func(s *signal.Signal) { s.Score = x } }
