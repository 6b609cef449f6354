package detect

import (
	"maps"
	"slices"
)

// leave takes an observer out of the order.
func (m *marks) leave(ob *observer) {
	i, n := ob.place, len(m.order)-1
	if i < 0 {
		return
	}
	m.swap(i, n)
	m.order[n] = nil
	m.order = m.order[:n]
	ob.place = -1
	if i < n {
		m.up(i)
		m.down(i)
	}
}

func (m *marks) swap(i, j int) {
	m.ops++
	m.order[i], m.order[j] = m.order[j], m.order[i]
	m.order[i].place, m.order[j].place = i, j
}

func (m *marks) up(i int) {
	for i > 0 && m.order[i].low < m.order[(i-1)/2].low {
		m.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (m *marks) down(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(m.order); c++ {
			m.ops++
			if m.order[c].low < m.order[least].low {
				least = c
			}
		}
		if least == i {
			return
		}
		m.swap(i, least)
		i = least
	}
}

// silence is a list of instances by heard, then name: it is the same whether
// it grew or was loaded.
type silence struct{ first, last *instance }

func (l *silence) insert(in *instance) {
	after := l.last // mostly the newest is the last
	for after != nil && (after.heard > in.heard || after.heard == in.heard && after.name > in.name) {
		after = after.prev
	}
	in.prev = after
	if after != nil {
		in.next, after.next = after.next, in
	} else {
		in.next, l.first = l.first, in
	}
	if in.next != nil {
		in.next.prev = in
	} else {
		l.last = in
	}
}

func (l *silence) remove(in *instance) {
	if in.prev != nil {
		in.prev.next = in.next
	} else {
		l.first = in.next
	}
	if in.next != nil {
		in.next.prev = in.prev
	} else {
		l.last = in.prev
	}
	in.prev, in.next = nil, nil
}

// join adds the sources of another partition. Every partition hears of every
// instance; where they differ, what is less complete counts.
func (m *marks) join(o *marks) {
	for _, name := range slices.Sorted(maps.Keys(o.byName)) {
		was := o.byName[name]
		ob := m.of(&was.id)
		if !ob.known {
			continue
		}
		ob.kinds |= was.kinds
		for _, from := range was.streams {
			in := m.instance(from.by.name)
			if in == nil {
				continue
			}
			if from.by.heard > in.heard {
				m.hear(in, from.by.heard)
			}
			i := slices.IndexFunc(ob.streams, func(st *stream) bool { return st.by == in && st.kind == from.kind })
			if i < 0 {
				st := &stream{of: ob, by: in, kind: from.kind, low: from.low, records: from.records, state: from.state}
				ob.streams, in.streams = append(ob.streams, st), append(in.streams, st)
				continue
			}
			st := ob.streams[i]
			st.low, st.records, st.state = min(st.low, from.low), max(st.records, from.records), min(st.state, from.state)
		}
		if len(ob.streams) > 0 {
			m.settle(ob)
		}
	}
	m.last = nil
	m.recent = [64]*observer{}
}
