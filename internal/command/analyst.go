package command

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/internal/analyst"
	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// signature is who says something, and why.
type signature struct {
	By  string `required:"" placeholder:"NAME" help:"Who says so."`
	Why string `required:"" placeholder:"TEXT" help:"Why: for whoever looks at it later."`
}

// Bounds of what people write: an alert holds both.
const (
	maxName = 200
	maxWhy  = 1000
)

// check trims the texts.
func (s *signature) check() error {
	s.By, s.Why = strings.TrimSpace(s.By), strings.TrimSpace(s.Why)
	if err := text("--by", s.By, maxName); err != nil {
		return err
	}
	return text("--why", s.Why, maxWhy)
}

func text(what, s string, most int) error {
	switch {
	case s == "":
		return fmt.Errorf("%w: %s is empty", config.ErrUsage, what)
	case !utf8.ValidString(s):
		return fmt.Errorf("%w: %s is not UTF-8", config.ErrUsage, what)
	case len(s) > most:
		return fmt.Errorf("%w: %s is longer than %d bytes", config.ErrUsage, what, most)
	}
	return nil
}

// open connects to the brokers of the site.
func (c *cluster) open(w *world) (*analyst.Client, error) {
	kafka, opts, err := c.settings(w)
	if err != nil {
		return nil, err
	}
	client, err := analyst.Open(w.ctx, append(opts, kgo.SeedBrokers(kafka.Brokers...)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(kafka.Brokers, ","), err)
	}
	return client, nil
}

// verdictCommand answers an alert.
type verdictCommand struct {
	cluster
	signature

	Alert   string `arg:"" name:"alert-id" help:"Id of the alert, ebbwatch.id in its document."`
	Verdict string `arg:"" name:"verdict" enum:"benign,true,unsure" help:"benign: expected, closes the alert and teaches what is usual; true: exfiltration; unsure: neither."`
	Domain  string `help:"Correlation domain of the alert, where it cannot be found by its signals any more."`
}

// Run writes the verdict and says what it is about.
func (c *verdictCommand) Run(w *world) error {
	if err := c.check(); err != nil {
		return err
	}
	if err := text("ALERT_ID", c.Alert, maxName); err != nil {
		return err
	}
	client, err := c.open(w)
	if err != nil {
		return err
	}
	defer client.Close()
	now := time.Now()
	v := signal.Verdict{AlertID: c.Alert, Verdict: c.Verdict, By: c.By, Why: c.Why, Time: now.UnixMicro()}
	about, err := client.Verdict(w.ctx, v, c.Domain)
	if err != nil {
		return err
	}
	a := &about.Alert
	fmt.Fprintf(w.stdout, "%s: %s", a.ID, c.Verdict)
	if a.Reason != "" {
		fmt.Fprintf(w.stdout, " (%s, revision %d: %s)", a.Detector, a.Revision, a.Reason)
	}
	fmt.Fprintln(w.stdout)
	switch {
	case a.SupersededBy != "":
		fmt.Fprintf(w.stderr, "ebbwatch: it is part of alert %s, which the verdict is about\n", a.SupersededBy)
	case a.Status == alert.Closed && now.UnixMicro()-a.Created > forgotten.Microseconds():
		fmt.Fprintln(w.stderr, "ebbwatch: it closed more than a day ago and correlation may have forgotten it: then the verdict changes nothing")
	}
	return nil
}

// forgotten is how long correlation remembers an alert after it closed.
const forgotten = 24 * time.Hour

// deploymentCommand are the commands about deployment windows.
type deploymentCommand struct {
	Begin deploymentBegin `cmd:"" help:"Declare that a deployment runs: staging there is expected for at most 30 minutes, never of RESTRICTED data, never once a transfer joined it."`
	End   deploymentEnd   `cmd:"" help:"Declare that it has ended."`
}

// subject is where a deployment runs.
type subject struct {
	cluster
	signature

	Namespace string `placeholder:"NS" help:"Kubernetes namespace."`
	Host      string `placeholder:"H" help:"Host; together with --namespace: both must match."`
	Domain    string `default:"default" help:"Correlation domain, as in the configuration of detect."`
}

func (s *subject) window() (d signal.Deployment, err error) {
	if err := s.check(); err != nil {
		return d, err
	}
	if s.Namespace == "" && s.Host == "" {
		return d, fmt.Errorf("%w: --namespace is missing, or --host", config.ErrUsage)
	}
	for what, name := range map[string]string{"--namespace": s.Namespace, "--host": s.Host} {
		if name == "" {
			continue
		}
		if err := text(what, name, maxName); err != nil {
			return d, err
		}
	}
	return signal.Deployment{Namespace: s.Namespace, Host: s.Host, By: s.By, Why: s.Why}, nil
}

func (s *subject) String() string {
	var list []string
	if s.Namespace != "" {
		list = append(list, "namespace "+s.Namespace)
	}
	if s.Host != "" {
		list = append(list, "host "+s.Host)
	}
	return strings.Join(list, ", ")
}

type deploymentBegin struct {
	subject

	Until time.Duration `default:"30m" placeholder:"DURATION" help:"How long it may take from now, at most 30m."`
}

// Run opens a window.
func (c *deploymentBegin) Run(w *world) error {
	d, err := c.window()
	if err != nil {
		return err
	}
	if c.Until <= 0 || c.Until > analyst.MaxDeployment {
		return fmt.Errorf("%w: --until %s: a deployment window is open for at most %s", config.ErrUsage, c.Until, analyst.MaxDeployment)
	}
	client, err := c.open(w)
	if err != nil {
		return err
	}
	defer client.Close()
	if d, err = client.Begin(w.ctx, d, c.Domain, time.Now(), c.Until); err != nil {
		return err
	}
	fmt.Fprintf(w.stdout, "%s: deployment from %s until %s\n", &c.subject, clock(d.From), clock(d.Until))
	return nil
}

type deploymentEnd struct{ subject }

// Run closes a window. That none is open is no error: a deployment that took
// longer than a window ends all the same.
func (c *deploymentEnd) Run(w *world) error {
	d, err := c.window()
	if err != nil {
		return err
	}
	client, err := c.open(w)
	if err != nil {
		return err
	}
	defer client.Close()
	d, was, err := client.End(w.ctx, d, c.Domain, time.Now())
	switch {
	case err != nil:
		return err
	case was:
		fmt.Fprintf(w.stdout, "%s: deployment from %s ended %s\n", &c.subject, clock(d.From), clock(d.Until))
	case d.Until != 0:
		fmt.Fprintf(w.stderr, "ebbwatch: %s: no deployment window is open, the last one ended %s\n", &c.subject, clock(d.Until))
	default:
		fmt.Fprintf(w.stderr, "ebbwatch: %s: no deployment window is open\n", &c.subject)
	}
	return nil
}

// clock is a time in microseconds for a reader.
func clock(at int64) string { return time.UnixMicro(at).UTC().Format(time.RFC3339) }
