package detect

// due is a timer in the heap of an observer.
type due struct {
	at       int64
	src      *source
	detector int
}

// timerHeap orders timers by time, then key, then detector, so that the order
// in which they run is a function of the log.
type timerHeap []due

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (h *timerHeap) Len() int { return len(*h) }

// Less orders as the type says.
func (h *timerHeap) Less(i, j int) bool {
	a, b := (*h)[i], (*h)[j]
	if a.at != b.at {
		return a.at < b.at
	}
	if a.src.key != b.src.key {
		return a.src.key < b.src.key
	}
	return a.detector < b.detector
}

// Swap exchanges two timers.
func (h *timerHeap) Swap(i, j int) { (*h)[i], (*h)[j] = (*h)[j], (*h)[i] }

// Push appends a timer.
func (h *timerHeap) Push(x any) { *h = append(*h, x.(due)) }

// Pop removes the last element.
func (h *timerHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = due{}
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
