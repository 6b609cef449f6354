// Command correlate joins signals of one entity into alerts.
package main

import (
	"os"

	"github.com/ebbwatch/ebbwatch/internal/app"
)

func main() {
	ctx, stop := app.SignalContext()
	code := app.Main(ctx, app.OS(), "correlate", "joins signals of one entity into alerts", app.DefaultCorrelation(),
		func(c *app.Correlation) *app.Common { return &c.Common }, app.NewCorrelate)
	stop()
	os.Exit(code)
}
