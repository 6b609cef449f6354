package event_test

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// cmpEvents compares events by value; an empty list equals an absent one.
func cmpEvents(a, b *event.Event) string {
	return cmp.Diff(a, b, cmp.Comparer(func(x, y netip.Addr) bool { return x == y }),
		cmp.AllowUnexported(event.Count{}), cmp.FilterPath(func(p cmp.Path) bool {
			return p.Last().Type() != nil && p.Last().Type().Kind() == reflect.Slice
		}, cmp.Comparer(func(x, y any) bool {
			vx, vy := reflect.ValueOf(x), reflect.ValueOf(y)
			if !vx.IsValid() || !vy.IsValid() {
				return vx.IsValid() == vy.IsValid()
			}
			if vx.Len() != vy.Len() {
				return false
			}
			for i := range vx.Len() {
				if vx.Index(i).Interface() != vy.Index(i).Interface() {
					return false
				}
			}
			return true
		})))
}

// drawEvent makes an event of any kind with any of its fields set, and
// nothing else.
func drawEvent(t *rapid.T) *event.Event {
	k := event.Kind(rapid.IntRange(int(event.KindFlow), int(event.KindMark)-1).Draw(t, "kind"))
	e := &event.Event{Kind: k}
	for _, f := range event.Fields(k) {
		if rapid.Bool().Draw(t, "has "+f.Key) {
			f.Draw(t, e)
		}
	}
	return e
}

func TestEncodeDecodeIsIdentity(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t)
		data, err := e.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var got event.Event
		if err := event.Decode(data, &got); err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if d := cmpEvents(e, &got); d != "" {
			t.Fatalf("decoded differs:\n%s\n%s", d, data)
		}
		// The general decoder agrees with the canonical one.
		var general event.Event
		if err := event.DecodeGeneral(data, &general); err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if d := cmpEvents(e, &general); d != "" {
			t.Fatalf("general decode differs:\n%s\n%s", d, data)
		}
		again, err := got.Append(nil)
		if err != nil || string(again) != string(data) {
			t.Fatalf("encoding is not canonical: %v\n%s\n%s", err, data, again)
		}
		if !event.DecodeCanonical(data, &got) {
			t.Fatalf("the canonical decoder refused what Append wrote: %s", data)
		}
	})
}

func TestDecodeErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in   string
		want error
	}{
		"not JSON":     {"flow", event.ErrFormat},
		"empty":        {"", event.ErrFormat},
		"no kind":      {`{"v":1}`, event.ErrFormat},
		"foreign kind": {`{"kind":"smoke","v":1}`, event.ErrKind},
		"mark":         {`{"kind":"mark","v":1}`, event.ErrKind},
		"next version": {`{"kind":"flow","v":2}`, event.ErrVersion},
		"bad address":  {`{"kind":"flow","v":1,"source.ip":"300.1.1.1"}`, event.ErrFormat},
		"bad count":    {`{"kind":"flow","v":1,"source.bytes":-1}`, event.ErrFormat},
		"cut off":      {`{"kind":"flow","v":1,"source.bytes":1`, event.ErrFormat},
		"trailing":     {`{"kind":"flow","v":1}x`, event.ErrFormat},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var e event.Event
			if err := event.Decode([]byte(tc.in), &e); !isErr(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
		})
	}
}

func TestDecodeAcceptsForeignOrder(t *testing.T) {
	t.Parallel()
	var e event.Event
	in := `{ "source.bytes": 12, "unknown.field": {"a":[1]}, "v": 1, "source.ip": "10.0.0.1", "destination.ip": null, "kind": "flow" }`
	if err := event.Decode([]byte(in), &e); err != nil {
		t.Fatal(err)
	}
	if e.Kind != event.KindFlow || e.Source.Bytes.Or(0) != 12 || e.Source.IP.String() != "10.0.0.1" || e.Destination.IP.IsValid() {
		t.Errorf("decoded %+v", e)
	}
}

// flowEvent is a flow record as ingest-flow writes it: 22 fields.
func flowEvent() *event.Event {
	e := &event.Event{Kind: event.KindFlow, Time: 1795430216381689, Start: 1795430156381689, End: 1795430216381689}
	e.Observer = event.Observer{Type: "vpcflow", Name: "vpc-0a1b", Realm: "default"}
	e.Origin = event.Origin{Name: "s3://logs/a.log.gz", Line: event.N(17)}
	e.Source = event.Endpoint{IP: netip.MustParseAddr("10.20.117.10"), Port: event.N(50188), Bytes: event.N(20872968), Packets: event.N(15199)}
	e.Destination = event.Endpoint{IP: netip.MustParseAddr("203.0.113.117"), Port: event.N(443)}
	e.Network = event.Network{Transport: "tcp", Direction: event.Outbound, Layer: event.LayerIP}
	e.Flow = event.Flow{Action: "accept", TCPFlags: event.N(19), Interface: "eni-0123456789abcdef0", InstanceID: "i-0123456789abcdef0"}
	return e
}

func TestFlowDecodeAllocations(t *testing.T) {
	data, err := flowEvent().Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	var e event.Event
	if n := testing.AllocsPerRun(100, func() {
		if err := event.Decode(data, &e); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("decode of a flow event: %v allocations, budget 0", n)
	}
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { buf, _ = e.Append(buf[:0]) }); n > 0 {
		t.Errorf("encode of a flow event: %v allocations, budget 0", n)
	}
}

func BenchmarkDecodeFlow(b *testing.B) {
	data, err := flowEvent().Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	var e event.Event
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := event.Decode(data, &e); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodeFlowPlain is the baseline: segmentio, without copies.
func BenchmarkDecodeFlowPlain(b *testing.B) {
	data, err := flowEvent().Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	var p event.Plain
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := event.DecodePlain(data, &p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeFlowGeneral(b *testing.B) {
	data, err := flowEvent().Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	var e event.Event
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		e.Reset()
		if err := event.DecodeGeneral(data, &e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeFlow(b *testing.B) {
	e := flowEvent()
	buf, err := e.Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = e.Append(buf[:0])
	}
}

func FuzzDecode(f *testing.F) {
	seed, err := flowEvent().Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"v":1,"kind":"dns","dns.question.name":"a\u0041\\x00","dns.resolved_ip":["::1","1.2.3.4"]}`))
	f.Add([]byte(`{"kind":"health","v":1,"time":-12345678901234567,"health.percent_lost":1.5e-7}`))
	f.Add([]byte(`{"kind":"icmp","v":1,"source.ip":"255.0.10.1","icmp.hash":"00ff00ff00ff00ff","icmp.content":"FF"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		same(t, data)
		var e, again event.Event
		if event.Decode(data, &e) != nil {
			return
		}
		out, err := e.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := event.Decode(out, &again); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if d := cmpEvents(&e, &again); d != "" {
			t.Fatal(d)
		}
		if !event.DecodeCanonical(out, &again) {
			t.Fatalf("the canonical decoder refused what Append wrote: %s", out)
		}
	})
}
