// Package app runs the services: it loads their configuration, starts their
// tasks with an admin endpoint beside them, and stops them in order.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/ebbwatch/ebbwatch/internal/config"
)

// Version is the version of the binary: the module's, as the Go tool stamped
// it from the tag or commit.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

// Process is the world of a service: what main hands over.
type Process struct {
	Args      []string
	LookupEnv func(string) (string, bool)
	Stdout    io.Writer
	Stderr    io.Writer
}

// OS is the process of the operating system.
func OS() Process {
	return Process{Args: os.Args[1:], LookupEnv: os.LookupEnv, Stdout: os.Stdout, Stderr: os.Stderr}
}

// SignalContext ends at the first interrupt or SIGTERM; the second one kills
// the process as if nothing handled it.
func SignalContext() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// ExitCode prints an error as one line and returns the code to exit with.
func ExitCode(w io.Writer, service string, err error) int {
	if err == nil {
		return config.ExitOK
	}
	text := strings.Join(strings.Split(strings.TrimPrefix(err.Error(), config.ErrUsage.Error()+": "), "\n"), "; ")
	text = strings.TrimPrefix(text, service+": ")
	fmt.Fprintf(w, "%s: %s\n", service, text)
	if errors.Is(err, config.ErrUsage) {
		return config.ExitUsage
	}
	return config.ExitError
}

// Logger is the logger of a service.
func Logger(w io.Writer, l Log, service string) *slog.Logger {
	opts := &slog.HandlerOptions{Level: l.Level}
	var h slog.Handler = slog.NewTextHandler(w, opts)
	if l.Format == "json" {
		h = slog.NewJSONHandler(w, opts)
	}
	return slog.New(h).With("service", service)
}
