package stream

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Config of an Engine. Zero fields take the defaults named here.
type Config struct {
	// Service is the consumer group, part of the transactional id and a
	// metric label.
	Service string
	// Slot names this instance: unique among the running instances of the
	// service and the same after a restart. It makes the member of the group
	// static and the transactional id stable (on the embedded broker that is
	// always fresh), so that a restart takes the place of its predecessor at
	// once. With "" it waits for the predecessor's session and transaction
	// to time out; two live instances with one slot fence each other.
	Slot    string
	Brokers []string
	// Embedded says that the broker is internal/broker.
	Embedded bool

	// Inputs are the topics to process. Their order is that of the state
	// topic's partitions and must stay the same.
	Inputs []string
	// Factories overrides the factory given to New for some inputs.
	Factories map[string]operator.Factory
	// State is the state topic; topic.StateName(Service) by default.
	State string
	// Outputs are the topics that operators emit to.
	Outputs []string
	// DeadLetter is the topic of records that an operator refuses;
	// topic.DeadLetter by default.
	DeadLetter string

	// CommitInterval is the time from a transaction's begin to its commit; 1 s
	// by default, and not less on the embedded broker.
	CommitInterval time.Duration
	// MaxBytes of input end a transaction early; 64 MiB by default.
	MaxBytes int
	// PollRecords bounds one poll; 10 000 by default. Operators that work
	// long on a record want few: what was polled must be done before a
	// commit, and that is up to three polls for each partition.
	PollRecords int
	// Feedback allows operators to emit to their inputs: a record that tells
	// the operator to go on with something in a later transaction.
	Feedback bool
	// SnapshotCycle is the time between two snapshots; 5 minutes by default.
	SnapshotCycle time.Duration
	// PartBytes is the largest part of a snapshot; 512 KiB by default.
	PartBytes int
	// DrainTimeout bounds the final snapshot after the context ended; 8 s by
	// default.
	DrainTimeout time.Duration
	// StallTimeout is how long a restore may read without any progress; 60 s
	// by default.
	StallTimeout time.Duration

	// Supersedes reports whether an epoch that this instance declares replaces
	// the one that holds in a partition. Instances that hand partitions to each
	// other must agree on it, or they replace each other's; by default
	// different bytes replace. It must be a function of its arguments.
	Supersedes func(kind string, held, declared []byte) bool

	// Options are further client options (TLS, SASL). They come last.
	Options []kgo.Opt

	// OnCommitted is called with the outputs of a committed transaction, in
	// order per partition, and never during a replay. It must not block. The
	// records are shared with nobody else.
	OnCommitted func(outs []operator.Output)
	// OnLag is told after each commit how old, by append time, the newest
	// record of the partition is that is furthest behind. It must not block.
	OnLag func(lag time.Duration)
}

// Bounds of the group protocol. A transaction's time-out lies below the
// session's, so that a partition is never handed on while its old owner can
// still commit; a rebalance may take two sessions, with less three
// instances stall each other.
const (
	txnTimeout       = 10 * time.Second
	sessionTimeout   = 15 * time.Second
	rebalanceTimeout = 2 * sessionTimeout
	heartbeat        = 3 * time.Second
)

// minEmbeddedInterval bounds the batches on the embedded broker: each of them
// costs memory there for as long as it is kept.
const minEmbeddedInterval = time.Second

// maxBuckets bounds the size of a manifest: about 40 bytes a bucket.
const maxBuckets = 16384

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.CommitInterval, time.Second)
	def(&c.SnapshotCycle, 5*time.Minute)
	def(&c.DrainTimeout, 8*time.Second)
	def(&c.StallTimeout, time.Minute)
	if c.MaxBytes <= 0 {
		c.MaxBytes = 64 << 20
	}
	if c.PollRecords <= 0 {
		c.PollRecords = pollRecords
	}
	if c.PartBytes <= 0 {
		c.PartBytes = 512 << 10
	}
	if c.Supersedes == nil {
		c.Supersedes = func(_ string, held, declared []byte) bool { return !bytes.Equal(held, declared) }
	}
	if c.State == "" {
		c.State = topic.StateName(c.Service)
	}
	if c.DeadLetter == "" {
		c.DeadLetter = topic.DeadLetter
	}
	return c
}

// validate returns all problems of a configuration with defaults.
func (c Config) validate() error {
	var errs []error
	if c.Service == "" {
		errs = append(errs, errors.New("no service name"))
	}
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New("no brokers"))
	}
	if len(c.Inputs) == 0 {
		errs = append(errs, errors.New("no input topics"))
	}
	if c.Embedded && c.CommitInterval < minEmbeddedInterval {
		errs = append(errs, fmt.Errorf("commit interval %s: at least %s on the embedded broker", c.CommitInterval, minEmbeddedInterval))
	}
	if c.CommitInterval > txnTimeout/2 {
		errs = append(errs, fmt.Errorf("commit interval %s: at most %s, half of the transaction time-out", c.CommitInterval, txnTimeout/2))
	}
	if c.PartBytes > 900<<10 {
		errs = append(errs, fmt.Errorf("snapshot parts of %d bytes do not fit a Kafka message", c.PartBytes))
	}
	for i, in := range c.Inputs {
		if slices.Contains(c.Inputs[:i], in) {
			errs = append(errs, fmt.Errorf("input %s is named twice", in))
		}
		if in == c.State || in == c.DeadLetter || !c.Feedback && slices.Contains(c.Outputs, in) {
			errs = append(errs, fmt.Errorf("input %s is an output as well", in))
		}
	}
	if slices.Contains(c.Outputs, c.State) {
		errs = append(errs, fmt.Errorf("the state topic %s is an output as well", c.State))
	}
	return errors.Join(errs...)
}

func (c Config) factory(topic string, otherwise operator.Factory) operator.Factory {
	if f := c.Factories[topic]; f != nil {
		return f
	}
	return otherwise
}
