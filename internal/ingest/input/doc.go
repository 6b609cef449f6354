// Package input turns one file into decoded records: it recognises what a
// file is by its content, decompresses it within bounds, and reads it record
// by record with the decoder of its format. The services and the hunt use the
// same code, so that both see the same events.
//
// # Invariants
//
//   - The content decides what a file is. A name or a configured hint is asked
//     only where the content could be several things.
//   - Every record of a file is an event, ignored or dead. What cannot be read
//     at all (an unknown format, a broken or overlong compression) is one dead
//     record with the reason; only an error of the file system is an error.
//   - Memory is bounded whatever the file holds: one line, one record, one
//     window of the decompressor.
//   - A [Position] taken between two records, given to [Open] with the same
//     content, goes on with the next record.
package input
