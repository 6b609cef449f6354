// Package realtest starts real servers for tests, where test/real has installed
// them. Without one a test is skipped, unless EBB_REAL_REQUIRED is set, as in CI.
package realtest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Missing skips a test for want of a program, or fails it where it is required.
func Missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("EBB_REAL_REQUIRED") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Moto starts a server of S3 and SQS and returns its URL; root is the way to the
// root of the repository.
func Moto(t *testing.T, root string) string {
	t.Helper()
	script, err := filepath.Abs(filepath.Join(root, "test", "real", "moto.sh"))
	if err != nil {
		t.Fatal(err)
	}
	path, err := exec.CommandContext(t.Context(), script, "path").Output() //nolint:gosec // a script of this repository
	if err != nil {
		Missing(t, "moto is not installed: run test/real/moto.sh install")
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	log, err := os.Create(filepath.Join(t.TempDir(), "moto.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), strings.TrimSpace(string(path)), "-H", "127.0.0.1", "-p", strconv.Itoa(port)) //nolint:gosec // the path that the script printed
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); _ = log.Close() })
	endpoint := fmt.Sprintf("http://127.0.0.1:%d", port)
	for began := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, endpoint+"/moto-api/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			_ = res.Body.Close()
			return endpoint
		}
		if time.Since(began) > 2*time.Minute {
			t.Fatal("moto did not start")
		}
	}
}
