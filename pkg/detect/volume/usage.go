package volume

import (
	"cmp"
	"maps"
	"slices"

	"github.com/ebbwatch/ebbwatch/pkg/baseline"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// Bounds of what a partition remembers of the site.
const (
	usageSets  = 4096
	usageWays  = 8
	lookedSets = 8192
	maxGroups  = 1024
	// lookedFor is how many hours an address counts as looked up.
	lookedFor = 48
)

// usage is what is known of the site as a whole, as far as the partition sees
// it: who uses which destination and since when, which addresses were looked
// up, and how much the sources of a subnet send. It is shared state.
//
// Destinations lie in a table of fixed size, eight to a set. A flood of new ones
// evicts first what one source alone uses and has not used for longest: what
// comes back then looks new, which raises a score and never hides one.
type usage struct {
	// first is the hour of the first transfer: how long the site is known.
	first  int32
	dests  [][usageWays]dest
	looked [][usageWays]look
	groups map[string]*baseline.Group
}

// dest is one destination, or one fingerprint of a client.
type dest struct {
	tag         uint64 // 0 is an empty place
	first, last int32  // hours
	sources     [3]uint16
}

type look struct {
	tag  uint32
	hour int32
}

// since notes that something was sent in an hour.
func (u *usage) since(hour int32) {
	if u.first == 0 || hour < u.first {
		u.first = max(hour, 1)
	}
}

// used notes that a source used a destination in an hour.
func (u *usage) used(tag uint64, source uint16, hour int32) {
	tag, source = max(tag, 1), max(source, 1)
	u.since(hour)
	if u.dests == nil {
		u.dests = make([][usageWays]dest, usageSets)
	}
	set := &u.dests[tag%usageSets]
	victim := 0
	for i := range set {
		d := &set[i]
		if d.tag == tag {
			d.first, d.last = min(d.first, hour), max(d.last, hour)
			d.by(source)
			return
		}
		if d.tag == 0 || worse(d, &set[victim]) {
			victim = i
		}
		if d.tag == 0 {
			break
		}
	}
	set[victim] = dest{tag: tag, first: hour, last: hour, sources: [3]uint16{source}}
}

// worse orders what is evicted.
func worse(a, b *dest) bool {
	if n, m := a.count(), b.count(); n != m {
		return n < m
	}
	return cmp.Or(cmp.Compare(a.last, b.last), cmp.Compare(a.tag, b.tag)) < 0
}

func (d *dest) by(source uint16) {
	for i := range d.sources {
		switch d.sources[i] {
		case source:
			return
		case 0:
			d.sources[i] = source
			return
		}
	}
}

func (d *dest) count() (n int) {
	for n < len(d.sources) && d.sources[n] != 0 {
		n++
	}
	return n
}

// of returns since when a destination is used and by how many sources, at most
// three.
func (u *usage) of(tag uint64) (first int32, sources int) {
	tag = max(tag, 1)
	if u.dests == nil {
		return 0, 0
	}
	set := &u.dests[tag%usageSets]
	for i := range set {
		if set[i].tag == tag {
			return set[i].first, set[i].count()
		}
	}
	return 0, 0
}

// lookUp notes that an address was the answer to a question.
func (u *usage) lookUp(h uint64, hour int32) {
	if u.looked == nil {
		u.looked = make([][usageWays]look, lookedSets)
	}
	set, tag := &u.looked[h%lookedSets], max(uint32(h>>32), 1)
	oldest := 0
	for i := range set {
		if set[i].tag == tag {
			set[i].hour = max(set[i].hour, hour)
			return
		}
		if set[i].hour < set[oldest].hour {
			oldest = i
		}
	}
	set[oldest] = look{tag, hour}
}

// lookedUp reports whether an address was looked up by anybody of late.
func (u *usage) lookedUp(h uint64, hour int32) bool {
	if u.looked == nil {
		return false
	}
	set, tag := &u.looked[h%lookedSets], max(uint32(h>>32), 1)
	for i := range set {
		if set[i].tag == tag {
			return set[i].hour >= hour-lookedFor
		}
	}
	return false
}

// group returns the baseline of a role or subnet, nil where it is not known
// and not to be made.
func (u *usage) group(name string, wanted bool) *baseline.Group {
	g := u.groups[name]
	if g != nil || !wanted {
		return g
	}
	if u.groups == nil {
		u.groups = map[string]*baseline.Group{}
	}
	if len(u.groups) >= maxGroups {
		victim := ""
		for n, o := range u.groups {
			if victim == "" || o.Week() < u.groups[victim].Week() || o.Week() == u.groups[victim].Week() && n < victim {
				victim = n
			}
		}
		delete(u.groups, victim)
	}
	g = &baseline.Group{}
	u.groups[name] = g
	return g
}

// usageVersion is the format of the shared state.
const usageVersion = 1

// AppendShared implements detect.Sharer.
func (d *metered) AppendShared(dst []byte) []byte {
	u := &d.shared
	dst = operator.AppendInt(operator.AppendUint(dst, uint32(usageVersion)), u.first)
	n := 0
	for i := range u.dests {
		for j := range u.dests[i] {
			if u.dests[i][j].tag != 0 {
				n++
			}
		}
	}
	dst = operator.AppendUint(dst, n)
	for i := range u.dests {
		for j := range u.dests[i] {
			x := &u.dests[i][j]
			if x.tag == 0 {
				continue
			}
			dst = operator.AppendInt(operator.AppendInt(operator.AppendUint(dst, x.tag), x.first), x.last-x.first)
			dst = operator.AppendUint(dst, x.count())
			for _, s := range x.sources[:x.count()] {
				dst = operator.AppendUint(dst, s)
			}
		}
	}
	n = 0
	for i := range u.looked {
		for _, x := range u.looked[i] {
			if x.tag != 0 {
				n++
			}
		}
	}
	dst = operator.AppendUint(dst, n)
	for i := range u.looked {
		for j, x := range u.looked[i] {
			if x.tag != 0 {
				dst = operator.AppendInt(operator.AppendUint(operator.AppendUint(dst, i*usageWays+j), x.tag), x.hour)
			}
		}
	}
	names := make([]string, 0, len(u.groups))
	for name := range u.groups {
		names = append(names, name)
	}
	slices.Sort(names)
	dst = operator.AppendUint(dst, len(names))
	for _, name := range names {
		dst = u.groups[name].Append(operator.AppendString(dst, name))
	}
	return dst
}

// LoadShared implements detect.Sharer.
func (d *metered) LoadShared(data []byte) error {
	d.shared = usage{}
	return d.shared.load(data)
}

// MergeShared implements detect.MergeSharer.
func (d *metered) MergeShared(data []byte) error {
	var other usage
	if err := other.load(data); err != nil {
		return err
	}
	d.shared.merge(&other)
	return nil
}

// merge adds what another partition knows of the site: a destination is used
// since the earlier of two hours, by the sources of both, an address was looked
// up in the later one, and the sources of a subnet are all of them. Where there
// is no room, what is evicted is what a flood of new ones would evict.
func (u *usage) merge(o *usage) {
	if u.first == 0 || o.first != 0 && o.first < u.first {
		u.first = o.first
	}
	if u.dests == nil && o.dests != nil {
		u.dests = make([][usageWays]dest, usageSets)
	}
	for i := range o.dests {
		for j := range o.dests[i] {
			if x := &o.dests[i][j]; x.tag != 0 {
				mergeDest(&u.dests[i], x)
			}
		}
	}
	if u.looked == nil && o.looked != nil {
		u.looked = make([][usageWays]look, lookedSets)
	}
	for i := range o.looked {
		for _, x := range o.looked[i] {
			if x.tag != 0 {
				mergeLook(&u.looked[i], x)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.groups)) {
		u.group(name, true).Merge(o.groups[name])
	}
}

func mergeDest(set *[usageWays]dest, x *dest) {
	victim := 0
	for i := range set {
		d := &set[i]
		switch {
		case d.tag == x.tag:
			d.first, d.last = min(d.first, x.first), max(d.last, x.last)
			for _, source := range x.sources[:x.count()] {
				d.by(source)
			}
			return
		case d.tag == 0:
			set[i] = *x
			return
		case worse(d, &set[victim]):
			victim = i
		}
	}
	if worse(&set[victim], x) {
		set[victim] = *x
	}
}

func mergeLook(set *[usageWays]look, x look) {
	oldest := 0
	for i := range set {
		switch {
		case set[i].tag == x.tag:
			set[i].hour = max(set[i].hour, x.hour)
			return
		case set[i].tag == 0:
			set[i] = x
			return
		case set[i].hour < set[oldest].hour:
			oldest = i
		}
	}
	if set[oldest].hour < x.hour {
		set[oldest] = x
	}
}

// load reads what AppendShared wrote into an empty usage.
func (u *usage) load(data []byte) error {
	r := operator.NewReader(data)
	if r.Uint() != usageVersion {
		return operator.ErrState
	}
	u.first = int32(r.Int())
	places := map[uint64]int{} // of a set that are taken
	for range r.Count() {
		x := dest{tag: max(r.Uint(), 1), first: int32(r.Int())}
		x.last = x.first + int32(r.Int())
		for range min(r.Count(), len(x.sources)) {
			x.by(max(uint16(r.Uint()), 1))
		}
		if u.dests == nil {
			u.dests = make([][usageWays]dest, usageSets)
		}
		set := x.tag % usageSets
		if places[set] < usageWays {
			u.dests[set][places[set]] = x
			places[set]++
		}
	}
	for range r.Count() {
		at, x := r.Uint(), look{uint32(r.Uint()), int32(r.Int())}
		if at >= lookedSets*usageWays {
			return operator.ErrState
		}
		if u.looked == nil {
			u.looked = make([][usageWays]look, lookedSets)
		}
		u.looked[at/usageWays][at%usageWays] = x
	}
	for range r.Count() {
		name := r.String()
		u.group(name, true).Load(r)
	}
	return r.Err()
}
