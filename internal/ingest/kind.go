package ingest

import (
	"slices"

	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Kind is one of the ingest services: what it reads and where it writes.
type Kind struct {
	Service string // its name: ingest-zeek
	Source  string // the source of its dead letters: zeek
	Stage   string // of the lag: zeek_ingestion
	// Topics are where it writes, one for each plane of its events.
	Topics  []string
	Formats []input.Format
}

var kinds = []Kind{
	{"ingest-zeek", "zeek", "zeek_ingestion", []string{topic.Network}, []input.Format{input.ZeekTSV, input.ZeekJSON, input.ECS}},
	{"ingest-flow", "vpcflow", "flow_ingestion", []string{topic.Network}, []input.Format{input.VPCFlow, input.VPCFlowParquet, input.Resolver, input.ECS}},
	{"ingest-packet", "packet", "packet_ingestion", []string{topic.Network}, []input.Format{input.Pcap, input.PcapNG}},
	{"ingest-falco", "falco", "falco_ingestion", []string{topic.Host}, []input.Format{input.Falco, input.HostLog}},
	{"ingest-cloudtrail", "cloudtrail", "cloudtrail_ingestion", []string{topic.Cloud}, []input.Format{input.CloudTrail}},
	{"ingest-gcp", "gcp", "gcp_ingestion", []string{topic.Network, topic.Cloud}, []input.Format{input.GCPLog}},
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

// TopicOf is where events of a kind are written. Who writes to one topic writes
// all there, a host sensor's word on its own losses too.
func (k *Kind) TopicOf(e event.Kind) string {
	if len(k.Topics) == 1 {
		return k.Topics[0]
	}
	name := topic.Network
	switch e.Plane() {
	case event.PlaneHost:
		name = topic.Host
	case event.PlaneCloud:
		name = topic.Cloud
	case event.PlaneNetwork, event.PlaneNone:
	}
	if !k.Writes(name) {
		return k.Topics[0]
	}
	return name
}

// Writes reports whether events of the service go to a topic.
func (k *Kind) Writes(name string) bool { return slices.Contains(k.Topics, name) }

// Messages reports whether the service reads messages of Pub/Sub: Google Cloud
// hands its logs on as such.
func (k *Kind) Messages() bool { return k.Accepts(input.GCPLog) }

// Accepts reports whether the service reads a format.
func (k *Kind) Accepts(f input.Format) bool { return slices.Contains(k.Formats, f) }

// Objects reports whether the service reads announced objects: AWS writes its
// logs as such.
func (k *Kind) Objects() bool { return k.Accepts(input.VPCFlow) || k.Accepts(input.CloudTrail) }

func (k *Kind) accepts(f input.Format) bool { return k.Accepts(f) }
