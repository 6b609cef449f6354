package detect

import (
	"slices"
	"unsafe"
)

// Usage is what a part of a Set takes.
type Usage struct {
	// Detector is the id of a detector or of what detectors lean on. UsageKeys
	// are the keys themselves, with the signals that they remember;
	// UsageTimers are the timers of all, which count as its keys.
	Detector string
	// Keys is how many record keys it has a state of.
	Keys int
	// Bytes is about how much memory these take, without what the garbage
	// collector needs on top.
	Bytes int64
}

// Names of what is not a detector's in a Usage.
const (
	UsageKeys   = "keys"
	UsageTimers = "timers"
)

// mapEntry is about what a map from a string to a pointer takes for an entry.
const mapEntry = 40

// Usage returns what each detector takes, in the order of the set, then keys and
// timers. It looks at every state: a million keys take about a second, in which
// nothing may be applied.
func (s *Set) Usage() []Usage {
	out := make([]Usage, len(s.infos), len(s.infos)+2)
	for i := range s.infos {
		out[i].Detector = s.infos[i].ID
	}
	keys := Usage{Detector: UsageKeys}
	var buf []byte
	for _, l := range [...]*list{&s.lru.probation, &s.lru.kept} {
		for src := l.head; src != nil; src = src.next {
			keys.Keys++
			keys.Bytes += int64(unsafe.Sizeof(*src)) + int64(len(src.key)) + mapEntry +
				int64(cap(src.held))*int64(unsafe.Sizeof(held{})) + int64(cap(src.sent))*int64(unsafe.Sizeof(sent{}))
			for i := range src.sent {
				keys.Bytes += int64(len(src.sent[i].id))
			}
			for i := range src.held {
				h := &src.held[i]
				u := &out[h.detector]
				u.Keys++
				if sized, ok := h.state.(Sized); ok {
					u.Bytes += int64(sized.Size())
					continue
				}
				buf = h.state.Append(buf[:0])
				u.Bytes += int64(len(buf))
			}
		}
	}
	timers := Usage{Detector: UsageTimers}
	for _, q := range s.timers {
		timers.Keys += q.n
		for _, list := range q.slots {
			timers.Bytes += int64(cap(list)) * int64(unsafe.Sizeof(due{}))
		}
	}
	out = slices.DeleteFunc(out, func(u Usage) bool { return u.Keys == 0 })
	return append(out, keys, timers)
}
