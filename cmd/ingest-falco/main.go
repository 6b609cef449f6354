// Command ingest-falco receives Falco alerts by HTTP and from files and writes host events.
package main

import (
	"os"

	"github.com/ebbwatch/ebbwatch/internal/app"
)

func main() {
	ctx, stop := app.SignalContext()
	code := app.IngestMain(ctx, app.OS(), "ingest-falco", "receives Falco alerts by HTTP and from files and writes host events")
	stop()
	os.Exit(code)
}
