package baseline

// Hour is the grain, in microseconds; Days how long a series remembers.
const (
	Hour  = int64(3600 * 1_000_000)
	Days  = 14
	Hours = Days * 24
)

const (
	// minSlot is how many samples of a slot (a time of day of weekdays or of
	// weekend days) are enough.
	minSlot = 10
	// minActive is how many hours in which something was sent are enough where
	// a slot's are not.
	minActive = 24
	// slots are the hours of a weekday and those of a weekend day.
	slots = 48
	// around is how many hours on either side of a time of day are like it.
	around = 1
	// allowedAround is the same for what was answered as benign.
	allowedAround = 2
)

// A ceiling moves by these parts of 10 000 for each day of its kind. There are
// at most 23 weekdays and 10 weekend days in 31 days, so that it grows by at
// most 1.5 in 30 days.
const (
	stepWeekday = 177
	stepWeekend = 413
)

// Params are what a site can tune.
type Params struct {
	// Factor times the 95th percentile is the limit.
	Factor float64
	// Floor is the least limit in bytes an hour.
	Floor uint64
}

// least is the percentile at which the floor ends to hold, in KiB: where a
// ceiling begins.
func (p Params) least() uint64 {
	if p.Factor <= 0 {
		return p.Floor >> 10
	}
	return uint64(float64(p.Floor)/p.Factor) >> 10
}

// State is what is thought of an hour.
type State uint8

// The states of an hour.
const (
	// Plain hours are samples.
	Plain State = iota
	// Quarantined hours wait for an answer.
	Quarantined
	// Allowed hours were answered as benign, or were as high as such ones.
	Allowed
	// Purged hours were answered as true, or taken out by hand.
	Purged
)

var stateNames = [...]string{"plain", "quarantined", "allowed", "purged"}

// String returns the state's name.
func (s State) String() string { return stateNames[s&3] }

// Series is the baseline of one source. The zero value is empty.
type Series struct {
	first, last int32 // hours since the epoch that it covers; last 0 is none
	codes       [Hours]uint8
	states      [Hours / 4]uint8
	// ceilings are by slot, in KiB of the percentile; 0 is not set. They come
	// with the history.
	ceilings *[slots]uint32
}

// HourOf is the hour of an event time. Times before 1970 are its first hour.
func HourOf(t int64) int32 {
	if t < 0 {
		return 0
	}
	return int32(min(t/Hour, 1<<30))
}

// TimeOf is the event time at which an hour begins.
func TimeOf(hour int32) int64 { return int64(hour) * Hour }

// weekend reports whether an hour lies on a Saturday or Sunday, UTC.
func weekend(hour int32) bool {
	day := (hour/24 + 4) % 7 // the first day was a Thursday
	return day == 0 || day == 6
}

func slotOf(hour int32) int {
	s := int(hour % 24)
	if weekend(hour) {
		s += 24
	}
	return s
}

// Begin makes the series cover the hours from the given one on, idle so far.
// It does nothing to a series that has begun.
func (s *Series) Begin(hour int32) {
	if s.last == 0 {
		s.first, s.last = max(hour, 1), max(hour, 1)
	}
}

// First is the oldest hour that is known.
func (s *Series) First() int32 { return max(s.first, s.last-Hours+1) }

// Last is the newest hour, 0 where there is none.
func (s *Series) Last() int32 { return s.last }

// Age is how many hours passed from the first until an hour, at most Hours.
func (s *Series) Age(until int32) int {
	if s.last == 0 || until < s.first {
		return 0
	}
	return int(min(until-s.first, Hours))
}

// Mature reports whether the history before an hour is complete.
func (s *Series) Mature(until int32) bool { return s.Age(until) == Hours }

func (s *Series) state(hour int32) State {
	i := uint(hour % Hours)
	return State(s.states[i/4] >> (2 * (i % 4)) & 3)
}

// StateOf is what is thought of an hour; Plain where it is not known.
func (s *Series) StateOf(hour int32) State {
	if !s.holds(hour) {
		return Plain
	}
	return s.state(hour)
}

// BytesOf is the sum of an hour as it is kept, 0 where it is not known.
func (s *Series) BytesOf(hour int32) uint64 {
	if !s.holds(hour) {
		return 0
	}
	return valueOf(s.codes[hour%Hours])
}

func (s *Series) setState(hour int32, st State) {
	i := uint(hour % Hours)
	s.states[i/4] = s.states[i/4]&^(3<<(2*(i%4))) | uint8(st)<<(2*(i%4))
}

func (s *Series) holds(hour int32) bool { return s.last != 0 && hour >= s.First() && hour <= s.last }

// advance makes an hour the newest, idle hours before it.
func (s *Series) advance(hour int32) {
	for h := max(s.last+1, hour-Hours+1); h <= hour; h++ {
		s.codes[h%Hours] = 0
		s.setState(h, Plain)
	}
	s.last = hour
}

// sample counts the hours of the ring, but for the given one, that are like it:
// of its slot, or, for all, those in which something was sent.
func (s *Series) sample(hour int32, all bool, into *counts) {
	if s.last == 0 {
		return
	}
	end := weekend(hour)
	for h := s.First(); h <= s.last; h++ {
		if h == hour {
			continue
		}
		c := s.codes[h%Hours]
		if all {
			if c == 0 {
				continue
			}
		} else if weekend(h) != end || apart(h, hour) > around {
			continue
		}
		if st := s.state(h); st == Plain || st == Allowed {
			into.add(c)
		}
	}
}

// apart is how many hours two times of day lie apart.
func apart(a, b int32) int32 {
	d := (a%24 - b%24 + 24) % 24
	return min(d, 24-d)
}

// Usual describes what is usual at an hour.
type Usual struct {
	// P95, Median and Spread (the median absolute deviation) are over Samples
	// hours, bytes.
	P95, Median, Spread uint64
	Samples             int
	// Slot says that these are of the time of day and kind of day.
	Slot bool
	// Ceiling bounds P95, 0 where there is none; Allowance is what was answered
	// as benign at this time of day.
	Ceiling, Allowance uint64
	// Own is the limit by the history, Limit that or the allowance, if greater:
	// above it an hour is unusual. Both are 0 where the history is not complete.
	Own, Limit uint64
}

// Drift is how many times the percentile has outgrown what is let pass
// without an answer; 1 or less is no drift.
func (u *Usual) Drift() float64 {
	if u.Ceiling == 0 {
		return 0
	}
	return float64(u.P95) / float64(u.Ceiling)
}

// Usual tells what is usual at an hour, which itself is no sample.
func (s *Series) Usual(hour int32, p Params) (u Usual) {
	var h counts
	s.sample(hour, false, &h)
	u.Slot = h.n >= minSlot
	if !u.Slot {
		h = counts{}
		s.sample(hour, true, &h)
	}
	u.Samples = int(h.n)
	u.P95, u.Median = h.quantile(95, 100), h.quantile(1, 2)
	u.Spread = h.spread(u.Median)
	u.Allowance = s.allowance(hour)
	if !s.Mature(hour) {
		return u
	}
	bound := u.P95
	if !u.Slot && h.n < minActive {
		bound = 0 // of a few hours the percentile is their maximum
	}
	if s.ceilings != nil {
		if u.Ceiling = uint64(s.ceilings[slotOf(hour)]) << 10; u.Ceiling != 0 {
			bound = min(bound, u.Ceiling)
		}
	}
	u.Own = max(p.Floor, uint64(p.Factor*float64(bound)))
	u.Limit = max(u.Own, u.Allowance)
	return u
}

// allowance is what may be sent at an hour because as much was answered as
// benign at about this time of day: a quarter more than the most of it.
func (s *Series) allowance(hour int32) (n uint64) {
	if s.last == 0 {
		return 0
	}
	for h := s.First(); h <= s.last; h++ {
		if h != hour && s.state(h) == Allowed && apart(h, hour) <= allowedAround {
			n = max(n, valueOf(s.codes[h%Hours]))
		}
	}
	return n + n/4
}

// Put sets the sum of an hour that is over. Above its limit it is quarantined,
// as it is where an alert spoke of it (as Quarantined); Allowed and Purged say
// that somebody has answered already. An hour too old is left out. It returns
// what was usual before, and what became of the hour.
func (s *Series) Put(hour int32, sum uint64, as State, p Params) (Usual, State) {
	hour = max(hour, 1)
	s.Begin(hour)
	if hour <= s.last-Hours {
		return Usual{}, Plain
	}
	s.first = min(s.first, hour)
	u := s.Usual(hour, p)
	if hour > s.last {
		s.advance(hour)
		s.raise(hour, &u, p)
	}
	code := codeOf(sum)
	switch known := s.state(hour); {
	case as != Plain:
	case known != Plain:
		as = known // a correction of the sum is no answer
	case u.Limit != 0 && sum > u.Limit:
		as = Quarantined
	case u.Limit != 0 && sum > u.Own:
		// It passed by the allowance alone: that goes on, and does not grow.
		as = Allowed
		code = min(code, codeOf(u.Allowance-u.Allowance/5))
	}
	s.codes[hour%Hours] = code
	s.setState(hour, as)
	return u, as
}

// raise sets the ceiling of an hour's slot, or lets it follow what is usual by
// one step.
func (s *Series) raise(hour int32, u *Usual, p Params) {
	if !s.Mature(hour) {
		return
	}
	if s.ceilings == nil {
		s.ceilings = new([slots]uint32)
	}
	c := &s.ceilings[slotOf(hour)]
	p95, now := u.P95>>10, uint64(*c)
	if !u.Slot && u.Samples < minActive {
		p95 = 0
	}
	switch {
	case now == 0:
		now = max(p95, p.least(), 1)
	case p95 > now:
		step := uint64(stepWeekday)
		if weekend(hour) {
			step = stepWeekend
		}
		now = min(p95, now+now*step/10_000)
	}
	*c = uint32(min(now, 1<<32-1))
}

// Answer applies a verdict to the quarantined hours from one to another, both
// included, and returns how many there were. Where they are benign, the
// ceilings of their time of day follow what is usual with them.
func (s *Series) Answer(from, to int32, benign bool, p Params) (n int) {
	if s.last == 0 {
		return 0
	}
	from, to = max(from, s.First()), min(to, s.last)
	for h := from; h <= to; h++ {
		if s.state(h) != Quarantined {
			continue
		}
		n++
		if benign {
			s.setState(h, Allowed)
		} else {
			s.setState(h, Purged)
		}
	}
	if n == 0 || !benign || s.ceilings == nil {
		return n
	}
	for h := from - around; h <= to+around; h++ {
		if c := &s.ceilings[slotOf(max(h, 0))]; *c != 0 {
			u := s.Usual(max(h, 0), p)
			*c = uint32(min(max(uint64(*c), u.P95>>10), 1<<32-1))
		}
	}
	return n
}

// Purge takes the samples of hours out, whatever was thought of them.
func (s *Series) Purge(from, to int32) (n int) {
	for h := max(from, s.First()); h <= min(to, s.last); h++ {
		if s.holds(h) && s.state(h) != Purged && (s.codes[h%Hours] != 0 || s.state(h) != Plain) {
			s.setState(h, Purged)
			n++
		}
	}
	return n
}

// Sum is one hour of a series, for a reader.
type Sum struct {
	Hour  int32
	Bytes uint64
	State State
}

// Each hands out the hours in which something was sent, oldest first.
func (s *Series) Each(yield func(Sum) bool) {
	if s.last == 0 {
		return
	}
	for h := s.First(); h <= s.last; h++ {
		if c, st := s.codes[h%Hours], s.state(h); c != 0 || st != Plain {
			if !yield(Sum{h, valueOf(c), st}) {
				return
			}
		}
	}
}

// Outliers are the samples that lie more than six scaled deviations above the
// median of the hours in which something was sent, and at least at the given
// number of bytes: what an audit lists.
func (s *Series) Outliers(least uint64) (out []Sum) {
	var all counts
	s.sample(-1, true, &all)
	if all.n == 0 {
		return nil
	}
	median := all.quantile(1, 2)
	// 1.4826 makes the deviation that of a normal distribution.
	bound := median + 6*max(all.spread(median), median/20)*14826/10_000
	for sum := range s.Each {
		if (sum.State == Plain || sum.State == Allowed) && sum.Bytes > bound && sum.Bytes >= least {
			out = append(out, sum)
		}
	}
	return out
}
