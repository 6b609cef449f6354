package entity

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// level orders identifier types from narrow to wide; the key of a record
// stands at the end.
type level int

const (
	address level = iota
	iface
	container
	pod
	instance
	host
	principal
	key
	levels

	unknown level = -1
)

var levelTypes = [levels]signal.IDType{
	signal.IDAddress, signal.IDInterface, signal.IDContainer, signal.IDPod, signal.IDInstance, signal.IDHost, signal.IDPrincipal, IDKey,
}

// IDKey is the type of a record key, which binds what has the very same key
// even where no other identifier does.
const IDKey signal.IDType = "key"

func levelOf(t signal.IDType) level {
	for l, x := range levelTypes {
		if x == t {
			return level(l)
		}
	}
	return unknown
}

// Profile is everything by which something can be recognised at its time.
type Profile struct {
	ids [levels][]string // sorted
	// shared are identifiers that were met and bind nothing.
	shared []signal.Identifier
}

// Add adds an identifier that binds.
func (p *Profile) Add(id signal.Identifier) {
	if l := levelOf(id.Type); l != unknown {
		p.insert(l, id.Value)
	}
}

func (p *Profile) insert(l level, v string) {
	if i, found := slices.BinarySearch(p.ids[l], v); !found {
		p.ids[l] = slices.Insert(p.ids[l], i, v)
	}
}

// Of returns the binding identifiers of a type, sorted. The slice must not be
// changed.
func (p *Profile) Of(t signal.IDType) []string {
	if l := levelOf(t); l != unknown {
		return p.ids[l]
	}
	return nil
}

// Each calls f for every identifier that binds, narrow before wide.
func (p *Profile) Each(f func(signal.Identifier)) {
	for l := range p.ids {
		for _, v := range p.ids[l] {
			f(signal.Identifier{Type: levelTypes[l], Value: v})
		}
	}
}

// Met calls f for every identifier that the profile rests on, also those that
// bind nothing: a fact about any of them may change it.
func (p *Profile) Met(f func(signal.Identifier)) {
	p.Each(f)
	p.MetOnly(f)
}

// MetOnly calls f for those of Met that bind nothing.
func (p *Profile) MetOnly(f func(signal.Identifier)) {
	for _, id := range p.shared {
		f(id)
	}
}

// Merge adds what q binds.
func (p *Profile) Merge(q *Profile) {
	for l := range q.ids {
		if len(p.ids[l]) == 0 {
			p.ids[l] = slices.Clone(q.ids[l])
			continue
		}
		for _, v := range q.ids[l] {
			p.insert(level(l), v)
		}
	}
}

// Equal reports whether two profiles are the same.
func (p *Profile) Equal(q *Profile) bool {
	for l := range p.ids {
		if !slices.Equal(p.ids[l], q.ids[l]) {
			return false
		}
	}
	return slices.Equal(p.shared, q.shared)
}

// Conflicts reports whether two profiles cannot be the same: they know
// different hosts, different instances, different pods, or different
// containers that no pod holds together.
func (p *Profile) Conflicts(q *Profile) bool {
	if disjoint(p.ids[instance], q.ids[instance]) || disjointHosts(p.ids[host], q.ids[host]) || disjoint(p.ids[pod], q.ids[pod]) {
		return true
	}
	onePod := len(p.ids[pod]) > 0 && len(q.ids[pod]) > 0
	return !onePod && disjoint(p.ids[container], q.ids[container])
}

// Shares returns the most telling identifier that both profiles bind.
func (p *Profile) Shares(q *Profile) (signal.Identifier, bool) {
	for _, l := range [...]level{pod, container, host, instance, iface, address, principal, key} {
		if v, ok := common(p.ids[l], q.ids[l]); ok {
			return signal.Identifier{Type: levelTypes[l], Value: v}, true
		}
	}
	return signal.Identifier{}, false
}

// Matches reports whether two profiles are of one entity.
func (p *Profile) Matches(q *Profile) bool {
	_, ok := p.Shares(q)
	return ok && !p.Conflicts(q)
}

// disjoint reports whether both lists are known and have nothing in common.
func disjoint(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	_, ok := common(a, b)
	return !ok
}

func common(a, b []string) (string, bool) {
	for len(a) > 0 && len(b) > 0 {
		switch strings.Compare(a[0], b[0]) {
		case 0:
			return a[0], true
		case -1:
			a = a[1:]
		default:
			b = b[1:]
		}
	}
	return "", false
}

// disjointHosts is disjoint for host names, of which one source gives the
// short form and another the full one.
func disjointHosts(a, b []string) bool {
	if !disjoint(a, b) {
		return false
	}
	for _, x := range a {
		for _, y := range b {
			if strings.HasPrefix(x, y+".") || strings.HasPrefix(y, x+".") {
				return false
			}
		}
	}
	return true
}

// Append and Load encode a profile for a snapshot.
func (p *Profile) Append(dst []byte) []byte {
	for l := range p.ids {
		dst = operator.AppendUint(dst, len(p.ids[l]))
		for _, v := range p.ids[l] {
			dst = operator.AppendString(dst, v)
		}
	}
	dst = operator.AppendUint(dst, len(p.shared))
	for _, id := range p.shared {
		dst = operator.AppendString(operator.AppendString(dst, id.Type), id.Value)
	}
	return dst
}

// Load reads what Append wrote; damage shows in r.Err.
func (p *Profile) Load(r *operator.Reader) {
	*p = Profile{}
	for l := range p.ids {
		for range r.Count() {
			p.ids[l] = append(p.ids[l], r.String())
		}
	}
	for range r.Count() {
		p.shared = append(p.shared, signal.Identifier{Type: signal.IDType(r.String()), Value: r.String()})
	}
}

// maxValue bounds an identifier.
const maxValue = 512

// Normal returns an identifier in the form in which it is compared, and
// whether it names anything.
func Normal(id signal.Identifier) (signal.Identifier, bool) {
	v := strings.TrimSpace(id.Value)
	if v == "" || len(v) > maxValue {
		return id, false
	}
	switch levelOf(id.Type) {
	case unknown:
		return id, false
	case address:
		realm, text, ok := strings.Cut(v, "|")
		if !ok {
			realm, text = "default", v
		}
		a, err := netip.ParseAddr(text)
		if err != nil {
			return id, false
		}
		// Every machine has these.
		if a = a.Unmap(); a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() {
			return id, false
		}
		v = realm + "|" + a.String()
	case host:
		v = strings.ToLower(strings.TrimSuffix(v, "."))
		switch v {
		case "", "localhost", "localhost.localdomain", "unknown", "none", "-":
			return id, false
		}
	case iface, container, pod, instance, principal, key, levels:
	}
	return signal.Identifier{Type: id.Type, Value: v}, true
}

// Identifiers lists what a signal says about who it was.
func Identifiers(e *signal.Entity) []signal.Identifier {
	out := make([]signal.Identifier, 0, 4)
	add := func(t signal.IDType, v string) {
		if id, ok := Normal(signal.Identifier{Type: t, Value: v}); v != "" && ok {
			out = append(out, id)
		}
	}
	if e.IP != "" {
		realm := e.Realm
		if realm == "" {
			realm = "default"
		}
		add(signal.IDAddress, realm+"|"+e.IP)
	}
	add(signal.IDInterface, e.Interface)
	add(signal.IDContainer, e.Container)
	if e.Pod != "" {
		add(signal.IDPod, e.Namespace+"/"+e.Pod)
	}
	add(signal.IDInstance, e.Instance)
	add(signal.IDHost, e.Host)
	add(signal.IDPrincipal, e.Principal)
	return out
}
