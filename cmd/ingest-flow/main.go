// Command ingest-flow reads VPC and transit gateway flow logs and writes network events.
package main

import (
	"os"

	"github.com/ebbwatch/ebbwatch/internal/app"
)

func main() {
	ctx, stop := app.SignalContext()
	code := app.IngestMain(ctx, app.OS(), "ingest-flow", "reads VPC and transit gateway flow logs and writes network events")
	stop()
	os.Exit(code)
}
