package cloudtrail

import (
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Type is the observer type of the events.
const Type = "cloudtrail"

// Reasons of ignored records.
const (
	ignoredEmpty        = "empty" // an array without records, a blank line
	ignoredDigest       = "digest"
	ignoredInsight      = "insight"
	ignoredAggregated   = "aggregated"
	ignoredNotification = "s3_notification" // of objects, in place of their content
	ignoredAnnouncement = "announcement"    // CloudTrail's own, of new files
	ignoredControl      = "control_message"
	ignoredOther        = "eventbridge_other" // an EventBridge event of another service
)

// A Decoder decodes input that arrives line by line; it implements
// decode.Lines. A line may hold one record, an array of records, or any of the
// envelopes that a Reader takes; all its records share the line's origin. It
// is not safe for concurrent use.
type Decoder struct{ r Reader }

var _ decode.Lines = (*Decoder)(nil)

// New returns a decoder.
func New() *Decoder { return &Decoder{} }

// Header implements decode.Lines; records need none.
func (d *Decoder) Header() []byte { return nil }

// SetHeader implements decode.Lines.
func (d *Decoder) SetHeader([]byte) {}

// Line implements decode.Lines.
func (d *Decoder) Line(line []byte, at event.Origin, sink decode.Sink) {
	d.r.resetLine(line, at)
	for d.r.Next(sink) == nil {
	}
	if d.r.records == 0 {
		sink.Ignored(ignoredEmpty)
	}
	d.r.w.buf = nil
}

// decoder decodes single records.
type decoder struct {
	ev  event.Event
	rec record
	id  []byte // the text of ID
}

// record is one record, or one of the documents that stand in its place; keys
// match whatever their case is.
type record struct {
	EventTime      rawjson.Value `json:"eventTime"`
	EventSource    rawjson.Value `json:"eventSource"`
	EventName      rawjson.Value `json:"eventName"`
	EventID        rawjson.Value `json:"eventID"`
	EventType      rawjson.Value `json:"eventType"`
	EventCategory  rawjson.Value `json:"eventCategory"`
	Management     rawjson.Value `json:"managementEvent"`
	Region         rawjson.Value `json:"awsRegion"`
	Recipient      rawjson.Value `json:"recipientAccountId"`
	SourceIP       rawjson.Value `json:"sourceIPAddress"`
	UserAgent      rawjson.Value `json:"userAgent"`
	ErrorCode      rawjson.Value `json:"errorCode"`
	Endpoint       rawjson.Value `json:"vpcEndpointId"`
	Identity       rawjson.Value `json:"userIdentity"`
	Parameters     rawjson.Value `json:"requestParameters"`
	Response       rawjson.Value `json:"responseElements"`
	Additional     rawjson.Value `json:"additionalEventData"`
	Resources      rawjson.Value `json:"resources"`
	ServiceDetails rawjson.Value `json:"serviceEventDetails"`

	Detail     rawjson.Value `json:"detail"`      // EventBridge
	DetailType rawjson.Value `json:"detail-type"` // EventBridge
	EventData  rawjson.Value `json:"eventData"`   // CloudTrail Lake
	Digest     rawjson.Value `json:"digestStartTime"`
	S3         rawjson.Value `json:"s3"`          // S3 notification
	Service    rawjson.Value `json:"Service"`     // S3 test notification
	FileBucket rawjson.Value `json:"s3Bucket"`    // CloudTrail's announcement
	FileKeys   rawjson.Value `json:"s3ObjectKey"` // CloudTrail's announcement
}

// message decodes one entry of a CloudWatch Logs envelope, whose message is a
// record as text.
func (d *decoder) message(raw []byte, control bool, at event.Origin, sink decode.Sink) {
	text := rawjson.Text(rawjson.Get(raw, "message"))
	switch {
	case control:
		sink.Ignored(ignoredControl)
	case text == "":
		sink.Dead(decode.ReasonMissing, raw, at)
	default:
		inner := []byte(text)
		var scan rawjson.Scan
		n, status := scan.Feed(inner)
		switch {
		case inner[0] != '{':
			sink.Dead(decode.ReasonUnknownFormat, raw, at)
		case status != rawjson.Done || strings.TrimRight(text[n:], " \n\r\t") != "":
			sink.Dead(decode.ReasonJSON, raw, at)
		case scan.Deep():
			sink.Dead(decode.ReasonTooDeep, raw, at)
		default:
			d.record(inner[:n], at, sink)
		}
	}
}

// record decodes one JSON value whose structure was found sound. It gives
// exactly one outcome.
func (d *decoder) record(raw []byte, at event.Origin, sink decode.Sink) {
	if !rawjson.IsObject(raw) {
		sink.Dead(decode.ReasonUnknownFormat, raw, at)
		return
	}
	d.rec = record{}
	rec := &d.rec
	if rawjson.ParseScanned(raw, rec) != nil {
		sink.Dead(decode.ReasonJSON, raw, at)
		return
	}
	if len(rec.EventName) == 0 {
		inner := rec.Detail
		if !rawjson.IsObject(inner) {
			inner = rec.EventData
		}
		if rawjson.IsObject(inner) {
			detailType := rawjson.Text(rec.DetailType)
			*rec = record{}
			_ = rawjson.ParseScanned(inner, rec) // it is part of what was parsed
			if ignored := foreignDetail(detailType, rec); ignored != "" {
				sink.Ignored(ignored)
				return
			}
		}
	}
	if ignored := rec.ignored(); ignored != "" {
		sink.Ignored(ignored)
		return
	}
	if reason := d.event(at, raw); reason != "" {
		sink.Dead(reason, raw, at)
		return
	}
	sink.Event(&d.ev)
}

// foreignDetail says as what an EventBridge event is ignored whose detail is
// no record of CloudTrail.
func foreignDetail(detailType string, rec *record) string {
	switch {
	case detailType == "" || len(rec.EventName) > 0 || strings.HasSuffix(detailType, "via CloudTrail"):
		return ""
	case strings.HasPrefix(detailType, "Object "):
		return ignoredNotification
	}
	return ignoredOther
}

// ignored says as what the document is ignored, or "".
func (rec *record) ignored() string {
	category, kind := rawjson.Text(rec.EventCategory), rawjson.Text(rec.EventType)
	switch {
	case len(rec.Digest) > 0 && len(rec.EventName) == 0:
		return ignoredDigest
	case category == "Insight" || kind == "AwsCloudTrailInsight":
		return ignoredInsight
	case category == "Aggregated" || kind == "AwsAggregatedEvent":
		return ignoredAggregated
	case rawjson.Text(rec.EventSource) == "aws:s3" && rawjson.IsObject(rec.S3):
		return ignoredNotification
	case rawjson.Text(rec.Service) == "Amazon S3" && len(rec.EventName) == 0:
		return ignoredNotification
	case len(rec.FileBucket) > 0 && len(rec.FileKeys) > 0:
		return ignoredAnnouncement
	}
	return ""
}

// event fills d.ev from d.rec and returns the reason why it cannot, or "".
func (d *decoder) event(at event.Origin, raw []byte) (reason string) {
	rec, e := &d.rec, &d.ev
	e.Reset()
	e.Origin, e.Observer.Type = at, Type
	e.Cloud.Service, e.Action = rawjson.Text(rec.EventSource), rawjson.Text(rec.EventName)
	if strings.HasPrefix(e.Cloud.Service, "aws:") || e.Cloud.Service == "" && e.Action == "" {
		return decode.ReasonUnknownFormat // a record of Kinesis, SQS, SNS, or of nothing known
	}
	when := rawjson.Text(rec.EventTime)
	if e.Cloud.Service == "" || e.Action == "" || when == "" {
		return decode.ReasonMissing
	}
	if e.Time = micros(when); e.Time <= 0 {
		return decode.ReasonValue
	}
	e.Cloud.Provider = "aws"
	e.Cloud.Account = rawjson.Text(rec.Recipient)
	e.Cloud.Region = rawjson.Text(rec.Region)
	e.Cloud.EndpointID = rawjson.Text(rec.Endpoint)
	e.Cloud.ErrorCode = rawjson.Text(rec.ErrorCode)
	e.Outcome = "success"
	if e.Cloud.ErrorCode != "" || e.Action == "ConsoleLogin" && rawjson.Text(rawjson.Get(rec.Response, "ConsoleLogin")) == "Failure" {
		e.Outcome = "failure"
	}
	e.HTTP.UserAgent = unbracket(rawjson.Text(rec.UserAgent))
	caller(e, rawjson.Text(rec.SourceIP))
	identify(e, rec.Identity)
	d.id = appendID(d.id[:0], rec, raw)
	e.ID = rawjson.View(d.id)
	d.classify()
	return ""
}

// classify sets the kind and what belongs to it.
func (d *decoder) classify() {
	rec, e := &d.rec, &d.ev
	name := unversioned(e.Action)
	c, known := calls[callKey{e.Cloud.Service, name}]
	switch {
	case known && c.share && d.share(&c, name):
		e.Kind = event.KindShare
	case isObjectCall(rec, e.Cloud.Service, name):
		e.Kind = event.KindObject
		object(e, rec, name)
	default:
		e.Kind = event.KindManagement
		d.manage(&c, name)
	}
}

// unversioned cuts the API version off a call's name, as in
// AddPermission20150331v2.
func unversioned(name string) string {
	stem := name
	if i := strings.LastIndexByte(stem, 'v'); i > 0 && i < len(stem)-1 && digits(stem[i+1:]) {
		stem = stem[:i]
	}
	if n := len(stem) - 8; n > 0 && digits(stem[n:]) {
		return stem[:n]
	}
	return name
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// appendID appends eventID/recipientAccountId (formats.md §5.1): the same
// event is delivered to several trails, and to each account that it concerns.
// A record without an eventID is known by its text.
func appendID(dst []byte, rec *record, raw []byte) []byte {
	id := rawjson.Text(rec.EventID)
	if id == "" {
		return strconv.AppendUint(append(dst, 'x'), xxhash.Sum64(raw), 16)
	}
	return append(append(append(dst, id...), '/'), rawjson.Text(rec.Recipient)...)
}

// micros reads 2026-01-05T10:00:00Z, and the forms without T and zone that
// data lakes write. It returns 0 for anything else.
func micros(s string) int64 {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t, err = time.Parse(time.DateTime, s)
	}
	if err != nil {
		return 0
	}
	return t.UnixMicro()
}

// unbracket takes off the brackets that S3 puts around a user agent.
func unbracket(s string) string {
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		return s[1 : len(s)-1]
	}
	return s
}
