package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Input is one recognised file.
type Input struct {
	path     string
	observer string
	kind     Kind
	options  Options
	size     int64
	consumed atomic.Int64
}

// Skipped is a file that is not read, and why.
type Skipped struct {
	Path   string
	Reason string
}

// Name is the path of the file as it was found below the path given to Walk.
func (in *Input) Name() string { return in.path }

// Format is what the file holds.
func (in *Input) Format() Format { return in.kind.Format }

// Size is the length of the file in bytes when it was found.
func (in *Input) Size() int64 { return in.size }

// Consumed is how many of them the last Read has taken so far. It is safe for
// concurrent use.
func (in *Input) Consumed() int64 { return in.consumed.Load() }

// Observer is the name of the sensor: all files of a folder have the same.
func (in *Input) Observer() string { return in.observer }

// Read decodes the whole file into sink, with Observer.Name set, and returns
// when it is through or ctx ends. An error means that the file cannot be
// read; what is wrong with its content goes to the sink.
func (in *Input) Read(ctx context.Context, sink decode.Sink) error {
	f, err := os.Open(in.path)
	if err != nil {
		return err
	}
	r, err := Open(f, in.kind, in.options, Position{})
	if err != nil {
		return errors.Join(err, f.Close())
	}
	// The file is read in large pieces; its own position tells how far.
	n := &named{Sink: sink, name: in.observer, tick: func() {
		if at, err := f.Seek(0, io.SeekCurrent); err == nil {
			in.consumed.Store(at)
		}
	}}
	in.consumed.Store(0)
	err = ReadAll(ctx, r, n)
	if ctx.Err() == nil {
		in.consumed.Store(in.size)
	}
	return errors.Join(err, r.Close())
}

// named gives events the name of their sensor.
type named struct {
	decode.Sink
	name string
	tick func() // called now and then
	n    uint
}

// tickEvery is how many events pass between two looks at the position.
const tickEvery = 4096

// Event implements decode.Sink.
func (n *named) Event(e *event.Event) {
	e.Observer.Name = n.name
	if n.n++; n.n%tickEvery == 0 {
		n.tick()
	}
	n.Sink.Event(e)
}

// Walk finds the files that can be read in paths, which are files or folders
// with all below them, in the order of paths and then of names. Hidden files
// are passed over, and links to folders other than those in paths. A second
// file with the same content in a folder (a log and its compressed copy) is
// skipped. An error means that a path cannot be looked at at all.
//
// Observer names: see ObserverName. Options.Name and Zeek.Path are set for
// each file.
func Walk(paths []string, o Options) ([]*Input, []Skipped, error) {
	w := &walk{options: o, seen: map[string]bool{}, content: map[content]string{}, folders: map[string]string{}}
	var errs []error
	for _, p := range paths {
		if err := w.root(p); err != nil {
			errs = append(errs, err)
		}
	}
	return w.inputs, w.skipped, errors.Join(errs...)
}

type walk struct {
	options Options
	inputs  []*Input
	skipped []Skipped
	seen    map[string]bool    // absolute paths
	content map[content]string // to the path that has it
	folders map[string]string  // observer name → absolute folder
}

// content identifies what a file of a folder holds.
type content struct {
	folder, log string
	hash        uint64
	length      int
}

func (w *walk) root(path string) error {
	path = filepath.Clean(path)
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return w.file(path, filepath.Dir(path), true)
	}
	// A link to a folder is followed when it is named.
	return fs.WalkDir(os.DirFS(path), ".", func(rel string, d fs.DirEntry, err error) error {
		at := filepath.Join(path, filepath.FromSlash(rel))
		switch {
		case err != nil && rel == ".":
			return err
		case err != nil:
			w.skip(at, err.Error())
			return nil
		case rel != "." && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return nil
		}
		return w.file(at, path, false)
	})
}

func (w *walk) skip(path, reason string) {
	w.skipped = append(w.skipped, Skipped{Path: path, Reason: reason})
}

// file takes one file below root. A file that was named itself and is of no
// known format is an input all the same: its one record is dead.
func (w *walk) file(path, root string, asked bool) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if w.seen[abs] {
		return nil
	}
	w.seen[abs] = true
	info, err := os.Stat(path)
	switch {
	case err != nil && asked:
		return err
	case err != nil:
		w.skip(path, err.Error())
		return nil
	case !info.Mode().IsRegular():
		w.skip(path, "no regular file")
		return nil
	case info.Size() == 0:
		w.skip(path, "empty")
		return nil
	}
	in := &Input{path: path, options: w.options, size: info.Size()}
	in.options.Name = path
	f, err := os.Open(path)
	if err == nil {
		in.kind, err = Sniff(f, in.options)
		_ = f.Close() // it was only read
	}
	switch {
	case err != nil && asked:
		return err
	case err != nil:
		w.skip(path, err.Error())
		return nil
	case in.kind.Format == Unknown && !asked:
		w.skip(path, "format not recognised")
		return nil
	}
	folder := filepath.Dir(abs)
	key := content{folder, LogName(path), xxhash.Sum64(in.kind.Prefix), len(in.kind.Prefix)}
	if other, ok := w.content[key]; ok {
		w.skip(path, "a copy of "+other)
		return nil
	}
	w.content[key] = path
	in.observer = w.observer(root, path, folder)
	if in.kind.Format.Readable() {
		in.kind.Prefix = nil // of what is refused it is the evidence
	}
	w.inputs = append(w.inputs, in)
	return nil
}

// observer names a folder; two folders never share a name.
func (w *walk) observer(root, path, folder string) string {
	name := ObserverName(root, path)
	if name == "" {
		name = filepath.Base(folder)
	}
	day := stripped(folder)
	if at, taken := w.folders[name]; taken && at != day {
		name = filepath.ToSlash(day)
	}
	w.folders[name] = day
	return name
}

// ObserverName derives the name of a sensor from where a file lies, so that
// the logs of one folder, which belong together, share it: the path of the
// folder from the root folder on, with the name of the root itself in front.
// Folders that only divide the time (2024-04-12, 08, year=2024, current) do
// not count.
func ObserverName(root, path string) string {
	abs, err := filepath.Abs(root)
	if err != nil {
		abs = root
	}
	rel, err := filepath.Rel(root, filepath.Dir(path))
	if err != nil {
		rel = "."
	}
	name := filepath.ToSlash(stripped(filepath.Join(filepath.Base(abs), rel)))
	switch name {
	case ".", "/", "":
		return filepath.Base(stripped(abs))
	}
	return name
}

// stripped is a folder without its last parts that only divide the time: a
// day, a year with what follows it, parts like year=2024, or "current". Two
// digits alone are no time: they may number sensors.
func stripped(folder string) string {
	at, kept := folder, folder
	for {
		base := filepath.Base(at)
		parent := filepath.Dir(at)
		divides, alone := timeFolder(base)
		if !divides || parent == at {
			return kept
		}
		at = parent
		if alone {
			kept = at
		}
	}
}

// timeFolder reports whether a folder's name can be a part of a time, and
// whether it can be one without a year above it.
func timeFolder(name string) (divides, alone bool) {
	if name == "current" {
		return true, true
	}
	key, value, hive := strings.Cut(name, "=")
	if hive {
		switch key {
		case "year", "month", "day", "hour":
			name = value
		default:
			return false, false
		}
	}
	digits := 0
	for _, c := range name {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c != '-':
			return false, false
		}
	}
	switch digits {
	case 8: // 2024-04-12, 20240412
		return true, true
	case 4:
		return true, hive || name[:2] == "19" || name[:2] == "20"
	case 2:
		return true, hive
	}
	return false, false
}
