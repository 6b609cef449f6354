package pipeline_test

import (
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/google/go-cmp/cmp"
)

// repartition gives the operators of a topic to n partitions.
func (p *partitioned) repartition(n int) *partitioned {
	p.tb.Helper()
	next := newPartitioned(p.tb, p.topic, n)
	copy(next.offsets, p.offsets)
	for q, op := range next.ops {
		err := op.(operator.Divisible).Adopt(p.ops, func(key []byte) bool { return place(string(key), n) == q })
		if err != nil {
			p.tb.Fatal(err)
		}
	}
	return next
}

// TestRepartitionedDetection: a log of all planes, moved half-way to more
// partitions, and twice, gives the signals and facts of partitions that never
// changed, in the same order for each subject.
func TestRepartitionedDetection(t *testing.T) {
	t.Parallel()
	log := story(t)
	run := func(counts ...int) map[string][]string {
		out := &outputs{tb: t}
		parts := map[string]*partitioned{}
		for _, topic := range planes() {
			parts[topic] = newPartitioned(t, topic, counts[0])
		}
		for i := range log {
			e := &log[i]
			at := min(int((e.Time-storyBegin)*int64(len(counts))/storyLasts), len(counts)-1)
			if len(parts[e.Topic].ops) != counts[at] {
				for _, topic := range planes() {
					parts[topic] = parts[topic].repartition(counts[at])
				}
			}
			parts[e.Topic].apply(e, out)
		}
		return out.bySubject()
	}
	want := run(2)
	seen := map[string]bool{}
	for name := range want {
		detector, _, _ := strings.Cut(name, " ")
		seen[detector] = true
	}
	for _, id := range []string{
		"external-transfer", "upload-ratio", "internal-fan-in", "dns-tunnel", "encrypted-dns", "icmp-tunnel", "archive-sensitive", "bulk-object-read",
		"new-destination-upload", "distributed-upload",
	} {
		if !seen[id] {
			t.Errorf("%s says nothing: the story tests less than it should", id)
		}
	}
	for name, counts := range map[string][]int{"to 5": {2, 5}, "to 3, to 16": {2, 3, 16}, "from one": {1, 4}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(want, run(counts...)); d != "" {
				t.Error(d)
			}
		})
	}
}
