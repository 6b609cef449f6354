package pipeline

import (
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

const second = int64(1_000_000)

// Available is when a live system would have had the record, in microseconds:
// a Zeek connection at its end, a DNS answer when it came, a flow record after
// its delivery (decode.DelayOf).
func Available(e *event.Event) int64 {
	at := max(e.Time, e.End)
	if e.Kind == event.KindDNS {
		at += int64(e.DNS.RTT.Or(0))
	}
	return at + decode.DelayOf(e.Observer.Type, e.Kind, false).Delivery.Microseconds()
}

// Low is the watermark of a stream whose records have been taken up to the
// given time of availability: no event of the kind with an earlier Time
// follows, as far as the source keeps to its usual delay.
func Low(observerType string, k event.Kind, available int64) int64 {
	d := decode.DelayOf(observerType, k, false)
	return available - (d.Delivery + d.Open).Microseconds()
}
