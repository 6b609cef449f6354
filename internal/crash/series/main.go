// Command series is the crash series: it makes runs of internal/crash and says
// what they found. It also is the tally and the generator of these runs.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/ebbwatch/ebbwatch/internal/crash"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := crash.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
