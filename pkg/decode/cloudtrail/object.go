package cloudtrail

import (
	"net/url"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// objectCalls are the S3 calls that read, write or list objects. Records of
// the category Data need no place here; those of network activity do.
var objectCalls = map[string]bool{
	"GetObject": true, "HeadObject": true, "GetObjectTorrent": true, "GetObjectAttributes": true, "SelectObjectContent": true,
	"RestoreObject": true, "PutObject": true, "PostObject": true, "CopyObject": true, "RenameObject": true,
	"DeleteObject": true, "DeleteObjects": true, "ListObjects": true, "ListObjectsV2": true, "ListObjectVersions": true,
	"CreateMultipartUpload": true, "UploadPart": true, "UploadPartCopy": true, "CompleteMultipartUpload": true,
	"AbortMultipartUpload": true, "ListParts": true, "ListMultipartUploads": true, "WriteGetObjectResponse": true,
}

// isObjectCall reports whether a record is access to an object of S3.
func isObjectCall(rec *record, service, name string) bool {
	switch service {
	case "s3.amazonaws.com", "s3express.amazonaws.com", "s3-outposts.amazonaws.com":
	default:
		return false
	}
	return objectCalls[name] || rawjson.Text(rec.EventCategory) == "Data" || string(rec.Management) == "false"
}

// object fills in an access to an object (formats.md §5.5).
func object(e *event.Event, rec *record, name string) {
	var params struct {
		Bucket     rawjson.Value `json:"bucketName"`
		Key        rawjson.Value `json:"key"`
		CopySource rawjson.Value `json:"x-amz-copy-source"`
	}
	var more struct {
		Out  rawjson.Value `json:"bytesTransferredOut"`
		In   rawjson.Value `json:"bytesTransferredIn"`
		Auth rawjson.Value `json:"AuthenticationMethod"`
	}
	// Both are parts of a value that was parsed: the only error is that they
	// are no objects, and then they say nothing.
	_ = rawjson.ParseScanned(rec.Parameters, &params)
	_ = rawjson.ParseScanned(rec.Additional, &more)
	o := &e.Object
	o.Bucket, o.Key = rawjson.Text(params.Bucket), rawjson.Text(params.Key)
	o.CopySource = copySource(rawjson.Text(params.CopySource))
	o.Presigned = rawjson.Text(more.Auth) == "QueryString"
	if e.Outcome == "success" {
		o.BytesIn = rawjson.Count(more.In)
		if name != "CopyObject" && name != "UploadPartCopy" {
			o.BytesOut = rawjson.Count(more.Out)
		}
	}
	o.Owner = owner(rec, o, e.Cloud.Account)
}

// owner returns the account that owns the bucket of the call, as far as the
// resources of the record tell. A copy lists the buckets of both sides in no
// order. Where the bucket goes by another name (access points) it is one of
// those that are not the copy's source, and of several rather one that is not
// ours: a foreign owner is what matters.
func owner(rec *record, o *event.Object, own string) string {
	source, _, _ := strings.Cut(o.CopySource, "/")
	likely := ""
	for r := range rawjson.Each(rec.Resources) {
		account := rawjson.Text(rawjson.Get(r, "accountId"))
		if account == "" || rawjson.Text(rawjson.Get(r, "type")) != "AWS::S3::Bucket" {
			continue
		}
		arn := rawjson.Text(rawjson.Get(r, "ARN"))
		switch name := arn[strings.LastIndexByte(arn, ':')+1:]; {
		case name == o.Bucket:
			return account
		case name == source:
		case likely == "" || likely == own:
			likely = account
		}
	}
	return likely
}

// copySource takes the value of x-amz-copy-source, [/]BUCKET/KEY[?versionId=…]
// in URL encoding, to BUCKET/KEY.
func copySource(s string) string {
	s, _, _ = strings.Cut(s, "?")
	s = strings.TrimPrefix(s, "/")
	if decoded, err := url.PathUnescape(s); err == nil {
		return strings.TrimPrefix(decoded, "/")
	}
	return s
}
