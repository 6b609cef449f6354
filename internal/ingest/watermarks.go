package ingest

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/encoding/json"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// maxStreams bounds the streams that marks speak of. Beyond it events are
// written and not marked.
const maxStreams = 65536

// A mark is written to every partition and read by every one of detect's: what
// it lists is what marks cost. It lists at most a fifteenth of the streams, but
// so many in any case: those that have waited longest. With few sensors that is
// all that changed, with thousands each stream is told of every fifteen seconds.
const (
	leastListed = 64
	listedShare = 15
	// mostListed keeps a mark below the size of a Kafka message.
	mostListed = 4096
)

// streamID identifies an ordered stream of a sensor.
type streamID struct {
	Type   string `json:"type"`
	Name   string `json:"name"`
	Realm  string `json:"realm"`
	Stream string `json:"stream"`
}

// watermark is how far one stream has come.
type watermark struct {
	streamID
	Newest  int64  `json:"newest"` // event time, microseconds
	Low     int64  `json:"low"`    // what was marked last
	Records uint64 `json:"records"`
	Promise bool   `json:"promise,omitempty"`
	Seen    int64  `json:"seen"` // wall time of its last record, microseconds
	// Behind is its lateness, in microseconds.
	Behind int64 `json:"behind,omitempty"`
	// Outside says that another reader of the service met it (Outside).
	Outside bool `json:"outside,omitempty"`

	lateness time.Duration
	sensor   *sensor
	from     []feed
	queued   bool // it stands in the queue of what changed
	fresh    bool // of this run: its lateness is known from its source
}

// feed is where the records of a stream come from.
type feed interface{ CaughtUp() bool }

// sensor is what the streams of one sensor have in common.
type sensor struct {
	newest  int64
	streams []*watermark
}

// watermarks is the table of streams of a service.
type watermarks struct {
	byID     map[streamID]*watermark
	all      []*watermark // in the order in which they were met
	queue    []*watermark // what changed since it was told of, in order
	cursor   int          // in all: what is told of again next
	sensors  map[string]*sensor
	last     *watermark
	closed   []streamID // no longer read; told of with the next mark
	stale    bool       // something was read since watermarks were computed
	unmarked uint64
}

func (t *watermarks) change(st *watermark) {
	if !st.queued {
		st.queued = true
		t.queue = append(t.queue, st)
	}
}

// limit is how many streams the next mark lists at most.
func (t *watermarks) limit() int { return min(max(len(t.all)/listedShare, leastListed), mostListed) }

func newWatermarks() *watermarks {
	return &watermarks{byID: map[streamID]*watermark{}, sensors: map[string]*sensor{}}
}

func (t *watermarks) sensor(name string) *sensor {
	s := t.sensors[name]
	if s == nil {
		s = &sensor{}
		t.sensors[name] = s
	}
	return s
}

// saw takes an event that was read from a feed. override replaces the usual
// lateness where it is not 0.
func (t *watermarks) saw(e *event.Event, from feed, override time.Duration, webhook bool, now int64) {
	st := t.last
	if st == nil || st.Stream != e.Kind.String() || st.Name != e.Observer.Name || st.Realm != e.Observer.Realm || st.Type != e.Observer.Type {
		st = t.of(&e.Observer, e.Kind)
		if st == nil {
			t.unmarked++
			return
		}
		t.last = st
	}
	if !st.fresh {
		d := decode.DelayOf(st.Type, e.Kind, webhook)
		st.lateness, st.Promise, st.fresh = d.Behind, d.Promise, true
		if override > 0 {
			st.lateness = override
		}
		st.Behind = st.lateness.Microseconds()
	}
	if !slices.Contains(st.from, from) {
		st.from = append(st.from, from)
		st.Outside = st.Outside || from == behind{}
	}
	st.Records++
	st.Seen = now
	t.change(st)
	t.stale = true
	if !e.Future {
		st.Newest = max(st.Newest, e.Time)
		st.sensor.newest = max(st.sensor.newest, e.Time)
	}
}

func (t *watermarks) of(o *event.Observer, k event.Kind) *watermark {
	id := streamID{o.Type, o.Name, o.Realm, k.String()}
	st := t.byID[id]
	if st == nil {
		if len(t.byID) >= maxStreams {
			return nil
		}
		id = streamID{strings.Clone(o.Type), strings.Clone(o.Name), strings.Clone(o.Realm), k.String()}
		st = &watermark{streamID: id, sensor: t.sensor(id.Name)}
		st.sensor.streams = append(st.sensor.streams, st)
		t.byID[id] = st
		t.all = append(t.all, st)
	}
	return st
}

// adopt gives streams that were loaded, and of which nothing was read since,
// the feeds of their sensor: what these have read to their end is complete for
// the stream as well. A stream whose sensor has no feed is no longer read: it
// is closed, or it would hold up everybody for as long as it is remembered.
// Those of other readers, of which outside says that there are some, are read on.
func (t *watermarks) adopt(feeds func(sensor string) []feed, outside bool) {
	t.all = slices.DeleteFunc(t.all, func(st *watermark) bool {
		if len(st.from) > 0 {
			return false
		}
		st.from = feeds(st.Name)
		if st.Outside && outside {
			st.from = append(st.from, behind{})
		}
		if len(st.from) > 0 {
			return false
		}
		t.closed = append(t.closed, st.streamID)
		delete(t.byID, st.streamID)
		t.last = nil
		return true
	})
	t.queue = slices.DeleteFunc(t.queue, func(st *watermark) bool { return t.byID[st.streamID] != st })
	t.stale = true
}

// advance computes the low watermarks.
func (t *watermarks) advance() {
	t.stale = false
	for _, st := range t.all {
		if st.Newest == 0 || st.lateness == 0 {
			continue // nothing was read yet
		}
		low := st.Newest - st.lateness.Microseconds()
		if len(st.from) > 0 && !slices.ContainsFunc(st.from, func(f feed) bool { return !f.CaughtUp() }) {
			low = max(low, st.sensor.newest-(st.lateness+crossSlack).Microseconds())
		}
		if low > st.Low {
			st.Low = low
			t.change(st)
		}
	}
}

// pending reports whether a mark has something to say.
func (t *watermarks) pending() bool {
	if t.stale {
		t.advance()
	}
	return len(t.queue) > 0 || len(t.closed) > 0
}

// mark fills in the sources of a mark: of those that changed since they were
// told of as many as a mark lists, those that wait longest first. full asks for
// those that did not change as well, so that who reads from here on learns of
// them: all of them where they fit, the next ones otherwise. It returns what it
// lists.
func (t *watermarks) mark(m *event.Mark, full bool) []*watermark {
	t.advance()
	limit := t.limit()
	n := min(limit, len(t.queue))
	list := slices.Clone(t.queue[:n])
	t.queue = slices.Delete(t.queue, 0, n)
	for _, st := range list {
		st.queued = false
	}
	if full {
		m.Full = len(t.all) <= limit
		for range min(limit, len(t.all)) {
			t.cursor %= len(t.all)
			if st := t.all[t.cursor]; !slices.Contains(list, st) {
				list = append(list, st)
			}
			t.cursor++
		}
		if m.Full {
			t.queue = t.queue[:0]
			for _, st := range list {
				st.queued = false
			}
		}
	}
	m.Sources = m.Sources[:0]
	for _, st := range list {
		m.Sources = append(m.Sources, event.SourceMark{
			Type: st.Type, Name: st.Name, Realm: st.Realm, Stream: st.Stream, Low: max(st.Low, 0), Records: st.Records, Promise: st.Promise,
		})
	}
	for _, id := range t.closed {
		m.Sources = append(m.Sources, event.SourceMark{Type: id.Type, Name: id.Name, Realm: id.Realm, Stream: id.Stream, Closed: true})
	}
	t.closed = nil
	slices.SortFunc(m.Sources, func(a, b event.SourceMark) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Realm, b.Realm), cmp.Compare(a.Stream, b.Stream))
	})
	return list
}

// keepStreams is for how long a stream without records is remembered across
// restarts.
const keepStreams = 7 * 24 * time.Hour

// sensorsOf are the sensors of streams, sorted.
func sensorsOf(list []*watermark) []string {
	names := make([]string, 0, len(list))
	for _, st := range list {
		names = append(names, st.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// append appends the stored form of a sensor's streams.
func (t *watermarks) append(dst []byte, sensor string) ([]byte, error) {
	var list []*watermark
	for _, st := range t.sensor(sensor).streams {
		if t.byID[st.streamID] == st {
			list = append(list, st)
		}
	}
	slices.SortFunc(list, func(a, b *watermark) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Realm, b.Realm), cmp.Compare(a.Stream, b.Stream))
	})
	return json.Append(dst, list, 0)
}

// load takes over the stored form; of a stream that is stored twice the newer
// record holds.
func (t *watermarks) load(data []byte, now time.Time) error {
	var list []*watermark
	if err := json.Unmarshal(data, &list); err != nil {
		return fmt.Errorf("stored streams: %w", err)
	}
	for _, st := range list {
		if now.UnixMicro()-st.Seen > keepStreams.Microseconds() {
			continue
		}
		if old := t.byID[st.streamID]; old != nil {
			if old.Seen < st.Seen {
				st.sensor, st.lateness = old.sensor, old.lateness
				*old = *st
			}
			continue
		}
		if len(t.byID) >= maxStreams {
			continue
		}
		st.lateness = time.Duration(st.Behind) * time.Microsecond
		if st.Behind == 0 { // stored by an earlier release
			st.lateness = decode.DelayOf(st.Type, event.ParseKind(st.Stream), true).Behind
		}
		st.sensor = t.sensor(st.Name)
		st.sensor.streams = append(st.sensor.streams, st)
		st.sensor.newest = max(st.sensor.newest, st.Newest)
		t.byID[st.streamID] = st
		t.all = append(t.all, st)
	}
	return nil
}

// newest is the newest event time of all streams, 0 before the first event.
func (t *watermarks) newest() int64 {
	var n int64 = math.MinInt64
	for _, s := range t.sensors {
		n = max(n, s.newest)
	}
	if n <= 0 {
		return 0
	}
	return n
}
