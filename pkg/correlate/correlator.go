package correlate

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/entity"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// Correlator is the operator of one partition of signals. It implements
// operator.Operator.
type Correlator struct {
	cfg   Config
	site  *site.Site
	th    thresholds
	graph *entity.Graph

	signals   [buckets]map[string]*held
	incidents [buckets]map[string]*incident
	graves    [buckets]map[string]grave
	n         int // signals held
	bytes     int // their evidence
	incidentN int

	// byID are the held signals that an identifier binds, met those that have
	// met it without being bound; both in order of arrival.
	byID, met map[signal.Identifier][]*held
	// shares are the held shares of distributed-upload by destination, changed
	// the days of destinations whose sum is to be looked at.
	shares  map[string][]*held
	changed []gathering
	// pending are incidents with a revision that waits, by alert id.
	pending map[string]*incident
	// due is the earliest append time at which one of them, or a roll-up, may
	// be told.
	due int64
	// unlinked says that buckets were loaded and members are not resolved yet.
	unlinked bool

	shared
	siteHash uint64 // of the site that is valid now

	now int64 // append time of the record being applied
	ctx operator.Context
	buf []byte

	sig  signal.Signal // reused
	mark event.Mark
}

// shared is the state that belongs to no key.
type shared struct {
	seq         uint64 // of the last signal that came
	resolved    uint64 // siteHash under which the profiles were resolved
	swept       int64  // append time of the last sweep
	sweptLow    int64  // watermark of the last sweep
	sweepBucket int
	low         int64 // event time up to which all sources are complete
	instances   map[string]*instance
	deployments []deployment
	budget      map[budgetKey]spent
	rollups     map[string]*rollup
}

// New makes an empty correlator.
func New(cfg Config) (*Correlator, error) {
	if cfg.Budget == 0 {
		cfg.Budget = DefaultBudget
	}
	if cfg.MaxSignals == 0 {
		cfg.MaxSignals = DefaultMaxSignals
	}
	if cfg.MaxSignals < 0 || cfg.MaxClaims < 0 {
		return nil, fmt.Errorf("correlate: negative bound: %d signals, %d claims", cfg.MaxSignals, cfg.MaxClaims)
	}
	c := &Correlator{
		cfg: cfg, graph: entity.New(buckets, cfg.MaxClaims),
		byID: map[signal.Identifier][]*held{}, met: map[signal.Identifier][]*held{}, pending: map[string]*incident{}, due: never, shares: map[string][]*held{},
		shared: shared{instances: map[string]*instance{}, budget: map[budgetKey]spent{}, rollups: map[string]*rollup{}},
	}
	for b := range buckets {
		c.signals[b], c.incidents[b], c.graves[b] = map[string]*held{}, map[string]*incident{}, map[string]grave{}
	}
	c.setSite(site.Default())
	return c, nil
}

func (c *Correlator) setSite(s *site.Site) {
	c.site, c.th = s, newThresholds(s)
	c.graph.Declare(s.Facts())
}

// Epoch makes a site file valid (kind EpochSite): its inventory, classes,
// thresholds and exceptions. What is held is judged again with the next
// record.
func (c *Correlator) Epoch(kind string, data []byte) error {
	if kind == EpochOperator {
		return nil // for a reader of the log
	}
	if kind != EpochSite {
		return fmt.Errorf("correlate: unknown epoch %q", kind)
	}
	s, err := site.Parse(data)
	if err != nil {
		return err
	}
	c.setSite(s)
	c.siteHash = xxhash.Sum64(data)
	return nil
}

// errText reports a record that is not UTF-8, and so no JSON.
var errText = errors.New("correlate: record is not UTF-8")

// Apply consumes one record of ebb.signals.v1. A record of an unknown kind or
// one that does not decode is an error and changes nothing.
func (c *Correlator) Apply(r *operator.Record, ctx operator.Context) error {
	if !utf8.Valid(r.Value) {
		return errText
	}
	var apply func(*operator.Record)
	switch r.Kind {
	case signal.KindSignal:
		if err := signal.Decode(r.Value, &c.sig); err != nil {
			return err
		}
		apply = func(*operator.Record) { c.onSignal() }
	case signal.KindFact:
		var f signal.Fact
		if err := signal.DecodeFact(r.Value, &f); err != nil {
			return err
		}
		apply = func(*operator.Record) { c.onFact(&f) }
	case signal.KindDeployment:
		var d signal.Deployment
		if err := signal.DecodeDeployment(r.Value, &d); err != nil {
			return err
		}
		apply = func(*operator.Record) { c.onDeployment(&d) }
	case signal.KindVerdict:
		var v signal.Verdict
		if err := signal.DecodeVerdict(r.Value, &v); err != nil {
			return err
		}
		apply = func(*operator.Record) { c.onVerdict(&v) }
	case event.KindMark.String():
		if err := event.DecodeMark(r.Value, &c.mark); err != nil {
			return fmt.Errorf("decode mark: %w", err)
		}
		apply = func(*operator.Record) { c.onMark() }
	default:
		return fmt.Errorf("correlate: unknown kind of record %q", r.Kind)
	}
	c.now, c.ctx = r.Time, ctx
	c.link()
	if c.siteHash != c.resolved {
		c.judgeAll()
	}
	apply(r)
	c.gather()
	c.flush()
	if c.now >= c.swept+sweepEvery || c.low >= c.sweptLow+sweepEvery {
		c.sweep()
	}
	c.ctx = nil
	return nil
}

// onFact takes an identity fact, and looks again at the signals that it is
// about.
func (c *Correlator) onFact(f *signal.Fact) {
	child, parent, change, evicted := c.graph.Observe(f, c.now, c.ctx.Touch)
	if evicted > 0 {
		c.ctx.Count("claims_evicted", "bound", int64(evicted))
	}
	switch change {
	case entity.Ignored:
		c.ctx.Count("facts", "ignored", 1)
	case entity.Refreshed:
		c.ctx.Count("facts", "refreshed", 1)
	case entity.Changed:
		c.ctx.Count("facts", "changed", 1)
		c.resolve(c.about(child, parent))
	}
}

// about lists the signals that have met one of two identifiers, by arrival.
func (c *Correlator) about(ids ...signal.Identifier) []*held {
	var out []*held
	for _, id := range ids {
		out = append(append(out, c.byID[id]...), c.met[id]...)
	}
	return inOrder(out)
}

// resolve gives signals their profiles anew and judges those that changed.
func (c *Correlator) resolve(list []*held) {
	var changed []*held
	for _, h := range list {
		p, excluded := c.profileOf(&h.sig), c.excluded(&h.sig)
		if p.Equal(&h.profile) && excluded == h.excluded {
			continue
		}
		c.ctx.Touch(h.bucket)
		c.unindex(h)
		h.profile, h.excluded = p, excluded
		h.half = c.halfOf(h)
		c.index(h)
		changed = append(changed, h)
		c.changedShare(h, true)
	}
	if len(changed) > 0 {
		c.ctx.Count("signals_resolved", "again", int64(len(changed)))
	}
	for _, h := range changed {
		// One call for each: what is not connected must not share a bound.
		c.regroup(h)
	}
}

// judgeAll follows a new site.
func (c *Correlator) judgeAll() {
	c.resolved = c.siteHash
	var all []*held
	for b := range buckets {
		for _, h := range c.signals[b] {
			all = append(all, h)
		}
	}
	for _, h := range all {
		h.half = c.halfOf(h)
	}
	c.resolve(inOrder(all))
	// Thresholds and classes may have changed what did not change profile.
	for _, h := range inOrder(all) {
		c.changedShare(h, true)
		if h.inc != nil || h.sig.Role != signal.RoleHealth {
			c.regroup(h)
		}
	}
}

// Signals returns how many signals are held.
func (c *Correlator) Signals() int { return c.n }

// Incidents returns how many incidents stand or are remembered.
func (c *Correlator) Incidents() int { return c.incidentN }

// Claims returns how many claims the identity graph holds.
func (c *Correlator) Claims() int { return c.graph.Claims() }
