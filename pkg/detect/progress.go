package detect

import (
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// Counters are what each side of a connection sent: of its source, of its
// destination. A counter that the record does not give is 0.
type Counters struct{ Bytes, IPBytes, Packets [2]uint64 }

func countersOf(e *event.Event) (c Counters) {
	for i, p := range [2]*event.Endpoint{&e.Source, &e.Destination} {
		c.Bytes[i], c.IPBytes[i], c.Packets[i] = p.Bytes.Or(0), p.IPBytes.Or(0), p.Packets.Or(0)
	}
	return c
}

// since returns what was added, and the larger of both.
func (c Counters) since(old Counters) (added, so Counters) {
	for i := range 2 {
		so.Bytes[i], so.IPBytes[i], so.Packets[i] = max(c.Bytes[i], old.Bytes[i]), max(c.IPBytes[i], old.IPBytes[i]), max(c.Packets[i], old.Packets[i])
		added.Bytes[i], added.IPBytes[i], added.Packets[i] = so.Bytes[i]-old.Bytes[i], so.IPBytes[i]-old.IPBytes[i], so.Packets[i]-old.Packets[i]
	}
	return added, so
}

// Progress turns the records of connections that go on (Conn.Open, with
// counters so far) into what each adds to the one before. The zero value is
// empty.
type Progress struct{ open []openConn }

type openConn struct {
	id   uint64 // hash of the connection's id
	so   Counters
	last int64
}

// maxOpen bounds the connections that are followed.
const maxOpen = 32

// Since returns what a record of a connection adds to those before, and whether
// it is the connection's first. Of more connections than it can follow it takes
// the last record only.
func (p *Progress) Since(e *event.Event) (c Counters, first bool) {
	c = countersOf(e)
	if e.ID == "" {
		return c, true
	}
	id := xxhash.Sum64String(e.ID)
	i := slices.IndexFunc(p.open, func(o openConn) bool { return o.id == id })
	switch {
	case i < 0 && !e.Conn.Open:
		return c, true
	case i < 0:
		if len(p.open) == maxOpen {
			// One whose last record never came must not hold its place.
			oldest := slices.MinFunc(p.open, func(a, b openConn) int { return int(min(max(a.last-b.last, -1), 1)) })
			if e.Time-oldest.last < HourSpan {
				return Counters{}, false
			}
			p.open = slices.DeleteFunc(p.open, func(o openConn) bool { return o.id == oldest.id })
		}
		p.open = append(p.open, openConn{id, c, e.Time})
		return c, true
	}
	added, so := c.since(p.open[i].so)
	if e.Conn.Open {
		p.open[i].so, p.open[i].last = so, max(p.open[i].last, e.Time)
	} else {
		p.open = slices.Delete(p.open, i, i+1)
	}
	return added, false
}

// Append encodes the progress.
func (p *Progress) Append(dst []byte) []byte {
	dst = operator.AppendUint(dst, len(p.open))
	for i := range p.open {
		o := &p.open[i]
		dst = operator.AppendInt(operator.AppendUint(dst, o.id), o.last)
		for _, side := range [...][2]uint64{o.so.Bytes, o.so.IPBytes, o.so.Packets} {
			dst = operator.AppendUint(operator.AppendUint(dst, side[0]), side[1])
		}
	}
	return dst
}

// Load reads what Append wrote.
func (p *Progress) Load(r *operator.Reader) {
	p.open = nil
	for range r.Count() {
		o := openConn{id: r.Uint(), last: r.Int()}
		for _, side := range [...]*[2]uint64{&o.so.Bytes, &o.so.IPBytes, &o.so.Packets} {
			side[0], side[1] = r.Uint(), r.Uint()
		}
		p.open = append(p.open, o)
	}
}
