package tail

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
)

// Config of a Set.
type Config struct {
	// Paths are files, folders with all below them, and patterns
	// (filepath.Match). Of a single file its rotated versions beside it are
	// known by their content.
	Paths []string
	// Once takes all files as complete.
	Once bool
	// Settle is how long a file that cannot be followed must be unchanged
	// before it is read, and a rotated one before it counts as complete.
	Settle time.Duration
	// FinishAfter is how long a file must be unchanged before its last line
	// counts without a line break.
	FinishAfter time.Duration
	// Forget is how long the position of a file that is gone is kept.
	Forget time.Duration
	// MaxFiles bounds how many files are known.
	MaxFiles int
	// Input is how files are read.
	Input input.Options
	// Accept tells which formats are wanted; nil: all.
	Accept func(input.Format) bool
	// Observer names the sensor of a file that was found below root.
	Observer func(root, path string) string
}

// Set is the files of one source.
type Set struct {
	cfg Config
	log *slog.Logger
	now time.Time // of the last scan

	disk   map[inode]*File       // what is there
	losses losses                // positions whose file is not there
	heads  map[fingerprint]*File // what is there, by its whole beginning
	keys   map[string]*File
	groups []*Group
	byName map[[2]string]*Group
	// touched are files that are no longer in a group and not stored yet.
	touched []*File
	folders map[string]bool // that the last scan looked into
	scans   uint64
	epoch   uint64 // counts what may free a content: files that go or change
	full    bool   // MaxFiles was reached and said so

	// Errors counts errors of files.
	Errors uint64
}

// New returns a set without files.
func New(cfg Config, log *slog.Logger) *Set {
	return &Set{
		cfg: cfg, log: log, disk: map[inode]*File{}, losses: newLosses(), heads: map[fingerprint]*File{},
		keys: map[string]*File{}, byName: map[[2]string]*Group{}, folders: map[string]bool{},
	}
}

// Load takes over a stored position. It is called before the first scan.
func (s *Set) Load(p Position, now time.Time) {
	hash, err := parseHash(p.Fingerprint)
	if err != nil || s.keys[p.Key] != nil {
		return
	}
	f := &File{
		set: s, key: p.Key, id: inode{p.Device, p.Inode}, path: p.Name, size: p.Size, modified: time.Unix(0, p.Modified), done: p.Done, lost: now,
		at:    input.Position{Offset: p.Offset, Line: p.Line, Records: p.Records, Header: []byte(p.Header)},
		print: fingerprint{p.Span, hash},
	}
	s.keys[p.Key] = f
	s.losses.add(f)
}

// Positions hands out the positions that changed since the last call.
func (s *Set) Positions(yield func(Position)) {
	for _, g := range s.groups {
		for _, f := range g.files {
			s.store(f, yield)
		}
	}
	for _, f := range s.touched {
		s.store(f, yield)
	}
	s.touched = nil
}

func (s *Set) store(f *File, yield func(Position)) {
	if f.dirty {
		yield(f.position())
		f.dirty = false
	}
}

// Forgotten returns the keys of positions that are not needed any more.
func (s *Set) Forgotten(now time.Time) []string {
	var keys []string
	for f := range s.losses.all {
		if now.Sub(f.lost) >= s.cfg.Forget {
			if f.key != "" {
				keys = append(keys, f.key)
			}
			s.losses.remove(f)
			delete(s.keys, f.key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Groups are the groups of files so far.
func (s *Set) Groups() []*Group { return s.groups }

// Files is how many files are there, and how many of them are open.
func (s *Set) Files() (known, open int) {
	for _, g := range s.groups {
		for _, f := range g.files {
			if f.reader != nil {
				open++
			}
		}
	}
	return len(s.disk), open
}

// Close closes all files.
func (s *Set) Close() {
	for _, g := range s.groups {
		for _, f := range g.files {
			f.close()
		}
	}
}

// candidate is a path that a scan found.
type candidate struct {
	path, root string
	info       os.FileInfo
	// beside: not asked for, only looked at for a content that is known.
	beside bool
}

// Peek looks whether the open files have grown.
func (s *Set) Peek(now time.Time) {
	s.now = now
	for _, g := range s.groups {
		for _, f := range g.files {
			f.grown()
		}
	}
}

// Scan looks at the folders: what is new, changed, renamed, gone. The error
// joins what cannot be looked at; the rest goes on.
func (s *Set) Scan(now time.Time) error {
	s.now = now
	s.scans++
	clear(s.folders)
	found, err := s.find()
	var fresh []candidate
	for _, c := range found {
		id, known := inodeOf(c.info)
		if !known {
			id = inode{number: hashOf(c.path)} // no inodes: the name must do
		}
		f := s.disk[id]
		switch {
		case f == nil:
			fresh = append(fresh, c)
		case f.seen != s.scans: // a second name of one file is passed over
			f.seen = s.scans
			s.observe(f, c)
		}
	}
	for _, f := range s.disk {
		if f.seen != s.scans {
			s.vanish(f)
		}
	}
	slices.SortFunc(fresh, func(a, b candidate) int {
		return cmp.Or(a.info.ModTime().Compare(b.info.ModTime()), cmp.Compare(a.path, b.path))
	})
	for _, c := range fresh {
		s.meet(c)
	}
	// What waits is looked at again: time passes, originals vanish.
	// What has a position comes first: where the content is another now, the
	// position is free for others. And what had one before a restart, before a
	// copy takes it.
	for _, f := range s.waiting() {
		if f.print.span > 0 || len(s.losses.byInode[f.id]) > 0 {
			s.admit(f, true)
		}
	}
	for _, f := range s.waiting() {
		s.admit(f, false)
	}
	for _, g := range s.groups {
		for _, f := range g.files {
			if f.reader != nil && !f.more && f.complete() {
				f.more = true // its end is to be taken
			}
		}
	}
	return err
}

func (s *Set) waiting() []*File {
	var out []*File
	for _, f := range s.disk {
		if f.waiting && !f.retry.After(s.now) {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b *File) int {
		return cmp.Or(cmp.Compare(b.print.span, a.print.span), older(a, b))
	})
	return out
}

// find lists the files of all paths.
func (s *Set) find() ([]candidate, error) {
	var out []candidate
	var errs []error
	for _, pattern := range s.cfg.Paths {
		paths := []string{pattern}
		if strings.ContainsAny(pattern, "*?[") {
			matches, err := filepath.Glob(pattern)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", pattern, err))
				continue
			}
			paths = matches
		}
		for _, p := range paths {
			info, err := os.Stat(p)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				out = s.beside(p, out) // it may come back, or lie beside
			case err != nil:
				errs = append(errs, err)
			case info.IsDir():
				out, err = s.below(p, out)
				if err != nil {
					errs = append(errs, err)
				}
			case info.Mode().IsRegular():
				out = append(out, candidate{path: p, root: filepath.Dir(p), info: info})
				out = s.beside(p, out)
			}
		}
	}
	return out, errors.Join(errs...)
}

// below lists the files of a folder and its folders. Links to files are
// followed, of links to folders only the one that is asked for.
func (s *Set) below(root string, out []candidate) ([]candidate, error) {
	err := fs.WalkDir(os.DirFS(root), ".", func(rel string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && rel == ".":
			return err
		case err != nil: // it vanished or is not ours to read: the rest counts
			return nil
		case rel != "." && hidden(d.Name()):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			s.folders[filepath.Join(root, filepath.FromSlash(rel))] = true
			return nil
		}
		path := filepath.Join(root, filepath.FromSlash(rel))
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			out = append(out, candidate{path: path, root: root, info: info})
		}
		return nil
	})
	return out, err
}

// beside lists what lies beside a single file and is called like it: its
// rotated versions. Each is only taken for a content that is known already.
func (s *Set) beside(path string, out []candidate) []candidate {
	folder, log := filepath.Dir(path), input.LogName(path)
	s.folders[folder] = true
	entries, err := os.ReadDir(folder)
	if err != nil {
		return out // the folder is not there: nothing lies beside
	}
	for _, e := range entries {
		other := filepath.Join(folder, e.Name())
		if hidden(e.Name()) || other == filepath.Clean(path) || input.LogName(other) != log {
			continue
		}
		if info, err := os.Stat(other); err == nil && info.Mode().IsRegular() {
			out = append(out, candidate{path: other, root: folder, info: info, beside: true})
		}
	}
	return out
}

// hidden files are not ours: .shadow.conn.log of Zeek, half-written ones of
// copying tools.
func hidden(name string) bool { return strings.HasPrefix(name, ".") }

// name gives a file the key of its position.
func (s *Set) name(f *File) {
	base := fmt.Sprintf("%x-%x-%s", f.id.device, f.id.number, hashText(f.print.hash))
	f.key = base
	for n := 2; s.keys[f.key] != nil; n++ {
		f.key = fmt.Sprintf("%s-%d", base, n)
	}
	s.keys[f.key] = f
}

func (s *Set) options(path string) input.Options {
	o := s.cfg.Input
	o.Name = path
	return o
}

func (s *Set) refuse(f input.Format) bool {
	return f.Readable() && s.cfg.Accept != nil && !s.cfg.Accept(f)
}

func (s *Set) groupOf(f *File) *Group {
	name := [2]string{s.cfg.Observer(f.root, f.path), ""}
	if f.kind.Format == input.ZeekTSV || f.kind.Format == input.ZeekJSON {
		name[1] = input.LogName(f.path)
	}
	g := s.byName[name]
	if g == nil {
		g = &Group{Observer: name[0], Log: name[1]}
		s.byName[name] = g
		s.groups = append(s.groups, g)
	}
	return g
}
