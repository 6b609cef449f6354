package entity

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

const (
	minute = int64(60_000_000)
	hour   = 60 * minute
)

// Times of a claim, in microseconds.
const (
	// Slack is how long before it was first seen a claim already holds.
	Slack = hour
	// TTL is how long after it was last seen it still holds.
	TTL = 24 * hour
	// Bridge is the longest silence inside one span of a claim: facts are
	// repeated hourly while they are seen.
	Bridge = 2 * hour
	// Retain is how long a claim is kept after it was last heard, in append
	// time: as long as signals are held, and TTL before that.
	Retain = 50 * hour
	// future is how far ahead of the log a fact may speak.
	future = 10 * minute
)

// Bounds.
const (
	DefaultMaxClaims = 200_000
	// MaxChildren is how many addresses may claim one parent, and how many
	// machines one principal: a node with 250 pods has as many addresses.
	MaxChildren = 1024
	maxSpans    = 16
	maxMet      = 48 // identifiers of one profile
)

// Graph holds claims. One goroutine owns it.
type Graph struct {
	buckets   []map[signal.Identifier]*node
	maxClaims int
	claims    int
	// children are the narrow identifiers of a type that claim a wide one; it
	// follows from the buckets.
	children map[family][]*node
	// declared are the inventory's claims by narrow identifier, declaredFor by
	// the wide one.
	declared    map[signal.Identifier][]claim
	declaredFor map[signal.Identifier][]signal.Identifier
}

// family is all that is of one type and belongs to one parent.
type family struct {
	parent signal.Identifier
	of     signal.IDType
}

// node is a narrow identifier with its claims, ordered by parent and time.
type node struct {
	id     signal.Identifier
	bucket int
	claims []claim
}

// claim is one span in which a narrow identifier belonged to parent.
type claim struct {
	parent      signal.Identifier
	first, last int64 // seen
	until       int64 // end that the source gave; 0 is none
	heard       int64 // append time
}

// New makes an empty graph with the given number of buckets; maxClaims 0 is
// DefaultMaxClaims.
func New(buckets, maxClaims int) *Graph {
	if maxClaims == 0 {
		maxClaims = DefaultMaxClaims
	}
	g := &Graph{buckets: make([]map[signal.Identifier]*node, buckets), maxClaims: maxClaims, children: map[family][]*node{}}
	for b := range g.buckets {
		g.buckets[b] = map[signal.Identifier]*node{}
	}
	return g
}

// Claims returns how many claims the graph holds.
func (g *Graph) Claims() int { return g.claims }

// Bucket is the bucket of a narrow identifier.
func (g *Graph) bucket(id signal.Identifier) int {
	var d xxhash.Digest
	_, _ = d.WriteString(string(id.Type))
	_, _ = d.WriteString("\x00")
	_, _ = d.WriteString(id.Value)
	return int(d.Sum64() % uint64(len(g.buckets)))
}

// Change is what a fact did.
type Change int

// The changes.
const (
	Refreshed Change = iota // nothing that could change a profile
	Changed
	Ignored // it binds nothing that can be bound
)

// order returns the identifiers of a fact, narrow first.
func order(f *signal.Fact) (child, parent signal.Identifier, ok bool) {
	a, okA := Normal(f.A)
	b, okB := Normal(f.B)
	la, lb := levelOf(a.Type), levelOf(b.Type)
	if !okA || !okB || la == lb || la == key || lb == key {
		return a, b, false
	}
	if la > lb {
		a, b = b, a
	}
	return a, b, true
}

// Observe takes a fact of the log at an append time. Profiles that have met
// one of the returned identifiers must be resolved again after a change.
// touch is called with a bucket before it changes; evicted counts claims that
// had to give way.
func (g *Graph) Observe(f *signal.Fact, now int64, touch func(bucket int)) (child, parent signal.Identifier, change Change, evicted int) {
	child, parent, ok := order(f)
	seen := f.From
	if seen <= 0 {
		seen = now // "since always" is for the inventory to say
	}
	if !ok || seen > now+future || (f.Until != 0 && f.Until <= seen) {
		return child, parent, Ignored, 0
	}
	b := g.bucket(child)
	n := g.buckets[b][child]
	if n == nil {
		n = &node{id: child, bucket: b}
	}
	if i := n.span(parent, seen); i >= 0 {
		c := &n.claims[i]
		touch(b)
		before := *c
		c.first, c.last, c.heard = min(c.first, seen), max(c.last, seen), max(c.heard, now)
		if f.Until == 0 || c.until == 0 {
			c.until = 0
		} else {
			c.until = max(c.until, f.Until)
		}
		// A later sighting only prolongs what holds anyway, unless another
		// parent has a claim too.
		changed := c.first != before.first || c.until != before.until || (c.last != before.last && n.contested(parent))
		if g.fuse(n, i) || changed {
			return child, parent, Changed, 0
		}
		return child, parent, Refreshed, 0
	}
	for g.claims >= g.maxClaims && g.evict(b, n, touch) {
		evicted++
	}
	touch(b)
	g.buckets[b][child] = n
	g.insert(n, claim{parent: parent, first: seen, last: seen, until: f.Until, heard: now})
	if len(n.claims) > maxSpans {
		oldest := 0
		for i := range n.claims {
			if n.claims[i].last < n.claims[oldest].last {
				oldest = i
			}
		}
		g.remove(n, oldest)
		evicted++
	}
	return child, parent, Changed, evicted
}

// span returns the claim of a parent that a sighting belongs to, -1 for none.
func (n *node) span(parent signal.Identifier, seen int64) int {
	for i := range n.claims {
		c := &n.claims[i]
		if c.parent == parent && seen >= c.first-Bridge && seen <= max(c.last+Bridge, c.until) {
			return i
		}
	}
	return -1
}

// contested reports whether another parent of the same type has a claim.
func (n *node) contested(parent signal.Identifier) bool {
	return slices.ContainsFunc(n.claims, func(c claim) bool { return c.parent.Type == parent.Type && c.parent != parent })
}

// fuse joins claim i with others of its parent that it has come to touch.
func (g *Graph) fuse(n *node, i int) bool {
	fused := false
	for j := 0; j < len(n.claims); j++ {
		c, o := &n.claims[i], &n.claims[j]
		if j == i || c.parent != o.parent || o.first > c.last+Bridge || c.first > o.last+Bridge {
			continue
		}
		c.first, c.last, c.heard = min(c.first, o.first), max(c.last, o.last), max(c.heard, o.heard)
		if c.until == 0 || o.until == 0 {
			c.until = 0
		} else {
			c.until = max(c.until, o.until)
		}
		g.remove(n, j)
		if j < i {
			i--
		}
		j--
		fused = true
	}
	return fused
}

func (g *Graph) insert(n *node, c claim) {
	at, _ := slices.BinarySearchFunc(n.claims, c, compareClaims)
	if !slices.ContainsFunc(n.claims, func(o claim) bool { return o.parent == c.parent }) {
		f := family{c.parent, n.id.Type}
		g.children[f] = append(g.children[f], n)
	}
	n.claims = slices.Insert(n.claims, at, c)
	g.claims++
}

func compareClaims(a, b claim) int {
	return cmp.Or(strings.Compare(string(a.parent.Type), string(b.parent.Type)), strings.Compare(a.parent.Value, b.parent.Value), cmp.Compare(a.first, b.first))
}

// remove drops a claim, and the node with its last one.
func (g *Graph) remove(n *node, i int) {
	parent := n.claims[i].parent
	n.claims = slices.Delete(n.claims, i, i+1)
	g.claims--
	if !slices.ContainsFunc(n.claims, func(o claim) bool { return o.parent == parent }) {
		f := family{parent, n.id.Type}
		rest := g.children[f]
		at := slices.Index(rest, n)
		rest[at] = rest[len(rest)-1] // the order of children says nothing
		if rest = rest[:len(rest)-1]; len(rest) == 0 {
			delete(g.children, f)
		} else {
			g.children[f] = rest
		}
	}
	if len(n.claims) == 0 {
		delete(g.buckets[n.bucket], n.id)
	}
}

// evict drops all claims of one identifier of bucket b other than keep: of
// those seen but once before the others, the longest unheard.
func (g *Graph) evict(b int, keep *node, touch func(int)) bool {
	var victim *node
	worse := func(a, b *node) bool {
		if x, y := a.confirmed(), b.confirmed(); x != y {
			return !x
		}
		if x, y := a.heard(), b.heard(); x != y {
			return x < y
		}
		return compareIDs(a.id, b.id) < 0
	}
	for range g.buckets {
		for _, n := range g.buckets[b] { // the order does not matter to a minimum
			if n != keep && (victim == nil || worse(n, victim)) {
				victim = n
			}
		}
		if victim != nil {
			break
		}
		b = (b + 1) % len(g.buckets)
	}
	if victim == nil {
		return false
	}
	touch(victim.bucket)
	for len(victim.claims) > 0 {
		g.remove(victim, 0)
	}
	return true
}

func (n *node) confirmed() bool {
	return slices.ContainsFunc(n.claims, func(c claim) bool { return c.last > c.first })
}

func (n *node) heard() int64 {
	var t int64
	for i := range n.claims {
		t = max(t, n.claims[i].heard)
	}
	return t
}

func compareIDs(a, b signal.Identifier) int {
	return cmp.Or(strings.Compare(string(a.Type), string(b.Type)), strings.Compare(a.Value, b.Value))
}

// Sweep forgets the claims of a bucket that were not heard of for Retain.
func (g *Graph) Sweep(bucket int, now int64, touch func(int)) (forgotten int) {
	var old []*node
	for _, n := range g.buckets[bucket] {
		if slices.ContainsFunc(n.claims, func(c claim) bool { return c.heard+Retain < now }) {
			old = append(old, n)
		}
	}
	if len(old) == 0 {
		return 0
	}
	touch(bucket)
	for _, n := range old {
		for i, c := range slices.Backward(n.claims) {
			if c.heard+Retain < now {
				g.remove(n, i)
				forgotten++
			}
		}
	}
	return forgotten
}

// Declare replaces the inventory.
func (g *Graph) Declare(facts []signal.Fact) {
	g.declared, g.declaredFor = map[signal.Identifier][]claim{}, map[signal.Identifier][]signal.Identifier{}
	for i := range facts {
		child, parent, ok := order(&facts[i])
		if !ok {
			continue
		}
		g.declared[child] = append(g.declared[child], claim{parent: parent, first: facts[i].From, until: facts[i].Until})
		if !slices.Contains(g.declaredFor[parent], child) {
			g.declaredFor[parent] = append(g.declaredFor[parent], child)
		}
	}
}

// stateVersion is the format of a bucket.
const stateVersion = 1

// AppendBucket appends the encoded claims of a bucket; an empty bucket
// appends nothing.
func (g *Graph) AppendBucket(dst []byte, bucket int) []byte {
	if len(g.buckets[bucket]) == 0 {
		return dst
	}
	nodes := make([]*node, 0, len(g.buckets[bucket]))
	for _, n := range g.buckets[bucket] {
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b *node) int { return compareIDs(a.id, b.id) })
	dst = operator.AppendUint(dst, stateVersion)
	dst = operator.AppendUint(dst, len(nodes))
	for _, n := range nodes {
		dst = operator.AppendString(operator.AppendString(dst, n.id.Type), n.id.Value)
		dst = operator.AppendUint(dst, len(n.claims))
		for _, c := range n.claims {
			dst = operator.AppendString(operator.AppendString(dst, c.parent.Type), c.parent.Value)
			dst = operator.AppendInt(dst, c.first)
			dst = operator.AppendInt(dst, c.last)
			dst = operator.AppendInt(dst, c.until)
			dst = operator.AppendInt(dst, c.heard)
		}
	}
	return dst
}

// LoadBucket replaces a bucket by what AppendBucket wrote.
func (g *Graph) LoadBucket(bucket int, data []byte) error {
	for _, n := range g.buckets[bucket] {
		for len(n.claims) > 0 {
			g.remove(n, 0)
		}
	}
	if len(data) == 0 {
		return nil
	}
	r := operator.NewReader(data)
	if v := r.Uint(); v != stateVersion {
		return fmt.Errorf("claims of bucket %d: %w: version %d", bucket, operator.ErrState, v)
	}
	for range r.Count() {
		n := &node{id: signal.Identifier{Type: signal.IDType(r.String()), Value: r.String()}, bucket: bucket}
		for range r.Count() {
			g.insert(n, claim{
				parent: signal.Identifier{Type: signal.IDType(r.String()), Value: r.String()},
				first:  r.Int(), last: r.Int(), until: r.Int(), heard: r.Int(),
			})
		}
		if len(n.claims) > 0 && r.Err() == nil {
			g.buckets[bucket][n.id] = n
		}
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("claims of bucket %d: %w", bucket, err)
	}
	return nil
}
