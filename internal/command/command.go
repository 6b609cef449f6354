// Package command is the ebbwatch binary's command line: the hunt, the
// demonstration, everything in one process, and the embedded broker.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/ebbwatch/ebbwatch/internal/app"
	"github.com/ebbwatch/ebbwatch/internal/backfill"
	"github.com/ebbwatch/ebbwatch/internal/config"
)

// Exit codes that ebbwatch has beside those of every service.
const exitAlerts = 3

// errAlerts ends a hunt that found something.
var errAlerts = errors.New("alerts were found")

// Line is the command line.
type Line struct {
	Hunt   huntCommand   `cmd:"" help:"Look for exfiltration in recordings: pcap, Zeek logs, flow logs, CloudTrail, Falco."`
	Demo   demoCommand   `cmd:"" help:"Run all services on an embedded broker over a recorded attack, print the alert, end."`
	Run    runCommand    `cmd:"" help:"Run all services in one process, on the embedded broker or on Kafka."`
	Broker brokerCommand `cmd:"" help:"Run the embedded broker alone."`
	State  stateCommand  `cmd:"" help:"Commands about the state of detect and correlate."`
	Replay replayCommand `cmd:"" help:"Rebuild alerts from the topics, between two times or offsets, into another topic or to stdout."`
	Bench  benchCommand  `cmd:"" help:"Measure this machine: raw consume and decode against full detection, in one run, with the ratio."`
	Phase  phaseCommand  `cmd:"" name:"bench-phase" hidden:"" help:"One phase of bench, described on stdin."`
	Doctor doctorCommand `cmd:"" help:"Say what is missing for which detector to see, from recordings or topics."`
	Site   siteCommand   `cmd:"" help:"Commands about site files."`
	Tune   tuneCommand   `cmd:"" help:"Compare thresholds over recordings or topics: which alerts come and go, and by which measured values."`
	Test   testCommand   `cmd:"" help:"Run tests of your detection: events in, alerts expected."`

	Backfill backfillCommand `cmd:"" help:"Give baselines the logs of the past: hourly sums from S3 or a folder, for detect."`
	Baseline baselineCommand `cmd:"" help:"Commands about what is usual for a source."`

	Verdict    verdictCommand    `cmd:"" help:"Answer an alert: benign, true or unsure."`
	Deployment deploymentCommand `cmd:"" help:"Begin or end a deployment window."`

	Version kong.VersionFlag `short:"v" help:"Print the version and exit."`
}

// world is what the commands get from outside.
type world struct {
	ctx     context.Context //nolint:containedctx // the process's own, handed to the one command that runs
	stdout  io.Writer
	stderr  io.Writer
	process app.Process
	// terminal says that stderr is one: progress bars are welcome.
	terminal bool
}

// Main runs the command line and returns the exit code.
func Main(ctx context.Context, p app.Process, terminal bool) int {
	var line Line
	exit := -1
	parser, err := kong.New(&line,
		kong.Name("ebbwatch"),
		kong.Description("Streaming detection of data exfiltration on Kafka.\n\nExit codes: 0 nothing found or done, 1 failed, 2 wrong use, 3 a hunt found alerts."),
		kong.Vars{"version": "ebbwatch " + app.Version(), "sums": strconv.Itoa(backfill.DefaultSums)},
		kong.Writers(p.Stdout, p.Stderr),
		kong.Exit(func(code int) { exit = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		return app.ExitCode(p.Stderr, "ebbwatch", err)
	}
	args := p.Args
	if len(args) == 0 {
		args = []string{"--help"}
	}
	w := &world{ctx: ctx, stdout: p.Stdout, stderr: p.Stderr, process: p, terminal: terminal}
	if args[0] == "run" {
		// Its flags are the keys of the configuration, as with every service.
		return app.ExitCode(p.Stderr, "ebbwatch", (&runCommand{Args: args[1:]}).Run(w))
	}
	selected, err := parser.Parse(args)
	if exit >= 0 {
		return exit // --help or --version has answered
	}
	if err != nil {
		return app.ExitCode(p.Stderr, "ebbwatch", fmt.Errorf("%w: %s (ebbwatch --help lists the commands)", config.ErrUsage, strings.TrimPrefix(err.Error(), "unknown flag ")))
	}
	err = selected.Run(w)
	if errors.Is(err, errAlerts) {
		return exitAlerts
	}
	return app.ExitCode(p.Stderr, "ebbwatch", err)
}

// logger logs warnings and worse to stderr: a command talks to a person.
func (w *world) logger(level slog.Level) *slog.Logger {
	return app.Logger(w.stderr, app.Log{Level: level, Format: "text"}, "ebbwatch")
}
