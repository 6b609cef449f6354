package event

import (
	"net/netip"

	"github.com/segmentio/encoding/json"
)

// Plain is a flow event as a program without a codec of its own would declare
// it, for a general JSON library to fill: the baseline that `ebbwatch bench`
// measures detection against. It has the fields of the table.
type Plain struct {
	Kind   string `json:"kind"`
	V      int    `json:"v"`
	Time   int64  `json:"time"`
	Start  int64  `json:"start"`
	End    int64  `json:"end"`
	Future bool   `json:"future"`
	Role   string `json:"role"`

	ObserverType  string `json:"observer.type"`
	ObserverName  string `json:"observer.name"`
	ObserverRealm string `json:"observer.realm"`
	OriginName    string `json:"origin.name"`
	OriginLine    uint64 `json:"origin.line"`
	OriginOffset  uint64 `json:"origin.offset"`
	ID            string `json:"event.id"`
	Action        string `json:"event.action"`
	Outcome       string `json:"event.outcome"`

	SourceIP           netip.Addr `json:"source.ip"`
	SourcePort         uint16     `json:"source.port"`
	SourceBytes        uint64     `json:"source.bytes"`
	SourcePackets      uint64     `json:"source.packets"`
	SourceIPBytes      uint64     `json:"source.ip_bytes"`
	SourceNatIP        netip.Addr `json:"source.nat.ip"`
	SourceDomain       string     `json:"source.domain"`
	DestinationIP      netip.Addr `json:"destination.ip"`
	DestinationPort    uint16     `json:"destination.port"`
	DestinationBytes   uint64     `json:"destination.bytes"`
	DestinationPackets uint64     `json:"destination.packets"`
	DestinationIPBytes uint64     `json:"destination.ip_bytes"`
	DestinationNatIP   netip.Addr `json:"destination.nat.ip"`
	DestinationDomain  string     `json:"destination.domain"`
	Transport          string     `json:"network.transport"`
	Protocol           string     `json:"network.protocol"`
	Direction          string     `json:"network.direction"`
	Layer              string     `json:"network.layer"`

	FlowAction    string `json:"flow.action"`
	FlowTCPFlags  uint64 `json:"flow.tcp_flags"`
	FlowPath      uint64 `json:"flow.path"`
	FlowDirection string `json:"flow.direction"`
	FlowInterface string `json:"flow.interface"`
	FlowInstance  string `json:"flow.instance"`
	FlowVPC       string `json:"flow.vpc"`
	FlowSubnet    string `json:"flow.subnet"`
	FlowService   string `json:"flow.service"`
	FlowSampled   bool   `json:"flow.sampled"`

	CloudProvider string `json:"cloud.provider"`
	CloudAccount  string `json:"cloud.account.id"`
	CloudRegion   string `json:"cloud.region"`
}

// DecodePlain decodes a flow event the plain way. Strings alias data, as with
// Decode: the baseline has every advantage that the library offers.
func DecodePlain(data []byte, p *Plain) error {
	*p = Plain{}
	_, err := json.Parse(data, p, json.ZeroCopy)
	return err
}
