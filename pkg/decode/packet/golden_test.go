package packet_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"path/filepath"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// The captures are of our lab.
func TestGolden(t *testing.T) {
	t.Parallel()
	decodetest.Golden(t, func(t *testing.T, name string, in []byte, r *decodetest.Recorder) {
		t.Helper()
		z, err := gzip.NewReader(bytes.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		if err := packet.NewReader(z, name+".pcap", packet.NewTracker(packet.Config{})).ReadAll(r); err != nil {
			t.Fatal(err)
		}
	})
}

// TestSamples reads captures of others: every packet is accounted for.
func TestSamples(t *testing.T) {
	t.Parallel()
	root := decodetest.Sample(t)
	var paths []string
	for _, glob := range []string{"*/*.pcap", "*/*.pcap.gz"} {
		found, _ := filepath.Glob(filepath.Join(root, glob))
		paths = append(paths, found...)
	}
	if len(paths) == 0 {
		t.Skip("no captures among the samples")
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			data := unpacked(t, path)
			sink := new(tally)
			tr := packet.NewTracker(packet.Config{})
			if err := packet.NewReader(bytes.NewReader(data), "x.pcap", tr).ReadAll(sink); err != nil {
				t.Fatal(err)
			}
			s := tr.Stats()
			if sink.dead > 0 {
				t.Errorf("%d dead", sink.dead)
			}
			if s.Packets == 0 || s.Packets != s.Tracked+s.Ignored || s.Waiting != 0 {
				t.Errorf("packets do not add up: %+v", s)
			}
			if sink.packets != s.Tracked {
				t.Errorf("connections have %d packets, %d were tracked", sink.packets, s.Tracked)
			}
			if n := records(data); n != s.Packets {
				t.Errorf("%d packets of %d", s.Packets, n)
			}
		})
	}
}

// tally counts the packets of ended connections.
type tally struct {
	nowhere

	packets uint64
}

func (s *tally) Event(e *event.Event) {
	if e.Kind == event.KindConn && !e.Conn.Open {
		s.packets += e.Source.Packets.Or(0) + e.Destination.Packets.Or(0)
	}
}

// records counts the records of a little-endian pcap file by their lengths.
func records(file []byte) (n uint64) {
	for at := 24; at+16 <= len(file); n++ {
		at += 16 + int(file[at+8]) + int(file[at+9])<<8 + int(file[at+10])<<16
	}
	return n
}

// cut is a reader that fails as gzip does on a file that was cut off.
type cut struct{ io.Reader }

func (c cut) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
