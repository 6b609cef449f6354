package input_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/pkg/decode/hostlog"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

const stick = "Dec 31 23:59:01 db-7 kernel: usb 1-1: New USB device found, idVendor=1209, idProduct=eb01, bcdDevice= 1.10\n" +
	"Dec 31 23:59:01 db-7 kernel: usb 1-1: SerialNumber: EB000001\n" +
	"Dec 31 23:59:02 db-7 kernel: scsi host6: usb-storage 1-1:1.0\n" +
	"Dec 31 23:59:03 db-7 kernel: sd 6:0:0:0: [sdb] Attached SCSI removable disk\n"

// The year of a host's log is that of the file's last change, in the zone that
// is configured, plain or compressed, and from the middle of the file as from
// its beginning.
func TestHostLogOfLastYear(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{"kern.log": []byte(stick), "kern.log.1.gz": gzipped(t, []byte(stick))} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		changed := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
		if err := os.Chtimes(path, changed, changed); err != nil {
			t.Fatal(err)
		}
		o := input.Options{Name: path, HostLog: hostlog.Options{Location: time.FixedZone("", -3600)}}
		var at input.Position
		var last string
		for lines := 0; lines <= 4; lines++ { // one line each, and reopened
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			k, err := input.Sniff(f, o)
			if err != nil {
				t.Fatal(err)
			}
			r, err := input.Open(f, k, o, at)
			if err != nil {
				t.Fatal(err)
			}
			rec := decodetest.New(t)
			rec.Each = func(e *event.Event) {
				last = time.UnixMicro(e.Time).UTC().Format(time.RFC3339) + " " + e.Host.Name + " " + e.Device.Name + " " + e.Device.Serial
			}
			if lines == 4 {
				err = input.ReadAll(context.Background(), r, rec)
			} else {
				err = r.Next(rec)
			}
			at = r.Position()
			if err != nil || r.Close() != nil {
				t.Fatal(err)
			}
		}
		if want := "2026-01-01T00:59:03Z db-7 /dev/sdb EB000001"; last != want {
			t.Errorf("%s: %q, want %q", name, last, want)
		}
	}
}

// A host's log is no form of single messages: its lines belong together.
func TestHostLogIsOfFiles(t *testing.T) {
	t.Parallel()
	if f, ok := input.Hint("hostlog"); !ok || f != input.HostLog || f.Lines() || !f.Readable() {
		t.Errorf("%v %v", f, ok)
	}
	if _, err := input.NewDecoder(input.HostLog, input.Options{}); err == nil {
		t.Error("a decoder of single messages")
	}
}
