package objects

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/stream"
)

const (
	s3Message    = `{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{"key":"a%3D1+2%2Fx.gz","size":7,"eTag":"e"}}}]}`
	testMessage  = `{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2026-01-05T10:00:00.000Z","Bucket":"b","RequestId":"r","HostId":"h"}`
	bridge       = `{"version":"0","id":"i","detail-type":"Object Created","source":"aws.s3","detail":{"bucket":{"name":"b"},"object":{"key":"a=1 2/x%20.gz","size":7,"etag":"e"},"reason":"PutObject"}}`
	ownMessage   = `{"s3Bucket":"b","s3ObjectKey":["a=1+2/x.gz","y%20.gz"]}`
	validation   = `{"Type":"Notification","Message":"CloudTrail validation message."}`
	removal      = `{"Records":[{"eventSource":"aws:s3","eventName":"ObjectRemoved:Delete","s3":{"bucket":{"name":"b"},"object":{"key":"x"}}}]}`
	otherService = `{"version":"0","id":"i","detail-type":"EC2 Instance State-change Notification","source":"aws.ec2","detail":{"state":"running"}}`
)

func wrapped(inner string) string {
	return `{"Type":"Notification","MessageId":"m","TopicArn":"t","Message":` + quote(inner) + `}`
}

func quote(s string) string {
	out := []byte{'"'}
	for _, c := range []byte(s) {
		if c == '"' || c == '\\' {
			out = append(out, '\\')
		}
		out = append(out, c)
	}
	return string(append(out, '"'))
}

func TestParseAnnouncement(t *testing.T) {
	t.Parallel()
	one := []Ref{{Bucket: "b", Key: "a=1 2/x.gz", Size: 7, ETag: "e"}}
	for name, c := range map[string]struct {
		body string
		refs []Ref
		form string
		bad  bool
	}{
		"S3 event":                  {s3Message, one, formS3, false},
		"S3 event through SNS":      {wrapped(s3Message), one, formS3, false},
		"EventBridge":               {bridge, []Ref{{Bucket: "b", Key: "a=1 2/x%20.gz", Size: 7, ETag: "e"}}, formEventBridge, false},
		"EventBridge through SNS":   {wrapped(bridge), []Ref{{Bucket: "b", Key: "a=1 2/x%20.gz", Size: 7, ETag: "e"}}, formEventBridge, false},
		"CloudTrail's own, raw":     {ownMessage, []Ref{{Bucket: "b", Key: "a=1+2/x.gz"}, {Bucket: "b", Key: "y%20.gz"}}, formCloudTrail, false},
		"CloudTrail's own, wrapped": {wrapped(ownMessage), []Ref{{Bucket: "b", Key: "a=1+2/x.gz"}, {Bucket: "b", Key: "y%20.gz"}}, formCloudTrail, false},
		"test":                      {testMessage, nil, formTest, false},
		"test through SNS":          {wrapped(testMessage), nil, formTest, false},
		"validation":                {validation, nil, formTest, false},
		"removal":                   {removal, nil, formOther, false},
		"another event":             {otherService, nil, formOther, false},
		"no JSON":                   {"hello", nil, "", true},
		"a log file's content":      {`{"Records":[{"eventVersion":"1.11","eventSource":"s3.amazonaws.com","eventName":"GetObject"}]}`, nil, "", true},
		"no key":                    {`{"Records":[{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{}}}]}`, nil, "", true},
		"a broken key":              {`{"Records":[{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{"key":"%zz"}}}]}`, nil, "", true},
		"wrapped without end":       {wrapped(wrapped(wrapped(wrapped(s3Message)))), nil, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refs, form, err := parseAnnouncement([]byte(c.body))
			if c.bad != errors.Is(err, ErrAnnouncement) || !c.bad && err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.refs, refs); diff != "" || form != c.form {
				t.Errorf("form %q, want %q: %s", form, c.form, diff)
			}
		})
	}
}

// The vendor's own samples of messages.
func TestSampleAnnouncements(t *testing.T) {
	t.Parallel()
	folder := filepath.Join("..", "..", "..", "..", "shared", "data", "samples", "envelopes")
	if _, err := os.Stat(folder); err != nil {
		t.Skipf("no samples beside the repository: %v", err)
	}
	for name, want := range map[string]struct {
		refs int
		form string
		bad  bool
	}{
		"aws_s3-event.json":              {1, formS3, false},
		"aws_s3-event-with-decoded.json": {1, formS3, false},
		"cloudtrail_sns_message.json":    {3, formCloudTrail, false},
		"aws_sns-event.json":             {0, "", true}, // as a Lambda gets it: Records of SNS
		"aws_sqs-event.json":             {0, "", true},
		"aws_kinesis-event.json":         {0, "", true},
	} {
		body, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		refs, form, err := parseAnnouncement(body)
		if (err != nil) != want.bad || len(refs) != want.refs || form != want.form {
			t.Errorf("%s: %d objects, form %q, error %v", name, len(refs), form, err)
		}
	}
}

func FuzzParseAnnouncement(f *testing.F) {
	for _, s := range []string{s3Message, testMessage, bridge, ownMessage, validation, removal, otherService, wrapped(s3Message), wrapped(ownMessage)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		refs, form, err := parseAnnouncement(body)
		if (err == nil) != (form != "") || err != nil && len(refs) > 0 {
			t.Fatalf("%d objects, form %q, error %v", len(refs), form, err)
		}
		for i := range refs {
			task := taskOf(refs[i], "cloudtrail")
			value, err := task.Append(nil)
			if err != nil || len(value) > stream.MaxOutputBytes {
				t.Fatalf("%d bytes, %v", len(value), err)
			}
			back, err := decodeTask(value)
			if err != nil {
				t.Fatal(err)
			}
			if back.id() != task.id() && isUTF8(task) {
				t.Fatalf("%q became %q", task.Key, back.Key)
			}
		}
	})
}
