package pipeline

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/correlate"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/detect/volume"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// Topics of the planes, as the services name them.
const (
	TopicNetwork = "ebb.network.v1"
	TopicHost    = "ebb.host.v1"
	TopicCloud   = "ebb.cloud.v1"
	TopicAlerts  = "ebb.alerts.v1"
)

// TopicOf returns the topic of a plane.
func TopicOf(p event.Plane) string {
	switch p {
	case event.PlaneHost:
		return TopicHost
	case event.PlaneCloud:
		return TopicCloud
	case event.PlaneNetwork, event.PlaneNone:
	}
	return TopicNetwork
}

// markEvery is how often, in microseconds of availability, a chain marks its
// sources.
const markEvery = 5 * second

// Config of a Chain.
type Config struct {
	// Site is the bytes of the site file; empty is a site without one.
	Site []byte
	// Domain is the correlation domain; "" is "default".
	Domain string
	// Bounds hold for each plane.
	Bounds detect.Bounds
	// NoShadow takes what is in shadow like anything else.
	NoShadow bool
	// Detectors makes the detectors of each plane; nil is Detectors.
	Detectors func() []detect.Detector
	// Signals, when set, is handed every signal record before the correlator
	// takes it, for tests and measurements. The bytes are valid during the call.
	Signals func(value []byte)
}

// Alert is one alert record as the correlator emitted it.
type Alert struct{ Key, Value []byte }

// Chain runs detection and correlation over events fed in order. It is not
// safe for concurrent use.
type Chain struct {
	cfg       Config
	site      *site.Site
	place     site.Placement
	planes    map[string]*plane
	correlate operator.Operator
	signals   int64 // next offset of the signals topic

	now      int64 // availability of the newest event
	marked   int64
	sources  map[event.SourceMark]*event.SourceMark
	lastID   event.SourceMark
	lastMark *event.SourceMark

	counts map[Counter]int64
	alerts func(Alert)
	buf    []byte
	queue  []operator.Output
}

// plane is one topic with its operator.
type plane struct {
	topic  string
	set    operator.Operator
	offset int64
}

// Counter names what operators counted.
type Counter struct{ Name, Label string }

// New makes a chain that hands every alert record, all revisions, to alerts.
func New(cfg Config, alerts func(Alert)) (*Chain, error) {
	st, err := CheckSite(cfg.Site)
	if err != nil {
		return nil, err
	}
	c := &Chain{
		cfg: cfg, site: st, alerts: alerts, planes: map[string]*plane{},
		sources: map[event.SourceMark]*event.SourceMark{}, counts: map[Counter]int64{},
	}
	if c.correlate, err = NewCorrelator(cfg.NoShadow); err != nil {
		return nil, err
	}
	if err := c.correlate.Epoch(detect.EpochSite, cfg.Site); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Chain) newSet() (operator.Operator, error) {
	if c.cfg.Detectors == nil {
		return NewSet(c.cfg.Domain, c.cfg.Bounds)
	}
	return detect.NewSet(detect.Config{Domain: c.cfg.Domain, Bounds: c.cfg.Bounds}, c.cfg.Detectors())
}

// NewSet makes the operator of one partition of events.
func NewSet(domain string, bounds detect.Bounds) (operator.Operator, error) {
	return detect.NewSet(detect.Config{Domain: domain, Bounds: bounds}, Detectors())
}

// NewCorrelator makes the operator of one partition of signals. noShadow takes
// the signals of detectors in shadow like any others: a hunt looks back and
// knows no trial period.
func NewCorrelator(noShadow bool) (operator.Operator, error) {
	return correlate.New(correlate.Config{NoShadow: noShadow})
}

// CheckSite parses a site file and reports what it says about detectors and
// rules that do not exist.
func CheckSite(data []byte) (*site.Site, error) {
	st, err := site.Parse(data)
	if err != nil {
		return nil, err
	}
	return st, errors.Join(detect.CheckSite(st, Detectors(), correlate.Rules()...), checkOverrides(st))
}

// wholeSite are the detectors whose thresholds hold for every subject: those
// that judge a resolver, a pair of machines or many sources, and the rules that join what
// several detectors said. Their modes and bounds can be overridden.
func wholeSite() []string {
	ids := []string{"dns-not-dns", "encrypted-dns", volume.DistributedUpload}
	for _, rule := range correlate.Rules() {
		ids = append(ids, rule.ID)
	}
	return ids
}

// checkOverrides refuses thresholds in an override that would do nothing.
func checkOverrides(st *site.Site) (err error) {
	for _, id := range wholeSite() {
		if st.OverridesThresholds(id) {
			err = errors.Join(err, fmt.Errorf("site file: detectors.%s.overrides: thresholds hold for every subject; set them in detectors.%s.thresholds", id, id))
		}
	}
	return err
}

// Site returns the chain's site.
func (c *Chain) Site() *site.Site { return c.site }

// Event feeds one event. It completes the event as ingest does: realm,
// direction and key. Available must not go back by more than the events'
// lateness; time moves with the largest seen.
func (c *Chain) Event(e *event.Event) error {
	c.site.Place(e, &c.place)
	data, err := e.Append(c.buf[:0])
	c.buf = data
	if err != nil {
		return err
	}
	return c.Record(Encoded{
		Topic: TopicOf(e.Kind.Plane()), Kind: e.Kind, Observer: e.Observer, Available: Available(e),
		Key: c.place.Key, Mirror: c.place.Mirror, Value: data,
	})
}

// Encoded is an event in the form in which it stands in a topic.
type Encoded struct {
	Topic       string
	Kind        event.Kind
	Observer    event.Observer
	Available   int64
	Key, Mirror []byte // Mirror is empty when there is no copy
	Value       []byte
}

// Record feeds one encoded event, and before it the marks that are due.
func (c *Chain) Record(r Encoded) error {
	if r.Available > c.now {
		c.now = r.Available
		if c.now >= c.marked+markEvery {
			c.mark(false)
			c.marked = c.now
		}
	}
	c.count(&r)
	if err := c.apply(r.Topic, r.Kind.String(), r.Key, r.Value); err != nil {
		return err
	}
	if len(r.Mirror) > 0 {
		mirror, err := mirrorOf(r.Value)
		if err != nil {
			return err
		}
		return c.apply(r.Topic, r.Kind.String(), r.Mirror, mirror)
	}
	return nil
}

// mirrorOf is the copy of an event for its peer.
func mirrorOf(value []byte) ([]byte, error) {
	var e event.Event
	if err := event.Decode(value, &e); err != nil {
		return nil, err
	}
	e.Role = event.RoleMirror
	return e.Append(nil)
}

// count keeps the marks of the record's stream.
func (c *Chain) count(r *Encoded) {
	id := event.SourceMark{Type: r.Observer.Type, Name: r.Observer.Name, Realm: r.Observer.Realm, Stream: r.Kind.String()}
	if c.lastMark == nil || c.lastID != id {
		id = event.SourceMark{
			Type: strings.Clone(id.Type), Name: strings.Clone(id.Name), Realm: strings.Clone(id.Realm), Stream: id.Stream,
		}
		m := c.sources[id]
		if m == nil {
			copied := id
			m = &copied
			c.sources[id] = m
			c.plane(r.Topic) // the topic must exist before the next mark
		}
		c.lastID, c.lastMark = id, m
	}
	c.lastMark.Records++
}

func (c *Chain) plane(topic string) *plane {
	p := c.planes[topic]
	if p == nil {
		set, err := c.newSet()
		if err == nil {
			err = set.Epoch(detect.EpochSite, c.cfg.Site)
		}
		if err != nil {
			// New has parsed the site and every detector list is the same.
			panic("pipeline: " + err.Error())
		}
		p = &plane{topic: topic, set: set}
		c.planes[topic] = p
	}
	return p
}

// apply runs one record through detection and what comes of it through
// correlation.
func (c *Chain) apply(topic, kind string, key, value []byte) error {
	p := c.plane(topic)
	rec := operator.Record{Topic: topic, Offset: p.offset, Time: c.now, Kind: kind, Key: key, Value: value}
	p.offset++
	if err := p.set.Apply(&rec, c); err != nil {
		c.counts[Counter{"poison", topic}]++
		return fmt.Errorf("%s offset %d: %w", topic, rec.Offset, err)
	}
	return c.drain()
}

// drain feeds what operators have emitted to where it goes.
func (c *Chain) drain() error {
	for len(c.queue) > 0 {
		out := c.queue[0]
		c.queue = c.queue[1:]
		switch out.Topic {
		case detect.TopicSignals:
			if c.cfg.Signals != nil && out.Kind == signal.KindSignal {
				c.cfg.Signals(out.Value)
			}
			rec := operator.Record{Topic: out.Topic, Offset: c.signals, Time: c.now, Kind: out.Kind, Key: out.Key, Value: out.Value}
			c.signals++
			if err := c.correlate.Apply(&rec, c); err != nil {
				c.counts[Counter{"poison", out.Topic}]++
				return fmt.Errorf("%s offset %d: %w", out.Topic, rec.Offset, err)
			}
		case TopicNetwork:
			// An answer that goes back to where the finding was made.
			p := c.plane(out.Topic)
			rec := operator.Record{Topic: out.Topic, Offset: p.offset, Time: c.now, Kind: out.Kind, Key: out.Key, Value: out.Value}
			p.offset++
			if err := p.set.Apply(&rec, c); err != nil {
				c.counts[Counter{"poison", out.Topic}]++
				return fmt.Errorf("%s offset %d: %w", out.Topic, rec.Offset, err)
			}
		case TopicAlerts:
			c.alerts(Alert{out.Key, out.Value})
		}
	}
	return nil
}

// mark tells every plane how far its sources are. An error in a mark would be
// one of this package.
func (c *Chain) mark(closing bool) {
	m := event.Mark{Instance: "pipeline", Full: true, Closing: closing}
	ids := slices.SortedFunc(maps.Keys(c.sources), func(a, b event.SourceMark) int {
		return strings.Compare(a.Type+"\x00"+a.Name+"\x00"+a.Realm+"\x00"+a.Stream, b.Type+"\x00"+b.Name+"\x00"+b.Realm+"\x00"+b.Stream)
	})
	for _, topic := range slices.Sorted(maps.Keys(c.planes)) {
		m.Sources = m.Sources[:0]
		for _, id := range ids {
			src := c.sources[id]
			k := event.ParseKind(src.Stream)
			if TopicOf(k.Plane()) != topic {
				continue
			}
			src.Low, src.Promise = Low(src.Type, k, c.now), true
			m.Sources = append(m.Sources, *src)
		}
		data, err := m.Append(nil)
		if err == nil {
			err = c.apply(topic, event.KindMark.String(), []byte("mark"), data)
		}
		if err != nil {
			c.counts[Counter{"poison", "mark"}]++
		}
	}
}

// Close marks all sources complete: windows end, and their last signals and
// alerts come.
func (c *Chain) Close() { c.mark(true) }

// Counts returns what the operators counted.
func (c *Chain) Counts() map[Counter]int64 { return maps.Clone(c.counts) }

// Now is the availability of the newest event.
func (c *Chain) Now() int64 { return c.now }

// Emit implements operator.Context.
func (c *Chain) Emit(out operator.Output) {
	out.Key, out.Value = slices.Clone(out.Key), slices.Clone(out.Value)
	c.queue = append(c.queue, out)
}

// Touch implements operator.Context: a chain takes no snapshots.
func (c *Chain) Touch(int) {}

// Count implements operator.Context.
func (c *Chain) Count(name, label string, n int64) { c.counts[Counter{name, label}] += n }

// Verdict feeds an analyst's answer to an alert.
func (c *Chain) Verdict(v *signal.Verdict) error {
	data, err := v.Append(nil)
	if err != nil {
		return err
	}
	c.Emit(operator.Output{Topic: detect.TopicSignals, Kind: signal.KindVerdict, V: signal.Version, Key: []byte(c.cfg.Domain), Value: data})
	return c.drain()
}

// Deployment feeds a deployment window.
func (c *Chain) Deployment(d *signal.Deployment) error {
	data, err := d.Append(nil)
	if err != nil {
		return err
	}
	c.Emit(operator.Output{Topic: detect.TopicSignals, Kind: signal.KindDeployment, V: signal.Version, Key: []byte(c.cfg.Domain), Value: data})
	return c.drain()
}
