// Command ebbwatch is Ebbwatch on one machine: hunt, demo, run, broker.
package main

import (
	"os"

	"github.com/ebbwatch/ebbwatch/internal/app"
	"github.com/ebbwatch/ebbwatch/internal/command"
	"golang.org/x/term"
)

func main() {
	ctx, stop := app.SignalContext()
	code := command.Main(ctx, app.OS(), term.IsTerminal(int(os.Stderr.Fd())))
	stop()
	os.Exit(code)
}
