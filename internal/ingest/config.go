package ingest

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"
	_ "time/tzdata" // the image has no time zones of its own

	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/internal/ingest/capture"
	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/pkg/decode/hostlog"
	"github.com/ebbwatch/ebbwatch/pkg/decode/vpcflow"
	"github.com/ebbwatch/ebbwatch/pkg/decode/zeek"
)

// Config of an ingest service. Durations of 0 take the value that fits the
// broker.
type Config struct {
	Sources []Source `yaml:"sources"`
	Paths   []string `yaml:"paths" help:"files and folders of one source without settings of its own"`
	Name    string   `yaml:"name" help:"sensor name of the files in paths; empty: each folder is a sensor"`
	Realm   string   `yaml:"realm" help:"address space of the files in paths; empty: by the site file"`
	Once    bool     `yaml:"once" help:"read what is there to its end, say so in a closing mark, and exit"`

	CommitInterval time.Duration `yaml:"commit_interval" help:"longest time between reading and commit; 0: 200ms, on the embedded broker 1s"`
	CommitBytes    int           `yaml:"commit_bytes" help:"bytes of events after which a transaction is committed at once"`
	MarkInterval   time.Duration `yaml:"mark_interval" help:"time between marks of changed sources; 0: 1s, on the embedded broker 5s"`

	PollInterval   time.Duration `yaml:"poll_interval" help:"how often open files are looked at where the system does not notify"`
	RescanInterval time.Duration `yaml:"rescan_interval" help:"how often folders are looked through, whatever the system notifies"`
	Settle         time.Duration `yaml:"settle" help:"how long a compressed or binary file must be unchanged before it is read, and a rotated one before it is complete"`
	FinishAfter    time.Duration `yaml:"finish_after" help:"how long a file must be unchanged before its last line counts without a line break"`
	Forget         time.Duration `yaml:"forget" help:"how long the position of a file that is gone is kept"`
	MaxFiles       int           `yaml:"max_files" help:"most files of one source"`
	MaxLine        int           `yaml:"max_line" help:"longest line in bytes; longer ones are dead letters"`
	MaxExpanded    int64         `yaml:"max_expanded" help:"most bytes that one compressed file may decompress to"`
	MaxRatio       int64         `yaml:"max_ratio" help:"most times that a compressed file may grow by decompression"`

	Webhook Webhook `yaml:"webhook"`
	S3      S3      `yaml:"s3"`
	Topics  Topics  `yaml:"topics"`
	PubSub  PubSub  `yaml:"pubsub"`
	// Capture is a network interface; only ingest-packet has one.
	Capture capture.Config `yaml:"capture"`
}

// Topics are topics of the same cluster that others write (internal/ingest/topics).
type Topics struct {
	Read   []string `yaml:"read" help:"topics of the same cluster that others write and this service reads, such as zeek or falco"`
	Format string   `yaml:"format" help:"what their records are: zeek, ecs, falco, vpcflow, resolver, cloudtrail or gcp; empty: what the service reads first of all"`
	Name   string   `yaml:"name" help:"sensor name of their events; empty: the topic"`
	Realm  string   `yaml:"realm" help:"address space of their events; empty: by the site file"`
}

func (t *Topics) validate(once bool, bad func(key, format string, args ...any)) {
	if len(t.Read) == 0 {
		return
	}
	if once {
		bad("once", "does not go with topics.read: topics have no end")
	}
	for i, name := range t.Read {
		if name == "" || strings.HasPrefix(name, "ebb.") {
			bad(fmt.Sprintf("topics.read[%d]", i), "%q is no topic that others write", name)
		}
	}
	if f, ok := input.Hint(t.Format); t.Format != "" && (!ok || !f.Lines()) {
		bad("topics.format", "%q is not zeek, ecs, falco, vpcflow, resolver, cloudtrail or gcp", t.Format)
	}
}

// Source is one sensor, or several in folders of their own.
type Source struct {
	// Paths are files, folders with all below them, and patterns.
	Paths []string `yaml:"paths"`
	// Name is the sensor's name, Observer.Name of its events. Without one it
	// is derived from each file's folder.
	Name string `yaml:"name"`
	// Realm is the address space; without one the site file decides by VPC
	// and sensor.
	Realm string `yaml:"realm"`
	// Format is what files hold whose content does not tell: zeek, vpcflow,
	// resolver, falco, hostlog, cloudtrail, gcp, ecs or pcap.
	Format string `yaml:"format"`
	// Columns are those of flow log lines without a header, as in the AWS
	// API: ${version} ${account-id} …
	Columns string `yaml:"columns"`
	// Lateness replaces the usual lateness of the source (lateness.go).
	Lateness time.Duration `yaml:"lateness"`
	Zeek     ZeekSource    `yaml:"zeek"`
	HostLog  HostLogSource `yaml:"hostlog"`
}

// HostLogSource says what the lines of a host's log do not.
type HostLogSource struct {
	// Zone is the time zone of lines that name none, in IANA's words; empty
	// is UTC.
	Zone string `yaml:"zone"`
	// Host is the machine of audit records that name none.
	Host string `yaml:"host"`
}

// ZeekSource says how a site's Zeek differs from the stock one.
type ZeekSource struct {
	FieldNames map[string]string `yaml:"field_names"` // theirs → Zeek's
	Columns    []string          `yaml:"columns"`     // of TSV without a header
	Separator  string            `yaml:"separator"`   // of TSV without a header
}

// Webhook receives alerts over HTTP; only ingest-falco has one.
type Webhook struct {
	Listen  string        `yaml:"listen" help:"address that receives alerts by HTTP POST; empty: none"`
	Token   config.Secret `yaml:"token" help:"bearer token that callers must send; empty: none"`
	Name    string        `yaml:"name" help:"sensor name of alerts that arrive by HTTP"`
	Realm   string        `yaml:"realm" help:"address space of alerts that arrive by HTTP; empty: by the site file"`
	Domain  string        `yaml:"domain" help:"correlation domain of deployment windows that are announced at /deployments"`
	MaxBody int           `yaml:"max_body" help:"longest request body in bytes"`
	Queue   int           `yaml:"queue" help:"most requests that wait for their commit; more are told to come back"`
}

// Default is the configuration unless set.
func Default() Config {
	l := input.DefaultLimits()
	return Config{
		CommitBytes: 8 << 20, PollInterval: time.Second, RescanInterval: 10 * time.Second,
		Settle: 2 * time.Second, FinishAfter: 5 * time.Minute, Forget: 48 * time.Hour,
		MaxFiles: 100_000, MaxLine: input.DefaultMaxLine, MaxExpanded: l.Bytes, MaxRatio: l.Ratio,
		Webhook: Webhook{Name: "webhook", Domain: "default", MaxBody: 1 << 20, Queue: 256}, S3: defaultS3(),
		PubSub: defaultPubSub(), Capture: capture.Default(),
	}
}

// Reads reports whether anything to read is configured.
func (c *Config) Reads() bool {
	return len(c.Sources) > 0 || len(c.Paths) > 0 || c.Webhook.Listen != "" || c.S3.Enabled() || len(c.Topics.Read) > 0 ||
		c.PubSub.Enabled() || c.Capture.Interface != ""
}

// Validate returns all problems, each with its key.
func (c *Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if !c.Reads() {
		bad("sources", "is empty: nothing to read")
	}
	c.S3.validate(c.Once, bad)
	c.Topics.validate(c.Once, bad)
	c.PubSub.validate(c.Once, bad)
	if c.Capture.Interface != "" && c.Once {
		bad("once", "does not go with capture.interface: what passes has no end")
	}
	if err := c.Capture.Validate(); err != nil {
		errs = append(errs, err)
	}
	seen := map[string]int{}
	for i, s := range c.Sources {
		key := fmt.Sprintf("sources[%d]", i)
		if len(s.Paths) == 0 {
			bad(key+".paths", "is empty")
			continue
		}
		for j, p := range s.Paths {
			if p == "" {
				bad(fmt.Sprintf("%s.paths[%d]", key, j), "is empty")
			} else if _, err := filepath.Match(p, ""); err != nil {
				bad(fmt.Sprintf("%s.paths[%d]", key, j), "%q is no pattern: %v", p, err)
			}
		}
		if other, ok := seen[s.id()]; ok {
			bad(key, "has the same name or first path as sources[%d]", other)
		}
		seen[s.id()] = i
		if _, ok := input.Hint(s.Format); s.Format != "" && !ok {
			bad(key+".format", "%q is not zeek, vpcflow, resolver, falco, hostlog, cloudtrail, gcp, ecs or pcap", s.Format)
		}
		if s.Columns != "" {
			if _, err := vpcflow.NewFormat(s.Columns); err != nil {
				bad(key+".columns", "%v", err)
			}
		}
		if _, err := time.LoadLocation(s.HostLog.Zone); err != nil {
			bad(key+".hostlog.zone", "%v", err)
		}
		if s.Lateness < 0 {
			bad(key+".lateness", "is negative")
		}
	}
	if len(c.Paths) > 0 {
		if other, ok := seen[(&Source{Paths: c.Paths, Name: c.Name}).id()]; ok {
			bad("paths", "have the same name or first path as sources[%d]", other)
		}
	}
	for _, d := range []struct {
		key   string
		value time.Duration
		zero  bool // means something
	}{
		{"commit_interval", c.CommitInterval, true},
		{"mark_interval", c.MarkInterval, true},
		{"poll_interval", c.PollInterval, false},
		{"rescan_interval", c.RescanInterval, false},
		{"settle", c.Settle, true},
		{"finish_after", c.FinishAfter, false},
		{"forget", c.Forget, false},
	} {
		if d.value < 0 || d.value == 0 && !d.zero {
			bad(d.key, "%s is no time to wait", d.value)
		}
	}
	if c.CommitInterval > maxCommitInterval {
		bad("commit_interval", "%s is longer than %s: a transaction must end", c.CommitInterval, maxCommitInterval)
	}
	for key, n := range map[string]int64{
		"commit_bytes": int64(c.CommitBytes), "max_files": int64(c.MaxFiles), "max_line": int64(c.MaxLine),
		"max_expanded": c.MaxExpanded, "max_ratio": c.MaxRatio, "webhook.max_body": int64(c.Webhook.MaxBody), "webhook.queue": int64(c.Webhook.Queue),
	} {
		if n < 1 {
			bad(key, "%d is too little", n)
		}
	}
	if c.Webhook.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Webhook.Listen); err != nil {
			bad("webhook.listen", "%q is not host:port", c.Webhook.Listen)
		}
		if c.Webhook.Name == "" {
			bad("webhook.name", "is empty")
		}
		if c.Webhook.Domain == "" {
			bad("webhook.domain", "is empty")
		}
	}
	return errors.Join(sorted(errs)...)
}

// maxCommitInterval leaves a transaction time to end before the broker ends
// it.
const maxCommitInterval = 5 * time.Second

// id names a source among those of its service, also in stored positions.
func (s *Source) id() string {
	if s.Name != "" {
		return s.Name
	}
	return s.Paths[0]
}

// all are the sources with the one that Paths makes.
func (c *Config) all() []Source {
	if len(c.Paths) == 0 {
		return c.Sources
	}
	return append([]Source{{Paths: c.Paths, Name: c.Name, Realm: c.Realm}}, c.Sources...)
}

func (s *Source) options(c *Config) input.Options {
	hint, _ := input.Hint(s.Format)
	zone, err := time.LoadLocation(s.HostLog.Zone)
	if err != nil {
		zone = time.UTC // Validate has said so
	}
	return input.Options{
		Hint: hint, Columns: s.Columns, MaxLine: c.MaxLine,
		Zeek:    zeek.Options{FieldNames: s.Zeek.FieldNames, Columns: s.Zeek.Columns, Separator: s.Zeek.Separator},
		HostLog: hostlog.Options{Location: zone, Host: s.HostLog.Host},
		Limits:  input.Limits{Bytes: c.MaxExpanded, Ratio: c.MaxRatio},
	}
}
