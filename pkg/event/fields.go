package event

import "net/netip"

// Field describes one field of the JSON form: its key, what it holds, and
// where it lives in an Event. The accessors return pointers into the event.
type Field struct {
	Key string
	Doc string
	// Type is one of the Type constants.
	Type FieldType
	// Enum lists the allowed values of a string field; nil allows all.
	Enum []string

	str    func(*Event) *string
	count  func(*Event) *Count
	micros func(*Event) *int64
	flag   func(*Event) *bool
	float  func(*Event) *float64
	addr   func(*Event) *netip.Addr
	strs   func(*Event) *[]string
	addrs  func(*Event) *[]netip.Addr
}

// Pointer returns a pointer to where the field lives in an event. What makes
// code from the table needs it.
func (f *Field) Pointer(e *Event) any {
	switch f.Type {
	case TypeString:
		return f.str(e)
	case TypeCount, TypeHash:
		return f.count(e)
	case TypeMicros:
		return f.micros(e)
	case TypeBool:
		return f.flag(e)
	case TypeFloat:
		return f.float(e)
	case TypeIP:
		return f.addr(e)
	case TypeStrings:
		return f.strs(e)
	case TypeIPs:
		return f.addrs(e)
	}
	return nil
}

// FieldType is the JSON type of a field.
type FieldType uint8

// The field types.
const (
	TypeString  FieldType = iota // JSON string; absent when ""
	TypeCount                    // non-negative integer; absent when unset
	TypeHash                     // 64 bits as a string of 16 hexadecimal digits; absent when unset
	TypeMicros                   // integer microseconds since the epoch; absent when 0
	TypeBool                     // true, or absent
	TypeFloat                    // number; absent when 0
	TypeIP                       // address as a string; absent when invalid
	TypeStrings                  // array of strings; absent when empty
	TypeIPs                      // array of addresses; absent when empty
)

func str(key, doc string, at func(*Event) *string, enum ...string) Field {
	return Field{Key: key, Doc: doc, Type: TypeString, Enum: enum, str: at}
}

func count(key, doc string, at func(*Event) *Count) Field {
	return Field{Key: key, Doc: doc, Type: TypeCount, count: at}
}

func hash(key, doc string, at func(*Event) *Count) Field {
	return Field{Key: key, Doc: doc, Type: TypeHash, count: at}
}

func micros(key, doc string, at func(*Event) *int64) Field {
	return Field{Key: key, Doc: doc, Type: TypeMicros, micros: at}
}

func flag(key, doc string, at func(*Event) *bool) Field {
	return Field{Key: key, Doc: doc, Type: TypeBool, flag: at}
}

func float(key, doc string, at func(*Event) *float64) Field {
	return Field{Key: key, Doc: doc, Type: TypeFloat, float: at}
}

func addr(key, doc string, at func(*Event) *netip.Addr) Field {
	return Field{Key: key, Doc: doc, Type: TypeIP, addr: at}
}

func strs(key, doc string, at func(*Event) *[]string) Field {
	return Field{Key: key, Doc: doc, Type: TypeStrings, strs: at}
}

func addrs(key, doc string, at func(*Event) *[]netip.Addr) Field {
	return Field{Key: key, Doc: doc, Type: TypeIPs, addrs: at}
}

// common fields may stand in every kind, before the kind's own.
var common = []Field{
	micros("time", "event time that windows use", func(e *Event) *int64 { return &e.Time }),
	micros("start", "first packet or begin", func(e *Event) *int64 { return &e.Start }),
	micros("end", "last packet or end", func(e *Event) *int64 { return &e.End }),
	flag("future", "more than 10 minutes ahead of its arrival", func(e *Event) *bool { return &e.Future }),
	str("role", "mirror: copy of an internal transfer, keyed by the peer", func(e *Event) *string { return &e.Role }, RoleMirror),
	str("observer.type", "source kind", func(e *Event) *string { return &e.Observer.Type }),
	str("observer.name", "sensor or source instance", func(e *Event) *string { return &e.Observer.Name }),
	str("observer.realm", "address space", func(e *Event) *string { return &e.Observer.Realm }),
	str("origin.name", "file, object or topic of the raw record", func(e *Event) *string { return &e.Origin.Name }),
	count("origin.line", "line or record number in it, from 1", func(e *Event) *Count { return &e.Origin.Line }),
	count("origin.offset", "byte offset in it", func(e *Event) *Count { return &e.Origin.Offset }),
	str("event.id", "identity of the record at its source", func(e *Event) *string { return &e.ID }),
	str("event.action", "what happened, in the source's word", func(e *Event) *string { return &e.Action }),
	str("event.outcome", "success or failure", func(e *Event) *string { return &e.Outcome }, "success", "failure"),
}

// endpoints are the two sides of anything on the network.
var endpoints = []Field{
	addr("source.ip", "address of the side that started or sent", func(e *Event) *netip.Addr { return &e.Source.IP }),
	count("source.port", "", func(e *Event) *Count { return &e.Source.Port }),
	count("source.bytes", "bytes sent by the source, on network.layer", func(e *Event) *Count { return &e.Source.Bytes }),
	count("source.packets", "packets sent by the source", func(e *Event) *Count { return &e.Source.Packets }),
	count("source.ip_bytes", "bytes sent by the source, on the IP layer", func(e *Event) *Count { return &e.Source.IPBytes }),
	addr("source.nat.ip", "address after translation", func(e *Event) *netip.Addr { return &e.Source.NatIP }),
	str("source.domain", "", func(e *Event) *string { return &e.Source.Domain }),
	addr("destination.ip", "address of the other side", func(e *Event) *netip.Addr { return &e.Destination.IP }),
	count("destination.port", "", func(e *Event) *Count { return &e.Destination.Port }),
	count("destination.bytes", "bytes sent by the destination, on network.layer", func(e *Event) *Count { return &e.Destination.Bytes }),
	count("destination.packets", "packets sent by the destination", func(e *Event) *Count { return &e.Destination.Packets }),
	count("destination.ip_bytes", "bytes sent by the destination, on the IP layer", func(e *Event) *Count { return &e.Destination.IPBytes }),
	addr("destination.nat.ip", "address after translation", func(e *Event) *netip.Addr { return &e.Destination.NatIP }),
	str("destination.domain", "name of the destination as the client gave it (SNI, Host)", func(e *Event) *string { return &e.Destination.Domain }),
	str("network.transport", "tcp, udp, icmp, ipv6-icmp, or a protocol number", func(e *Event) *string { return &e.Network.Transport }),
	str("network.protocol", "application protocol, lower case", func(e *Event) *string { return &e.Network.Protocol }),
	str("network.direction", "seen from the home networks", func(e *Event) *string { return &e.Network.Direction }, Outbound, Inbound, Internal, External),
	str("network.layer", "layer of source.bytes and destination.bytes", func(e *Event) *string { return &e.Network.Layer }, LayerIP, LayerPayload, LayerHTTP),
}

// place is where in the cloud a record comes from.
var place = []Field{
	str("cloud.provider", "aws, gcp", func(e *Event) *string { return &e.Cloud.Provider }),
	str("cloud.account.id", "account or project that recorded it", func(e *Event) *string { return &e.Cloud.Account }),
	str("cloud.region", "", func(e *Event) *string { return &e.Cloud.Region }),
}

// actor is who acted in the cloud, and from where.
var actor = []Field{
	str("cloud.service.name", "service that was called", func(e *Event) *string { return &e.Cloud.Service }),
	str("cloud.endpoint.id", "VPC endpoint that the call came through", func(e *Event) *string { return &e.Cloud.EndpointID }),
	str("error.code", "present: the call failed and nothing was transferred", func(e *Event) *string { return &e.Cloud.ErrorCode }),
	str("user.id", "stable principal: the role, never the session", func(e *Event) *string { return &e.User.ID }),
	str("user.name", "", func(e *Event) *string { return &e.User.Name }),
	str("user.type", "identity type in the provider's word", func(e *Event) *string { return &e.User.Type }),
	str("user.account", "account of the principal", func(e *Event) *string { return &e.User.Account }),
	str("user.session", "session name of an assumed role", func(e *Event) *string { return &e.User.Session }),
	addr("source.ip", "address of the caller", func(e *Event) *netip.Addr { return &e.Source.IP }),
	str("source.address", "the caller where it is not an address", func(e *Event) *string { return &e.Source.Address }),
	str("user_agent.original", "", func(e *Event) *string { return &e.HTTP.UserAgent }),
}

// onHost is the machine, the process and the rule of a host event.
var onHost = []Field{
	str("host.name", "", func(e *Event) *string { return &e.Host.Name }),
	str("container.id", "", func(e *Event) *string { return &e.Host.ContainerID }),
	str("container.name", "", func(e *Event) *string { return &e.Host.ContainerName }),
	str("orchestrator.namespace", "Kubernetes namespace", func(e *Event) *string { return &e.Host.Namespace }),
	str("orchestrator.resource.name", "Kubernetes pod", func(e *Event) *string { return &e.Host.Pod }),
	str("process.name", "", func(e *Event) *string { return &e.Process.Name }),
	str("process.command_line", "", func(e *Event) *string { return &e.Process.CommandLine }),
	str("process.executable", "", func(e *Event) *string { return &e.Process.Executable }),
	str("process.working_directory", "", func(e *Event) *string { return &e.Process.WorkingDirectory }),
	count("process.pid", "", func(e *Event) *Count { return &e.Process.PID }),
	str("process.parent.name", "", func(e *Event) *string { return &e.Process.Parent }),
	strs("process.ancestors", "names, nearest first", func(e *Event) *[]string { return &e.Process.Ancestors }),
	flag("process.upper_layer", "the executable is not from the container's image", func(e *Event) *bool { return &e.Process.UpperLayer }),
	str("file.path", "what was opened or written", func(e *Event) *string { return &e.File.Path }),
	count("file.size", "bytes, where the source says", func(e *Event) *Count { return &e.File.Size }),
	str("user.name", "", func(e *Event) *string { return &e.User.Name }),
	str("user.id", "", func(e *Event) *string { return &e.User.ID }),
	str("rule.name", "rule of the source that fired", func(e *Event) *string { return &e.Rule.Name }),
	str("rule.priority", "lower case", func(e *Event) *string { return &e.Rule.Priority }),
	strs("rule.tags", "", func(e *Event) *[]string { return &e.Rule.Tags }),
	addr("source.ip", "local address of a network event", func(e *Event) *netip.Addr { return &e.Source.IP }),
	count("source.port", "", func(e *Event) *Count { return &e.Source.Port }),
	addr("destination.ip", "remote address of a network event", func(e *Event) *netip.Addr { return &e.Destination.IP }),
	count("destination.port", "", func(e *Event) *Count { return &e.Destination.Port }),
	str("destination.domain", "", func(e *Event) *string { return &e.Destination.Domain }),
	str("network.transport", "", func(e *Event) *string { return &e.Network.Transport }),
}

// fieldsOf lists the fields of each kind in canonical order.
var fieldsOf = [kindCount][]Field{
	KindFlow: join(endpoints, []Field{
		str("flow.action", "", func(e *Event) *string { return &e.Flow.Action }, "accept", "reject"),
		count("flow.tcp_flags", "OR of the flags of the window", func(e *Event) *Count { return &e.Flow.TCPFlags }),
		count("flow.path", "AWS traffic-path", func(e *Event) *Count { return &e.Flow.Path }),
		str("flow.direction", "seen from the interface", func(e *Event) *string { return &e.Flow.Direction }, "ingress", "egress"),
		str("flow.interface", "interface or attachment", func(e *Event) *string { return &e.Flow.Interface }),
		str("flow.instance", "instance id", func(e *Event) *string { return &e.Flow.InstanceID }),
		str("flow.vpc", "", func(e *Event) *string { return &e.Flow.VPC }),
		str("flow.subnet", "", func(e *Event) *string { return &e.Flow.Subnet }),
		str("flow.service", "provider's name of the destination range", func(e *Event) *string { return &e.Flow.Service }),
		flag("flow.sampled", "the counters are estimates", func(e *Event) *bool { return &e.Flow.Sampled }),
	}, place),
	KindConn: join(endpoints, []Field{
		str("conn.state", "Zeek conn_state", func(e *Event) *string { return &e.Conn.State }),
		str("conn.history", "", func(e *Event) *string { return &e.Conn.History }),
		count("conn.missed_bytes", "payload that the sensor did not see", func(e *Event) *Count { return &e.Conn.MissedBytes }),
		flag("conn.open", "snapshot of a connection that goes on", func(e *Event) *bool { return &e.Conn.Open }),
	}),
	KindDNS: join(endpoints, []Field{
		str("dns.id", "transaction id", func(e *Event) *string { return &e.DNS.ID }),
		str("dns.question.name", `lower case, no trailing dot, odd bytes as \xNN; "." is the root`, func(e *Event) *string { return &e.DNS.Name }),
		str("dns.question.type", "A, TXT, …; TYPEn without a name", func(e *Event) *string { return &e.DNS.Type }),
		str("dns.response_code", "absent without a reply", func(e *Event) *string { return &e.DNS.ResponseCode }),
		addrs("dns.resolved_ip", "A and AAAA answers, at most 16", func(e *Event) *[]netip.Addr { return &e.DNS.Addresses }),
		count("dns.answers", "records in the answer section", func(e *Event) *Count { return &e.DNS.Answers }),
		count("dns.data_bytes", "bytes of answer data that are not addresses", func(e *Event) *Count { return &e.DNS.DataBytes }),
		count("dns.min_ttl", "smallest TTL of the answers, seconds", func(e *Event) *Count { return &e.DNS.MinTTL }),
		count("dns.query_bytes", "size of the query message", func(e *Event) *Count { return &e.DNS.QueryBytes }),
		count("dns.response_bytes", "size of the reply message", func(e *Event) *Count { return &e.DNS.ResponseBytes }),
		count("dns.rtt", "microseconds from query to reply", func(e *Event) *Count { return &e.DNS.RTT }),
		flag("dns.not_dns", "a packet of port 53 that does not parse as DNS", func(e *Event) *bool { return &e.DNS.NotDNS }),
	}),
	KindICMP: join(endpoints, []Field{
		count("icmp.type", "", func(e *Event) *Count { return &e.ICMP.Type }),
		count("icmp.code", "", func(e *Event) *Count { return &e.ICMP.Code }),
		count("icmp.id", "", func(e *Event) *Count { return &e.ICMP.ID }),
		count("icmp.sequence", "", func(e *Event) *Count { return &e.ICMP.Sequence }),
		count("icmp.bytes", "length of the data after the 8-byte header", func(e *Event) *Count { return &e.ICMP.Bytes }),
		hash("icmp.hash", "xxhash64 of that data", func(e *Event) *Count { return &e.ICMP.Hash }),
		hash("icmp.content", "the same without a leading timestamp", func(e *Event) *Count { return &e.ICMP.Content }),
	}),
	KindTLS: join(endpoints, []Field{
		str("tls.client.ja3", "", func(e *Event) *string { return &e.TLS.JA3 }),
		str("tls.client.ja4", "", func(e *Event) *string { return &e.TLS.JA4 }),
		str("tls.version", "", func(e *Event) *string { return &e.TLS.Version }),
		str("tls.next_protocol", "ALPN", func(e *Event) *string { return &e.TLS.ALPN }),
		flag("tls.established", "", func(e *Event) *bool { return &e.TLS.Established }),
	}),
	KindHTTP: join(endpoints, []Field{
		str("http.request.method", "", func(e *Event) *string { return &e.HTTP.Method }),
		str("url.original", "", func(e *Event) *string { return &e.HTTP.URL }),
		str("user_agent.original", "", func(e *Event) *string { return &e.HTTP.UserAgent }),
		count("http.response.status_code", "", func(e *Event) *Count { return &e.HTTP.Status }),
		count("http.request.body.bytes", "", func(e *Event) *Count { return &e.HTTP.RequestBytes }),
		count("http.response.body.bytes", "", func(e *Event) *Count { return &e.HTTP.ResponseBytes }),
	}),
	KindMail: join(endpoints, []Field{
		str("email.from.address", "", func(e *Event) *string { return &e.Mail.From }),
		strs("email.to.address", "at most 16", func(e *Event) *[]string { return &e.Mail.To }),
		count("email.bytes", "size of the message", func(e *Event) *Count { return &e.Mail.Size }),
		flag("email.tls", "the session went on under TLS", func(e *Event) *bool { return &e.Mail.TLS }),
	}),
	KindTransfer: join(endpoints, []Field{
		str("file.id", "identity of the file at its source; event.id is its connection's", func(e *Event) *string { return &e.File.ID }),
		str("file.path", "name as transferred", func(e *Event) *string { return &e.File.Path }),
		str("file.mime_type", "", func(e *Event) *string { return &e.File.MimeType }),
		count("file.size", "bytes seen", func(e *Event) *Count { return &e.File.Size }),
		str("file.provider", "protocol that carried it", func(e *Event) *string { return &e.File.Provider }),
		flag("file.from_source", "sent by the source: an upload", func(e *Event) *bool { return &e.File.FromSource }),
		str("file.hash.sha256", "", func(e *Event) *string { return &e.File.SHA256 }),
	}),
	KindWeird: join(endpoints),
	KindHealth: join([]Field{
		str("host.name", "machine of a host sensor", func(e *Event) *string { return &e.Host.Name }),
		count("health.received", "packets or records", func(e *Event) *Count { return &e.Health.Received }),
		count("health.dropped", "packets or records lost", func(e *Event) *Count { return &e.Health.Dropped }),
		float("health.percent_lost", "", func(e *Event) *float64 { return &e.Health.PercentLost }),
	}),
	KindProcess: join(onHost),
	KindFile:    join(onHost),
	KindDevice: join(onHost, []Field{
		str("device.name", "node of the storage device", func(e *Event) *string { return &e.Device.Name }),
		str("device.manufacturer", "", func(e *Event) *string { return &e.Device.Manufacturer }),
		str("device.model.name", "", func(e *Event) *string { return &e.Device.Model }),
		str("device.model.identifier", "USB vendor:product, hexadecimal", func(e *Event) *string { return &e.Device.ModelID }),
		str("device.serial_number", "", func(e *Event) *string { return &e.Device.Serial }),
	}),
	KindObject: join(place, actor, []Field{
		str("object.bucket", "", func(e *Event) *string { return &e.Object.Bucket }),
		str("object.key", "", func(e *Event) *string { return &e.Object.Key }),
		str("object.owner", "account that owns the bucket", func(e *Event) *string { return &e.Object.Owner }),
		str("object.copy_source", "bucket/key that was copied", func(e *Event) *string { return &e.Object.CopySource }),
		count("object.bytes_out", "HTTP body bytes from the store", func(e *Event) *Count { return &e.Object.BytesOut }),
		count("object.bytes_in", "HTTP body bytes to the store", func(e *Event) *Count { return &e.Object.BytesIn }),
		flag("object.presigned", "a presigned URL was used", func(e *Event) *bool { return &e.Object.Presigned }),
	}),
	KindShare: join(place, actor, []Field{
		str("share.resource", "", func(e *Event) *string { return &e.Share.Resource }),
		strs("share.targets", "accounts, organisations, domains", func(e *Event) *[]string { return &e.Share.Targets }),
		flag("share.public", "given to everyone", func(e *Event) *bool { return &e.Share.Public }),
		flag("share.removed", "access was taken away", func(e *Event) *bool { return &e.Share.Removed }),
	}),
	KindManagement: join(place, actor, []Field{
		str("share.resource", "resource of the call", func(e *Event) *string { return &e.Share.Resource }),
		strs("share.targets", "where an export or a log goes: account or bucket", func(e *Event) *[]string { return &e.Share.Targets }),
	}),
	KindFinding: join(place, []Field{
		str("finding.name", "", func(e *Event) *string { return &e.Finding.Name }),
		str("finding.category", "", func(e *Event) *string { return &e.Finding.Category }),
		str("finding.severity", "lower case", func(e *Event) *string { return &e.Finding.Severity }),
		str("finding.resource", "", func(e *Event) *string { return &e.Finding.Resource }),
		str("finding.state", "lower case", func(e *Event) *string { return &e.Finding.State }),
		count("finding.bytes", "", func(e *Event) *Count { return &e.Finding.Bytes }),
		str("user.id", "", func(e *Event) *string { return &e.User.ID }),
		addr("source.ip", "", func(e *Event) *netip.Addr { return &e.Source.IP }),
	}),
}

// join puts the common fields before the kind's own.
func join(parts ...[]Field) []Field {
	out := append([]Field(nil), common...)
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// Fields returns the fields of a kind in canonical order; the kind and the
// version come before them. The slice must not be changed.
func Fields(k Kind) []Field {
	if k >= kindCount {
		return nil
	}
	return fieldsOf[k]
}
