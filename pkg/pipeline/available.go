package pipeline

import "github.com/ebbwatch/ebbwatch/pkg/event"

const second = int64(1_000_000)

// delays are what a source usually needs from the end of an event to its
// delivery (formats.md §9.2), in microseconds, by Observer.Type.
var delays = map[string]int64{
	"vpcflow":    600 * second,
	"tgwflow":    600 * second,
	"resolver":   600 * second,
	"gcpflow":    60 * second,
	"cloudtrail": 300 * second,
	"gcpaudit":   60 * second,
}

// Available is when a live system would have had the record, in microseconds:
// a Zeek connection at its end, a DNS answer when it came, a flow record after
// its delivery.
func Available(e *event.Event) int64 {
	at := max(e.Time, e.End)
	if e.Kind == event.KindDNS {
		at += int64(e.DNS.RTT.Or(0))
	}
	return at + delays[e.Observer.Type]
}

// dnsLateness is how long after its question a DNS record may be written: an
// unanswered one waits for its time-out.
const dnsLateness = 15 * second

// packetLateness is how long an open connection may go unreported in a packet
// capture: it is told about each minute.
const packetLateness = 65 * second

// Low is the watermark of a stream whose records have been taken up to the
// given time of availability: no event of the kind with an earlier Time
// follows, as far as the source keeps to its usual delay.
func Low(observerType string, k event.Kind, available int64) int64 {
	low := available - delays[observerType]
	switch {
	case k == event.KindDNS:
		low -= dnsLateness
	case k == event.KindConn && observerType == "packet":
		low -= packetLateness
	}
	return low
}
