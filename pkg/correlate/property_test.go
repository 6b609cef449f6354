package correlate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/correlate"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// step is one thing that happens to a correlator.
type step struct {
	at    int64
	kind  string
	value []byte
	epoch string // instead of a record
}

func (s step) String() string {
	return fmt.Sprintf("%d %s %s%s", s.at/second, s.kind, s.value, s.epoch)
}

func apply(r *runner, steps []step) {
	for _, s := range steps {
		if s.epoch != "" {
			r.epoch(s.epoch)
			continue
		}
		r.feed(s.at, s.kind, s.value)
	}
}

func encode[T any, P interface {
	*T
	Append([]byte) ([]byte, error)
}](t *rapid.T, v T,
) []byte {
	data, err := P(&v).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func drawSignal(t *rapid.T, span int64) signal.Signal {
	first := rapid.Int64Range(0, span/minute).Draw(t, "first") * minute
	last := first + rapid.Int64Range(0, 20).Draw(t, "length")*minute
	opts := []option{
		rapid.SampledFrom([]option{
			onHost("h1"), onHost("h2"), onPod("h1", "shop", "p1"), onPod("h1", "shop", "p2"), onAddress("10.0.0.1"), onAddress("10.0.0.2"), byPrincipal("arn:r"),
		}).Draw(t, "who"),
		about(rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "subject")),
	}
	det := rapid.SampledFrom([]string{"archive-sensitive", "internal-fan-in", "external-transfer", "dns-tunnel", "upload-ratio", "sensor-silent", "distributed-upload", "distributed-upload"}).Draw(t, "detector")
	if det == "distributed-upload" {
		return part(first, last, rapid.SampledFrom([]uint64{2e6, 20e6, 30e6}).Draw(t, "share"), opts...)
	}
	for _, o := range []option{strong, bytesOf(20e6), bytesOf(60e6), restricted, to("203.0.113.9"), score(4)} {
		if rapid.Bool().Draw(t, "option") {
			opts = append(opts, o)
		}
	}
	if rapid.IntRange(0, 9).Draw(t, "shadow") == 0 {
		opts = append(opts, shadow)
	}
	return sig(det, first, last, opts...)
}

func drawFact(t *rapid.T, span int64) signal.Fact {
	pair := rapid.SampledFrom([][2]string{
		{"address:default|10.0.0.1", "host:h1"},
		{"address:default|10.0.0.1", "host:h2"},
		{"address:default|10.0.0.2", "host:h2"},
		{"address:default|10.0.0.2", "pod:shop/p1"},
		{"pod:shop/p1", "host:h1"},
		{"instance:i-1", "host:h1"},
		{"instance:i-1", "principal:arn:r"},
		{"instance:i-2", "principal:arn:r"},
	}).Draw(t, "fact")
	return signal.Fact{A: ident(pair[0]), B: ident(pair[1]), From: t0 + rapid.Int64Range(0, span/minute).Draw(t, "from")*minute, Source: "test"}
}

// drawLog is a log of days, with everything that can happen.
func drawLog(t *rapid.T) []step {
	const span = 40 * hour
	var at int64
	var out []step
	var sent []signal.Signal
	for range rapid.IntRange(1, 40).Draw(t, "records") {
		at += rapid.SampledFrom([]int64{0, second, 40 * second, 6 * minute, hour, 13 * hour}).Draw(t, "pause")
		s := step{at: at}
		switch rapid.IntRange(0, 11).Draw(t, "what") {
		case 0, 1, 2, 3:
			x := drawSignal(t, span)
			sent = append(sent, x)
			s.kind, s.value = signal.KindSignal, encode(t, x)
		case 4, 5:
			if len(sent) == 0 {
				continue
			}
			x := rapid.SampledFrom(sent).Draw(t, "again")
			x.Revision++
			x.Time += minute
			x.Alert = rapid.Bool().Draw(t, "alert")
			s.kind, s.value = signal.KindSignal, encode(t, x)
		case 6, 7, 8:
			s.kind, s.value = signal.KindFact, encode(t, drawFact(t, span))
		case 9:
			low := t0 + rapid.SampledFrom([]int64{0, at - 10*minute, at, 1<<63 - 1 - t0}).Draw(t, "low")
			s.kind, s.value = event.KindMark.String(), encode(t, event.Mark{
				Instance: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "instance"), Sources: []event.SourceMark{{Type: "zeek", Name: "z", Realm: "default", Low: low}},
			})
		case 10:
			if len(sent) == 0 || rapid.Bool().Draw(t, "deployment") {
				s.kind, s.value = signal.KindDeployment, encode(t, signal.Deployment{Host: "h1", From: t0 + at - minute, Until: t0 + at + hour})
				break
			}
			x := rapid.SampledFrom(sent).Draw(t, "about")
			s.kind, s.value = signal.KindVerdict, encode(t, signal.Verdict{
				AlertID: signal.ID("alert", x.ID), Verdict: rapid.SampledFrom([]string{"benign", "true"}).Draw(t, "verdict"), By: "kim", Why: "x", Time: t0 + at,
			})
		default:
			s.epoch = rapid.SampledFrom([]string{"inventory: [{host: h2, address: 10.0.0.1}]\n", "detectors: {dns-tunnel: {mode: off}}\n", "classification: [{host: h1, class: RESTRICTED}]\n"}).Draw(t, "site")
		}
		out = append(out, s)
	}
	return out
}

// A snapshot at any cut, loaded into a new correlator, goes on as the old one
// would, byte for byte; and every change of a bucket is announced.
func TestSnapshotAtAnyCut(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		log := drawLog(t)
		cut := rapid.IntRange(0, len(log)).Draw(t, "cut")
		cfg := correlate.Config{Budget: 2, MaxSignals: 12}
		a := newRunner(t, cfg)
		a.check = true
		apply(a, log[:cut])
		b := newRunner(t, cfg)
		for i := range b.c.Buckets() {
			if err := b.c.LoadBucket(i, a.c.AppendBucket(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.c.LoadShared(a.c.AppendShared(nil)); err != nil {
			t.Fatal(err)
		}
		// The engine makes the site valid again that held at the cut.
		for _, s := range slices.Backward(log[:cut]) {
			if s.epoch != "" {
				b.epoch(s.epoch)
				break
			}
		}
		before := len(a.out)
		apply(a, log[cut:])
		apply(b, log[cut:])
		if diff := cmp.Diff(texts(a, before), texts(b, 0)); diff != "" {
			t.Fatalf("outputs after the cut differ (-live +restored)\n%s", diff)
		}
		for i := range a.c.Buckets() {
			if string(a.c.AppendBucket(nil, i)) != string(b.c.AppendBucket(nil, i)) {
				t.Fatalf("bucket %d differs at the end", i)
			}
		}
		if string(a.c.AppendShared(nil)) != string(b.c.AppendShared(nil)) {
			t.Fatal("shared state differs at the end")
		}
		_ = a.final() // revisions count up
	})
}

func texts(r *runner, from int) []string {
	var out []string
	for _, o := range r.out[from:] {
		out = append(out, string(o.Value))
	}
	return out
}

// outcome is what remains of a run, without what depends on when it was said.
func outcome(r *runner) []string {
	var out []string
	for _, a := range r.final() {
		if a.Status == alert.Retracted {
			continue
		}
		a.Revision, a.Created, a.Notify, a.Completeness, a.Status = 0, 0, "", nil, ""
		if a.Joined != nil {
			a.Joined.Revision = 0
		}
		out = append(out, strings.TrimSpace(a.Text())+fmt.Sprintf(" %+v", a.Entity))
	}
	slices.Sort(out)
	return out
}

// drawRelated is a signal of one of two hosts that matters more often than not.
func drawRelated(t *rapid.T) signal.Signal {
	first := rapid.Int64Range(0, 200).Draw(t, "first") * minute
	opts := []option{
		rapid.SampledFrom([]option{onHost("h1"), onAddress("10.0.0.1"), onAddress("10.0.0.2"), onPod("h1", "shop", "p1"), byPrincipal("arn:r")}).Draw(t, "who"),
		about(fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "subject"))), bytesOf(60e6),
	}
	if rapid.IntRange(0, 2).Draw(t, "strong") > 0 {
		opts = append(opts, strong)
	}
	return sig(rapid.SampledFrom([]string{"archive-sensitive", "external-transfer", "dns-tunnel"}).Draw(t, "detector"), first, first+minute, opts...)
}

// Signals and facts that come within a minute give the same alerts in any
// order, ids included.
func TestOrderWithinAMinuteDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var records []step
		seen := map[string]bool{}
		for range rapid.IntRange(1, 8).Draw(t, "signals") {
			x := drawSignal(t, 3*hour)
			if rapid.IntRange(0, 3).Draw(t, "related") > 0 {
				x = drawRelated(t)
			}
			if !seen[x.ID] {
				seen[x.ID] = true
				records = append(records, step{kind: signal.KindSignal, value: encode(t, x)})
			}
		}
		for range rapid.IntRange(0, 4).Draw(t, "facts") {
			records = append(records, step{kind: signal.KindFact, value: encode(t, drawFact(t, 3*hour))})
		}
		run := func(order []step) []string {
			r := newRunner(t, correlate.Config{Budget: -1})
			for i, s := range order {
				r.feed(3*hour+int64(i)*4*second, s.kind, s.value)
			}
			r.markAt(3*hour+20*minute, t0)
			return outcome(r)
		}
		if diff := cmp.Diff(run(records), run(rapid.Permutation(records).Draw(t, "order"))); diff != "" {
			t.Fatal(diff)
		}
	})
}

// Any number of stagings and transfers of one host within an hour are one
// alert, in any order.
func TestOneAlertForOneAttack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var all []signal.Signal
		who := func() option {
			return rapid.SampledFrom([]option{onHost("h1"), onAddress("10.0.0.1"), onAddress("10.0.0.2")}).Draw(t, "who")
		}
		for i := range rapid.IntRange(1, 12).Draw(t, "stagings") {
			opts := []option{onHost("h1"), about(fmt.Sprint("s", i))}
			if rapid.Bool().Draw(t, "strong") {
				opts = append(opts, strong)
			}
			first := rapid.Int64Range(0, 50).Draw(t, "first") * minute
			all = append(all, sig("archive-sensitive", first, first+minute, opts...))
		}
		for i := range rapid.IntRange(1, 12).Draw(t, "transfers") {
			opts := []option{who(), about(fmt.Sprint("e", i)), bytesOf(20e6)}
			if rapid.Bool().Draw(t, "strong") {
				opts = append(opts, strong)
			}
			first := rapid.Int64Range(0, 50).Draw(t, "first") * minute
			all = append(all, sig(rapid.SampledFrom([]string{"external-transfer", "dns-tunnel", "upload-ratio"}).Draw(t, "detector"), first, first+minute, opts...))
		}
		r := newRunner(t, correlate.Config{})
		facts := rapid.IntRange(0, len(all)).Draw(t, "facts come after")
		for i, s := range rapid.Permutation(all).Draw(t, "order") {
			if i == facts {
				r.fact(hour, "address:default|10.0.0.1", "host:h1", 0)
				r.fact(hour, "address:default|10.0.0.2", "host:h1", 0)
			}
			r.signal(hour+int64(i)*30*second, s)
		}
		r.fact(2*hour, "address:default|10.0.0.1", "host:h1", 0)
		r.fact(2*hour, "address:default|10.0.0.2", "host:h1", 0)
		r.markAt(3*hour, t0)
		got := 0
		for _, a := range r.final() {
			switch {
			case a.Status == alert.Retracted:
				continue
			case a.Detector != alert.RuleJoined || a.Severity != signal.Critical || a.Entity.Name != "h1" || a.SignalsTotal != len(all):
				t.Errorf("%s %s on %s with %d of %d signals", a.Severity, a.Detector, a.Entity.Name, a.SignalsTotal, len(all))
			}
			got++
		}
		if got != 1 {
			t.Errorf("%d alerts stand: %s", got, r.story())
		}
	})
}
