// Package topic is the table of Ebbwatch's topics (DESIGN §1): one place for
// their names, partitions, clean-up and retention, for the embedded broker
// and for real clusters alike.
//
// Invariants:
//
//   - On the embedded broker nothing is compacted and no topic has a
//     retention of its own there: its cleaner loses data
//     (internal/broker). Event topics are trimmed by age through
//     DeleteRecords instead, and state is rewritten each snapshot cycle.
//   - A state topic has one partition for each partition of each of its
//     inputs, so that the snapshots of one operator lie in one log of their
//     own (internal/stream).
package topic

import "time"

// Names of the topics.
const (
	Network    = "ebb.network.v1"
	Host       = "ebb.host.v1"
	Cloud      = "ebb.cloud.v1"
	Signals    = "ebb.signals.v1"
	Alerts     = "ebb.alerts.v1"
	DeadLetter = "ebb.deadletter.v1"
	Objects    = "ebb.objects.v1"
	Positions  = "ebb.positions.v1"
)

// Cleanup is Kafka's cleanup.policy.
type Cleanup string

// The policies that topics here use.
const (
	Delete        Cleanup = "delete"
	Compact       Cleanup = "compact"
	CompactDelete Cleanup = "compact,delete"
)

// Topic is one row of the table.
type Topic struct {
	Name string
	// Partitions is the default on a cluster, Embedded the count on the
	// embedded broker.
	Partitions, Embedded int32
	// Cleanup is the policy on a cluster.
	Cleanup Cleanup
	// Retention is how long records live; 0 means for ever.
	Retention time.Duration
}

// Count is the number of partitions that the table wants.
func (t Topic) Count(embedded bool) int32 {
	if embedded {
		return t.Embedded
	}
	return t.Partitions
}

// TrimAfter is the age at which the embedded broker trims records, 0 for
// topics that it never trims by time: what is compacted on a cluster holds
// the only copy of something.
func (t Topic) TrimAfter() time.Duration {
	if t.Cleanup != Delete {
		return 0
	}
	return t.Retention
}

const day = 24 * time.Hour

// Table returns all topics of the flow, with the state topics of the services
// that are known to have state.
func Table() []Topic {
	flow := flowTopics()
	return append(flow,
		State("detect", Network, Host, Cloud),
		State("correlate", Signals),
		State("ingest-flow", Objects),
		State("ingest-cloudtrail", Objects),
		State("ingest-gcp", Objects),
	)
}

func flowTopics() []Topic {
	return []Topic{
		{Network, 16, 4, Delete, 7 * day},
		{Host, 8, 2, Delete, 7 * day},
		{Cloud, 8, 2, Delete, 7 * day},
		{Signals, 1, 1, Delete, 7 * day},
		{Alerts, 4, 1, CompactDelete, 90 * day},
		{DeadLetter, 4, 1, Delete, 30 * day},
		{Objects, 8, 2, Delete, 7 * day},
		{Positions, 8, 1, Compact, 0},
	}
}

// StateName is the name of a service's state topic.
func StateName(service string) string { return "ebb.state." + service + ".v1" }

// State is the state topic of a service with these inputs: as many partitions
// as all inputs together, in the order of the list. An input that is not in
// the table counts as one partition.
func State(service string, inputs ...string) Topic {
	st := Topic{Name: StateName(service), Cleanup: Compact}
	for _, in := range inputs {
		row := Topic{Partitions: 1, Embedded: 1}
		for _, t := range flowTopics() {
			if t.Name == in {
				row = t
			}
		}
		st.Partitions += row.Partitions
		st.Embedded += row.Embedded
	}
	return st
}
