// Package tail follows files and folders: it finds files, tells them apart
// through rotation, truncation and compression, reads each content exactly
// once and in order, and knows at any time where to go on after a restart.
//
// # Which file is it
//
// A file is a content, not a name. It is known by device and inode together
// with a fingerprint: the hash of its first bytes, decompressed, as far as
// they were read (at most input.PrefixBytes). Hence
//
//   - renamed: same inode, same fingerprint: goes on under its new name;
//   - copied and truncated: same inode, other fingerprint: a new file. The
//     copy has the old fingerprint and takes over its position, so that what
//     was copied before it was read is not lost;
//   - compressed: another inode, the same fingerprint after decompression:
//     goes on at the same offset of the content;
//   - a copy beside its original: the same beginning as a file that is still
//     there: not read, as long as that is so.
//
// Two files that begin with the same PrefixBytes are taken for one. A shorter
// fingerprint covers all that was read, so that a wrong match skips nothing
// but bytes that were read already.
//
// # Invariants
//
//   - A position is taken between two records and committed with them.
//   - The last line without a line break waits until it is complete, or until
//     the file is: rotated and followed by another, closed by Zeek's #close,
//     or not written for Config.FinishAfter.
//   - What cannot grow (compressed, pcap, Parquet, CloudTrail documents) is
//     read once it has not changed for Config.Settle.
//   - Files of one log of one sensor form a [Group] and are read one after
//     the other, oldest first.
//
// A writer that truncates a file in place can lose what it wrote since the
// last look, unless the copy that it made before is in a watched place: that
// is the nature of copy-truncate.
//
// A Set is used by one goroutine.
package tail
