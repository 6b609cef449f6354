// Package zeek decodes Zeek logs, TSV and JSON, one line at a time.
//
// # Reading
//
// A TSV file is read by its own header (formats.md §3.1): separators, markers
// of unset and empty fields, the prefix of header lines and the order of the
// columns come from there, and a new header in mid-file replaces the old one.
// A JSON line stands alone (formats.md §3.2, §3.11). Both end in one record of
// raw values, and one mapping makes the event of it: the two forms of one
// record give the same event, to the microsecond.
//
// # Invariants
//
//   - Every line is an event, ignored or dead, and is counted once.
//   - Nothing is rejected for an unknown field, an unknown value or the order
//     of the fields. A value that cannot be (a negative counter, one above
//     2^53, a duration of decades, payload far beyond what the packets can
//     have carried) makes that value absent, not the record. Dead is what
//     has no usable time, or no endpoints where the log has them.
//   - Text is canonical: valid UTF-8, with control and stray bytes as \xNN,
//     whichever of Zeek's escaping policies wrote it.
//   - Event.ID is the uid of the connection, which joins the logs. It is not
//     the identity of a record: that is the kind with ID, Time and DNS.ID or
//     File.ID, and of snapshots (Conn.Open) the one with the largest counters
//     counts.
//   - Records of dns_exfil.log describe transactions that dns.log describes
//     too. They bear the observer type [ObserverExfil], so that a detector
//     which counts names per observer type never counts one twice.
//   - Records of icmp_echo.log (deploy/zeek/ebbwatch.zeek) are ICMP messages like
//     those of packets: what they hold of contents are hashes.
//   - Strings of an event alias the line or a buffer of the decoder, and are
//     valid during Sink.Event only. A canonical line costs no allocation.
package zeek
