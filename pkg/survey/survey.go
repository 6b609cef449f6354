// Package survey looks at events the way a newcomer to a site does: which
// sources there are and what their records hold, and which machines and names
// behave like resolvers, monitors, mail relays or the site's own. From it come a
// draft of a site file ([Survey.Draft]) and what detectors lack to see
// ([Survey.Gaps]).
//
// # Invariants
//
//   - A survey is a function of the events; the order of events of one source
//     changes nothing but what is left out when a bound is reached.
//   - Memory is bounded: at most [MaxKeys] machines, domains and buckets, and at
//     most [MaxDistinct] distinct values are told apart for each. What is beyond
//     is counted as left out.
//   - Nothing is applied: every entry of a draft has its evidence beside it, and
//     what takes a decision is a comment.
package survey

import (
	"net/netip"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/net/publicsuffix"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// Bounds.
const (
	MaxKeys     = 100_000
	MaxDistinct = 2048
)

// Survey collects. The zero value is not ready: New.
type Survey struct {
	site *site.Site

	First, Last int64 // event times, microseconds; 0 without events
	Events      uint64
	LeftOut     uint64 // observations beyond a bound

	sources map[sourceKey]*source
	hosts   map[netip.Addr]*host
	nets    map[netip.Prefix]*network
	foreign uint64 // network events between addresses that are not home
	domains map[string]*domain
	sinks   map[string]*sink // where data goes, by domain or address
	buckets map[string]*bucket
	account map[string]uint64
}

// sourceKey is one kind of records of one source.
type sourceKey struct {
	observer string // Observer.Type
	kind     event.Kind
}

// source is what the records of a kind hold.
type source struct {
	events, future   uint64
	sensors          set
	clients          set // who asked, of DNS
	with             [fieldCount]uint64
	lost             float64 // highest percentage of loss that a sensor reported
	latest, earliest int64
	open             uint64
}

// field is something that a record may lack and a detector wants.
type field uint8

const (
	hasDirection field = iota // flow.direction
	hasInstance               // flow.instance
	hasAction                 // flow.action
	hasSizes                  // sizes of DNS messages
	hasAnswers                // answers of DNS
	hasContent                // hashes of ICMP content
	hasName                   // the server's name, of TLS
	hasHello                  // JA4
	hasBytesOut               // bytes of object reads
	hasParent                 // the parent of a process
	hasCwd                    // where a process stands
	hasPod                    // container or pod
	fieldCount
)

// host is what one internal machine does.
type host struct {
	asked              uint64 // DNS questions that it answered
	clientSet          set    // who asked them
	peers              set    // outside
	pinged             set
	mailed             set
	bytesOut, contacts uint64
}

type network struct{ contacts uint64 }

// domain is a registered domain.
type domain struct {
	questions uint64
	internal  set // names that lead to internal addresses
	codes     set // names whose answer is a code, 127.0.0.0/8
	clients   set
	public    bool // its suffix is in the public suffix list
}

// sink is a place outside that receives data.
type sink struct {
	bytes   uint64
	sources set
}

type bucket struct {
	reads, bytes uint64
	readers      set
	owner        string
}

// set tells values apart up to MaxDistinct.
type set map[uint64]struct{}

func (s *set) add(hash uint64) {
	if *s == nil {
		*s = set{}
	}
	if len(*s) < MaxDistinct {
		(*s)[hash] = struct{}{}
	}
}

func (s *set) addr(a netip.Addr) {
	b := a.As16()
	s.add(xxhash.Sum64(b[:]))
}

func (s *set) text(t string) { s.add(xxhash.Sum64String(t)) }

// New returns a survey. The site says what is known already: what it declares is
// not proposed again.
func New(s *site.Site) *Survey {
	return &Survey{
		site: s, sources: map[sourceKey]*source{}, hosts: map[netip.Addr]*host{}, nets: map[netip.Prefix]*network{}, domains: map[string]*domain{},
		sinks: map[string]*sink{}, buckets: map[string]*bucket{}, account: map[string]uint64{},
	}
}

// within returns the value of a key, nil when there is no room for a new one.
func within[K comparable, V any](s *Survey, m map[K]*V, key K) *V {
	if v, ok := m[key]; ok {
		return v
	}
	if len(m) >= MaxKeys {
		s.LeftOut++
		return nil
	}
	v := new(V)
	m[key] = v
	return v
}

// Observe takes one event. It keeps nothing of e.
func (s *Survey) Observe(e *event.Event) {
	s.Events++
	if !e.Future {
		if s.First == 0 || e.Time < s.First {
			s.First = e.Time
		}
		s.Last = max(s.Last, e.Time)
	}
	s.source(e)
	switch e.Kind.Plane() {
	case event.PlaneNetwork:
		s.network(e)
	case event.PlaneCloud:
		s.cloud(e)
	case event.PlaneHost, event.PlaneNone:
	}
}

func (s *Survey) source(e *event.Event) {
	key := sourceKey{e.Observer.Type, e.Kind}
	src := s.sources[key]
	if src == nil {
		if len(s.sources) >= MaxDistinct {
			s.LeftOut++
			return
		}
		key.observer = string([]byte(key.observer)) // it aliases the record
		src = &source{}
		s.sources[key] = src
	}
	src.events++
	src.sensors.text(e.Observer.Name)
	if e.Future {
		src.future++
	} else {
		src.latest = max(src.latest, e.Time)
		if src.earliest == 0 || e.Time < src.earliest {
			src.earliest = e.Time
		}
	}
	has := func(f field, yes bool) {
		if yes {
			src.with[f]++
		}
	}
	switch e.Kind {
	case event.KindFlow:
		has(hasDirection, e.Flow.Direction != "")
		has(hasInstance, e.Flow.InstanceID != "")
		has(hasAction, e.Flow.Action != "")
	case event.KindConn:
		if e.Conn.Open {
			src.open++
		}
	case event.KindDNS:
		has(hasSizes, e.DNS.ResponseBytes.Known() || e.DNS.DataBytes.Known())
		has(hasAnswers, len(e.DNS.Addresses) > 0 || e.DNS.Answers.Known())
		if e.Source.IP.IsValid() {
			src.clients.addr(e.Source.IP)
		}
	case event.KindICMP:
		has(hasContent, e.ICMP.Hash.Known())
	case event.KindTLS:
		has(hasName, e.Destination.Domain != "")
		has(hasHello, e.TLS.JA4 != "" || e.TLS.JA3 != "")
	case event.KindObject:
		has(hasBytesOut, e.Object.BytesOut.Known())
	case event.KindProcess, event.KindFile:
		has(hasParent, e.Process.Parent != "")
		has(hasCwd, e.Process.WorkingDirectory != "")
		has(hasPod, e.Host.ContainerID != "" || e.Host.Pod != "")
	case event.KindHealth:
		src.lost = max(src.lost, e.Health.PercentLost)
	default: // nothing is asked of the others
	}
}

// network learns from one network event who talks to whom.
func (s *Survey) network(e *event.Event) {
	src, dst := e.Source.IP, e.Destination.IP
	if !src.IsValid() || !dst.IsValid() {
		return
	}
	in, out := s.site.Internal(src), s.site.Internal(dst)
	if !in && !out {
		s.between(src, dst)
	}
	switch e.Kind {
	case event.KindDNS:
		s.question(e, in, out)
		return
	case event.KindICMP:
		if in && !out && (e.ICMP.Type.Or(0) == 8 || e.ICMP.Type.Or(0) == 128) {
			if h := within(s, s.hosts, src); h != nil {
				h.pinged.addr(dst)
			}
		}
		return
	default:
	}
	if !in || out {
		return
	}
	h := within(s, s.hosts, src)
	if h == nil {
		return
	}
	h.contacts++
	h.peers.addr(dst)
	if e.Kind == event.KindMail || e.Destination.Port.Or(0) == 25 {
		h.mailed.addr(dst)
	}
	if e.Kind != event.KindConn && e.Kind != event.KindFlow || e.Conn.Open {
		return
	}
	sent := e.Source.Bytes.Or(0)
	h.bytesOut += sent
	place := registered(e.Destination.Domain)
	if place == "" {
		place = dst.String()
	}
	if to := within(s, s.sinks, place); to != nil {
		to.bytes += sent
		to.sources.addr(src)
	}
}

// between counts a contact of two addresses that are not home: one of them may
// be, if it shows up again and again.
func (s *Survey) between(src, dst netip.Addr) {
	if src.IsMulticast() || dst.IsMulticast() {
		return
	}
	s.foreign++
	for _, a := range [2]netip.Addr{src, dst} {
		bits := 24
		if a.Is6() {
			bits = 48
		}
		p, err := a.Prefix(bits)
		if err != nil {
			continue
		}
		if n := within(s, s.nets, p); n != nil {
			n.contacts++
		}
	}
}

// question learns from a DNS transaction.
func (s *Survey) question(e *event.Event, in, out bool) {
	if out && e.Destination.Port.Or(53) == 53 {
		if h := within(s, s.hosts, e.Destination.IP); h != nil {
			h.asked++
			h.clientSet.addr(e.Source.IP)
		}
	}
	if in && e.Network.Transport != "" && !out {
		if h := within(s, s.hosts, e.Source.IP); h != nil {
			h.contacts++
		}
	}
	name := registered(e.DNS.Name)
	if name == "" || e.DNS.Type == "PTR" || e.Destination.IP.IsMulticast() { // multicast DNS names neighbours
		return
	}
	d := within(s, s.domains, name)
	if d == nil {
		return
	}
	d.questions++
	d.public = hasPublicSuffix(name)
	d.clients.addr(e.Source.IP)
	for _, a := range e.DNS.Addresses {
		switch {
		case a.Is4() && a.As4()[0] == 127:
			d.codes.text(e.DNS.Name)
		case s.site.Internal(a):
			d.internal.text(e.DNS.Name)
		}
	}
}

func (s *Survey) cloud(e *event.Event) {
	if a := e.Cloud.Account; a != "" {
		if _, ok := s.account[a]; ok || len(s.account) < MaxDistinct {
			s.account[string([]byte(a))]++
		}
	}
	if e.Kind != event.KindObject || e.Object.Bucket == "" || e.Outcome == "failure" {
		return
	}
	b := within(s, s.buckets, string([]byte(e.Object.Bucket)))
	if b == nil {
		return
	}
	b.reads++
	b.bytes += e.Object.BytesOut.Or(0)
	b.readers.text(e.User.ID)
	if e.Object.Owner != "" && b.owner != e.Object.Owner {
		b.owner = string([]byte(e.Object.Owner))
	}
}

// registered returns the registered domain of a name, a name of one label as it
// is, "" for an address and for what is no name. The result is a copy.
func registered(name string) string {
	if name == "" || name == "." {
		return ""
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return ""
	}
	if r, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
		name = r
	}
	return string([]byte(name))
}

// hasPublicSuffix reports whether the name ends in a suffix that ICANN knows.
func hasPublicSuffix(name string) bool {
	_, icann := publicsuffix.PublicSuffix(name)
	return icann
}
