package site

import (
	"net/netip"

	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// identifiers lists what an inventory entry binds, the machine's most stable
// identifier first.
func (i Inventory) identifiers() []signal.Identifier {
	var out []signal.Identifier
	add := func(t signal.IDType, v string) {
		if v != "" {
			out = append(out, signal.Identifier{Type: t, Value: v})
		}
	}
	add(signal.IDHost, i.Host)
	add(signal.IDInstance, i.Instance)
	if a, err := netip.ParseAddr(i.Address); err == nil {
		realm := i.Realm
		if realm == "" {
			realm = DefaultRealm
		}
		add(signal.IDAddress, string(AppendAddressKey(nil, realm, a)))
	}
	add(signal.IDInterface, i.Interface)
	if i.Pod != "" {
		add(signal.IDPod, i.Namespace+"/"+i.Pod)
	}
	add(signal.IDPrincipal, i.Principal)
	return out
}

// Facts returns the identity facts of the site's inventory: each entry binds
// its first identifier to each of the others, from the beginning of time.
func (s *Site) Facts() []signal.Fact {
	var out []signal.Fact
	for _, inv := range s.inventory {
		ids := inv.identifiers()
		for _, other := range ids[1:] {
			out = append(out, signal.Fact{A: ids[0], B: other, From: 0, Until: int64(inv.Until), Source: "inventory"})
		}
	}
	return out
}
