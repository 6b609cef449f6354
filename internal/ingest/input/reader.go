package input

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/cloudtrail"
	"github.com/ebbwatch/ebbwatch/pkg/decode/ecs"
	"github.com/ebbwatch/ebbwatch/pkg/decode/falco"
	"github.com/ebbwatch/ebbwatch/pkg/decode/gcp"
	"github.com/ebbwatch/ebbwatch/pkg/decode/hostlog"
	"github.com/ebbwatch/ebbwatch/pkg/decode/resolver"
	"github.com/ebbwatch/ebbwatch/pkg/decode/vpcflow"
	"github.com/ebbwatch/ebbwatch/pkg/decode/zeek"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Position is how far a file has been read. The zero value is its beginning.
type Position struct {
	Offset  int64  // bytes, decompressed; of formats of one record a line
	Line    uint64 // lines before Offset
	Records uint64 // records handed on; of all other formats
	Header  []byte // what the decoder needs of the file's beginning
}

// Reader reads one file. It is used by one goroutine.
type Reader interface {
	// Next hands the next record to the sink. It returns io.EOF when there
	// is none, for now, and an error of this package when the rest of the
	// content cannot be read. Other errors are those of the file.
	Next(sink decode.Sink) error
	// End says that nothing more will come: nil or io.EOF at the regular
	// end, or the error of the content that Next returned. What is left of a
	// record goes to the sink.
	End(err error, sink decode.Sink)
	// Position is where the next record stands.
	Position() Position
	// Again gives back what was read of an unfinished record, to be read
	// again: it may not stand in the file any more.
	Again() error
	// Closed reports whether the file says itself that it is complete.
	Closed() bool
	Close() error
}

// Options say how files are read. The zero value reads anything.
type Options struct {
	// Name is the name of the file in the origin of its records.
	Name string
	// Hint is the format of files whose content does not tell.
	Hint Format
	// Columns are the columns of flow log lines without a header, as the AWS
	// API writes them.
	Columns string
	// Zeek configures the decoder of Zeek logs; its Path is the file's.
	Zeek zeek.Options
	// HostLog configures the decoder of host logs; without a Reference it is
	// the time of the file's last change.
	HostLog hostlog.Options
	Limits  Limits
	MaxLine int
}

func (o *Options) normalise() {
	def := DefaultLimits()
	if o.Limits.Bytes <= 0 {
		o.Limits.Bytes = def.Bytes
	}
	if o.Limits.Ratio <= 0 {
		o.Limits.Ratio = def.Ratio
	}
	if o.MaxLine <= 0 {
		o.MaxLine = DefaultMaxLine
	}
}

// Kind is what a file was recognised as.
type Kind struct {
	Format      Format
	Compression Compression
	// Follow says that the file may be read while it grows: plain text of
	// one record a line.
	Follow bool
	// Prefix is the beginning of its decompressed content, at most
	// PrefixBytes: with it two names of one content are told apart from two
	// contents.
	Prefix []byte
	// Lines says that the prefix, or what else was looked at, has a line
	// break: of a growing file the first line is complete.
	Lines bool

	byLine bool
}

// PrefixBytes is the length of Kind.Prefix.
const PrefixBytes = 4096

// Sniff recognises an open file.
func Sniff(f io.ReaderAt, o Options) (Kind, error) {
	head := make([]byte, HeadBytes)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Kind{}, fmt.Errorf("recognise: %w", err)
	}
	return SniffHead(head[:n], o), nil
}

// SniffHead recognises content by its beginning, of which HeadBytes are
// enough.
func SniffHead(head []byte, o Options) Kind {
	k := Kind{Compression: compressionOf(head)}
	if k.Compression != Plain {
		head = expandHead(head, k.Compression, maxText)
	}
	if k.Format = formatOf(o.Name, head); k.Format == Unknown {
		k.Format = o.Hint
	}
	k.Prefix = head[:min(len(head), PrefixBytes)]
	k.Lines = bytes.IndexByte(head, '\n') >= 0
	switch k.Format {
	case ZeekTSV, ZeekJSON, Falco, HostLog:
		k.byLine = true
	case VPCFlow, Resolver:
		k.byLine = !documentStream(head)
	case CloudTrail:
		k.byLine = recordLines(head)
	case GCPLog, ECS:
		k.byLine = documentLines(head)
	case Unknown, Pcap, PcapNG, VPCFlowParquet:
	}
	k.Follow = k.byLine && k.Compression == Plain
	return k
}

// recordLines reports whether CloudTrail data hold one record a line: the
// first line is complete and no array of records, which may be of any length.
func recordLines(head []byte) bool {
	line, _, ok := bytes.Cut(bytes.TrimLeft(head, " \t\r\n"), []byte{'\n'})
	line = bytes.TrimSpace(line)
	return ok && len(line) > 1 && line[0] == '{' && line[len(line)-1] == '}' && !bytes.HasPrefix(bytes.TrimLeft(line[1:], " "), []byte(`"Records"`))
}

// Open begins to read a file at a position. The reader closes it.
func Open(f *os.File, k Kind, o Options, at Position) (Reader, error) {
	o.normalise()
	if k.Format == HostLog && o.HostLog.Reference.IsZero() {
		info, err := f.Stat()
		if err != nil {
			return nil, fmt.Errorf("time of the last change: %w", err)
		}
		o.HostLog.Reference = info.ModTime()
	}
	if k.Format == Unknown && k.Compression != Plain && len(k.Prefix) == 0 {
		// Nothing, compressed: that is no record. Or not even that.
		x := newExpander(f, k.Compression, o.Limits)
		return newLines(x, func() error { x.close(); return f.Close() }, falco.New(), o.Name, o.MaxLine, at), nil
	}
	if !k.Format.Readable() {
		reason := decode.ReasonUnknownFormat
		if k.Format != Unknown {
			reason = ReasonNotRead
		}
		return &refused{close: f.Close, reason: reason, raw: bytes.Clone(k.Prefix), name: o.Name, done: at.Records > 0}, nil
	}
	if k.Format == VPCFlowParquet {
		if k.Compression != Plain {
			return &refused{close: f.Close, reason: ReasonNotRead, name: o.Name, done: at.Records > 0}, nil
		}
		return openFile(f, o, at)
	}
	if k.Follow {
		dec, err := lineDecoder(k.Format, o)
		if err != nil {
			return nil, err
		}
		if _, err := f.Seek(at.Offset, io.SeekStart); err != nil {
			return nil, fmt.Errorf("go to the position: %w", err)
		}
		return newLines(f, f.Close, dec, o.Name, o.MaxLine, at), nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("go to the beginning: %w", err)
	}
	x := newExpander(f, k.Compression, o.Limits)
	closing := func() error { x.close(); return f.Close() }
	if k.byLine {
		dec, err := lineDecoder(k.Format, o)
		if err != nil {
			return nil, err
		}
		// Content that is shorter than the position has been read.
		if _, err := io.CopyN(io.Discard, x, at.Offset); err != nil && !errors.Is(err, io.EOF) && reasonOf(err) == "" {
			return nil, fmt.Errorf("go to the position: %w", err)
		}
		return newLines(x, closing, dec, o.Name, o.MaxLine, at), nil
	}
	return openWhole(x, closing, k, o, at)
}

// openWhole begins to read decompressed content that does not stand in lines.
func openWhole(x io.Reader, closing func() error, k Kind, o Options, at Position) (Reader, error) {
	switch k.Format {
	case CloudTrail:
		r := cloudtrail.NewReader(x, event.Origin{Name: o.Name})
		r.Skip(at.Records)
		return &documents{Reader: r, close: closing}, nil
	case VPCFlow, Resolver, GCPLog, ECS:
		dec, err := lineDecoder(k.Format, o)
		if err != nil {
			return nil, err
		}
		v := newValues(x, closing, dec, o.Name, at)
		v.elements = k.Format == GCPLog || k.Format == ECS
		return v, nil
	default:
		return openPackets(x, closing, o.Name, at), nil
	}
}

// NewDecoder returns a decoder of records that come one by one; see Format.Lines.
func NewDecoder(f Format, o Options) (decode.Lines, error) {
	if !f.Lines() {
		return nil, fmt.Errorf("%s does not come record by record", f)
	}
	o.normalise()
	return lineDecoder(f, o)
}

func lineDecoder(f Format, o Options) (decode.Lines, error) {
	switch f {
	case VPCFlow:
		if o.Columns == "" {
			return vpcflow.New(), nil
		}
		return vpcflow.NewFormat(o.Columns)
	case Falco:
		return falco.New(), nil
	case CloudTrail:
		return cloudtrail.New(), nil
	case Resolver:
		return resolver.New(), nil
	case GCPLog:
		return gcp.New(), nil
	case ECS:
		return ecs.New(), nil
	case HostLog:
		return hostlog.New(o.HostLog), nil
	default:
		z := o.Zeek
		z.Path, z.MaxLine = o.Name, o.MaxLine
		return zeek.New(z), nil
	}
}

// ReadAll reads what is left of a file until ctx ends. Errors of the content
// go to the sink.
func ReadAll(ctx context.Context, r Reader, sink decode.Sink) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := r.Next(sink)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			r.End(nil, sink)
			return nil
		case reasonOf(err) != "":
			r.End(err, sink)
			return nil
		default:
			return err
		}
	}
}

// IsContent reports whether an error of Next is one of the content, for End,
// and not one of the file.
func IsContent(err error) bool { return reasonOf(err) != "" }

// documents reads CloudTrail files, whose records stand in one long line.
type documents struct {
	*cloudtrail.Reader
	close func() error
}

// End implements Reader.
func (d *documents) End(err error, sink decode.Sink) {
	if err == nil {
		return
	}
	if reason := reasonOf(err); reason != "" {
		d.Abandon(because{sink, reason})
	}
}

// because gives dead records another reason.
type because struct {
	decode.Sink
	reason string
}

// Dead implements decode.Sink.
func (b because) Dead(_ string, raw []byte, at event.Origin) { b.Sink.Dead(b.reason, raw, at) }

// Position implements Reader.
func (d *documents) Position() Position { return Position{Records: d.Records()} }

// Again implements Reader.
func (d *documents) Again() error { return nil }

// Closed implements Reader.
func (d *documents) Closed() bool { return true }

// Close implements Reader.
func (d *documents) Close() error { return d.close() }

// refused is a file that is not read: one dead record.
type refused struct {
	close  func() error
	reason string
	raw    []byte
	name   string
	done   bool
}

// Next implements Reader.
func (r *refused) Next(sink decode.Sink) error {
	if r.done {
		return io.EOF
	}
	r.done = true
	sink.Dead(r.reason, r.raw, event.Origin{Name: r.name, Offset: event.N(0)})
	return nil
}

// End implements Reader.
func (r *refused) End(error, decode.Sink) {}

// Position implements Reader.
func (r *refused) Position() Position {
	if r.done {
		return Position{Records: 1}
	}
	return Position{}
}

// Again implements Reader.
func (r *refused) Again() error { return nil }

// Closed implements Reader.
func (r *refused) Closed() bool { return true }

// Close implements Reader.
func (r *refused) Close() error { return r.close() }

// skipper passes over the first records of a reader that has to read a file
// from its beginning to know where it stands.
type skipper struct {
	sink    decode.Sink
	records uint64 // so far
	skip    uint64
}

// Event implements decode.Sink.
func (s *skipper) Event(e *event.Event) {
	if s.records++; s.records > s.skip {
		s.sink.Event(e)
	}
}

// Ignored implements decode.Sink.
func (s *skipper) Ignored(reason string) {
	if s.records++; s.records > s.skip {
		s.sink.Ignored(reason)
	}
}

// Dead implements decode.Sink.
func (s *skipper) Dead(reason string, raw []byte, at event.Origin) {
	if s.records++; s.records > s.skip {
		s.sink.Dead(reason, raw, at)
	}
}
