package identity_test

import (
	"net/netip"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/detect/identity"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/google/go-cmp/cmp"
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

func TestFacts(t *testing.T) {
	t.Parallel()
	role := &event.Event{Kind: event.KindObject, Time: base}
	role.Observer.Type, role.User.ID, role.User.Session = "cloudtrail", "arn:role", "i-9"
	role.Source.IP = netip.MustParseAddr("203.0.113.9")
	person := &event.Event{Kind: event.KindObject, Time: base}
	person.Observer.Type, person.User.ID, person.User.Session = "cloudtrail", "arn:role", "alice"
	future := flow("10.0.0.1", "203.0.113.9", "egress", base)
	future.Future = true
	for name, tc := range map[string]struct {
		in   []*event.Event
		want []string
	}{
		"egress":                    {[]*event.Event{flow("10.0.0.1", "10.0.0.2", "egress", base)}, []string{"address default|10.0.0.1 = interface eni-1", "interface eni-1 = instance i-1"}},
		"ingress":                   {[]*event.Event{flow("203.0.113.9", "10.0.0.2", "ingress", base)}, []string{"address default|10.0.0.2 = interface eni-1", "interface eni-1 = instance i-1"}},
		"by address":                {[]*event.Event{flow("203.0.113.9", "10.0.0.2", "", base)}, []string{"address default|10.0.0.2 = interface eni-1", "interface eni-1 = instance i-1"}},
		"both inside, no direction": {[]*event.Event{flow("10.0.0.1", "10.0.0.2", "", base)}, []string{"interface eni-1 = instance i-1"}},
		"again at once and after an hour": {
			[]*event.Event{flow("10.0.0.1", "9.9.9.9", "egress", base), flow("10.0.0.1", "9.9.9.9", "egress", base+1), flow("10.0.0.1", "9.9.9.9", "egress", base+3600_000_000)},
			[]string{
				"address default|10.0.0.1 = interface eni-1", "interface eni-1 = instance i-1",
				"address default|10.0.0.1 = interface eni-1", "interface eni-1 = instance i-1",
			},
		},
		"host":               {[]*event.Event{host("web-1", "", "host", "10.0.0.7")}, []string{"host web-1 = address default|10.0.0.7"}},
		"loopback":           {[]*event.Event{host("web-1", "", "", "127.0.0.1")}, nil},
		"pod":                {[]*event.Event{host("node", "p", "c1", "100.64.0.7")}, []string{"host node = pod prod/p", "host node = container c1", "pod prod/p = address default|100.64.0.7"}},
		"container":          {[]*event.Event{host("node", "", "c1", "172.17.0.2")}, []string{"host node = container c1", "container c1 = address default|172.17.0.2"}},
		"role outside":       {[]*event.Event{role}, []string{"instance i-9 = principal arn:role"}},
		"a person's session": {[]*event.Event{person}, nil},
		"from the future":    {[]*event.Event{future}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(tc.want, run(t, tc.in...)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestBounded(t *testing.T) {
	t.Parallel()
	var in []*event.Event
	for i := range 300 {
		e := flow("10.0.0.1", "9.9.9.9", "egress", base)
		e.Source.IP = netip.AddrFrom4([4]byte{10, 1, byte(i / 256), byte(i)})
		in = append(in, e)
	}
	if n := len(run(t, in...)); n < 300 {
		t.Errorf("%d facts of 300 addresses", n)
	}
}
