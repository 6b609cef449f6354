package identity_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/detect/identity"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// facts collects the facts that a set emits.
type facts struct {
	t    *testing.T
	list []string
}

func (f *facts) Emit(out operator.Output) {
	if out.Kind != signal.KindFact {
		return
	}
	var x signal.Fact
	if err := signal.DecodeFact(out.Value, &x); err != nil {
		f.t.Fatal(err)
	}
	f.list = append(f.list, string(x.A.Type)+" "+x.A.Value+" = "+string(x.B.Type)+" "+x.B.Value)
}

func (*facts) Touch(int) {}

func (*facts) Count(string, string, int64) {}

const base = int64(1_795_430_000_000_000)

// run applies events to a set, scribbles over each record afterwards, and
// passes the state through a snapshot after every event.
func run(t *testing.T, events ...*event.Event) []string {
	t.Helper()
	return apply(t, true, events)
}

// apply is run, through snapshots or without.
func apply(t *testing.T, reload bool, events []*event.Event) []string {
	t.Helper()
	newSet := func() *detect.Set {
		s, err := detect.NewSet(detect.Config{}, []detect.Detector{identity.New()})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	set, out := newSet(), &facts{t: t}
	for i, e := range events {
		e.Observer.Realm = "default"
		data, err := e.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := set.Apply(&operator.Record{Kind: e.Kind.String(), Key: []byte("k"), Value: data, Offset: int64(i)}, out); err != nil {
			t.Fatal(err)
		}
		for j := range data {
			data[j] = 'x'
		}
		if !reload {
			continue
		}
		next := newSet()
		for b := range set.Buckets() {
			if err := next.LoadBucket(b, set.AppendBucket(nil, b)); err != nil {
				t.Fatal(err)
			}
		}
		if err := next.LoadShared(set.AppendShared(nil)); err != nil {
			t.Fatal(err)
		}
		set = next
	}
	return out.list
}

func flow(src, dst, direction string, at int64) *event.Event {
	e := &event.Event{Kind: event.KindFlow, Time: at}
	e.Observer.Type = "vpcflow"
	e.Source.IP, e.Destination.IP = netip.MustParseAddr(src), netip.MustParseAddr(dst)
	e.Flow = event.Flow{Interface: "eni-1", InstanceID: "i-1", Direction: direction}
	return e
}

func host(name, pod, container, local string) *event.Event {
	e := &event.Event{Kind: event.KindProcess, Time: base}
	e.Observer.Type, e.Host.Name, e.Host.Pod, e.Host.ContainerID = "falco", name, pod, container
	if pod != "" {
		e.Host.Namespace = "prod"
	}
	if local != "" {
		e.Source.IP = netip.MustParseAddr(local)
	}
	return e
}

// at moves an event.
func at(e *event.Event, minutes int64) *event.Event {
	e.Time = base + minutes*60_000_000
	return e
}

func TestFacts(t *testing.T) {
	t.Parallel()
	cloud := func(session, ip string) *event.Event {
		e := &event.Event{Kind: event.KindObject, Time: base}
		e.Observer.Type, e.User.ID, e.User.Session = "cloudtrail", "arn:role", session
		e.Source.IP = netip.MustParseAddr(ip)
		return e
	}
	// nat is a record at a gateway: the packet's addresses are others than the
	// interface's.
	nat := func(src, natSrc, dst, natDst, direction string) *event.Event {
		e := flow(src, dst, direction, base)
		e.Flow.Interface, e.Flow.InstanceID = "eni-nat", ""
		if natSrc != "" {
			e.Source.NatIP = netip.MustParseAddr(natSrc)
		}
		if natDst != "" {
			e.Destination.NatIP = netip.MustParseAddr(natDst)
		}
		return e
	}
	future := flow("10.0.0.1", "203.0.113.9", "egress", base)
	future.Future = true
	attachment := flow("10.0.0.1", "10.9.0.1", "ingress", base)
	attachment.Observer.Type, attachment.Flow.Interface, attachment.Flow.InstanceID = "tgwflow", "tgw-attach-1", ""
	noInterface := flow("10.0.0.1", "203.0.113.9", "egress", base)
	noInterface.Flow.Interface = ""
	for name, tc := range map[string]struct {
		in   []*event.Event
		want []string
	}{
		"egress":                    {[]*event.Event{flow("10.0.0.1", "10.0.0.2", "egress", base)}, []string{"address default|10.0.0.1 = interface eni-1", "interface eni-1 = instance i-1"}},
		"ingress":                   {[]*event.Event{flow("203.0.113.9", "10.0.0.2", "ingress", base)}, []string{"address default|10.0.0.2 = interface eni-1", "interface eni-1 = instance i-1"}},
		"by address":                {[]*event.Event{flow("203.0.113.9", "10.0.0.2", "", base)}, []string{"address default|10.0.0.2 = interface eni-1", "interface eni-1 = instance i-1"}},
		"both inside, no direction": {[]*event.Event{flow("10.0.0.1", "10.0.0.2", "", base)}, []string{"interface eni-1 = instance i-1"}},
		"no interface id":           {[]*event.Event{noInterface}, []string{"address default|10.0.0.1 = instance i-1"}},
		"another's packet at a gateway, no direction": {[]*event.Event{nat("10.0.1.5", "", "203.0.113.5", "10.0.0.220", "")}, nil},
		"another's packet at a gateway, ingress":      {[]*event.Event{nat("10.0.1.5", "", "203.0.113.5", "10.0.0.220", "ingress")}, []string{"address default|10.0.0.220 = interface eni-nat"}},
		"the gateway's own packet":                    {[]*event.Event{nat("10.0.0.220", "", "203.0.113.5", "", "")}, []string{"address default|10.0.0.220 = interface eni-nat"}},
		"a forwarded packet":                          {[]*event.Event{nat("10.0.1.5", "10.0.0.220", "203.0.113.5", "", "egress")}, []string{"address default|10.0.0.220 = interface eni-nat"}},
		"a transit gateway":                           {[]*event.Event{attachment}, nil},
		"again at once and after an hour": {
			[]*event.Event{flow("10.0.0.1", "9.9.9.9", "egress", base), flow("10.0.0.1", "9.9.9.9", "egress", base+1), flow("10.0.0.1", "9.9.9.9", "egress", base+3600_000_000)},
			[]string{
				"address default|10.0.0.1 = interface eni-1", "interface eni-1 = instance i-1",
				"address default|10.0.0.1 = interface eni-1", "interface eni-1 = instance i-1",
			},
		},
		"a change, and back": {
			[]*event.Event{host("a", "", "", "10.0.0.7"), at(host("b", "", "", "10.0.0.7"), 1), at(host("a", "", "", "10.0.0.7"), 30), at(host("a", "", "", "10.0.0.7"), 31)},
			[]string{"address default|10.0.0.7 = host a", "address default|10.0.0.7 = host b", "address default|10.0.0.7 = host a"},
		},
		"by turns": {
			[]*event.Event{
				host("a", "", "", "10.0.0.7"), at(host("b", "", "", "10.0.0.7"), 1), at(host("a", "", "", "10.0.0.7"), 2), at(host("b", "", "", "10.0.0.7"), 3),
				at(host("a", "", "", "10.0.0.7"), 6), at(host("b", "", "", "10.0.0.7"), 7),
			},
			[]string{"address default|10.0.0.7 = host a", "address default|10.0.0.7 = host b", "address default|10.0.0.7 = host a"},
		},
		"host":                       {[]*event.Event{host("web-1", "", "host", "10.0.0.7")}, []string{"address default|10.0.0.7 = host web-1"}},
		"loopback":                   {[]*event.Event{host("web-1", "", "", "127.0.0.1")}, nil},
		"link-local":                 {[]*event.Event{host("web-1", "", "", "fe80::1")}, nil},
		"pod":                        {[]*event.Event{host("node", "p", "c1", "100.64.0.7")}, []string{"pod prod/p = host node", "container c1 = pod prod/p", "container c1 = host node", "address default|100.64.0.7 = pod prod/p"}},
		"container":                  {[]*event.Event{host("node", "", "c1", "172.17.0.2")}, []string{"container c1 = host node", "address default|172.17.0.2 = container c1"}},
		"role outside":               {[]*event.Event{cloud("i-0123456789abcdef0", "203.0.113.9")}, []string{"instance i-0123456789abcdef0 = principal arn:role"}},
		"role inside":                {[]*event.Event{cloud("i-01234567", "10.0.0.9")}, []string{"instance i-01234567 = principal arn:role", "address default|10.0.0.9 = instance i-01234567"}},
		"a person's session":         {[]*event.Event{cloud("alice", "10.0.0.9")}, nil},
		"a session that looks alike": {[]*event.Event{cloud("i-am-alice", "10.0.0.9")}, nil},
		"from the future":            {[]*event.Event{future}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(tc.want, run(t, tc.in...)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestFlood holds that forged names cost bounded memory and facts, and that
// what is known keeps its place.
// TestWhatWasToldLast: that a record which says nothing new is passed over at
// once changes nothing: a set that lost its memory of the last one says the same.
func TestWhatWasToldLast(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		list := func() []*event.Event {
			var out []*event.Event
			for i := range 40 {
				draw := func(what string, n int) int { return rapid.IntRange(0, n-1).Draw(rt, fmt.Sprint(what, i)) }
				if draw("kind", 8) == 0 {
					out = append(out, at(host("h", "", "", "10.0.0.1"), int64(4*i)))
					continue
				}
				e := at(flow(fmt.Sprintf("10.0.0.%d", 1+draw("own", 2)), "203.0.113.9", "egress", 0), int64(4*i))
				e.Flow.Interface = []string{"", "eni-1", "eni-2"}[draw("interface", 3)]
				e.Flow.InstanceID = []string{"", "i-1", "i-2"}[draw("instance", 3)]
				out = append(out, e)
			}
			return out
		}()
		kept, lost := apply(t, false, list), apply(t, true, list)
		if d := cmp.Diff(lost, kept); d != "" {
			rt.Fatalf("(-lost +kept)\n%s", d)
		}
	})
}

func TestFlood(t *testing.T) {
	t.Parallel()
	set, err := detect.NewSet(detect.Config{}, []detect.Detector{identity.New()})
	if err != nil {
		t.Fatal(err)
	}
	out := &facts{t: t}
	apply := func(e *event.Event) {
		data, err := e.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := set.Apply(&operator.Record{Kind: e.Kind.String(), Key: []byte("k"), Value: data}, out); err != nil {
			t.Fatal(err)
		}
	}
	apply(host("node", "p", "c", ""))
	for i := range 20_000 {
		apply(at(host("node", "", fmt.Sprint("c", i), ""), int64(i)/1000))
	}
	size := 0
	for b := range set.Buckets() {
		size += len(set.AppendBucket(nil, b))
	}
	if len(out.list) > 512 || size > 64<<10 {
		t.Errorf("%d facts, %d bytes of state", len(out.list), size)
	}
	n := len(out.list)
	apply(at(host("node", "p", "c", ""), 30))
	if len(out.list) != n {
		t.Errorf("a known fact was sent again: %v", out.list[n:])
	}
}

// TestKnownFactsCostNothing holds that an event which says nothing new costs no
// allocation beyond the set's own.
func TestKnownFactsCostNothing(t *testing.T) { //nolint:paralleltest // it counts allocations
	set, err := detect.NewSet(detect.Config{}, []detect.Detector{identity.New()})
	if err != nil {
		t.Fatal(err)
	}
	out := &facts{t: t}
	for _, e := range []*event.Event{flow("10.0.0.1", "9.9.9.9", "egress", base), host("node", "p", "c1", "100.64.0.7")} {
		data, err := e.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		rec := &operator.Record{Kind: e.Kind.String(), Key: []byte("k"), Value: data}
		if n := testing.AllocsPerRun(100, func() { _ = set.Apply(rec, out) }); n != 0 {
			t.Errorf("%s: %v allocations", e.Kind, n)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	for name, e := range map[string]*event.Event{"flow": flow("10.0.0.1", "9.9.9.9", "egress", base), "host": host("node", "p", "c1", "100.64.0.7")} {
		b.Run(name, func(b *testing.B) {
			set, err := detect.NewSet(detect.Config{}, []detect.Detector{identity.New()})
			if err != nil {
				b.Fatal(err)
			}
			data, err := e.Append(nil)
			if err != nil {
				b.Fatal(err)
			}
			rec, out := &operator.Record{Kind: e.Kind.String(), Key: []byte("k"), Value: data}, &facts{}
			b.ReportAllocs()
			for b.Loop() {
				_ = set.Apply(rec, out)
			}
		})
	}
}

// A lease and a login bind an address to the name that its machine gives; other
// connections make no state.
func TestNames(t *testing.T) {
	t.Parallel()
	conn := func(protocol, name, src string) *event.Event {
		e := &event.Event{Kind: event.KindConn, Time: base}
		e.Observer.Type = "zeek"
		e.Network.Protocol = protocol
		e.Source.IP, e.Source.Domain, e.Destination.IP = netip.MustParseAddr(src), name, netip.MustParseAddr("10.0.0.1")
		return e
	}
	got := run(t, conn("http", "laptop-1", "10.0.0.5"), conn("dhcp", "laptop-7", "10.0.0.7"), conn("dhcp", "laptop-7", "10.0.0.7"),
		conn("ntlm", "server-8", "10.0.0.8"), conn("ntlm", "far", "203.0.113.9"), conn("dhcp", "", "10.0.0.9"))
	want := []string{"address default|10.0.0.7 = host laptop-7", "address default|10.0.0.8 = host server-8"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
