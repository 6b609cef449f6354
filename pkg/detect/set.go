package detect

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// TopicSignals is the topic that a Set writes.
const TopicSignals = "ebb.signals.v1"

// Kinds of epochs.
const (
	// EpochSite carries the bytes of a site file.
	EpochSite = "site"
	// EpochOperator says which release processes, for a reader of the log: an
	// operator cannot run another one's code.
	EpochOperator = "operator"
)

// buckets is the number of buckets of keyed state.
const buckets = 64

// Config bounds a Set.
type Config struct {
	// Domain is the correlation domain: the key of all signals.
	Domain string
	Bounds
}

// Set runs detectors over one partition of events. It implements
// operator.Operator.
type Set struct {
	cfg       Config
	site      *site.Site
	detectors []Detector
	infos     []Info
	wants     [32][]int // event.Kind → detectors that take it
	lazy      []Lazy    // by detector; nil where it wants to know all
	choosy    []Choosy  // by detector; nil where no event is ignored
	bases     []int     // by detector: what its states lean on, −1 where nothing

	sources [buckets]map[string]*source
	once    [buckets]once
	lru     lru
	weight  int64                  // of all keys
	timers  map[string]*timerQueue // observer → timers; "" is all sources
	marks   marks
	told    int64 // append time of the last mark sent on

	ev   event.Event
	mark event.Mark
	env  Env
	buf  []byte
}

// NewSet makes an empty set over detectors that it then owns.
func NewSet(cfg Config, detectors []Detector) (*Set, error) {
	if cfg.Domain == "" {
		cfg.Domain = "default"
	}
	cfg.Bounds = cfg.withDefaults()
	s := &Set{cfg: cfg, timers: map[string]*timerQueue{}}
	s.marks = newMarks()
	for _, d := range detectors {
		if err := s.add(d); err != nil {
			return nil, err
		}
	}
	for i := range s.infos {
		if w := s.infos[i].Within; w != "" && s.index(w) < 0 {
			return nil, fmt.Errorf("detector %s: %s, which judges for it, is not in the set", s.infos[i].ID, w)
		}
	}
	for b := range s.sources {
		s.sources[b] = map[string]*source{}
	}
	s.setSite(site.Default())
	return s, nil
}

// info is that of a detector of the set.
func (s *Set) info(id string) *Info { return &s.infos[s.index(id)] }

// add puts a detector into the set, before it the one that it leans on.
func (s *Set) add(d Detector) error {
	base := -1
	if leans, ok := d.(Based); ok {
		b := leans.Base()
		if base = s.index(b.Info().ID); base < 0 {
			if err := s.add(b); err != nil {
				return err
			}
			base = s.index(b.Info().ID)
		}
	}
	info := d.Info()
	if s.index(info.ID) >= 0 {
		return fmt.Errorf("detector %s stands twice in the set", info.ID)
	}
	i := len(s.detectors)
	lazy, _ := d.(Lazy)
	choosy, _ := d.(Choosy)
	s.choosy = append(s.choosy, choosy)
	s.detectors, s.infos = append(s.detectors, d), append(s.infos, info)
	s.lazy, s.bases = append(s.lazy, lazy), append(s.bases, base)
	if info.Within != "" {
		return nil // it is judged from the states of another
	}
	for _, k := range info.Kinds {
		s.wants[k] = append(s.wants[k], i)
	}
	return nil
}

// index is the place of a detector in the set, −1 if it is not there.
func (s *Set) index(id string) int {
	return slices.IndexFunc(s.infos, func(in Info) bool { return in.ID == id })
}

func (s *Set) setSite(st *site.Site) {
	s.site = st
	for _, d := range s.detectors {
		d.Configure(st)
	}
}

// CheckSite reports what a site file says about detectors and thresholds that
// do not exist. more are rules that are not detectors but tuned like them: the
// correlator's (correlate.Rules).
func CheckSite(st *site.Site, detectors []Detector, more ...Info) error {
	known := map[string]Info{}
	for _, info := range more {
		known[info.ID] = info
	}
	for _, d := range detectors {
		known[d.Info().ID] = d.Info()
	}
	var errs []error
	ids := st.DetectorIDs()
	slices.Sort(ids)
	for _, id := range ids {
		info, ok := known[id]
		if !ok {
			errs = append(errs, fmt.Errorf("site file: detectors.%s: there is no such detector", id))
			continue
		}
		names := st.ThresholdNames(id)
		slices.Sort(names)
		for _, n := range slices.Compact(names) {
			if !slices.ContainsFunc(info.Thresholds, func(t Threshold) bool { return t.Name == n }) {
				errs = append(errs, fmt.Errorf("site file: detectors.%s.thresholds.%s: there is no such threshold", id, n))
			}
		}
	}
	return errors.Join(errs...)
}

// Epoch makes a site file valid (kind EpochSite).
func (s *Set) Epoch(kind string, data []byte) error {
	if kind == EpochOperator {
		return nil
	}
	if kind != EpochSite {
		return fmt.Errorf("detect: unknown epoch %q", kind)
	}
	st, err := site.Parse(data)
	if err != nil {
		return err
	}
	s.setSite(st)
	return nil
}

// Apply consumes one event or mark.
func (s *Set) Apply(r *operator.Record, ctx operator.Context) error {
	if r.Kind == event.KindMark.String() {
		return s.applyMark(r, ctx)
	}
	if r.Kind == signal.KindRelease {
		return s.applyRelease(r, ctx)
	}
	if r.Kind == signal.KindHistory {
		return s.applyHistory(r, ctx)
	}
	if r.Kind == signal.KindPurge {
		return s.applyPurge(r, ctx)
	}
	e := &s.ev
	if err := event.Decode(r.Value, e); err != nil {
		return err
	}
	s.applyEvent(e, r, ctx)
	return nil
}

// applyEvent hands the event of a record to the states of its key.
func (s *Set) applyEvent(e *event.Event, r *operator.Record, ctx operator.Context) {
	s.marks.saw(e)
	ctx.Count("events", e.Kind.String(), 1)
	wants := s.wants[e.Kind]
	if len(wants) == 0 {
		return
	}
	b := int(xxhash.Sum64(r.Key) % buckets)
	ctx.Touch(b)
	if s.repeated(b, e, r) {
		ctx.Count("events_repeated", e.Kind.String(), 1)
		return
	}
	src := s.sources[b][string(r.Key)]
	s.env = Env{Site: s.site, set: s, src: src, rec: r, ctx: ctx}
	known := src != nil
	if !known {
		if !slices.ContainsFunc(wants, func(i int) bool { return s.cares(i, e) }) {
			return
		}
		src = s.admit(string(r.Key), b, ctx)
		s.env.src = src
	}
	s.env.Key = src.key
	src.last = r.Offset
	if pane := r.Time / paneMicros; pane != src.pane {
		if pane/6 != src.pane/6 {
			src.records = 0
		}
		src.pane = pane
		src.panes = min(src.panes+1, 2)
	}
	s.lru.touch(src)
	for _, i := range wants {
		h := src.find(i)
		if c := s.choosy[i]; c != nil && (h == nil || h.armed()) && c.Ignores(e, &s.env) {
			continue
		}
		if h == nil {
			if !s.cares(i, e) {
				continue
			}
			h = src.put(i, s.detectors[i].New())
		}
		s.env.info, s.env.base = &s.infos[i], s.bases[i]
		h.state.Apply(e, &s.env)
		s.arm(src, h)
	}
	if src.records++; known && weighing(src.records) {
		s.weigh(src, s.weightOf(src), ctx)
	}
}

// cares reports whether an event means anything to a detector that knows
// nothing of its key yet.
func (s *Set) cares(detector int, e *event.Event) bool {
	return s.lazy[detector] == nil || s.lazy[detector].Wants(e, &s.env)
}

// admit makes the state of a new key, evicting another where the partition is
// full.
func (s *Set) admit(key string, b int, ctx operator.Context) *source {
	if s.lru.len() >= s.cfg.Keys {
		s.evict(s.lru.victim(), "keys", ctx)
	}
	src := s.newSource(key, b)
	s.sources[b][key] = src
	s.lru.add(src)
	s.weigh(src, newKeyWeight, ctx)
	return src
}

func (s *Set) newSource(key string, b int) *source { return &source{key: key, bucket: uint8(b)} }

func (s *Set) forget(src *source) {
	delete(s.sources[src.bucket], src.key)
	s.lru.remove(src)
	s.heavier(src, -src.weight)
	src.held, src.sent, src.gone = nil, nil, true
}

// arm puts the state's timer into the queue of its observer unless an earlier
// or equal one of that observer stands there: that one, when it comes, finds
// the later time.
func (s *Set) arm(src *source, h *held) {
	t := h.state.Next()
	if t.At == Never {
		h.next = alarm{}
		return
	}
	q := h.alarm.queue
	if q == nil || q.observer != t.Observer {
		if q = s.timers[t.Observer]; q == nil {
			q = &timerQueue{observer: t.Observer, slots: map[int64][]due{}}
			s.timers[t.Observer] = q
		}
	}
	h.next = alarm{q, t.At}
	switch a := h.alarmOf(q); {
	case a == nil:
		h.set(q, t.At)
	case a.at <= t.At:
		return
	default:
		a.at = t.At
	}
	q.push(due{at: t.At, src: src, detector: h.detector})
}

// applyMark moves watermarks, lets due timers run and tells the correlator.
func (s *Set) applyMark(r *operator.Record, ctx operator.Context) error {
	m := &s.mark
	if err := event.ParseMark(r.Value, m); err != nil {
		return fmt.Errorf("decode mark: %w", err)
	}
	for _, name := range s.marks.apply(m, r.Time) {
		s.run(name, s.marks.low(name, event.KindUnknown), ctx)
	}
	low := s.marks.lowest()
	s.run("", low, ctx)
	s.expire(low, ctx)
	if m.Closing || r.Time >= s.told+5*1_000_000 {
		s.told = r.Time
		s.tell(r, ctx)
	}
	return nil
}

// run lets all timers of an observer up to low run, in order of time and key.
func (s *Set) run(observer string, low int64, ctx operator.Context) {
	q := s.timers[observer]
	if q == nil {
		return
	}
	var waiting []due
	for list := q.pop(low); list != nil; list = q.pop(low) {
		for _, d := range list {
			if !s.fire(q, d, ctx) {
				waiting = append(waiting, d)
			}
		}
	}
	if low != Never {
		return
	}
	// The streams have closed, and windows that are not over were told of as
	// they stand. They wait for the watermark of whatever comes next.
	for _, d := range waiting {
		if h := d.src.find(int(d.detector)); h != nil {
			s.arm(d.src, h)
		}
	}
}

// fire lets one timer run, unless its key is forgotten or its state waits for
// a later time by now, for which its timer is set anew. It is false for a state that asks for the same time
// again, which would never end: its timer is set by its next event.
func (s *Set) fire(q *timerQueue, d due, ctx operator.Context) bool {
	h := d.src.find(int(d.detector))
	if h == nil {
		return true
	}
	h.unset(q, d.at)
	if t := h.next; t.queue == q && t.at <= d.at {
		ctx.Touch(int(d.src.bucket))
		s.env = Env{
			Site: s.site, Key: d.src.key, set: s, src: d.src, ctx: ctx, info: &s.infos[d.detector], base: s.bases[d.detector],
		}
		h.state.Advance(&s.env)
		if again := h.state.Next(); again.Observer == q.observer && again.At <= t.at {
			h.next.at = again.At
			return false
		}
	}
	s.arm(d.src, h)
	return true
}

// expire forgets, oldest first, keys of which every state is done. It looks
// at a bounded number of keys at each mark.
func (s *Set) expire(low int64, ctx operator.Context) {
	for range 64 {
		src := s.lru.oldest()
		if src == nil || !src.expired(low) {
			return
		}
		ctx.Touch(int(src.bucket))
		s.forget(src)
		ctx.Count("keys_expired", "idle", 1)
	}
}

// tell sends a mark of this partition to the correlator: how complete its
// sources are, by type.
func (s *Set) tell(r *operator.Record, ctx operator.Context) {
	if n := s.marks.lost; n > 0 {
		s.marks.lost = 0
		ctx.Count("marks_lost", "bound", n)
	}
	m := event.Mark{Instance: fmt.Sprintf("detect/%s/%d", r.Topic, r.Partition), Full: true, Sources: s.marks.summary(nil)}
	data, err := m.Append(s.buf[:0])
	if err != nil {
		ctx.Count("encode_errors", "mark", 1)
		return
	}
	s.buf = data
	ctx.Emit(operator.Output{Topic: TopicSignals, Kind: event.KindMark.String(), V: event.Version, Key: []byte(s.cfg.Domain), Value: data})
}

func (s *Set) emitSignal(sig *signal.Signal, ctx operator.Context) {
	if len(sig.Evidence) > signal.MaxEvidence {
		sig.Evidence = sig.Evidence[:signal.MaxEvidence]
	}
	data, err := sig.Append(s.buf[:0])
	if err != nil {
		ctx.Count("encode_errors", "signal", 1)
		return
	}
	s.buf = data
	ctx.Count("signals", sig.Detector, 1)
	ctx.Emit(operator.Output{Topic: TopicSignals, Kind: signal.KindSignal, V: signal.Version, Key: []byte(s.cfg.Domain), Value: data})
}

func (s *Set) emitFact(f *signal.Fact, ctx operator.Context) {
	data, err := f.Append(s.buf[:0])
	if err != nil {
		ctx.Count("encode_errors", "fact", 1)
		return
	}
	s.buf = data
	ctx.Count("facts", f.Source, 1)
	ctx.Emit(operator.Output{Topic: TopicSignals, Kind: signal.KindFact, V: signal.Version, Key: []byte(s.cfg.Domain), Value: data})
}

// Keys returns how many record keys the set holds.
func (s *Set) Keys() int { return s.lru.len() }
