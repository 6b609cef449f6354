package command

import (
	"fmt"
	"strings"

	"github.com/ebbwatch/ebbwatch/internal/app"
	"github.com/ebbwatch/ebbwatch/internal/config"
)

// runCommand runs all services in one process. Its flags are those of the
// configuration, as with every service.
type runCommand struct {
	Args []string `arg:"" optional:"" help:"-config FILE and the flags of its keys; -help lists them."`
}

// Run runs until the process is told to stop.
func (c *runCommand) Run(w *world) error {
	cfg := app.DefaultEverything()
	action, err := config.Source{
		Service: "ebbwatch run", Description: "all services in one process, on the embedded broker or on Kafka", Args: c.Args,
		LookupEnv: w.process.LookupEnv, Stdout: w.stdout, Stderr: w.stderr,
	}.Load(cfg, app.Version())
	if err != nil || action == config.Done {
		return err
	}
	room := app.NewRoom(app.Logger(w.stderr, cfg.Log, "ebbwatch"))
	return app.RunEverything(w.ctx, room, cfg, func(brokers, admin string) {
		room.Log.Info("all services run", "brokers", brokers, "admin", admin)
		fmt.Fprintf(w.stderr, "ebbwatch: alerts are on topic ebb.alerts.v1 of %s%s\n", brokers, adminText(admin))
	})
}

func adminText(admin string) string {
	if admin == "" {
		return ""
	}
	return strings.Join([]string{"; metrics on http://", admin, "/metrics"}, "")
}
