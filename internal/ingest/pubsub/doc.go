// Package pubsub pulls messages of Google's Pub/Sub, each once.
//
//	subscription ─► ebb.objects.v1 ─► engine ─► events by their keys, dead letters
//
// # Invariants
//
//   - A message is acknowledged after its record on ebb.objects.v1 is committed,
//     never before: what is lost in between comes again.
//   - The record's key is the subscription with the message's ordering key, or
//     its id where it has none. All deliveries of a message lie in one partition,
//     and messages of one ordering key stand there as they were delivered.
//   - The state of a partition is the set of message ids of the last 24 hours. A
//     message that is in the set is a redelivery and gives nothing. Offsets, state
//     and events are one transaction (internal/stream).
//   - What cannot be decoded, or is too long for a record, is a dead letter with
//     its first bytes, and acknowledged like any other.
//   - Memory is bounded: so many messages, and so many bytes, wait for their commit;
//     the rest stays with Pub/Sub.
//
// A redelivery later than 24 hours gives its events again; they have the ids that
// they had, by which detection knows them.
package pubsub
