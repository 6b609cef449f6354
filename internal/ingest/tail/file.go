package tail

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
)

// inode identifies a file on disk.
type inode struct{ device, number uint64 }

// File is one content that is or was followed.
type File struct {
	set   *Set
	group *Group
	key   string

	id       inode
	path     string
	root     string // the configured path that it was found under
	size     int64  // on disk
	modified time.Time
	changed  time.Time // when a change was noticed last
	order    time.Time // its place in the group: when it was modified as it was found
	seen     uint64    // the scan that saw it last

	kind   input.Kind
	at     input.Position
	print  fingerprint
	prefix []byte // the beginning, until print covers PrefixBytes

	file   *os.File // while reader is open
	reader input.Reader

	waiting bool // not taken up yet: empty, unfinished, or the copy of another
	beside  bool // only of interest if its content is known
	copied  bool // it waits because its content is another's
	tried   trial
	head    fingerprint // under which it is registered
	more    bool        // there may be something to read
	rotated bool        // its name is another's now
	gone    bool        // it is not on disk any more
	done    bool        // read to its end, and complete
	dirty   bool        // at was not stored yet
	lost    time.Time
	retry   time.Time // after an error
}

// Name is the path of the file.
func (f *File) Name() string { return f.path }

// Group is the group that the file belongs to.
func (f *File) Group() *Group { return f.group }

// Read hands the next record to the sink. It returns io.EOF when there is
// none for now, and reports the progress of the position in bytes. Errors of
// the file are logged and end the turn like io.EOF: it is tried again later.
func (f *File) Read(sink decode.Sink) (int64, error) {
	if f.reader == nil {
		if err := f.open(); err != nil {
			f.failed(err)
			return 0, io.EOF
		}
	}
	before := f.at.Offset
	err := f.reader.Next(sink)
	switch {
	case err == nil:
		f.moved()
		return f.at.Offset - before, nil
	case errors.Is(err, io.EOF):
		f.more = false
		if f.complete() {
			f.finish(nil, sink)
		}
	case input.IsContent(err):
		f.set.log.Warn("the rest of a file cannot be read", "file", f.path, "error", err)
		f.finish(err, sink)
	default:
		f.failed(err)
	}
	return f.at.Offset - before, io.EOF
}

// moved takes over the reader's position. The fingerprint keeps up with it:
// the file may be truncated at any time.
func (f *File) moved() {
	f.at = f.reader.Position()
	f.dirty = true
	f.capture()
}

// open opens the file at its position.
func (f *File) open() error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil {
		if id, known := inodeOf(info); known && id != f.id {
			err = errReplaced
		}
	}
	if err == nil {
		f.reader, err = input.Open(file, f.kind, f.set.options(f.path), f.at)
	}
	if err != nil {
		_ = file.Close() // it was only read
		return err
	}
	f.file = file
	return nil
}

// errReplaced is the error of a path that leads to another file than at the
// last scan. The next scan sorts it out.
var errReplaced = errors.New("another file has its name")

func (f *File) failed(err error) {
	f.close()
	f.more = false
	f.retry = f.set.now.Add(retryAfter)
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errReplaced) {
		f.set.log.Warn("file cannot be read", "file", f.path, "error", err)
		f.set.Errors++
	}
}

// retryAfter is how long a file that could not be read is left alone.
const retryAfter = 10 * time.Second

func (f *File) close() {
	if f.reader != nil {
		_ = f.reader.Close() // it was only read
		f.reader, f.file = nil, nil
	}
}

// complete reports whether nothing more can come, the reader being at the
// end of what there is.
func (f *File) complete() bool {
	switch {
	case f.set.cfg.Once, !f.kind.Follow:
		return true
	case f.rotated || f.gone:
		return f.reader.Closed() || f.quiet(f.set.cfg.Settle)
	}
	return f.quiet(f.set.cfg.FinishAfter)
}

// quiet reports whether the file has not changed for a while.
func (f *File) quiet(d time.Duration) bool {
	if f.set.now.Sub(f.changed) >= d {
		return true
	}
	return !f.modified.IsZero() && f.modified.Equal(f.order) && f.set.now.Sub(f.modified) >= d
}

// finish takes what is left of the content and lets go of the file.
func (f *File) finish(err error, sink decode.Sink) {
	f.reader.End(err, sink)
	f.moved()
	f.close()
	f.more = false
	f.done = true
	f.prefix = nil
	f.group.remove(f)
	f.set.touched = append(f.set.touched, f)
	if f.gone {
		f.set.lose(f)
	}
}

// grown looks whether an open file has grown since its end was reached.
func (f *File) grown() {
	if f.file == nil || f.more {
		return
	}
	info, err := f.file.Stat()
	if err != nil || info.Size() == f.size && info.ModTime().Equal(f.modified) {
		return
	}
	f.set.change(f, info)
}

// capture extends the fingerprint to what has been read.
func (f *File) capture() {
	want := len(f.prefix)
	if f.kind.Follow || f.at.Offset > 0 {
		want = int(min(f.at.Offset, input.PrefixBytes))
	}
	if want <= f.print.span {
		return
	}
	if want > len(f.prefix) && f.file != nil && f.kind.Follow {
		grown := make([]byte, want)
		if n, err := f.file.ReadAt(grown, 0); err == nil || errors.Is(err, io.EOF) {
			f.prefix = grown[:n]
		}
	}
	if want = min(want, len(f.prefix)); want <= f.print.span {
		return
	}
	f.print = printOf(f.prefix[:want])
	if want == input.PrefixBytes {
		f.prefix = nil
		f.set.register(f, f.print)
	}
}

// position is what is stored of the file.
func (f *File) position() Position {
	if f.key == "" {
		f.set.name(f)
	}
	return Position{
		Key: f.key, Name: f.path, Device: f.id.device, Inode: f.id.number,
		Fingerprint: hashText(f.print.hash), Span: f.print.span,
		Offset: f.at.Offset, Line: f.at.Line, Records: f.at.Records, Header: string(f.at.Header),
		Done: f.done, Size: f.size, Modified: f.modified.UnixNano(),
	}
}
