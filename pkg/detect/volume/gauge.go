package volume

import (
	"math/bits"
	"slices"
)

// spread adds what was sent to the panes of a gauge, in proportion to time,
// as far as they are not over.
func (m *meter) spread(at int, t *transfer, from int64, permitted bool) {
	g := m.gauges[at]
	from = min(from, t.time)
	whole := t.time - from
	first, last := tenOf(from), tenOf(t.time)
	oldest := last - 2*hourTens
	left := t.up
	for p := last; p >= max(first, oldest, 0); p-- {
		share := left
		if p > first {
			begin := timeOfTen(p)
			share = min(left, mulDiv(t.up, uint64(min(t.time, begin+ten)-begin), uint64(whole)))
		}
		left -= share
		c := g.pane(p)
		if permitted {
			c.permitted += share
		} else {
			c.up += share
			c.largest = max(c.largest, share)
		}
		if p == last {
			c.flows++
			c.newest = max(c.newest, t.time)
			if t.time-t.start >= 300*second {
				c.long++
			}
		}
	}
}

// mulDiv is a·b/c without overflow; the quotient is at most a where b ≤ c.
func mulDiv(a, b, c uint64) uint64 {
	if c == 0 || b >= c {
		return a
	}
	hi, lo := bits.Mul64(a, b)
	q, _ := bits.Div64(hi, lo, c)
	return q
}

// pane returns the pane of a time, and makes it.
func (g *gauge) pane(at int32) *pane10 {
	i := len(g.panes)
	for i > 0 && g.panes[i-1].at >= at {
		i--
	}
	if i == len(g.panes) || g.panes[i].at != at {
		g.panes = slices.Insert(g.panes, i, pane10{at: at})
	}
	return &g.panes[i]
}

// reach is the hour of a gauge that ends in a pane.
type reach struct {
	up, permitted, largest uint64
	flows, long            uint32
	from, to               int32 // first and last pane with data
	newest                 int64
}

// hourTo sums the hour that ends with a pane.
func (g *gauge) hourTo(at int32) (r reach) {
	for i := range g.panes {
		p := &g.panes[i]
		if p.at > at || p.at <= at-hourTens {
			continue
		}
		if r.flows == 0 && r.up == 0 && r.permitted == 0 {
			r.from = p.at
		}
		r.to = p.at
		r.up += p.up
		r.permitted += p.permitted
		r.largest = max(r.largest, p.largest)
		r.flows, r.long = r.flows+p.flows, r.long+p.long
		r.newest = max(r.newest, p.newest, timeOfTen(p.at))
	}
	return r
}

// all is no less than what is in any hour.
func (g *gauge) all() (up, permitted uint64) {
	for i := range g.panes {
		up, permitted = up+g.panes[i].up, permitted+g.panes[i].permitted
	}
	return up, permitted
}

// busiest is the hour that ends within a clock hour and in which most was sent.
func (g *gauge) busiest(hour int32) (best reach) {
	for i := range g.panes {
		if at := g.panes[i].at; at/hourTens == hour {
			if r := g.hourTo(at); r.up > best.up || best.flows == 0 {
				best = r
			}
		}
	}
	return best
}

// clock sums one hour of the clock.
func (g *gauge) clock(hour int32) (up, permitted uint64) {
	for i := range g.panes {
		if p := &g.panes[i]; p.at/hourTens == hour {
			up, permitted = up+p.up, permitted+p.permitted
		}
	}
	return up, permitted
}
