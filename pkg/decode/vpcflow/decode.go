package vpcflow

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Observer types of the events.
const (
	TypeVPC     = "vpcflow"
	TypeGateway = "tgwflow"
)

// Reasons of ignored lines.
const (
	ignoredHeader  = "header"
	ignoredBlank   = "blank"
	ignoredNoData  = "nodata"   // no traffic in the window
	ignoredSkip    = "skipdata" // AWS lost records: a blind spot
	ignoredStatus  = "status"   // a log-status that is not known
	ignoredControl = "control_message"
)

// maxLine is the longest line of text; it also bounds what Header returns.
const maxLine = 64 << 10

// A Decoder decodes the lines of one file or stream; it implements
// decode.Lines. It is not safe for concurrent use.
type Decoder struct {
	layout     *layout // nil: not known yet
	header     []byte  // the header line that layout stems from, if any
	vpc, tgw   *layout // the defaults of AWS
	configured *layout

	// value holds the tokens of the current line by field; those of fields
	// that a layout does not have stay empty while it is in use.
	value  [fieldCount]string
	filled *layout // the layout that value was filled by

	ev  event.Event
	key []byte   // what ID is the hash of
	id  [16]byte // the text of ID
}

var _ decode.Lines = (*Decoder)(nil)

// New returns a decoder for logs with a header line, and for those without
// one that are in the default format of AWS.
func New() *Decoder {
	d := &Decoder{}
	d.vpc, _ = parseLayout(defaultVPC)
	d.tgw, _ = parseLayout(defaultTGW)
	return d
}

// NewFormat returns a decoder for logs whose lines follow format where no
// header line says otherwise: `${version} ${account-id} …` as in the AWS API,
// or the plain names. The error wraps ErrFormat.
func NewFormat(format string) (*Decoder, error) {
	l, err := parseLayout(format)
	if err == nil {
		err = l.usable()
	}
	if err != nil {
		return nil, err
	}
	d := New()
	d.configured, d.layout = l, l
	return d, nil
}

// Header implements decode.Lines.
func (d *Decoder) Header() []byte { return d.header }

// SetHeader implements decode.Lines. A header that is none is as good as no
// header: the lines after it are judged as at the beginning of a file.
func (d *Decoder) SetHeader(header []byte) {
	d.header, d.layout = nil, d.configured
	if text := string(bytes.TrimSpace(header)); len(text) <= maxLine && isHeader(text) {
		d.setHeader(text)
	}
}

func (d *Decoder) setHeader(text string) bool {
	l, err := parseLayout(text)
	if err != nil {
		return false
	}
	d.header, d.layout = []byte(text), l
	return true
}

// Line implements decode.Lines. Beside the bare record it takes the JSON that
// CloudWatch Logs subscriptions and Firehose wrap records in.
func (d *Decoder) Line(line []byte, at event.Origin, sink decode.Sink) {
	text := trim(line)
	switch {
	case len(text) == 0:
		sink.Ignored(ignoredBlank)
	case text[0] == '{':
		d.envelope(text, at, sink)
	default:
		d.text(text, at, sink)
	}
}

func trim(line []byte) []byte {
	return bytes.Trim(bytes.TrimPrefix(line, []byte("\uFEFF")), " \t\r\n")
}

// text takes one line that is not blank.
func (d *Decoder) text(line []byte, at event.Origin, sink decode.Sink) {
	if len(line) > maxLine {
		sink.Dead(decode.ReasonTooLong, line, at)
		return
	}
	if c := line[0]; (c >= 'a' && c <= 'z' || c == '$') && isHeader(rawjson.View(line)) {
		if bytes.Equal(line, d.header) || d.setHeader(string(line)) {
			sink.Ignored(ignoredHeader)
		} else {
			sink.Dead(decode.ReasonTooMany, line, at)
		}
		return
	}
	l, missing := d.layout, decode.ReasonColumns
	if l == nil {
		// Nothing says what the columns are: only a line in one of the
		// default formats says it itself.
		missing = decode.ReasonUnknownFormat
		switch {
		case bytes.HasPrefix(line, []byte("2 ")):
			l = d.vpc
		case bytes.HasPrefix(line, []byte("6 TransitGateway")):
			l = d.tgw
		default:
			sink.Dead(missing, line, at)
			return
		}
	}
	if !d.split(line, l) {
		sink.Dead(missing, line, at)
		return
	}
	if reason := d.record(l, at, sink); reason != "" {
		sink.Dead(reason, line, at)
	}
}

// Row decodes one record of a columnar file (Parquet): its values in the
// order of the columns that NewFormat or SetHeader named, "" for null. A row
// is exactly one event, ignored or dead.
func (d *Decoder) Row(values []string, at event.Origin, sink decode.Sink) {
	l := d.layout
	reason := decode.ReasonColumns
	if l != nil && len(values) == len(l.columns) {
		d.use(l)
		for i, f := range l.columns {
			if f != skipped && values[i] != "-" {
				d.value[f] = values[i]
			} else {
				d.value[f] = ""
			}
		}
		reason = d.record(l, at, sink)
	}
	if reason != "" {
		sink.Dead(reason, []byte(strings.Join(values, " ")), at)
	}
}

func (d *Decoder) use(l *layout) {
	if d.filled != l {
		d.value, d.filled = [fieldCount]string{}, l
	}
}

// split puts the tokens of line into value and reports whether their number
// is that of the columns.
func (d *Decoder) split(line []byte, l *layout) bool {
	d.use(l)
	columns, n := l.columns, 0
	for i := 0; i < len(line); {
		for i < len(line) && (line[i] == ' ' || line[i] == '\t') {
			i++
		}
		from := i
		for i < len(line) && line[i] != ' ' && line[i] != '\t' {
			i++
		}
		if n == len(columns) {
			return false
		}
		if f := columns[n]; f != skipped {
			token := line[from:i]
			if len(token) == 1 && token[0] == '-' {
				token = nil
			}
			d.value[f] = rawjson.View(token)
		}
		n++
	}
	return n == len(columns)
}

// record decodes what is in value. It returns the reason why the record is
// dead, or "" when the sink has it.
func (d *Decoder) record(l *layout, at event.Origin, sink decode.Sink) (reason string) {
	v := &d.value
	switch v[logStatus] {
	case "OK", "":
	case "NODATA":
		sink.Ignored(ignoredNoData)
		return ""
	case "SKIPDATA":
		sink.Ignored(ignoredSkip)
		return ""
	default:
		sink.Ignored(ignoredStatus)
		return ""
	}
	e := &d.ev
	e.Reset()
	e.Kind, e.Origin = event.KindFlow, at
	e.Observer.Type = TypeVPC
	if l.gateway {
		e.Observer.Type = TypeGateway
	}
	if reason = d.measure(e); reason != "" {
		return reason
	}
	e.Flow.Interface = first(v[interfaceID], v[resourceID], v[attachment], v[gateway])
	e.Flow.InstanceID = v[instanceID]
	e.Flow.VPC = first(v[vpcID], v[srcVPC])
	e.Flow.Subnet = first(v[subnetID], v[srcSubnet])
	e.Flow.Service = v[dstService]
	e.Cloud.Provider = "aws"
	e.Cloud.Region = v[region]
	if v[account] != "unknown" {
		e.Cloud.Account = v[account]
	}
	d.identify(e)
	sink.Event(e)
	return ""
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// measure reads addresses, numbers and enumerations into e and returns the
// reason why the record is dead, or "".
func (d *Decoder) measure(e *event.Event) (reason string) {
	v := &d.value
	const maxSeconds = 253402300799 // the year 9999
	endAt, ok1 := number(v[end], maxSeconds)
	startAt, ok2 := number(v[start], maxSeconds)
	transport, ok3 := number(v[protocol], 255)
	from, ok4 := number(v[srcPort], 65535)
	to, ok5 := number(v[dstPort], 65535)
	count, ok6 := number(v[packets], 1<<63-1)
	size, ok7 := number(v[byteCount], 1<<63-1)
	flags, ok8 := number(v[tcpFlags], 1<<12-1)
	path, ok9 := number(v[trafficPath], 255)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 || !ok7 || !ok8 || !ok9 {
		return decode.ReasonValue
	}
	var ok bool
	if e.Source.IP, e.Source.NatIP, ok = addresses(v[pktSrcAddr], v[srcAddr]); !ok {
		return decode.ReasonValue
	}
	if e.Destination.IP, e.Destination.NatIP, ok = addresses(v[pktDstAddr], v[dstAddr]); !ok {
		return decode.ReasonValue
	}
	if !e.Source.IP.IsValid() || !e.Destination.IP.IsValid() || !endAt.Known() {
		return decode.ReasonMissing
	}
	last := endAt.Or(0)
	if last == 0 || startAt.Or(last) > last {
		return decode.ReasonValue
	}
	if c, known := count.Get(); known && size.Known() && size.Or(0) < c {
		return decode.ReasonValue // a packet has a header: these are other columns
	}
	e.End = int64(last) * 1e6
	e.Start = int64(startAt.Or(0)) * 1e6
	e.Time = e.End
	e.Source.Bytes, e.Source.Packets = size, count
	e.Network.Layer = event.LayerIP
	if p, known := transport.Get(); known {
		e.Network.Transport = transportName(p, v[protocol])
		// A protocol without ports has them written as 0.
		if p == tcp || p == udp || from.Or(0) != 0 || to.Or(0) != 0 {
			e.Source.Port, e.Destination.Port = from, to
		}
	}
	e.Flow.TCPFlags, e.Flow.Path = flags, path
	switch v[action] {
	case "ACCEPT":
		e.Flow.Action = "accept"
	case "REJECT":
		e.Flow.Action = "reject"
	case "":
	default:
		return decode.ReasonValue
	}
	switch v[direction] {
	case "ingress", "egress":
		e.Flow.Direction = v[direction]
	case "":
	default:
		return decode.ReasonValue
	}
	return ""
}

// IANA protocol numbers.
const (
	icmp  = 1
	tcp   = 6
	udp   = 17
	icmp6 = 58
)

// transportName returns the name of a protocol, or its number as written.
func transportName(p uint64, text string) string {
	switch p {
	case tcp:
		return "tcp"
	case udp:
		return "udp"
	case icmp:
		return "icmp"
	case icmp6:
		return "ipv6-icmp"
	}
	if len(text) > 1 && text[0] == '0' {
		return strconv.FormatUint(p, 10)
	}
	return text
}

// number reads digits; an absent number is ok, anything but digits up to most
// is not.
func number(s string, most uint64) (n event.Count, ok bool) {
	if s == "" {
		return event.Count{}, true
	}
	if len(s) > 19 { // 19 digits never overflow
		return event.Count{}, false
	}
	var v uint64
	for i := range len(s) {
		c := s[i] - '0'
		if c > 9 {
			return event.Count{}, false
		}
		v = v*10 + uint64(c)
	}
	return event.N(v), v <= most
}

// addresses reads the packet's address and the interface's and returns the
// true one, and the other where it differs. An absent address is ok.
func addresses(packet, iface string) (ip, nat netip.Addr, ok bool) {
	if packet == iface {
		packet = ""
	}
	if iface != "" {
		if ip, ok = address(iface); !ok {
			return ip, nat, false
		}
	}
	if packet != "" {
		nat = ip
		if ip, ok = address(packet); !ok {
			return ip, nat, false
		}
		if ip == nat {
			nat = netip.Addr{}
		}
	}
	return ip, nat, true
}

func address(s string) (netip.Addr, bool) {
	ip, err := netip.ParseAddr(s)
	return ip.Unmap().WithZone(""), err == nil
}
