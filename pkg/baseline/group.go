package baseline

// Group is how much the sources of one role or subnet send in the hours in
// which they send: what a source without a history is compared with. Only
// sources with a complete history, and of these only hours that are no
// findings, should be added. The zero value is empty.
//
// It remembers one to two weeks: the weeks of event time in which the newest
// hour lies and the one before.
type Group struct {
	week      int32
	now, past counts
	// members are hashes of the sources that contributed, the first few.
	members [minMembers]uint32
}

const (
	// minMembers is how many sources make a group.
	minMembers = 4
	// minGroupHours is how many hours of them.
	minGroupHours = 48
)

// Add adds the sum of one hour of a source, given by a hash. Hours of a week
// that is over by more than one are left out.
func (g *Group) Add(source uint64, hour int32, sum uint64) {
	code := codeOf(sum)
	if code == 0 {
		return
	}
	switch week := hour / (7 * 24); {
	case week == g.week+1:
		g.past, g.now, g.week = g.now, counts{}, week
	case week > g.week:
		g.past, g.now, g.week = counts{}, counts{}, week
	case week == g.week-1:
		g.past.add(code)
		g.join(source)
		return
	case week < g.week:
		return
	}
	g.now.add(code)
	g.join(source)
}

// Merge adds what another group of the same role or subnet has seen, of other
// sources. A week that only the older of the two still remembers is left out.
func (g *Group) Merge(o *Group) {
	a, b := *g, *o
	if a.week < b.week {
		a, b = b, a
	}
	switch a.week - b.week {
	case 0:
		a.now.merge(&b.now)
		a.past.merge(&b.past)
	case 1:
		a.past.merge(&b.now)
	}
	for _, id := range b.members {
		if id != 0 {
			a.enter(id)
		}
	}
	*g = a
}

func (g *Group) join(source uint64) { g.enter(max(uint32(source^source>>32), 1)) }

func (g *Group) enter(id uint32) {
	for i := range g.members {
		switch g.members[i] {
		case id:
			return
		case 0:
			g.members[i] = id
			return
		}
	}
}

// Usual tells what is usual in the group. The limit is 0 where too few sources
// or hours are known.
func (g *Group) Usual(hour int32, p Params) (u Usual) {
	week := hour / (7 * 24)
	if week > g.week+1 || week < g.week-1 {
		return u // nobody has sent for long: the group is no measure
	}
	h := g.now
	for c, n := range g.past.of {
		h.of[c] += n
	}
	h.n += g.past.n
	u.Samples = int(h.n)
	u.P95, u.Median = h.quantile(95, 100), h.quantile(1, 2)
	u.Spread = h.spread(u.Median)
	if h.n >= minGroupHours && g.members[minMembers-1] != 0 {
		u.Own = max(p.Floor, uint64(p.Factor*float64(u.P95)))
		u.Limit = u.Own
	}
	return u
}

// Week is the newest week that was added to, for whom must make room.
func (g *Group) Week() int32 { return g.week }
