package input

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/vpcflow"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

const (
	// maxFooter bounds the metadata of a Parquet file; AWS writes some KiB.
	maxFooter = 16 << 20
	// maxChunk bounds one column of one row group, decompressed: AWS closes a
	// file at 75 MB in all.
	maxChunk = 1 << 30
	rowBatch = 256
)

// rows reads flow logs in Parquet files. The library trusts its input more
// than we do: sizes are checked before it sees them, and a panic of it is
// damage of the file.
type rows struct {
	src    io.ReaderAt
	size   int64
	close  func() error
	name   string
	dec    *vpcflow.Decoder
	groups []parquet.RowGroup
	rows   parquet.Rows // of the first of groups, nil before it is open
	batch  [rowBatch]parquet.Row
	next   int
	filled int
	values []string
	count  uint64
	skip   uint64
}

// openFile opens a file that is Parquet.
func openFile(f *os.File, o Options, at Position) (Reader, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open parquet: %w", err)
	}
	return OpenParquet(f, info.Size(), f.Close, o, at)
}

// OpenParquet begins to read Parquet at a position. What is wrong with the
// content becomes its one dead record. Errors of src are to wrap ErrSource,
// unless they are of the operating system, to be told from those of the
// content. The reader calls closing when it is closed; after an error it is
// the caller's again.
func OpenParquet(src io.ReaderAt, size int64, closing func() error, o Options, at Position) (Reader, error) {
	o.normalise()
	r := &rows{src: src, size: size, close: closing, name: o.Name, dec: vpcflow.New(), skip: at.Records}
	reason, err := r.open(o.Limits)
	if err != nil {
		return nil, err
	}
	if reason != "" {
		return &refused{close: closing, reason: reason, name: o.Name, done: at.Records > 0}, nil
	}
	return r, nil
}

// ErrSource is wrapped by errors of a place that bytes come from which is no
// file: they say nothing about the content.
var ErrSource = errors.New("source")

func ofSource(err error) bool {
	_, path := errors.AsType[*os.PathError](err)
	return path || errors.Is(err, ErrSource)
}

func (r *rows) open(l Limits) (reason string, err error) {
	size := r.size
	var tail [8]byte
	if size < 12 {
		return decode.ReasonTruncated, nil
	}
	if _, err := r.src.ReadAt(tail[:], size-8); err != nil {
		return "", fmt.Errorf("open parquet: %w", err)
	}
	if string(tail[4:]) != "PAR1" {
		return decode.ReasonTruncated, nil
	}
	if n := int64(binary.LittleEndian.Uint32(tail[:4])); n > size-12 || n > maxFooter {
		return ReasonCorrupt, nil
	}
	var file *parquet.File
	err = guarded(func() error {
		var err error
		file, err = parquet.OpenFile(r.src, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
		return err
	})
	if ofSource(err) {
		return "", fmt.Errorf("open parquet: %w", err)
	}
	if err != nil {
		return ReasonCorrupt, nil
	}
	for _, g := range file.Metadata().RowGroups {
		for _, c := range g.Columns {
			n := c.MetaData.TotalUncompressedSize
			if n < 0 || n > maxChunk || n > ratioGrace && n/l.Ratio > size {
				return ReasonLimit, nil
			}
		}
	}
	var names []string
	for _, path := range file.Schema().Columns() {
		names = append(names, strings.Join(path, "."))
	}
	if r.dec, err = vpcflow.NewFormat(strings.Join(names, " ")); err != nil {
		return decode.ReasonUnknownFormat, nil
	}
	r.values = make([]string, len(names))
	r.groups = file.RowGroups()
	return "", nil
}

// guarded turns a panic of the library into an error.
func guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, p)
		}
	}()
	return do()
}

// Next implements Reader: one row.
func (r *rows) Next(sink decode.Sink) error {
	for r.next == r.filled {
		if err := r.fill(); err != nil {
			return err
		}
	}
	row := r.batch[r.next]
	r.next++
	if r.count++; r.count <= r.skip {
		return nil
	}
	for i := range r.values {
		r.values[i] = ""
	}
	for _, v := range row {
		if i := v.Column(); i >= 0 && i < len(r.values) && !v.IsNull() {
			r.values[i] = v.String()
		}
	}
	r.dec.Row(r.values, event.Origin{Name: r.name, Line: event.N(r.count)}, sink)
	return nil
}

func (r *rows) fill() error {
	if len(r.groups) == 0 {
		return io.EOF
	}
	r.next, r.filled = 0, 0
	err := guarded(func() (err error) {
		if r.rows == nil {
			r.rows = r.groups[0].Rows()
		}
		r.filled, err = r.rows.ReadRows(r.batch[:])
		return err
	})
	switch {
	case r.filled > 0:
		return nil // an error comes again
	case errors.Is(err, io.EOF):
		err := guarded(r.rows.Close)
		r.rows, r.groups = nil, r.groups[1:]
		return err
	case err == nil:
		return fmt.Errorf("%w: a row group without progress", ErrCorrupt)
	case errors.Is(err, ErrCorrupt) && !ofSource(err):
		return err
	}
	if ofSource(err) {
		return fmt.Errorf("read rows: %w", err)
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// End implements Reader.
func (r *rows) End(err error, sink decode.Sink) {
	if err == nil {
		return
	}
	if reason := reasonOf(err); reason != "" {
		if r.count++; r.count > r.skip {
			sink.Dead(reason, nil, event.Origin{Name: r.name, Line: event.N(r.count)})
		}
	}
	r.groups, r.next, r.filled = nil, 0, 0
}

// Position implements Reader.
func (r *rows) Position() Position { return Position{Records: r.count} }

// Again implements Reader.
func (r *rows) Again() error { return nil }

// Closed implements Reader.
func (r *rows) Closed() bool { return true }

// Close implements Reader.
func (r *rows) Close() error {
	if r.rows != nil {
		_ = guarded(r.rows.Close) // the file is closed below, whatever it says
	}
	return r.close()
}
