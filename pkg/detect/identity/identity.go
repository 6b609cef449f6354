package identity

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strings"
	"unsafe"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// In microseconds of event time.
const (
	minute = 60 * 1_000_000
	// refresh is after how long a fact that is still seen is sent again.
	refresh = 60 * minute
	// turns is how often a fact may change.
	turns = 5 * minute
)

// maxBindings bounds what is remembered of one key.
const maxBindings = 512

// Detector reads facts. It has no signals.
type Detector struct{}

// New makes the detector.
func New() detect.Detector { return &Detector{} }

// Info implements detect.Detector.
func (*Detector) Info() detect.Info {
	return detect.Info{
		ID: "identity",
		Kinds: []event.Kind{
			event.KindFlow, event.KindConn, event.KindProcess, event.KindFile, event.KindDevice, event.KindObject, event.KindShare, event.KindManagement,
		},
	}
}

// Wants implements detect.Lazy: of connections only those concern it in which a
// machine gives its name.
func (*Detector) Wants(e *event.Event, _ *detect.Env) bool {
	return e.Kind != event.KindConn || named(e)
}

// Ignores implements detect.Choosy.
func (*Detector) Ignores(e *event.Event, _ *detect.Env) bool {
	return e.Kind == event.KindConn && !named(e)
}

// named reports whether the source of a connection said what it is called: in
// DHCP, or in a login that succeeded.
func named(e *event.Event) bool {
	return e.Source.Domain != "" && (e.Network.Protocol == "dhcp" || e.Network.Protocol == "ntlm")
}

// Configure implements detect.Detector.
func (*Detector) Configure(*site.Site) {}

// New implements detect.Detector.
func (*Detector) New() detect.State { return &state{} }

// binding is the wider identifier of one type that a narrower one belongs to.
type binding struct {
	// sent is the event time for which the fact was sent last, changed when
	// the wider one changed last.
	sent, changed int64
	wide, narrow  signal.Identifier
}

// state remembers the bindings of one key, by a hash of the narrow identifier
// and the type of the wide one.
type state struct {
	// few are the bindings while they are so few as those of most keys, many
	// are they beyond that.
	few  []known
	many map[uint64]*binding
	// full says until when there is no room, so that a flood is not answered
	// by a search each time. It follows from the bindings.
	full int64
	// told is the last flow record whose bindings were all known, until when
	// one like it says nothing new. It follows from the bindings as well.
	told struct {
		own   netip.Addr
		from  uint64 // hash of interface and instance
		until int64
	}
}

// known is a binding with its hash.
type known struct {
	id uint64
	binding
}

// maxFew is how many bindings are kept without a map.
const maxFew = 8

func (s *state) len() int { return len(s.few) + len(s.many) }

func (s *state) find(id uint64) *binding {
	for i := range s.few {
		if s.few[i].id == id {
			return &s.few[i].binding
		}
	}
	return s.many[id]
}

// put enters a binding that is not there. It is valid until the next one.
func (s *state) put(id uint64, x binding) *binding {
	n := len(s.few)
	if s.many == nil && n < maxFew {
		if n == cap(s.few) {
			s.few = append(make([]known, 0, n+max(1, n/2)), s.few...)
		}
		s.few = append(s.few, known{id, x})
		return &s.few[n].binding
	}
	if s.many == nil {
		s.many = map[uint64]*binding{}
		for _, k := range s.few {
			s.many[k.id] = &k.binding
		}
		s.few = nil
	}
	s.many[id] = &x
	return &x
}

// Size implements detect.Sized.
func (s *state) Size() int {
	size := 64 + cap(s.few)*int(unsafe.Sizeof(known{})) + (32+int(unsafe.Sizeof(binding{})))*len(s.many)
	for _, x := range s.sorted() {
		size += len(x.narrow.Value) + len(x.wide.Value)
	}
	return size
}

// Apply implements detect.State.
func (s *state) Apply(e *event.Event, env *detect.Env) {
	if e.Future {
		return
	}
	switch e.Kind.Plane() {
	case event.PlaneNetwork:
		if e.Kind == event.KindConn {
			s.named(e, env)
			return
		}
		s.flow(e, env)
	case event.PlaneHost:
		s.host(e, env)
	case event.PlaneCloud:
		s.cloud(e, env)
	case event.PlaneNone:
	}
}

// named binds an address to the name that its machine gives.
func (s *state) named(e *event.Event, env *detect.Env) {
	if named(e) && machine(e.Source.IP, env, e.Time) {
		var buf [96]byte
		tell(s, e, env, signal.IDAddress, address(buf[:0], e, e.Source.IP), signal.IDHost, e.Source.Domain)
	}
}

// flow binds the address of the interface that wrote a flow record.
func (s *state) flow(e *event.Event, env *detect.Env) {
	if strings.HasPrefix(e.Flow.Interface, "tgw-") || e.Observer.Type == "tgwflow" {
		return
	}
	own := owner(e, env.Site)
	from := xxhash.Sum64String(e.Flow.Interface) ^ xxhash.Sum64String(e.Flow.InstanceID)*31
	if e.Time < s.told.until && own == s.told.own && from == s.told.from {
		return
	}
	until := int64(0) // another site file may make a machine of what is none
	if machine(own, env, e.Time) {
		var buf [96]byte
		a := address(buf[:0], e, own)
		if e.Flow.Interface != "" {
			until = tell(s, e, env, signal.IDAddress, a, signal.IDInterface, e.Flow.Interface)
		} else {
			until = tell(s, e, env, signal.IDAddress, a, signal.IDInstance, e.Flow.InstanceID)
		}
	}
	s.told.until = min(until, tell(s, e, env, signal.IDInterface, e.Flow.Interface, signal.IDInstance, e.Flow.InstanceID))
	s.told.own, s.told.from = own, from
}

// owner is the address of the interface: of its side, and not the packet's
// where that is another machine's.
func owner(e *event.Event, st *site.Site) netip.Addr {
	src, dst := e.Source.IP, e.Destination.IP
	if e.Source.NatIP.IsValid() {
		src = e.Source.NatIP
	}
	if e.Destination.NatIP.IsValid() {
		dst = e.Destination.NatIP
	}
	switch e.Flow.Direction {
	case "egress":
		return src
	case "ingress":
		return dst
	}
	switch in, out := st.Internal(src), st.Internal(dst); {
	case in && !out:
		return src
	case out && !in:
		return dst
	}
	return netip.Addr{}
}

// host binds what a host sensor names.
func (s *state) host(e *event.Event, env *detect.Env) {
	var podBuf, addrBuf [160]byte
	host, container := e.Host.Name, e.Host.ContainerID
	if container == "host" {
		container = ""
	}
	var pod []byte
	if e.Host.Pod != "" {
		pod = append(append(append(podBuf[:0], e.Host.Namespace...), '/'), e.Host.Pod...)
		tell(s, e, env, signal.IDPod, pod, signal.IDHost, host)
		tell(s, e, env, signal.IDContainer, container, signal.IDPod, pod)
	}
	tell(s, e, env, signal.IDContainer, container, signal.IDHost, host)
	if !machine(e.Source.IP, env, e.Time) {
		return
	}
	// A container's connection shows the pod's address, which is not always
	// the host's.
	a := address(addrBuf[:0], e, e.Source.IP)
	switch {
	case pod != nil:
		tell(s, e, env, signal.IDAddress, a, signal.IDPod, pod)
	case container != "":
		tell(s, e, env, signal.IDAddress, a, signal.IDContainer, container)
	default:
		tell(s, e, env, signal.IDAddress, a, signal.IDHost, host)
	}
}

// cloud binds the instance behind an instance role's session.
func (s *state) cloud(e *event.Event, env *detect.Env) {
	if !instance(e.User.Session) {
		return
	}
	tell(s, e, env, signal.IDInstance, e.User.Session, signal.IDPrincipal, e.User.ID)
	if machine(e.Source.IP, env, e.Time) {
		var buf [96]byte
		tell(s, e, env, signal.IDAddress, address(buf[:0], e, e.Source.IP), signal.IDInstance, e.User.Session)
	}
}

// instance reports whether a session is named after an instance, as those of
// instance roles are: anyone else may call a session what they like, but not
// get the role of an instance.
func instance(session string) bool {
	id, ok := strings.CutPrefix(session, "i-")
	return ok && (len(id) == 8 || len(id) == 17) && strings.Trim(id, "0123456789abcdef") == ""
}

// machine reports whether an address can belong to one machine of the site.
func machine(a netip.Addr, env *detect.Env, at int64) bool {
	return a.IsValid() && !a.IsLoopback() && !a.IsUnspecified() && !a.IsLinkLocalUnicast() && !a.IsMulticast() &&
		env.Site.Internal(a) && !env.Site.Aggregator(a, at)
}

// address appends realm|address.
func address(dst []byte, e *event.Event, a netip.Addr) []byte {
	realm := e.Observer.Realm
	if realm == "" {
		realm = site.DefaultRealm
	}
	return site.AppendAddressKey(dst, realm, a)
}

// text is an identifier as it stands in an event or a buffer.
type text interface{ ~string | ~[]byte }

// tell sends the fact that an identifier belongs to a wider one, where it is
// new, has changed or is due for a refresh. Until the time that it returns, the
// same would say nothing unless something else was told meanwhile.
func tell[A, B text](s *state, e *event.Event, env *detect.Env, at signal.IDType, a A, bt signal.IDType, b B) (until int64) {
	if len(a) == 0 || len(b) == 0 {
		return math.MaxInt64
	}
	s.told.until = 0
	id := hash(at, a, bt)
	x := s.find(id)
	switch {
	case x == nil:
		if x = s.admit(id, e.Time); x == nil {
			env.Count("facts_dropped", string(bt), 1)
			return 0
		}
		*x = binding{
			narrow:  signal.Identifier{Type: at, Value: strings.Clone(string(a))},
			wide:    signal.Identifier{Type: bt, Value: strings.Clone(string(b))},
			changed: e.Time - turns, // the first change is told at once
		}
	case x.wide.Value == string(b):
		if e.Time < x.sent+refresh {
			return x.sent + refresh
		}
	case e.Time < x.changed+turns:
		return 0
	default:
		x.wide.Value, x.changed = strings.Clone(string(b)), e.Time
	}
	x.sent = e.Time
	env.Fact(&signal.Fact{A: x.narrow, B: x.wide, From: e.Time, Source: strings.Clone(e.Observer.Type)})
	return x.sent + refresh
}

func hash[A text](at signal.IDType, a A, bt signal.IDType) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(string(at))
	_, _ = d.WriteString(string(bt))
	var buf [256]byte
	_, _ = d.Write(append(buf[:0], a...))
	return d.Sum64()
}

// admit makes room for a binding: the one that was sent longest ago goes, if
// that is an hour ago. It returns nil where there is none.
func (s *state) admit(id uint64, now int64) *binding {
	if s.len() >= maxBindings {
		if now < s.full {
			return nil
		}
		list := s.sorted()
		oldest := slices.MinFunc(list, func(a, b *binding) int { return cmp.Compare(a.sent, b.sent) })
		if s.full = oldest.sent + refresh; now < s.full {
			return nil
		}
		delete(s.many, hash(oldest.narrow.Type, oldest.narrow.Value, oldest.wide.Type))
	}
	return s.put(id, binding{})
}

// sorted are the bindings in the order of their texts.
func (s *state) sorted() []*binding {
	list := make([]*binding, 0, s.len())
	for i := range s.few {
		list = append(list, &s.few[i].binding)
	}
	for _, x := range s.many {
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b *binding) int {
		return cmp.Or(strings.Compare(a.narrow.Value, b.narrow.Value), cmp.Compare(a.narrow.Type, b.narrow.Type), cmp.Compare(a.wide.Type, b.wide.Type))
	})
	return list
}

// Next implements detect.State.
func (s *state) Next() detect.Timer { return detect.NoTimer }

// Advance implements detect.State.
func (s *state) Advance(*detect.Env) {}

// Expired implements detect.State: what was sent more than an hour ago would be
// sent again anyway. That all sources have closed says nothing about time.
func (s *state) Expired(low int64) bool {
	current := func(x *binding) bool { return low == detect.Never || x.sent+refresh > low }
	for i := range s.few {
		if current(&s.few[i].binding) {
			return false
		}
	}
	for _, x := range s.many {
		if current(x) {
			return false
		}
	}
	return true
}

// Append implements detect.State.
func (s *state) Append(dst []byte) []byte {
	dst = operator.AppendUint(dst, s.len())
	for _, x := range s.sorted() {
		for _, id := range [...]signal.Identifier{x.narrow, x.wide} {
			dst = operator.AppendString(operator.AppendString(dst, id.Type), id.Value)
		}
		dst = operator.AppendInt(operator.AppendInt(dst, x.sent), x.changed)
	}
	return dst
}

// Load implements detect.State.
func (s *state) Load(data []byte) error {
	r := operator.NewReader(data)
	s.few, s.many = nil, nil
	for range r.Count() {
		x := binding{
			narrow: signal.Identifier{Type: signal.IDType(r.String()), Value: r.String()},
			wide:   signal.Identifier{Type: signal.IDType(r.String()), Value: r.String()},
			sent:   r.Int(), changed: r.Int(),
		}
		if id := hash(x.narrow.Type, x.narrow.Value, x.wide.Type); s.find(id) == nil {
			s.put(id, x)
		}
	}
	return r.Err()
}
