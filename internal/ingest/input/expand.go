package input

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
)

// Errors of the content of a file, to be tested with errors.Is. They are not
// errors of the program: what they cost is one dead record with a reason.
var (
	ErrTruncated = fmt.Errorf("compressed data end too early: %w", io.ErrUnexpectedEOF)
	ErrCorrupt   = errors.New("damaged data")
	ErrLimit     = errors.New("more decompressed data than allowed")
)

// Reasons of dead records that stand for the rest of a file.
const (
	ReasonCorrupt = "corrupt_input"
	ReasonLimit   = "decompression_limit"
	// ReasonNotRead is given for formats that are recognised but have no
	// decoder.
	ReasonNotRead = "format_not_read"
)

// reasonOf returns the reason of a dead record for an error of the content,
// "" for any other error.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, ErrTruncated):
		return decode.ReasonTruncated
	case errors.Is(err, ErrCorrupt):
		return ReasonCorrupt
	case errors.Is(err, ErrLimit):
		return ReasonLimit
	}
	return ""
}

// Limits bound what a compressed file may become. They stop a file that was
// made to fill memory or time; honest logs compress 5- to 40-fold.
type Limits struct {
	Bytes int64 // decompressed bytes of one file
	Ratio int64 // decompressed to compressed bytes, beyond the first 16 MiB
}

// DefaultLimits are the limits unless configured.
func DefaultLimits() Limits { return Limits{Bytes: 64 << 30, Ratio: 250} }

// ratioGrace is how much may be decompressed before the ratio counts.
const ratioGrace = 16 << 20

// zstdMemory bounds the window of zstd: 128 MiB is what --long=27 needs.
const zstdMemory = 128 << 20

// expander decompresses within limits. Its errors are io.EOF, those of this
// package, or those of src.
type expander struct {
	src    *counter
	dec    io.Reader
	close  func()
	limits Limits
	out    int64
	err    error
}

// counter counts what was read of a file and tells its errors from those of
// the decompressor.
type counter struct {
	r   io.Reader
	n   int64
	err error // of the file, other than its end
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

func newExpander(r io.Reader, c Compression, l Limits) *expander {
	x := &expander{src: &counter{r: r}, limits: l, close: func() {}}
	buffered := bufio.NewReaderSize(x.src, 64<<10)
	var err error
	switch c {
	case Gzip:
		var z *gzip.Reader
		if z, err = gzip.NewReader(buffered); err == nil {
			x.dec = z
		}
	case Zstd:
		var z *zstd.Decoder
		z, err = zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(zstdMemory), zstd.WithDecoderMaxWindow(zstdMemory))
		if err == nil {
			x.dec, x.close = z, z.Close
		}
	case Plain:
		x.dec = buffered
	}
	if err != nil {
		x.err = x.classify(err)
	}
	return x
}

func (x *expander) classify(err error) error {
	switch {
	case x.src.err != nil:
		return x.src.err
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF) && x.dec == nil:
		return ErrTruncated
	case errors.Is(err, io.EOF):
		return io.EOF
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// Read implements io.Reader.
func (x *expander) Read(p []byte) (int, error) {
	if x.err != nil {
		return 0, x.err
	}
	n, err := x.dec.Read(p)
	x.out += int64(n)
	switch {
	case err != nil:
		x.err = x.classify(err)
	case x.out > x.limits.Bytes, x.out > ratioGrace && x.out/x.limits.Ratio > x.src.n:
		x.err = ErrLimit
	}
	return n, x.err
}

// expandHead decompresses the beginning of a file as far as it goes.
func expandHead(head []byte, c Compression, most int) []byte {
	x := newExpander(bytes.NewReader(head), c, DefaultLimits())
	defer x.close()
	out, _ := io.ReadAll(io.LimitReader(x, int64(most))) // what there is counts
	return out
}
