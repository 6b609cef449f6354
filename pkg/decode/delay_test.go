package decode_test

import (
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/cloudtrail"
	"github.com/ebbwatch/ebbwatch/pkg/decode/falco"
	"github.com/ebbwatch/ebbwatch/pkg/decode/gcp"
	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/decode/resolver"
	"github.com/ebbwatch/ebbwatch/pkg/decode/vpcflow"
	"github.com/ebbwatch/ebbwatch/pkg/decode/zeek"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// The table of formats.md §9.2, row by row, under the names that the decoders
// give to their sources.
func TestDelays(t *testing.T) {
	t.Parallel()
	const s, m = time.Second, time.Minute
	for _, tc := range []struct {
		observer string
		kind     event.Kind
		pushed   bool
		want     decode.Delay
	}{
		{zeek.ObserverType, event.KindConn, false, decode.Delay{Behind: 310 * s, Promise: true}},
		{zeek.ObserverType, event.KindDNS, false, decode.Delay{Behind: 15 * s, Promise: true, Open: 15 * s}},
		{zeek.ObserverExfil, event.KindDNS, false, decode.Delay{Behind: 15 * s, Promise: true, Open: 15 * s}},
		{zeek.ObserverType, event.KindTLS, false, decode.Delay{Behind: m}},
		{zeek.ObserverType, event.KindHTTP, false, decode.Delay{Behind: m}},
		{zeek.ObserverType, event.KindTransfer, false, decode.Delay{Behind: m}},
		{zeek.ObserverType, event.KindWeird, false, decode.Delay{Behind: 5 * s, Promise: true}},
		{zeek.ObserverType, event.KindHealth, false, decode.Delay{Behind: 5 * s, Promise: true}},
		{packet.Observer, event.KindConn, false, decode.Delay{Behind: 310 * s, Promise: true, Open: 65 * s}},
		{packet.Observer, event.KindDNS, false, decode.Delay{Behind: 15 * s, Promise: true, Open: 15 * s}},
		{packet.Observer, event.KindICMP, false, decode.Delay{Behind: 15 * s, Promise: true}},
		{vpcflow.TypeVPC, event.KindFlow, false, decode.Delay{Delivery: 10 * m, Behind: 15 * m}},
		{vpcflow.TypeGateway, event.KindFlow, false, decode.Delay{Delivery: 10 * m, Behind: 15 * m}},
		{resolver.Type, event.KindDNS, false, decode.Delay{Delivery: 10 * m, Behind: 15 * m, Open: 15 * s}},
		{gcp.TypeFlow, event.KindFlow, false, decode.Delay{Delivery: m, Behind: 6 * m}},
		{falco.Type, event.KindFile, false, decode.Delay{Behind: s, Promise: true}},
		{falco.Type, event.KindFile, true, decode.Delay{Behind: 30 * s}},
		{cloudtrail.Type, event.KindObject, false, decode.Delay{Delivery: 5 * m, Behind: 15 * m}},
		{gcp.TypeAudit, event.KindObject, false, decode.Delay{Delivery: m, Behind: 5 * m}},
		{gcp.TypeFinding, event.KindFinding, false, decode.Delay{Delivery: 10 * m, Behind: time.Hour}},
		{"ecs-suricata", event.KindConn, false, decode.Delay{Behind: m}},
		{"ecs-suricata", event.KindDNS, false, decode.Delay{Behind: m, Open: 15 * s}},
	} {
		if got := decode.DelayOf(tc.observer, tc.kind, tc.pushed); got != tc.want {
			t.Errorf("%s %s pushed %v: %+v, want %+v", tc.observer, tc.kind, tc.pushed, got, tc.want)
		}
	}
}
