package input

// Format is what a file holds.
type Format uint8

// The formats.
const (
	Unknown Format = iota
	Pcap
	PcapNG
	ZeekTSV
	ZeekJSON
	VPCFlow        // text of VPC and transit gateway flow logs
	VPCFlowParquet // the same as Parquet
	CloudTrail
	Falco
	Resolver // query logs of the Route 53 resolver
	GCPLog   // log entries and findings of Google Cloud
	ECS      // documents that a shipper has normalised
	HostLog  // kernel lines in syslog or the journal, records of auditd
)

var formatNames = [...]string{
	Unknown: "unknown", Pcap: "pcap", PcapNG: "pcapng", ZeekTSV: "zeek-tsv", ZeekJSON: "zeek-json", VPCFlow: "vpcflow",
	VPCFlowParquet: "vpcflow-parquet", Resolver: "resolver", CloudTrail: "cloudtrail", Falco: "falco", GCPLog: "gcp-log", ECS: "ecs", HostLog: "hostlog",
}

// String returns the name of the format.
func (f Format) String() string {
	if int(f) >= len(formatNames) {
		return formatNames[Unknown]
	}
	return formatNames[f]
}

// Readable reports whether this version has a decoder for the format.
func (f Format) Readable() bool { return f != Unknown }

// Lines reports whether the format can come record by record, as lines and
// messages do. Lines of a host's log make an event together: they need a file.
func (f Format) Lines() bool {
	switch f {
	case Unknown, Pcap, PcapNG, VPCFlowParquet, HostLog:
		return false
	default:
		return true
	}
}

// hints are the names that a configuration may give for files whose content
// does not tell what they are.
var hints = map[string]Format{
	"zeek": ZeekTSV, "vpcflow": VPCFlow, "cloudtrail": CloudTrail, "falco": Falco, "pcap": Pcap, "resolver": Resolver, "gcp": GCPLog, "ecs": ECS, "hostlog": HostLog,
}

// Hint returns the format that a configuration names, and whether it is one.
func Hint(name string) (Format, bool) {
	f, ok := hints[name]
	return f, ok
}

// Compression is how a file is compressed as a whole.
type Compression uint8

// The compressions.
const (
	Plain Compression = iota
	Gzip
	Zstd
)
