package detect

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"
)

// due is a timer of a state.
type due struct {
	at       int64
	src      *source
	detector int32
}

// slotBits is the width of a slot of timers: 2^20 microseconds, about a
// second. Timers run when the watermark has passed the whole of their slot:
// there are as many as questions in the traffic, and one heap of all of them
// costs more than everything else that a detector does.
const slotBits = 20

// timerQueue are the timers that wait for one observer, by slot.
type timerQueue struct {
	observer string
	slots    map[int64][]due
	order    slotHeap
	n        int // timers in all slots
	limit    int // of n, before the dead are taken out
}

// minTimers is below which number a queue is not searched for dead timers.
const minTimers = 4096

// push adds a timer. Those of forgotten keys, and those that an earlier one
// replaced, lie in their slot until its time; where a flood of keys has filled
// the queue with them, they are taken out.
func (q *timerQueue) push(d due) {
	if q.n >= max(q.limit, minTimers) {
		q.sweep()
	}
	slot := d.at >> slotBits
	list, ok := q.slots[slot]
	if !ok {
		heap.Push(&q.order, slot)
	}
	q.slots[slot] = append(list, d)
	q.n++
}

// sweep takes out the dead timers. Slots stay, so that the order does.
func (q *timerQueue) sweep() {
	q.n = 0
	for slot, list := range q.slots { // order does not matter to a filter
		list = slices.DeleteFunc(list, func(d due) bool {
			h := d.src.find(int(d.detector))
			if h == nil {
				return true
			}
			a := h.alarmOf(q)
			return a == nil || a.at != d.at
		})
		q.slots[slot] = list
		q.n += len(list)
	}
	q.limit = 2 * q.n
}

// pop returns the timers of the earliest slot that lies wholly before low, in
// order of time, then key, then detector, so that the order in which they run
// is a function of the log. It returns nil when there is none.
func (q *timerQueue) pop(low int64) []due {
	for len(q.order) > 0 && (low == Never || q.order[0] < low>>slotBits) {
		slot := heap.Pop(&q.order).(int64)
		list := q.slots[slot]
		delete(q.slots, slot)
		q.n -= len(list)
		if len(list) == 0 {
			continue
		}
		// A state may wait for a later time than when its timer was set. The
		// order must be that of a set which was loaded from a snapshot, in
		// which no timer is stale.
		for i := range list {
			list[i].follow(q, slot)
		}
		slices.SortFunc(list, func(a, b due) int {
			return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.src.key, b.src.key), cmp.Compare(a.detector, b.detector))
		})
		return list
	}
	return nil
}

// follow moves a timer to the time that its state waits for by now, where that
// is later and in the same slot.
func (d *due) follow(q *timerQueue, slot int64) {
	h := d.src.find(int(d.detector))
	if h == nil {
		return
	}
	t := h.next
	if t.queue != q || t.at <= d.at || t.at>>slotBits != slot {
		return
	}
	if a := h.alarmOf(q); a != nil && a.at == d.at {
		a.at = t.at
	}
	d.at = t.at
}

// slotHeap orders slots.
type slotHeap []int64

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (h *slotHeap) Len() int { return len(*h) }

// Less orders by time.
func (h *slotHeap) Less(i, j int) bool { return (*h)[i] < (*h)[j] }

// Swap exchanges two slots.
func (h *slotHeap) Swap(i, j int) { (*h)[i], (*h)[j] = (*h)[j], (*h)[i] }

// Push appends a slot.
func (h *slotHeap) Push(x any) { *h = append(*h, x.(int64)) }

// Pop removes the last element.
func (h *slotHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// lru keeps the keys in two lists: probation holds keys that were seen in one
// ten-minute pane only, kept those that came back. A flood of forged keys
// stays in probation and evicts itself; the keys that are known by their
// steady traffic are evicted only when probation has shrunk to an eighth.
type lru struct {
	probation, kept list
}

type list struct {
	head, tail *source // head is the oldest
	n          int
}

func (l *list) push(s *source) {
	s.prev, s.next = l.tail, nil
	if l.tail != nil {
		l.tail.next = s
	} else {
		l.head = s
	}
	l.tail = s
	l.n++
}

func (l *list) remove(s *source) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		l.head = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		l.tail = s.prev
	}
	s.prev, s.next = nil, nil
	l.n--
}

func (l *lru) len() int { return l.probation.n + l.kept.n }

// add takes a key that is in no list.
func (l *lru) add(s *source) {
	s.kept = s.panes >= 2
	l.of(s).push(s)
}

func (l *lru) of(s *source) *list {
	if s.kept {
		return &l.kept
	}
	return &l.probation
}

func (l *lru) other(s *source) *list {
	if s.kept {
		return &l.probation
	}
	return &l.kept
}

// touch makes a key the newest. Its pane count may have grown by one since it
// was put in: then it moves to the kept list.
func (l *lru) touch(s *source) {
	l.remove(s)
	l.add(s)
}

func (l *lru) remove(s *source) {
	l.of(s).remove(s)
}

// victim is the key to evict.
func (l *lru) victim() *source {
	if l.probation.n > l.len()/8 || l.kept.n == 0 {
		return l.probation.head
	}
	return l.kept.head
}

// oldest is the key that was silent longest in its list, probation first.
func (l *lru) oldest() *source {
	a, b := l.probation.head, l.kept.head
	switch {
	case a == nil:
		return b
	case b == nil || a.last <= b.last:
		return a
	}
	return b
}
