package crash

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
	"github.com/twmb/franz-go/pkg/kgo"
)

// log is the committed records of one partition in order.
type log struct {
	topic     string
	partition int32
	records   []*kgo.Record
}

func kindOf(r *kgo.Record) string {
	for _, h := range r.Headers {
		if h.Key == "kind" {
			return string(h.Value)
		}
	}
	return ""
}

// flow is what the naive detector reads of a flow event.
type flow struct {
	at    int64 // offset
	id    string
	key   string
	time  int64
	bytes int64
	marks int // before it
}

// naive computes what the tally must have emitted for a partition, in the
// slowest and plainest way: for each flow it looks at all before it.
func naive(l log) ([]string, error) {
	var flows []flow
	marks := 0
	for _, r := range l.records {
		switch kindOf(r) {
		case "mark":
			marks++
		case "flow":
			var e struct {
				Time  int64  `json:"time"`
				ID    string `json:"event.id"`
				IP    string `json:"source.ip"`
				Bytes int64  `json:"source.bytes"`
			}
			if err := json.Unmarshal(r.Value, &e); err != nil {
				return nil, fmt.Errorf("%s/%d offset %d: %w", l.topic, l.partition, r.Offset, err)
			}
			flows = append(flows, flow{r.Offset, e.ID, e.IP, e.Time, e.Bytes, marks})
		}
	}
	var out []string
	const tenMinutes = 600_000_000
	closings := 0
	for i, f := range flows {
		before := flows[:i]
		newest := int64(0)
		for _, b := range before {
			newest = max(newest, b.time/tenMinutes)
		}
		if f.time/tenMinutes > newest {
			of := map[string][2]int64{}
			for _, b := range before {
				if b.time/tenMinutes == newest {
					s := of[b.key]
					of[b.key] = [2]int64{s[0] + b.bytes, s[1] + 1}
				}
			}
			keys := make([]string, 0, len(of))
			for k := range of {
				keys = append(keys, k)
			}
			sort.Strings(keys)
			for _, k := range keys {
				closings++
				out = append(out, fmt.Sprintf("window %d closing %d: %d of %s has %d in %d", l.partition, closings, newest, k, of[k][0], of[k][1]))
			}
		}
		own, n, bytes, total := int64(0), 0, int64(0), int64(0)
		for _, b := range flows[:i+1] {
			if b.key == f.key {
				own = max(own, b.time/tenMinutes)
			}
		}
		for _, b := range flows[:i+1] {
			if b.key != f.key {
				continue
			}
			total += b.bytes
			if b.time/tenMinutes == own {
				n++
				bytes += b.bytes
			}
		}
		out = append(out, fmt.Sprintf("flow %d@%d %s of %s: window %d has %d in %d, all %d; after %d marks, %d closings",
			l.partition, f.at, f.id, f.key, own, bytes, n, total, f.marks, closings))
	}
	return out, nil
}

// straight collects what an operator emits when nothing is between it and the
// log.
type straight struct{ out []operator.Output }

func (s *straight) Emit(o operator.Output) {
	o.Key, o.Value = slices.Clone(o.Key), slices.Clone(o.Value)
	s.out = append(s.out, o)
}
func (s *straight) Touch(int)                   {}
func (s *straight) Count(string, string, int64) {}

// direct applies an operator to a whole partition and returns the values that
// it emits, and how many records it refuses.
func direct(l log, op operator.Operator) (values []string, refused int, err error) {
	c := &straight{}
	for _, r := range l.records {
		rec := operator.Record{
			Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp.UnixMicro(),
			Kind: kindOf(r), Key: r.Key, Value: r.Value,
		}
		n := len(c.out)
		if err := op.Apply(&rec, c); err != nil {
			c.out = c.out[:n]
			refused++
		}
	}
	for _, o := range c.out {
		values = append(values, string(o.Value))
	}
	return values, refused, nil
}

// detected is the oracle of detect for one partition of events.
func detected(l log, site []byte) ([]string, int, error) {
	op, err := pipeline.NewSet("default", detect.Bounds{})
	if err == nil {
		err = op.Epoch(detect.EpochSite, site)
	}
	if err != nil {
		return nil, 0, err
	}
	return direct(l, op)
}

// correlated is the oracle of correlate.
func correlated(l log, site []byte) ([]string, int, error) {
	op, err := pipeline.NewCorrelator(false)
	if err == nil {
		err = op.Epoch(detect.EpochSite, site)
	}
	if err != nil {
		return nil, 0, err
	}
	return direct(l, op)
}

// result is what a comparison found.
type result struct {
	Expected, Missing, Twice, Disordered, Foreign int
	first                                         string // the first finding, for a person
}

func (r *result) add(o result) {
	r.Expected += o.Expected
	r.Missing += o.Missing
	r.Twice += o.Twice
	r.Disordered += o.Disordered
	r.Foreign += o.Foreign
	r.note(o.first)
}

func (r *result) note(text string) {
	if r.first == "" {
		r.first = text
	}
}

func (r *result) exact() bool { return r.Missing+r.Twice+r.Disordered+r.Foreign == 0 }

// compare holds values of a topic, in the order of each of its partitions,
// against sequences that must all be in it: want are the sequences, each of
// which must keep its order within a partition of got.
func compare(name string, want [][]string, got [][]string) result {
	type place struct{ seq, at int }
	var r result
	left := map[string][]place{} // in order
	known := map[string]bool{}
	for s, values := range want {
		r.Expected += len(values)
		for i, v := range values {
			left[v] = append(left[v], place{s, i})
			known[v] = true
		}
	}
	for p, values := range got {
		last := map[int]int{}
		for _, v := range values {
			places := left[v]
			if len(places) == 0 {
				if known[v] {
					r.Twice++
					r.note(fmt.Sprintf("%s: twice: %.200s", name, v))
				} else {
					r.Foreign++
					r.note(fmt.Sprintf("%s: not expected: %.200s", name, v))
				}
				continue
			}
			at := places[0]
			left[v] = places[1:]
			if before, ok := last[at.seq]; ok && before > at.at {
				r.Disordered++
				r.note(fmt.Sprintf("%s: partition %d: out of order: %.200s", name, p, v))
			}
			last[at.seq] = at.at
		}
	}
	for s, values := range want {
		for i, v := range values {
			if slices.Contains(left[v], place{s, i}) {
				r.Missing++
				r.note(fmt.Sprintf("%s: missing: %.200s", name, v))
			}
		}
	}
	return r
}

// lineOf is the origin of an event that ingest has read from a file.
type lineOf struct {
	Name string `json:"origin.name"`
	Line int    `json:"origin.line"`
	IP   string `json:"source.ip"`
	N    int64  `json:"source.bytes"`
}

// ingested holds the events against the lines of the files: each is there
// once, as what it says, and in order per partition.
func ingested(files map[string][]line, events []log) (result, error) {
	var want, got [][]string
	for name, lines := range files {
		seq := make([]string, len(lines))
		for i, l := range lines {
			seq[i] = fmt.Sprintf("%s:%d %s %d", name, i+1, l.ip, l.bytes)
		}
		want = append(want, seq)
	}
	for _, l := range events {
		var values []string
		for _, r := range l.records {
			if kindOf(r) != "flow" {
				continue
			}
			var e lineOf
			if err := json.Unmarshal(r.Value, &e); err != nil {
				return result{}, fmt.Errorf("%s/%d offset %d: %w", l.topic, l.partition, r.Offset, err)
			}
			values = append(values, fmt.Sprintf("%s:%d %s %d", e.Name, e.Line, e.IP, e.N))
		}
		got = append(got, values)
	}
	return compare("ingest", want, got), nil
}

// verdict is all that a run has found.
type verdict struct {
	result
	outputs, signals, alerts int
}

// topics are the committed contents at the end of a run.
type topics map[string][]log

func values(logs []log) [][]string {
	var out [][]string
	for _, l := range logs {
		var vs []string
		for _, r := range l.records {
			vs = append(vs, string(r.Value))
		}
		out = append(out, vs)
	}
	return out
}

func count(logs []log) (n int) {
	for _, l := range logs {
		n += len(l.records)
	}
	return n
}

// judge holds everything against everything.
func judge(t topics, files map[string][]line, site []byte) (verdict, error) {
	var v verdict
	dead := 0
	r, err := ingested(files, t[topic.Network])
	if err != nil {
		return v, err
	}
	v.add(r)

	var want [][]string
	for _, l := range t[topic.Network] {
		out, err := naive(l)
		if err != nil {
			return v, err
		}
		want = append(want, out)
		v.outputs += len(out)
	}
	v.add(compare("tally", want, values(t[tallyTopic])))

	want = nil
	for _, in := range []string{topic.Network, topic.Host, topic.Cloud} {
		for _, l := range t[in] {
			out, refused, err := detected(l, site)
			if err != nil {
				return v, err
			}
			want = append(want, out)
			v.signals += len(out)
			dead += refused
		}
	}
	v.add(compare("detect", want, values(t[topic.Signals])))

	want = nil
	for _, l := range t[topic.Signals] {
		out, refused, err := correlated(l, site)
		if err != nil {
			return v, err
		}
		want = append(want, out)
		v.alerts += len(out)
		dead += refused
	}
	v.add(compare("correlate", want, values(t[topic.Alerts])))

	if n := count(t[topic.DeadLetter]); n != dead {
		v.Foreign += max(n-dead, 0)
		v.Missing += max(dead-n, 0)
		v.note(fmt.Sprintf("%d dead letters, expected %d", n, dead))
	}
	return v, nil
}

var errStuck = errors.New("stuck")
