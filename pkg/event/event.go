package event

import "net/netip"

// Version is the version of the event format, the "v" of every record.
const Version = 1

// Kind names what an event tells. Its text is the "kind" of the JSON form
// and of the Kafka header.
type Kind uint8

// The kinds, grouped by plane.
const (
	KindUnknown Kind = iota

	KindFlow     // network: one flow-log record, one direction, one window
	KindConn     // network: one connection with both directions
	KindDNS      // network: one DNS question with what is known of its answer
	KindICMP     // network: one ICMP message with a hash of its content
	KindTLS      // network: one TLS or QUIC client hello
	KindHTTP     // network: one HTTP request with its reply
	KindMail     // network: one mail transaction
	KindTransfer // network: one file seen inside a connection
	KindWeird    // network: one protocol oddity that the sensor reported
	KindHealth   // network: the sensor's own losses; a host sensor's are written to its own topic

	KindProcess // host: a process did something
	KindFile    // host: a process opened or wrote a file
	KindDevice  // host: a device was attached

	KindObject     // cloud: access to a stored object
	KindShare      // cloud: a resource was given to someone
	KindManagement // cloud: any other management call
	KindFinding    // cloud: a finding of the provider's own scanners

	KindMark // every plane: how far the sources of a partition have come

	kindCount
)

var kindNames = [kindCount]string{
	"unknown", "flow", "conn", "dns", "icmp", "tls", "http", "mail", "transfer", "weird", "health",
	"process", "file", "device", "object", "share", "management", "finding", "mark",
}

// String returns the kind's name on the wire.
func (k Kind) String() string {
	if k >= kindCount {
		return "unknown"
	}
	return kindNames[k]
}

// ParseKind returns the kind of a name on the wire, KindUnknown for any other.
func ParseKind(name string) Kind {
	for k := KindFlow; k < kindCount; k++ {
		if kindNames[k] == name {
			return k
		}
	}
	return KindUnknown
}

// Plane is one of the planes of observation; each has a topic.
type Plane uint8

// The planes.
const (
	PlaneNone Plane = iota
	PlaneNetwork
	PlaneHost
	PlaneCloud
)

// Plane returns the plane that a kind belongs to; marks belong to none.
func (k Kind) Plane() Plane {
	switch {
	case k >= KindFlow && k <= KindHealth:
		return PlaneNetwork
	case k >= KindProcess && k <= KindDevice:
		return PlaneHost
	case k >= KindObject && k <= KindFinding:
		return PlaneCloud
	}
	return PlaneNone
}

// Event is one normalised event of any kind but a mark. Which fields a kind
// may carry is said by the table in fields.go. It is large and meant to be
// reused: pass pointers, and Reset between records.
type Event struct {
	Kind Kind
	// Time is the event time that windows use (formats.md §9.1), in
	// microseconds: the end of a flow or connection, the time of anything else.
	Time  int64
	Start int64 // first packet, microseconds; 0 when absent
	End   int64 // last packet, microseconds; 0 when absent
	// Future is set by ingest on an event more than 10 minutes ahead of its
	// arrival. Such an event moves no watermark.
	Future bool
	// Role is "" or RoleMirror.
	Role string

	Observer Observer
	Origin   Origin

	ID     string // identity of the record at its source, for de-duplication
	Action string // what happened, in the source's own word
	// Outcome is "", "success" or "failure".
	Outcome string

	Source, Destination Endpoint
	Network             Network
	Flow                Flow
	Conn                Conn
	DNS                 DNS
	ICMP                ICMP
	TLS                 TLS
	HTTP                HTTP
	Mail                Mail
	File                File
	Health              Health
	Host                Host
	Process             Process
	Rule                Rule
	Device              Device
	User                User
	Cloud               Cloud
	Object              Object
	Share               Share
	Finding             Finding
}

// RoleMirror marks the copy of an internal transfer that is keyed by the peer
// which did not start it.
const RoleMirror = "mirror"

// Reset makes the event empty again, for reuse. Slices keep their capacity.
func (e *Event) Reset() {
	ips, tags, targets := e.DNS.Addresses[:0], e.Rule.Tags[:0], e.Share.Targets[:0]
	anc, rcpt := e.Process.Ancestors[:0], e.Mail.To[:0]
	*e = Event{}
	e.DNS.Addresses, e.Rule.Tags, e.Share.Targets = ips, tags, targets
	e.Process.Ancestors, e.Mail.To = anc, rcpt
}

// Observer is who saw it.
type Observer struct {
	Type  string // source kind: zeek, packet, vpcflow, tgwflow, gcpflow, falco, cloudtrail, …
	Name  string // the sensor or source instance, as configured
	Realm string // address space of the addresses in the event
}

// Origin is where the raw record stands, so that evidence can lead back to it.
type Origin struct {
	Name   string // file, object or topic
	Line   Count  // 1-based line or record number in it
	Offset Count  // byte offset of the record in the (decompressed) file, or the record offset in a topic
}

// Endpoint is one side of a network event.
type Endpoint struct {
	IP   netip.Addr
	Port Count
	// Bytes and Packets are what this side sent, on Network.Layer.
	Bytes, Packets Count
	IPBytes        Count // what this side sent, on the IP layer
	NatIP          netip.Addr
	Domain         string // name of this side, as the client gave it (SNI, Host) or as the source says
	Address        string // the source's text where it is not an address
}

// Byte layers: values of Network.Layer.
const (
	LayerIP      = "ip"
	LayerPayload = "payload"
	LayerHTTP    = "http"
)

// Directions: values of Network.Direction.
const (
	Outbound = "outbound" // started or sent by an internal address to an external one
	Inbound  = "inbound"  // started outside towards an internal server
	Internal = "internal"
	External = "external" // neither side is ours
)

// Network says how two endpoints talked.
type Network struct {
	Transport string // tcp, udp, icmp, ipv6-icmp, or the protocol's number
	Protocol  string // application protocol, lower case: dns, tls, http, smtp, quic, …
	Direction string
	Layer     string // the layer on which Endpoint.Bytes were counted
}

// Flow is what only flow logs say.
type Flow struct {
	Action     string // accept or reject
	TCPFlags   Count
	Path       Count  // AWS traffic-path
	Direction  string // ingress or egress, seen from the interface
	Interface  string // eni, attachment, …
	InstanceID string
	VPC        string
	Subnet     string
	Service    string // provider's name of the destination range (S3, CLOUDFRONT, …)
	Sampled    bool   // counters are estimates from sampling
}

// Conn is what connection records say beside the endpoints.
type Conn struct {
	State       string // Zeek's conn_state
	History     string
	MissedBytes Count
	Open        bool // a snapshot of a connection that goes on: counters so far
}

// DNS is one question and what is known of its answer.
type DNS struct {
	ID string
	// Name is the question name without the trailing dot, lower case; bytes
	// outside printable ASCII, and dots and backslashes inside labels, stand
	// as \xNN. "." is the root; "" means that no question was seen.
	Name string
	// Type is the record type in upper case; types without a name are TYPEn.
	Type string
	// ResponseCode is upper case (NOERROR, NXDOMAIN, …); "" without a reply.
	ResponseCode string
	// Addresses are the A and AAAA answers, at most 16.
	Addresses []netip.Addr
	Answers   Count // records in the answer section
	// DataBytes counts the bytes of answer data that are not addresses.
	DataBytes                 Count
	MinTTL                    Count // smallest TTL of the answers, seconds
	QueryBytes, ResponseBytes Count // whole DNS messages, where the source shows them
	RTT                       Count // microseconds
	// NotDNS is set on a packet of port 53 that does not parse as DNS.
	NotDNS bool
}

// ICMP is one message; hashes are 64-bit xxhash of the data after the
// 8-byte ICMP header, and absent where the source shows no content.
type ICMP struct {
	Type, Code, ID, Sequence Count
	Bytes                    Count // length of that data
	Hash                     Count // of all of it: does a reply mirror its request?
	// Content is the hash of the data without its first 8 or 16 bytes where
	// those are a plausible timestamp: does the content change?
	Content Count
}

// TLS is a client hello and what followed.
type TLS struct {
	JA3, JA4    string
	Version     string
	ALPN        string
	Established bool
}

// HTTP is one request.
type HTTP struct {
	Method    string
	URL       string
	UserAgent string
	Status    Count
	// RequestBytes and ResponseBytes are body bytes.
	RequestBytes, ResponseBytes Count
}

// Mail is one mail transaction.
type Mail struct {
	From string
	To   []string // at most 16
	Size Count    // bytes
	TLS  bool
}

// File is a file that was transferred, opened or written.
type File struct {
	ID       string // identity of the file at its source (Zeek's fuid)
	Path     string
	MimeType string
	Size     Count
	Provider string // protocol that carried it: HTTP, SMTP, SMB, FTP_DATA, …
	// FromSource says that the source endpoint sent it (an upload).
	FromSource bool
	SHA256     string
}

// Health is what a sensor says about its own losses.
type Health struct {
	Received, Dropped Count
	PercentLost       float64
}

// Host is a machine, and the container on it.
type Host struct {
	Name          string
	ContainerID   string
	ContainerName string
	Namespace     string // Kubernetes namespace
	Pod           string // Kubernetes pod
}

// Device is a storage device that was attached or mounted.
type Device struct {
	Name         string // its node: /dev/sdb, /dev/sdb1
	Manufacturer string
	Model        string
	ModelID      string // USB vendor and product, as 0781:5581
	Serial       string
}

// Process is the process that acted.
type Process struct {
	Name, CommandLine, Executable, WorkingDirectory string
	PID                                             Count
	Parent                                          string
	Ancestors                                       []string // nearest first, at most 8
	UpperLayer                                      bool     // the executable is not from the image
}

// Rule is the rule of the source that fired.
type Rule struct {
	Name     string
	Priority string // lower case
	Tags     []string
}

// User is who acted. In the cloud plane ID is the stable principal: the role,
// never the session.
type User struct {
	ID, Name, Type, Account, Session string
}

// Cloud is where in the cloud.
type Cloud struct {
	Provider, Account, Region, Service string
	EndpointID                         string // VPC endpoint
	ErrorCode                          string
}

// Object is a stored object that was read or written.
type Object struct {
	Bucket, Key string
	Owner       string // account that owns the bucket
	CopySource  string // bucket/key, decoded
	// BytesOut and BytesIn are HTTP body bytes from and to the store.
	BytesOut, BytesIn Count
	Presigned         bool
}

// Share is a resource that was given to someone.
type Share struct {
	Resource string
	Targets  []string // accounts, organisations, domains; at most 32
	Public   bool
	Removed  bool // the call takes access away
}

// Finding is a finding of the provider's own scanners.
type Finding struct {
	Name, Category, Severity, Resource, State string
	Bytes                                     Count
}
