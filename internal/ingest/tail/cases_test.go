package tail_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/internal/ingest/tail"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// A line without a line break waits for the rest, whatever is read in between.
func TestHalfLineWaits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := &writer{t: t, path: filepath.Join(dir, "conn.log")}
	f := follow(t, tail.Config{Paths: []string{dir}})
	w.lines(1)
	line := w.line()
	w.raw(line[:50])
	for range 3 {
		f.poll()
		f.now = f.now.Add(time.Minute)
	}
	f.want(w.ids[:1], nil)
	f.crash()
	f.poll()
	w.raw(line[50:])
	f.poll()
	f.want(w.ids, nil)
}

// It counts as it is once the file is complete.
func TestHalfLineOfACompleteFile(t *testing.T) {
	t.Parallel()
	for name, finish := range map[string]func(f *follower, w *writer){
		"followed by another": func(f *follower, w *writer) {
			w.rename(w.path + ".1")
			w.lines(1)
			f.poll()
		},
		"rotated and at rest": func(f *follower, w *writer) {
			w.rename(w.path + ".1")
			f.poll()
			f.now = f.now.Add(settle)
			f.poll()
		},
		"removed": func(f *follower, w *writer) {
			w.close()
			if err := os.Remove(w.path); err != nil {
				t.Fatal(err)
			}
			f.poll()
			f.now = f.now.Add(settle)
			f.poll()
		},
		"not written for long": func(f *follower, w *writer) {
			f.now = f.now.Add(finishAfter)
			f.poll()
		},
		"compressed": func(f *follower, w *writer) {
			w.rename(w.path + ".1")
			compress(t, w.path+".1")
			f.crash()
			f.now = f.now.Add(2 * settle)
			f.poll()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			w := &writer{t: t, path: filepath.Join(dir, "conn.log")}
			f := follow(t, tail.Config{Paths: []string{dir}})
			w.lines(1)
			w.raw(strings.TrimSuffix(w.line(), "\n"))
			f.poll()
			f.want(w.ids[:1], nil)
			finish(f, w)
			f.want(w.ids, nil)
		})
	}
}

// A copy beside the original is not read while the original is there, also
// when it was there first, and the one that grows goes on.
func TestCopies(t *testing.T) {
	t.Parallel()
	for _, size := range []int{3, 60} {
		dir := t.TempDir()
		w := &writer{t: t, path: filepath.Join(dir, "conn.log")}
		f := follow(t, tail.Config{Paths: []string{dir}})
		w.lines(size)
		f.poll()
		put(t, filepath.Join(dir, "conn.log.bak"), read(t, w.path))
		put(t, filepath.Join(dir, "conn.log.bak.gz"), gzipped(t, read(t, w.path)))
		f.now = f.now.Add(3 * settle)
		f.poll()
		f.want(w.ids, nil)
		f.crash()
		w.lines(size)
		f.poll()
		f.want(w.ids, nil)

		if size < 10 {
			continue // too short to be told apart before anything was read
		}
		// Nothing is known, and the copy is older than the log.
		fresh := follow(t, tail.Config{Paths: []string{dir}})
		old := time.Now().Add(-time.Hour)
		for _, name := range []string{"conn.log.bak", "conn.log.bak.gz"} {
			if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil {
				t.Fatal(err)
			}
		}
		fresh.now = fresh.now.Add(3 * settle)
		fresh.poll()
		w.lines(size)
		fresh.rest()
		fresh.want(w.ids, nil)
	}
}

// A compressed file that is still being written is not read before it rests,
// and what is written to it later is read from there on.
func TestCompressedFileGrows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := &writer{t: t, path: filepath.Join(t.TempDir(), "conn.log"), tsv: true}
	w.lines(2000)
	packed := gzipped(t, read(t, w.path))
	path := filepath.Join(dir, "conn.log.gz")
	f := follow(t, tail.Config{Paths: []string{dir}})
	put(t, path, packed[:len(packed)/2])
	f.poll()
	if len(f.ids)+len(f.dead) > 0 {
		t.Errorf("an unsettled file is read: %d events, dead %v", len(f.ids), f.dead)
	}
	f.now = f.now.Add(settle)
	f.poll()
	half := len(f.ids)
	if half == 0 || half >= 2000 || len(f.dead) != 1 || !strings.HasPrefix(f.dead[0], decode.ReasonTruncated) {
		t.Fatalf("%d events, dead %v", half, f.dead)
	}
	f.crash()
	put(t, path, packed)
	f.rest()
	// The line that the first part ended in is the dead record; the second
	// part goes on in its middle.
	if len(f.ids) < 1999 || f.ids[half] == f.ids[half-1] || len(f.dead) > 2 {
		t.Errorf("%d events, dead %v", len(f.ids), f.dead)
	}
}

// Files of a group come one after the other, oldest first.
func TestOrder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := &writer{t: t}
	for i, name := range []string{"conn.c.log", "conn.b.log", "conn.a.log", "conn.log"} {
		w.path = filepath.Join(dir, name)
		w.lines(3)
		w.close()
		at := time.Now().Add(time.Duration(i-10) * time.Minute)
		if err := os.Chtimes(w.path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	f := follow(t, tail.Config{Paths: []string{dir}})
	f.limit = 2
	for range 20 {
		f.poll()
	}
	f.want(w.ids, nil)
}

// The group that is furthest behind comes first.
func TestFurthestBehindFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"conn.log", "dns.log", "http.log"} {
		put(t, filepath.Join(dir, name), []byte(`{"ts":1.5,"uid":"`+name+`"}`+"\n"))
	}
	f := follow(t, tail.Config{Paths: []string{dir}})
	if err := f.set.Scan(f.now); err != nil {
		t.Fatal(err)
	}
	sets := []*tail.Set{f.set}
	of := func(int, *tail.Group) decode.Sink { return f }
	progress := map[string]int64{"conn": 100, "dns": 50, "http": 70}
	for _, g := range f.set.Groups() {
		g.Progress = progress[g.Log]
	}
	file, _, limit := f.picker.Next(sets, of)
	if file.Group().Log != "dns" || limit != 70 {
		t.Errorf("%s up to %d", file.Group().Log, limit)
	}
	for _, g := range f.set.Groups() {
		g.Progress = 0
	}
	seen := map[string]int{}
	for range 9 {
		file, _, _ := f.picker.Next(sets, of)
		seen[file.Group().Log]++
	}
	if seen["conn"] != 3 || seen["dns"] != 3 || seen["http"] != 3 {
		t.Errorf("turns of equals: %v", seen)
	}
}

// What is no log is one dead record, also when it grows, also after a
// restart.
func TestUnknownFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := follow(t, tail.Config{Paths: []string{dir}})
	put(t, filepath.Join(dir, "stdout.log"), []byte("listening on eth0\n\nand so on\nand on\n"))
	f.rest()
	f.crash()
	f.rest()
	put(t, filepath.Join(dir, "stdout.log"), []byte("listening on eth0\n\nand so on\nand on\nand on\n"))
	f.rest()
	f.want(nil, []string{decode.ReasonUnknownFormat + " listening on eth0\n\na"})
}

// A position is kept for a while after its file went, and not longer.
func TestForgetting(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := &writer{t: t, path: filepath.Join(dir, "conn.log")}
	f := follow(t, tail.Config{Paths: []string{dir}})
	w.lines(5)
	f.rest()
	content := read(t, w.path)
	w.close()
	if err := os.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	f.poll()
	f.crash()
	f.poll()
	if len(f.stored) != 1 {
		t.Fatalf("%d positions", len(f.stored))
	}
	put(t, filepath.Join(dir, "conn.log.gz"), gzipped(t, content))
	f.rest()
	f.want(w.ids, nil)
	if err := os.Remove(filepath.Join(dir, "conn.log.gz")); err != nil {
		t.Fatal(err)
	}
	f.poll()
	f.now = f.now.Add(time.Hour)
	f.poll()
	if len(f.stored) != 0 {
		t.Errorf("%d positions after the time to forget", len(f.stored))
	}
}

// A file that cannot be opened is tried again and stops nothing else.
func TestUnreadableFile(t *testing.T) {
	t.Parallel()
	if os.Getuid() == 0 {
		t.Skip("root may read everything")
	}
	dir := t.TempDir()
	w := &writer{t: t, path: filepath.Join(dir, "conn.log")}
	w.lines(1)
	if err := os.Chmod(w.path, 0); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "dns.log")
	put(t, other, []byte(w.line()))
	f := follow(t, tail.Config{Paths: []string{dir}})
	f.poll()
	f.want(w.ids[1:], nil)
	if f.set.Errors == 0 {
		t.Error("no error counted")
	}
	if err := os.Chmod(w.path, 0o600); err != nil {
		t.Fatal(err)
	}
	f.now = f.now.Add(time.Minute)
	f.poll()
	if len(f.ids) != 2 {
		t.Errorf("%d events", len(f.ids))
	}
}

// A dangling link, a pipe and a folder that is not there are passed over; a
// folder that comes later is read.
func TestOddPaths(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	late := filepath.Join(dir, "late")
	if err := os.Symlink(filepath.Join(dir, "nowhere"), filepath.Join(dir, "conn.link.log")); err != nil {
		t.Fatal(err)
	}
	w := &writer{t: t, path: filepath.Join(dir, "a", "b", "conn.log")}
	put(t, w.path, nil)
	w.lines(2)
	f := follow(t, tail.Config{Paths: []string{dir, late, filepath.Join(dir, "*", "b")}})
	f.poll()
	f.want(w.ids, nil)
	v := &writer{t: t, path: filepath.Join(late, "conn.log"), n: 2}
	put(t, v.path, nil)
	v.lines(2)
	f.poll()
	f.want(append(w.ids, v.ids...), nil)
}

func TestMaxFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := &writer{t: t}
	for _, name := range []string{"conn.1.log", "conn.2.log", "conn.3.log"} {
		w.path = filepath.Join(dir, name)
		w.lines(1)
		w.close()
	}
	f := follow(t, tail.Config{Paths: []string{dir}})
	f.cfg.MaxFiles = 2
	f.start()
	f.poll()
	if len(f.ids) != 2 || f.set.Errors == 0 {
		t.Errorf("%d events, %d errors", len(f.ids), f.set.Errors)
	}
}

// A capture is read as a whole and resumed by its records.
func TestCaptures(t *testing.T) {
	t.Parallel()
	sample := filepath.Join("..", "..", "..", "..", "shared", "data", "lab", "b_dns_browse", "b_dns_browse.pcap.gz")
	if _, err := os.Stat(sample); err != nil {
		t.Skip("the lab recordings are not beside the checkout")
	}
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a.pcap.gz"), read(t, sample))
	whole := follow(t, tail.Config{Paths: []string{dir}, Once: true})
	whole.poll()
	if len(whole.ids) < 1000 || len(whole.dead) > 0 {
		t.Fatalf("%d events, dead %v", len(whole.ids), whole.dead)
	}
	f := follow(t, tail.Config{Paths: []string{dir}, Once: true})
	for i := 0; len(f.ids) < len(whole.ids) && i < 100; i++ {
		f.limit = 700 * (i + 1) // it begins at the beginning each time
		f.read()
		if i%3 == 2 {
			f.crash() // what was read last is not committed
			continue
		}
		f.commit()
		f.crash()
	}
	f.want(whole.ids, nil)
}

func TestRejectedPositions(t *testing.T) {
	t.Parallel()
	for _, data := range []string{
		"", "{", `{"key":""}`, `{"key":"k","span":-1,"fingerprint":"00"}`, `{"key":"k","span":5000,"fingerprint":"00"}`,
		`{"key":"k","offset":-1,"fingerprint":"00"}`, `{"key":"k","fingerprint":"xyz"}`,
	} {
		if _, err := tail.DecodePosition([]byte(data)); err == nil {
			t.Errorf("no error for %s", data)
		}
	}
}

// Only wanted formats are read; others are one dead record.
func TestUnwantedFormat(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a.json"), []byte(`{"rule":"r","priority":"Notice","time":"2026-01-05T10:00:00Z","output_fields":{}}`+"\n"))
	f := follow(t, tail.Config{Paths: []string{dir}, Accept: func(f input.Format) bool { return f == input.ZeekJSON }})
	f.rest()
	if len(f.ids) > 0 || len(f.dead) != 1 {
		t.Errorf("%d events, dead %v", len(f.ids), f.dead)
	}
}

// nothing takes records and drops them.
type nothing struct{ events int }

func (n *nothing) Event(*event.Event)                { n.events++ }
func (n *nothing) Ignored(string)                    {}
func (n *nothing) Dead(string, []byte, event.Origin) {}

// The way of a line from the file to the decoder's sink.
func BenchmarkFollow(b *testing.B) {
	dir := b.TempDir()
	w := &writer{t: b, path: filepath.Join(dir, "conn.log")}
	var content bytes.Buffer
	for range 50_000 {
		content.WriteString(w.line())
	}
	put(b, w.path, content.Bytes())
	b.SetBytes(int64(content.Len()))
	for b.Loop() {
		f := follow(b, tail.Config{Paths: []string{dir}, Once: true})
		if err := f.set.Scan(f.now); err != nil {
			b.Fatal(err)
		}
		var sink nothing
		file, _, _ := f.picker.Next([]*tail.Set{f.set}, func(int, *tail.Group) decode.Sink { return &sink })
		for {
			if _, err := file.Read(&sink); err != nil {
				break
			}
		}
		if sink.events != 50_000 {
			b.Fatalf("%d events", sink.events)
		}
		f.set.Close()
	}
}
