package volume

import (
	"unsafe"

	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// meterVersion is the format of a meter's state.
const meterVersion = 2 // 1 has no hash in what was said

// Append implements detect.State.
func (m *meter) Append(dst []byte) []byte {
	dst = operator.AppendUint(dst, uint32(meterVersion))
	dst = operator.AppendUint(operator.AppendAddr(dst, m.src), m.id)
	for _, n := range [...]int64{m.last, m.dnsAt, int64(m.closed), m.next} {
		dst = operator.AppendInt(dst, n)
	}
	dst = operator.AppendUint(dst, m.grown)
	dst = operator.AppendUint(dst, len(m.kinds))
	for _, k := range m.kinds {
		dst = operator.AppendInt(operator.AppendString(dst, k.name), k.first)
		for _, s := range [...]*baseline.Series{k.own, k.permitted} {
			dst = operator.AppendBool(dst, s != nil)
			if s != nil {
				dst = s.Append(dst)
			}
		}
	}
	dst = operator.AppendUint(dst, len(m.gauges))
	for _, g := range m.gauges {
		dst = operator.AppendString(operator.AppendString(operator.AppendString(dst, g.observer), g.iface), g.instance)
		dst = operator.AppendUint(operator.AppendBool(operator.AppendUint(dst, g.kind), g.flow), g.layer)
		dst = operator.AppendUint(dst, len(g.panes))
		for i := range g.panes {
			p := &g.panes[i]
			dst = operator.AppendInt(operator.AppendInt(dst, p.at), p.newest)
			for _, n := range [...]uint64{uint64(p.flows), uint64(p.long), p.up, p.permitted, p.largest} {
				dst = operator.AppendUint(dst, n)
			}
		}
	}
	dst = operator.AppendUint(dst, m.routes.len())
	for _, r := range m.sortedRoutes() {
		dst = r.append(dst)
	}
	dst = operator.AppendUint(dst, len(m.opened))
	for i := range m.opened {
		o := &m.opened[i]
		dst = operator.AppendUint(operator.AppendUint(operator.AppendUint(dst, o.id), o.up), o.down)
		dst = operator.AppendBool(operator.AppendInt(dst, o.time), o.final)
	}
	dst = operator.AppendUint(dst, len(m.hellos))
	for _, h := range m.hellos {
		dst = operator.AppendUint(operator.AppendUint(dst, h.id), h.print)
	}
	dst = operator.AppendUint(dst, len(m.marks))
	for _, x := range m.marks {
		dst = operator.AppendUint(operator.AppendInt(dst, x.hour), x.kind)
		dst = operator.AppendUint(operator.AppendBool(dst, x.alerted), x.answer)
	}
	return appendProof(appendSpoken(dst, m.spoken), m.proof)
}

func appendSpoken(dst []byte, list []spoken) []byte {
	dst = operator.AppendUint(dst, len(list))
	for _, s := range list {
		dst = operator.AppendFloat(operator.AppendUint(operator.AppendUint(operator.AppendUint(dst, s.rule), s.view), uint32(s.mask)), float64(s.score))
		dst = operator.AppendInt(operator.AppendUint(operator.AppendUint(operator.AppendInt(dst, s.start), s.up), s.down), s.shows)
	}
	return dst
}

func loadSpoken(r *operator.Reader, version uint64) (list []spoken) {
	for range r.Count() {
		s := spoken{rule: uint8(r.Uint()), view: uint8(r.Uint()), mask: uint16(r.Uint()), score: float32(r.Float()), start: r.Int(), up: r.Uint(), down: r.Uint()}
		if version > 1 {
			s.shows = r.Int()
		}
		if s.rule < ruleCount || s.rule == ruleDrift {
			list = append(list, s)
		}
	}
	return list
}

func appendProof(dst []byte, list []proof) []byte {
	dst = operator.AppendUint(dst, len(list))
	for i := range list {
		dst = operator.AppendInt(operator.AppendUint(dst, list[i].up), list[i].at)
		dst = detect.AppendEvidence(dst, []signal.Evidence{list[i].ev})
	}
	return dst
}

func loadProof(r *operator.Reader) (list []proof) {
	for range r.Count() {
		p := proof{up: r.Uint(), at: int32(r.Int())}
		if ev := detect.LoadEvidence(r); len(ev) == 1 {
			p.ev = ev[0]
			list = append(list, p)
		}
	}
	return list
}

func (r *route) append(dst []byte) []byte {
	dst = operator.AppendBool(operator.AppendAddr(operator.AppendString(dst, r.key.name), r.key.addr), r.key.mail)
	dst = operator.AppendUint(operator.AppendUint(operator.AppendUint(dst, r.standing), r.limit), r.class)
	dst = operator.AppendBool(operator.AppendBool(operator.AppendString(dst, r.tenant), r.looked), r.named)
	dst = operator.AppendInt(operator.AppendInt(operator.AppendUint(dst, r.hello), r.first), r.last)
	dst = operator.AppendInt(operator.AppendUint(operator.AppendUint(dst, r.all), r.grown), r.touched)
	dst = (&sums{top: r.to}).append(dst)
	dst = operator.AppendUint(dst, len(r.cells))
	for i := range r.cells {
		c := &r.cells[i]
		dst = operator.AppendBool(operator.AppendUint(operator.AppendInt(dst, c.at), c.view), c.open)
		dst = operator.AppendInt(operator.AppendUint(operator.AppendUint(operator.AppendUint(dst, c.conns), c.up), c.down), c.newest)
	}
	dst = operator.AppendUint(dst, len(r.minutes))
	for i := range r.minutes {
		x := &r.minutes[i]
		dst = operator.AppendUint(operator.AppendUint(operator.AppendInt(dst, x.at), x.view), x.up)
	}
	return appendProof(appendSpoken(dst, r.spoken), r.proof)
}

func (r *route) load(d *operator.Reader, version uint64) {
	r.key = routeKey{d.String(), d.Addr(), d.Bool()}
	r.tag = r.key.tag()
	r.standing, r.limit, r.class = routeStanding(d.Uint()), d.Uint(), class(min(d.Uint(), uint64(classDrop)))
	r.tenant, r.looked, r.named = d.String(), d.Bool(), d.Bool()
	r.hello, r.first, r.last = d.Uint(), int32(d.Int()), int32(d.Int())
	r.all, r.grown, r.touched = d.Uint(), d.Uint(), int32(d.Int())
	var to sums
	to.load(d)
	r.to = to.top
	for range d.Count() {
		c := routeCell{at: int32(d.Int()), view: uint8(d.Uint()), open: d.Bool()}
		c.conns, c.up, c.down, c.newest = uint32(d.Uint()), d.Uint(), d.Uint(), d.Int()
		r.cells = append(r.cells, c)
	}
	for range d.Count() {
		r.minutes = append(r.minutes, minute{int32(d.Int()), uint8(d.Uint()), d.Uint()})
	}
	r.spoken, r.proof = loadSpoken(d, version), loadProof(d)
}

// Load implements detect.State.
func (m *meter) Load(data []byte) error {
	r := operator.NewReader(data)
	version := r.Uint()
	if version == 0 || version > meterVersion {
		return operator.ErrState
	}
	m.src, m.id = r.Addr(), uint16(r.Uint())
	m.last, m.dnsAt, m.closed, m.next = r.Int(), r.Int(), int32(r.Int()), r.Int()
	m.grown = r.Uint()
	for range r.Count() {
		k := &kind{name: r.String(), first: int32(r.Int())}
		for _, s := range [...]**baseline.Series{&k.own, &k.permitted} {
			if r.Bool() {
				*s = &baseline.Series{}
				if err := (*s).Load(r); err != nil {
					return err
				}
			}
		}
		m.kinds = append(m.kinds, k)
	}
	for range r.Count() {
		g := &gauge{observer: r.String(), iface: r.String(), instance: r.String(), kind: uint8(r.Uint()), flow: r.Bool(), layer: layer(r.Uint() & 1)}
		for range r.Count() {
			p := pane10{at: int32(r.Int()), newest: r.Int(), flows: uint32(r.Uint()), long: uint32(r.Uint())}
			p.up, p.permitted, p.largest = r.Uint(), r.Uint(), r.Uint()
			if n := len(g.panes); n > 0 && g.panes[n-1].at >= p.at {
				return operator.ErrState
			}
			g.panes = append(g.panes, p)
		}
		if int(g.kind) >= len(m.kinds) {
			return operator.ErrState
		}
		m.gauges = append(m.gauges, g)
	}
	if len(m.kinds) > maxKinds || len(m.gauges) > maxGauges {
		return operator.ErrState
	}
	m.derive()
	for range r.Count() {
		x := &route{}
		x.load(r, version)
		m.routes.set(x.key, x)
	}
	for range r.Count() {
		m.opened = append(m.opened, opened{r.Uint(), r.Uint(), r.Uint(), r.Int(), r.Bool()})
	}
	for range r.Count() {
		m.hellos = append(m.hellos, clientHello{r.Uint(), r.Uint()})
	}
	for range r.Count() {
		m.marks = append(m.marks, hourMark{int32(r.Int()), uint8(r.Uint()), r.Bool(), baseline.State(r.Uint() & 3)})
	}
	m.spoken, m.proof = loadSpoken(r, version), loadProof(r)
	if len(m.gauges) == 0 && (m.routes.len() > 0 || len(m.spoken) > 0) {
		return operator.ErrState // what follows relies on it
	}
	return r.Err()
}

// Weight implements detect.Weighed: measured as that of a ledger.
func (m *meter) Weight() int {
	const perKind, perSeries, perGauge, perPane, perRoute, perCell, perMinute, perSpoken, perOpened = 14, 420, 8, 20, 86, 24, 12, 42, 26
	n := 46 + perKind*len(m.kinds) + perGauge*len(m.gauges) + perRoute*m.routes.len() + perOpened*len(m.opened) + 18*len(m.hellos) + 8*len(m.marks) +
		perSpoken*len(m.spoken) + proofWeight(m.proof)
	for _, k := range m.kinds {
		for _, s := range [...]*baseline.Series{k.own, k.permitted} {
			if s != nil {
				n += perSeries
			}
		}
	}
	for _, g := range m.gauges {
		n += len(g.observer) + len(g.iface) + len(g.instance) + perPane*len(g.panes)
	}
	for _, r := range m.routes.all {
		n += len(r.key.name) + len(r.tenant) + perCell*len(r.cells) + perMinute*len(r.minutes) + perSpoken*len(r.spoken) + proofWeight(r.proof)
	}
	return n
}

func proofWeight(list []proof) (n int) {
	for i := range list {
		n += evidenceWeight(&list[i].ev)
	}
	return n
}

// evidenceWeight is about what a piece of evidence takes when it is written.
func evidenceWeight(ev *signal.Evidence) int { return 96 + len(ev.Record) }

// Size implements detect.Sized.
func (m *meter) Size() int {
	n := int(unsafe.Sizeof(*m))
	for _, k := range m.kinds {
		n += int(unsafe.Sizeof(*k)) + len(k.name)
		for _, s := range [...]*baseline.Series{k.own, k.permitted} {
			if s != nil {
				n += 640
			}
		}
	}
	for _, g := range m.gauges {
		n += int(unsafe.Sizeof(*g)) + 8 + cap(g.panes)*int(unsafe.Sizeof(pane10{}))
	}
	for _, r := range m.routes.all {
		n += int(unsafe.Sizeof(*r)) + int(unsafe.Sizeof(routeKey{})) + 24 + len(r.key.name) +
			cap(r.cells)*int(unsafe.Sizeof(routeCell{})) + cap(r.minutes)*int(unsafe.Sizeof(minute{})) + cap(r.spoken)*int(unsafe.Sizeof(spoken{})) + proofSize(r.proof)
	}
	return n + cap(m.opened)*int(unsafe.Sizeof(opened{})) + cap(m.hellos)*int(unsafe.Sizeof(clientHello{})) +
		cap(m.marks)*int(unsafe.Sizeof(hourMark{})) + cap(m.spoken)*int(unsafe.Sizeof(spoken{})) + proofSize(m.proof)
}

func proofSize(list []proof) (n int) {
	for i := range list {
		n += int(unsafe.Sizeof(proof{})) + len(list[i].ev.Record) + len(list[i].ev.Name)
	}
	return n
}
