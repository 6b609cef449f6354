package web_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/web"
	"github.com/prometheus/client_golang/prometheus"
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "ebbwatch_test_total", Help: "A counter."})
	reg.MustRegister(c)
	c.Inc()
	var ready atomic.Bool
	log := slog.New(slog.DiscardHandler)
	a, err := web.Listen(t.Context(), "127.0.0.1:0", reg, func() error {
		if !ready.Load() {
			return errors.New("state is being restored")
		}
		return nil
	}, log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := web.Listen(t.Context(), a.Addr(), reg, nil, log); err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "admin.listen") {
		t.Errorf("a taken port gives %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	base := "http://" + a.Addr()
	if code, body := get(t, base+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "restored") {
		t.Errorf("readyz before: %d %q", code, body)
	}
	ready.Store(true)
	for path, want := range map[string]string{"/readyz": "ready", "/healthz": "ok", "/metrics": "ebbwatch_test_total 1"} {
		if code, body := get(t, base+path); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
