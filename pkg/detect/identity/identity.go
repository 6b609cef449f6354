package identity

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// refresh is after how long, in microseconds of event time, a fact that is
// still seen is sent again.
const refresh = 60 * 60 * 1_000_000

// maxFacts bounds the facts that are remembered of one key. What falls out is
// sent again when it is seen again.
const maxFacts = 64

// Detector reads facts. It has no signals.
type Detector struct{}

// New makes the detector.
func New() detect.Detector { return &Detector{} }

// Info implements detect.Detector.
func (*Detector) Info() detect.Info {
	return detect.Info{
		ID: "identity",
		Kinds: []event.Kind{
			event.KindFlow, event.KindProcess, event.KindFile, event.KindDevice, event.KindObject, event.KindShare, event.KindManagement,
		},
	}
}

// Configure implements detect.Detector.
func (*Detector) Configure(*site.Site) {}

// New implements detect.Detector.
func (*Detector) New() detect.State { return &state{} }

// sent is a fact and the event time for which it was sent last.
type sent struct {
	a, b signal.Identifier
	at   int64
}

// state remembers the facts of one key that were sent, oldest first.
type state struct{ facts []sent }

// Apply implements detect.State.
func (s *state) Apply(e *event.Event, env *detect.Env) {
	if e.Future {
		return
	}
	switch e.Kind.Plane() {
	case event.PlaneNetwork:
		s.flow(e, env)
	case event.PlaneHost:
		s.host(e, env)
	case event.PlaneCloud:
		s.cloud(e, env)
	case event.PlaneNone:
	}
}

// flow binds the address on whose interface a flow was recorded.
func (s *state) flow(e *event.Event, env *detect.Env) {
	var own netip.Addr
	switch {
	case e.Flow.Direction == "egress":
		own = e.Source.IP
	case e.Flow.Direction == "ingress":
		own = e.Destination.IP
	case env.Site.Internal(e.Source.IP) != env.Site.Internal(e.Destination.IP):
		// Without a direction only the internal side can have written it.
		own = e.Source.IP
		if env.Site.Internal(e.Destination.IP) {
			own = e.Destination.IP
		}
	}
	if s.machine(own, env, e.Time) {
		s.tell(e, env, signal.IDAddress, addressOf(e, own), signal.IDInterface, e.Flow.Interface)
		if e.Flow.Interface == "" {
			s.tell(e, env, signal.IDAddress, addressOf(e, own), signal.IDInstance, e.Flow.InstanceID)
		}
	}
	s.tell(e, env, signal.IDInterface, e.Flow.Interface, signal.IDInstance, e.Flow.InstanceID)
}

// host binds what a host sensor names.
func (s *state) host(e *event.Event, env *detect.Env) {
	host := e.Host.Name
	if e.Host.Pod != "" {
		s.tell(e, env, signal.IDHost, host, signal.IDPod, e.Host.Namespace+"/"+e.Host.Pod)
	}
	if e.Host.ContainerID != "" && e.Host.ContainerID != "host" {
		s.tell(e, env, signal.IDHost, host, signal.IDContainer, e.Host.ContainerID)
	}
	// A container's connection shows the pod's address, not the host's.
	if s.machine(e.Source.IP, env, e.Time) {
		switch {
		case e.Host.Pod != "":
			s.tell(e, env, signal.IDPod, e.Host.Namespace+"/"+e.Host.Pod, signal.IDAddress, addressOf(e, e.Source.IP))
		case e.Host.ContainerID == "" || e.Host.ContainerID == "host":
			s.tell(e, env, signal.IDHost, host, signal.IDAddress, addressOf(e, e.Source.IP))
		default:
			s.tell(e, env, signal.IDContainer, e.Host.ContainerID, signal.IDAddress, addressOf(e, e.Source.IP))
		}
	}
}

// cloud binds the instance behind an instance role's session.
func (s *state) cloud(e *event.Event, env *detect.Env) {
	if !strings.HasPrefix(e.User.Session, "i-") {
		return
	}
	s.tell(e, env, signal.IDInstance, e.User.Session, signal.IDPrincipal, e.User.ID)
	if s.machine(e.Source.IP, env, e.Time) {
		s.tell(e, env, signal.IDAddress, addressOf(e, e.Source.IP), signal.IDInstance, e.User.Session)
	}
}

// machine reports whether an address can belong to one machine of the site.
func (s *state) machine(a netip.Addr, env *detect.Env, at int64) bool {
	return a.IsValid() && !a.IsLoopback() && !a.IsUnspecified() && !a.IsLinkLocalUnicast() && !a.IsMulticast() &&
		env.Site.Internal(a) && !env.Site.Aggregator(a, at)
}

func addressOf(e *event.Event, a netip.Addr) string {
	realm := e.Observer.Realm
	if realm == "" {
		realm = site.DefaultRealm
	}
	return string(site.AppendAddressKey(nil, realm, a))
}

// tell sends a fact that is new or due for a refresh.
func (s *state) tell(e *event.Event, env *detect.Env, at signal.IDType, a string, bt signal.IDType, b string) {
	if a == "" || b == "" {
		return
	}
	i := slices.IndexFunc(s.facts, func(f sent) bool { return f.a.Type == at && f.a.Value == a && f.b.Type == bt && f.b.Value == b })
	switch {
	case i >= 0 && e.Time < s.facts[i].at+refresh && e.Time > s.facts[i].at-refresh:
		return
	case i >= 0:
		f := s.facts[i]
		f.at = e.Time
		s.facts = append(slices.Delete(s.facts, i, i+1), f)
	default:
		if len(s.facts) == maxFacts {
			s.facts = slices.Delete(s.facts, 0, 1)
		}
		s.facts = append(s.facts, sent{
			signal.Identifier{Type: at, Value: strings.Clone(a)}, signal.Identifier{Type: bt, Value: strings.Clone(b)}, e.Time,
		})
	}
	f := s.facts[len(s.facts)-1]
	env.Fact(&signal.Fact{A: f.a, B: f.b, From: e.Time, Source: strings.Clone(e.Observer.Type)})
}

// Next implements detect.State.
func (s *state) Next() detect.Timer { return detect.NoTimer }

// Advance implements detect.State.
func (s *state) Advance(*detect.Env) {}

// Expired implements detect.State: facts older than a day are known to be
// stale where they are used.
func (s *state) Expired(low int64) bool {
	for _, f := range s.facts {
		if f.at+24*refresh > low {
			return false
		}
	}
	return true
}

// Append implements detect.State.
func (s *state) Append(dst []byte) []byte {
	dst = operator.AppendUint(dst, len(s.facts))
	for _, f := range s.facts {
		for _, id := range []signal.Identifier{f.a, f.b} {
			dst = operator.AppendString(operator.AppendString(dst, id.Type), id.Value)
		}
		dst = operator.AppendInt(dst, f.at)
	}
	return dst
}

// Load implements detect.State.
func (s *state) Load(data []byte) error {
	r := operator.NewReader(data)
	s.facts = nil
	for range r.Count() {
		f := sent{
			a: signal.Identifier{Type: signal.IDType(r.String()), Value: r.String()},
			b: signal.Identifier{Type: signal.IDType(r.String()), Value: r.String()},
		}
		f.at = r.Int()
		s.facts = append(s.facts, f)
	}
	return r.Err()
}
