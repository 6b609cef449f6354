package correlate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// stateVersion is the format of the snapshots.
const stateVersion = 1

// Buckets implements operator.Operator.
func (c *Correlator) Buckets() int { return buckets }

// AppendBucket implements operator.Operator.
func (c *Correlator) AppendBucket(dst []byte, b int) []byte {
	claims := c.graph.AppendBucket(nil, b)
	if len(claims) == 0 && len(c.signals[b]) == 0 && len(c.incidents[b]) == 0 && len(c.graves[b]) == 0 {
		return dst
	}
	dst = operator.AppendUint(dst, stateVersion)
	dst = operator.AppendString(dst, claims)
	dst = operator.AppendUint(dst, len(c.signals[b]))
	var body []byte
	for _, id := range slices.Sorted(maps.Keys(c.signals[b])) {
		h := c.signals[b][id]
		dst = operator.AppendUint(dst, h.seq)
		dst = operator.AppendInt(dst, h.heard)
		dst = operator.AppendBool(dst, h.excluded)
		dst = h.profile.Append(dst)
		// What was decoded from JSON and made normal can be encoded.
		body, _ = h.sig.Append(body[:0])
		dst = operator.AppendString(dst, body)
	}
	dst = operator.AppendUint(dst, len(c.incidents[b]))
	for _, id := range slices.Sorted(maps.Keys(c.incidents[b])) {
		dst = c.incidents[b][id].append(dst)
	}
	dst = operator.AppendUint(dst, len(c.graves[b]))
	for _, id := range slices.Sorted(maps.Keys(c.graves[b])) {
		g := c.graves[b][id]
		dst = operator.AppendUint(operator.AppendString(dst, id), g.revision)
		dst = operator.AppendInt(dst, g.at)
	}
	return dst
}

// LoadBucket implements operator.Operator.
func (c *Correlator) LoadBucket(b int, data []byte) error {
	for _, h := range c.signals[b] {
		c.unindex(h)
		c.bytes -= h.size()
		c.n--
	}
	for _, inc := range c.incidents[b] {
		c.removeIncident(inc)
	}
	c.signals[b], c.incidents[b], c.graves[b] = map[string]*held{}, map[string]*incident{}, map[string]grave{}
	c.unlinked = true
	if len(data) == 0 {
		return c.graph.LoadBucket(b, nil)
	}
	r := operator.NewReader(data)
	if v := r.Uint(); v != stateVersion {
		return fmt.Errorf("bucket %d: %w: version %d", b, operator.ErrState, v)
	}
	if err := c.graph.LoadBucket(b, r.Bytes()); err != nil {
		return err
	}
	for range r.Count() {
		h := &held{bucket: b, seq: r.Uint(), heard: r.Int(), excluded: r.Bool()}
		h.profile.Load(r)
		body := r.Bytes()
		if r.Err() != nil {
			break
		}
		if err := signal.Decode(body, &h.sig); err != nil {
			return fmt.Errorf("bucket %d: %w: %w", b, operator.ErrState, err)
		}
		normal(&h.sig)
		if c.signals[b][h.sig.ID] != nil {
			return fmt.Errorf("bucket %d: %w: signal %s twice", b, operator.ErrState, h.sig.ID)
		}
		c.signals[b][h.sig.ID] = h
		c.n++
		c.bytes += h.size()
		c.enter(h)
	}
	for range r.Count() {
		inc := &incident{bucket: b}
		inc.load(r)
		if r.Err() != nil {
			break
		}
		if c.incidents[b][inc.id] == nil {
			c.incidentN++
		}
		c.incidents[b][inc.id] = inc
	}
	for range r.Count() {
		id := r.String()
		c.graves[b][id] = grave{r.Uint(), r.Int()}
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("bucket %d: %w", b, err)
	}
	return nil
}

// link connects incidents with their members after a load.
func (c *Correlator) link() {
	if !c.unlinked {
		return
	}
	c.unlinked = false
	c.pending = map[string]*incident{}
	c.due = 0 // looked at with the next record
	for b := range buckets {
		for _, h := range c.signals[b] {
			h.half = c.halfOf(h)
		}
	}
	for b := range buckets {
		for _, inc := range c.incidents[b] {
			for _, id := range inc.ids {
				if h := c.signals[bucketOf(id)][id]; h != nil && h.inc == nil {
					h.inc = inc
					inc.members = append(inc.members, h)
				}
			}
			inc.ids = nil
			slices.SortFunc(inc.members, older)
			if inc.pending {
				c.pending[inc.id] = inc
			}
		}
	}
}

func (inc *incident) append(dst []byte) []byte {
	dst = operator.AppendString(dst, inc.id)
	dst = operator.AppendString(dst, inc.founder)
	dst = operator.AppendInt(dst, inc.since)
	if len(inc.ids) > 0 { // loaded and not linked yet
		dst = operator.AppendUint(dst, len(inc.ids))
		for _, id := range inc.ids {
			dst = operator.AppendString(dst, id)
		}
	} else {
		dst = operator.AppendUint(dst, len(inc.members))
		for _, h := range inc.members {
			dst = operator.AppendString(dst, h.sig.ID)
		}
	}
	dst = operator.AppendInt(dst, inc.dropped)
	for _, t := range [...]int64{inc.end, inc.opened, inc.news} {
		dst = operator.AppendInt(dst, t)
	}
	for _, b := range [...]bool{inc.closed, inc.gone, inc.pending, inc.verdict != nil} {
		dst = operator.AppendBool(dst, b)
	}
	dst = operator.AppendString(dst, inc.superseded)
	dst = operator.AppendString(dst, inc.rolled)
	dst = operator.AppendUint(dst, inc.joinedRev)
	if v := inc.verdict; v != nil {
		dst = appendVerdict(dst, &v.Verdict)
		dst = operator.AppendInt(dst, v.importance)
		dst = operator.AppendUint(dst, len(v.detectors))
		for _, d := range v.detectors {
			dst = operator.AppendString(dst, d)
		}
	}
	p := &inc.pub
	dst = operator.AppendUint(dst, p.revision)
	dst = operator.AppendInt(dst, p.at)
	for _, s := range [...]string{string(p.status), p.rule, p.severity, p.confidence, p.class} {
		dst = operator.AppendString(dst, s)
	}
	dst = operator.AppendUint(dst, p.detectors)
	dst = operator.AppendUint(dst, p.digest)
	return operator.AppendInt(dst, p.paged)
}

func (inc *incident) load(r *operator.Reader) {
	inc.id, inc.founder, inc.since = r.String(), r.String(), r.Int()
	for range r.Count() {
		inc.ids = append(inc.ids, r.String())
	}
	inc.dropped = int(r.Int())
	inc.end, inc.opened, inc.news = r.Int(), r.Int(), r.Int()
	inc.closed, inc.gone, inc.pending = r.Bool(), r.Bool(), r.Bool()
	judged := r.Bool()
	inc.superseded, inc.rolled, inc.joinedRev = r.String(), r.String(), r.Uint()
	if judged {
		inc.verdict = &verdict{Verdict: loadVerdict(r), importance: int(r.Int())}
		for range r.Count() {
			inc.verdict.detectors = append(inc.verdict.detectors, r.String())
		}
	}
	p := &inc.pub
	p.revision, p.at = r.Uint(), r.Int()
	p.status, p.rule, p.severity, p.confidence, p.class = alert.Status(r.String()), r.String(), r.String(), r.String(), r.String()
	p.detectors, p.digest, p.paged = r.Uint(), r.Uint(), int(r.Int())
}

func appendVerdict(dst []byte, v *alert.Verdict) []byte {
	dst = operator.AppendString(dst, v.Verdict)
	dst = operator.AppendString(dst, v.By)
	dst = operator.AppendString(dst, v.Why)
	return operator.AppendInt(dst, v.Time)
}

func loadVerdict(r *operator.Reader) alert.Verdict {
	return alert.Verdict{Verdict: r.String(), By: r.String(), Why: r.String(), Time: r.Int()}
}

// AppendShared implements operator.Operator.
func (c *Correlator) AppendShared(dst []byte) []byte {
	s := &c.shared
	dst = operator.AppendUint(dst, stateVersion)
	dst = operator.AppendUint(dst, s.seq)
	dst = operator.AppendUint(dst, s.resolved)
	for _, t := range [...]int64{s.swept, s.sweptLow, int64(s.sweepBucket), s.low} {
		dst = operator.AppendInt(dst, t)
	}
	dst = operator.AppendUint(dst, len(s.instances))
	for _, name := range slices.Sorted(maps.Keys(s.instances)) {
		in := s.instances[name]
		dst = operator.AppendString(dst, name)
		dst = operator.AppendInt(dst, in.heard)
		dst = operator.AppendUint(dst, len(in.sources))
		for _, x := range in.sources {
			dst = operator.AppendInt(operator.AppendString(dst, x.typ), x.low)
		}
	}
	dst = operator.AppendUint(dst, len(s.deployments))
	for _, d := range s.deployments {
		dst = operator.AppendString(operator.AppendString(dst, d.namespace), d.host)
		for _, t := range [...]int64{d.from, d.until, d.run, d.heard} {
			dst = operator.AppendInt(dst, t)
		}
	}
	keys := slices.SortedFunc(maps.Keys(s.budget), func(a, b budgetKey) int {
		return cmp.Or(strings.Compare(a.detector, b.detector), cmp.Compare(a.day, b.day), compareBool(a.suppressed, b.suppressed))
	})
	dst = operator.AppendUint(dst, len(keys))
	for _, k := range keys {
		dst = operator.AppendInt(operator.AppendString(dst, k.detector), k.day)
		dst = operator.AppendBool(dst, k.suppressed)
		dst = operator.AppendInt(dst, s.budget[k].n)
		dst = operator.AppendInt(dst, s.budget[k].at)
	}
	dst = operator.AppendUint(dst, len(s.rollups))
	for _, id := range slices.Sorted(maps.Keys(s.rollups)) {
		dst = s.rollups[id].append(dst)
	}
	return dst
}

func (r *rollup) append(dst []byte) []byte {
	dst = operator.AppendString(operator.AppendString(dst, r.id), r.detector)
	dst = operator.AppendInt(dst, r.day)
	dst = operator.AppendUint(dst, len(r.list))
	for _, x := range r.list {
		for _, s := range [...]string{x.ID, x.Entity, x.Severity, x.Reason, x.confidence} {
			dst = operator.AppendString(dst, s)
		}
	}
	dst = operator.AppendInt(dst, r.total)
	dst = operator.AppendString(dst, r.severity)
	for _, t := range [...]int64{r.first, r.last, r.at, int64(r.paged)} {
		dst = operator.AppendInt(dst, t)
	}
	dst = operator.AppendUint(dst, r.revision)
	dst = operator.AppendBool(dst, r.waits)
	dst = operator.AppendBool(dst, r.verdict != nil)
	if r.verdict != nil {
		dst = appendVerdict(dst, r.verdict)
	}
	return dst
}

// LoadShared implements operator.Operator.
func (c *Correlator) LoadShared(data []byte) error {
	r := operator.NewReader(data)
	if v := r.Uint(); v != stateVersion {
		return fmt.Errorf("shared state: %w: version %d", operator.ErrState, v)
	}
	s := shared{instances: map[string]*instance{}, budget: map[budgetKey]spent{}, rollups: map[string]*rollup{}}
	s.seq, s.resolved = r.Uint(), r.Uint()
	s.swept, s.sweptLow, s.sweepBucket, s.low = r.Int(), r.Int(), int(r.Int()), r.Int()
	for range r.Count() {
		name, in := r.String(), &instance{heard: r.Int()}
		for range r.Count() {
			in.sources = append(in.sources, source{r.String(), r.Int()})
		}
		s.instances[name] = in
	}
	for range r.Count() {
		s.deployments = append(s.deployments, deployment{
			namespace: r.String(), host: r.String(), from: r.Int(), until: r.Int(), run: r.Int(), heard: r.Int(),
		})
	}
	for range r.Count() {
		k := budgetKey{r.String(), r.Int(), r.Bool()}
		s.budget[k] = spent{int(r.Int()), r.Int()}
	}
	for range r.Count() {
		x := &rollup{id: r.String(), detector: r.String(), day: r.Int()}
		for range r.Count() {
			x.list = append(x.list, rolled{alert.Rolled{ID: r.String(), Entity: r.String(), Severity: r.String(), Reason: r.String()}, r.String()})
		}
		x.total, x.severity = int(r.Int()), r.String()
		x.first, x.last, x.at, x.paged = r.Int(), r.Int(), r.Int(), int(r.Int())
		x.revision, x.waits = r.Uint(), r.Bool()
		if r.Bool() {
			v := loadVerdict(r)
			x.verdict = &v
		}
		s.rollups[x.id] = x
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("shared state: %w", err)
	}
	if s.sweepBucket < 0 || s.sweepBucket >= buckets {
		return fmt.Errorf("shared state: %w: bucket %d", operator.ErrState, s.sweepBucket)
	}
	c.shared = s
	c.unlinked = true
	return nil
}
