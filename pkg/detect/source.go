package detect

import (
	"slices"
)

// source is the state of one record key. There may be a million of them: what
// most keys do not need is not there.
type source struct {
	key string
	// held are the states of the detectors that have seen something of the key,
	// in the order of the detectors.
	held []held
	// sent are the last signals of the key, oldest first, at most maxSent.
	sent []sent
	// last is the offset of the record that touched it last, panes in how
	// many different ten-minute panes of append time it was seen, up to 2:
	// the two decide eviction.
	last       int64
	pane       int64
	prev, next *source
	weight     int64  // about its bytes, see Set.weigh
	records    uint32 // of the hour of append time that pane lies in
	bucket     uint8
	panes      uint8
	kept       bool // which list of the lru holds it
	gone       bool // forgotten: its timers find nothing
}

// held is a detector's state of one key, with its timers that stand in the
// queues: at most one of each observer is the valid one. Hardly any state waits
// for more than one observer.
type held struct {
	state State
	// next is what the state waited for when it was last called: timers need not
	// ask it, of which there are many and which lie anywhere in memory.
	next     alarm
	alarm    alarm
	more     *[]alarm
	detector int32
}

// alarm is a timer in a queue; without a queue it is none.
type alarm struct {
	queue *timerQueue
	at    int64
}

// find returns the state of a detector, nil if there is none. It is valid until
// the next put.
func (src *source) find(detector int) *held {
	for i := range src.held {
		if h := &src.held[i]; h.detector == int32(detector) {
			return h
		}
	}
	return nil
}

// put enters the state of a detector that has none.
func (src *source) put(detector int, st State) *held {
	i, _ := slices.BinarySearchFunc(src.held, int32(detector), func(h held, d int32) int { return int(h.detector - d) })
	// Keys gain few states, and keep them: no room to grow.
	list := make([]held, len(src.held)+1)
	copy(list, src.held[:i])
	list[i] = held{state: st, detector: int32(detector)}
	copy(list[i+1:], src.held[i:])
	src.held = list
	return &list[i]
}

// alarmOf returns the timer of an observer, nil if none is set.
func (h *held) alarmOf(q *timerQueue) *alarm {
	if h.alarm.queue == q {
		return &h.alarm
	}
	if h.more != nil {
		for i := range *h.more {
			if a := &(*h.more)[i]; a.queue == q {
				return a
			}
		}
	}
	return nil
}

// armed reports whether the timer that the state waits for, if any, stands in
// its queue.
func (h *held) armed() bool { return h.next.queue == nil || h.alarmOf(h.next.queue) != nil }

// set notes a timer of an observer for which none is set.
func (h *held) set(q *timerQueue, at int64) {
	if h.alarm.queue == nil {
		h.alarm = alarm{q, at}
		return
	}
	if h.more == nil {
		h.more = new([]alarm)
	}
	*h.more = append(*h.more, alarm{q, at})
}

// unset forgets the timer of an observer if it is of that time.
func (h *held) unset(q *timerQueue, at int64) {
	if h.alarm.queue == q && h.alarm.at == at {
		h.alarm = alarm{}
		return
	}
	if h.more != nil {
		*h.more = slices.DeleteFunc(*h.more, func(a alarm) bool { return a.queue == q && a.at == at })
	}
}

func (src *source) expired(low int64) bool {
	for i := range src.held {
		if !src.held[i].state.Expired(low) {
			return false
		}
	}
	return true
}

// sent remembers how often a signal was emitted.
type sent struct {
	id       string
	revision uint64
}

// maxSent bounds the memory of a key's emitted signals.
const maxSent = 64

// revise counts an emission of a signal and returns its number, from 1.
func (src *source) revise(id string) uint64 {
	for i := range src.sent {
		if src.sent[i].id == id {
			src.sent[i].revision++
			return src.sent[i].revision
		}
	}
	if len(src.sent) == maxSent {
		src.sent = append(src.sent[:0], src.sent[1:]...)
	}
	src.sent = append(src.sent, sent{id, 1})
	return 1
}

// knows reports whether a signal is among the last that were emitted.
func (src *source) knows(id string) bool {
	return slices.ContainsFunc(src.sent, func(x sent) bool { return x.id == id })
}
