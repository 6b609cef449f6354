package ingest_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/topic"
)

// What a USB port said before a restart belongs to the disk that is attached
// after it; each event is written once.
func TestHostLogAfterRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := filepath.Join(t.TempDir(), "kern.log")
	const disk = "2026-11-24T10:00:03Z db-7 kernel: sd 6:0:0:0: [sdb] Attached SCSI removable disk\n"
	put(t, log, disk+strings.ReplaceAll("T db-7 kernel: usb 1-1: Product: Travel Stick\nT db-7 kernel: usb 1-1: SerialNumber: EB000001\nT db-7 kernel: scsi host6: usb-storage 1-1:1.0\n", "T ", "2026-11-24T11:00:00Z "))
	r := w.start("ingest-falco", quick(log), false)
	until(t, "the first disk", func() bool { return len(w.events(topic.Host)) >= 1 })
	until(t, "the lines behind it", func() bool { return w.counted("ebbwatch_ingest_ignored_total") >= 3 })
	r.stop()
	add(t, log, strings.Replace(disk, "T10", "T11", 1)+`node=db-7 type=SYSCALL msg=audit(1795518000.123:7): arch=c000003e syscall=165 success=yes items=1 pid=9 auid=1000 uid=0 comm="mount" exe="/bin/mount" key=(null)
node=db-7 type=PATH msg=audit(1795518000.123:7): item=0 name="/dev/sdb1" inode=1 rdev=08:11 nametype=NORMAL
`)
	r = w.start("ingest-falco", quick(log), false)
	until(t, "the second disk", func() bool { return len(w.events(topic.Host)) >= 3 })
	r.stop()
	var got []string
	for _, e := range w.events(topic.Host) {
		got = append(got, strings.Join([]string{e.Kind.String(), e.Action, e.Observer.Type, e.Host.Name, e.Device.Name, e.Device.Model, e.Device.Serial}, "|"))
	}
	want := "device|attached|hostlog|db-7|/dev/sdb||\ndevice|attached|hostlog|db-7|/dev/sdb|Travel Stick|EB000001\ndevice|mount|hostlog|db-7|/dev/sdb1||"
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
}

func TestHostLogZone(t *testing.T) {
	t.Parallel()
	cfg := quick("x")
	cfg.Sources[0].HostLog = ingest.HostLogSource{Zone: "Europe/Berlin"}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	cfg.Sources[0].HostLog.Zone = "Nowhere/At All"
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "sources[0].hostlog.zone") {
		t.Errorf("%v", err)
	}
}
