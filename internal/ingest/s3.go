package ingest

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// S3 says where announcements of objects come from, and how objects are read.
// The services that read AWS logs have it (internal/ingest/objects).
type S3 struct {
	Queues []string `yaml:"queues" help:"URLs of the SQS queues that announce objects, by S3 event, through SNS, by EventBridge or as CloudTrail's own notification"`
	List   []string `yaml:"list" help:"places, s3://BUCKET/PREFIX, whose objects of the time from s3.from to s3.to are read without an announcement"`
	From   string   `yaml:"from" help:"list objects written from this time on, such as 2026-01-05T10:00:00Z"`
	To     string   `yaml:"to" help:"list objects written before this time; empty: go on listing, every s3.list_interval"`

	ListInterval time.Duration `yaml:"list_interval" help:"time between listings without an end"`
	Buckets      []string      `yaml:"buckets" help:"buckets that may be read; an announcement of any other is a dead letter; empty: every bucket that the credentials can read"`

	Region    string `yaml:"region" help:"AWS region; empty: from the environment, as all AWS tools do"`
	Endpoint  string `yaml:"endpoint" help:"URL of a server that speaks S3 and SQS, instead of AWS; objects are then addressed by path"`
	Name      string `yaml:"name" help:"sensor name of what objects hold; empty: the bucket"`
	Realm     string `yaml:"realm" help:"address space of what objects hold; empty: by the site file"`
	Columns   string `yaml:"columns" help:"columns of flow log lines without a header, as in the AWS API"`
	MaxObject int64  `yaml:"max_object" help:"largest object in bytes, as stored; larger ones are dead letters"`
	// MaxRecords bounds what one object costs beside its bytes.
	MaxRecords int64 `yaml:"max_records" help:"most records of one object; what lies beyond is one dead letter"`

	CommitInterval time.Duration `yaml:"commit_interval" help:"time from reading an object to the commit of its events; the embedded broker takes at least 1s"`
	SnapshotCycle  time.Duration `yaml:"snapshot_cycle" help:"time between full snapshots of which objects were read"`
}

// defaultS3 is the configuration unless set.
func defaultS3() S3 {
	return S3{
		ListInterval: 5 * time.Minute, MaxObject: 4 << 30, MaxRecords: 50_000_000,
		CommitInterval: time.Second, SnapshotCycle: 5 * time.Minute,
	}
}

// Enabled reports whether there is anything to read.
func (c *S3) Enabled() bool { return len(c.Queues) > 0 || len(c.List) > 0 }

// Span is the time of the listings; a zero to has no end.
func (c *S3) Span() (from, to time.Time, err error) {
	if from, err = time.Parse(time.RFC3339, c.From); c.From != "" && err != nil {
		return from, to, fmt.Errorf("s3.from: %q is no time such as 2026-01-05T10:00:00Z", c.From)
	}
	if to, err = time.Parse(time.RFC3339, c.To); c.To != "" && err != nil {
		return from, to, fmt.Errorf("s3.to: %q is no time such as 2026-01-05T10:00:00Z", c.To)
	}
	if c.From != "" && c.To != "" && !from.Before(to) {
		return from, to, fmt.Errorf("s3.to: %s is not after s3.from", c.To)
	}
	return from, to, nil
}

// Place splits s3://BUCKET/PREFIX.
func Place(text string) (bucket, prefix string, ok bool) {
	rest, ok := strings.CutPrefix(text, "s3://")
	bucket, prefix, _ = strings.Cut(rest, "/")
	return bucket, prefix, ok && bucket != ""
}

func (c *S3) validate(once bool, bad func(key, format string, args ...any)) {
	if !c.Enabled() {
		return
	}
	if once {
		bad("once", "does not go with s3.queues and s3.list: they have no end")
	}
	for i, q := range c.Queues {
		if u, err := url.Parse(q); err != nil || u.Host == "" || !strings.HasPrefix(u.Scheme, "http") {
			bad(fmt.Sprintf("s3.queues[%d]", i), "%q is no URL of a queue", q)
		}
	}
	for i, l := range c.List {
		if _, _, ok := Place(l); !ok {
			bad(fmt.Sprintf("s3.list[%d]", i), "%q is not s3://BUCKET/PREFIX", l)
		}
	}
	if len(c.List) > 0 && c.From == "" {
		bad("s3.from", "is empty: say from when on objects are listed")
	}
	if _, _, err := c.Span(); err != nil {
		key, text, _ := strings.Cut(err.Error(), ": ")
		bad(key, "%s", text)
	}
	if c.Endpoint != "" {
		if u, err := url.Parse(c.Endpoint); err != nil || u.Host == "" {
			bad("s3.endpoint", "%q is no URL", c.Endpoint)
		}
	}
	if c.MaxObject < 1 {
		bad("s3.max_object", "%d is too little", c.MaxObject)
	}
	if c.MaxRecords < 1 {
		bad("s3.max_records", "%d is too little", c.MaxRecords)
	}
	for key, d := range map[string]time.Duration{"s3.list_interval": c.ListInterval, "s3.commit_interval": c.CommitInterval, "s3.snapshot_cycle": c.SnapshotCycle} {
		if d <= 0 {
			bad(key, "%s is no time to wait", d)
		}
	}
	if c.CommitInterval > maxCommitInterval {
		bad("s3.commit_interval", "%s is longer than %s: a transaction must end", c.CommitInterval, maxCommitInterval)
	}
}
