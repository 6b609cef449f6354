package baseline

import (
	"cmp"
	"errors"
	"maps"
	"math/bits"
	"net/netip"
	"slices"
)

// ErrPastFull says that a Past holds as many sums as it may.
var ErrPastFull = errors.New("too many sources and hours at once")

// Past sums what sources did in hours gone by, whatever the order in which it
// is told. Of several views of one source the hour's sum is the greatest, since
// they count the same bytes.
type Past struct {
	from, to int64
	bound    int
	sources  map[string]uint32
	names    []pastSource
	kinds    []string
	cells    map[pastCell]*pastSum
}

type pastSource struct {
	key    string
	source netip.Addr
}

type pastCell struct {
	view   uint64
	source uint32
	hour   int32
	kind   uint8
}

type pastSum struct{ bytes, permitted, records uint64 }

// Sample is one thing that a source did.
type Sample struct {
	Observer string     // source kind
	View     uint64     // who saw it, of those of one kind
	Source   netip.Addr // address of the source, if it has one
	// Start and End are microseconds: bytes are spread over the time between
	// them. What lies outside of the Past's hours is left out.
	Start, End       int64
	Bytes, Permitted uint64
}

// PastHour is the sum of an hour.
type PastHour struct {
	Hour                      int32
	Bytes, Permitted, Records uint64
}

// NewPast makes an empty one for the hours that begin from a time on and before
// another, microseconds, of at most bound sums.
func NewPast(from, to int64, bound int) Past {
	return Past{from: from, to: to, bound: bound, sources: map[string]uint32{}, cells: map[pastCell]*pastSum{}}
}

// Add counts a sample of the source with a key.
func (p *Past) Add(key []byte, s Sample) error {
	start := min(s.Start, s.End)
	if s.End < p.from || start >= p.to {
		return nil
	}
	kind := slices.Index(p.kinds, s.Observer)
	if kind < 0 {
		if len(p.kinds) == 256 {
			return ErrPastFull
		}
		kind = len(p.kinds)
		p.kinds = append(p.kinds, s.Observer)
	}
	id, known := p.sources[string(key)]
	if !known {
		id = uint32(len(p.names))
		p.names = append(p.names, pastSource{string(key), s.Source})
		p.sources[p.names[id].key] = id
	}
	whole := uint64(s.End - start)
	bytes, permitted := s.Bytes, s.Permitted
	last := HourOf(s.End)
	for hour := last; ; hour-- {
		a, b := bytes, permitted
		if at := TimeOf(hour); start < at && hour > 0 {
			part := uint64(min(s.End, at+Hour) - at)
			a, b = min(a, share(s.Bytes, part, whole)), min(b, share(s.Permitted, part, whole))
		}
		bytes, permitted = bytes-a, permitted-b
		if at := TimeOf(hour); at >= p.from && at < p.to {
			c, err := p.cell(pastCell{s.View, id, hour, uint8(kind)})
			if err != nil {
				return err
			}
			c.bytes, c.permitted = c.bytes+a, c.permitted+b
			if hour == last {
				c.records++
			}
		}
		if TimeOf(hour) <= max(start, p.from) || hour <= 0 {
			return nil
		}
	}
}

// share is n·part/whole.
func share(n, part, whole uint64) uint64 {
	if part >= whole {
		return n
	}
	hi, lo := bits.Mul64(n, part)
	q, _ := bits.Div64(hi, lo, whole)
	return q
}

func (p *Past) cell(at pastCell) (*pastSum, error) {
	c := p.cells[at]
	if c == nil {
		if len(p.cells) >= p.bound {
			return nil, ErrPastFull
		}
		c = &pastSum{}
		p.cells[at] = c
	}
	return c, nil
}

// Len is how many sums it holds.
func (p *Past) Len() int { return len(p.cells) }

// PastOf is what one kind of observer knows of a source.
type PastOf struct {
	Key      string
	Source   netip.Addr
	Observer string
	Hours    []PastHour // in the order of time
}

// Each hands out what it holds, by key, then observer. The hours are valid
// during the call only.
func (p *Past) Each(yield func(PastOf) bool) {
	order := slices.SortedFunc(maps.Keys(p.cells), func(a, b pastCell) int {
		return cmp.Or(cmp.Compare(p.names[a.source].key, p.names[b.source].key), cmp.Compare(p.kinds[a.kind], p.kinds[b.kind]), cmp.Compare(a.hour, b.hour), cmp.Compare(a.view, b.view))
	})
	var hours []PastHour
	for i := 0; i < len(order); {
		at := order[i]
		hours = hours[:0]
		for ; i < len(order) && order[i].source == at.source && order[i].kind == at.kind; i++ {
			c := p.cells[order[i]]
			if n := len(hours); n == 0 || hours[n-1].Hour != order[i].hour {
				hours = append(hours, PastHour{Hour: order[i].hour})
			}
			h := &hours[len(hours)-1]
			h.Bytes, h.Permitted, h.Records = max(h.Bytes, c.bytes), max(h.Permitted, c.permitted), max(h.Records, c.records)
		}
		if !yield(PastOf{Key: p.names[at.source].key, Source: p.names[at.source].source, Observer: p.kinds[at.kind], Hours: hours}) {
			return
		}
	}
}
