package dns

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// Bounds of a view of encrypted-dns.
const (
	maxTalks   = 64
	maxServers = 64
)

// encryptedState is what encrypted-dns knows of one client.
type encryptedState struct {
	of    *Encrypted
	views detect.Views[encryptedView]
}

type encryptedView struct {
	client netip.Addr
	realm  string
	hours  detect.Hours[talk] // by the resolver's name, or its address
	newest int64
	// servers are addresses that a hello or request has shown to be a
	// resolver's: records of connections bear no name.
	servers  []server
	progress detect.Progress
}

type server struct {
	address netip.Addr
	subject string
	name    string
	proof   proof
	last    int64
}

// Apply implements detect.State.
func (s *encryptedState) Apply(e *event.Event, env *detect.Env) {
	if e.Role == event.RoleMirror || e.Flow.Action == "reject" || !e.Source.IP.IsValid() || !e.Destination.IP.IsValid() {
		return
	}
	if e.Network.Direction == event.Inbound {
		if e.Kind == event.KindFlow {
			s.returned(e, env)
		}
		return
	}
	subject, p := s.of.recognise(e)
	observer := env.Observer(e)
	if p == 0 {
		// A record of a connection bears no name: its address may be known.
		if e.Kind != event.KindConn && e.Kind != event.KindFlow {
			return
		}
		v := s.views.Find(observer)
		if v == nil {
			return
		}
		at := v.Value.server(e.Destination.IP.Unmap())
		if at == nil {
			return
		}
		subject, p = at.subject, at.proof
	}
	if s.of.exempt(e, env.Site) || !spoke(e) {
		return
	}
	if subject == "" {
		subject = e.Destination.IP.Unmap().String()
	}
	v := s.views.Of(observer)
	if v == nil {
		env.Count("observers_dropped", EncryptedID, 1)
		return
	}
	w := &v.Value
	w.hours.Grace = lateConn
	if !w.client.IsValid() {
		w.client, w.realm = e.Source.IP.Unmap(), strings.Clone(e.Observer.Realm)
	}
	w.newest = max(w.newest, e.Time)
	h := s.hour(v, subject, e.Time, env)
	if h == nil {
		return
	}
	if e.Kind == event.KindTLS || e.Kind == event.KindHTTP {
		w.learn(e, h.Subject, p)
	}
	w.count(h, e, p, &s.of.limits)
	s.judge(v, h, e, env)
}

// spoke reports whether something was sent: an attempt that a firewall ended
// is no use of a resolver.
func spoke(e *event.Event) bool {
	if e.Kind == event.KindFlow {
		return e.Source.Packets.Or(4) >= 4 || e.Network.Transport == "udp"
	}
	return e.Kind != event.KindConn || e.Source.Bytes.Or(1) > 0
}

// returned counts what a resolver sent back, where that is a record of its own.
func (s *encryptedState) returned(e *event.Event, env *detect.Env) {
	v := s.views.Find(env.Observer(e))
	if v == nil || e.Source.Port.Or(0) != 443 && e.Source.Port.Or(0) != 853 {
		return
	}
	from := e.Source.IP.Unmap()
	for h := range v.Value.hours.All {
		if h.Value.server == from && e.Time >= h.Start && e.Time < h.End {
			h.Value.down += e.Source.Bytes.Or(0)
		}
	}
}

func (s *encryptedState) hour(v *detect.View[encryptedView], subject string, t int64, env *detect.Env) *detect.Hour[talk] {
	w := &v.Value
	if h := w.hours.Find(subject, t); h != nil {
		return h
	}
	if w.hours.Len() >= maxTalks {
		n := w.hours.Shed(func(h *detect.Hour[talk]) uint64 { return h.Value.up }, func(*detect.Hour[talk]) {})
		env.Count("peers_evicted", EncryptedID, int64(n))
	}
	h, _ := w.hours.At(subject, t, env.Low(v.Observer, event.KindUnknown))
	if h == nil {
		env.Count("late_dropped", EncryptedID, 1)
	}
	return h
}

func (v *encryptedView) server(a netip.Addr) *server {
	for i := range v.servers {
		if v.servers[i].address == a {
			return &v.servers[i]
		}
	}
	return nil
}

// learn remembers a server; the one not seen for longest gives way.
func (v *encryptedView) learn(e *event.Event, subject string, p proof) {
	a := e.Destination.IP.Unmap()
	at := v.server(a)
	if at == nil {
		if len(v.servers) == maxServers {
			oldest := 0
			for i := range v.servers {
				if v.servers[i].last < v.servers[oldest].last {
					oldest = i
				}
			}
			v.servers = slices.Delete(v.servers, oldest, oldest+1)
		}
		v.servers = append(v.servers, server{address: a, subject: subject, name: strings.Clone(e.Destination.Domain)})
		at = &v.servers[len(v.servers)-1]
	}
	at.proof |= p
	at.last = max(at.last, e.Time)
}

// count adds an event to the talk that it belongs to.
func (v *encryptedView) count(h *detect.Hour[talk], e *event.Event, p proof, lim *encryptedLimits) {
	x := &h.Value
	x.proof |= p
	if !x.server.IsValid() {
		x.server, x.port = e.Destination.IP.Unmap(), e.Destination.Port.Or(0)
	}
	if x.name == "" {
		if at := v.server(e.Destination.IP.Unmap()); at != nil {
			x.name = at.name
		} else {
			x.name = strings.Clone(e.Destination.Domain)
		}
	}
	start := e.Time
	if e.Start != 0 && e.Start < e.Time {
		start = e.Start
	}
	if x.first == 0 || start < x.first {
		x.first = start
	}
	x.last = max(x.last, e.Time)
	switch e.Kind {
	case event.KindConn:
		x.layer = event.LayerPayload
		if length := e.Time - start; float64(length) >= lim.seconds*float64(second) {
			x.rate = max(x.rate, e.Source.Bytes.Or(0)*uint64(second)/uint64(max(length, 1)))
		}
		added, first := v.progress.Since(e)
		x.up += added.Bytes[0]
		x.down += added.Bytes[1]
		if first {
			x.connections++
			x.begun.add(start)
		}
	case event.KindFlow:
		x.layer = event.LayerIP
		x.up += e.Source.Bytes.Or(0)
		if flags, known := e.Flow.TCPFlags.Get(); !known || flags&2 != 0 {
			x.connections++
		}
	default:
		x.hellos++
		x.greeted.add(start)
	}
}

// judge sends a talk where its points have changed.
func (s *encryptedState) judge(v *detect.View[encryptedView], h *detect.Hour[talk], e *event.Event, env *detect.Env) {
	x := &h.Value
	if n := uint32(len(x.evidence)); n < 2 || n < maxEvidence && max(x.connections, x.hellos) > n*n*4 {
		x.evidence = append(x.evidence, env.Evidence(e))
	}
	p := x.judge(&s.of.limits)
	if p == x.points {
		return
	}
	x.points = p
	if x.emissions < maxEmissions || p.score() > x.best {
		s.send(v, h, env)
	}
}

// Next implements detect.State.
func (s *encryptedState) Next() detect.Timer {
	return s.views.Next(func(v *encryptedView) int64 { return v.hours.Next() })
}

// Advance implements detect.State.
func (s *encryptedState) Advance(env *detect.Env) {
	for v := range s.views.All {
		v.Value.hours.Due(env.Low(v.Observer, event.KindUnknown), func(h *detect.Hour[talk]) { s.send(v, h, env) })
	}
}

// Expired implements detect.State.
func (s *encryptedState) Expired(low int64) bool {
	for v := range s.views.All {
		if low == detect.Never || v.Value.hours.Len() > 0 || v.Value.newest+24*detect.HourSpan >= low {
			return false
		}
	}
	return low != detect.Never
}

const encryptedVersion = 1

// Append implements detect.State.
func (s *encryptedState) Append(dst []byte) []byte {
	return s.views.Append(operator.AppendUint(dst, encryptedVersion), func(dst []byte, v *encryptedView) []byte {
		dst = operator.AppendAddr(dst, v.client)
		dst = operator.AppendString(dst, v.realm)
		dst = operator.AppendInt(dst, v.newest)
		dst = operator.AppendUint(dst, len(v.servers))
		for i := range v.servers {
			x := &v.servers[i]
			dst = operator.AppendAddr(dst, x.address)
			dst = operator.AppendString(operator.AppendString(dst, x.subject), x.name)
			dst = operator.AppendInt(append(dst, byte(x.proof)), x.last)
		}
		dst = v.progress.Append(dst)
		return v.hours.Append(dst, appendTalk)
	})
}

func appendTalk(dst []byte, x *talk) []byte {
	dst = append(dst, byte(x.proof))
	dst = append(dst, x.points[:]...)
	for _, n := range [...]uint64{
		uint64(x.connections), x.up, x.down, x.rate, uint64(x.hellos), x.port, uint64(x.best), uint64(x.emissions),
	} {
		dst = operator.AppendUint(dst, n)
	}
	for _, i := range [...]*intervals{&x.begun, &x.greeted} {
		dst = operator.AppendUint(operator.AppendUint(operator.AppendUint(operator.AppendInt(dst, i.last), i.n), i.sum), i.sqs)
	}
	dst = operator.AppendInt(operator.AppendInt(dst, x.first), x.last)
	dst = operator.AppendString(operator.AppendString(dst, x.layer), x.name)
	return detect.AppendEvidence(operator.AppendAddr(dst, x.server), x.evidence)
}

// Load implements detect.State.
func (s *encryptedState) Load(data []byte) error {
	r := operator.NewReader(data)
	if r.Uint() != encryptedVersion {
		return operator.ErrState
	}
	s.views.Load(r, func(r *operator.Reader, v *encryptedView) {
		v.client, v.realm, v.newest = r.Addr(), r.String(), r.Int()
		for range r.Count() {
			v.servers = append(v.servers, server{r.Addr(), r.String(), r.String(), proof(r.Byte()), r.Int()})
		}
		v.progress.Load(r)
		v.hours.Grace = lateConn
		v.hours.Load(r, loadTalk)
	})
	return r.Err()
}

func loadTalk(r *operator.Reader, h *detect.Hour[talk]) {
	x := &h.Value
	x.proof = proof(r.Byte())
	for i := range x.points {
		x.points[i] = r.Byte()
	}
	x.connections, x.up, x.down, x.rate = uint32(r.Uint()), r.Uint(), r.Uint(), r.Uint()
	x.hellos, x.port, x.best, x.emissions = uint32(r.Uint()), r.Uint(), uint32(r.Uint()), uint32(r.Uint())
	for _, i := range [...]*intervals{&x.begun, &x.greeted} {
		i.last, i.n, i.sum, i.sqs = r.Int(), r.Uint(), r.Uint(), r.Uint()
	}
	x.first, x.last = r.Int(), r.Int()
	x.layer, x.name, x.server = r.String(), r.String(), r.Addr()
	x.evidence = detect.LoadEvidence(r)
}
