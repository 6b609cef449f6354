package object

import (
	"encoding/binary"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// class is a classification that counts, the most sensitive last.
type class uint8

const (
	unclassified class = iota
	confidential
	restricted
	classes
)

func (c class) String() string {
	return string([...]site.Class{site.Unclassified, site.Confidential, site.Restricted}[c])
}

// read is one call that took data out of a bucket. Its strings alias the event.
type read struct {
	at         int64
	bucket     string
	object     uint64 // hash of bucket and key
	class      class
	listed     bool // the principal may read any number of the bucket's objects
	bytes      uint64
	sized      bool // the log gives the bytes
	external   bool
	presigned  bool
	gcs        bool
	source     uint64 // hash of where the call came from
	session    string
	sessionSum uint64
}

// measure reads an event, and reports false where it took no data that counts.
func measure(e *event.Event, s *site.Site, r *read) bool {
	if e.Kind != event.KindObject || e.Outcome == "failure" || e.Cloud.ErrorCode != "" {
		return false
	}
	bucket, key := e.Object.Bucket, e.Object.Key
	switch e.Action {
	case "GetObject", "GetObjectTorrent", "SelectObjectContent", "RestoreObject":
		r.bytes, r.sized = e.Object.BytesOut.Get()
	case "CopyObject", "UploadPartCopy":
		// What is read is the source. Where a long request hides it, the copy
		// itself stands for it.
		if e.Object.CopySource != "" {
			bucket, key = cutSource(e.Object.CopySource)
		}
	case "storage.objects.get":
		r.gcs = true
	default:
		return false
	}
	if e.Action == "RestoreObject" {
		r.bytes, r.sized = 0, false // the answer is not the object
	}
	declared, listed := s.ClassifyObject(bucket, key, e.User.ID, e.Time)
	switch declared {
	case site.Public, site.InternalUse:
		return false
	case site.Restricted:
		r.class = restricted
	case site.Confidential:
		r.class = confidential
	case site.Unclassified:
	}
	r.at, r.bucket, r.listed = e.Time, bucket, listed
	r.object = hash(bucket, key)
	// A VPC endpoint shows addresses of its own network.
	r.external = e.Source.IP.IsValid() && e.Cloud.EndpointID == "" && !s.Internal(e.Source.IP)
	r.presigned = e.Object.Presigned
	if e.Source.IP.IsValid() {
		raw := e.Source.IP.As16()
		r.source = xxhash.Sum64(raw[:])
	} else {
		r.source = hash("", e.Source.Address)
	}
	r.session, r.sessionSum = e.User.Session, xxhash.Sum64String(e.User.Session)
	return true
}

// cutSource takes the source of a copy apart: BUCKET/KEY, or the arn of an
// access point followed by /object/KEY.
func cutSource(source string) (bucket, key string) {
	if strings.HasPrefix(source, "arn:") {
		if point, key, ok := strings.Cut(source, "/object/"); ok {
			return point, key
		}
	}
	bucket, key, _ = strings.Cut(source, "/")
	return bucket, key
}

// hash keeps ("ab", "c") and ("a", "bc") apart.
func hash(bucket, key string) uint64 {
	var sums [16]byte
	binary.LittleEndian.PutUint64(sums[:8], xxhash.Sum64String(bucket))
	binary.LittleEndian.PutUint64(sums[8:], xxhash.Sum64String(key))
	return xxhash.Sum64(sums[:])
}

// sourceName is where a call came from, for a reader.
func sourceName(e *event.Event) string {
	switch {
	case e.Source.IP.IsValid():
		return e.Source.IP.Unmap().String()
	case e.Source.Address != "":
		return clip(e.Source.Address)
	}
	return "unknown"
}

// maxName bounds the names that are kept, in bytes.
const maxName = 128

// clip copies a name, shortened to its bound.
func clip(name string) string {
	if len(name) > maxName {
		return strings.ToValidUTF8(name[:maxName], "")
	}
	return strings.Clone(name)
}

// Bounds of the tallies of a pane.
const (
	maxBuckets  = 16
	maxOutside  = 8
	maxInside   = 8
	maxSessions = 8
)

// amount is a number of reads and their bytes.
type amount struct{ reads, bytes uint64 }

func (a *amount) add(b amount) { a.reads, a.bytes = a.reads+b.reads, a.bytes+b.bytes }

// totals are sums over reads.
type totals struct {
	by                   [classes]amount
	external, presigned  amount
	unsized, listed, gcs uint64 // reads
	first, last          int64
}

func (t *totals) reads() (n uint64) {
	for i := range t.by {
		n += t.by[i].reads
	}
	return n
}

func (t *totals) bytes() (n uint64) {
	for i := range t.by {
		n += t.by[i].bytes
	}
	return n
}

// top is the most sensitive class that was read.
func (t *totals) top() class {
	for c := restricted; c > unclassified; c-- {
		if t.by[c].reads > 0 {
			return c
		}
	}
	return unclassified
}

func (t *totals) add(o *totals) {
	if o.reads() == 0 {
		return
	}
	if t.reads() == 0 {
		t.first, t.last = o.first, o.last
	}
	t.first, t.last = min(t.first, o.first), max(t.last, o.last)
	for i := range t.by {
		t.by[i].add(o.by[i])
	}
	t.external.add(o.external)
	t.presigned.add(o.presigned)
	t.unsized += o.unsized
	t.listed += o.listed
	t.gcs += o.gcs
}

// totals of the read itself.
func (r *read) totals() (t totals) {
	one := amount{1, r.bytes}
	t.by[r.class] = one
	t.first, t.last = r.at, r.at
	if r.external {
		t.external = one
	}
	if r.presigned {
		t.presigned = one
	}
	if !r.sized {
		t.unsized = 1
	}
	if r.listed {
		t.listed = 1
	}
	if r.gcs {
		t.gcs = 1
	}
	return t
}

func (t *totals) append(dst []byte) []byte {
	for _, a := range append(t.by[:len(t.by):len(t.by)], t.external, t.presigned) {
		dst = operator.AppendUint(operator.AppendUint(dst, a.reads), a.bytes)
	}
	for _, n := range []uint64{t.unsized, t.listed, t.gcs} {
		dst = operator.AppendUint(dst, n)
	}
	return operator.AppendInt(operator.AppendInt(dst, t.first), t.last)
}

func (t *totals) load(r *operator.Reader) {
	for _, a := range []*amount{&t.by[0], &t.by[1], &t.by[2], &t.external, &t.presigned} {
		a.reads, a.bytes = r.Uint(), r.Uint()
	}
	t.unsized, t.listed, t.gcs = r.Uint(), r.Uint(), r.Uint()
	t.first, t.last = r.Int(), r.Int()
}

// cell is what one observer saw of a principal in one pane.
type cell struct {
	totals
	keys distinct
	// names are left out of the sums that decide.
	buckets, outside, inside, sessions tally
}

// add takes a read; e is its event.
func (c *cell) add(r *read, t *totals, e *event.Event) {
	c.totals.add(t)
	if !r.listed {
		c.keys.add(r.object)
	}
	c.buckets.add(xxhash.Sum64String(r.bucket), 1, r.bytes, maxBuckets, func() string { return clip(r.bucket) })
	if r.external {
		c.outside.add(r.source, 1, r.bytes, maxOutside, func() string { return sourceName(e) })
	} else {
		c.inside.add(r.source, 1, r.bytes, maxInside, func() string { return sourceName(e) })
	}
	if r.session != "" {
		c.sessions.add(r.sessionSum, 1, r.bytes, maxSessions, func() string { return clip(r.session) })
	}
}

// mergeNames adds the names of another cell, with the bounds of one pane.
func (c *cell) mergeNames(o *cell) {
	c.buckets.merge(&o.buckets, maxBuckets)
	c.outside.merge(&o.outside, maxOutside)
	c.inside.merge(&o.inside, maxInside)
	c.sessions.merge(&o.sessions, maxSessions)
}

func (c *cell) append(dst []byte) []byte {
	dst = c.keys.append(c.totals.append(dst))
	for _, t := range []*tally{&c.buckets, &c.outside, &c.inside, &c.sessions} {
		dst = t.append(dst)
	}
	return dst
}

func (c *cell) load(r *operator.Reader) {
	c.totals.load(r)
	c.keys.load(r)
	for _, t := range []*tally{&c.buckets, &c.outside, &c.inside, &c.sessions} {
		t.load(r)
	}
}

func (c *cell) sound() bool {
	return len(c.buckets.list) > 0 && c.keys.sound() && c.buckets.sound(maxBuckets) && c.outside.sound(maxOutside) &&
		c.inside.sound(maxInside) && c.sessions.sound(maxSessions)
}
