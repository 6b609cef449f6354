package hunt

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// Input is one file that can be read as events. Read decodes it from its
// beginning into sink and returns when it is through or ctx ends; what cannot
// be decoded goes to the sink, an error means that the file cannot be read.
type Input interface {
	Name() string
	// Size is the length of the file in bytes, Consumed how many of them the
	// running Read has taken; safe for concurrent use.
	Size() int64
	Consumed() int64
	Read(ctx context.Context, sink decode.Sink) error
}

// batchBytes is how much encoded input of one file is handed over at once. A
// merge holds about three batches of each file that overlaps the present.
const batchBytes = 64 << 10

// batch is a run of encoded events of one input, in order of availability.
type batch struct {
	events []pipeline.Encoded
	buf    []byte // the keys and values of events
	err    error  // why the input ended, nil at its regular end
	last   bool
}

// cursor is an input with its next event.
type cursor struct {
	index   int // in the list of inputs: decides between equal times
	batches <-chan *batch
	current *batch
	at      int
}

func (c *cursor) event() *pipeline.Encoded { return &c.current.events[c.at] }

// cursors is a heap by availability, then by input.
type cursors []*cursor

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (h *cursors) Len() int { return len(*h) }

// Less orders by availability, then by input.
func (h *cursors) Less(i, j int) bool {
	a, b := (*h)[i], (*h)[j]
	if x, y := a.event().Available, b.event().Available; x != y {
		return x < y
	}
	return a.index < b.index
}

// Swap exchanges two cursors.
func (h *cursors) Swap(i, j int) { (*h)[i], (*h)[j] = (*h)[j], (*h)[i] }

// Push appends a cursor.
func (h *cursors) Push(x any) { *h = append(*h, x.(*cursor)) }

// Pop removes the last cursor.
func (h *cursors) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// pending is an input that is not open yet, and when its first event was
// available.
type pending struct {
	index int
	input Input
	first int64
}

// merge hands the events of all inputs to take, in order of availability. An
// input is opened when the merge comes to its first event, so that a year of
// hourly files needs no more memory than the files of one hour. stats counts
// by input; errors of single inputs are joined and do not stop the others.
func merge(ctx context.Context, st *site.Site, inputs []Input, stats []*Stats, take func(*pipeline.Encoded) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var errs []error
	waiting := make([]pending, 0, len(inputs))
	for i, in := range inputs {
		first, ok, err := firstAvailable(ctx, in)
		if err != nil || !ok {
			// Without a first event it is read for its counts, at once.
			first = -1 << 63
		}
		waiting = append(waiting, pending{i, in, first})
	}
	slices.SortStableFunc(waiting, func(a, b pending) int {
		if a.first != b.first {
			if a.first < b.first {
				return -1
			}
			return 1
		}
		return a.index - b.index
	})
	var open cursors
	advance := func(c *cursor) bool {
		for c.at++; c.current == nil || c.at >= len(c.current.events); c.at = 0 {
			if c.current != nil && c.current.last {
				if c.current.err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", inputs[c.index].Name(), c.current.err))
				}
				return false
			}
			select {
			case c.current = <-c.batches:
			case <-ctx.Done():
				return false
			}
		}
		return true
	}
	for len(open) > 0 || len(waiting) > 0 {
		for len(waiting) > 0 && (len(open) == 0 || waiting[0].first <= open[0].event().Available) {
			w := waiting[0]
			waiting = waiting[1:]
			c := &cursor{index: w.index, batches: start(ctx, st, w.input, stats[w.index]), at: -1}
			if advance(c) {
				heap.Push(&open, c)
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(open) == 0 {
			continue
		}
		c := open[0]
		if err := take(c.event()); err != nil {
			errs = append(errs, err)
			if len(errs) > maxErrors {
				return errors.Join(errs...)
			}
		}
		if advance(c) {
			heap.Fix(&open, 0)
		} else {
			heap.Pop(&open)
		}
	}
	return errors.Join(errs...)
}

// maxErrors is how many inputs or records may fail before a hunt gives up.
const maxErrors = 100

// start decodes an input in a goroutine of its own.
func start(ctx context.Context, st *site.Site, in Input, stats *Stats) <-chan *batch {
	out := make(chan *batch, 1)
	go func() {
		c := &collector{ctx: ctx, site: st, out: out, stats: stats, b: new(batch)}
		err := in.Read(ctx, c)
		if c.b == nil {
			return // cancelled
		}
		c.b.last, c.b.err = true, err
		c.flush()
	}()
	return out
}

// collector encodes what a decoder reads.
type collector struct {
	ctx   context.Context //nolint:containedctx // the decoder's sink has none; the collector lives as long as the call
	site  *site.Site
	out   chan<- *batch
	stats *Stats
	place site.Placement
	b     *batch
	avail int64
}

// Event completes an event as ingest does and keeps its encoded form.
func (c *collector) Event(e *event.Event) {
	if c.b == nil {
		return
	}
	c.site.Place(e, &c.place)
	at := len(c.b.buf)
	buf, reason, err := decode.Written(c.b.buf, e, c.place.Key)
	if err != nil {
		c.b.buf = buf[:at]
		c.Dead(reason, nil, e.Origin)
		return
	}
	c.stats.event(e)
	// A file is written in the order in which its records became available,
	// or nearly: what stands later was not there earlier.
	c.avail = max(c.avail, pipeline.Available(e))
	r := pipeline.Encoded{Topic: pipeline.TopicOf(e.Kind.Plane()), Kind: e.Kind, Observer: c.observer(&e.Observer), Available: c.avail}
	end := len(buf)
	if len(c.place.Mirror)+end-at+len(mirrorRole) > decode.MaxRecord {
		c.place.Mirror = c.place.Mirror[:0] // the copy is longer than the event
	}
	buf = append(append(buf, c.place.Key...), c.place.Mirror...)
	key := end + len(c.place.Key)
	// Slices of an older, smaller array stay valid: it is not written again.
	r.Value, r.Key, r.Mirror = buf[at:end:end], buf[end:key:key], buf[key:len(buf):len(buf)]
	c.b.buf, c.b.events = buf, append(c.b.events, r)
	if len(buf) >= batchBytes {
		c.flush()
	}
}

// mirrorRole is what the copy for the peer has in addition.
const mirrorRole = `,"role":"mirror"`

// observer is o with strings that outlive the decoder's buffer.
func (c *collector) observer(o *event.Observer) event.Observer {
	if n := len(c.b.events); n > 0 && c.b.events[n-1].Observer == *o {
		return c.b.events[n-1].Observer
	}
	return event.Observer{Type: string([]byte(o.Type)), Name: string([]byte(o.Name)), Realm: string([]byte(o.Realm))}
}

func (c *collector) flush() {
	b := c.b
	c.b = nil
	select {
	case c.out <- b:
		if !b.last {
			c.b = &batch{buf: make([]byte, 0, batchBytes+batchBytes/8), events: make([]pipeline.Encoded, 0, len(b.events)+16)}
		}
	case <-c.ctx.Done():
	}
}

// Ignored counts.
func (c *collector) Ignored(string) { c.stats.ignored() }

// Dead counts.
func (c *collector) Dead(reason string, _ []byte, _ event.Origin) { c.stats.dead(reason) }

// peek stops a decoder at its first event.
type peek struct {
	cancel context.CancelFunc
	first  int64
	found  bool
}

// Event keeps the first.
func (p *peek) Event(e *event.Event) {
	if !p.found {
		p.found, p.first = true, pipeline.Available(e)
	}
	p.cancel()
}

// Ignored does nothing.
func (p *peek) Ignored(string) {}

// Dead does nothing: the real reading counts.
func (p *peek) Dead(string, []byte, event.Origin) {}

// firstAvailable reads an input up to its first event.
func firstAvailable(ctx context.Context, in Input) (first int64, found bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &peek{cancel: cancel}
	err = in.Read(ctx, p)
	if p.found {
		return p.first, true, nil
	}
	return 0, false, err
}
