package correlate_test

import (
	"fmt"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/correlate"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// sink is a runner that keeps nothing.
type sink struct{ alerts int }

func (s *sink) Emit(operator.Output)      { s.alerts++ }
func (*sink) Touch(int)                   {}
func (*sink) Count(string, string, int64) {}
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// site of 5 000 hosts: each minute 200 weak signals, 2 stagings, 2 strong
// ones, 40 renewed facts and 12 marks, over 10 hours; each signal is sent
// twice, with four pieces of evidence.
func busyLog() []operator.Record {
	const hosts = 5000
	var out []operator.Record
	add := func(at int64, kind string, value []byte) {
		out = append(out, operator.Record{Topic: "ebb.signals.v1", Offset: int64(len(out)), Time: t0 + at, Kind: kind, Key: []byte("default"), Value: value})
	}
	ip := func(h int) string { return fmt.Sprintf("10.%d.%d.7", h/250, h%250) }
	host := func(h int) string { return fmt.Sprintf("host-%d", h) }
	heavy := func(s *signal.Signal) {
		for range 3 {
			s.Evidence = append(s.Evidence, s.Evidence[0])
		}
		for i := range s.Evidence {
			s.Evidence[i].Record = []byte(`{"kind":"conn","v":1,"time":1772445600000000,"observer.type":"zeek","observer.name":"sensor-1","source.ip":"10.0.0.7","source.port":51234,"source.bytes":20000000,"destination.ip":"203.0.113.9","destination.port":443,"network.transport":"tcp","network.direction":"outbound"}`)
			s.Evidence[i].Offset += int64(i)
		}
	}
	fact := func(at int64, h int) {
		f := signal.Fact{A: ident("address:default|" + ip(h)), B: ident("host:" + host(h)), From: t0 + at, Source: "dhcp"}
		add(at, signal.KindFact, must(f.Append(nil)))
	}
	for h := range hosts {
		fact(0, h)
	}
	for m := range int64(600) {
		at := m * minute
		send := func(s signal.Signal) {
			add(at, signal.KindSignal, must(s.Append(nil)))
			s.Revision, s.Time = 2, s.Time+minute
			add(at+minute/2, signal.KindSignal, must(s.Append(nil)))
		}
		for i := range 200 {
			h := int(m*37+int64(i)*13) % hosts
			send(sig("external-transfer", at-5*minute, at, onAddress(ip(h)), bytesOf(20e6), heavy))
		}
		for i := range 2 {
			send(sig("archive-sensitive", at-minute, at, onHost(host(int(m*7+int64(i)*991)%hosts)), heavy))
			send(sig("dns-tunnel", at-minute, at, strong, onAddress(ip(int(m*11+int64(i)*37)%hosts)), heavy))
		}
		for i := range 40 {
			fact(at, int(m*40+int64(i))%hosts)
		}
		for i := range int64(12) {
			mk := event.Mark{Instance: "detect/ebb.network.v1/0", Full: true, Sources: []event.SourceMark{{Type: "zeek", Name: "z", Realm: "default", Low: t0 + at}}}
			add(at+i*5*second, event.KindMark.String(), must(mk.Append(nil)))
		}
	}
	return out
}

// The figure that counts is records/s.
func BenchmarkApply(b *testing.B) {
	log := busyLog()
	var size int64
	for i := range log {
		size += int64(len(log[i].Value))
	}
	b.ReportAllocs()
	b.SetBytes(size / int64(len(log)))
	var c *correlate.Correlator
	i, out := 0, &sink{}
	for b.Loop() {
		if i == 0 {
			c = must(correlate.New(correlate.Config{}))
		}
		if err := c.Apply(&log[i], out); err != nil {
			b.Fatal(err)
		}
		i = (i + 1) % len(log)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(c.Signals()), "held")
}

// One host that does everything at once.
func BenchmarkApplyOneEntity(b *testing.B) {
	var log []operator.Record
	for i := range int64(200) {
		for _, s := range []signal.Signal{
			sig("archive-sensitive", i*second, i*second, strong, onHost("h"), about(fmt.Sprint(i))),
			sig("external-transfer", i*second, i*second, onHost("h"), bytesOf(20e6), about(fmt.Sprint(i))),
		} {
			log = append(log, operator.Record{Time: t0 + i*second, Kind: signal.KindSignal, Value: must(s.Append(nil))})
		}
	}
	b.ReportAllocs()
	var c *correlate.Correlator
	i, out := 0, &sink{}
	for b.Loop() {
		if i == 0 {
			c = must(correlate.New(correlate.Config{}))
		}
		if err := c.Apply(&log[i], out); err != nil {
			b.Fatal(err)
		}
		i = (i + 1) % len(log)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkSnapshot(b *testing.B) {
	c, out := must(correlate.New(correlate.Config{})), &sink{}
	for _, r := range busyLog() {
		if err := c.Apply(&r, out); err != nil {
			b.Fatal(err)
		}
	}
	var buf []byte
	for b.Loop() {
		buf = c.AppendShared(buf[:0])
		for i := range c.Buckets() {
			buf = c.AppendBucket(buf, i)
		}
	}
	b.SetBytes(int64(len(buf)))
}
