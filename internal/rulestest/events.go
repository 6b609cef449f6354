package rulestest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
)

// observers are the source kinds of events that name none.
var observers = map[event.Plane]string{event.PlaneNetwork: "zeek", event.PlaneHost: "falco", event.PlaneCloud: "cloudtrail"}

// event makes the n-th repetition of an event, complete but for what ingest
// adds.
func (it *Item) event(c *Case, n int) (*event.Event, error) {
	kind, _ := it.Event["kind"].(string)
	k := event.ParseKind(kind)
	if k == 0 || k == event.KindMark {
		return nil, fmt.Errorf("event.kind: there is no kind of events %q", kind)
	}
	fields := map[string]*event.Field{}
	for i, f := range event.Fields(k) {
		fields[f.Key] = &event.Fields(k)[i]
	}
	base := c.Start.Add(it.At + time.Duration(n)*it.Every)
	if _, given := it.Event["time"]; !given && c.Start.IsZero() {
		return nil, errors.New("event.time is missing, and the case has no start to count from")
	}
	doc := map[string]any{"v": 1, "time": base.UnixMicro(), "observer.type": observers[k.Plane()], "observer.name": "test"}
	for _, key := range slices.Sorted(maps.Keys(it.Event)) {
		value := it.Event[key]
		f := fields[key]
		if f == nil && key != "kind" && key != "v" {
			return nil, fmt.Errorf("event.%s: there is no such field of %s events", key, kind)
		}
		value, err := filled(value, n)
		if err == nil && f != nil && f.Type == event.TypeMicros {
			value, err = moment(value, base)
		}
		if err != nil {
			return nil, fmt.Errorf("event.%s: %w", key, err)
		}
		doc[key] = value
	}
	data, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("event: %w", err)
	}
	e := new(event.Event)
	if err := event.Decode(data, e); err != nil {
		return nil, fmt.Errorf("event: %w", err)
	}
	return e, nil
}

// moment reads a time field: microseconds since the epoch, RFC 3339, or a
// duration from the event's own time.
func moment(value any, base time.Time) (any, error) {
	text, ok := value.(string)
	if !ok {
		return value, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.UnixMicro(), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, fmt.Errorf("%q is neither a time (2026-11-24T10:00:00Z) nor a duration from the event's (90s)", text)
	}
	return base.Add(d).UnixMicro(), nil
}

// filled replaces {n} by the number of a repetition, from 0, and {hex} by 32
// hexadecimal digits that are others in each.
func filled(value any, n int) (any, error) {
	switch v := value.(type) {
	case string:
		if !strings.Contains(v, "{") {
			return v, nil
		}
		sum := sha256.Sum256([]byte(strconv.Itoa(n)))
		return strings.NewReplacer("{n}", strconv.Itoa(n), "{hex}", hex.EncodeToString(sum[:16])).Replace(v), nil
	case []any:
		out := make([]any, len(v))
		for i := range v {
			var err error
			if out[i], err = filled(v[i], n); err != nil {
				return nil, err
			}
		}
		return out, nil
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano), nil
	case map[string]any, map[any]any:
		return nil, errors.New("keys of events are flat: source.ip, not source: {ip}")
	}
	return value, nil
}

// events are those of a case as an input of a hunt.
type events struct {
	name string
	list []*event.Event
}

// eventsOf makes all events of a case, in the order of their availability.
func eventsOf(f *File, c *Case) (*events, error) {
	out := &events{name: f.path}
	for i := range c.Input {
		it := &c.Input[i]
		for n := range max(it.Repeat, 1) {
			if it.Event == nil {
				break
			}
			e, err := it.event(c, n)
			if err != nil {
				return nil, fmt.Errorf("input[%d], repetition %d: %w", i, n, err)
			}
			if e.Origin.Name == "" {
				e.Origin = event.Origin{Name: c.Name, Line: event.N(len(out.list) + 1)}
			}
			out.list = append(out.list, e)
		}
	}
	slices.SortStableFunc(out.list, func(a, b *event.Event) int { return cmp.Compare(pipeline.Available(a), pipeline.Available(b)) })
	return out, nil
}

// Name implements hunt.Input.
func (in *events) Name() string { return in.name }

// Size implements hunt.Input.
func (in *events) Size() int64 { return 0 }

// Consumed implements hunt.Input.
func (in *events) Consumed() int64 { return 0 }

// Read implements hunt.Input. What takes an event may change it: it is handed
// a copy.
func (in *events) Read(ctx context.Context, sink decode.Sink) error {
	for _, e := range in.list {
		if err := ctx.Err(); err != nil {
			return nil //nolint:nilerr // whoever ends it knows
		}
		one := *e
		sink.Event(&one)
	}
	return nil
}
