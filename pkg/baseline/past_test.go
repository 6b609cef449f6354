package baseline_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/pkg/baseline"
)

const pastHour = baseline.Hour

func gather(p *baseline.Past) (out []baseline.PastOf) {
	for of := range p.Each {
		of.Hours = append([]baseline.PastHour(nil), of.Hours...)
		out = append(out, of)
	}
	return out
}

// TestPast: bytes are spread over the hours of a transfer, views are not added,
// and hours outside are left out.
func TestPast(t *testing.T) {
	t.Parallel()
	p := baseline.NewPast(10*pastHour, 13*pastHour, 100)
	for _, s := range []baseline.Sample{
		{Observer: "vpcflow", View: 1, Start: 9*pastHour + pastHour/2, End: 10*pastHour + pastHour/2, Bytes: 1000, Permitted: 10}, // half of it before
		{Observer: "vpcflow", View: 1, Start: 10 * pastHour, End: 12*pastHour + pastHour - 1, Bytes: 3000},
		{Observer: "vpcflow", View: 2, Start: 11 * pastHour, End: 11 * pastHour, Bytes: 1200},
		{Observer: "vpcflow", View: 1, Start: 13 * pastHour, End: 13 * pastHour, Bytes: 7},
		{Observer: "vpcflow", View: 1, Start: 9 * pastHour, End: 9 * pastHour, Bytes: 7},
		{Observer: "vpcflow", View: 1, Start: 12 * pastHour, End: 5 * pastHour, Bytes: 7}, // an end before its start counts at its end
	} {
		if err := p.Add([]byte("k"), s); err != nil {
			t.Fatal(err)
		}
	}
	want := []baseline.PastOf{{Key: "k", Observer: "vpcflow", Hours: []baseline.PastHour{
		{Hour: 10, Bytes: 500 + 1000, Permitted: 5, Records: 1}, {Hour: 11, Bytes: 1200, Records: 1}, {Hour: 12, Bytes: 1000, Records: 1},
	}}}
	// A byte may fall on either side of an hour.
	roughly := gocmp.Comparer(func(a, b uint64) bool { return a <= b+1 && b <= a+1 })
	if d := gocmp.Diff(want, gather(&p), roughly, cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Error(d)
	}
	full := baseline.NewPast(0, 100*pastHour, 2)
	var err error
	for h := range int64(3) {
		err = full.Add([]byte("k"), baseline.Sample{Start: h * pastHour, End: h * pastHour, Bytes: 1})
	}
	if !errors.Is(err, baseline.ErrPastFull) || full.Len() != 2 {
		t.Errorf("%v with %d sums", err, full.Len())
	}
}

// TestPastProperties: nothing is lost within the hours of a Past, and the order
// does not matter.
func TestPastProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		samples := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) baseline.Sample {
			at := rapid.Int64Range(20*pastHour, 90*pastHour).Draw(t, "end")
			return baseline.Sample{
				Observer: rapid.SampledFrom([]string{"zeek", "vpcflow"}).Draw(t, "observer"), End: at,
				Start: at - rapid.Int64Range(0, 15*pastHour).Draw(t, "lasted"), Bytes: rapid.Uint64Range(0, 1<<50).Draw(t, "bytes"),
			}
		}), 1, 30).Draw(t, "samples")
		p, q := baseline.NewPast(0, 100*pastHour, 1<<20), baseline.NewPast(0, 100*pastHour, 1<<20)
		var sum, got uint64
		for _, s := range samples {
			sum += s.Bytes
			if err := p.Add([]byte("k"), s); err != nil {
				t.Fatal(err)
			}
		}
		rand.New(rand.NewPCG(1, rapid.Uint64().Draw(t, "seed"))).Shuffle(len(samples), func(i, j int) { samples[i], samples[j] = samples[j], samples[i] })
		for _, s := range samples {
			if err := q.Add([]byte("k"), s); err != nil {
				t.Fatal(err)
			}
		}
		for _, of := range gather(&p) {
			for _, h := range of.Hours {
				got += h.Bytes
			}
		}
		if got != sum {
			t.Fatalf("%d of %d bytes", got, sum)
		}
		if d := gocmp.Diff(gather(&p), gather(&q), cmpopts.EquateComparable(netip.Addr{})); d != "" {
			t.Fatal(d)
		}
	})
}
