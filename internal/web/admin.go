// Package web is the admin endpoint of a service: metrics, liveness and
// readiness.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Admin serves /metrics, /healthz and /readyz.
type Admin struct {
	listener net.Listener
	server   *http.Server
	log      *slog.Logger
}

// ReadHeaderTimeout bounds how long a client may take to send its headers.
const readHeaderTimeout = 5 * time.Second

// Listen opens the endpoint's port at once, so that a port that is taken is
// an error at the start. ready returns nil when the service does its work; it
// must be safe for concurrent use.
func Listen(ctx context.Context, address string, metrics prometheus.Gatherer, ready func() error, log *slog.Logger) (*Admin, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("admin.listen %s: %w", address, reason(err))
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	return &Admin{ln, &http.Server{Handler: mux, ReadHeaderTimeout: readHeaderTimeout}, log}, nil
}

// reason is the innermost cause of a network error: the address is said once.
func reason(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// Addr is the address that it listens on.
func (a *Admin) Addr() string { return a.listener.Addr().String() }

// Run serves until ctx ends.
func (a *Admin) Run(ctx context.Context) error {
	a.log.Info("admin endpoint", "address", a.Addr())
	failed := make(chan error, 1)
	go func() { failed <- a.server.Serve(a.listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := a.server.Shutdown(stop); err != nil {
		return a.server.Close()
	}
	return nil
}
