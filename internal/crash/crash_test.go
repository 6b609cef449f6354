package crash

import (
	"context"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// TestTheTallyIsTheNaiveDetector: operator and oracle share no code and say the
// same of any log. Only so does a difference in a run accuse the engine.
func TestTheTallyIsTheNaiveDetector(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := log{topic: topic.Network, partition: 2}
		at := int64(1_795_500_000_000_000)
		for i := range rapid.IntRange(0, 60).Draw(t, "records") {
			r := &kgo.Record{Topic: l.topic, Partition: l.partition, Offset: int64(2 * i), Headers: []kgo.RecordHeader{{Key: "kind", Value: []byte("flow")}}}
			if rapid.IntRange(0, 7).Draw(t, "mark") == 0 {
				r.Headers[0].Value = []byte("mark")
			} else {
				at += int64(rapid.IntRange(-400, 500).Draw(t, "seconds")) * 1_000_000
				r.Value = fmt.Appendf(nil, `{"kind":"flow","v":1,"time":%d,"event.id":"%x","source.ip":"10.0.0.%d","source.bytes":%d}`,
					at, i, rapid.IntRange(1, 4).Draw(t, "host"), rapid.IntRange(0, 9).Draw(t, "bytes"))
			}
			l.records = append(l.records, r)
		}
		want, err := naive(l)
		if err != nil {
			t.Fatal(err)
		}
		op, _ := newTally(2)
		got, refused, err := direct(l, op)
		if err != nil || refused > 0 {
			t.Fatalf("%d refused, error %v", refused, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("the tally says\n%s\nthe naive detector\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestTheTallyKeepsItsState(t *testing.T) {
	t.Parallel()
	a, _ := newTally(0)
	r := operator.Record{Kind: "flow", Value: []byte(`{"kind":"flow","v":1,"time":1795500000000000,"event.id":"a","source.ip":"10.0.0.1","source.bytes":7}`)}
	if err := a.Apply(&r, &straight{}); err != nil {
		t.Fatal(err)
	}
	b, _ := newTally(0)
	if err := b.LoadShared(a.AppendShared(nil)); err != nil {
		t.Fatal(err)
	}
	for i := range a.Buckets() {
		if data := a.AppendBucket(nil, i); len(data) > 0 {
			if err := b.LoadBucket(i, data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !reflect.DeepEqual(a.(*tally).buckets, b.(*tally).buckets) || a.(*tally).shared != b.(*tally).shared {
		t.Error("the state is not what was saved")
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	want := [][]string{{"a", "b", "c"}, {"x", "y", "x"}}
	for _, tc := range []struct {
		name                            string
		got                             [][]string
		missing, twice, order, unwanted int
	}{
		{"the same", [][]string{{"a", "x", "b", "y", "c", "x"}}, 0, 0, 0, 0},
		{"over two partitions", [][]string{{"x", "c"}, {"a", "y", "b", "x"}}, 0, 0, 0, 0},
		{"one missing", [][]string{{"a", "x", "b", "y", "c"}}, 1, 0, 0, 0},
		{"one twice", [][]string{{"a", "x", "a", "b", "y", "c", "x"}}, 0, 1, 0, 0},
		{"three times what is there twice", [][]string{{"a", "x", "b", "y", "x", "c", "x"}}, 0, 1, 0, 0},
		{"out of order", [][]string{{"b", "a", "x", "y", "c", "x"}}, 0, 0, 1, 0},
		{"another value in the place of one", [][]string{{"a", "x", "b?", "y", "c", "x"}}, 1, 0, 0, 1},
		{"nothing", nil, 6, 0, 0, 0},
	} {
		r := compare("t", want, tc.got)
		if r.Missing != tc.missing || r.Twice != tc.twice || r.Disordered != tc.order || r.Foreign != tc.unwanted || r.Expected != 6 {
			t.Errorf("%s: %+v", tc.name, r)
		}
		if r.exact() != (tc.missing+tc.twice+tc.order+tc.unwanted == 0) || r.exact() == (r.first != "") {
			t.Errorf("%s: exact %v, first %q", tc.name, r.exact(), r.first)
		}
	}
}

func TestASeedIsASchedule(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		p := newPlan(seed, time.Second, 3, false)
		if !reflect.DeepEqual(p, newPlan(seed, time.Second, 3, false)) {
			t.Fatalf("seed %d gives two plans", seed)
		}
		phases := map[string]bool{}
		for _, d := range p.tally {
			phases[d.phase] = true
		}
		if len(phases) != len(enginePhases) || len(p.blows) == 0 {
			t.Errorf("seed %d: deaths %v, kills of nodes %v", seed, p.tally, p.blows)
		}
		if stormy(seed) != (len(p.guests) > 0) {
			t.Errorf("seed %d: guests %v", seed, p.guests)
		}
	}
	if reflect.DeepEqual(newPlan(1, time.Second, 0, false), newPlan(2, time.Second, 0, false)) {
		t.Error("two seeds give one plan")
	}
}

func TestTheInputOfASeed(t *testing.T) {
	t.Parallel()
	read := func(seed uint64) [][]line {
		dir := t.TempDir()
		cfg := GenerateConfig{Seed: seed, Lines: 200, Rate: 20_000, Start: time.Unix(1_795_500_000, 0), Files: []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // as much as it must
		if err := Generate(ctx, cfg); err != nil {
			t.Fatal(err)
		}
		var all [][]line
		for _, f := range cfg.Files {
			lines, err := readLines(f)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, lines)
		}
		return all
	}
	a := read(5)
	if n := len(a[0]) + len(a[1]); n < 200 || !reflect.DeepEqual(a, read(5)) || reflect.DeepEqual(a, read(6)) {
		t.Errorf("%d lines, or not those of the seed", n)
	}
}
