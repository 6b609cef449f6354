package objects

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
)

// Times of the network. A transaction must end within seconds, whatever S3
// does (stream.Deadline); a transfer that stands still is begun anew later.
const (
	dialTime   = 3 * time.Second
	answerTime = 4 * time.Second
	stallTime  = 4 * time.Second
)

// transport is the HTTP client of S3 and SQS.
func transport(answer time.Duration) *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTime }).
		WithTransportOptions(func(t *http.Transport) {
			t.TLSHandshakeTimeout = dialTime
			t.ResponseHeaderTimeout = answer
			t.MaxIdleConnsPerHost = 16
		})
}

// store opens objects.
type store struct {
	client     *s3.Client
	maxObject  int64
	accepts    func(input.Format) bool
	columns    string
	limits     input.Limits
	maxLine    int
	maxRecords uint64
	usual      input.Format // of objects that do not say what they hold
	part       uint64       // records read for one task, at most
	// read is told of the bytes that came.
	read func(bucket string, n int)
}

// refusal is why an object is not read. It is the object's fault, not the
// network's.
type refusal struct {
	reason string
	raw    []byte // its beginning, where that says something
	cause  error
	forget bool // the cause can be removed
}

// Error implements error.
func (r *refusal) Error() string {
	if r.cause == nil {
		return r.reason
	}
	return r.reason + ": " + r.cause.Error()
}

// Unwrap returns what S3 said.
func (r *refusal) Unwrap() error { return r.cause }

// Reasons of dead letters for whole objects.
const (
	reasonMissing  = "object_missing"   // there is no such object or bucket
	reasonDenied   = "object_denied"    // the credentials may not read it
	reasonArchived = "object_archived"  // it would have to be restored first
	reasonChanged  = "object_changed"   // it was overwritten while it was read
	reasonTooLarge = "object_too_large" // beyond s3.max_object
	reasonFormat   = "format_not_read"  // another service's, or nobody's
)

// refused tells what S3 says about an object from a failure to ask.
func refused(err error) error {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return err
	}
	switch api.ErrorCode() {
	case "NoSuchKey", "NoSuchBucket", "NotFound", "NoSuchVersion":
		return &refusal{reason: reasonMissing, cause: err, forget: true}
	case "AccessDenied", "Forbidden", "AllAccessDisabled", "InvalidAccessKeyId", "SignatureDoesNotMatch", "KMS.DisabledException", "KMS.NotFoundException":
		return &refusal{reason: reasonDenied, cause: err, forget: true}
	case "InvalidObjectState":
		return &refusal{reason: reasonArchived, cause: err, forget: true}
	case "PreconditionFailed":
		return &refusal{reason: reasonChanged, cause: err, forget: true}
	}
	return err
}

// open begins to read an object at the place of a task. Its errors are
// refusals, or those of the network. ctx is that of the reading; until is when
// the answer must be there.
func (s *store) open(ctx context.Context, t *Task, until time.Time) (r input.Reader, etag string, err error) {
	o := input.Options{Name: t.name(), Columns: s.columns, Limits: s.limits, MaxLine: s.maxLine}
	if t.Inline != nil {
		return s.stream(io.NopCloser(bytes.NewReader(t.Inline)), o, t)
	}
	b, size, etag, err := s.get(ctx, t, "", until)
	if err != nil {
		return nil, "", err
	}
	if size > s.maxObject {
		_ = b.Close() // an answer that nobody wants
		return nil, "", &refusal{reason: reasonTooLarge, cause: fmt.Errorf("%d bytes", size)}
	}
	head, err := b.head()
	if err != nil {
		_ = b.Close()
		return nil, "", err
	}
	k := input.SniffHead(head, o)
	if k.Format != input.VPCFlowParquet || !s.accepts(k.Format) || k.Compression != input.Plain {
		r, _, err := s.stream(b, o, t)
		return r, etag, err
	}
	if err := b.Close(); err != nil {
		return nil, "", err
	}
	at := &ranges{store: s, ctx: ctx, task: t, etag: etag, size: size}
	r, err = input.OpenParquet(at, size, func() error { return nil }, o, t.Position.position())
	return r, etag, err
}

// stream reads content from its beginning.
func (s *store) stream(src io.ReadCloser, o input.Options, t *Task) (input.Reader, string, error) {
	b, ok := src.(*body)
	if !ok {
		b = &body{ReadCloser: src, in: bufio.NewReaderSize(src, input.HeadBytes), cancel: func() {}}
	}
	head, err := b.head()
	if err != nil {
		_ = b.Close()
		return nil, "", err
	}
	k := input.SniffHead(head, o)
	if k.Format == input.Unknown && (s.columns != "" || bytes.Contains(head, controlMessage)) {
		o.Hint = s.usual
		k = input.SniffHead(head, o)
	}
	if k.Format.Readable() && !s.accepts(k.Format) {
		_ = b.Close()
		return nil, "", &refusal{reason: reasonFormat, raw: bytes.Clone(k.Prefix), cause: fmt.Errorf("it holds %s", k.Format)}
	}
	r, err := input.OpenStream(b, k, o, t.Position.position())
	if err != nil {
		_ = b.Close()
		return nil, "", err
	}
	return r, "", nil
}

// controlMessage stands in a connectivity test of CloudWatch Logs, which says
// nothing about what will follow.
var controlMessage = []byte(`"CONTROL_MESSAGE"`)

// get asks for an object, or a range of its bytes.
func (s *store) get(ctx context.Context, t *Task, span string, until time.Time) (b *body, size int64, etag string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(time.Until(until), cancel)
	in := &s3.GetObjectInput{Bucket: aws.String(t.Bucket), Key: aws.String(t.Key)}
	if t.ETag != "" {
		in.IfMatch = aws.String(quoted(t.ETag))
	}
	if span != "" {
		in.Range = aws.String(span)
	}
	out, err := s.client.GetObject(ctx, in)
	if err != nil {
		cancel()
		return nil, 0, "", fmt.Errorf("get object: %w", refused(err))
	}
	if !late.Stop() {
		err := errors.Join(context.DeadlineExceeded, out.Body.Close())
		return nil, 0, "", fmt.Errorf("get object: %w", err)
	}
	b = &body{ReadCloser: out.Body, cancel: cancel, stall: time.AfterFunc(stallTime, cancel), read: func(n int) { s.read(t.Bucket, n) }}
	b.stall.Stop()
	b.in = bufio.NewReaderSize(watched{b}, input.HeadBytes)
	return b, aws.ToInt64(out.ContentLength), aws.ToString(out.ETag), nil
}

// quoted is an entity tag as HTTP writes it: announcements leave the quotes
// out.
func quoted(etag string) string {
	if etag[0] == '"' {
		return etag
	}
	return strconv.Quote(etag)
}

// body is the content of an object as it comes.
type body struct {
	io.ReadCloser
	in     *bufio.Reader
	cancel context.CancelFunc
	stall  *time.Timer
	read   func(n int)
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) { return b.in.Read(p) }

// Close implements io.Closer. The context ends first: what is left of a large
// object is not read.
func (b *body) Close() error {
	b.cancel()
	_ = b.ReadCloser.Close() // it says that it was cancelled
	return nil
}

// head is the beginning of the content.
func (b *body) head() ([]byte, error) {
	head, err := b.in.Peek(input.HeadBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read object: %w", err)
	}
	return head, nil
}

// watched ends a transfer that stands still.
type watched struct{ b *body }

// Read implements io.Reader.
func (w watched) Read(p []byte) (int, error) {
	w.b.stall.Reset(stallTime)
	n, err := w.b.ReadCloser.Read(p)
	w.b.stall.Stop()
	w.b.read(n)
	return n, err
}
