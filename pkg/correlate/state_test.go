package correlate_test

import (
	"errors"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/correlate"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// A correlator is what runs on ebb.signals.v1.
var _ operator.Operator = (*correlate.Correlator)(nil)

// What the Append methods write satisfies the schemas.
func TestRecordsSatisfyTheirSchemas(t *testing.T) {
	t.Parallel()
	bare := signal.Signal{ID: signal.ID("x"), Detector: "d", Key: "k", Mode: signal.ModeAlert, Severity: signal.Low, Confidence: "low"}
	full := sig("dns-tunnel", 0, minute, strong, onPod("n", "ns", "p"), onAddress("10.0.0.1"), byPrincipal("r"), bytesOf(0), about("s"), to("203.0.113.9"), restricted)
	full.Values = []signal.Value{{Name: "x", Value: 1}, {Name: "y", Text: "t"}}
	full.Entity.Interface, full.Entity.Instance, full.Entity.Container, full.Complete = "eni-1", "i-1", "c", 1
	full.Evidence = append(full.Evidence, signal.Evidence{At: -1})
	for kind, record := range map[string]interface{ Append([]byte) ([]byte, error) }{
		"signal": &bare, "fact": &signal.Fact{A: ident("host:a"), B: ident("instance:b"), From: 1, Until: 2, Source: "x"},
		"deployment": &signal.Deployment{Host: "a", From: 1, Until: 2}, "verdict": &signal.Verdict{AlertID: "x", Verdict: "true", By: "me"},
	} {
		validate(t, schemaOf(t, kind), must(record.Append(nil)))
	}
	validate(t, schemaOf(t, "signal"), must(full.Append(nil)))
	for kind, bad := range map[string]string{
		"signal": `{"kind":"signal","v":1}`, "fact": `{"kind":"fact","v":1,"a":{"type":"mac","value":"x"},"b":{"type":"host","value":"x"},"from":1,"source":""}`,
		"deployment": `{"kind":"deployment","v":1,"from":1,"until":2}`, "verdict": `{"kind":"verdict","v":1,"alert_id":"x","verdict":"maybe","by":"me","why":"","time":1}`,
	} {
		if err := check(t, schemaOf(t, kind), []byte(bad)); err == nil {
			t.Errorf("%s: %s passes", kind, bad)
		}
	}
}

func TestDamagedStateIsRefused(t *testing.T) {
	t.Parallel()
	r := newRunner(t, correlate.Config{})
	r.signal(minute, sig("dns-tunnel", 0, minute, strong, onHost("web-1")))
	r.fact(minute, "address:10.0.0.1", "host:web-1", 0)
	r.markAt(minute, t0)
	r.deployment(minute, signal.Deployment{Host: "web-1", From: t0, Until: t0 + hour})
	for b, data := range append(r.buckets(), r.c.AppendShared(nil)) {
		for cut := range data {
			c := must(correlate.New(correlate.Config{}))
			load := func() error {
				if b == r.c.Buckets() {
					return c.LoadShared(data[:cut])
				}
				return c.LoadBucket(b, data[:cut])
			}
			if err := load(); cut > 0 && !errors.Is(err, operator.ErrState) {
				t.Fatalf("part %d cut at %d of %d: %v", b, cut, len(data), err)
			}
		}
	}
	if err := r.c.LoadShared(nil); !errors.Is(err, operator.ErrState) {
		t.Errorf("empty shared state: %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	r := newRunner(f, correlate.Config{})
	r.signal(minute, sig("dns-tunnel", 0, minute, strong, onHost("web-1")))
	r.fact(minute, "address:10.0.0.1", "host:web-1", 0)
	for _, b := range r.buckets() {
		if len(b) > 0 {
			f.Add(b)
		}
	}
	f.Add(r.c.AppendShared(nil))
	again := encoded(sig("archive-sensitive", 0, minute, onHost("web-1")))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := must(correlate.New(correlate.Config{}))
		if c.LoadBucket(0, data) != nil || c.LoadShared(data) != nil && c.LoadShared(r.c.AppendShared(nil)) != nil {
			return
		}
		rec := operator.Record{Time: t0 + day, Kind: signal.KindSignal, Value: again}
		if err := c.Apply(&rec, &sink{}); err != nil {
			t.Fatal(err)
		}
		_ = c.AppendBucket(nil, 0)
	})
}

func encoded(s signal.Signal) []byte { return must(s.Append(nil)) }

// FuzzApply: no record stops the correlator.
func FuzzApply(f *testing.F) {
	for kind, v := range map[string][]byte{
		"signal":  encoded(sig("dns-tunnel", 0, minute, strong, onHost("web-1"))),
		"fact":    must((&signal.Fact{A: ident("address:10.0.0.1"), B: ident("host:b"), From: t0}).Append(nil)),
		"verdict": must((&signal.Verdict{AlertID: "x", Verdict: "benign", By: "me"}).Append(nil)),
		"mark":    []byte(`{"kind":"mark","v":1,"instance":"a","sources":[{"type":"zeek","name":"","realm":"","low":1,"records":1}]}`),
	} {
		f.Add(kind, v)
	}
	strongOne := encoded(sig("archive-sensitive", 0, minute, strong, onHost("web-1")))
	f.Fuzz(func(t *testing.T, kind string, value []byte) {
		c := must(correlate.New(correlate.Config{}))
		for i, rec := range []operator.Record{{Kind: signal.KindSignal, Value: strongOne}, {Kind: kind, Value: value}, {Kind: kind, Value: value}} {
			rec.Time = t0 + int64(i)*day
			_ = c.Apply(&rec, &sink{}) // poison is refused
		}
		for b := range c.Buckets() {
			if err := must(correlate.New(correlate.Config{})).LoadBucket(b, c.AppendBucket(nil, b)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// The rules can be tuned in the site file, and nothing else can.
func TestRulesAreTunable(t *testing.T) {
	t.Parallel()
	good := must(site.Parse([]byte("detectors: {staging-then-exfil: {thresholds: {window: 30}}}\n")))
	if err := detect.CheckSite(good, nil, correlate.Rules()...); err != nil {
		t.Error(err)
	}
	bad := must(site.Parse([]byte("detectors: {staging-then-exfil: {thresholds: {windows: 30}}}\n")))
	if err := detect.CheckSite(bad, nil, correlate.Rules()...); err == nil {
		t.Error("an unknown threshold passes")
	}
	if err := detect.CheckSite(good, nil); err == nil {
		t.Error("a rule that is not known passes")
	}
}
