package volume

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	"github.com/ebbwatch/ebbwatch/pkg/window"
)

// Bounds of a key.
const (
	maxPairs     = 256
	maxPerKey    = 512 // connections that are kept by themselves
	maxObservers = 8
)

// grace is how long a window that spoke is kept after it was closed, for
// records that come later than their source promised.
const grace = window.Span

// mask is the set of the points of a verdict.
type mask uint8

// verdict is what a rule thinks of a window from one observer.
type verdict struct {
	view   int
	sums   sums  // of the whole window
	active int64 // how long data was sent, microseconds
	mask   mask
	score  float64
}

// rules are what the two detectors do not share.
type rules interface {
	detect.Detector
	// limits are the thresholds that hold for a pair, in the order of Info.
	limits(env *detect.Env, on site.Subject, at int64) []float64
	// keyed reports whether a transfer counts at all, and whether ports are
	// told apart.
	keyed(up uint64, c channel, shared bool) (counts, byPort bool)
	// gate is the number of bytes below which there is no verdict.
	gate() uint64
	// hit reports whether a connection is a finding by itself.
	hit(up, down uint64) bool
	// judge is the verdict by a view. complete is how far the observer is
	// complete; pending says that more points depend on it.
	judge(l *ledger, p *pair, view int, w *window.Window[told], limits []float64, complete int64) (v verdict, pending bool)
	// report makes the signal of a verdict but for what all have.
	report(f *finding)
}

// ledger is the state of one key: how much went to which destination.
type ledger struct {
	rules rules
	next  int64  // when Advance is wanted: derived from the pairs
	last  int64  // newest event time
	only  string // the observer where there is one: derived
	// names are what the key remembers of names, while it is applied to; nil
	// is none.
	names     *names
	pairs     table[pairKey, *pair]
	small     small
	observers []string
	// seen are destinations of closed windows.
	seen seen
	// spent is what closed windows took of caps.
	spent allowance

	// What follows is derived from the pairs.
	where   table[uint64, pairKey] // the pair of each connection that is kept by itself
	bare    table[netip.Addr, int] // pairs by address
	tracked int                    // connections kept by themselves
}

func newLedger(r rules) *ledger { return &ledger{rules: r, next: detect.Never} }

// carries reports whether an event tells of bytes.
func carries(e *event.Event) bool { return e.Kind == event.KindConn || e.Kind == event.KindFlow }

// begins reports whether an event is a transfer, with which a ledger begins: what
// is called how is remembered elsewhere.
func begins(r rules, e *event.Event, env *detect.Env) bool {
	var t transfer
	if !carries(e) || !measure(e, &t) {
		return false
	}
	counts, _ := r.keyed(t.up, t.channel, env.Site.Aggregator(t.src, t.time))
	return counts
}

// Apply implements detect.State.
func (l *ledger) Apply(e *event.Event, env *detect.Env) {
	if e.Kind != event.KindConn && e.Kind != event.KindFlow {
		l.names, _ = env.Base().(*names)
		l.last = max(l.last, e.Time)
		l.learn(e, env)
		return
	}
	var t transfer
	if !measure(e, &t) {
		return
	}
	shared := env.Site.Aggregator(t.src, t.time)
	counts, byPort := l.rules.keyed(t.up, t.channel, shared)
	if !counts {
		return
	}
	l.names, _ = env.Base().(*names)
	l.last = max(l.last, t.time)
	h, own := l.nameOf(&t, e)
	if h != nil && t.id != 0 {
		l.named(t.id, h, own, env)
	}
	// A connection stays where it is, whatever its address is called now.
	var key pairKey
	kept := false
	if t.id != 0 {
		key, kept = l.where.get(t.id)
	}
	var limit uint64
	if !kept {
		var ok bool
		if key, limit, ok = l.file(&t, h, own, byPort, env.Site); !ok {
			return
		}
	}
	judged := l.rules.gate() >= minEvidence // and nothing less
	if !judged && len(l.small.pairs) > 0 {
		l.openAll()
	}
	p, _ := l.pairs.get(key)
	if p == nil {
		at := l.small.find(key)
		if judged && !shared && e.Kind == event.KindFlow && l.little(at, &t, key, e, env) {
			return
		}
		if at >= 0 {
			p = l.open(at)
		}
	}
	if p == nil {
		p = l.admit(key, env)
		p.limit, p.src, p.shared = limit, t.src, shared
	}
	observer := l.observer(env.Observer(e))
	seen := viewed(e)
	v := p.view(observer, &seen, e.Kind == event.KindFlow)
	if v == nil {
		env.Count("views_dropped", l.rules.Info().ID, 1)
		return
	}
	v.layer = t.layer
	to := peak{addr: t.dst, port: t.port, channel: t.channel}
	if h != nil {
		to.name = h.name
	}
	var hit single
	if l.rules.hit(t.up, t.down) && e.Kind == event.KindConn {
		hit = single{t.up, t.down, t.time - t.start}
	}
	before := len(v.conns)
	grew, folded, ok := v.add(&t, to, own, hit, l.tracked < maxPerKey)
	l.where.del(folded)
	l.tracked += len(v.conns) - before
	if !ok {
		env.Count("connections_untracked", l.rules.Info().ID, 1)
		return
	}
	if n := len(v.conns); !kept && n > 0 && v.conns[n-1].id == t.id {
		l.put(t.id, key)
	}
	w, added := p.ws.At(t.time), grew
	if w == nil {
		var gone []window.Window[told]
		var moved bool
		if w, gone, moved = p.ws.Add(t.time, p.panes); moved {
			l.moved(p, gone, env)
			l.speak(p, env)
			w, added = p.ws.At(t.time), 0
		}
	}
	w.Value.sum += added
	w.Value.paused = false
	l.next = min(l.next, due(w))
	l.consider(p, w, grew, e, env)
	if len(p.ws.List) > maxWindows {
		if first := &p.ws.List[0]; !first.Closed {
			l.close(p, first, env)
		}
		l.settle(p, p.ws.List[0].End)
	}
}

// nameOf returns how the destination of a transfer was called, and whether
// that is the connection's own word.
func (l *ledger) nameOf(t *transfer, e *event.Event) (h *host, own bool) {
	if t.id != 0 {
		if h = l.names.ofConn(t.id); h != nil {
			return h, true
		}
	}
	if e.Destination.Domain != "" && e.Network.Direction == event.Outbound {
		if h = l.names.named(e.Destination.Domain); h != nil {
			return h, true
		}
	}
	if e.Kind == event.KindFlow {
		if h = l.names.ofPorts(e); h != nil {
			return h, true
		}
	}
	return l.names.ofAddr(t.dst, t.start, t.time), false
}

// file says under which pair a transfer belongs. ok is false where the site
// declares it: its own names, a backup source, a sanctioned destination
// without a cap, mail of a declared relay. own says that the name is the
// connection's own.
func (l *ledger) file(t *transfer, h *host, own, byPort bool, s *site.Site) (key pairKey, limit uint64, ok bool) {
	if s.BackupSource(t.src, "", t.time) || mailPort(t.port) && s.MailRelay(t.src, t.time) {
		return key, 0, false
	}
	name := ""
	if h != nil {
		name, key.name = h.name, h.group
		if h.isOwn(s, t.time) {
			key.standing = exempt
		}
	} else {
		key.addr = t.dst
	}
	if c, sanctioned := s.Sanctioned(name, t.dst, t.src, "", t.time); sanctioned && key.standing == unknown {
		if key.standing, limit = exempt, c.DailyBytes; limit > 0 {
			key.standing = capped
		}
	}
	if key.standing == exempt && (own || h == nil) {
		return key, 0, false
	}
	if byPort {
		key.port = t.port
	}
	return key, limit, true
}

func mailPort(port uint16) bool { return port == 25 || port == 465 || port == 587 }

// observer keeps a name of an observer.
func (l *ledger) observer(name string) string {
	for _, o := range l.observers {
		if o == name {
			return o
		}
	}
	if len(l.observers) < maxObservers {
		l.observers = append(slices.Grow(l.observers, 1), name)
		l.only = only(l.observers)
	}
	return name
}

// only is the one of a list, "" where there are several.
func only(observers []string) string {
	if len(observers) == 1 {
		return observers[0]
	}
	return ""
}

// admit makes a pair. Where there is no room, the quarter goes to which least
// was sent, the longest silent first: a flood of destinations evicts itself.
func (l *ledger) admit(key pairKey, env *detect.Env) *pair {
	if l.pairs.len()+len(l.small.pairs) >= maxPairs {
		l.openAll()
		list := l.sorted()
		slices.SortStableFunc(list, func(a, b *pair) int {
			asum, alast := a.rank()
			bsum, blast := b.rank()
			return cmp.Or(cmp.Compare(asum, bsum), cmp.Compare(alast, blast))
		})
		for _, p := range list[:maxPairs/4] {
			l.remove(p)
		}
		env.Count("pairs_evicted", l.rules.Info().ID, maxPairs/4)
	}
	p := &pair{key: key}
	l.pairs.set(key, p)
	l.index(p)
	return p
}

// index enters a pair into what is derived.
func (l *ledger) index(p *pair) {
	if p.key.name == "" {
		n, _ := l.bare.get(p.key.addr)
		l.bare.set(p.key.addr, n+1)
	}
	l.tracked += p.tracked()
	l.locate(p)
}

// locate notes where the connections of a pair are, lose forgets it.
func (l *ledger) locate(p *pair) {
	for i := range p.views {
		for j := range p.views[i].conns {
			l.put(p.views[i].conns[j].id, p.key)
		}
	}
}

func (l *ledger) put(id uint64, key pairKey) { l.where.set(id, key) }

// remove takes a pair out.
func (l *ledger) remove(p *pair) {
	l.pairs.del(p.key)
	if p.key.name == "" {
		if n, _ := l.bare.get(p.key.addr); n > 1 {
			l.bare.set(p.key.addr, n-1)
		} else {
			l.bare.del(p.key.addr)
		}
	}
	l.tracked -= p.tracked()
	l.lose(p)
}

func (l *ledger) lose(p *pair) {
	for i := range p.views {
		for j := range p.views[i].conns {
			l.where.del(p.views[i].conns[j].id)
		}
	}
}

// sorted are the pairs in the order of their keys: nothing may depend on the
// order of a map.
func (l *ledger) sorted() []*pair {
	list := make([]*pair, 0, l.pairs.len())
	for _, p := range l.pairs.all {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *pair) int { return a.key.compare(b.key) })
	return list
}

// due is when a window wants Advance.
func due(w *window.Window[told]) int64 {
	switch {
	case w.Closed:
		return w.End + grace
	case w.Value.check != 0:
		return min(w.Value.check, w.End)
	}
	return w.End
}

// Next implements detect.State.
func (l *ledger) Next() detect.Timer {
	if l.next == detect.Never {
		return detect.NoTimer
	}
	// The windows wait for all observers where there are several.
	return detect.Timer{Observer: l.only, At: l.next}
}

// closed reports whether all observers of the key have closed.
func (l *ledger) closed(env *detect.Env) bool {
	for _, o := range l.observers {
		if env.Low(o, event.KindUnknown) != detect.Never {
			return false
		}
	}
	return true
}

// Advance implements detect.State: windows end. Where the sources have
// closed, windows say what they hold but stay: another instance may go on.
func (l *ledger) Advance(env *detect.Env) {
	at, over := l.next, l.closed(env)
	if over || l.rules.gate() < minEvidence {
		l.openAll()
	}
	ending := l.small.due(at)
	end := func(i int) { l.small.expire(i, at, l.seen.add) }
	for _, p := range l.sorted() {
		for len(ending) > 0 && l.small.pairs[ending[0]].key().compare(p.key) < 0 {
			end(ending[0])
			ending = ending[1:]
		}
		for i := range p.ws.List {
			w := &p.ws.List[i]
			if due(w) > at || over && w.Value.paused {
				continue
			}
			w.Value.paused = over
			switch {
			case w.Closed:
				// Its time for late records is over: settle drops it.
			case over:
				w.Value.complete, w.Value.check = detect.Never, 0
				l.say(p, w, env)
			case w.End <= at:
				l.close(p, w, env)
			default:
				w.Value.complete, w.Value.check = at, 0
				l.consider(p, w, 0, nil, env)
			}
		}
		if !over {
			l.settle(p, at)
		}
	}
	for _, i := range ending {
		end(i)
	}
	l.small.compact()
	l.reckon()
}

// reckon finds when Advance is wanted next.
func (l *ledger) reckon() {
	l.next = detect.Never
	for i := range l.small.pairs {
		l.next = min(l.next, l.small.pairs[i].end())
	}
	for _, p := range l.pairs.all {
		for i := range p.ws.List {
			if w := &p.ws.List[i]; !w.Value.paused {
				l.next = min(l.next, due(w))
			}
		}
	}
}

// close ends a window: it speaks its last word, and its destination has been
// seen.
func (l *ledger) close(p *pair, w *window.Window[told], env *detect.Env) {
	w.Closed = true
	w.Value.complete, w.Value.check = detect.Never, 0
	if w.Value.sum > 0 {
		l.seen.add(p.key, w.End)
	}
	if p.key.standing == capped {
		l.spend(p, w)
	}
	l.say(p, w, env)
}

// settle drops the windows that are over at a time: at once if they said
// nothing, else when no late record is waited for.
func (l *ledger) settle(p *pair, at int64) {
	p.ws.Delete(func(w *window.Window[told]) bool {
		return w.Closed && (!w.Value.sent || w.End+grace <= at)
	})
	for len(p.ws.List) > maxWindows {
		p.ws.List = slices.Delete(p.ws.List, 0, 1)
	}
	before := p.tracked()
	l.lose(p)
	empty := p.prune(at)
	l.locate(p)
	l.tracked += p.tracked() - before
	if empty {
		l.remove(p)
	}
}

// Expired implements detect.State: destinations that were seen are worth
// keeping for a day. That all sources have closed says nothing about time.
func (l *ledger) Expired(low int64) bool {
	if l.pairs.len() == 0 && len(l.small.pairs) == 0 && len(l.seen.list) == 0 {
		return true
	}
	return low != detect.Never && l.last+seenFor < low
}
