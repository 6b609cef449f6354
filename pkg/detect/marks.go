package detect

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// markExpiry is how long, in microseconds of append time, an instance may be
// silent before its sources no longer hold anyone up.
const markExpiry = 2 * 60 * 1_000_000

// maxObservers bounds the sources of a partition.
const maxObservers = 16384

// stream is one ordered stream of one source as one instance reports it.
type stream struct {
	instance, kind string
	low            int64
	records        uint64
	heard          int64 // append time of its last mark
	closed         bool
}

// observer is all that is known of one source.
type observer struct {
	name    string // type/name/realm
	streams []stream
	kinds   uint32 // bit per event.Kind seen
}

// marks is the table of sources and their watermarks. It is shared state.
type marks struct {
	byName map[string]*observer
	last   *observer // the one asked for last: events come in runs
	id     event.Observer
}

func observerName(o *event.Observer) string { return o.Type + "/" + o.Name + "/" + o.Realm }

func (m *marks) name(o *event.Observer) string { return m.of(o).name }

// of returns the observer of an event, known or new.
func (m *marks) of(o *event.Observer) *observer {
	if m.last != nil && m.id == *o {
		return m.last
	}
	name := observerName(o)
	ob := m.byName[name]
	if ob == nil {
		ob = &observer{name: name}
		if len(m.byName) < maxObservers {
			m.byName[name] = ob
		}
	}
	m.last = ob
	m.id = event.Observer{Type: strings.Clone(o.Type), Name: strings.Clone(o.Name), Realm: strings.Clone(o.Realm)}
	return ob
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
	if ob == nil {
		return 0
	}
	own := false
	for i := range ob.streams {
		if k != event.KindUnknown && ob.streams[i].kind == k.String() {
			own = true
		}
	}
	low, heard := Never, false
	for i := range ob.streams {
		st := &ob.streams[i]
		if k != event.KindUnknown && own && st.kind != k.String() {
			continue
		}
		if k != event.KindUnknown && !own && st.kind != "" {
			continue
		}
		low, heard = min(low, st.effective()), true
	}
	if !heard && !ob.allClosed() {
		return 0
	}
	return low
}

func (st *stream) effective() int64 {
	if st.closed {
		return Never
	}
	return st.low
}

func (ob *observer) allClosed() bool {
	for i := range ob.streams {
		if !ob.streams[i].closed {
			return false
		}
	}
	return len(ob.streams) > 0
}

// lowest is the smallest watermark of all observers.
func (m *marks) lowest() int64 {
	low := Never
	for name := range m.byName { // order does not matter to a minimum
		if len(m.byName[name].streams) > 0 {
			low = min(low, m.low(name, event.KindUnknown))
		}
	}
	if low == Never && !m.anyStream() {
		return 0
	}
	return low
}

func (m *marks) anyStream() bool {
	for _, ob := range m.byName {
		if len(ob.streams) > 0 {
			return true
		}
	}
	return false
}

// apply takes a mark at an append time and returns the names of the observers
// whose watermark may have moved, sorted.
func (m *marks) apply(mk *event.Mark, now int64) []string {
	touched := map[string]bool{}
	for i := range mk.Sources {
		src := &mk.Sources[i]
		o := event.Observer{Type: src.Type, Name: src.Name, Realm: src.Realm}
		ob := m.of(&o)
		st := ob.stream(mk.Instance, src.Stream)
		st.low = max(st.low, src.Low)
		st.records = src.Records
		st.heard, st.closed = now, mk.Closing
		touched[ob.name] = true
	}
	for name, ob := range m.byName {
		for i := range ob.streams {
			// A mark of an instance renews all that the instance reports:
			// unchanged sources are left out of most marks.
			if ob.streams[i].instance == mk.Instance {
				ob.streams[i].heard = now
				if mk.Closing && !ob.streams[i].closed {
					ob.streams[i].closed = true
					touched[name] = true
				}
			}
		}
		for i := range ob.streams {
			if !ob.streams[i].closed && ob.streams[i].heard+markExpiry < now {
				ob.streams[i].closed = true
				touched[name] = true
			}
		}
	}
	out := make([]string, 0, len(touched))
	for name := range touched {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func (ob *observer) stream(instance, kind string) *stream {
	for i := range ob.streams {
		if ob.streams[i].instance == instance && ob.streams[i].kind == kind {
			return &ob.streams[i]
		}
	}
	// A new instance of a source takes over from one that closed.
	ob.streams = slices.DeleteFunc(ob.streams, func(s stream) bool { return s.closed && s.kind == kind })
	ob.streams = append(ob.streams, stream{instance: strings.Clone(instance), kind: strings.Clone(kind)})
	return &ob.streams[len(ob.streams)-1]
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
		slices.SortFunc(ob.streams, func(a, b stream) int {
			return cmp.Or(strings.Compare(a.instance, b.instance), strings.Compare(a.kind, b.kind))
		})
		dst = operator.AppendUint(dst, len(ob.streams))
		for _, st := range ob.streams {
			dst = operator.AppendString(dst, st.instance)
			dst = operator.AppendString(dst, st.kind)
			dst = operator.AppendInt(dst, st.low)
			dst = operator.AppendUint(dst, st.records)
			dst = operator.AppendInt(dst, st.heard)
			dst = operator.AppendBool(dst, st.closed)
		}
	}
	return dst
}

func (m *marks) load(r *operator.Reader) {
	*m = marks{byName: map[string]*observer{}}
	for range r.Count() {
		ob := &observer{name: r.String(), kinds: uint32(r.Uint())}
		for range r.Count() {
			ob.streams = append(ob.streams, stream{
				instance: r.String(), kind: r.String(), low: r.Int(), records: r.Uint(), heard: r.Int(), closed: r.Bool(),
			})
		}
		m.byName[ob.name] = ob
	}
}
