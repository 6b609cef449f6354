package ingest

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/encoding/json"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// maxStreams bounds the streams that marks speak of. Beyond it events are
// written and not marked.
const maxStreams = 4096

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

	lateness time.Duration
	sensor   *sensor
	from     []feed
	changed  bool
}

// feed is where the records of a stream come from.
type feed interface{ CaughtUp() bool }

// sensor is what the streams of one sensor have in common.
type sensor struct{ newest int64 }

// watermarks is the table of streams of a service.
type watermarks struct {
	byID     map[streamID]*watermark
	sensors  map[string]*sensor
	last     *watermark
	unmarked uint64
}

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
	if st.lateness == 0 {
		l := latenessOf(st.Type, e.Kind, webhook)
		st.lateness, st.Promise = l.time, l.promise
		if override > 0 {
			st.lateness = override
		}
	}
	if !slices.Contains(st.from, from) {
		st.from = append(st.from, from)
	}
	st.Records++
	st.Seen = now
	st.changed = true
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
		t.byID[id] = st
	}
	return st
}

// advance computes the low watermarks.
func (t *watermarks) advance() {
	for _, st := range t.byID {
		if st.Newest == 0 || st.lateness == 0 {
			continue // nothing was read since the start
		}
		low := st.Newest - st.lateness.Microseconds()
		if len(st.from) > 0 && !slices.ContainsFunc(st.from, func(f feed) bool { return !f.CaughtUp() }) {
			low = max(low, st.sensor.newest-(st.lateness+crossSlack).Microseconds())
		}
		if low > st.Low {
			st.Low, st.changed = low, true
		}
	}
}

// pending reports whether a mark has something to say.
func (t *watermarks) pending() bool {
	t.advance()
	for _, st := range t.byID {
		if st.changed {
			return true
		}
	}
	return false
}

// mark fills in the sources of a mark: those that changed since the last one,
// or all.
func (t *watermarks) mark(m *event.Mark, full bool) {
	t.advance()
	m.Full = full
	m.Sources = m.Sources[:0]
	for _, st := range t.byID {
		if !full && !st.changed {
			continue
		}
		st.changed = false
		m.Sources = append(m.Sources, event.SourceMark{
			Type: st.Type, Name: st.Name, Realm: st.Realm, Stream: st.Stream, Low: max(st.Low, 0), Records: st.Records, Promise: st.Promise,
		})
	}
	slices.SortFunc(m.Sources, func(a, b event.SourceMark) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Realm, b.Realm), cmp.Compare(a.Stream, b.Stream))
	})
}

// keepStreams is for how long a stream without records is remembered across
// restarts.
const keepStreams = 7 * 24 * time.Hour

// append appends the stored form.
func (t *watermarks) append(dst []byte) ([]byte, error) {
	list := make([]*watermark, 0, len(t.byID))
	for _, st := range t.byID {
		list = append(list, st)
	}
	slices.SortFunc(list, func(a, b *watermark) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Realm, b.Realm), cmp.Compare(a.Stream, b.Stream))
	})
	return json.Append(dst, list, 0)
}

// load takes over the stored form. A stream's lateness is known again with its
// first record.
func (t *watermarks) load(data []byte, now time.Time) error {
	var list []*watermark
	if err := json.Unmarshal(data, &list); err != nil {
		return fmt.Errorf("stored streams: %w", err)
	}
	for _, st := range list {
		if len(t.byID) >= maxStreams || now.UnixMicro()-st.Seen > keepStreams.Microseconds() {
			continue
		}
		st.sensor = t.sensor(st.Name)
		st.sensor.newest = max(st.sensor.newest, st.Newest)
		st.lateness = 0
		t.byID[st.streamID] = st
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
