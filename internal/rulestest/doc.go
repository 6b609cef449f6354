// Package rulestest runs tests of a site's detection, in the manner of
// `promtool test rules`: events in, alerts expected.
//
// Invariants:
//
//   - A case runs through the very operators of the services, in the order in
//     which a live system would have had its records (package hunt). It has no
//     clock: the same file gives the same result at any time.
//   - Every alert of a case is expected, or the case says that others may come:
//     a test of detection is a test of silence as well.
//   - Input that cannot be decoded fails its case, unless it says how many such
//     records there are.
package rulestest
