package packet_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/decode/zeek"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// lab returns the folders of our own captures beside the repository.
func lab(tb testing.TB) []string {
	tb.Helper()
	dirs, _ := filepath.Glob(filepath.Join("..", "..", "..", "..", "shared", "data", "lab", "*", "*.pcap.gz"))
	if len(dirs) == 0 {
		tb.Skip("no lab captures beside the repository")
	}
	for i := range dirs {
		dirs[i] = filepath.Dir(dirs[i])
	}
	return dirs
}

// unpacked reads a file, and unpacks it where it is compressed.
func unpacked(tb testing.TB, path string) []byte {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if !strings.HasSuffix(path, ".gz") {
		return data
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		tb.Fatal(err)
	}
	if data, err = io.ReadAll(z); err != nil {
		tb.Fatal(err)
	}
	return data
}

func clone(e *event.Event) *event.Event {
	line, _ := e.Append(nil)
	c := new(event.Event)
	if err := event.Decode(line, c); err != nil {
		panic(err)
	}
	return c
}

// decodeAll returns the events of a capture by kind.
func decodeAll(tb testing.TB, data []byte) (map[event.Kind][]*event.Event, *decodetest.Recorder, packet.Stats) {
	tb.Helper()
	rec := decodetest.New(tb)
	rec.Quiet = true
	out := map[event.Kind][]*event.Event{}
	rec.Each = func(e *event.Event) { out[e.Kind] = append(out[e.Kind], clone(e)) }
	tr := packet.NewTracker(packet.Config{})
	if err := packet.NewReader(bytes.NewReader(data), "x.pcap", tr).ReadAll(rec); err != nil {
		tb.Fatal(err)
	}
	return out, rec, tr.Stats()
}

// zeekEvents decodes the Zeek logs beside a capture.
func zeekEvents(tb testing.TB, dir string, logs ...string) map[event.Kind][]*event.Event {
	tb.Helper()
	out := map[event.Kind][]*event.Event{}
	for _, l := range logs {
		path := filepath.Join(dir, l+".log.gz")
		if _, err := os.Stat(path); err != nil {
			continue
		}
		rec := decodetest.New(tb)
		rec.Quiet = true
		rec.Each = func(e *event.Event) { out[e.Kind] = append(out[e.Kind], clone(e)) }
		d := zeek.New(zeek.Options{Path: l + ".log"})
		for line := range bytes.Lines(unpacked(tb, path)) {
			d.Line(bytes.TrimRight(line, "\n"), event.Origin{Name: l + ".log"}, rec)
		}
	}
	return out
}
