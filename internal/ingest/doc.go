// Package ingest is everything between bytes in the world and events on
// topics: the services ingest-zeek, ingest-flow, ingest-gcp, ingest-packet,
// ingest-falco and ingest-cloudtrail, and the reading side of a hunt.
//
//	files ─ tail ─┐
//	              ├─ input: recognise, decompress, decode ─ complete ─ transaction
//	webhook ──────┘
//
// # Invariants
//
//   - Events, dead letters, the positions that they bring their sources to, and
//     the mark that speaks of them are one transaction (DESIGN §2, "Ingest
//     once"). After a restart reading goes on at the committed positions.
//   - A mark is the last record of its transaction in every partition of each
//     topic that the service writes to, and speaks of the streams that are there.
//     What it promises is told in lateness.go.
//   - Every record is an event, ignored or dead, and counted once. An internal
//     transfer of MirrorBytes or more is written a second time for its peer.
//   - Memory is bounded: one transaction, one file's window for each file that
//     is open, a bounded queue of requests. A slow broker stops the reading.
//   - A webhook answers 200 after the commit, never before.
//   - An error of the broker ends the service: the outcome of a transaction is
//     unknown then, and the next start finds out.
//
// # Sources and sensors
//
// One entry of Config.Sources is one sensor, or several that lie in folders
// of their own: without a name each folder is one, named by
// input.ObserverName. The logs of one sensor (conn, dns, ssl, …) share its name,
// so that detectors join them.
//
// Files of one log are read one after the other, oldest first; of several logs
// the one that is furthest behind in event time comes first, so that a day
// that is caught up with arrives in nearly the order of a live day.
package ingest
