package gcp

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Values of Observer.Type.
const (
	TypeFlow    = "gcpflow"
	TypeAudit   = "gcpaudit"
	TypeFinding = "scc"
)

// Anonymous is the User.ID of callers whom the log does not name.
const Anonymous = "anonymous"

// Reasons of ignored records.
const (
	ignoredBlank     = "blank"
	ignoredEmpty     = "empty"            // an envelope without data, a list without records
	ignoredOther     = "other_log"        // a log of another service
	ignoredOperation = "operation_end"    // the second entry of a long operation
	ignoredOldForm   = "older_form"       // BigQuery's AuditData beside BigQueryAuditMetadata
	ignoredGateway   = "reported_by_host" // a gateway's view of a flow that a machine reports too
)

// ReasonBase64 is the reason of a message whose data is no base64.
const ReasonBase64 = "bad_base64"

const (
	// maxDocument is the longest document: a LogEntry is at most 256 KiB, a
	// pull response holds up to 1 000 of them.
	maxDocument = 16 << 20
	// maxEnvelopes is how many envelopes may stand around a record.
	maxEnvelopes = 4
	// maxRecords is how many records a document may hold.
	maxRecords = 100_000
)

// A Decoder decodes documents, one a line; it implements decode.Lines. It is not
// safe for concurrent use.
type Decoder struct {
	ev      event.Event
	sum     xxhash.Digest
	id      [16]byte // the text of ID
	records int      // of the document
	number  []byte   // the text of a protocol without a name
	region  []byte   // the text of a region that is made of a zone
}

var _ decode.Lines = (*Decoder)(nil)

// New returns a decoder.
func New() *Decoder { return &Decoder{} }

// Header implements decode.Lines; documents need none.
func (d *Decoder) Header() []byte { return nil }

// SetHeader implements decode.Lines.
func (d *Decoder) SetHeader([]byte) {}

// Line implements decode.Lines.
func (d *Decoder) Line(line []byte, at event.Origin, sink decode.Sink) { d.Decode(line, at, sink) }

// Decode decodes one document: a line, the data of a Pub/Sub message, or the
// body of a push. All its records share the origin.
func (d *Decoder) Decode(data []byte, at event.Origin, sink decode.Sink) {
	data = bytes.Trim(bytes.TrimPrefix(data, []byte("\uFEFF")), " \t\r\n\x00")
	switch {
	case len(data) == 0:
		sink.Ignored(ignoredBlank)
	case len(data) > maxDocument:
		sink.Dead(decode.ReasonTooLong, data, at)
	default:
		d.records = 0
		d.document(data, maxEnvelopes, at, sink)
	}
}

// document is a whole document, not yet looked at.
func (d *Decoder) document(data []byte, envelopes int, at event.Origin, sink decode.Sink) {
	if data[0] != '{' && data[0] != '[' {
		sink.Dead(decode.ReasonUnknownFormat, data, at)
		return
	}
	var scan rawjson.Scan
	switch n, status := scan.Feed(data); {
	case status != rawjson.Done || n != len(data):
		sink.Dead(decode.ReasonJSON, data, at)
	case scan.Deep():
		sink.Dead(decode.ReasonTooDeep, data, at)
	default:
		d.value(data, envelopes, at, sink)
	}
}

// outer are the keys by which records and envelopes are known.
type outer struct {
	LogName  rawjson.Value `json:"logName"`
	JSON     rawjson.Value `json:"jsonPayload"`
	Proto    rawjson.Value `json:"protoPayload"`
	Audit    rawjson.Value `json:"protopayload_auditlog"` // a BigQuery sink
	InsertID rawjson.Value `json:"insertId"`
	Time     rawjson.Value `json:"timestamp"`
	Received rawjson.Value `json:"receiveTimestamp"`
	Resource rawjson.Value `json:"resource"`
	Oper     rawjson.Value `json:"operation"`

	Finding rawjson.Value `json:"finding"`
	Profile rawjson.Value `json:"profile"`
	Event   rawjson.Value `json:"event"`

	Message  rawjson.Value `json:"message"`          // a push
	Messages rawjson.Value `json:"receivedMessages"` // a pull
	Data     rawjson.Value `json:"data"`             // of a message
	Findings rawjson.Value `json:"findings"`
	Results  rawjson.Value `json:"listFindingsResults"`
	Entries  rawjson.Value `json:"entries"` // of entries.list
}

// value takes one value whose structure is sound.
func (d *Decoder) value(raw rawjson.Value, envelopes int, at event.Origin, sink decode.Sink) {
	if rawjson.IsArray(raw) {
		d.list(raw, envelopes, at, sink)
		return
	}
	if !rawjson.IsObject(raw) {
		d.dead(decode.ReasonUnknownFormat, raw, at, sink)
		return
	}
	var o outer
	if rawjson.ParseScanned(raw, &o) != nil {
		d.dead(decode.ReasonJSON, raw, at, sink)
		return
	}
	switch {
	case len(o.LogName) > 0:
		d.entry(&o, raw, at, sink)
	case rawjson.IsObject(o.Proto) && len(rawjson.Get(o.Proto, "serviceName")) > 0:
		// An exporter that drops the log's name.
		d.finish(d.audit(&o, o.Proto, "", ""), raw, at, sink)
	case rawjson.IsObject(o.Finding):
		d.finish(d.finding(o.Finding), raw, at, sink)
	case rawjson.IsObject(o.Profile) && len(o.Event) > 0:
		d.finish(d.profile(&o), raw, at, sink)
	case rawjson.IsArray(o.Messages):
		d.list(o.Messages, envelopes, at, sink)
	case rawjson.IsArray(o.Results):
		d.list(o.Results, envelopes, at, sink)
	case rawjson.IsArray(o.Findings):
		d.list(o.Findings, envelopes, at, sink)
	case rawjson.IsArray(o.Entries):
		d.list(o.Entries, envelopes, at, sink)
	case rawjson.IsObject(o.Message):
		d.message(o.Message, envelopes, at, sink)
	case len(o.Data) > 0:
		d.message(raw, envelopes, at, sink)
	case isFinding(raw):
		d.finish(d.finding(raw), raw, at, sink)
	case isEmptyPage(raw):
		d.ignored(ignoredEmpty, sink)
	default:
		d.dead(decode.ReasonUnknownFormat, raw, at, sink)
	}
}

// list takes the elements of an envelope one by one.
func (d *Decoder) list(raw rawjson.Value, envelopes int, at event.Origin, sink decode.Sink) {
	if envelopes == 0 {
		d.dead(decode.ReasonTooDeep, raw, at, sink)
		return
	}
	some := false
	for e := range rawjson.Each(raw) {
		some = true
		if d.records >= maxRecords {
			d.dead(decode.ReasonTooMany, e, at, sink)
			return
		}
		d.value(e, envelopes-1, at, sink)
	}
	if !some {
		d.ignored(ignoredEmpty, sink)
	}
}

// message opens a Pub/Sub message: {"data": base64, "attributes": …}.
func (d *Decoder) message(raw rawjson.Value, envelopes int, at event.Origin, sink decode.Sink) {
	if inner := rawjson.Get(raw, "message"); rawjson.IsObject(inner) {
		raw = inner // an element of receivedMessages
	}
	text := rawjson.Text(rawjson.Get(raw, "data"))
	if text == "" {
		d.ignored(ignoredEmpty, sink)
		return
	}
	if envelopes == 0 {
		d.dead(decode.ReasonTooDeep, raw, at, sink)
		return
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		if data, err = base64.URLEncoding.DecodeString(text); err != nil {
			d.dead(ReasonBase64, raw, at, sink)
			return
		}
	}
	data = bytes.Trim(data, " \t\r\n\x00")
	if len(data) == 0 {
		d.ignored(ignoredEmpty, sink)
		return
	}
	d.document(data, envelopes-1, at, sink)
}

// isEmptyPage reports whether an object is a page of an exporter that found
// nothing.
func isEmptyPage(raw rawjson.Value) bool {
	for key := range rawjson.Object(raw) {
		switch key {
		case "nextPageToken", "readTime", "totalSize":
		default:
			return false
		}
	}
	return true
}

// entry takes a LogEntry or a row of a BigQuery sink.
func (d *Decoder) entry(o *outer, raw rawjson.Value, at event.Origin, sink decode.Sink) {
	project, name := logName(rawjson.Text(o.LogName))
	audit := o.Proto
	if !rawjson.IsObject(audit) {
		audit = o.Audit
	}
	switch {
	case strings.HasSuffix(name, "/vpc_flows") && rawjson.IsObject(o.JSON):
		d.finish(d.flow(o, project), raw, at, sink)
	case strings.HasPrefix(name, "cloudaudit.googleapis.com/") && rawjson.IsObject(audit):
		d.finish(d.audit(o, audit, project, name), raw, at, sink)
	case strings.HasPrefix(name, "threatdetection.googleapis.com/") && rawjson.IsObject(o.JSON):
		d.finish(d.threat(o), raw, at, sink)
	case strings.HasSuffix(name, "/vpc_flows"), strings.HasPrefix(name, "cloudaudit.googleapis.com/"), strings.HasPrefix(name, "threatdetection.googleapis.com/"):
		d.dead(decode.ReasonMissing, raw, at, sink)
	default:
		d.ignored(ignoredOther, sink)
	}
}

// logName splits projects/P/logs/NAME, whose name is URL-encoded, into P and
// the name. Folders, organisations and billing accounts have logs as well.
func logName(s string) (owner, name string) {
	owner, name, _ = strings.Cut(s, "/logs/")
	_, owner, _ = strings.Cut(owner, "/")
	if strings.ContainsRune(name, '%') {
		if n, err := url.PathUnescape(strings.ReplaceAll(name, "%%", "%")); err == nil {
			name = n
		}
	}
	return owner, name
}

// result says what became of a record: "" is an event in d.ev.
type result struct {
	dead, ignored string
}

// finish hands a record on.
func (d *Decoder) finish(r result, raw rawjson.Value, at event.Origin, sink decode.Sink) {
	switch {
	case r.ignored != "":
		d.ignored(r.ignored, sink)
	case r.dead != "":
		d.dead(r.dead, raw, at, sink)
	default:
		d.records++
		d.ev.Origin = at
		sink.Event(&d.ev)
	}
}

func (d *Decoder) dead(reason string, raw []byte, at event.Origin, sink decode.Sink) {
	d.records++
	sink.Dead(reason, raw, at)
}

func (d *Decoder) ignored(reason string, sink decode.Sink) {
	d.records++
	sink.Ignored(reason)
}

// begin makes the event empty.
func (d *Decoder) begin(observer string) *event.Event {
	d.ev.Reset()
	d.ev.Observer.Type = observer
	d.ev.Cloud.Provider = "gcp"
	return &d.ev
}

// identify sets ID to the hash of parts.
func (d *Decoder) identify(parts ...string) {
	d.sum.Reset()
	for _, p := range parts {
		_, _ = d.sum.WriteString(p)
		_, _ = d.sum.Write([]byte{0})
	}
	var sum [8]byte
	hex.Encode(d.id[:], d.sum.Sum(sum[:0]))
	d.ev.ID = rawjson.View(d.id[:])
}

// micros reads an RFC 3339 time, with up to nanoseconds; ok is false for
// anything else and for times before 1970.
func micros(v rawjson.Value) (n int64, ok bool) {
	s := rawjson.Text(v)
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		// The text of a TIMESTAMP in BigQuery and in data lakes.
		t, err = time.Parse("2006-01-02 15:04:05.999999999", strings.TrimSuffix(s, " UTC"))
	}
	if err != nil || t.Unix() <= 0 {
		return 0, false
	}
	return t.UnixMicro(), true
}
