// Package alert is the alert document: what the correlator says to a SIEM and
// to the person who is on call.
//
// One alert revision is one JSON object of the Elastic Common Schema with
// nested objects (formats.md §7.1). What ECS has no place for stands in the
// object "ebbwatch". [Alert] is the flat model of it, [Alert.Append] and
// [Decode] are the two directions, [Alert.AppendOCSF] writes the same as an
// OCSF Detection Finding (formats.md §7.2), [Alert.Line] and [Alert.Text] tell
// it to a person.
//
// # Invariants
//
//   - The bytes are a function of the Alert: no clock, no map order.
//   - A document is at most MaxBytes long. What does not fit is left out in
//     this order: evidence records (largest first), evidence, lists, long
//     text; evidence_trimmed says that something of the evidence is missing.
//     The document is complete JSON whatever was cut.
//   - Strings come from hostile hands. Control characters and broken UTF-8
//     become U+FFFD, so that neither a document nor a terminal breaks.
//   - An address field holds an address or is absent: one bad string in an
//     ECS ip field makes a sink reject the whole document.
//   - Times are microseconds in the model and ISO 8601 with milliseconds, UTC,
//     in the document; durations are nanoseconds there.
//
// # Risk score
//
// event.risk_score is [Risk]: severity gives 20, 40, 60 or 80 (low to
// critical), confidence adds 0, 5 or 10, the excess of the score over its
// threshold adds up to 5 (5 at twice the threshold), the class of the data
// adds 5 (RESTRICTED) or 3 (CONFIDENTIAL, and UNCLASSIFIED, which counts as
// sensitive until reviewed) or takes 10 (PUBLIC). It stays within 0 and 100.
package alert
