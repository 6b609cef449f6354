package volume

import (
	"unsafe"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/window"
)

// Size implements detect.Sized.
func (l *ledger) Size() int {
	const perEntry, perPair = 56, int(unsafe.Sizeof(pair{}))
	s := &l.small
	size := int(unsafe.Sizeof(*l)) + cap(s.pairs)*int(unsafe.Sizeof(smallPair{})) + cap(s.cells)*int(unsafe.Sizeof(smallCell{})) + cap(s.views)*int(unsafe.Sizeof(smallView{}))
	for i := range s.views {
		size += len(s.views[i].iface) + len(s.views[i].instance)
	}
	size += perEntry*(l.pairs.len()+l.where.len()+l.bare.len()) + 16*cap(l.observers) + 24*cap(l.seen.list)
	for _, p := range l.pairs.all {
		size += perPair + len(p.key.name) + cap(p.ws.List)*int(unsafe.Sizeof(window.Window[told]{}))
		for i := range p.ws.List {
			for j := range p.ws.List[i].Value.evidence {
				size += 128 + len(p.ws.List[i].Value.evidence[j].Record)
			}
		}
		size += cap(p.views) * int(unsafe.Sizeof(view{}))
		for i := range p.views {
			v := &p.views[i]
			size += len(v.iface) + len(v.instance) + cap(v.cells.List)*int(unsafe.Sizeof(window.Cell[sums]{})) + cap(v.conns)*int(unsafe.Sizeof(conn{}))
			for j := range v.conns {
				size += cap(v.conns[j].points) * int(unsafe.Sizeof(point{}))
			}
		}
	}
	return size + 24*cap(l.spent.list)
}

// Weight implements detect.Weighed. What a pair takes with its names and one
// window, a cell and a connection are measured; a pair that is kept small counts
// as one that is open, for that is what is written.
func (l *ledger) Weight() int {
	const perPair, perCell, perConn, perPoint = 115, 45, 60, 12
	n := 40 + 12*len(l.seen.list) + 12*len(l.spent.list) + perPair*(l.pairs.len()+len(l.small.pairs)) + perCell*len(l.small.cells)
	for _, p := range l.pairs.all {
		n += len(p.key.name)
		for i := range p.views {
			v := &p.views[i]
			n += perCell*len(v.cells.List) + perConn*len(v.conns)
			for j := range v.conns {
				n += perPoint * len(v.conns[j].points)
			}
		}
		for i := range p.ws.List {
			for j := range p.ws.List[i].Value.evidence {
				n += evidenceWeight(&p.ws.List[i].Value.evidence[j])
			}
		}
	}
	return n
}

// stateVersion is the format of a key's state. The one before held nothing of
// what was spent.
const stateVersion = 3

// Append implements detect.State.
func (l *ledger) Append(dst []byte) []byte {
	dst = operator.AppendUint(dst, stateVersion)
	dst = operator.AppendInt(dst, l.last)
	dst = operator.AppendUint(dst, len(l.observers))
	for _, o := range l.observers {
		dst = operator.AppendString(dst, o)
	}
	dst = l.seen.append(dst)
	list := l.all()
	dst = operator.AppendUint(dst, len(list))
	for _, p := range list {
		dst = p.append(dst)
	}
	return l.spent.append(dst)
}

// Load implements detect.State.
func (l *ledger) Load(data []byte) error {
	r := operator.NewReader(data)
	version := r.Uint()
	if version != stateVersion && version != stateVersion-1 {
		return operator.ErrState
	}
	l.last = r.Int()
	for range r.Count() {
		l.observers = append(l.observers, r.String())
	}
	l.only = only(l.observers)
	l.seen.load(r)
	for range r.Count() {
		p := &pair{}
		p.load(r)
		if r.Err() != nil {
			break
		}
		if !p.sound() {
			return operator.ErrState
		}
		if l.pairs.len()+len(l.small.pairs) < maxPairs && l.small.take(p) {
			continue
		}
		l.pairs.set(p.key, p)
		l.index(p)
	}
	if version == stateVersion {
		l.spent.load(r)
	}
	l.reckon()
	return r.Err()
}

// sound reports whether what was loaded lies on the grid and within bounds:
// what follows relies on it.
func (p *pair) sound() bool {
	onGrid := func(at int64) bool { return window.PaneOf(at) == at }
	last := int64(-1 << 63)
	for i := range p.ws.List {
		w := &p.ws.List[i]
		if !onGrid(w.Start) || !onGrid(w.End) || w.Start < last || w.End <= w.Start || w.End > w.Start+window.Span {
			return false
		}
		last = w.End
	}
	for i := range p.views {
		v := &p.views[i]
		for j := range v.cells.List {
			if at := v.cells.List[j].At; !onGrid(at) || j > 0 && at <= v.cells.List[j-1].At {
				return false
			}
		}
		for j := range v.conns {
			for k := range v.conns[j].points {
				if at := v.conns[j].points[k].at; !onGrid(at) || k > 0 && at <= v.conns[j].points[k-1].at {
					return false
				}
			}
		}
	}
	return len(p.views) <= maxViews
}
