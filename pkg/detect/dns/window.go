package dns

import (
	"math/bits"
	"net/netip"
	"strings"
	"unsafe"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/sketch"
)

// Bounds of a window's samples of names and of labels: of one window, and of
// each where all of a client's together are above maxEntries.
const (
	maxSample  = 1024
	minSample  = 64
	maxEntries = 32 * maxSample
)

// sameLookup is within how many tenths of a second a repeated question is the
// same look-up: the client's retry, or its other record types.
const sameLookup = 100

// window is what is known of one registered domain in one hour, of one client
// from one observer.
type window struct {
	limit  int // of each sample
	names  sketch.Sample[name]
	labels sketch.Sample[labelEntry]
	// labelBytes are the lengths of the sampled labels.
	labelBytes uint64
	places     []place
	tally      tally

	queries    uint32
	txt        uint32
	oddTypes   uint32
	direct     uint32 // asked of a server that nobody declares
	leftmost   uint64 // sum of the first labels' lengths
	entropy    int64  // sum of their entropies, millionths of a bit per byte
	fleeting   uint64 // bytes of answers that are no addresses and expire at once
	first      int64
	last       int64
	server     netip.Addr // the first that was asked
	examples   []string   // some names
	part       part       // in the client's shard
	told       levels     // as last judged
	best       int        // the highest score that was sent
	emissions  uint32
	evidence   []signal.Evidence
	lastPicked uint32 // the number of the query that was last taken as evidence
	stale      bool   // changed since it was judged; never between two records
}

// windowSize is the size of a window without its samples, and of a domain.
const windowSize = int(unsafe.Sizeof(window{}))

// place counts at one place of the names, from the registered domain outward.
type place struct {
	uses     uint32 // sampled names that have a label there
	distinct uint32 // sampled labels that stood there
	home     uint32 // sampled labels that stood there and nowhere below
}

// tally counts the names of the sample.
type tally struct {
	names, bytes         uint32
	once                 uint32 // looked up once
	data                 uint32 // of these, for types that carry data
	none, failed, silent uint32 // of these, by outcome, where nothing was given
	odd                  uint32 // with bytes that no host name has
	resolved, contacted  uint32
	lostNone, lostNever  uint32 // looked up once and nothing came of it
}

// count adds a name to the tally, or with sign −1 takes it out.
func (t *tally) count(n *name, sign uint32) {
	t.names += sign
	t.bytes += sign * uint32(n.bytes)
	f := n.flags
	if f&oddBytes != 0 {
		t.odd += sign
	}
	if f&resolved != 0 {
		t.resolved += sign
		if f&contacted != 0 {
			t.contacted += sign
		}
	}
	if n.lookups != 1 {
		return
	}
	t.once += sign
	if f&askedData != 0 && f&(addressTypes|askedOther) == 0 {
		t.data += sign
	}
	switch {
	case f&gave != 0:
	case f&none != 0:
		t.none += sign
	case f&failed != 0:
		t.failed += sign
	default:
		t.silent += sign
	}
	switch {
	case f&quadName != 0:
	case f&(gave|none) == none:
		t.lostNone += sign
	case f&(resolved|contacted) == resolved:
		t.lostNever += sign
	}
}

// ask is a question and what is known of its answer, as a window takes it.
func ask(q *question, e *event.Event, direct bool, lim *limits) asking {
	a := asking{q: q, name: e.DNS.Name, t: e.Time, server: e.Destination.IP.Unmap(), direct: direct}
	kind := typeOf(e.DNS.Type)
	a.odd, a.txt = kind == typeUnused, e.DNS.Type == "TXT"
	if !q.acme && e.DNS.MinTTL.Known() && e.DNS.MinTTL.Or(0) <= uint64(lim.ttl) {
		a.fleeting = e.DNS.DataBytes.Or(0)
	}
	asked := askedOther
	switch {
	case kind == typeAddress:
		asked = addressType(e.DNS.Type)
	case kind == typeData && !q.service:
		asked = askedData
	}
	a.flags = asked | outcome(e)
	return a
}

// take enters a question.
func (w *window) take(a *asking, start int64) {
	w.queries++
	w.entropy += a.q.entropy
	w.leftmost += uint64(a.q.leftmost)
	if w.first == 0 || a.t < w.first {
		w.first = a.t
	}
	w.last = max(w.last, a.t)
	if !w.server.IsValid() {
		w.server = a.server
	}
	if a.odd {
		w.oddTypes++
	}
	if a.txt {
		w.txt++
	}
	if a.direct {
		w.direct++
	}
	w.fleeting += a.fleeting
	w.note(a.q, a.flags, uint16(min(max(0, (a.t-start)/100_000), 1<<16-1)))
	if n := w.tally.names; len(w.examples) < len(exampleAt) && n == exampleAt[len(w.examples)] && w.names.Level() == 0 {
		w.examples = append(w.examples, strings.Clone(a.name))
	}
}

// exampleAt are the numbers of the names that are kept as examples.
var exampleAt = [...]uint32{3, 12, 50}

// note enters a look-up of a name.
func (w *window) note(q *question, f flags, at uint16) {
	key := nameKey(q.hash)
	if n := w.names.Find(key); n != nil {
		w.tally.count(n, ^uint32(0))
		asked := f & (addressTypes | askedData | askedOther)
		other := asked&addressTypes != 0 && n.flags&asked == 0 && n.flags&addressTypes != 0
		if !other && at > n.last+sameLookup && n.lookups < 255 {
			n.lookups++
		}
		n.flags |= f
		n.last = max(n.last, at)
		w.tally.count(n, 1)
		return
	}
	if q.odd {
		f |= oddBytes
	}
	if q.quad {
		f |= quadName
	}
	depth := min(len(q.labels), maxPlaces)
	if w.names.Holds(key) {
		n := name{hash: key, last: at, flags: f, lookups: 1, places: uint8(depth), bytes: uint8(min(q.bytes, 255))}
		if w.names.Add(n, w.limit) {
			w.grow(depth)
			w.tally.count(&n, 1)
			for p := range depth {
				w.places[p].uses++
			}
		} else {
			w.recountNames()
		}
	}
	for i := range q.labels {
		w.label(q.labels[i], min(len(q.labels)-1-i, maxPlaces-1))
	}
}

// nameKey is the key of a name in the sample.
func nameKey(hash uint64) uint64 { return sketch.Key(hash) }

func (w *window) grow(depth int) {
	for len(w.places) < depth {
		w.places = append(w.places, place{})
	}
}

// label enters a label at a place.
func (w *window) label(l label, p int) {
	key, bit := sketch.Key(l.hash), uint32(1)<<p
	if !w.labels.Holds(key) {
		return
	}
	w.grow(p + 1)
	e := w.labels.Find(key)
	if e == nil {
		if !w.labels.Add(labelEntry{key, bit, l.bytes}, w.limit) {
			w.recountLabels()
			return
		}
		w.labelBytes += uint64(l.bytes)
		w.places[p].distinct++
		w.places[p].home++
		return
	}
	if e.places&bit != 0 {
		return
	}
	home := bits.TrailingZeros32(e.places)
	e.places |= bit
	w.places[p].distinct++
	if p < home {
		w.places[home].home--
		w.places[p].home++
	}
}

func (w *window) recountNames() {
	w.tally = tally{}
	for p := range w.places {
		w.places[p].uses = 0
	}
	for n := range w.names.All {
		w.tally.count(n, 1)
		w.grow(int(n.places))
		for p := range int(n.places) {
			w.places[p].uses++
		}
	}
}

func (w *window) recountLabels() {
	w.labelBytes = 0
	for p := range w.places {
		w.places[p].distinct, w.places[p].home = 0, 0
	}
	for e := range w.labels.All {
		w.labelBytes += uint64(e.bytes)
		w.grow(bits.Len32(e.places))
		for m := e.places; m != 0; m &= m - 1 {
			w.places[bits.TrailingZeros32(m)].distinct++
		}
		w.places[bits.TrailingZeros32(e.places)].home++
	}
}

// data returns how many bytes of data the distinct names carry: each label in
// full where it is new to the domain, and as an index into the labels of its
// place where it is not (detections.md §3). It depends on the set of names
// only, not on their order.
func (w *window) data() uint64 {
	sum := w.labelBytes << w.labels.Level()
	var index uint64 // in 256ths of a bit
	for i := range w.places {
		p := &w.places[i]
		uses, home := uint64(p.uses)<<w.names.Level(), uint64(p.home)<<w.labels.Level()
		if uses > home {
			index += (uses - home) * log2(uint64(p.distinct)<<w.labels.Level())
		}
	}
	return sum + index/(256*8)
}

// entries is how much the samples hold.
func (w *window) entries() int { return w.names.Len() + w.labels.Len() }

// entries is how much the samples of a window hold. A seed has none.
func (d *domain) entries() int {
	if d.full == nil {
		return 0
	}
	return d.full.entries()
}

// scale is a count of sampled names as a count of names.
func (w *window) scale(n uint32) uint64 { return uint64(n) << w.names.Level() }

// outcome tells what an answer gave.
func outcome(e *event.Event) flags {
	d := &e.DNS
	switch d.ResponseCode {
	case "":
		if len(d.Addresses) > 0 || d.Answers.Or(0) > 0 {
			return gave
		}
		return 0
	case "NOERROR":
		switch n, known := d.Answers.Get(); {
		case n > 0 || len(d.Addresses) > 0 || d.DataBytes.Or(0) > 0:
			return gave
		case known || readType(d.Type):
			return none
		}
		return gave // records of a type that the source does not list
	case "NXDOMAIN", "REFUSED":
		return none
	}
	return failed
}

// readType reports whether sources list the answers of a type, so that no list
// means none.
func readType(t string) bool {
	switch t {
	case "A", "AAAA", "TXT", "CNAME", "MX", "SRV", "NS", "PTR", "SOA":
		return true
	}
	return false
}

// typeClass is what a record type is used for.
type typeClass uint8

const (
	typeAddress typeClass = iota
	typeData              // text and names, which can carry anything to a host
	typeOther             // what resolvers and servers ask for
	typeUnused            // no host or resolver asks for it
)

// typeOf classifies record types (IANA, "Resource Record (RR) TYPEs"). Types
// that are obsolete, experimental, private or not assigned are unused.
func typeOf(t string) typeClass {
	switch t {
	case "A", "AAAA", "HTTPS", "SVCB":
		return typeAddress
	case "TXT", "CNAME", "MX", "SRV", "SPF", "NAPTR", "HINFO", "LOC", "CERT", "RP", "URI", "DNAME", "AFSDB":
		return typeData
	case "NS", "SOA", "PTR", "DS", "DNSKEY", "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "CDS", "CDNSKEY", "CSYNC",
		"ZONEMD", "CAA", "TLSA", "SMIMEA", "OPENPGPKEY", "SSHFP", "IPSECKEY", "APL", "DHCID", "HIP", "DLV", "TA",
		"TKEY", "TSIG", "OPT", "AXFR", "IXFR", "ANY", "*", "NID", "L32", "L64", "LP", "EUI48", "EUI64", "DSYNC",
		"RESINFO", "AMTRELAY", "AVC", "TALINK", "NXNAME", "":
		return typeOther
	}
	return typeUnused
}

func addressType(t string) flags {
	switch t {
	case "A":
		return askedA
	case "AAAA":
		return askedAAAA
	}
	return askedHTTPS
}
