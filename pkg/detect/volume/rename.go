package volume

import (
	"net/netip"
	"slices"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/window"
)

// learn takes what an event has told of names. Usually it comes before the
// connection's record; where it comes after, what was filed under the address
// moves to the name.
func (l *ledger) learn(e *event.Event, env *detect.Env) {
	if l.names == nil {
		return
	}
	for _, a := range l.names.of.news {
		l.openAddr(a)
		if n, _ := l.bare.get(a); n > 0 {
			l.rename(a, env)
		}
	}
	if !l.names.of.conn || e.ID == "" {
		return
	}
	id := connID(e.ID)
	if _, kept := l.where.get(id); kept {
		l.named(id, l.names.named(e.Destination.Domain), true, env)
	}
}

// named gives a kept connection its name: its own, or, where it has none and is
// filed under its address, that of the address.
func (l *ledger) named(id uint64, h *host, own bool, env *detect.Env) {
	key, kept := l.where.get(id)
	if !kept || !own && key.name != "" {
		return
	}
	p, _ := l.pairs.get(key)
	for i := range p.views {
		for j := range p.views[i].conns {
			c := &p.views[i].conns[j]
			if c.id != id || c.named {
				continue
			}
			t := transfer{src: p.src, dst: c.to.addr, port: c.to.port, time: c.newest()}
			if to, _, ok := l.file(&t, h, own, key.port != 0, env.Site); ok && to == key {
				c.named, c.to.name = own, h.name
			} else {
				l.nameConn(id, key, h, own, env)
			}
			return
		}
	}
}

// rename moves what was filed under an address to its name, as far as the name
// holds for it.
func (l *ledger) rename(a netip.Addr, env *detect.Env) {
	name := l.names.oldest(a)
	h := l.names.host(name.name)
	for _, p := range l.sorted() {
		if p.key.name != "" || p.key.addr != a {
			continue
		}
		moved := p.apart()
		for i := range p.views {
			v, m := &p.views[i], &moved.views[i]
			v.cells.List = slices.DeleteFunc(v.cells.List, func(c window.Cell[sums]) bool {
				if name.names(c.At) {
					c.V.top.name = h.name
					m.cells.List = append(m.cells.List, c)
					return true
				}
				return false
			})
			v.conns = slices.DeleteFunc(v.conns, func(c conn) bool {
				if name.names(c.newest()) {
					c.to.name = h.name
					m.conns = append(m.conns, c)
					return true
				}
				return false
			})
		}
		t := transfer{src: p.src, dst: a, port: p.key.port, time: name.at}
		l.move(p, moved, &t, h, false, env)
	}
}

// nameConn moves one connection to its name.
func (l *ledger) nameConn(id uint64, from pairKey, h *host, own bool, env *detect.Env) {
	p, _ := l.pairs.get(from)
	moved := p.apart()
	var t transfer
	for i := range p.views {
		v := &p.views[i]
		v.conns = slices.DeleteFunc(v.conns, func(c conn) bool {
			if c.id != id {
				return false
			}
			c.named, c.to.name = own, h.name
			t = transfer{src: p.src, dst: c.to.addr, port: c.to.port, time: c.newest()}
			moved.views[i].conns = append(moved.views[i].conns, c)
			return true
		})
	}
	l.move(p, moved, &t, h, own, env)
}

// apart is a pair with the same views and windows that holds nothing yet.
func (p *pair) apart() *pair {
	out := &pair{src: p.src, shared: p.shared}
	for i := range p.views {
		v := &p.views[i]
		out.views = append(out.views, view{observer: v.observer, iface: v.iface, instance: v.instance, layer: v.layer, flow: v.flow})
	}
	for i := range p.ws.List {
		w := &p.ws.List[i]
		out.ws.List = append(out.ws.List, window.Window[told]{Start: w.Start, End: w.End, Value: told{evidence: w.Value.evidence}})
	}
	return out
}

// move files under a name what was taken out of a pair.
func (l *ledger) move(p, moved *pair, t *transfer, h *host, own bool, env *detect.Env) {
	gone := 0
	for i := range moved.views {
		gone += len(moved.views[i].conns)
		for j := range moved.views[i].conns {
			l.where.del(moved.views[i].conns[j].id)
		}
	}
	l.tracked -= gone
	l.recut(p, env)
	if len(p.ws.List) == 0 && p.tracked() == 0 {
		l.remove(p)
	}
	moved.views = slices.DeleteFunc(moved.views, func(v view) bool { return v.empty() })
	if len(moved.views) == 0 {
		return
	}
	if key, limit, ok := l.file(t, h, own, p.key.port != 0, env.Site); ok {
		l.merge(key, limit, moved, env)
	}
}

// merge adds what a pair outside of the ledger holds to the pair of a key.
func (l *ledger) merge(key pairKey, limit uint64, from *pair, env *detect.Env) {
	p := l.pair(key)
	if p == nil {
		p = l.admit(key, env)
		p.limit, p.src, p.shared = limit, from.src, from.shared
	}
	l.tracked -= p.tracked()
	l.lose(p)
	for i := range from.views {
		f := &from.views[i]
		v := p.view(f.observer, &event.Flow{Interface: f.iface, InstanceID: f.instance}, f.flow)
		if v == nil {
			env.Count("views_dropped", l.rules.Info().ID, 1)
			continue
		}
		v.layer = f.layer
		for j := range f.cells.List {
			v.cells.Of(f.cells.List[j].At).merge(&f.cells.List[j].V)
		}
		for _, c := range f.conns {
			v.conns = append(v.conns, c)
			if len(v.conns) > maxTracked {
				v.fold(0)
			}
		}
	}
	l.tracked += p.tracked()
	l.locate(p)
	l.recut(p, env)
	for i := range from.ws.List {
		w := &from.ws.List[i]
		if into := p.ws.At(w.Start); into != nil {
			for _, ev := range w.Value.evidence {
				into.Value.evidence = detect.KeepEvidence(into.Value.evidence, ev, maxEvidence)
			}
		}
	}
	l.speak(p, env)
}

// recut makes the windows of a pair anew after data was moved.
func (l *ledger) recut(p *pair, env *detect.Env) {
	l.moved(p, p.ws.Recut(p.panes()), env)
	p.ws.Delete(func(w *window.Window[told]) bool { return w.Closed && w.Value.sum == 0 && !w.Value.sent })
	l.speak(p, env)
}

// moved follows a new cut: signals of windows that are no more are taken back,
// their evidence goes to the window that holds its time.
func (l *ledger) moved(p *pair, gone []window.Window[told], env *detect.Env) {
	p.resum()
	for i := range gone {
		if into := p.ws.At(gone[i].Start); into != nil {
			for _, ev := range gone[i].Value.evidence {
				into.Value.evidence = detect.KeepEvidence(into.Value.evidence, ev, maxEvidence)
			}
		}
	}
	l.withdraw(p, gone, env)
	for i := range p.ws.List {
		if w := &p.ws.List[i]; !w.Value.paused {
			l.next = min(l.next, due(w))
		}
	}
}

// speak judges all windows of a pair.
func (l *ledger) speak(p *pair, env *detect.Env) {
	for i := range p.ws.List {
		l.consider(p, &p.ws.List[i], 0, nil, env)
	}
}
