package decode

import (
	"slices"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Delay is what the records of a stream need from their event to us, and how
// far their order is off: the one table of it (formats.md §9.2). A live service
// makes watermarks of it (internal/ingest), a hunt the order in which a live
// system would have had the records (pkg/pipeline).
type Delay struct {
	// Delivery is the usual time from the end of an event to its arrival.
	Delivery time.Duration
	// Behind is by how much an event's time can lie behind the newest one that
	// arrived before it. The low watermark of a live stream is its newest event
	// time less this.
	Behind time.Duration
	// Promise says that Behind follows from how an ordered source is written;
	// otherwise it is what is usual, a claim.
	Promise bool
	// Open is by how much an event's time lies before the moment at which its
	// source writes it, at most, when records are merged by that moment, as a
	// hunt does: a question waits for its answer.
	Open time.Duration
}

// delayRow is a row of the table; the first that fits holds.
type delayRow struct {
	types  []string     // of the observer; nil: any
	kinds  []event.Kind // nil: any
	pushed bool         // of what is pushed over HTTP
	delay  Delay
}

// delays is the table. Late events still apply (DESIGN §2 law 2): a promise
// that breaks costs a revision, not a detection.
var delays = []delayRow{
	// Zeek. Event.Time of a connection is its end. Its record is written when
	// the connection is removed: after FIN or RST within 5 s, after 1 min of
	// silence for UDP and ICMP, after 5 min for TCP. A hunt merges by the end,
	// where nothing is behind.
	{types: zeeks, kinds: []event.Kind{event.KindConn}, delay: Delay{Behind: 310 * time.Second, Promise: true}},
	// Event.Time is the question; written with the answer, or when the session
	// expires (10 s). On a busy port a question without an answer can be later.
	{types: zeeks, kinds: []event.Kind{event.KindDNS}, delay: Delay{Behind: 15 * time.Second, Promise: true, Open: 15 * time.Second}},
	// Written as it happens.
	{types: zeeks, kinds: []event.Kind{event.KindWeird, event.KindHealth}, delay: Delay{Behind: 5 * time.Second, Promise: true}},
	// tls: written once established, but a handshake that fails when the
	// connection ends. http, mail, transfer: after the reply; a long transfer
	// is hours behind.
	{types: zeeks, delay: Delay{Behind: time.Minute}},

	// Packets: the time-outs are Zeek's; an open connection is told about each
	// minute.
	{types: []string{"packet"}, kinds: []event.Kind{event.KindConn}, delay: Delay{Behind: 310 * time.Second, Promise: true, Open: 65 * time.Second}},
	{types: []string{"packet"}, kinds: []event.Kind{event.KindDNS}, delay: Delay{Behind: 15 * time.Second, Promise: true, Open: 15 * time.Second}},
	{types: []string{"packet"}, delay: Delay{Behind: 15 * time.Second, Promise: true}},

	// VPC and transit gateway: 10 to 15 min to S3, 5 to 10 to CloudWatch, in no
	// order. Resolver query logs take the same way.
	{types: []string{"vpcflow", "tgwflow", "resolver"}, kinds: []event.Kind{event.KindDNS}, delay: Delay{Delivery: 10 * time.Minute, Behind: 15 * time.Minute, Open: 15 * time.Second}},
	{types: []string{"vpcflow", "tgwflow", "resolver"}, delay: Delay{Delivery: 10 * time.Minute, Behind: 15 * time.Minute}},
	// GCP flows: 10 s to 6 min, with a tail without bound.
	{types: []string{"gcpflow"}, delay: Delay{Delivery: time.Minute, Behind: 6 * time.Minute}},

	// Falco: below a second live, in order on each node; over HTTP several nodes
	// and retries.
	{types: []string{"falco"}, pushed: true, delay: Delay{Behind: 30 * time.Second}},
	{types: []string{"falco"}, delay: Delay{Behind: time.Second, Promise: true}},

	// CloudTrail: about 5 min to S3, at times 15 and more.
	{types: []string{"cloudtrail"}, delay: Delay{Delivery: 5 * time.Minute, Behind: 15 * time.Minute}},
	// GCP audit: seconds to minutes. Findings: minutes to hours.
	{types: []string{"gcpaudit"}, delay: Delay{Delivery: time.Minute, Behind: 5 * time.Minute}},
	{types: []string{"scc", "gcpscc"}, delay: Delay{Delivery: 10 * time.Minute, Behind: time.Hour}},

	// What is not known.
	{kinds: []event.Kind{event.KindDNS}, delay: Delay{Behind: time.Minute, Open: 15 * time.Second}},
	{delay: Delay{Behind: time.Minute}},
}

var zeeks = []string{"zeek", "zeek-exfil"}

// DelayOf is the delay of the stream of a kind of an observer's type; pushed
// says that its records are pushed over HTTP.
func DelayOf(observer string, k event.Kind, pushed bool) Delay {
	for i := range delays {
		if r := &delays[i]; (!r.pushed || pushed) && holds(r.types, observer) && holds(r.kinds, k) {
			return r.delay
		}
	}
	return Delay{}
}

// holds is slices.Contains, and true of an empty list. A hunt asks for every
// event.
func holds[T comparable](list []T, x T) bool {
	return len(list) == 0 || slices.Contains(list, x)
}
