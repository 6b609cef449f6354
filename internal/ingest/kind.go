package ingest

import (
	"slices"

	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/internal/topic"
)

// Kind is one of the ingest services: what it reads and where it writes.
type Kind struct {
	Service string // its name: ingest-zeek
	Source  string // the source of its dead letters: zeek
	Stage   string // of the lag: zeek_ingestion
	Topic   string
	Formats []input.Format
}

var kinds = []Kind{
	{"ingest-zeek", "zeek", "zeek_ingestion", topic.Network, []input.Format{input.ZeekTSV, input.ZeekJSON, input.ECS}},
	{"ingest-flow", "vpcflow", "flow_ingestion", topic.Network, []input.Format{input.VPCFlow, input.VPCFlowParquet, input.Resolver, input.ECS}},
	{"ingest-packet", "packet", "packet_ingestion", topic.Network, []input.Format{input.Pcap, input.PcapNG}},
	{"ingest-falco", "falco", "falco_ingestion", topic.Host, []input.Format{input.Falco}},
	{"ingest-cloudtrail", "cloudtrail", "cloudtrail_ingestion", topic.Cloud, []input.Format{input.CloudTrail}},
}

// Kinds lists the services.
func Kinds() []Kind { return slices.Clone(kinds) }

// KindOf returns the kind of a service's name.
func KindOf(service string) (Kind, bool) {
	i := slices.IndexFunc(kinds, func(k Kind) bool { return k.Service == service })
	if i < 0 {
		return Kind{}, false
	}
	return kinds[i], true
}

// Accepts reports whether the service reads a format.
func (k *Kind) Accepts(f input.Format) bool { return slices.Contains(k.Formats, f) }

// Objects reports whether the service reads announced objects: AWS writes its
// logs as such.
func (k *Kind) Objects() bool { return k.Accepts(input.VPCFlow) || k.Accepts(input.CloudTrail) }

func (k *Kind) accepts(f input.Format) bool { return k.Accepts(f) }
