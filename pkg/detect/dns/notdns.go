package dns

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// NotDNSID is the id of the detector of other protocols on the DNS port.
const NotDNSID = "dns-not-dns"

const thPackets = "packets"

var notDNSThresholds = []detect.Threshold{
	{Name: thPackets, Default: 5, Unit: "packets", Doc: "packets on port 53 that are not DNS, of a client and a server in an hour"},
}

// maxPeers bounds the peers of a client.
const maxPeers = 256

// lateConn is how long after its end a connection may be written.
const lateConn = 120 * second

// NotDNS is the detector dns-not-dns.
type NotDNS struct{ packets float64 }

// NewNotDNS returns the detector.
func NewNotDNS() detect.Detector {
	d := &NotDNS{}
	d.Configure(site.Default())
	return d
}

// Info implements detect.Detector.
func (d *NotDNS) Info() detect.Info {
	return detect.Info{
		ID: NotDNSID, Role: signal.RoleExfil,
		Kinds:     []event.Kind{event.KindDNS, event.KindConn},
		Default:   site.Setting{Mode: signal.ModeAlert, Floor: 3, Alert: 5},
		Alone:     true,
		Technique: []string{"T1048.003", "T1095"}, Thresholds: notDNSThresholds,
	}
}

// Configure implements detect.Detector.
func (d *NotDNS) Configure(s *site.Site) {
	d.packets = s.Threshold(NotDNSID, thPackets, notDNSThresholds[0].Default)
}

// New implements detect.Detector.
func (d *NotDNS) New() detect.State { return &notDNSState{of: d} }

// Wants implements detect.Lazy.
func (d *NotDNS) Wants(e *event.Event, _ *detect.Env) bool {
	return e.DNS.NotDNS || e.Kind == event.KindConn && e.Destination.Port.Or(0) == 53 && e.Network.Protocol == ""
}

// notDNSState is what dns-not-dns knows of one client.
type notDNSState struct {
	of    *NotDNS
	views detect.Views[notDNSView]
}

type notDNSView struct {
	client netip.Addr
	realm  string
	hours  detect.Hours[foreign] // by the server's address, as text
	newest int64
}

// foreign is what went between a client and a server on port 53 that is not
// DNS.
type foreign struct {
	sent, received           uint64 // packets
	bytesSent, bytesReceived uint64
	tcp                      bool
	first, last              int64
	score                    uint32 // as last judged
	emissions                uint32
	evidence                 []signal.Evidence
}

// Apply implements detect.State.
func (s *notDNSState) Apply(e *event.Event, env *detect.Env) {
	var x foreign
	switch {
	case e.Network.Direction == event.Internal || e.Role == event.RoleMirror || !e.Destination.IP.IsValid() || !e.Source.IP.IsValid():
		return
	case e.Kind == event.KindDNS && e.DNS.NotDNS:
		if n, ok := e.DNS.ResponseBytes.Get(); ok && !e.DNS.QueryBytes.Known() {
			x.received, x.bytesReceived = 1, n
		} else {
			x.sent, x.bytesSent = 1, e.DNS.QueryBytes.Or(0)
		}
	case e.Kind == event.KindConn && unrecognised(e, env):
		x.sent, x.received = e.Source.Packets.Or(0), e.Destination.Packets.Or(0)
		x.bytesSent, x.bytesReceived = e.Source.Bytes.Or(0), e.Destination.Bytes.Or(0)
	default:
		return
	}
	x.tcp = e.Network.Transport == "tcp"
	v := s.views.Of(env.Observer(e))
	if v == nil {
		env.Count("observers_dropped", NotDNSID, 1)
		return
	}
	w := &v.Value
	w.hours.Grace = lateConn
	if !w.client.IsValid() {
		w.client, w.realm = e.Source.IP.Unmap(), strings.Clone(e.Observer.Realm)
	}
	w.newest = max(w.newest, e.Time)
	peer := e.Destination.IP.Unmap().String()
	h := w.hours.Find(peer, e.Time)
	if h == nil {
		if w.hours.Len() >= maxPeers {
			n := w.hours.Shed(func(h *detect.Hour[foreign]) uint64 { return h.Value.sent + h.Value.received }, func(*detect.Hour[foreign]) {})
			env.Count("peers_evicted", NotDNSID, int64(n))
		}
		if h, _ = w.hours.At(peer, e.Time, env.Low(v.Observer, event.KindUnknown)); h == nil {
			env.Count("late_dropped", NotDNSID, 1)
			return
		}
	}
	f := &h.Value
	f.sent += x.sent
	f.received += x.received
	f.bytesSent += x.bytesSent
	f.bytesReceived += x.bytesReceived
	f.tcp = f.tcp || x.tcp
	if f.first == 0 || e.Time < f.first {
		f.first = e.Time
	}
	f.last = max(f.last, e.Time)
	if len(f.evidence) < maxEvidence {
		f.evidence = append(f.evidence, env.Evidence(e))
	}
	if score := s.score(f); score != f.score {
		f.score = score
		s.send(v, h, env)
	}
}

// unrecognised reports whether a connection to the DNS port carried data in
// which Zeek, which reads DNS there, saw no DNS. A connection of which the
// beginning was missed tells nothing.
func unrecognised(e *event.Event, env *detect.Env) bool {
	if e.Destination.Port.Or(0) != 53 || e.Network.Protocol != "" || e.Source.Bytes.Or(0) == 0 || e.Conn.Open ||
		e.Observer.Type != "zeek" || !env.Shows(env.Observer(e), event.KindDNS) {
		return false
	}
	switch e.Network.Transport {
	case "udp":
		return true
	case "tcp":
		return e.Conn.State != "OTH" && strings.HasPrefix(e.Conn.History, "S")
	}
	return false
}

// score is the alert threshold for enough packets of which the client sent
// some: a server that sends garbage is no tunnel. A rest is a weak signal.
func (s *notDNSState) score(f *foreign) uint32 {
	switch n := float64(f.sent + f.received); {
	case n >= s.of.packets && f.sent > 0:
		return 5
	case n >= s.of.packets/2 && f.sent > 0, n >= s.of.packets:
		return 3
	}
	return 0
}

func (s *notDNSState) send(v *detect.View[notDNSView], h *detect.Hour[foreign], env *detect.Env) {
	f, w := &h.Value, &v.Value
	f.emissions++
	source, _, _ := strings.Cut(v.Observer, "/")
	transport := "udp"
	if f.tcp {
		transport = "tcp"
	}
	sig := &signal.Signal{
		ID:      signal.ID(NotDNSID, env.Key, h.Subject, v.Observer, strconv.FormatInt(h.Start, 10)),
		Channel: transport, Start: h.Start, End: h.End, First: f.first, Time: f.last, Subject: h.Subject,
		Score:       float64(f.score),
		Points:      []signal.Point{{Name: "not_dns_packets", Points: float64(f.score), Value: float64(f.sent + f.received), Threshold: s.of.packets}},
		Entity:      detect.AddressEntity(w.realm, w.client),
		Source:      signal.Endpoint{IP: w.client.String()},
		Destination: signal.Endpoint{IP: h.Subject, Port: 53},
		Bytes:       new(f.bytesSent), Layer: event.LayerPayload,
		Values: []signal.Value{
			{Name: "packets_sent", Value: float64(f.sent)},
			{Name: "packets_received", Value: float64(f.received)},
			{Name: "bytes_received", Value: float64(f.bytesReceived)},
		},
		Reason: fmt.Sprintf("%s exchanged %d packets with %s on port 53/%s in %s that are not DNS, %d bytes sent and %d received",
			w.client, f.sent+f.received, h.Subject, transport, span(f.last-f.first), f.bytesSent, f.bytesReceived),
		Evidence: f.evidence, Observers: []string{source}, Complete: complete(v.Observer, h.End, env),
	}
	sig.Severity, sig.Confidence = grade(sig.Score, 5)
	env.Emit(sig, site.Subject{Address: w.client})
}

// complete is how far the observer is complete, at most the window's end.
func complete(observer string, end int64, env *detect.Env) int64 {
	return min(env.Low(observer, event.KindUnknown), end)
}

// Next implements detect.State.
func (s *notDNSState) Next() detect.Timer {
	return s.views.Next(func(v *notDNSView) int64 { return v.hours.Next() })
}

// Advance implements detect.State.
func (s *notDNSState) Advance(env *detect.Env) {
	for v := range s.views.All {
		v.Value.hours.Due(env.Low(v.Observer, event.KindUnknown), func(h *detect.Hour[foreign]) {
			if h.Value.emissions > 0 {
				s.send(v, h, env)
			}
		})
	}
}

// Expired implements detect.State.
func (s *notDNSState) Expired(low int64) bool {
	for v := range s.views.All {
		if low == detect.Never || v.Value.hours.Len() > 0 || v.Value.newest+detect.HourSpan >= low {
			return false
		}
	}
	return low != detect.Never
}

const notDNSVersion = 1

// Append implements detect.State.
func (s *notDNSState) Append(dst []byte) []byte {
	return s.views.Append(operator.AppendUint(dst, notDNSVersion), func(dst []byte, v *notDNSView) []byte {
		dst = operator.AppendAddr(dst, v.client)
		dst = operator.AppendString(dst, v.realm)
		dst = operator.AppendInt(dst, v.newest)
		return v.hours.Append(dst, func(dst []byte, f *foreign) []byte {
			for _, n := range [...]uint64{f.sent, f.received, f.bytesSent, f.bytesReceived, uint64(f.score), uint64(f.emissions)} {
				dst = operator.AppendUint(dst, n)
			}
			dst = operator.AppendInt(operator.AppendInt(dst, f.first), f.last)
			return detect.AppendEvidence(operator.AppendBool(dst, f.tcp), f.evidence)
		})
	})
}

// Load implements detect.State.
func (s *notDNSState) Load(data []byte) error {
	r := operator.NewReader(data)
	if r.Uint() != notDNSVersion {
		return operator.ErrState
	}
	s.views.Load(r, func(r *operator.Reader, v *notDNSView) {
		v.client, v.realm, v.newest = r.Addr(), r.String(), r.Int()
		v.hours.Grace = lateConn
		v.hours.Load(r, func(r *operator.Reader, h *detect.Hour[foreign]) {
			f := &h.Value
			f.sent, f.received, f.bytesSent, f.bytesReceived = r.Uint(), r.Uint(), r.Uint(), r.Uint()
			f.score, f.emissions = uint32(r.Uint()), uint32(r.Uint())
			f.first, f.last = r.Int(), r.Int()
			f.tcp = r.Bool()
			f.evidence = detect.LoadEvidence(r)
		})
	})
	return r.Err()
}
