package dns

import (
	"bytes"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// tunnelVersion is the format of a state of dns-tunnel.
//
// Version 2 has no days.
const tunnelVersion = 3

// Append implements detect.State. What can be counted from the samples is not
// written.
func (s *tunnelState) Append(dst []byte) []byte {
	return s.views.Append(operator.AppendUint(dst, tunnelVersion), appendView)
}

// Load implements detect.State.
func (s *tunnelState) Load(data []byte) error {
	r := operator.NewReader(data)
	version := r.Uint()
	if version != tunnelVersion && version != tunnelVersion-1 {
		return operator.ErrState
	}
	s.views.Load(r, func(r *operator.Reader, v *view) { s.loadView(r, v, version) })
	return r.Err()
}

func appendView(dst []byte, v *view) []byte {
	dst = operator.AppendAddr(dst, v.client)
	dst = operator.AppendString(dst, v.realm)
	dst = operator.AppendInt(dst, v.wake)
	dst = operator.AppendInt(dst, v.blind)
	dst = operator.AppendUint(dst, v.connected)
	dst = operator.AppendInt(dst, v.latest)
	dst = operator.AppendInt(dst, v.newest)
	dst = operator.AppendUint(dst, len(v.panes))
	for i := range v.panes {
		p := &v.panes[i]
		dst = operator.AppendInt(dst, p.at)
		for _, n := range [...]uint32{p.asked, p.served, p.looked, p.reached} {
			dst = operator.AppendUint(dst, n)
		}
	}
	dst = operator.AppendUint(dst, len(v.contacts))
	for _, c := range v.contacts {
		dst = operator.AppendUint(dst, c.hash)
		dst = operator.AppendInt(dst, c.start)
		dst = operator.AppendInt(dst, c.end)
	}
	dst = operator.AppendUint(dst, len(v.lookups))
	at := 0
	for i := range v.lookups {
		l := &v.lookups[i]
		dst = l.append(dst, v.answers[at:at+int(l.n)])
		at += int(l.n)
	}
	dst = v.hours.Append(dst, appendDomain)
	dst = v.shards.Append(dst, appendShard)
	dst = operator.AppendUint(dst, len(v.days))
	for i := range v.days {
		dst = appendDay(dst, &v.days[i])
	}
	return dst
}

func (s *tunnelState) loadView(r *operator.Reader, v *view, version uint64) {
	v.begin()
	v.client, v.realm = r.Addr(), r.String()
	v.wake, v.blind = r.Int(), r.Int()
	v.connected, v.latest, v.newest = r.Uint(), r.Int(), r.Int()
	for range r.Count() {
		p := pane{at: r.Int(), asked: uint32(r.Uint()), served: uint32(r.Uint()), looked: uint32(r.Uint()), reached: uint32(r.Uint())}
		if len(v.panes) < panesKept {
			v.panes = append(v.panes, p)
		}
	}
	for range r.Count() {
		v.contacts = append(v.contacts, contact{uint32(r.Uint()), r.Int(), r.Int()})
	}
	for range r.Count() {
		v.lookups = append(v.lookups, v.loadLookup(r))
	}
	v.hours.Load(r, loadDomain)
	v.countEntries()
	v.shards.Load(r, loadShard)
	if version < 3 {
		return
	}
	for range r.Count() {
		d := loadDay(r)
		if len(v.days) < maxDaysResolver {
			v.days = append(v.days, d)
		}
	}
}

func (l *lookup) append(dst []byte, addresses []uint32) []byte {
	dst = operator.AppendInt(dst, l.t)
	dst = operator.AppendUint(dst, l.wait)
	dst = operator.AppendUint(dst, l.name)
	dst = operator.AppendString(dst, l.domain)
	dst = operator.AppendUint(dst, l.n)
	for _, a := range addresses {
		dst = operator.AppendUint(dst, a)
	}
	return operator.AppendBool(operator.AppendBool(operator.AppendBool(dst, l.company), l.counted), l.hit)
}

func (v *view) loadLookup(r *operator.Reader) lookup {
	l := lookup{t: r.Int(), wait: uint32(r.Uint()), name: r.Uint(), domain: r.String()}
	n := r.Count()
	for i := range n {
		a := uint32(r.Uint())
		if i < maxAddresses {
			v.answers = append(v.answers, a)
			l.n++
		}
	}
	l.company, l.counted, l.hit = r.Bool(), r.Bool(), r.Bool()
	return l
}

func appendDomain(dst []byte, d *domain) []byte {
	if d.full == nil {
		return operator.AppendString(operator.AppendBool(dst, false), d.seed)
	}
	return appendWindow(operator.AppendBool(dst, true), d.full)
}

func loadDomain(r *operator.Reader, h *detect.Hour[domain]) {
	if r.Bool() {
		h.Value.full = new(window)
		loadWindow(r, h.Value.full)
		return
	}
	h.Value.seed = bytes.Clone(r.Bytes())
	if !h.Value.seed.sound() {
		h.Value = domain{full: new(window)} // damage
	}
}

func appendWindow(dst []byte, w *window) []byte {
	dst = w.names.Append(dst, func(dst []byte, n *name) []byte {
		dst = operator.AppendUint(dst, n.hash)
		dst = operator.AppendUint(dst, n.last)
		dst = operator.AppendUint(dst, uint16(n.flags))
		return append(dst, n.lookups, n.places, n.bytes)
	})
	dst = w.labels.Append(dst, func(dst []byte, l *labelEntry) []byte {
		dst = operator.AppendUint(dst, l.hash)
		dst = operator.AppendUint(dst, l.places)
		return append(dst, l.bytes)
	})
	for _, n := range [...]uint32{w.queries, w.txt, w.oddTypes, w.direct, w.emissions, w.lastPicked} {
		dst = operator.AppendUint(dst, n)
	}
	dst = operator.AppendUint(dst, w.leftmost)
	dst = operator.AppendInt(dst, w.entropy)
	dst = operator.AppendUint(dst, w.fleeting)
	dst = operator.AppendInt(dst, w.first)
	dst = operator.AppendInt(dst, w.last)
	dst = operator.AppendInt(dst, w.best)
	dst = operator.AppendAddr(dst, w.server)
	dst = operator.AppendUint(dst, len(w.examples))
	for _, x := range w.examples {
		dst = operator.AppendString(dst, x)
	}
	dst = operator.AppendUint(dst, w.part.names)
	dst = operator.AppendUint(dst, w.part.bytes)
	dst = operator.AppendString(dst, w.told[:])
	return detect.AppendEvidence(dst, w.evidence)
}

func loadWindow(r *operator.Reader, w *window) {
	w.limit = maxSample
	w.names.Load(r, func(r *operator.Reader) name {
		n := name{hash: r.Uint(), last: uint16(r.Uint()), flags: flags(r.Uint())}
		n.lookups, n.places, n.bytes = r.Byte(), min(r.Byte(), maxPlaces), r.Byte()
		return n
	})
	w.labels.Load(r, func(r *operator.Reader) labelEntry {
		// A label that stands nowhere is damage; the place keeps it countable.
		return labelEntry{hash: r.Uint(), places: max(1, uint32(r.Uint())), bytes: r.Byte()}
	})
	w.recountNames()
	w.recountLabels()
	for _, n := range [...]*uint32{&w.queries, &w.txt, &w.oddTypes, &w.direct, &w.emissions, &w.lastPicked} {
		*n = uint32(r.Uint())
	}
	w.leftmost, w.entropy, w.fleeting = r.Uint(), r.Int(), r.Uint()
	w.first, w.last, w.best = r.Int(), r.Int(), int(r.Int())
	w.server = r.Addr()
	for range r.Count() {
		w.examples = append(w.examples, r.String())
	}
	w.part = part{r.Uint(), r.Uint()}
	for i, level := range r.Bytes() {
		if i < len(w.told) {
			w.told[i] = min(level, uint8(len(signs[i].points)-1))
		}
	}
	w.evidence = detect.LoadEvidence(r)
}

func appendShard(dst []byte, s *shard) []byte {
	for _, n := range [...]uint64{uint64(s.domains), s.bytes, s.names, uint64(s.told), uint64(s.emissions)} {
		dst = operator.AppendUint(dst, n)
	}
	dst = operator.AppendInt(dst, s.first)
	dst = operator.AppendInt(dst, s.last)
	dst = operator.AppendUint(dst, len(s.ended))
	for _, d := range s.ended {
		dst = operator.AppendString(dst, d.domain)
		dst = operator.AppendUint(dst, d.names)
		dst = operator.AppendUint(dst, d.bytes)
	}
	return detect.AppendEvidence(dst, s.evidence)
}

func loadShard(r *operator.Reader, h *detect.Hour[shard]) {
	s := &h.Value
	s.domains, s.bytes, s.names = uint32(r.Uint()), r.Uint(), r.Uint()
	s.told, s.emissions = uint32(r.Uint()), uint32(r.Uint())
	s.first, s.last = r.Int(), r.Int()
	for range r.Count() {
		s.ended = append(s.ended, lostDomain{r.String(), r.Uint(), r.Uint()})
	}
	s.evidence = detect.LoadEvidence(r)
}
