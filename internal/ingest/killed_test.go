package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ebbwatch/ebbwatch/internal/topic"
)

// wire carries the connections of a service. Cut, the service is to the
// broker as if killed: it aborts nothing and says no good-bye. Mended, it is
// one that slept and comes back.
type wire struct {
	mu    sync.Mutex
	dead  bool
	conns []net.Conn
}

var errCut = errors.New("the wire is cut")

func (w *wire) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return nil, errCut
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err == nil {
		w.conns = append(w.conns, c)
	}
	return c, err
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = true
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = false
}

func (w *wire) isCut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dead
}

// cutAt cuts the wire at the n-th commit (or, with write, at the first write
// after the one before it). What is cut off has reached the broker, whose
// answer is lost, if arrived is set, and nobody otherwise.
func (w *wire) cutAt(world *world, n int, write, arrived bool) {
	key, commits, done := int16(kmsg.EndTxn), 0, false
	world.cluster.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		world.cluster.KeepControl()
		if done {
			return nil, nil, false // its successor speaks
		}
		if end, ok := req.(*kmsg.EndTxnRequest); ok && end.Commit {
			commits++
		}
		hit := req.Key() == key && commits == n
		if write {
			hit = req.Key() == int16(kmsg.Produce) && commits == n-1
		}
		if !hit {
			return nil, nil, false
		}
		w.cut()
		done = true
		if arrived {
			return nil, nil, false
		}
		return nil, errCut, true
	})
}

// told returns the events of a topic per partition in order, without the name
// of the file: a rotation changes it.
func (w *world) told(dir string) map[int32][]string {
	out := map[int32][]string{}
	for _, r := range w.read(topic.Network) {
		if r.control || r.kind == "mark" {
			continue
		}
		text := string(r.value)
		at := strings.Index(text, dir)
		if at < 0 {
			w.t.Fatalf("no origin in %s", text)
		}
		end := at + strings.IndexByte(text[at:], '"')
		out[r.partition] = append(out[r.partition], text[:at]+text[end:])
	}
	return out
}

// A service killed in any phase of a transaction, in the middle of a file that
// is compressed, grows or is rotated while nobody reads: its successor with
// the same transactional id makes of the topic what one pass over the files
// makes. When the killed one was only asleep and comes back, Kafka lets it write
// nothing more.
func TestKilled(t *testing.T) {
	t.Parallel()
	const half, all = 900, 1200
	type act struct {
		name   string
		before func(t *testing.T, dir string) // what is there at first
		during func(t *testing.T, dir string) // what happens while it is dead
	}
	whole := func(t *testing.T, dir string) {
		t.Helper()
		put(t, filepath.Join(dir, "conn.log"), many(conn, 0, half))
	}
	acts := []act{
		{"gzip", func(t *testing.T, dir string) {
			t.Helper()
			put(t, filepath.Join(dir, "conn.log.gz"), zipped(t, many(conn, 0, all)))
		}, func(*testing.T, string) {}},
		{"grows", func(t *testing.T, dir string) {
			t.Helper()
			put(t, filepath.Join(dir, "conn.log"), many(conn, 0, half)+conn(half)[:40])
		}, func(t *testing.T, dir string) {
			t.Helper()
			add(t, filepath.Join(dir, "conn.log"), conn(half)[40:]+many(conn, half+1, all))
		}},
		{"rename", whole, func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Rename(filepath.Join(dir, "conn.log"), filepath.Join(dir, "conn.1.log")); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, "conn.log"), many(conn, half, all))
		}},
		{"copy-truncate", whole, func(t *testing.T, dir string) {
			t.Helper()
			log := filepath.Join(dir, "conn.log")
			put(t, filepath.Join(dir, "conn.1.log"), many(conn, 0, half))
			if err := os.Truncate(log, 0); err != nil {
				t.Fatal(err)
			}
			add(t, log, many(conn, half, all))
		}},
		{"rename and gzip", whole, func(t *testing.T, dir string) {
			t.Helper()
			log := filepath.Join(dir, "conn.log")
			put(t, filepath.Join(dir, "conn.1.log.gz"), zipped(t, many(conn, 0, half)))
			if err := os.Remove(log); err != nil {
				t.Fatal(err)
			}
			put(t, log, many(conn, half, all))
		}},
	}
	phases := []struct {
		name           string
		write, arrived bool
	}{
		{"write lost", true, false},
		{"write not answered", true, true},
		{"commit lost", false, false},
		{"commit not answered", false, true},
	}
	for _, embedded := range []bool{false, true} {
		for i, a := range acts {
			if embedded && i > 0 {
				continue // the files are read the same way
			}
			for _, p := range phases {
				t.Run(fmt.Sprintf("%s, %s, embedded=%v", a.name, p.name, embedded), func(t *testing.T) {
					t.Parallel()
					dir := t.TempDir()
					a.before(t, dir)
					cfg := quick(dir)
					cfg.CommitBytes = 40 << 10 // several transactions a file
					w := newWorld(t)
					w.wire = &wire{}
					w.wire.cutAt(w, 3, p.write, p.arrived)
					killed := w.start("ingest-zeek", cfg, embedded)
					until(t, "the kill", w.wire.isCut)
					a.during(t, dir)

					old := w.wire
					w.wire = nil
					heir := w.start("ingest-zeek", cfg, embedded)
					until(t, "the rest", func() bool { return len(w.events(topic.Network)) >= all })
					if embedded || i > 0 {
						killed.cancel() // the embedded broker fences nobody: it stays dead
					} else {
						old.mend() // takes the client some seconds to find out
						if err := killed.wait(); err == nil {
							t.Error("who was replaced ended as if all were well")
						}
					}
					heir.stop()
					if n := w.counted("ebbwatch_ingest_events_total"); n <= all-half || n >= all {
						t.Errorf("its successor read %v of %d records: it was not killed in the middle", n, all)
					}

					onePass := newWorld(t)
					if err := onePass.start("ingest-zeek", once(dir), false).wait(); err != nil {
						t.Fatal(err)
					}
					if d := cmp.Diff(onePass.told(dir), w.told(dir)); d != "" {
						t.Errorf("unlike one pass (-one pass +killed):\n%.2000s", d)
					}
				})
			}
		}
	}
}
