// Command ingest-gcp reads logs of Google Cloud and writes network and cloud
// events.
package main

import (
	"os"

	"github.com/ebbwatch/ebbwatch/internal/app"
)

func main() {
	ctx, stop := app.SignalContext()
	code := app.IngestMain(ctx, app.OS(), "ingest-gcp", "reads logs of Google Cloud and writes network and cloud events")
	stop()
	os.Exit(code)
}
