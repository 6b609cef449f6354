package detect

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// TopicSignals is the topic that a Set writes.
const TopicSignals = "ebb.signals.v1"

// EpochSite is the kind of the epoch that carries the bytes of a site file.
const EpochSite = "site"

// buckets is the number of buckets of keyed state.
const buckets = 64

// Config bounds a Set.
type Config struct {
	// Domain is the correlation domain: the key of all signals.
	Domain string
	// MaxKeys bounds the record keys of the partition; 0 is DefaultMaxKeys.
	MaxKeys int
}

// DefaultMaxKeys is the bound of keys per partition.
const DefaultMaxKeys = 500_000

// Set runs detectors over one partition of events. It implements
// operator.Operator.
type Set struct {
	cfg       Config
	site      *site.Site
	detectors []Detector
	infos     []Info
	wants     [32][]int // event.Kind → detectors that take it

	sources [buckets]map[string]*source
	lru     lru
	timers  map[string]*timerQueue // observer → timers; "" is all sources
	marks   marks
	told    int64 // append time of the last mark sent on

	ev  event.Event
	env Env
	buf []byte
}

// source is the state of one record key.
type source struct {
	key    string
	bucket int
	states []State // by detector; nil where it has seen nothing
	// armed are, by detector, the timers that stand in the queues: at most one
	// of each observer is the valid one.
	armed [][]Timer
	// sent are the last signals of the key, oldest first, at most maxSent.
	sent []sent
	// last is the offset of the record that touched it last, panes in how
	// many different ten-minute panes of append time it was seen, up to 2:
	// the two decide eviction.
	last       int64
	pane       int64
	panes      int
	kept       bool // which list of the lru holds it
	prev, next *source
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

// NewSet makes an empty set over detectors that it then owns.
func NewSet(cfg Config, detectors []Detector) (*Set, error) {
	if cfg.Domain == "" {
		cfg.Domain = "default"
	}
	if cfg.MaxKeys == 0 {
		cfg.MaxKeys = DefaultMaxKeys
	}
	s := &Set{cfg: cfg, detectors: detectors, timers: map[string]*timerQueue{}}
	s.marks.byName = map[string]*observer{}
	seen := map[string]bool{}
	for i, d := range detectors {
		info := d.Info()
		if seen[info.ID] {
			return nil, fmt.Errorf("detector %s stands twice in the set", info.ID)
		}
		seen[info.ID] = true
		s.infos = append(s.infos, info)
		for _, k := range info.Kinds {
			s.wants[k] = append(s.wants[k], i)
		}
	}
	for b := range s.sources {
		s.sources[b] = map[string]*source{}
	}
	s.setSite(site.Default())
	return s, nil
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
	e := &s.ev
	if err := event.Decode(r.Value, e); err != nil {
		return err
	}
	s.marks.saw(e)
	ctx.Count("events", e.Kind.String(), 1)
	wants := s.wants[e.Kind]
	if len(wants) == 0 {
		return nil
	}
	b := int(xxhash.Sum64(r.Key) % buckets)
	ctx.Touch(b)
	src := s.sources[b][string(r.Key)]
	if src == nil {
		src = s.admit(string(r.Key), b, ctx)
	}
	src.last = r.Offset
	if pane := r.Time / (10 * 60 * 1_000_000); pane != src.pane {
		src.pane = pane
		src.panes = min(src.panes+1, 2)
	}
	s.lru.touch(src)
	s.env = Env{Site: s.site, Key: src.key, set: s, src: src, rec: r, ctx: ctx}
	for _, i := range wants {
		if src.states[i] == nil {
			src.states[i] = s.detectors[i].New()
		}
		s.env.info = &s.infos[i]
		src.states[i].Apply(e, &s.env)
		s.arm(src, i)
	}
	return nil
}

// admit makes the state of a new key, evicting another where the partition is
// full.
func (s *Set) admit(key string, b int, ctx operator.Context) *source {
	if s.lru.len() >= s.cfg.MaxKeys {
		victim := s.lru.victim()
		ctx.Touch(victim.bucket)
		s.forget(victim)
		ctx.Count("keys_evicted", "bound", 1)
	}
	src := s.newSource(key, b)
	s.sources[b][key] = src
	s.lru.add(src)
	return src
}

func (s *Set) newSource(key string, b int) *source {
	return &source{key: key, bucket: b, states: make([]State, len(s.detectors)), armed: make([][]Timer, len(s.detectors))}
}

func (s *Set) forget(src *source) {
	delete(s.sources[src.bucket], src.key)
	s.lru.remove(src)
	src.states = nil // its timers find nothing
	src.armed = nil
}

// arm puts the state's timer into the queue of its observer unless an earlier
// or equal one of that observer stands there: that one, when it comes, finds
// the later time.
func (s *Set) arm(src *source, i int) {
	t := src.states[i].Next()
	if t.At == Never {
		return
	}
	if at := slices.IndexFunc(src.armed[i], func(a Timer) bool { return a.Observer == t.Observer }); at < 0 {
		src.armed[i] = append(src.armed[i], t)
	} else if src.armed[i][at].At <= t.At {
		return
	} else {
		src.armed[i][at] = t
	}
	q := s.timers[t.Observer]
	if q == nil {
		q = &timerQueue{observer: t.Observer, slots: map[int64][]due{}}
		s.timers[t.Observer] = q
	}
	q.push(due{at: t.At, src: src, detector: i})
}

// applyMark moves watermarks, lets due timers run and tells the correlator.
func (s *Set) applyMark(r *operator.Record, ctx operator.Context) error {
	var m event.Mark
	if err := event.DecodeMark(r.Value, &m); err != nil {
		return fmt.Errorf("decode mark: %w", err)
	}
	for _, name := range s.marks.apply(&m, r.Time) {
		s.run(name, s.marks.low(name, event.KindUnknown), ctx)
	}
	low := s.marks.lowest()
	s.run("", low, ctx)
	s.expire(low, ctx)
	if m.Closing || r.Time >= s.told+5*1_000_000 {
		s.told = r.Time
		s.tell(r, low, ctx)
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
			if !s.fire(observer, d, ctx) {
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
		if d.src.states != nil {
			s.arm(d.src, d.detector)
		}
	}
}

// fire lets one timer run, unless its key is forgotten or its state waits for
// a later time by now, for which its timer is set anew. It is false for a state that asks for the same time
// again, which would never end: its timer is set by its next event.
func (s *Set) fire(observer string, d due, ctx operator.Context) bool {
	if d.src.states == nil || d.src.states[d.detector] == nil {
		return true
	}
	d.src.armed[d.detector] = slices.DeleteFunc(d.src.armed[d.detector], func(a Timer) bool {
		return a.Observer == observer && a.At == d.at
	})
	st := d.src.states[d.detector]
	if t := st.Next(); t.Observer == observer && t.At <= d.at {
		ctx.Touch(d.src.bucket)
		s.env = Env{Site: s.site, Key: d.src.key, set: s, src: d.src, ctx: ctx, info: &s.infos[d.detector]}
		st.Advance(&s.env)
		if again := st.Next(); again.Observer == observer && again.At <= t.At {
			return false
		}
	}
	s.arm(d.src, d.detector)
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
		ctx.Touch(src.bucket)
		s.forget(src)
		ctx.Count("keys_expired", "idle", 1)
	}
}

func (src *source) expired(low int64) bool {
	for _, st := range src.states {
		if st != nil && !st.Expired(low) {
			return false
		}
	}
	return true
}

// tell sends a mark of this partition to the correlator: how complete each
// source is, one line a source.
func (s *Set) tell(r *operator.Record, low int64, ctx operator.Context) {
	m := event.Mark{Instance: fmt.Sprintf("detect/%s/%d", r.Topic, r.Partition), Full: true}
	names := make([]string, 0, len(s.marks.byName))
	for n, ob := range s.marks.byName {
		if len(ob.streams) > 0 {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		typ, rest, _ := strings.Cut(n, "/")
		slash := strings.LastIndexByte(rest, '/')
		sm := event.SourceMark{Type: typ, Name: rest[:slash], Realm: rest[slash+1:], Low: s.marks.low(n, event.KindUnknown)}
		for _, st := range s.marks.byName[n].streams {
			sm.Records += st.records
		}
		m.Sources = append(m.Sources, sm)
	}
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
