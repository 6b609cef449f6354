package quality

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
	"golang.org/x/net/publicsuffix"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// Edit changes the events of a recording together.
type Edit struct {
	// Origin is moved to At, and times after it are stretched. Zero values
	// change nothing.
	Origin, At int64
	Stretch    float64
	// From is replaced by To.
	From, To netip.Addr
	// Suffix is appended to the ids of connections: one recording may be in a
	// mixture twice.
	Suffix string
	// Mutation, when set, is applied last.
	Mutation *Mutation
}

// time is where a point in time goes.
func (d *Edit) time(t int64) int64 {
	if t == 0 {
		return 0
	}
	if d.At != 0 {
		past := t - d.Origin
		if d.Stretch > 0 {
			past = int64(float64(past) * d.Stretch)
		}
		t = d.At + past
	}
	if d.Mutation != nil {
		t += d.Mutation.shift
	}
	return t
}

// apply edits an event in place.
func (d *Edit) apply(e *event.Event) {
	e.Time, e.Start, e.End = d.time(e.Time), d.time(e.Start), d.time(e.End)
	if d.From.IsValid() {
		for _, a := range []*netip.Addr{&e.Source.IP, &e.Destination.IP} {
			if *a == d.From {
				*a = d.To
			}
		}
	}
	if d.Suffix != "" && e.ID != "" {
		e.ID += d.Suffix
	}
	if d.Mutation != nil {
		d.Mutation.apply(e)
	}
}

// Mutation rewrites names of domains, addresses, ids and times: the same in
// the same way wherever it occurs, and the site file with them.
type Mutation struct {
	seed    uint64
	shift   int64
	v4      uint32 // is xored onto the low half of outside addresses
	v6      uint64
	port    uint64
	hash    uint64
	inside  [2]byte
	letters [256]byte
	stay    *site.Site
	domains map[string]string
}

// Mutate returns the mutation of a seed.
func Mutate(seed uint64) *Mutation {
	r := rand.New(rand.NewPCG(seed, 0x6562627761746368))
	m := &Mutation{
		seed: seed, shift: -r.Int64N(300*day) - 1, v4: uint32(r.IntN(1 << 16)), v6: r.Uint64(), port: uint64(r.IntN(28000)), hash: r.Uint64(),
		inside: [2]byte{byte(16 + r.IntN(16)), byte(r.IntN(256))}, stay: site.Default(), domains: map[string]string{},
	}
	// Letters within hexadecimal digits, other letters and digits change
	// places among themselves: an encoding stays what it is.
	for i := range m.letters {
		m.letters[i] = byte(i)
	}
	for _, class := range []string{"0123456789", "abcdef", "ghijklmnopqrstuvwxyz"} {
		for i, j := range r.Perm(len(class)) {
			m.letters[class[i]] = class[j]
		}
	}
	return m
}

// wellKnown are addresses that the detectors know by what they are.
var wellKnown = []netip.Addr{
	netip.AddrFrom4([4]byte{8, 8, 8, 8}), netip.AddrFrom4([4]byte{8, 8, 4, 4}), netip.AddrFrom4([4]byte{1, 1, 1, 1}), netip.AddrFrom4([4]byte{9, 9, 9, 9}),
}

// address maps an address: inside stays inside, outside outside, and what has
// a meaning of its own stays.
func (m *Mutation) address(a netip.Addr) netip.Addr {
	if !a.IsValid() || a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() || slices.Contains(wellKnown, a) {
		return a
	}
	if a.Is4() {
		b := a.As4()
		switch {
		case b[0] == 10 && b[1] == 53: // the lab's resolvers
			return netip.AddrFrom4([4]byte{192, 168, m.inside[1], b[3] ^ byte(m.v4)&0x7f})
		case b[0] == 10:
			return netip.AddrFrom4([4]byte{172, m.inside[0], b[2] ^ byte(m.v4>>8), b[3] ^ byte(m.v4)&0x7f})
		case m.stay.Internal(a):
			return a
		}
		n := binary.BigEndian.Uint32(b[:]) ^ m.v4
		binary.BigEndian.PutUint32(b[:], n)
		return netip.AddrFrom4(b)
	}
	b := a.As16()
	binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])^m.v6)
	return netip.AddrFrom16(b)
}

// prefix maps a network of the site file.
func (m *Mutation) prefix(p netip.Prefix) netip.Prefix {
	if p.Bits() == p.Addr().BitLen() {
		a := m.address(p.Addr())
		return netip.PrefixFrom(a, a.BitLen())
	}
	return netip.PrefixFrom(m.address(p.Addr()), p.Bits()).Masked()
}

// longLabel is from how many bytes a label is taken for data, whose letters
// change.
const longLabel = 12

// name maps a domain name: its registered domain gets another name of the same
// length, the letters of long labels change places.
func (m *Mutation) name(name string) string {
	if name == "" || strings.HasSuffix(name, ".arpa") || m.stay.LookupDomain(name, 0) || strings.IndexByte(name, '.') < 0 {
		return name
	}
	suffix, _ := publicsuffix.PublicSuffix(name)
	if len(suffix) == len(name) {
		return name
	}
	labels := strings.Split(strings.TrimSuffix(name, "."+suffix), ".")
	last := len(labels) - 1
	labels[last] = m.domain(labels[last], suffix)
	for i, l := range labels[:last] {
		if len(l) >= longLabel && l[0] != '_' && strings.IndexByte(l, '\\') < 0 {
			b := []byte(l)
			for j, c := range b {
				b[j] = m.letters[c]
			}
			labels[i] = string(b)
		}
	}
	return strings.Join(labels, ".") + "." + suffix
}

// domain maps the label of a registered domain.
func (m *Mutation) domain(label, suffix string) string {
	key := label + "." + suffix
	if to, ok := m.domains[key]; ok {
		return to
	}
	r := rand.New(rand.NewPCG(m.seed, uint64(len(m.domains))))
	b := make([]byte, len(label))
	for {
		for i := range b {
			b[i] = 'a' + byte(r.IntN(26))
		}
		if m.domains["\x00"+string(b)+"."+suffix] == "" {
			break
		}
		b = append(b, 'x')
	}
	m.domains[key], m.domains["\x00"+string(b)+"."+suffix] = string(b), key
	return string(b)
}

// apply mutates everything but the times.
func (m *Mutation) apply(e *event.Event) {
	for _, p := range []*event.Endpoint{&e.Source, &e.Destination} {
		p.IP, p.NatIP = m.address(p.IP), m.address(p.NatIP)
		p.Domain = m.name(p.Domain)
		if n, known := p.Port.Get(); known && n >= 32768 && e.Kind != event.KindICMP {
			p.Port = event.N(32768 + (n-32768+m.port)%32768)
		}
	}
	if e.ID != "" {
		e.ID += strconv.FormatUint(m.seed, 36)
	}
	if e.Kind == event.KindDNS {
		e.DNS.Name = m.name(e.DNS.Name)
		if n, err := strconv.ParseUint(e.DNS.ID, 10, 16); err == nil {
			e.DNS.ID = strconv.FormatUint(n^m.hash&0xffff, 10)
		}
		for i, a := range e.DNS.Addresses {
			e.DNS.Addresses[i] = m.address(a)
		}
	}
	if e.Kind == event.KindICMP {
		if n, known := e.ICMP.ID.Get(); known {
			e.ICMP.ID = event.N(n ^ m.hash>>16&0xffff)
		}
		for _, h := range []*event.Count{&e.ICMP.Hash, &e.ICMP.Content} {
			if n, known := h.Get(); known {
				*h = event.N((n ^ m.hash) & (1<<62 - 1))
			}
		}
	}
}

// site rewrites the addresses, networks and domains of a site file.
func (m *Mutation) site(data []byte) ([]byte, error) {
	doc := map[string]any{}
	if err := yaml.Load(data, &doc); err != nil {
		return nil, fmt.Errorf("site file: %w", err)
	}
	for key, v := range doc {
		list, ok := v.([]any)
		if !ok {
			continue
		}
		for i, x := range list {
			text, ok := x.(string)
			if !ok {
				return nil, fmt.Errorf("site file: %s[%d] is no plain value", key, i)
			}
			if p, err := site.ParsePrefix(text); err == nil {
				list[i] = m.prefix(p).String()
			} else {
				list[i] = m.name(text)
			}
		}
	}
	return yaml.Dump(doc)
}
