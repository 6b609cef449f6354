package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestProgressBar holds that a hunt draws a bar on a terminal, and nothing of
// the kind into a pipe.
func TestProgressBar(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "dns.log")
	var b bytes.Buffer
	for i := range 100_000 { // a bar comes after a fifth of a second
		fmt.Fprintf(&b, `{"ts":%d.5,"uid":"C%d","id.orig_h":"10.0.%d.%d","id.orig_p":40000,"id.resp_h":"10.53.0.53","id.resp_p":53,"proto":"udp","query":"host%d.of.d%d.com","qtype":1,"qtype_name":"A","rcode":0,"rcode_name":"NOERROR","answers":["203.0.113.%d"],"TTLs":[60.0]}`+"\n",
			1_795_430_400+i/50, i, i>>8&255, i&255, i%7, i%5000, i&255)
	}
	if err := os.WriteFile(log, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}

	piped := exec.CommandContext(t.Context(), filepath.Join(binaries, "ebbwatch"), "hunt", log)
	var stderr bytes.Buffer
	piped.Stderr = &stderr
	out, err := piped.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.Bytes())
	}
	for what, text := range map[string]string{"stdout": string(out), "stderr": stderr.String()} {
		if strings.ContainsAny(text, "\r\x1b") || strings.Contains(text, "[=") {
			t.Errorf("a bar on %s of a pipe: %q", what, text)
		}
	}
	if !strings.Contains(stderr.String(), "100000 records") {
		t.Errorf("no summary: %s", stderr.Bytes())
	}

	main, slave := terminal(t)
	drawn := exec.CommandContext(t.Context(), filepath.Join(binaries, "ebbwatch"), "hunt", log)
	drawn.Stderr = slave
	if err := drawn.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()
	seen, err := io.ReadAll(main) // ends with EIO when the other side is closed
	if err != nil && !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if err := drawn.Wait(); err != nil {
		t.Fatal(err)
	}
	if text := string(seen); !strings.Contains(text, "\r\x1b[K[") || !strings.Contains(text, " records  ") || !strings.Contains(text, "% ") {
		t.Errorf("no bar on a terminal: %q", text)
	}
}

// terminal opens a pseudo-terminal: what is written to slave is read from main.
func terminal(t *testing.T) (main, slave *os.File) {
	t.Helper()
	main, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { _ = main.Close() })
	if err := unix.IoctlSetPointerInt(int(main.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(main.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	return main, slave
}
