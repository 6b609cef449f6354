package volume

import (
	"bytes"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/window"
)

// Most of what is sent is small: a few kilobytes to each of a few addresses, of
// which nothing comes. As long as that is so, a ledger keeps a destination of
// flow records as a line and some cells without pointers, in a third of the
// memory and a fraction of the cache lines of a pair. It is opened, that is, made
// the pair that it would have been, before anything looks at it: when the bytes
// may be evidence or a finding, when a name or a connection comes, and for a
// snapshot. What a pair would have done until then is nothing, so that nobody can
// tell the two apart.

const (
	// maxSmallCells bounds the cells of a key. Beyond it all are opened.
	maxSmallCells = 160
	panesOfWindow = uint32(window.Slots)
)

// small are the destinations of a key to which little was sent.
type small struct {
	src   netip.Addr
	views []smallView
	pairs []smallPair
	cells []smallCell // in order of arrival; of a pair, a view and a pane there is one
}

// smallView is an observer's interface.
type smallView struct{ observer, iface, instance string }

// smallPair is one destination. Its windows are open, none has spoken, and they
// follow from the panes of its cells.
type smallPair struct {
	addr          [16]byte
	first, newest uint32 // panes, counted from the epoch
	up            uint32 // of all cells, less than minEvidence
	port          uint16
}

// smallCell is sums of flow records as they are in a pair.
type smallCell struct {
	pair     uint16
	view     uint8
	channel  channel // of top
	pane     uint32
	up, down uint32
	top      uint32 // the largest record
	out, in  uint16
	port     uint16 // of top
	busy     uint32
	slots    uint32
	// first and last are counted from the start of the pane.
	first, last int32
}

func paneNumber(t int64) uint32      { return uint32(t / window.Pane) }
func timeOfPane(number uint32) int64 { return int64(number) * window.Pane }

// end is when the first window is over.
func (p *smallPair) end() int64 { return timeOfPane(p.first + panesOfWindow) }

func (p *smallPair) key() pairKey {
	return pairKey{addr: netip.AddrFrom16(p.addr).Unmap(), port: p.port}
}

// find returns the place of a destination, −1 where there is none.
func (s *small) find(key pairKey) int {
	if len(s.pairs) == 0 || key.name != "" || key.standing != unknown {
		return -1
	}
	raw := key.addr.As16()
	for i := range s.pairs {
		if p := &s.pairs[i]; p.addr == raw && p.port == key.port && key.addr.Zone() == "" {
			return i
		}
	}
	return -1
}

// viewOf returns the place of a view, −1 where it is one too many or not as it
// was.
func (s *small) viewOf(observer string, f *event.Flow) int {
	for i := range s.views {
		if v := &s.views[i]; v.observer == observer && v.iface == f.Interface {
			if v.instance != f.InstanceID {
				return -1
			}
			return i
		}
	}
	if len(s.views) == maxViews {
		return -1
	}
	s.views = slices.Grow(s.views, 1)
	s.views = append(s.views, smallView{observer, strings.Clone(f.Interface), strings.Clone(f.InstanceID)})
	return len(s.views) - 1
}

// fits reports whether a transfer of flow records can be kept here.
func (s *small) fits(t *transfer, key pairKey) bool {
	return key.name == "" && key.standing == unknown && t.dst.Zone() == "" && t.layer == onIP && !t.estimated &&
		t.up < minEvidence && t.down <= math.MaxUint32 && t.time >= window.Pane && t.time/window.Pane < math.MaxUint32-1<<16 &&
		t.time-t.start < math.MaxInt32 && (!s.src.IsValid() || s.src == t.src)
}

// add counts a transfer of a destination at a place, −1 for a new one, and
// returns the place. ok is false where it cannot be kept here: then nothing was
// changed but the views.
func (s *small) add(at int, t *transfer, key pairKey, view int) (place int, ok bool) {
	pane := paneNumber(t.time)
	if at >= 0 {
		p := &s.pairs[at]
		if uint64(p.up)+t.up >= minEvidence || max(p.newest, pane)-min(p.first, pane) >= maxWindows*panesOfWindow {
			return at, false
		}
		for i := len(s.cells) - 1; i >= 0; i-- {
			if c := &s.cells[i]; c.pane == pane && int(c.pair) == at && int(c.view) == view {
				if ok = c.add(t); ok {
					p.up += uint32(t.up)
				}
				return at, ok
			}
		}
	}
	if len(s.cells) >= maxSmallCells {
		return at, false
	}
	if at < 0 {
		at = len(s.pairs)
		if at == cap(s.pairs) {
			s.pairs = append(make([]smallPair, 0, at+max(1, at/2)), s.pairs...)
		}
		s.pairs = append(s.pairs, smallPair{addr: key.addr.As16(), port: key.port, first: pane, newest: pane})
		s.src = t.src
	}
	p := &s.pairs[at]
	p.first, p.newest = min(p.first, pane), max(p.newest, pane)
	p.up += uint32(t.up)
	n := len(s.cells)
	if n == cap(s.cells) {
		s.cells = append(make([]smallCell, 0, n+max(1, n/3)), s.cells...)
	}
	start := timeOfPane(pane)
	s.cells = append(s.cells, smallCell{
		pair: uint16(at), view: uint8(view), pane: pane, channel: t.channel, port: t.port, top: uint32(t.up),
		first: int32(t.start - start), last: int32(t.time - start),
	})
	s.cells[n].count(t)
	return at, true
}

// add counts a transfer. It is false, and nothing changed, where a number grows
// too large.
func (c *smallCell) add(t *transfer) bool {
	if uint64(c.down)+t.down > math.MaxUint32 || c.out == math.MaxUint16 || c.in == math.MaxUint16 || uint64(c.busy)+uint64(t.time-t.start) > math.MaxUint32 {
		return false
	}
	start := timeOfPane(c.pane)
	c.first, c.last = min(c.first, int32(t.start-start)), max(c.last, int32(t.time-start))
	up := uint32(t.up)
	if up > c.top || up == c.top && (t.port < c.port || t.port == c.port && t.channel > c.channel) {
		c.top, c.port, c.channel = up, t.port, t.channel
	}
	c.count(t)
	return true
}

func (c *smallCell) count(t *transfer) {
	c.up, c.down = c.up+uint32(t.up), c.down+uint32(t.down)
	c.out, c.in = c.out+uint16(t.out), c.in+uint16(t.in)
	if t.up > 0 {
		x := sums{busy: int64(c.busy), slots: c.slots}
		x.lasts(timeOfPane(c.pane), t.time, t.time-t.start)
		c.busy, c.slots = uint32(x.busy), x.slots
	}
}

// sums are those of a pair.
func (c *smallCell) sums(to netip.Addr) sums {
	start := timeOfPane(c.pane)
	return sums{
		up: uint64(c.up), down: uint64(c.down), out: uint32(c.out), in: uint32(c.in), conns: uint32(c.out) + uint32(c.in),
		busy: int64(c.busy), slots: c.slots, first: start + int64(c.first), last: start + int64(c.last),
		top: peak{up: uint64(c.top), addr: to, port: c.port, channel: c.channel},
	}
}

// open makes the pair of a destination. It stays where it is.
func (s *small) open(at int) *pair {
	p := &pair{key: s.pairs[at].key(), src: s.src}
	for i := range s.cells {
		c := &s.cells[i]
		if int(c.pair) != at {
			continue
		}
		from := &s.views[c.view]
		v := p.view(from.observer, &event.Flow{Interface: from.iface, InstanceID: from.instance}, true)
		v.layer = onIP
		*v.cells.Of(timeOfPane(c.pane)) = c.sums(p.key.addr)
	}
	p.ws.Recut(p.panes())
	p.resum()
	return p
}

// dead marks cells and pairs that compact takes out.
const dead = math.MaxUint16

// compact takes out the cells that are dead and the pairs that have none left.
func (s *small) compact() {
	s.cells = slices.DeleteFunc(s.cells, func(c smallCell) bool { return c.pair == dead })
	if len(s.cells) == 0 {
		s.cells, s.pairs = nil, nil
		if len(s.views) == maxViews {
			s.views = nil // of some of them nothing may come any more
		}
		return
	}
	var buf [maxPairs]uint16
	place := buf[:len(s.pairs)]
	for i := range place {
		place[i] = dead
	}
	for i := range s.cells {
		place[s.cells[i].pair] = 0
	}
	n := uint16(0)
	for i := range place {
		if place[i] != dead {
			place[i] = n
			s.pairs[n] = s.pairs[i]
			n++
		}
	}
	s.pairs = s.pairs[:n]
	for i := range s.cells {
		s.cells[i].pair = place[s.cells[i].pair]
	}
}

// drop takes a destination out.
func (s *small) drop(at int) {
	for i := range s.cells {
		if int(s.cells[i].pair) == at {
			s.cells[i].pair = dead
		}
	}
	s.compact()
}

// due are the destinations of which a window is over at a time, in the order of
// their keys.
func (s *small) due(at int64) (list []int) {
	for i := range s.pairs {
		if s.pairs[i].end() <= at {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(a, b int) int { return s.pairs[a].key().compare(s.pairs[b].key()) })
	return list
}

// expire ends the windows of a destination that are over at a time, the oldest
// first. Its cells are dead then.
func (s *small) expire(at int, now int64, ended func(key pairKey, end int64)) {
	p := &s.pairs[at]
	for p.first != 0 && p.end() <= now {
		until, next, up := p.first+panesOfWindow, uint32(0), uint64(0)
		for i := range s.cells {
			c := &s.cells[i]
			switch {
			case int(c.pair) != at:
			case c.pane < until:
				up += uint64(c.up)
				c.pair = dead
			case next == 0 || c.pane < next:
				next = c.pane
			}
		}
		if up > 0 {
			ended(p.key(), p.end())
		}
		p.up -= uint32(up)
		p.first = next
	}
}

// take keeps a pair that was loaded, if it is one of these.
func (s *small) take(p *pair) bool {
	if p.key.name != "" || p.key.standing != unknown || p.limit != 0 || p.shared || len(p.views) == 0 {
		return false
	}
	was := small{src: s.src, views: s.views, pairs: slices.Clone(s.pairs), cells: slices.Clone(s.cells)}
	at := -1
	for i := range p.views {
		v := &p.views[i]
		if !v.flow || v.layer != onIP || len(v.conns) > 0 {
			*s = was
			return false
		}
		view := s.viewOf(v.observer, &event.Flow{Interface: v.iface, InstanceID: v.instance})
		for j := range v.cells.List {
			x := &v.cells.List[j].V
			t := transfer{
				src: p.src, dst: p.key.addr, port: x.top.port, channel: x.top.channel, up: x.top.up, down: x.down,
				start: x.first, time: x.last, layer: onIP,
			}
			ok := view >= 0 && s.fits(&t, p.key) && window.PaneOf(x.last) == v.cells.List[j].At && x.up < minEvidence && x.up >= x.top.up &&
				x.out <= math.MaxUint16 && x.in <= math.MaxUint16 && x.busy >= 0 && x.busy <= math.MaxUint32
			if ok {
				at, ok = s.add(at, &t, p.key, view)
			}
			if !ok {
				*s = was
				return false
			}
			c := &s.cells[len(s.cells)-1]
			c.up, c.out, c.in, c.busy, c.slots = uint32(x.up), uint16(x.out), uint16(x.in), uint32(x.busy), x.slots
			if s.pairs[at].up += uint32(x.up - x.top.up); s.pairs[at].up >= minEvidence {
				*s = was
				return false
			}
		}
	}
	// Whatever else a pair may be: it is one of these only if it is the same
	// when it is opened.
	if at < 0 || !bytes.Equal(s.open(at).append(nil), p.append(nil)) {
		*s = was
		return false
	}
	return true
}

// little keeps a transfer of flow records among the small ones. It is false where
// it belongs to a pair.
func (l *ledger) little(at int, t *transfer, key pairKey, e *event.Event, env *detect.Env) bool {
	s := &l.small
	if !s.fits(t, key) || at < 0 && l.pairs.len()+len(s.pairs) >= maxPairs {
		return false
	}
	seen := viewed(e)
	view := s.viewOf(l.observer(env.Observer(e)), &seen)
	if view < 0 {
		return false
	}
	place, ok := s.add(at, t, key, view)
	if ok {
		l.next = min(l.next, s.pairs[place].end())
	}
	return ok
}

// pair returns the pair of a key, opened where it was small, nil where there is
// none.
func (l *ledger) pair(key pairKey) *pair {
	p, _ := l.pairs.get(key)
	if p != nil {
		return p
	}
	if at := l.small.find(key); at >= 0 {
		return l.open(at)
	}
	return nil
}

// open makes a pair of a small one.
func (l *ledger) open(at int) *pair {
	p := l.small.open(at)
	l.small.drop(at)
	l.pairs.set(p.key, p)
	l.index(p)
	return p
}

// openAddr opens what was sent to an address.
func (l *ledger) openAddr(a netip.Addr) {
	raw := a.As16()
	for i := 0; i < len(l.small.pairs); {
		if l.small.pairs[i].addr == raw {
			l.open(i) // another comes to its place
			continue
		}
		i++
	}
}

// openAll opens all that is small.
func (l *ledger) openAll() {
	for i := range l.small.pairs {
		p := l.small.open(i)
		l.pairs.set(p.key, p)
		l.index(p)
	}
	l.small.pairs, l.small.cells = nil, nil
}

// all are the pairs in the order of their keys, with what small ones would be.
func (l *ledger) all() []*pair {
	list := l.sorted()
	for i := range l.small.pairs {
		list = append(list, l.small.open(i))
	}
	slices.SortFunc(list, func(a, b *pair) int { return a.key.compare(b.key) })
	return list
}
