package command

import (
	"fmt"
	"log/slog"

	"github.com/ebbwatch/ebbwatch/internal/app"
	"github.com/ebbwatch/ebbwatch/internal/broker"
	"github.com/ebbwatch/ebbwatch/internal/config"
)

// brokerCommand runs the embedded broker alone.
type brokerCommand struct {
	Listen      string `default:"127.0.0.1:9092" help:"Address to listen on."`
	Data        string `type:"path" help:"Folder for the logs; without it everything is kept in memory and lost at the end."`
	AllowRemote bool   `help:"Permit an address that is not loopback. The embedded broker has no users and no encryption."`
	Advertise   string `help:"Host that clients are told to connect to, where it is not that of --listen."`
}

// Run serves until the process is told to stop.
func (c *brokerCommand) Run(w *world) error {
	log := w.logger(slog.LevelInfo)
	b, err := broker.New(broker.Config{Listen: c.Listen, Folder: c.Data, AllowRemote: c.AllowRemote, Advertise: c.Advertise}, log)
	if err != nil {
		return fmt.Errorf("%w: %w", config.ErrUsage, err)
	}
	if c.Data == "" {
		log.Warn("no data folder: what is produced is lost when the broker ends")
	}
	return app.RunGroup(w.ctx, log, app.Task{Name: "broker", Run: b.Run})
}
