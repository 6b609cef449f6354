package dns

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/sketch"
)

const (
	second = int64(1_000_000)

	// contactWithin is how long after an answer a host contacts what it asked
	// for (detections.md §3).
	contactWithin = 10 * second
	// maxAnswer is up to when an answer is waited for.
	maxAnswer = 10 * second
	// contactWait is how long after that a record of the contact may end and
	// still count. A record of a connection comes at its end; TLS and HTTP
	// show longer ones at their beginning. It is also what the sensor's own
	// time-outs take until it writes a short one.
	contactWait = 120 * second
	// settleAfter is when after a question it is known whether its addresses
	// were contacted, once the streams that show contacts are complete.
	settleAfter = contactWithin + maxAnswer + contactWait
	// wakeEvery groups the look-ups that are settled at once.
	wakeEvery = 10 * second
)

// Bounds of a view.
const (
	maxLookups      = 1024
	maxContacts     = 2048
	maxContactsIdle = 64 // of a client that asks nothing
	maxAddresses    = 8  // of one answer; a look-up with more is not followed
	companyNames    = 4  // of a domain, its first
)

// contactKinds are the kinds of event that show a contact.
var contactKinds = [...]event.Kind{event.KindConn, event.KindFlow, event.KindTLS, event.KindHTTP, event.KindICMP}

// lookup is an answered look-up of addresses until it is known whether one of
// them was contacted. The addresses are in view.answers.
type lookup struct {
	t       int64 // question
	name    uint64
	domain  string
	wait    uint32 // from the question to the last moment for a contact to begin, microseconds
	n       uint8  // addresses
	company bool   // counts for the client as a whole
	counted bool   // has been counted there
	hit     bool   // and as contacted
}

// contact is one record of the client's traffic to an address or name.
type contact struct {
	hash       uint32
	start, end int64
}

func hashAddr(a netip.Addr) uint32 {
	b := a.As16()
	return uint32(xxhash.Sum64(b[:]))
}

func hashName(s string) uint32 { return uint32(sketch.Key(xxhash.Sum64String(s))) }

// await notes a look-up whose addresses may be contacted. Answers in 127/8,
// and addresses that are none, say something else than where to go.
func (v *view) await(q *question, h *detect.Hour[domain], company bool, e *event.Event) bool {
	if len(e.DNS.Addresses) == 0 || len(e.DNS.Addresses) > maxAddresses {
		return false
	}
	l := lookup{
		t: e.Time, wait: uint32(min(int64(e.DNS.RTT.Or(0)), maxAnswer) + contactWithin),
		name: nameKey(q.hash), domain: h.Subject, company: company,
	}
	for _, a := range e.DNS.Addresses {
		if a = a.Unmap(); a.IsLoopback() || a.IsUnspecified() {
			continue
		}
		v.answers = append(v.answers, hashAddr(a))
		l.n++
	}
	if l.n == 0 {
		return false
	}
	dropped := false
	if len(v.lookups) >= maxLookups {
		v.dropLookups(len(v.lookups) / 4)
		dropped = true
	}
	if n := len(v.lookups); n == cap(v.lookups) {
		// Many clients have some that wait for long: little room to grow.
		v.lookups = append(make([]lookup, 0, n+max(4, n/2)), v.lookups...)
	}
	v.lookups = append(v.lookups, l)
	v.wake = min(v.wake, wakeAt(l.t))
	return dropped
}

// dropLookups forgets the first n.
func (v *view) dropLookups(n int) {
	at := 0
	for i := range v.lookups[:n] {
		at += int(v.lookups[i].n)
	}
	v.lookups, v.answers = slices.Delete(v.lookups, 0, n), slices.Delete(v.answers, 0, at)
}

// forget drops look-ups whose windows are over at a time and which nothing has
// decided: their contacts are not shown.
func (v *view) forget(low int64) {
	n := 0
	for low != detect.Never && n < len(v.lookups) && v.lookups[n].t+detect.HourSpan+settleAfter <= low {
		n++
	}
	if n > 0 {
		v.dropLookups(n)
	}
}

func wakeAt(t int64) int64 {
	at := t + settleAfter
	return at + wakeEvery - 1 - (at-1)%wakeEvery
}

// contacted notes traffic of the client.
func (v *view) contacted(hash uint32, start, end int64) {
	limit := maxContacts
	if v.hours.Len() == 0 {
		limit = maxContactsIdle
	}
	if len(v.contacts) >= limit {
		// Of what began before the end of what is dropped now nothing can be
		// said any more.
		n := len(v.contacts) / 4
		for _, c := range v.contacts[:n] {
			v.blind = max(v.blind, c.end)
		}
		v.contacts = slices.Delete(v.contacts, 0, n)
	}
	v.contacts = append(v.contacts, contact{hash, start, end})
}

// settle decides the look-ups whose time has passed and returns the windows
// that it changed. low is how far the streams that show contacts are complete.
func (v *view) settle(low int64) (changed []*detect.Hour[domain]) {
	if v.wake > low && v.hours.Next() > low {
		return nil
	}
	slices.SortFunc(v.contacts, func(a, b contact) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end))
	})
	keep, answers, at := v.lookups[:0], v.answers[:0], 0
	v.wake = detect.Never
	oldest := low
	for i := range v.lookups {
		l := v.lookups[i]
		addresses := v.answers[at : at+int(l.n)]
		at += int(l.n)
		if l.t+settleAfter > low {
			keep, answers = append(keep, l), append(answers, addresses...)
			v.wake = min(v.wake, wakeAt(l.t))
			oldest = min(oldest, l.t)
			continue
		}
		if h := v.decide(&l, addresses); h != nil && h.Value.mark() {
			changed = append(changed, h)
		}
		if low == detect.Never {
			// The sources have closed, and may be followed by others that show
			// the contact yet: what is decided now can be decided again.
			keep, answers = append(keep, l), append(answers, addresses...)
			v.wake = min(v.wake, wakeAt(l.t))
			oldest = min(oldest, l.t)
		}
	}
	clear(v.lookups[len(keep):])
	v.lookups, v.answers = keep, answers
	if low != detect.Never {
		v.contacts = slices.DeleteFunc(v.contacts, func(c contact) bool { return c.end < oldest-settleAfter })
	}
	return changed
}

// decide says of one look-up whether an address of it was contacted. It
// returns the window that this changed, nil if none.
func (v *view) decide(l *lookup, addresses []uint32) *detect.Hour[domain] {
	hit := v.reached(l, addresses)
	if !hit && l.t <= v.blind {
		return nil
	}
	if l.company {
		p := v.pane(l.t)
		if !l.counted {
			p.looked++
			l.counted = true
		}
		if hit && !l.hit {
			p.reached++
			l.hit = true
		}
	}
	h := v.hours.Find(l.domain, l.t)
	if h == nil {
		return nil
	}
	add := resolved
	if hit {
		add |= contacted
	}
	if w := h.Value.full; w == nil && !h.Value.seed.decide(l.name, add) || w != nil && !w.decide(l.name, add) {
		return nil
	}
	return h
}

// decide adds flags to a name, and reports whether that changed anything.
func (w *window) decide(name uint64, add flags) bool {
	n := w.names.Find(name)
	if n == nil || n.flags&add == add {
		return false
	}
	w.tally.count(n, ^uint32(0))
	n.flags |= add
	w.tally.count(n, 1)
	return true
}

// reached reports whether the contacts, sorted, hold one of the look-up's
// addresses or its name. What ended after the look-up's time is left out even
// if it is known already: whether it is known depends on which stream is ahead.
func (v *view) reached(l *lookup, addresses []uint32) bool {
	until := l.t + int64(l.wait)
	for i := range len(addresses) + 1 {
		hash := uint32(l.name)
		if i < len(addresses) {
			hash = addresses[i]
		}
		at, _ := slices.BinarySearchFunc(v.contacts, hash, func(c contact, h uint32) int { return cmp.Compare(c.hash, h) })
		for ; at < len(v.contacts) && v.contacts[at].hash == hash && v.contacts[at].start <= until; at++ {
			if c := v.contacts[at]; c.end >= l.t && c.end <= l.t+settleAfter {
				return true
			}
		}
	}
	return false
}
