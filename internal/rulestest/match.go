package rulestest

// compare gives each expectation an alert of its own, as many as can be, and
// notes what is left on either side.
func (r *Result) compare(c *Case, found []Found) {
	// Augmenting paths: a wide expectation leaves an alert to a narrow one
	// where it has another.
	of := make([]int, len(found)) // the expectation of an alert, or -1
	for i := range of {
		of[i] = -1
	}
	var visit func(x int, seen []bool) bool
	visit = func(x int, seen []bool) bool {
		for i := range found {
			if seen[i] || len(c.Alerts[x].differences(&found[i])) > 0 {
				continue
			}
			seen[i] = true
			if of[i] < 0 || visit(of[i], seen) {
				of[i] = x
				return true
			}
		}
		return false
	}
	met := make([]bool, len(c.Alerts))
	for x := range c.Alerts {
		visit(x, make([]bool, len(found)))
	}
	for _, x := range of {
		if x >= 0 {
			met[x] = true
		}
	}
	told := make([]bool, len(found))
	for x := range c.Alerts {
		if met[x] {
			continue
		}
		m := Missing{Expected: c.Alerts[x]}
		if m.Expected.By > 0 {
			m.By = m.Expected.By.String()
		}
		nearest := -1
		for i := range found {
			if of[i] >= 0 || told[i] || found[i].Rule != m.Expected.Rule {
				continue
			}
			if d := m.Expected.differences(&found[i]); nearest < 0 || len(d) < len(m.Differences) {
				nearest, m.Differences = i, d
			}
		}
		if nearest >= 0 {
			told[nearest] = true
			m.Nearest = &found[nearest]
		}
		r.Missing = append(r.Missing, m)
	}
	for i := range found {
		if of[i] < 0 && !told[i] && !c.Others {
			r.Unexpected = append(r.Unexpected, found[i])
		}
	}
}
