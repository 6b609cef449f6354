// Command detect runs the detectors over the event topics and writes signals.
package main

import (
	"os"

	"github.com/ebbwatch/ebbwatch/internal/app"
)

func main() {
	ctx, stop := app.SignalContext()
	code := app.Main(ctx, app.OS(), "detect", "judges events and writes signals", app.DefaultDetection(),
		func(c *app.Detection) *app.Common { return &c.Common }, app.NewDetect)
	stop()
	os.Exit(code)
}
