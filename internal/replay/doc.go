// Package replay rebuilds alerts from the topics, with the operators of the
// services: what a service would have written, had it run over that part of the
// log.
//
// # Invariants
//
//   - A replay is a function of the logs and of their epochs (DESIGN §2 law 1).
//     It joins no group, moves no offset and writes to no topic of the flow.
//   - State at the first record that counts comes from the newest snapshot at
//     or below it, or else from the start of the log. Records before the one
//     that counts are applied without a word. Where the log does not reach far
//     enough back for that, the result says so (Result.Cold).
//   - [Signals] replays the correlator over the signals topic as it is, in the
//     very order in which it took them: the alerts equal the live ones byte for
//     byte. [Events] replays detection too. Its signals are those of the live
//     run; their order between partitions is that of the append time of the
//     events, which is fixed, while the live one was that of commits.
//     Thus what alerts end as is equal, and the revisions on the way, with their
//     times of creation, may differ.
package replay
