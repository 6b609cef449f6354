// Package baseline remembers how much a source usually sends in an hour, and
// says above which volume an hour is unusual.
//
// A [Series] holds the hourly sums of one source as one kind of observer
// counted them: sums of different layers are never mixed, so a source that
// flow logs and Zeek both see has two. A [Group] holds those of many sources
// of one role or subnet, for a source that has no history of its own.
//
// # Invariants
//
//   - A series is a ring of the last 14 days in hours of event time, UTC. Every
//     hour since the first is a sample, idle ones as zero: an hour is compared
//     with hours, never with days.
//   - Like is compared with like: the hours of the same time of day, one more
//     on either side, of weekdays or of weekend days. Where these are fewer than
//     [minSlot], all hours in which something was sent are taken instead.
//   - A sum is kept in one byte, seven steps an octave from 1 KiB to 2^46
//     bytes: what is read differs from what was put by at most 5.1 %. All
//     arithmetic is on integers, so that it is the same on every machine.
//   - The percentile is interpolated (type 7). Nearest rank would make the 95th
//     of fourteen values their maximum, and one bad day its owner.
//   - An hour above its limit, or of which an alert spoke, is quarantined: it is
//     no sample until somebody has answered. Benign makes it one, and an
//     allowance: as much may be sent again at that time of day, for as long as
//     it goes on. True takes it out for good. Without an answer it leaves with
//     its fourteen days.
//   - What nobody has looked at cannot raise a limit by more than half within 30
//     days: each slot has a ceiling, set when the history is complete, that
//     moves up by a fixed step for each day of its kind. Where the percentile
//     outgrows the ceiling, Put reports the drift.
//
// # Bounds
//
// A series takes at most 700 bytes of memory (a test holds it), whatever was
// put. Snapshots write runs of idle hours as one number.
//
// # What it misses
//
//   - A source that sends too much from its first day on: there is nothing to
//     compare with but its group and the fixed limit.
//   - Growth below the steps of the ceiling, 1.7 % a working day.
//   - Seasons longer than two weeks (the close of a quarter) look unusual.
//   - Time of day is UTC: where offices are far from it, the weekend begins
//     some hours early or late.
package baseline
