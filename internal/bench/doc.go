// Package bench measures this machine: how fast it consumes records, decodes
// them, and runs detection over them without and with exactly-once, in one run
// on the same records (DESIGN §7), and how long a record takes from the
// producer to its alert.
//
// Every phase is a process of its own (Child), so that its CPU seconds and its
// peak of memory are its own, and so that it can be killed. The parent (Run)
// holds the broker, where none is named, and makes the records.
//
// The records are flow events as ingest-flow writes them: a pair for each
// talk of a source with a peer, out and back, peers and sizes spread as sites
// have them. The same arguments make the same records.
//
// # What is compared
//
//	raw              records are fetched and dropped
//	decode           fetched, and decoded by segmentio/encoding into a struct of
//	                 all fields, a goroutine a partition: what a program does
//	                 before it does anything
//	detect_volatile  fetched, and given to the product's own detectors; signals
//	                 are produced, nothing is committed
//	detect           internal/stream as the services run it: signals, offsets
//	                 and snapshots in one transaction
//
// All are measured between two moments at which records were done, not from
// the start of the process: the setup, in which every source is seen once, is
// outside. With exactly-once, records count when they are committed.
package bench
