// Package objects reads objects of S3 that are announced, each record once.
//
//	SQS ─┐                                        ┌─ events
//	     ├─ announcements ─► ebb.objects.v1 ─► engine ─ dead letters
//	list ┘                        ▲               └─ continuations ─┐
//	                              └─────────────────────────────────┘
//
// # Invariants
//
//   - A message of a queue is deleted after its announcements are committed to
//     ebb.objects.v1, never before: what is lost in between comes again.
//   - ebb.objects.v1 is keyed by the object, so that all that is said of one
//     object lies in one partition, and one instance owns that (internal/stream:
//     the offset commit is the fence). Who reads an object has no rival.
//   - The state of a partition is the set of objects that were begun, each with
//     the number of the last task about it. An announcement of an object that
//     is in the set is a repetition. A task with any other number than the
//     next is a leftover of a half-done commit. Both are passed over.
//   - A large object is read over several transactions: the events of a part
//     and the task to go on behind it commit together. Where the instance still
//     holds the object open it goes on at once, else it opens it again and
//     passes over what was read.
//   - A failure of the network is not one of the object: the task is written
//     again, to be tried later, without end. What S3 says of the object (missing,
//     denied, archived, changed) is a dead letter, and the object is
//     forgotten: an announcement after the cause is gone is read.
//   - What an object holds is bounded in decompressed bytes and ratio, depth,
//     length of lines and records, and records (package input, S3 in package
//     ingest): each bound ends in a dead letter with its name.
//
// The operator here does I/O, unlike those of pkg: see stream.Live. Its state
// follows from the records of ebb.objects.v1 alone.
//
// # Non-obvious
//
// An object is known for Keep: what is announced later than that is read
// again. A queue keeps a message for 14 days at most.
//
// AWS writes logs once. An object that is overwritten under its name is not
// read a second time.
package objects
