// Command ingest-cloudtrail reads CloudTrail files and writes cloud events.
package main

import (
	"os"

	"github.com/ebbwatch/ebbwatch/internal/app"
)

func main() {
	ctx, stop := app.SignalContext()
	code := app.IngestMain(ctx, app.OS(), "ingest-cloudtrail", "reads CloudTrail files and writes cloud events")
	stop()
	os.Exit(code)
}
