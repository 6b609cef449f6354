package objects

import (
	"errors"
	"net/url"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
)

// Ref is an object that somebody says is there.
type Ref struct {
	Bucket, Key string
	Size        int64 // bytes; 0 when it is not known
	ETag        string
	// Inline is the content itself, of an event that EventBridge hands over
	// in the message. Bucket is then inlineBucket, Key the event's id.
	Inline []byte
}

// inlineBucket stands for the bucket of what has none.
const inlineBucket = "eventbridge"

// Forms of announcements, as label values.
const (
	formS3          = "s3"
	formEventBridge = "eventbridge"
	formCloudTrail  = "cloudtrail" // CloudTrail's own notification
	formInline      = "inline"     // the record, not its object
	formTest        = "test"
	formOther       = "other" // sound, and no object that was written
)

// ErrAnnouncement is returned for a message that announces nothing.
var ErrAnnouncement = errors.New("not an announcement of objects")

// maxRefs bounds the objects of one message; AWS sends one a message, and
// CloudTrail a few.
const maxRefs = 1000

const (
	// maxKey is the longest name of an object: S3 takes 1024 bytes.
	maxKey = 4096
	// maxInline is the longest event in a message: EventBridge takes 256 KiB.
	maxInline = 512 << 10
)

// sound reports whether an object can be asked for.
func (r *Ref) sound() bool {
	return r.Bucket != "" && len(r.Bucket) <= 255 && r.Key != "" && len(r.Key) <= maxKey && len(r.ETag) <= 255 && len(r.Inline) <= maxInline
}

// notification has the keys of all forms (formats.md §5.2).
type notification struct {
	Records rawjson.Value `json:"Records"` // S3
	Service rawjson.Value `json:"Service"` // S3's test
	Event   rawjson.Value `json:"Event"`   // S3's test

	Type    rawjson.Value `json:"Type"`    // SNS
	Message rawjson.Value `json:"Message"` // SNS

	Source     rawjson.Value `json:"source"`      // EventBridge
	DetailType rawjson.Value `json:"detail-type"` // EventBridge
	Detail     rawjson.Value `json:"detail"`      // EventBridge
	ID         rawjson.Value `json:"id"`          // EventBridge

	Bucket rawjson.Value `json:"s3Bucket"`    // CloudTrail
	Keys   rawjson.Value `json:"s3ObjectKey"` // CloudTrail
}

// parseAnnouncement reads the body of a message: an S3 event, the same through
// EventBridge, CloudTrail's own notification, each of these through SNS, or an
// event of EventBridge that holds a CloudTrail record. The error wraps
// ErrAnnouncement.
func parseAnnouncement(body []byte) (refs []Ref, form string, err error) {
	return parseNested(body, 2)
}

func parseNested(body []byte, levels int) (refs []Ref, form string, err error) {
	var n notification
	if err := rawjson.Parse(body, &n); err != nil {
		return nil, "", errors.Join(ErrAnnouncement, err)
	}
	switch {
	case rawjson.IsArray(n.Records):
		return s3Event(n.Records)
	case rawjson.Text(n.Event) == "s3:TestEvent":
		return nil, formTest, nil
	case len(n.Bucket) > 0 && len(n.Keys) > 0:
		return cloudTrail(&n)
	case rawjson.IsObject(n.Detail):
		return eventBridge(&n, body)
	case rawjson.Text(n.Message) != "" && levels > 0:
		if strings.HasPrefix(rawjson.Text(n.Message), "CloudTrail validation message") {
			return nil, formTest, nil
		}
		return parseNested([]byte(rawjson.Text(n.Message)), levels-1)
	}
	return nil, "", ErrAnnouncement
}

// s3Event reads {"Records":[…]}, whose keys are URL-encoded.
func s3Event(records rawjson.Value) (refs []Ref, form string, err error) {
	n := 0
	for r := range rawjson.Each(records) {
		n++
		if rawjson.Text(rawjson.Get(r, "eventSource")) != "aws:s3" || n > maxRefs {
			return nil, "", ErrAnnouncement
		}
		if !created(rawjson.Text(rawjson.Get(r, "eventName"))) {
			continue
		}
		object := rawjson.Get(r, "s3", "object")
		key, err := url.QueryUnescape(rawjson.Text(rawjson.Get(object, "key")))
		if err != nil {
			return nil, "", errors.Join(ErrAnnouncement, err)
		}
		ref := Ref{
			Bucket: rawjson.Text(rawjson.Get(r, "s3", "bucket", "name")), Key: key,
			Size: int64(rawjson.Count(rawjson.Get(object, "size")).Or(0)), ETag: rawjson.Text(rawjson.Get(object, "eTag")),
		}
		if !ref.sound() {
			return nil, "", ErrAnnouncement
		}
		refs = append(refs, ref)
	}
	if len(refs) == 0 {
		return nil, formOther, nil
	}
	return refs, formS3, nil
}

// created tells ObjectCreated:Put and its kin from removals, restores, tags.
func created(name string) bool {
	return strings.HasPrefix(strings.TrimPrefix(name, "s3:"), "ObjectCreated:")
}

// cloudTrail reads {"s3Bucket":…,"s3ObjectKey":[…]}, whose keys are as they
// are.
func cloudTrail(n *notification) (refs []Ref, form string, err error) {
	bucket := rawjson.Text(n.Bucket)
	for k := range rawjson.Each(n.Keys) {
		ref := Ref{Bucket: bucket, Key: rawjson.Text(k)}
		if !ref.sound() || len(refs) == maxRefs {
			return nil, "", ErrAnnouncement
		}
		refs = append(refs, ref)
	}
	if len(refs) == 0 {
		return nil, formOther, nil
	}
	return refs, formCloudTrail, nil
}

// eventBridge reads "Object Created" of S3, whose key is as it is, and records
// of CloudTrail.
func eventBridge(n *notification, body []byte) (refs []Ref, form string, err error) {
	switch kind := rawjson.Text(n.DetailType); {
	case kind == "Object Created":
		object := rawjson.Get(n.Detail, "object")
		ref := Ref{
			Bucket: rawjson.Text(rawjson.Get(n.Detail, "bucket", "name")), Key: rawjson.Text(rawjson.Get(object, "key")),
			Size: int64(rawjson.Count(rawjson.Get(object, "size")).Or(0)), ETag: rawjson.Text(rawjson.Get(object, "etag")),
		}
		if !ref.sound() {
			return nil, "", ErrAnnouncement
		}
		return []Ref{ref}, formEventBridge, nil
	case strings.HasSuffix(kind, "via CloudTrail"):
		ref := Ref{Bucket: inlineBucket, Key: rawjson.Text(n.ID), Size: int64(len(body)), Inline: body}
		if !ref.sound() {
			return nil, "", ErrAnnouncement
		}
		return []Ref{ref}, formInline, nil
	case kind == "":
		return nil, "", ErrAnnouncement
	}
	return nil, formOther, nil
}
