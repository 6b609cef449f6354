// Package falco decodes the JSON alerts of Falco and the payload that
// falcosidekick makes of them; formats.md §4.
//
// # Invariants
//
//   - Only output_fields is read, never the text of output: no field is
//     guaranteed across rules, so whatever a rule gives is taken and the rest
//     stays absent. null, "" and "<NA>" are absent.
//   - Times are read as integers: nanoseconds do not fit a float64.
//   - The kind follows from what happened: an alert of a rule about USB or
//     removable media is a device event; one whose descriptor is a file, or
//     whose system call works on files, a file event; all else is a process
//     event.
//   - Of a connection, Source is the local side and Destination the remote
//     one, whoever began it.
//   - ID is a hash of host, time, rule and output_fields. It is the same when
//     Falco retries a delivery and when falcosidekick, whose uuid is new for
//     each receipt, hands an alert on twice.
//   - Falco's own alert about lost events becomes a health event with
//     Host.Name; like all of Falco's events it belongs to the host topic.
//
// What it cannot see: Falco counts no bytes, and drops alerts when its queue
// or the ring buffer is full.
package falco
