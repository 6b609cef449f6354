package detect

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// Times of silence, in microseconds of append time: how long an instance may
// be silent before its sources no longer hold anyone up, and before they are
// forgotten.
const (
	markExpiry = 2 * 60 * 1_000_000
	markForget = 24 * 60 * 60 * 1_000_000
)

// Bounds of the table. Beyond them what is new is not followed.
const (
	maxObservers = 16384
	maxInstances = 4096
)

// How a stream stands.
const (
	streamLive    = iota
	streamEnded   // closed by its instance: all there is was seen
	streamExpired // its instance vanished: low is the last it said
)

// stream is one ordered stream of one source as one instance reports it.
type stream struct {
	of      *observer
	by      *instance
	kind    string
	low     int64
	records uint64
	state   uint8
}

// instance is one that writes marks.
type instance struct {
	name    string
	heard   int64 // append time of its last mark
	gone    bool  // expired: it stands in marks.gone
	streams []*stream

	prev, next *instance
}

// observer is all that is known of one source.
type observer struct {
	id      event.Observer
	name    string // type/name/realm
	streams []*stream
	kinds   uint32 // bit per event.Kind seen
	low     int64  // smallest watermark of the live streams, Never without one
	place   int    // in marks.order, -1 without streams
	known   bool   // it is in the table, not beyond its bound
}

// marks is the table of sources and their watermarks. It is shared state.
//
// A mark costs what it lists: it renews all that its instance reports by one
// time stamp of the instance, silence is found at the head of a list in order
// of these, and the smallest watermark is the top of a heap. With thousands of
// sensors nothing else than a snapshot looks at all of them.
type marks struct {
	byName    map[string]*observer
	byID      map[event.Observer]*observer
	instances map[string]*instance
	last      *observer     // the one asked for last: events come in runs
	recent    [64]*observer // those asked for of late, by a piece of their names
	order     []*observer   // heap by low
	heard     silence       // instances by the time of their last mark
	gone      silence       // the expired ones
	touched   []*observer
	names     []string
	lost      int64 // sources and instances beyond the bounds, since it was asked
	ops       int   // streams and places of the heap that were looked at
}

func newMarks() marks {
	return marks{byName: map[string]*observer{}, byID: map[event.Observer]*observer{}, instances: map[string]*instance{}}
}

func observerName(o *event.Observer) string { return o.Type + "/" + o.Name + "/" + o.Realm }

func (m *marks) name(o *event.Observer) string { return m.of(o).name }

// of returns the observer of an event, known or new.
func (m *marks) of(o *event.Observer) *observer {
	if m.last != nil && m.last.id == *o {
		return m.last
	}
	at := &m.recent[recentPlace(o.Name)]
	if *at != nil && (*at).id == *o {
		m.last = *at
		return m.last
	}
	ob := m.byID[*o]
	if ob == nil {
		id := event.Observer{Type: strings.Clone(o.Type), Name: strings.Clone(o.Name), Realm: strings.Clone(o.Realm)}
		ob = &observer{id: id, name: observerName(&id), low: Never, place: -1}
		if len(m.byName) >= maxObservers {
			m.lost++
		} else {
			m.byName[ob.name], m.byID[id] = ob, ob
			ob.known = true
		}
	}
	m.last = ob
	if ob.known {
		*at = ob
	}
	return ob
}

// recentPlace is where an observer of a name is looked for without a map: the
// ends of names differ.
func recentPlace(name string) int {
	n := len(name)
	if n < 2 {
		return n
	}
	return (31*int(name[n-1]) + int(name[n-2]) + n) % 64
}

func (m *marks) saw(e *event.Event) { m.of(&e.Observer).kinds |= 1 << e.Kind }

func (m *marks) shows(name string, k event.Kind) bool {
	ob := m.byName[name]
	return ob != nil && ob.kinds&(1<<k) != 0
}

func (m *marks) showsAny(name string, kinds []event.Kind) bool {
	ob := m.last // mostly it is the observer of the event at hand
	if ob == nil || ob.name != name {
		ob = m.byName[name]
	}
	if ob == nil {
		return false
	}
	var mask uint32
	for _, k := range kinds {
		mask |= 1 << k
	}
	return ob.kinds&mask != 0
}

// low is the smallest watermark of an observer's streams that can carry the
// kind, or of all its streams for KindUnknown.
func (m *marks) low(name string, k event.Kind) int64 {
	ob := m.byName[name]
	if ob == nil || len(ob.streams) == 0 {
		return 0
	}
	if k == event.KindUnknown {
		return ob.low
	}
	kind, own := k.String(), false
	for _, st := range ob.streams {
		own = own || st.kind == kind
	}
	if !own {
		kind = ""
	}
	low, heard, live := Never, false, false
	for _, st := range ob.streams {
		if live = live || st.state == streamLive; st.kind == kind {
			low, heard = min(low, st.effective()), true
		}
	}
	if !heard && live {
		return 0
	}
	return low
}

// effective is the watermark that others wait for.
func (st *stream) effective() int64 {
	if st.state != streamLive {
		return Never
	}
	return st.low
}

// lowest is the smallest watermark of all observers.
func (m *marks) lowest() int64 {
	if len(m.order) == 0 {
		return 0
	}
	return m.order[0].low
}

// apply takes a mark at an append time and returns the names of the observers
// whose watermark may have moved, sorted. They are valid until the next call.
func (m *marks) apply(mk *event.Mark, now int64) []string {
	m.touched = m.touched[:0]
	if in := m.instance(mk.Instance); in != nil {
		m.hear(in, now)
		for i := range mk.Sources {
			src := &mk.Sources[i]
			ob := m.of(&event.Observer{Type: src.Type, Name: src.Name, Realm: src.Realm})
			if !ob.known {
				continue // beyond the bound
			}
			st := m.stream(ob, in, src.Stream)
			st.low = max(st.low, src.Low)
			st.records = src.Records
			st.state = streamLive
			if mk.Closing || src.Closed {
				st.state = streamEnded
			}
			m.touched = append(m.touched, ob)
		}
		if mk.Closing {
			m.end(in, streamEnded)
		}
	}
	m.silence(now)
	slices.SortFunc(m.touched, func(a, b *observer) int { return strings.Compare(a.name, b.name) })
	m.touched = slices.Compact(m.touched)
	m.names = m.names[:0]
	for _, ob := range m.touched {
		m.settle(ob)
		m.names = append(m.names, ob.name)
	}
	return m.names
}

func (m *marks) instance(name string) *instance {
	in := m.instances[name]
	if in == nil {
		if len(m.instances) >= maxInstances {
			m.lost++
			return nil
		}
		in = &instance{name: strings.Clone(name)}
		m.instances[in.name] = in
		m.heard.insert(in)
	}
	return in
}

// hear renews all that an instance reports.
func (m *marks) hear(in *instance, now int64) {
	if in.gone {
		m.gone.remove(in)
		in.gone = false
		for _, st := range in.streams { // what it said still holds
			m.ops++
			if st.state == streamExpired {
				st.state = streamLive
				m.touched = append(m.touched, st.of)
			}
		}
	} else {
		m.heard.remove(in)
	}
	in.heard = now
	m.heard.insert(in)
}

// silence lets instances expire that were not heard for long, and forgets
// those that have been away for a day.
func (m *marks) silence(now int64) {
	for in := m.heard.first; in != nil && in.heard+markExpiry < now; in = m.heard.first {
		m.heard.remove(in)
		m.end(in, streamExpired)
		in.gone = true
		m.gone.insert(in)
	}
	for in := m.gone.first; in != nil && in.heard+markForget < now; in = m.gone.first {
		m.gone.remove(in)
		delete(m.instances, in.name)
		for _, st := range in.streams {
			m.ops++
			st.of.streams = slices.DeleteFunc(st.of.streams, func(o *stream) bool { return o == st })
			m.touched = append(m.touched, st.of)
		}
	}
}

// end takes the live streams of an instance out of what others wait for.
func (m *marks) end(in *instance, state uint8) {
	for _, st := range in.streams {
		m.ops++
		if st.state == streamLive {
			st.state = state
			m.touched = append(m.touched, st.of)
		}
	}
}

// stream returns the observer's stream of a kind that an instance reports.
func (m *marks) stream(ob *observer, in *instance, kind string) *stream {
	for _, st := range ob.streams {
		m.ops++
		if st.by == in && st.kind == kind {
			return st
		}
	}
	// A new instance of a source takes over from one that closed or vanished.
	ob.streams = slices.DeleteFunc(ob.streams, func(st *stream) bool {
		over := st.state != streamLive && st.kind == kind
		if over {
			st.by.streams = slices.DeleteFunc(st.by.streams, func(o *stream) bool { return o == st })
		}
		return over
	})
	st := &stream{of: ob, by: in, kind: strings.Clone(kind)}
	ob.streams = append(ob.streams, st)
	in.streams = append(in.streams, st)
	return st
}

// settle computes an observer's watermark anew and puts it into its place of
// the order.
func (m *marks) settle(ob *observer) {
	ob.low = Never
	for _, st := range ob.streams {
		m.ops++
		ob.low = min(ob.low, st.effective())
	}
	switch {
	case !ob.known:
	case len(ob.streams) == 0:
		m.leave(ob)
		delete(m.byName, ob.name)
		delete(m.byID, ob.id)
		ob.known = false
		m.last = nil
		m.recent = [64]*observer{}
	case ob.place < 0:
		ob.place = len(m.order)
		m.order = append(m.order, ob)
		m.up(ob.place)
	default:
		m.up(ob.place)
		m.down(ob.place)
	}
}

// summary is what a mark to the correlator says of the sources: a line for each
// type with the least complete source that is there, and one with the least
// complete of those that vanished. Alerts tell completeness by type, and a line
// for each sensor of each partition would be most of what the correlator reads.
func (m *marks) summary(dst []event.SourceMark) []event.SourceMark {
	line := func(typ string, expired bool) *event.SourceMark {
		for i := range dst {
			if dst[i].Type == typ && dst[i].Expired == expired {
				return &dst[i]
			}
		}
		dst = append(dst, event.SourceMark{Type: typ, Expired: expired, Low: Never})
		return &dst[len(dst)-1]
	}
	for _, ob := range m.order {
		for _, st := range ob.streams {
			l := line(ob.id.Type, st.state == streamExpired)
			l.Records += st.records
			if st.state != streamEnded {
				l.Low = min(l.Low, st.low)
			}
		}
	}
	slices.SortFunc(dst, func(a, b event.SourceMark) int {
		if a.Expired != b.Expired && a.Type == b.Type {
			return map[bool]int{false: -1, true: 1}[a.Expired]
		}
		return strings.Compare(a.Type, b.Type)
	})
	return dst
}

func (m *marks) append(dst []byte) []byte {
	names := make([]string, 0, len(m.byName))
	for n := range m.byName {
		names = append(names, n)
	}
	slices.Sort(names)
	dst = operator.AppendUint(dst, len(names))
	for _, n := range names {
		ob := m.byName[n]
		dst = operator.AppendString(dst, n)
		dst = operator.AppendUint(dst, ob.kinds)
		streams := slices.SortedFunc(slices.Values(ob.streams), func(a, b *stream) int {
			return cmp.Or(strings.Compare(a.by.name, b.by.name), strings.Compare(a.kind, b.kind))
		})
		dst = operator.AppendUint(dst, len(streams))
		for _, st := range streams {
			dst = operator.AppendString(dst, st.by.name)
			dst = operator.AppendString(dst, st.kind)
			dst = operator.AppendInt(dst, st.low)
			dst = operator.AppendUint(dst, st.records)
			dst = operator.AppendInt(dst, st.by.heard)
			dst = operator.AppendUint(dst, st.state)
		}
	}
	return dst
}

// load reads what append wrote. An earlier release wrote the time of each
// stream's last mark, and ended for an instance that had vanished as well.
func (m *marks) load(r *operator.Reader) {
	*m = newMarks()
	for range r.Count() {
		name := r.String()
		typ, rest, _ := strings.Cut(name, "/")
		slash := max(strings.LastIndexByte(rest, '/'), 0)
		ob := &observer{name: name, kinds: uint32(r.Uint()), low: Never, place: -1, known: true}
		ob.id = event.Observer{Type: typ, Name: rest[:slash], Realm: strings.TrimPrefix(rest[slash:], "/")}
		for range r.Count() {
			by := r.Bytes()
			in := m.instances[string(by)]
			if in == nil {
				in = &instance{name: string(by)}
				m.instances[in.name] = in
			}
			st := &stream{of: ob, by: in, kind: r.String(), low: r.Int(), records: r.Uint()}
			in.heard = max(in.heard, r.Int())
			st.state = uint8(min(r.Uint(), streamExpired))
			in.gone = in.gone || st.state == streamExpired
			ob.streams, in.streams = append(ob.streams, st), append(in.streams, st)
		}
		m.byName[name], m.byID[ob.id] = ob, ob
		if len(ob.streams) > 0 {
			m.settle(ob)
		}
	}
	for _, in := range m.instances { // insert puts them in order
		if in.gone {
			m.gone.insert(in)
		} else {
			m.heard.insert(in)
		}
	}
}
