package volume

import (
	"slices"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/window"
)

// A connection is kept by itself where it may be seen again: while it is open
// (its snapshots are never summed), when it lasted long enough to have been
// open in a snapshot, or when it is so large that a name which comes late must
// still move it.
const (
	trackBytes = 256 << 10
	trackLong  = 60 * second
)

// conn is one connection, by snapshots. Counters are those since its start.
type conn struct {
	id    uint64
	start int64
	to    peak // where it goes; up is not used
	final bool
	named bool // by its own handshake
	// base is what came before the windows that are kept.
	base   point
	points []point // by pane
	est    bool
}

// point is the largest that was seen of a connection in one pane.
type point struct {
	at, time int64 // start of the pane, newest event
	up, down uint64
	hit      single
}

// add takes a snapshot or the end, and returns by how much the bytes sent
// grew beyond all that was known.
func (c *conn) add(t *transfer, hit single) uint64 {
	known := c.last()
	at := window.PaneOf(t.time)
	i, have := slices.BinarySearchFunc(c.points, at, func(p point, at int64) int {
		switch {
		case p.at < at:
			return -1
		case p.at > at:
			return 1
		}
		return 0
	})
	if !have {
		c.points = slices.Insert(c.points, i, point{at: at})
	}
	p := &c.points[i]
	p.time = max(p.time, t.time)
	p.up, p.down = max(p.up, t.up), max(p.down, t.down)
	p.hit.merge(hit)
	c.start = min(c.start, t.start)
	c.final = c.final || !t.open
	c.est = c.est || t.estimated
	return t.up - min(t.up, known)
}

// last is the most that the connection is known to have sent.
func (c *conn) last() uint64 {
	n := c.base.up
	for i := range c.points {
		n = max(n, c.points[i].up)
	}
	return n
}

// newest is the time of the newest event.
func (c *conn) newest() int64 {
	if n := len(c.points); n > 0 {
		return c.points[n-1].time
	}
	return c.base.time
}

// into adds to acc what the connection did in the panes of a window.
func (c *conn) into(start, end int64, acc *[window.Slots]sums) {
	at := c.begin()
	counted := false
	for i := range c.points {
		p := &c.points[i]
		s := c.step(p, &at)
		if p.at < start || p.at >= end {
			continue
		}
		if !counted {
			s.conns, s.out, s.in, counted = 1, 1, 1, true
		}
		acc[(p.at-start)/window.Pane].merge(&s)
	}
}

// begin is where a walk over the points begins.
func (c *conn) begin() point {
	at := c.base
	if at.time == 0 {
		at.time = c.start
	}
	return at
}

// step returns what a point adds to those before it, and goes on to it.
func (c *conn) step(p, at *point) sums {
	up, down := max(p.up, at.up), max(p.down, at.down)
	since := min(at.time, p.time)
	s := sums{up: up - at.up, down: down - at.down, estimated: c.est, hit: p.hit, top: c.to}
	s.top.up = s.up
	s.lasts(p.at, p.time, p.time-since)
	s.span(since, p.time)
	*at = point{time: p.time, up: up, down: down}
	return s
}

// forget makes what came before an event time the base.
func (c *conn) forget(before int64) {
	n := 0
	for n < len(c.points) && c.points[n].at < before {
		p := &c.points[n]
		c.base = point{time: max(c.base.time, p.time), up: max(c.base.up, p.up), down: max(c.base.down, p.down)}
		n++
	}
	c.points = slices.Delete(c.points, 0, n)
}

func (c *conn) append(dst []byte) []byte {
	dst = operator.AppendUint(dst, c.id)
	dst = operator.AppendInt(dst, c.start)
	dst = operator.AppendBool(operator.AppendBool(operator.AppendBool(dst, c.final), c.named), c.est)
	dst = (&sums{top: c.to}).append(dst)
	dst = c.base.append(dst)
	dst = operator.AppendUint(dst, len(c.points))
	for i := range c.points {
		dst = c.points[i].append(dst)
	}
	return dst
}

func (c *conn) load(r *operator.Reader) {
	c.id, c.start = r.Uint(), r.Int()
	c.final, c.named, c.est = r.Bool(), r.Bool(), r.Bool()
	var to sums
	to.load(r)
	c.to = to.top
	c.base = readPoint(r)
	for range r.Count() {
		c.points = append(c.points, readPoint(r))
	}
}

func (p *point) append(dst []byte) []byte {
	dst = operator.AppendInt(operator.AppendInt(dst, p.at), p.time)
	return p.hit.append(operator.AppendUint(operator.AppendUint(dst, p.up), p.down))
}

func readPoint(r *operator.Reader) point {
	return point{at: r.Int(), time: r.Int(), up: r.Uint(), down: r.Uint(), hit: readSingle(r)}
}
