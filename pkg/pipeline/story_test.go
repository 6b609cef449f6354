package pipeline_test

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/demo"
	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// A story is a log of all planes in which every detector has something to
// remember: recordings of real tools, moved to the same afternoon, and what is
// composed around them.

// entry is one record of a log, before it has a partition.
type entry struct {
	Topic string `json:"topic"`
	Kind  string `json:"kind"`
	// Key is empty for a mark: each partition of its topic gets one.
	Key   string `json:"key,omitempty"`
	Time  int64  `json:"time"`
	Value []byte `json:"value"`
}

const (
	storyBegin = int64(1_795_430_400) * 1_000_000 // the begin of an hour
	storyLasts = 3 * 3600 * int64(1_000_000)
	minutes    = 60 * int64(1_000_000)
)

// storySite declares the lab and what the composed half needs.
func storySite(tb testing.TB) []byte {
	tb.Helper()
	lab, err := os.ReadFile(filepath.Join("..", "detect", "volume", "testdata", "site.yaml"))
	if err != nil {
		tb.Fatal(err)
	}
	lab = bytes.Replace(lab, []byte("home_networks: ["), []byte("home_networks: [10.0.0.0/16, "), 1)
	return append(lab, "classification:\n  - {bucket: crm, class: CONFIDENTIAL}\n  - {bucket: payroll, class: RESTRICTED}\n"...)
}

// story composes the log.
func story(tb testing.TB) []entry {
	tb.Helper()
	st, err := site.Parse(storySite(tb))
	if err != nil {
		tb.Fatal(err)
	}
	var parts []detecttest.Recording
	recorded := func(minute int64, n int, read func(*event.Event) detecttest.Recording, first int64) {
		shift := storyBegin + minute*minutes - first
		rec := read(&event.Event{Time: shift})
		parts = append(parts, rec[:min(n, len(rec))])
	}
	lab := func(minute int64, n int, packets bool, dir ...string) {
		path := filepath.Join(append([]string{"..", "detect"}, dir...)...)
		load := func(edit func(*event.Event)) detecttest.Recording {
			if packets {
				return detecttest.Packets(tb, st, path, edit)
			}
			return detecttest.Zeek(tb, st, path, edit)
		}
		first := storyBegin * 2
		for _, r := range load(nil) {
			first = min(first, r.Time)
		}
		recorded(minute, n, func(shift *event.Event) detecttest.Recording {
			return load(func(e *event.Event) {
				for _, at := range []*int64{&e.Time, &e.Start, &e.End} {
					if *at != 0 {
						*at += shift.Time
					}
				}
			})
		}, first)
	}
	lab(2, 300, false, "dns", "testdata", "dig_hex8_a_slow_res")
	lab(5, 300, false, "dns", "testdata", "iodine_null_idle_res")
	lab(20, 200, false, "dns", "testdata", "doh_dig_https")
	lab(40, 200, false, "dns", "testdata", "iodine_over_doh")
	lab(50, 200, true, "icmp", "testdata", "ptunnel_slow")
	lab(60, 200, false, "volume", "testdata", "exf_https_20m")
	lab(70, 200, false, "volume", "testdata", "exf_https_slow")
	lab(80, 200, false, "volume", "testdata", "smtp_20m")

	dir := tb.TempDir()
	attack := demo.Attack()
	attack.Background = false
	if err := attack.Write(dir, time.UnixMicro(storyBegin+85*minutes)); err != nil {
		tb.Fatal(err)
	}
	parts = append(parts, detecttest.Zeek(tb, st, filepath.Join(dir, "zeek"), nil), detecttest.Falco(tb, st, filepath.Join(dir, "falco", "events.json")))
	parts = append(parts, detecttest.Events(tb, st, "flows", composedFlows()), detecttest.Events(tb, st, "zeek-2", composedConns()), detecttest.Events(tb, st, "trail", composedReads()))

	var log []entry
	marked := storyBegin
	streams := map[event.SourceMark]map[string]bool{} // → topics
	for _, r := range detecttest.Merge(parts...) {
		for ; marked+minutes <= r.Available; marked += minutes {
			log = append(log, marksAt(tb, streams, marked+minutes)...)
		}
		topic := pipeline.TopicOf(r.Kind.Plane())
		id := event.SourceMark{Type: r.Observer.Type, Name: r.Observer.Name, Realm: r.Observer.Realm, Stream: r.Kind.String()}
		if streams[id] == nil {
			streams[id] = map[string]bool{}
		}
		streams[id][topic] = true
		log = append(log, entry{topic, r.Kind.String(), string(r.Key), r.Available, r.Value})
	}
	for ; marked < storyBegin+storyLasts; marked += minutes {
		log = append(log, marksAt(tb, streams, marked+minutes)...)
	}
	return log
}

// marksAt tells each topic how far its streams are: five minutes behind.
func marksAt(tb testing.TB, streams map[event.SourceMark]map[string]bool, at int64) (out []entry) {
	tb.Helper()
	for _, topic := range planes() {
		m := event.Mark{Instance: "story", Full: true}
		for id, topics := range streams {
			if topics[topic] {
				id.Low, id.Promise = at-5*minutes, true
				m.Sources = append(m.Sources, id)
			}
		}
		slices.SortFunc(m.Sources, func(a, b event.SourceMark) int {
			return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Stream, b.Stream))
		})
		value, err := m.Append(nil)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, entry{Topic: topic, Kind: event.KindMark.String(), Time: at, Value: value})
	}
	return out
}

func planes() []string {
	return []string{pipeline.TopicNetwork, pipeline.TopicHost, pipeline.TopicCloud}
}

// composedFlows are what flow logs see of six hosts, each with peers of its
// own: some send steadily, one ever more.
func composedFlows() (out []event.Event) {
	for host := range 6 {
		for i := range int64(17) {
			e := event.Event{Kind: event.KindFlow, Time: storyBegin + (3+10*i)*minutes, ID: fmt.Sprintf("f%d-%d", host, i)}
			e.Start, e.End = e.Time-minutes, e.Time
			e.Observer.Type = "vpcflow"
			e.Source = event.Endpoint{IP: netip.AddrFrom4([4]byte{10, 0, 1, byte(10 + host)}), Port: event.N(40000 + i), Bytes: event.N(uint64(3_000_000 * (1 + host*int(i)))), Packets: event.N(2000)}
			e.Destination = event.Endpoint{IP: netip.AddrFrom4([4]byte{198, 51, 100, byte(10 + host*3 + int(i)%3)}), Port: event.N(443)}
			e.Network = event.Network{Transport: "tcp", Layer: event.LayerIP}
			e.Flow = event.Flow{Action: "accept", Interface: fmt.Sprintf("eni-%d", host), InstanceID: fmt.Sprintf("i-%d", host)}
			out = append(out, e)
		}
	}
	return out
}

// composedConns are internal transfers: two hosts collect from many.
func composedConns() (out []event.Event) {
	for host := range 2 {
		for i := range int64(12) {
			e := event.Event{Kind: event.KindConn, Time: storyBegin + (8+11*i)*minutes, ID: fmt.Sprintf("c%d-%d", host, i)}
			e.Start = e.Time - minutes/2
			e.Observer.Type = "zeek"
			e.Source = event.Endpoint{IP: netip.AddrFrom4([4]byte{10, 0, 2, byte(10 + host)}), Port: event.N(50000 + i), Bytes: event.N(4000)}
			e.Destination = event.Endpoint{IP: netip.AddrFrom4([4]byte{10, 0, 3, byte(1 + i)}), Port: event.N(22), Bytes: event.N(uint64(12_000_000 + i))}
			e.Network = event.Network{Transport: "tcp", Layer: event.LayerPayload}
			e.Conn.State = "SF"
			out = append(out, e)
		}
	}
	return out
}

// composedReads are what CloudTrail tells of three roles, some events again, up to an hour later.
func composedReads() (out []event.Event) {
	for role := range 3 {
		for i := range int64(40) {
			id := i
			if i%4 == 3 {
				id = i / 2
			}
			e := event.Event{Kind: event.KindObject, Time: storyBegin + (30+i*3)*minutes, Action: "GetObject", Outcome: "success", ID: fmt.Sprintf("r%d-%d", role, id)}
			e.Observer.Type = "cloudtrail"
			e.Source.IP = netip.AddrFrom4([4]byte{10, 0, 1, byte(10 + role)})
			e.User = event.User{ID: fmt.Sprintf("arn:aws:iam::111122223333:role/app-%d", role), Type: "AssumedRole", Session: "one"}
			e.Cloud = event.Cloud{Provider: "aws", Account: "111122223333", Service: "s3.amazonaws.com"}
			bucket := []string{"crm", "payroll", "web"}[role]
			e.Object = event.Object{Bucket: bucket, Key: fmt.Sprintf("k%d", i), BytesOut: event.N(uint64(20_000_000 * (1 + role)))}
			out = append(out, e)
		}
	}
	return out
}

// outputs keeps what operators emit.
type outputs struct {
	tb       testing.TB
	out      []operator.Output
	repeated int64 // events that came again
}

// Emit implements operator.Context.
func (o *outputs) Emit(out operator.Output) {
	out.Key, out.Value = bytes.Clone(out.Key), bytes.Clone(out.Value)
	o.out = append(o.out, out)
}

// Touch implements operator.Context: nothing is saved meanwhile.
func (o *outputs) Touch(int) {}

// Count implements operator.Context.
func (o *outputs) Count(name, _ string, n int64) {
	if name == "events_repeated" {
		o.repeated += n
	}
}

// partitioned are the operators of a topic with the offsets of its partitions.
type partitioned struct {
	tb      testing.TB
	topic   string
	ops     []operator.Operator
	offsets []int64
}

func newPartitioned(tb testing.TB, topic string, n int) *partitioned {
	tb.Helper()
	p := &partitioned{tb: tb, topic: topic, offsets: make([]int64, n)}
	for range n {
		p.ops = append(p.ops, newOperator(tb, topic))
	}
	return p
}

// newOperator is an empty operator as the services make it for a topic.
func newOperator(tb testing.TB, topic string) operator.Operator {
	tb.Helper()
	op, err := pipeline.NewSet("default", detect.Bounds{Keys: 10_000})
	if topic == signalsTopic {
		op, err = pipeline.NewCorrelator(false)
	}
	if err == nil {
		err = op.Epoch("site", storySite(tb))
	}
	if err != nil {
		tb.Fatal(err)
	}
	return op
}

const signalsTopic = "ebb.signals.v1"

// apply hands a record to the partition of its key, a mark to each.
func (p *partitioned) apply(e *entry, to *outputs) {
	p.tb.Helper()
	for i, op := range p.ops {
		if e.Kind != event.KindMark.String() && i != place(e.Key, len(p.ops)) {
			continue
		}
		rec := operator.Record{Topic: p.topic, Partition: int32(i), Offset: p.offsets[i], Time: e.Time, Kind: e.Kind, Key: []byte(e.Key), Value: e.Value}
		p.offsets[i]++
		if err := op.Apply(&rec, to); err != nil {
			p.tb.Fatalf("%s/%d offset %d: %v", p.topic, i, rec.Offset, err)
		}
	}
}

// place spreads keys over partitions.
func place(key string, n int) int {
	h := uint32(2166136261)
	for _, b := range []byte(key) {
		h = (h ^ uint32(b)) * 16777619
	}
	return int(h % uint32(n))
}

// bySubject sorts outputs by whom they are about, each in their order, without
// the coordinates of evidence: which partition a record was in is not what it
// says. Marks of partitions are left out.
func (o *outputs) bySubject() map[string][]string {
	o.tb.Helper()
	got := map[string][]string{"repeated": {fmt.Sprint(o.repeated)}}
	for _, out := range o.out {
		switch out.Kind {
		case signal.KindSignal:
			var s signal.Signal
			if err := signal.Decode(out.Value, &s); err != nil {
				o.tb.Fatal(err)
			}
			for i := range s.Evidence {
				s.Evidence[i].Partition, s.Evidence[i].Offset = 0, 0
			}
			text, err := s.Append(nil)
			if err != nil {
				o.tb.Fatal(err)
			}
			got[s.Detector+" "+s.Key] = append(got[s.Detector+" "+s.Key], string(text))
		case signal.KindFact:
			got[string(out.Value)] = append(got[string(out.Value)], "")
		}
	}
	return got
}
