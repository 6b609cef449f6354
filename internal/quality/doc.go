// Package quality measures what the detectors find, how soon, and what they
// cry wolf about: on the lab's recordings (testdata/lab), alone, inside an hour
// of benign traffic of the same host, mutated, stretched, and without a site
// file. "make quality" writes docs/quality.md and testdata/figures.json from
// it; the tests compare what is measured now with what is committed.
//
// # Invariants
//
//   - A measurement is a function of the corpus, the code and the seed: no
//     clock, no map order. Two runs write the same bytes.
//   - A capture is fed through the same chain as a hunt (pkg/pipeline), in
//     order of availability. What it counts until an alert is what was fed
//     until then, not what the alert says.
//   - Whatever alerts at any time counts, also what is taken back later.
//   - Events are edited after decoding (Edit): times, addresses, names and ids
//     change together, so that the edited capture is one that could have been.
package quality
