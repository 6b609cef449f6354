package entity

import (
	"slices"

	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

const never = int64(1<<63 - 1)

// ownership is what a narrow identifier says about a type of parent.
type ownership int

const (
	nobody ownership = iota
	owned
	shared
)

// interval is half open.
type interval struct{ from, to int64 }

func (a interval) cut(b interval) interval { return interval{max(a.from, b.from), min(a.to, b.to)} }

func (a interval) length() int64 { return max(0, a.to-a.from) }

// holds is the time in which a claim holds, given the others of its node.
func (n *node) holds(c *claim) interval {
	v := interval{c.first - Slack, c.last + TTL}
	if c.until != 0 {
		v.to = max(c.until, c.last+1)
	}
	for i := range n.claims {
		o := &n.claims[i]
		if o.parent.Type != c.parent.Type || o.parent == c.parent {
			continue
		}
		switch {
		case o.last <= c.first: // before this one: it holds until now
			end := o.last + TTL
			if o.until != 0 {
				end = max(o.until, o.last)
			}
			v.from = max(v.from, min(end, c.first))
		case o.first >= c.last: // after this one: it ends it
			v.to = min(v.to, o.first)
		default: // by turns
			if o.first < c.first {
				v.from = max(v.from, o.first)
			}
			if o.last > c.last {
				v.to = min(v.to, o.last)
			}
		}
	}
	return v
}

// owner returns the parent of a type that an identifier belonged to during a
// span: the one that the inventory declares, else the one that held longest
// in it. It is shared when two held at the same moment.
func (g *Graph) owner(id signal.Identifier, t signal.IDType, q interval) (signal.Identifier, ownership) {
	var found signal.Identifier
	state := nobody
	for i := range g.declared[id] {
		c := &g.declared[id][i]
		v := interval{c.first, c.until}
		if c.until == 0 {
			v.to = never
		}
		if c.parent.Type != t || v.cut(q).length() == 0 || (state == owned && c.parent == found) {
			continue
		}
		if state == owned {
			return found, shared
		}
		found, state = c.parent, owned
	}
	if state == owned {
		return found, owned
	}
	n := g.buckets[g.bucket(id)][id]
	if n == nil {
		return found, nobody
	}
	var held [maxSpans + 1]struct {
		parent signal.Identifier
		in     interval
	}
	k, best := 0, int64(0)
	for i := range n.claims {
		c := &n.claims[i]
		if c.parent.Type != t {
			continue
		}
		in := n.holds(c).cut(q)
		if in.length() == 0 || k == len(held) {
			continue
		}
		for _, h := range held[:k] {
			if h.parent != c.parent && h.in.cut(in).length() > 0 {
				return found, shared
			}
		}
		held[k].parent, held[k].in = c.parent, in
		k++
	}
	var latest int64
	for _, h := range held[:k] {
		var sum, last int64
		for _, o := range held[:k] {
			if o.parent == h.parent {
				sum, last = sum+o.in.length(), max(last, o.in.to)
			}
		}
		if sum > best || (sum == best && last > latest) {
			found, state, best, latest = h.parent, owned, sum, last
		}
	}
	return found, state
}

// machines lists the identifiers of the given levels that belonged to a parent
// during a span, sorted, or says that they are more than limit.
func (g *Graph) machines(parent signal.Identifier, q interval, limit int, of ...level) (list []signal.Identifier, crowded bool) {
	seen := func(id signal.Identifier) {
		if p, own := g.owner(id, parent.Type, q); own == owned && p == parent && !slices.Contains(list, id) {
			list = append(list, id)
		}
	}
	for _, id := range g.declaredFor[parent] {
		if slices.Contains(of, levelOf(id.Type)) {
			seen(id)
		}
	}
	for _, l := range of {
		nodes := g.children[family{parent, levelTypes[l]}]
		if len(nodes) > MaxChildren {
			return nil, true
		}
		for _, n := range nodes {
			if seen(n.id); len(list) > limit {
				return nil, true
			}
		}
	}
	slices.SortFunc(list, compareIDs)
	return list, len(list) > limit
}

// Resolve returns the profile of something that carries the given identifiers
// (in normal form) and happened between two event times.
func (g *Graph) Resolve(ids []signal.Identifier, from, to int64) Profile {
	w := walk{g: g, q: interval{from, max(to, from) + 1}}
	for _, id := range ids {
		w.visit(id, true)
	}
	for i := 0; i < len(w.met); i++ {
		w.climb(i)
	}
	var p Profile
	for _, m := range w.met {
		if m.binds {
			p.Add(m.id)
		} else {
			p.shared = append(p.shared, m.id)
		}
	}
	slices.SortFunc(p.shared, compareIDs)
	return p
}

type walk struct {
	g   *Graph
	q   interval
	met []met
}

type met struct {
	id     signal.Identifier
	direct bool // the thing itself names it
	binds  bool
}

func (w *walk) visit(id signal.Identifier, direct bool) {
	for i := range w.met {
		if w.met[i].id == id {
			return
		}
	}
	if len(w.met) < maxMet {
		w.met = append(w.met, met{id: id, direct: direct, binds: true})
	}
}

// climb visits what an identifier belongs to, and decides whether it binds.
func (w *walk) climb(i int) {
	m := w.met[i]
	own := levelOf(m.id.Type)
	machine, ambiguous, ambiguousMachine := false, false, false
	for l := own + 1; l <= principal; l++ {
		parent, state := w.g.owner(m.id, levelTypes[l], w.q)
		switch state {
		case owned:
			w.visit(parent, false)
			machine = machine || l == host || l == instance
		case shared:
			ambiguous = true
			ambiguousMachine = ambiguousMachine || l == host || l == instance || l == iface
		case nobody:
		}
	}
	switch own {
	case address:
		// Many pods behind a node's address leave it the node's address.
		m.binds = !ambiguousMachine && (!ambiguous || machine)
	case iface, container, pod:
		m.binds = !ambiguousMachine && (own == iface || !ambiguous)
	case instance:
		m.binds = !ambiguousMachine
	case host:
		list, crowded := w.g.machines(m.id, w.q, 1, instance)
		m.binds = !crowded
		for _, id := range list {
			w.visit(id, false)
		}
	case principal:
		list, crowded := w.g.machines(m.id, w.q, 4, address, pod, instance, host)
		sole := !crowded && w.oneMachine(list)
		m.binds = m.direct || sole
		if sole && m.direct {
			for _, id := range list {
				w.visit(id, false)
			}
		}
	case key, levels, unknown:
	}
	if own != principal && len(w.g.children[family{m.id, signal.IDAddress}]) > MaxChildren {
		m.binds = false
	}
	w.met[i] = m
}

// oneMachine reports whether a list names one machine at most: what belongs
// to another of the list is the same one.
func (w *walk) oneMachine(list []signal.Identifier) bool {
	top := 0
	for _, id := range list {
		inner := false
		for _, wide := range list {
			if levelOf(wide.Type) > levelOf(id.Type) {
				p, state := w.g.owner(id, wide.Type, w.q)
				inner = inner || (state == owned && p == wide)
			}
		}
		if !inner {
			top++
		}
	}
	return top <= 1
}
