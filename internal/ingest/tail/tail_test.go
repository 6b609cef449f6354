package tail_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/internal/ingest/tail"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

const (
	settle      = 2 * time.Second
	finishAfter = 5 * time.Minute
)

// follower drives a Set with a clock of its own and keeps what is committed:
// records and positions together, as the service does.
type follower struct {
	t   testing.TB
	cfg tail.Config
	set *tail.Set
	now time.Time

	picker tail.Picker

	stored  map[string]tail.Position
	ids     []string // committed
	dead    []string
	pending []string // read, not committed
	lost    []string // dead, not committed
	ignored int
	limit   int // records a turn, 0: all
}

func follow(tb testing.TB, cfg tail.Config) *follower {
	tb.Helper()
	if cfg.Settle == 0 {
		cfg.Settle = settle
	}
	if cfg.FinishAfter == 0 {
		cfg.FinishAfter = finishAfter
	}
	cfg.Forget, cfg.MaxFiles = time.Hour, 1000
	if cfg.Observer == nil {
		cfg.Observer = func(string, string) string { return "sensor" }
	}
	f := &follower{t: tb, cfg: cfg, now: time.Now(), stored: map[string]tail.Position{}}
	f.start()
	tb.Cleanup(func() { f.set.Close() })
	return f
}

func (f *follower) start() {
	f.set = tail.New(f.cfg, slog.New(slog.DiscardHandler))
	for _, p := range f.stored {
		f.set.Load(p, f.now)
	}
}

// Event, Ignored and Dead implement decode.Sink.
func (f *follower) Event(e *event.Event) {
	f.pending = append(f.pending, strings.Clone(e.ID))
}
func (f *follower) Ignored(string) { f.ignored++ }
func (f *follower) Dead(reason string, raw []byte, _ event.Origin) {
	f.lost = append(f.lost, fmt.Sprintf("%s %.20s", reason, raw))
}

// read reads what is there, up to the limit of a turn.
func (f *follower) read() {
	f.t.Helper()
	if err := f.set.Scan(f.now); err != nil {
		f.t.Fatal(err)
	}
	for n := 0; f.limit == 0 || n < f.limit; n++ {
		file, _, _ := f.picker.Next([]*tail.Set{f.set}, func(int, *tail.Group) decode.Sink { return f })
		if file == nil {
			return
		}
		for {
			_, err := file.Read(f)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				f.t.Fatal(err)
			}
			if n++; f.limit > 0 && n >= f.limit {
				return
			}
		}
	}
}

func (f *follower) commit() {
	f.t.Helper()
	f.ids, f.pending = append(f.ids, f.pending...), nil
	f.dead, f.lost = append(f.dead, f.lost...), nil
	f.set.Positions(func(p tail.Position) {
		data, err := p.Append(nil)
		if err != nil {
			f.t.Fatal(err)
		}
		back, err := tail.DecodePosition(data)
		if err != nil {
			f.t.Fatal(err)
		}
		if d := cmp.Diff(p, back); d != "" {
			f.t.Fatal(d)
		}
		f.stored[p.Key] = back
	})
	for _, key := range f.set.Forgotten(f.now) {
		delete(f.stored, key)
	}
}

func (f *follower) poll() { f.t.Helper(); f.read(); f.commit() }

// crash loses what is not committed and starts again.
func (f *follower) crash() {
	f.set.Close()
	f.pending, f.lost = nil, nil
	f.start()
}

// rest lets time pass until everything is complete.
func (f *follower) rest() {
	f.t.Helper()
	for _, d := range []time.Duration{0, settle, settle, finishAfter, settle, settle} {
		f.now = f.now.Add(d)
		f.poll()
	}
}

func (f *follower) want(ids, dead []string) {
	f.t.Helper()
	if d := cmp.Diff(ids, f.ids); d != "" {
		f.t.Errorf("events (-want +got):\n%s", d)
	}
	if d := cmp.Diff(dead, f.dead); d != "" {
		f.t.Errorf("dead (-want +got):\n%s", d)
	}
}

// writer writes a log as Zeek does, with one growing number as uid.
type writer struct {
	t      testing.TB
	path   string
	tsv    bool
	file   *os.File
	n      int
	opened int
	ids    []string
}

// head is the header of another file: Zeek writes the time into it.
func (w *writer) head() string {
	w.opened++
	return fmt.Sprintf(tsvHead, w.opened)
}

const tsvHead = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n#open\t%d\n" +
	"#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tconn_state\n"

func (w *writer) open() {
	w.t.Helper()
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	w.file = f
	if w.tsv {
		w.raw(w.head())
	}
}

func (w *writer) raw(s string) {
	w.t.Helper()
	if w.file == nil {
		w.open()
	}
	if _, err := w.file.WriteString(s); err != nil {
		w.t.Fatal(err)
	}
}

func (w *writer) line() string {
	w.n++
	id := fmt.Sprintf("C%d", w.n)
	w.ids = append(w.ids, id)
	if w.tsv {
		return fmt.Sprintf("%d.5\t%s\t10.0.0.1\t40000\t198.51.100.7\t443\ttcp\tSF\n", 1767607200+w.n, id)
	}
	return fmt.Sprintf(`{"ts":%d.5,"uid":"%s","id.orig_h":"10.0.0.1","id.orig_p":40000,"id.resp_h":"198.51.100.7","id.resp_p":443,"proto":"tcp","conn_state":"SF"}`+"\n", 1767607200+w.n, id)
}

func (w *writer) lines(n int) {
	w.t.Helper()
	for range n {
		w.raw(w.line())
	}
}

func (w *writer) close() {
	if w.file != nil {
		w.file.Close()
		w.file = nil
	}
}

// rename rotates as Zeek and logrotate do.
func (w *writer) rename(to string) {
	w.t.Helper()
	w.close()
	if err := os.Rename(w.path, to); err != nil {
		w.t.Fatal(err)
	}
}

// copyTruncate rotates as logrotate does with copytruncate.
func (w *writer) copyTruncate(to string) {
	w.t.Helper()
	data := read(w.t, w.path)
	put(w.t, to, data)
	if err := os.Truncate(w.path, 0); err != nil {
		w.t.Fatal(err)
	}
	if w.tsv {
		w.raw(w.head())
	}
}

// compress replaces a file by its compressed form, as gzip does.
func compress(tb testing.TB, path string) {
	tb.Helper()
	put(tb, path+".gz", gzipped(tb, read(tb, path)))
	if err := os.Remove(path); err != nil {
		tb.Fatal(err)
	}
}

func gzipped(tb testing.TB, data []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		tb.Fatal(err)
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func read(tb testing.TB, path string) []byte {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func put(tb testing.TB, path string, data []byte) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// The three rotations, each with lines that were read before, not read
// before, and a restart before or after.
func TestRotations(t *testing.T) {
	t.Parallel()
	for _, tsv := range []bool{false, true} {
		for _, size := range []int{3, 60} { // below and above the length of a fingerprint
			for name, rotate := range map[string]func(w *writer, to string){
				"rename":        func(w *writer, to string) { w.rename(to) },
				"copy-truncate": func(w *writer, to string) { w.copyTruncate(to) },
				"gzip":          func(w *writer, to string) { w.rename(to); compress(w.t, to) },
				"zeekctl":       func(w *writer, to string) { w.raw("#close\t2026\n"); w.rename(to); compress(w.t, to) },
			} {
				for _, crash := range []string{"never", "before", "after", "both"} {
					for _, single := range []bool{false, true} {
						t.Run(fmt.Sprintf("%s tsv=%v size=%d crash=%s single=%v", name, tsv, size, crash, single), func(t *testing.T) {
							t.Parallel()
							if name == "zeekctl" && !tsv {
								t.Skip("JSON has no #close")
							}
							dir := t.TempDir()
							w := &writer{t: t, path: filepath.Join(dir, "conn.log"), tsv: tsv}
							paths := []string{dir}
							if single {
								paths = []string{w.path}
							}
							f := follow(t, tail.Config{Paths: paths})
							for i := range 3 {
								w.lines(size)
								f.poll()
								w.lines(size) // not read before the rotation
								if crash == "before" || crash == "both" {
									f.crash()
								}
								rotate(w, filepath.Join(dir, fmt.Sprintf("conn.%d.log", i)))
								if crash == "after" || crash == "both" {
									f.crash()
								}
								w.lines(size)
								f.now = f.now.Add(time.Second)
								if i == 1 {
									f.poll() // what is not settled yet must not be overtaken
								}
								f.now = f.now.Add(settle)
							}
							w.close()
							f.rest()
							f.want(w.ids, nil)
						})
					}
				}
			}
		}
	}
}

// A file of which only a part of the header was read gives way to another in its
// place, with the same inode and the same beginning of the header.
func TestHeaderInCommon(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := &writer{t: t, path: filepath.Join(dir, "conn.log"), tsv: true}
	f := follow(t, tail.Config{Paths: []string{dir}})
	defer f.set.Close()
	w.lines(20)
	f.limit = 5 // ends before the header says when the log was opened
	f.poll()
	w.copyTruncate(filepath.Join(dir, "conn.0001.log"))
	compress(t, filepath.Join(dir, "conn.0001.log"))
	w.lines(40)
	f.now = f.now.Add(time.Second)
	f.limit = 7
	f.poll()
	f.crash()
	w.close()
	f.limit = 0
	f.rest()
	slices.SortStableFunc(f.ids, func(a, b string) int { return number(a) - number(b) })
	f.want(w.ids, nil)
}

// Any sequence of writing, rotating, compressing, reading and crashing gives
// every line once, in order.
func TestAnySequence(t *testing.T) {
	t.Parallel()
	base, runs := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		dir := filepath.Join(base, strconv.Itoa(runs))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		w := &writer{t: t, path: filepath.Join(dir, "conn.log"), tsv: rapid.Bool().Draw(rt, "tsv")}
		f := follow(t, tail.Config{Paths: []string{dir}})
		defer f.set.Close()
		var rotated []string
		half := ""
		n := 0
		var story []string // inodes make runs differ: a failure must tell all
		told := func(what string, args ...any) { story = append(story, fmt.Sprintf(what, args...)) }
		rt.Repeat(map[string]func(*rapid.T){
			"write": func(rt *rapid.T) {
				if half != "" {
					w.raw(half)
					half = ""
				}
				lines := rapid.SampledFrom([]int{1, 5, 40}).Draw(rt, "lines")
				w.lines(lines)
				told("write %d to C%d", lines, w.n)
			},
			"half": func(rt *rapid.T) {
				if half == "" {
					line := w.line()
					cut := rapid.IntRange(1, len(line)-1).Draw(rt, "cut")
					w.raw(line[:cut])
					half = line[cut:]
					told("half of C%d: %d", w.n, cut)
				}
			},
			"poll": func(rt *rapid.T) {
				f.limit = rapid.SampledFrom([]int{0, 1, 7}).Draw(rt, "limit")
				f.poll()
				told("poll %d: %d ids", f.limit, len(f.ids))
			},
			"read without commit": func(rt *rapid.T) { f.read(); told("read %d: %d ids", f.limit, len(f.pending)) },
			"commit":              func(rt *rapid.T) { f.commit(); told("commit: %d ids", len(f.ids)) },
			"crash":               func(rt *rapid.T) { f.crash(); told("crash") },
			"wait": func(rt *rapid.T) {
				d := rapid.SampledFrom([]time.Duration{time.Second, 3 * time.Second}).Draw(rt, "time")
				f.now = f.now.Add(d)
				told("wait %s", d)
			},
			"rename": func(rt *rapid.T) {
				if w.file == nil || half != "" {
					return
				}
				n++
				to := filepath.Join(dir, fmt.Sprintf("conn.%04d.log", n))
				w.rename(to)
				rotated = append(rotated, to)
				told("rename to %d", n)
			},
			"copy-truncate": func(rt *rapid.T) {
				if w.file == nil || half != "" {
					return
				}
				n++
				to := filepath.Join(dir, fmt.Sprintf("conn.%04d.log", n))
				w.copyTruncate(to)
				rotated = append(rotated, to)
				f.now = f.now.Add(time.Second)
				f.limit = 0
				f.poll() // copy-truncate is only safe when it is looked at in between
				told("copy-truncate to %d: %d ids", n, len(f.ids))
			},
			"gzip": func(rt *rapid.T) {
				if len(rotated) > 0 {
					compress(t, rotated[0])
					told("gzip %s", filepath.Base(rotated[0]))
					rotated = rotated[1:]
				}
			},
		})
		if half != "" {
			w.raw(half)
		}
		w.close()
		f.limit = 0
		f.rest()
		slices.SortStableFunc(f.ids, func(a, b string) int { return number(a) - number(b) })
		if d := cmp.Diff(w.ids, f.ids); d != "" {
			rt.Fatalf("%s\nevents (-want +got):\n%s", strings.Join(story, "\n"), d)
		}
		if len(f.dead) > 0 {
			rt.Fatalf("%s\ndead: %v", strings.Join(story, "\n"), f.dead)
		}
	})
}

func number(id string) (n int) {
	if _, err := fmt.Sscanf(id, "C%d", &n); err != nil {
		panic(err)
	}
	return n
}
