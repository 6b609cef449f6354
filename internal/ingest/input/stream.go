package input

import (
	"bytes"
	"errors"
	"io"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/falco"
)

// OpenStream begins to read content that comes from somewhere else than a
// file, from its beginning on; k is what SniffHead said of that. What stands
// before at is passed over, some of it with each call of Next, which then
// returns nil without a word to the sink. Parquet is no stream: see
// OpenParquet. The reader closes src, and after an error it is the caller's
// again.
func OpenStream(src io.ReadCloser, k Kind, o Options, at Position) (Reader, error) {
	o.normalise()
	refuse := func(reason string) (Reader, error) {
		return &refused{close: src.Close, reason: reason, raw: bytes.Clone(k.Prefix), name: o.Name, done: at.Records > 0}, nil
	}
	switch {
	case k.Format == Unknown && len(k.Prefix) == 0:
		// Nothing, perhaps compressed: that is no record. Or not even that.
		x := newExpander(src, k.Compression, o.Limits)
		return newLines(x, func() error { x.close(); return src.Close() }, falco.New(), o.Name, o.MaxLine, at), nil
	case k.Format == Unknown:
		return refuse(decode.ReasonUnknownFormat)
	case !k.Format.Readable(), k.Format == VPCFlowParquet:
		return refuse(ReasonNotRead)
	}
	x := newExpander(src, k.Compression, o.Limits)
	closing := func() error { x.close(); return src.Close() }
	if !k.byLine {
		return openWhole(x, closing, k, o, at)
	}
	dec, err := lineDecoder(k.Format, o)
	if err != nil {
		return nil, err
	}
	return &passing{Reader: newLines(x, closing, dec, o.Name, o.MaxLine, at), src: x, left: at.Offset}, nil
}

// passing passes over the beginning of a stream before its reader reads.
type passing struct {
	Reader
	src  io.Reader
	left int64
}

// passBytes is how much is passed over at once.
const passBytes = 4 << 20

// Next implements Reader.
func (p *passing) Next(sink decode.Sink) error {
	if p.left == 0 {
		return p.Reader.Next(sink)
	}
	n, err := io.CopyN(io.Discard, p.src, min(p.left, passBytes))
	p.left -= n
	switch {
	case errors.Is(err, io.EOF) && reasonOf(err) == "":
		p.left = 0 // content that is shorter than the position has been read
		return nil
	case err != nil:
		return err
	}
	return nil
}
