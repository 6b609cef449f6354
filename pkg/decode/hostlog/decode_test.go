package hostlog_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/hostlog"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// reference is when the test files were last written to: the first line of
// January 2027 that they do not have.
var reference = time.Date(2027, 1, 1, 0, 0, 1, 0, time.UTC)

func options() hostlog.Options { return hostlog.Options{Reference: reference} }

func decodeLines(d *hostlog.Decoder, in []byte, sink decode.Sink) (n int) {
	for line := range bytes.Lines(in) {
		n++
		d.Line(bytes.TrimSuffix(line, []byte("\n")), event.Origin{Name: "host.log", Line: event.N(n)}, sink)
	}
	return n
}

func TestGolden(t *testing.T) {
	t.Parallel()
	decodetest.Golden(t, func(t *testing.T, _ string, in []byte, r *decodetest.Recorder) {
		t.Helper()
		if lines := decodeLines(hostlog.New(options()), in, r); lines != r.Total() {
			t.Errorf("%d lines gave %d outcomes", lines, r.Total())
		}
	})
}

// Reading that goes on behind any line, with the header of that place, yields
// what reading in one go does.
func TestHeaderCarriesOn(t *testing.T) {
	t.Parallel()
	inputs, err := filepath.Glob("testdata/*/in.log")
	if err != nil || len(inputs) == 0 {
		t.Fatal("no inputs")
	}
	for _, path := range inputs {
		in, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		whole, pieces := decodetest.New(t), decodetest.New(t)
		decodeLines(hostlog.New(options()), in, whole)
		var header []byte
		n := 0
		for line := range bytes.Lines(in) {
			n++
			d := hostlog.New(options())
			if header != nil {
				d.SetHeader(header)
			}
			d.Line(bytes.TrimSuffix(line, []byte("\n")), event.Origin{Name: "host.log", Line: event.N(n)}, pieces)
			header = d.Header()
		}
		d := hostlog.New(options())
		decodeLines(d, in, decodetest.New(t))
		followed := hostlog.New(options())
		for line := range bytes.Lines(in) {
			followed.Line(bytes.TrimSuffix(line, []byte("\n")), event.Origin{}, discard{})
			followed.Header()
		}
		if !bytes.Equal(d.Header(), followed.Header()) {
			t.Errorf("%s: a header that was asked for in between is\n%s\nnot\n%s", path, followed.Header(), d.Header())
		}
		if !bytes.Equal(whole.Out, pieces.Out) {
			t.Errorf("%s: in one go\n%s\nin pieces\n%s", path, whole.Out, pieces.Out)
		}
	}
}

func one(t *testing.T, o hostlog.Options, line string) (out event.Event, r *decodetest.Recorder) {
	t.Helper()
	r = decodetest.New(t)
	r.Each = func(e *event.Event) { out = *e; out.ID = strings.Clone(e.ID) }
	hostlog.New(o).Line([]byte(line), event.Origin{}, r)
	return out, r
}

const attached = " h kernel: sd 6:0:0:0: [sdb] Attached SCSI removable disk"

// A line has no year and no zone: both are the file's.
func TestYearAndZone(t *testing.T) {
	t.Parallel()
	berlin := time.FixedZone("", 3600)
	for _, tc := range []struct {
		line, ref string
		zone      *time.Location
		want      string
	}{
		{"Nov 24 10:00:00", "2026-11-24T10:00:05Z", nil, "2026-11-24T10:00:00Z"},
		{"Dec 31 23:00:00", "2027-01-02T00:00:00Z", nil, "2026-12-31T23:00:00Z"},
		{"Jan  1 00:00:00", "2026-12-31T23:00:00Z", nil, "2027-01-01T00:00:00Z"}, // a followed file
		{"Feb 24 10:00:00", "2026-01-02T00:00:00Z", nil, "2025-02-24T10:00:00Z"},
		{"Feb 29 10:00:00", "2025-01-02T00:00:00Z", nil, "2024-02-29T10:00:00Z"},
		{"Nov 24 10:00:00", "2026-11-24T10:00:05Z", berlin, "2026-11-24T09:00:00Z"},
		{"Jan  1 00:30:00", "2026-12-31T23:31:00Z", berlin, "2026-12-31T23:30:00Z"},
	} {
		ref, err := time.Parse(time.RFC3339, tc.ref)
		if err != nil {
			t.Fatal(err)
		}
		e, r := one(t, hostlog.Options{Reference: ref, Location: tc.zone}, tc.line+attached)
		if got := time.UnixMicro(e.Time).UTC().Format(time.RFC3339); r.Events != 1 || got != tc.want {
			t.Errorf("%s at %s: %s, want %s; %s", tc.line, tc.ref, got, tc.want, r.Out)
		}
	}
	if _, r := one(t, hostlog.Options{}, "Nov 24 10:00:00"+attached); r.Deads[decode.ReasonMissing] != 1 {
		t.Errorf("without a reference: %s", r.Out)
	}
}

// A file that is followed over the turn of the year moves its own reference.
func TestYearTurns(t *testing.T) {
	t.Parallel()
	d, r := hostlog.New(hostlog.Options{Reference: time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)}), decodetest.New(t)
	var years []int
	r.Each = func(e *event.Event) { years = append(years, time.UnixMicro(e.Time).UTC().Year()) }
	for _, day := range []string{"Nov 30", "Dec 20", "Jan  5", "Jan 25"} {
		d.Line([]byte(day+" 10:00:00"+attached), event.Origin{}, r)
	}
	if fmt.Sprint(years) != "[2026 2026 2027 2027]" {
		t.Errorf("years %v", years)
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	base, _ := one(t, options(), "Nov 24 10:00:00"+attached)
	again, _ := one(t, options(), "2026-11-24T10:00:00Z"+attached)
	if base.ID == "" || base.ID != again.ID {
		t.Errorf("the same in another form: %s, %s", base.ID, again.ID)
	}
	for _, line := range []string{
		"Nov 24 10:00:01" + attached, "Nov 24 10:00:00" + strings.Replace(attached, " h ", " i ", 1),
		"Nov 24 10:00:00" + strings.Replace(attached, "sdb", "sdc", 1), "Nov 24 10:00:00" + strings.Replace(attached, "6:0:0:0", "6:0:0:1", 1),
	} {
		if other, _ := one(t, options(), line); other.ID == base.ID {
			t.Errorf("%s has the ID of another", line)
		}
	}
}

// Audit records need not name their host: then it is the configured one.
func TestHostOfAuditRecords(t *testing.T) {
	t.Parallel()
	in := []byte(`type=SYSCALL msg=audit(1795514400.123:7): arch=c000003e syscall=165 success=yes items=1 pid=9 auid=1000 uid=0 comm="mount" exe="/bin/mount" key=(null)
type=PATH msg=audit(1795514400.123:7): item=0 name="/dev/sdb1" inode=1 rdev=08:11 nametype=NORMAL`)
	for host, want := range map[string]string{"db-7": "db-7", "": ""} {
		r, got := decodetest.New(t), ""
		r.Each = func(e *event.Event) { got = e.Host.Name }
		decodeLines(hostlog.New(hostlog.Options{Host: host}), in, r)
		if got != want || host == "" && r.Deads[decode.ReasonMissing] != 1 {
			t.Errorf("%q: %s", host, r.Out)
		}
	}
}

// What is kept is bounded, whatever a log holds, and Header holds it.
func TestBounds(t *testing.T) {
	t.Parallel()
	r := decodetest.New(t)
	r.Quiet = true
	d := hostlog.New(options())
	long := strings.Repeat("é\x01x", 100_000)
	for i := range 3000 {
		host := fmt.Sprintf("%s%d", strings.Repeat("h", 300), i)
		for _, line := range []string{
			fmt.Sprintf("Nov 24 10:00:00 %s kernel: usb 1-%d: Product: %s", host, i, long[:200+i%50]),
			fmt.Sprintf("Nov 24 10:00:00 h%d kernel: usb 1-%d: SerialNumber: %s", i, i, long[:200]),
			fmt.Sprintf("Nov 24 10:00:00 h%d kernel: usb 1-%d: Manufacturer: %s", i, i, long[:200]),
			fmt.Sprintf("Nov 24 10:00:00 h%d kernel: scsi host%d: uas", i, i),
			fmt.Sprintf(`node=%s type=SYSCALL msg=audit(1795514400.123:%d): arch=c000003e syscall=165 items=9 comm="%s" exe="%s"`, host, i, long[:200], long[:200]),
			fmt.Sprintf(`node=%s type=PATH msg=audit(1795514400.123:%d): name="%s"`, host, i, long[:200]),
			fmt.Sprintf(`node=%s type=CWD msg=audit(1795514400.123:%d): cwd="%s"`, host, i, long[:200]),
		} {
			d.Line([]byte(line), event.Origin{}, r)
		}
	}
	if n := len(d.Header()); n > 64<<10 || n < 10<<10 {
		t.Errorf("header of %d bytes", n)
	}
	if r.Events != 0 || r.Lost != 0 || r.Total() != 21000 {
		t.Errorf("%d events, %d dead of %d", r.Events, r.Lost, r.Total())
	}
	d.Line([]byte("Nov 24 10:00:00 h kernel: "+strings.Repeat("x", 1<<20)), event.Origin{}, r)
	if r.Deads[decode.ReasonTooLong] != 1 {
		t.Errorf("%v", r.Deads)
	}
}

// A log is mostly of other things: they cost no memory.
func TestOtherLinesDoNotAllocate(t *testing.T) {
	d, sink := hostlog.New(options()), discard{}
	// A header that does not change is not made anew with each line.
	d.Line([]byte("Nov 24 10:00:00 h kernel: usb 1-1: Product: X"), event.Origin{}, sink)
	for _, line := range []string{
		"Nov 24 10:00:00 h sshd[812]: Connection closed by 198.51.100.7",
		"Nov 24 10:00:00 h kernel: [  12.345678] EXT4-fs (sda1): mounted filesystem with ordered data mode",
		"2026-11-24T10:00:00.123456+01:00 h systemd[1]: Started Session 4.",
		"hello",
	} {
		text := []byte(line)
		if n := testing.AllocsPerRun(100, func() { d.Line(text, event.Origin{}, sink); d.Header() }); n > 0 {
			t.Errorf("%s: %v allocations", line, n)
		}
	}
	text := []byte(`type=SYSCALL msg=audit(1795514400.123:9): arch=c000003e syscall=59 success=yes exit=0 items=2 pid=1 auid=0 uid=0 comm="cp" exe="/bin/cp" key="x"`)
	if n := testing.AllocsPerRun(100, func() { d.Line(text, event.Origin{}, sink) }); n > 0 {
		t.Errorf("audit: %v allocations", n)
	}
}

type discard struct{}

func (discard) Event(*event.Event)                {}
func (discard) Ignored(string)                    {}
func (discard) Dead(string, []byte, event.Origin) {}

// Whatever the lines, each has one outcome, and reading that goes on with the
// header of the middle says the same.
func FuzzLines(f *testing.F) {
	inputs, _ := filepath.Glob("testdata/*/in.log")
	for _, path := range inputs {
		in, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(in[:min(len(in), 6000)])
		for line := range bytes.Lines(in) {
			f.Add(line)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole := decodetest.New(t)
		d := hostlog.New(options())
		if n := decodeLines(d, in, whole); n != whole.Total() {
			t.Fatalf("%d lines, %d outcomes", n, whole.Total())
		}
		if len(d.Header()) > 64<<10 {
			t.Fatalf("header of %d bytes", len(d.Header()))
		}
		middle := bytes.IndexByte(in[len(in)/2:], '\n')
		if middle < 0 {
			return
		}
		middle += len(in)/2 + 1
		parts := decodetest.New(t)
		first, second := hostlog.New(options()), hostlog.New(options())
		decodeLines(first, in[:middle], parts)
		if header := first.Header(); header != nil {
			second.SetHeader(header)
		}
		n := parts.Total()
		for line := range bytes.Lines(in[middle:]) {
			n++
			second.Line(bytes.TrimSuffix(line, []byte("\n")), event.Origin{Name: "host.log", Line: event.N(n)}, parts)
		}
		if !bytes.Equal(whole.Out, parts.Out) {
			t.Fatalf("in one go\n%s\nin two\n%s", whole.Out, parts.Out)
		}
	})
}
