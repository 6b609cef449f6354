// Package crash is the proof of the exactly-once engine (internal/stream): it
// runs a broker, a generator, ingest, detection and correlation as processes,
// kills them in every way it knows, and holds what is committed against oracles
// that know nothing of the engine. `make crash` runs it; docs/explanation/exactly-once.md
// says what it has shown.
//
// A run writes flow logs to two files, which two instances of ingest-flow
// follow. Three services consume what they write:
//
//   - the tally, an operator of this package made to be sensitive: each record
//     yields an output that depends on keyed and shared state, so a run has
//     more than ten thousand. Its oracle (oracle.go) is a naive detector that
//     counts over the whole log anew for every record. They share no code.
//   - detect and correlate, the products themselves. Their oracle is their own
//     operator, called in one loop over the whole log: what is held against it is
//     the engine, not the detection.
//
// Ingest is held against the files: each line once, in order per partition.
//
// Invariants:
//
//   - A seed fixes the input and the schedule: which instance dies in which
//     phase of which commit, and the list of signals and when. How far a process has
//     come at that moment is up to the machine.
//   - A run is over only when every phase of a commit has had its kill and
//     enough outputs are expected.
//   - The programs are the products, built with the tag ebbcrash. That tag only
//     adds hooks that do nothing without variables in the environment.
package crash
