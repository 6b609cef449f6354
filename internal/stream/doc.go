// Package stream is the exactly-once engine: it runs one pkg/operator.Operator
// per assigned partition of a service's input topics, and commits its outputs,
// its input offsets and its state in one Kafka transaction.
//
// # The rule
//
// For each input partition (a topic and a number) there is one operator with a
// state, one position in the input, and one partition of the state topic that
// nothing else writes to. The committed offset C of the input partition is the
// only truth about how far it has come:
//
//   - (R1) Everything that an operator emits for records below C is committed,
//     once; nothing that it emits for C and above is.
//   - (R2) The state at C is a function of the log: the newest complete snapshot
//     at an offset N ≤ C, and the records N…C applied to it without emitting.
//   - (R3) A transaction writes outputs and state only for partitions whose
//     offsets it commits. The offset commit carries the member and its
//     generation, and that is the fence: who has lost a partition cannot
//     commit, and with its offsets its outputs and state are void.
//   - (R4) When the outcome of a commit is unknown, the process ends. When a
//     transaction was aborted, the partitions that took part in it are rebuilt
//     from the log; state is never patched in memory.
//   - (R5) Whatever decides comes from the log: an operator sees no clock, and a
//     record that it refuses becomes a dead letter in the same transaction.
//
// # Transactions
//
// One cycle is: begin, poll, process, produce, flush, check every produce
// error, allow a rebalance, end, allow a rebalance. A rebalance waits from
// the first poll to the flush, and it must not wait longer: the end of a
// transaction waits for a heartbeat, and that one for the rebalance. On a
// cluster the transactional id is stable per slot and is fenced before the
// group is joined, so that a restore does not wait for the time-out of its
// predecessor's transaction. On the embedded broker the id is fresh at every
// start: after a kill of that broker an old one is unusable.
//
// A slot is also a static member of the group, so that a restart takes over the
// partitions of its predecessor without a rebalance. On the embedded broker
// nothing else works: a dynamic member whose connection dies while its join
// waits for others never expires there, and its partitions are never consumed
// again. A drained member leaves the group explicitly.
//
// Control records (the markers of transactions) are consumed as well. They
// yield nothing, but they make the position exact: C−1 is always an offset
// that was seen, and an idle partition's C is its end.
//
// # State topic
//
// The state topic of a service with inputs A, B has one partition for each
// partition of A, then of B, in the order of Config.Inputs: partition p of B is
// state partition |A|+p. Keys are text:
//
//	TOPIC/PARTITION/b/BUCKET/SLOT/PART      a bucket of the keyed state
//	TOPIC/PARTITION/s/SLOT/PART             the shared state
//	TOPIC/PARTITION/k/KIND/SLOT/PART        an epoch in force at a snapshot
//	TOPIC/PARTITION/m/SLOT                  the manifest of a snapshot
//	TOPIC/PARTITION/e/KIND/OFFSET/PART      an epoch declared at an offset
//	layout                                  whose place this is from here on
//
// Values carry a format version and a checksum (format.go). A partition that
// holds keys of another input partition is refused: the partition counts were
// changed without `ebbwatch state repartition`. That command begins a new layout:
// what lies before its record counts no more.
//
// # Snapshots
//
// A snapshot is one cut at an offset N, taken between two transactions. The
// shared state is encoded at once; buckets are encoded over the following
// commits, a bucket that is about to change first (Context.Touch). Buckets
// that did not change since the previous snapshot are referred to. The manifest
// is written in the transaction of the last part, names every part by sequence,
// length and checksum, and makes the snapshot valid. Parts of an item
// alternate between two slots, so that compaction can only take what the newest
// complete manifest does not refer to. On the embedded broker nothing is
// referred to or compacted: every snapshot is whole, and once one is complete
// the state partition is trimmed up to the one before it.
//
// A restore reads the state partition twice: once to find the newest complete
// snapshot by sequences, lengths and checksums alone, and once from its first
// part to its manifest, to hand one item after the other to the operator,
// the shared state last. So it holds one bucket beside the state itself.
//
// The first transaction of a partition without a committed offset writes an
// empty snapshot at its first offset, before anything is processed. Hence a
// partition without a manifest has lost its state, and the engine says so
// instead of beginning anew.
//
// # Epochs
//
// An epoch (site file, thresholds, lists) is applied between two records and
// written, with the offset from which it holds, in the transaction that
// commits this offset. Replay applies it at the same place. Kinds are applied in
// the order of their names. A later record for an offset supersedes earlier
// ones of that kind from that offset on.
//
// # The embedded broker's half-done commits
//
// There a kill -9 of the broker can leave a transaction committed in some
// partitions and not in others. Therefore outputs carry their input position in
// the header "ebb-from", the commit's metadata carries the end of every output
// partition, and a restore scans the outputs from there: what a half-done
// commit has already published for offsets ≥ C is not published again. Manifests
// beyond C are ignored, and so are epochs that a later one supersedes.
//
// # End of a log
//
// The end of a log is the offset of a barrier: an aborted transaction written
// to it. Reading ends when that offset has passed in read-committed mode with
// control records. "Nothing came for a while" is no end, and the
// end offset alone may never be reached.
package stream
