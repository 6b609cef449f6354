package dns

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// What takes a day to send is little in each hour. The windows of a domain that
// look like data at all are folded, when they end, into a sketch of the day: a
// weighted distinct count of its names in constant memory (Özery, Nadler and
// Shabtai, "Information-Based Heavy Hitters for Real-Time DNS Data
// Exfiltration", NDSS 2024), with what the signs of an hour need. A name that
// comes again in another hour counts once, so that what is asked every hour
// never adds up.

const (
	daySpan = 24 * detect.HourSpan
	// maxDays and maxDaysResolver bound the domains of a client whose days are
	// counted, maxDayNames the names that a day samples: 8 bytes each.
	maxDays         = 16
	maxDaysResolver = 128
	maxDayNames     = 128
	// dayNames and dayBytes are what a window must have for a day to begin.
	dayNames, dayBytes = 3, 32
	maxDayEvidence     = 3
)

// dayName is one name of a day: 46 bits of its hash, the hour of the day in
// which it came first, flags, and the bytes of data that it carries.
type dayName uint64

const (
	dayOnce = 1 << iota
	dayDataType
	dayLost // nothing was given
	dayResolved
	dayContacted
)

func makeDayName(key uint64, hour int, flags, bytes uint8) dayName {
	return dayName(key&^(1<<18-1) | uint64(hour&31)<<13 | uint64(flags&31)<<8 | uint64(bytes))
}

func (n dayName) key() uint64  { return uint64(n) >> 18 }
func (n dayName) hour() int    { return int(n >> 13 & 31) }
func (n dayName) flags() uint8 { return uint8(n >> 8 & 31) }
func (n dayName) bytes() uint8 { return uint8(n) }

// day is what is known of one domain since its first window that looked like
// data.
type day struct {
	domain      string
	start       int64
	first, last int64
	names       []dayName // by key, at most maxDayNames
	level       uint8     // names whose key begins with so many zero bits are kept
	hours       uint32    // bit per hour of the day in which there was something
	odd, unused uint32
	// loud says that an hour of it was an alert by itself.
	loud      bool
	told      levels
	emissions uint32
	evidence  []signal.Evidence
}

// add enters a name and raises the level where there are too many.
func (d *day) add(n dayName) {
	if n.key()>>(46-int(d.level)) != 0 {
		return
	}
	i, found := slices.BinarySearchFunc(d.names, n, func(a, b dayName) int { return cmp.Compare(a.key(), b.key()) })
	if found {
		was := d.names[i]
		flags := was.flags() | n.flags()
		if was.hour() != n.hour() || n.flags()&dayOnce == 0 {
			flags &^= dayOnce
		}
		if (was.flags()&n.flags())&dayLost == 0 {
			flags &^= dayLost
		}
		d.names[i] = makeDayName(uint64(was), was.hour(), flags, max(was.bytes(), n.bytes()))
		return
	}
	d.names = slices.Insert(d.names, i, n)
	for len(d.names) > maxDayNames {
		d.raise(d.level + 1)
	}
}

// raise lets go of the names that a level does not keep.
func (d *day) raise(level uint8) {
	d.level = level
	end, _ := slices.BinarySearchFunc(d.names, uint64(1)<<(46-int(level)), func(a dayName, key uint64) int { return cmp.Compare(a.key(), key) })
	d.names = d.names[:end]
}

// witness keeps a question of a day's domain as evidence.
func (d *day) witness(e *event.Event, env *detect.Env) {
	if d != nil && len(d.evidence) < maxDayEvidence && d.hours&(d.hours-1) != 0 {
		d.evidence = append(d.evidence, env.Evidence(e))
	}
}

// dayTally are the counts of a day's sample.
type dayTally struct {
	names, once, dataTypes, lost, resolved, contacted uint64
	bytes                                             uint64
}

func (d *day) tally() (t dayTally) {
	for _, n := range d.names {
		t.names++
		t.bytes += uint64(n.bytes())
		f := n.flags()
		if f&dayResolved != 0 {
			t.resolved++
			if f&dayContacted != 0 {
				t.contacted++
			}
		}
		if f&dayOnce == 0 {
			continue
		}
		t.once++
		if f&dayDataType != 0 {
			t.dataTypes++
		}
		if f&dayLost != 0 {
			t.lost++
		}
	}
	return t
}

// data is an estimate of the bytes of distinct name data.
func (d *day) data(t *dayTally) uint64 { return t.bytes << d.level }

// levels judges a day by the signs of an hour, with bounds of its own for the
// data. Where half of the names lead somewhere that is used, they are hosts,
// and their number alone is no tunnel.
func (d *day) levels(t *dayTally, lim *limits) (l levels) {
	data := float64(d.data(t))
	for i, at := range lim.day {
		if data >= at {
			l[signData] = uint8(i + 1)
		}
	}
	set := func(s sign, holds bool) {
		if holds {
			l[s] = 1
		}
	}
	set(signTypes, float64(d.unused) >= lim.unusedTypes)
	set(signBytes, float64(d.odd) >= lim.oddNames)
	scale := func(n uint64) float64 { return float64(n << d.level) }
	if scale(t.names) >= lim.once {
		set(signOnce, float64(t.once) >= lim.onceShare*float64(t.names))
	}
	if scale(t.once) >= lim.once {
		if l[signOnce] > 0 {
			set(signDataTypes, float64(t.dataTypes) >= lim.dataShare*float64(t.once))
		}
		set(signMissing, float64(t.lost) >= lim.missingShare*float64(t.once))
	}
	for i, at := range lim.length {
		if t.names > 0 && float64(t.bytes) >= at*float64(t.names) {
			l[signLength] = uint8(i + 1)
		}
	}
	if never := t.resolved - t.contacted; t.resolved > 0 && float64(never) >= lim.contactShare*float64(t.resolved) {
		for i, at := range lim.contact {
			if scale(t.resolved) >= at {
				l[signContact] = uint8(i + 1)
			}
		}
	}
	if 2*t.contacted >= t.names {
		l[signData] = min(l[signData], 2)
	}
	return l
}

// day returns the day of a domain that holds an event time, nil for none.
func (v *view) day(domain string, t int64) *day {
	for i := range v.days {
		if d := &v.days[i]; d.domain == domain && t >= d.start && t < d.start+daySpan {
			return d
		}
	}
	return nil
}

// fold enters a window that has ended into the day of its domain.
func (s *tunnelState) fold(v *detect.View[view], h *detect.Hour[domain], w *window, lim *limits, env *detect.Env) {
	x, t := &v.Value, &w.tally
	if h.Subject == noDomain || t.names == 0 {
		return
	}
	d := x.day(h.Subject, h.Start)
	if d == nil {
		if t.names < dayNames || w.data() < dayBytes || float64(t.once) < lim.onceShare*float64(t.names) {
			return
		}
		d = s.beginDay(v, h, env)
	}
	hour := int((h.Start - d.start) / detect.HourSpan)
	d.hours |= 1 << hour
	if d.first == 0 || w.first < d.first {
		d.first = w.first
	}
	d.last = max(d.last, w.last)
	d.odd += uint32(min(w.scale(t.odd), 1<<20))
	d.unused += w.oddTypes
	d.loud = d.loud || w.told.score() >= shardScore
	if level := w.names.Level(); level > d.level {
		d.raise(level)
	}
	// A name carries its part of what the window's names carry together, in
	// which repeated labels are cheap.
	share := float64(w.data()) / float64(max(1, uint64(t.bytes)<<w.names.Level()))
	missing := w.missing(lim, func() company { return x.company(h) })
	expects := t.resolved > 0 && s.expects(v, h, w, env)
	for n := range w.names.All {
		d.add(makeDayName(n.hash, hour, dayFlags(n, missing, expects), uint8(min(255, max(1, float64(n.bytes)*share)))))
	}
	s.judgeDay(v, d, lim, env)
}

// dayFlags are a name's flags in a day.
func dayFlags(n *name, missing, expects bool) (f uint8) {
	if n.lookups == 1 {
		f |= dayOnce
	}
	if n.flags&askedData != 0 && n.flags&(addressTypes|askedOther) == 0 {
		f |= dayDataType
	}
	if n.flags&gave == 0 && (n.flags&none != 0 || missing) {
		f |= dayLost
	}
	if expects && n.flags&resolved != 0 {
		f |= dayResolved
		if n.flags&contacted != 0 {
			f |= dayContacted
		}
	}
	return f
}

// beginDay makes room for a day: days that are over go first, then the one with
// the least data.
func (s *tunnelState) beginDay(v *detect.View[view], h *detect.Hour[domain], env *detect.Env) *day {
	x := &v.Value
	x.days = slices.DeleteFunc(x.days, func(d day) bool { return d.start+2*daySpan <= h.Start })
	bound := maxDays
	if env.Site.Resolver(x.client, h.Start) {
		bound = maxDaysResolver
	}
	if len(x.days) >= bound {
		least := 0
		for i := range x.days {
			a, b := x.days[i].tally(), x.days[least].tally()
			if x.days[i].data(&a) < x.days[least].data(&b) {
				least = i
			}
		}
		x.days = slices.Delete(x.days, least, least+1)
		env.Count("days_evicted", TunnelID, 1)
	}
	x.days = append(x.days, day{domain: strings.Clone(h.Subject), start: h.Start})
	return &x.days[len(x.days)-1]
}

// judgeDay sends a day whose points have changed. What one hour shows is said
// by that hour.
func (s *tunnelState) judgeDay(v *detect.View[view], d *day, lim *limits, env *detect.Env) {
	t := d.tally()
	l := d.levels(&t, lim)
	active := 0
	for m := d.hours; m != 0; m &= m - 1 {
		active++
	}
	on := site.Subject{Address: v.Value.client, Domain: d.domain}
	if d.loud || float64(active) < lim.dayHours || l == d.told || d.emissions == 0 && float64(l.score()) < env.Setting(on, d.last).Floor {
		return
	}
	d.told = l
	d.emissions++
	sig := v.Value.signal(v.Observer, d.domain, d.start, d.start+daySpan, env)
	sig.ID = signal.ID(TunnelID, env.Key, d.domain, v.Observer, "day", strconv.FormatInt(d.start, 10))
	sig.First, sig.Time = d.first, d.last
	sig.Score, sig.Points = float64(l.score()), d.points(&t, &l, lim)
	sig.Severity, sig.Confidence = grade(sig.Score, env.Setting(on, d.last).Alert)
	sig.Destination = signal.Endpoint{Port: 53, Domain: d.domain}
	data := d.data(&t)
	sig.Bytes = &data
	sig.Values = []signal.Value{
		{Name: "names", Value: float64(t.names << d.level)},
		{Name: "active_hours", Value: float64(active)},
		{Name: "bytes_per_second", Value: float64(data) / max(1, float64(d.last-d.first)/float64(second))},
	}
	sig.Reason = fmt.Sprintf("%s asked for about %d names below %s in %d hours of a day, with about %d bytes of data in them: %s%s",
		v.Value.client, t.names<<d.level, d.domain, active, data, listPoints(sig.Points), s.whose(v, env, d.last))
	sig.Evidence = d.evidence
	env.Emit(sig, on)
}

// points lists the signs of a day that hold.
func (d *day) points(t *dayTally, l *levels, lim *limits) []signal.Point {
	var out []signal.Point
	ratio := func(a, b uint64) float64 { return float64(a) / float64(max(b, 1)) }
	for s := range signCount {
		level := l[s]
		if level == 0 {
			continue
		}
		p := signal.Point{Name: signs[s].name, Points: float64(signs[s].points[level])}
		switch s {
		case signData:
			p.Name, p.Value, p.Threshold = "name_data_24h", float64(d.data(t)), lim.day[level-1]
		case signTypes:
			p.Value, p.Threshold = float64(d.unused), lim.unusedTypes
		case signBytes:
			p.Value, p.Threshold = float64(d.odd), lim.oddNames
		case signOnce:
			p.Value, p.Threshold = ratio(t.once, t.names), lim.onceShare
		case signDataTypes:
			p.Value, p.Threshold = ratio(t.dataTypes, t.once), lim.dataShare
		case signLength:
			p.Value, p.Threshold = ratio(t.bytes, t.names), lim.length[level-1]
		case signContact:
			p.Value, p.Threshold = float64((t.resolved-t.contacted)<<d.level), lim.contact[level-1]
		case signMissing:
			p.Value, p.Threshold = ratio(t.lost, t.once), lim.missingShare
		default:
		}
		out = append(out, p)
	}
	return out
}

func appendDay(dst []byte, d *day) []byte {
	dst = operator.AppendString(dst, d.domain)
	for _, t := range [...]int64{d.start, d.first, d.last} {
		dst = operator.AppendInt(dst, t)
	}
	dst = operator.AppendUint(dst, d.level)
	for _, n := range [...]uint32{d.hours, d.odd, d.unused, d.emissions} {
		dst = operator.AppendUint(dst, n)
	}
	dst = operator.AppendBool(dst, d.loud)
	dst = operator.AppendString(dst, d.told[:])
	dst = operator.AppendUint(dst, len(d.names))
	for _, n := range d.names {
		dst = operator.AppendUint(dst, uint64(n))
	}
	return detect.AppendEvidence(dst, d.evidence)
}

func loadDay(r *operator.Reader) day {
	d := day{domain: r.String(), start: r.Int(), first: r.Int(), last: r.Int(), level: uint8(min(r.Uint(), 45))}
	for _, n := range [...]*uint32{&d.hours, &d.odd, &d.unused, &d.emissions} {
		*n = uint32(r.Uint())
	}
	d.loud = r.Bool()
	for i, level := range r.Bytes() {
		if i < len(d.told) {
			d.told[i] = min(level, uint8(len(signs[i].points)-1))
		}
	}
	for range r.Count() {
		d.names = append(d.names, dayName(r.Uint()))
	}
	slices.SortFunc(d.names, func(a, b dayName) int { return cmp.Compare(a.key(), b.key()) }) // damage may have no order
	d.names = d.names[:min(len(d.names), maxDayNames)]
	d.evidence = detect.LoadEvidence(r)
	return d
}
