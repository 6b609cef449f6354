// Package broker is the embedded broker: franz-go's kfake with a data folder,
// for trying, tests, drills, hunts and small sites. Any Kafka client can talk
// to it.
//
// Invariants:
//
//   - One process per data folder: the folder is locked for as long as the
//     broker runs, since two brokers on one folder destroy each other's logs.
//   - The folder is accessible to its owner only, and the broker listens on a
//     loopback address unless AllowRemote is set: it has no users and no
//     encryption.
//   - Nothing is compacted and the broker's own retention is off; see
//     retention.go for what trims the logs instead.
//
// What it promises is that *clients* may crash without loss. A kill -9 of the
// broker itself and power loss are not covered: a commit spans several files
// without a prepare record, and files are not synced. A site that depends on
// more runs Kafka.
package broker
