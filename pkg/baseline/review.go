package baseline

// Next is what is usual at the hour after the last.
func (s *Series) Next(p Params) (hour int32, u Usual) {
	hour = s.last + 1
	return hour, s.Usual(hour, p)
}

// Grown is the time of day at which the percentile has most outgrown what is let
// pass without an answer, as it was when the hour came last; ok is false where
// it has nowhere.
func (s *Series) Grown(p Params) (hour int32, u Usual, ok bool) {
	if s.last == 0 || s.ceilings == nil {
		return 0, u, false
	}
	// A ceiling begins where the floor ends to hold: a source that has sent less
	// in all its hours has outgrown nothing.
	least := p.least() << 10
	most := uint64(0)
	for h := s.First(); h <= s.last; h++ {
		most = max(most, valueOf(s.codes[h%Hours]))
	}
	if most <= least {
		return 0, u, false
	}
	var seen [slots]bool
	for h := s.last; h >= s.First(); h-- {
		slot := slotOf(h)
		if seen[slot] || s.ceilings[slot] == 0 {
			continue
		}
		seen[slot] = true
		if at := s.Usual(h, p); at.Drift() > 1 && (!ok || at.Drift() > u.Drift()) {
			hour, u, ok = h, at, true
		}
	}
	return hour, u, ok
}
