// Package backfill gives detection what is usual from logs of the past: it sums
// what each source did by hours and writes that as histories (signal.History) to
// the topic of the plane, under the keys of the sources.
//
//	S3 listing ─┐                                    ┌─ ebb.network.v1 / ebb.cloud.v1
//	            ├─ decode ─ hourly sums, day by day ─┤  one transaction
//	folder ─────┘                                    └─ ebb.positions.v1
//
// # Invariants
//
//   - No event is written: nothing of the past is judged, and no watermark moves.
//   - The histories of a day and the position behind it are committed in this
//     order, so that a run that was ended goes on with the day it was at. A day
//     that is written twice changes nothing (detect.Rememberer).
//   - Days are in their order: for each source hours come as they passed.
//   - What cannot be decoded is counted by reason. It makes no dead letters: it
//     lies where it lay.
//   - Memory is bounded by the number of hourly sums of one day.
//
// # Non-obvious
//
// The time of an object is taken from its name (formats.md §1.4, §5.3): a day is
// read from the objects of its time and those of three hours after it. Where
// names do not tell, everything is read at once, and the bound holds for all of
// it.
package backfill
