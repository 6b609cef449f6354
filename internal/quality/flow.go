package quality

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/decode/vpcflow"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// flowFormat is the format of the flow logs that are made of connections.
const flowFormat = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status flow-direction"

// flowWindow is the aggregation interval, in seconds.
const flowWindow = 60

// protocolNumbers are those of the transports that the lab has.
var protocolNumbers = map[string]int{"tcp": 6, "udp": 17, "icmp": 1, "ipv6-icmp": 58}

// flowLog writes the connections of a recording as VPC flow log records, one a
// minute and direction, and decodes them: what such a log would have told. They
// come ten minutes late (pipeline.Available).
func flowLog(rec Recording) (Recording, error) {
	type line struct {
		end  int64
		text string
	}
	var lines []line
	var e event.Event
	for i := range rec {
		if rec[i].Kind != event.KindConn {
			continue
		}
		if err := event.Decode(rec[i].Value, &e); err != nil {
			return nil, err
		}
		proto, ok := protocolNumbers[e.Network.Transport]
		if e.Conn.Open || !ok {
			continue
		}
		begin, end := begins(&e)/second, e.Time/second
		windows := max(1, (end-begin+flowWindow-1)/flowWindow)
		for w := range windows {
			from, to := begin+w*flowWindow, min(end, begin+(w+1)*flowWindow)
			for _, d := range [...]struct {
				from, to  *event.Endpoint
				direction string
			}{{&e.Source, &e.Destination, "egress"}, {&e.Destination, &e.Source, "ingress"}} {
				packets := part(d.from.Packets.Or(0), w, windows)
				if packets == 0 {
					continue
				}
				size := d.from.IPBytes.Or(d.from.Bytes.Or(0) + 40*d.from.Packets.Or(0))
				sp, dp := d.from.Port.Or(0), d.to.Port.Or(0)
				if proto == 1 || proto == 58 {
					sp, dp = 0, 0
				}
				lines = append(lines, line{to, fmt.Sprintf("5 123456789012 eni-0a1b2c3d %s %s %d %d %d %d %d %d %d ACCEPT OK %s",
					d.from.IP, d.to.IP, sp, dp, proto, packets, part(size, w, windows), from, to, d.direction)})
			}
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Or(cmp.Compare(a.end, b.end), strings.Compare(a.text, b.text)) })
	d, err := vpcflow.NewFormat(flowFormat)
	if err != nil {
		return nil, err
	}
	s := &sink{name: "vpc"}
	for i, l := range lines {
		d.Line([]byte(l.text), event.Origin{Name: "vpcflow.log", Line: event.N(uint64(i + 1))}, s)
	}
	return s.result()
}

// part is what falls into window w of n when a total is spread evenly.
func part(total uint64, w, n int64) uint64 {
	return total*uint64(w+1)/uint64(n) - total*uint64(w)/uint64(n)
}
