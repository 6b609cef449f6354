package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/app"
	"github.com/ebbwatch/ebbwatch/internal/demo"
	"github.com/ebbwatch/ebbwatch/pkg/alert"
)

// demoCommand shows an attack from its records to the alert.
type demoCommand struct {
	Keep    bool          `help:"Leave everything running and print its addresses."`
	Timeout time.Duration `default:"60s" help:"How long to wait for the alert."`
	JSON    bool          `help:"The alert documents, one a line, instead of text."`
	Verbose bool          `help:"Show what the services log."`
}

// settle is how long after the expected alert the demonstration waits for
// others: there must be exactly one.
const settle = 3 * time.Second

// Run runs the demonstration and fails when the alert does not come.
func (c *demoCommand) Run(w *world) error {
	dir, err := os.MkdirTemp("", "ebbwatch-demo-")
	if err != nil {
		return fmt.Errorf("demonstration: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := demo.Attack().Write(dir, time.Now().Add(-2*time.Minute)); err != nil {
		return err
	}
	level := slog.LevelWarn
	if c.Verbose {
		level = slog.LevelInfo
	}
	room := app.NewRoom(w.logger(level))

	fmt.Fprintf(w.stderr, "Ebbwatch demonstration: embedded broker and services on loopback, records in %s\n", dir)
	fmt.Fprintln(w.stderr, "  network  recording of a real 20 MB upload with curl, amid an hour of recorded browsing; times moved to now")
	fmt.Fprintln(w.stderr, "  host     composed in Falco's real format: tar over a database's folder, curl's connection")
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	began := time.Now()
	found := make(chan *demo.Alerts, 1)
	watchErr := make(chan error, 1)
	services := make(chan error, 1)
	addresses := make(chan [2]string, 1)
	go func() {
		services <- app.RunEverything(ctx, room, demo.Configuration(dir), func(brokers, admin string) { addresses <- [2]string{brokers, admin} })
	}()
	var at [2]string
	select {
	case at = <-addresses:
	case err := <-services:
		return fmt.Errorf("demonstration: %w", err)
	}
	go func() {
		alerts, err := demo.Watch(ctx, at[0], c.Timeout, settle)
		if err != nil {
			watchErr <- err
			return
		}
		found <- alerts
	}()
	select {
	case alerts := <-found:
		c.show(w.stdout, alerts)
		fmt.Fprintf(w.stderr, "%.1f s from the start of the broker to the alert\n", alerts.Seen.Sub(began).Seconds())
	case err := <-watchErr:
		cancel()
		return fmt.Errorf("demonstration: %w", errors.Join(err, <-services))
	case err := <-services:
		return fmt.Errorf("demonstration: the services ended: %w", err)
	}
	if c.Keep {
		fmt.Fprintf(w.stderr, "kept running until Ctrl-C: brokers %s, metrics http://%s/metrics\n  kcat -b %s -t ebb.alerts.v1 -C -e -q\n  recordings in %s\n",
			at[0], at[1], at[0], filepath.Join(dir, "zeek"))
		<-w.ctx.Done()
	}
	cancel()
	return <-services
}

func (c *demoCommand) show(out io.Writer, alerts *demo.Alerts) {
	for _, a := range alerts.Standing {
		if c.JSON {
			fmt.Fprintf(out, "%s\n", a.JSON)
			continue
		}
		fmt.Fprintf(out, "\n%s", a.Text())
	}
	for _, a := range alerts.Standing {
		if a.Detector == alert.RuleJoined && !c.JSON {
			fmt.Fprintln(out, "\n(the host half of this alert is composed, its network half is a re-timed recording)")
		}
	}
}
