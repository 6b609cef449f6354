package ingest

import (
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/decode/cloudtrail"
	"github.com/ebbwatch/ebbwatch/pkg/decode/falco"
	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/decode/resolver"
	"github.com/ebbwatch/ebbwatch/pkg/decode/vpcflow"
	"github.com/ebbwatch/ebbwatch/pkg/decode/zeek"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// lateness is by how much an event of a stream can lie behind the newest one
// that was read before it, and whether that is a promise of an ordered source
// or what is usual for an unordered one (formats.md §9.2).
type lateness struct {
	time    time.Duration
	promise bool
}

// The low watermark of a stream is its newest event time minus:
//
//	source          kind            lateness  promise  because
//	zeek            conn            310 s     yes      Event.Time is the end. Records are written when the connection is
//	                                                   removed: at once after FIN or RST (5 s), after 1 min of silence for UDP
//	                                                   and ICMP, after 5 min for TCP.
//	zeek            dns             15 s      yes      Event.Time is the question. Written with the answer, or when the session
//	                                                   expires (10 s). On a busy port a question without an answer can be later.
//	zeek            tls             60 s      no       Event.Time is the hello. Written once established; a handshake that
//	                                                   fails is written when the connection ends.
//	zeek            http mail       60 s      no       Event.Time is the request. Written after the reply: a long transfer
//	                transfer                           is hours late.
//	zeek            weird health    5 s       yes      written as it happens
//	packet          conn            310 s     yes      the same time-outs as Zeek
//	packet          others          15 s      yes      a question waits 10 s for its answer
//	vpcflow tgwflow flow            15 min    no       delivered 5 to 15 min after the end of a window, in no order
//	resolver        dns             15 min    no       delivered as flow logs are
//	falco (file)    all             1 s       yes      written as it happens, one node a file
//	falco (webhook) all             30 s      no       retries; several nodes
//	cloudtrail      all             15 min    no       delivered after about 5 min, at times 15 and more, in no order
//	others          all             60 s      no
//
// A stream whose files are read to their end also follows the newest event of
// its sensor: Zeek that writes a conn record of 10:05 has written the dns
// records of 10:04. Without that, a quiet stream would hold up all others.
// Wall time is never taken for event time: a sensor that is silent as a whole
// is not complete, it is silent.
//
// Late events still apply (DESIGN §2 law 2); a promise that breaks costs a
// revision, not a detection.
func latenessOf(observer string, k event.Kind, webhook bool) lateness {
	switch observer {
	case zeek.ObserverType, zeek.ObserverExfil:
		switch k {
		case event.KindConn:
			return lateness{310 * time.Second, true}
		case event.KindDNS:
			return lateness{15 * time.Second, true}
		case event.KindWeird, event.KindHealth:
			return lateness{5 * time.Second, true}
		default: // tls, http, mail, transfer
		}
	case packet.Observer:
		if k == event.KindConn {
			return lateness{310 * time.Second, true}
		}
		return lateness{15 * time.Second, true}
	case vpcflow.TypeVPC, vpcflow.TypeGateway, resolver.Type, cloudtrail.Type:
		return lateness{15 * time.Minute, false}
	case falco.Type:
		if !webhook {
			return lateness{time.Second, true}
		}
		return lateness{30 * time.Second, false}
	}
	return lateness{time.Minute, false}
}

// crossSlack is added to the lateness of a stream that follows another stream
// of its sensor: the logs of a process are not flushed at the same moment.
const crossSlack = 5 * time.Second
