// Package gcp decodes what Google Cloud writes: VPC flow logs, Cloud Audit
// Logs, findings of the Security Command Center, and profiles of Sensitive Data
// Protection; formats.md §2 and §6.
//
// A document is a LogEntry, a row of a BigQuery sink, a notification, or one of
// the envelopes in which these travel (push and pull of Pub/Sub, exported lists);
// a [Decoder] takes one document a line, as Cloud Storage sinks and Pub/Sub
// deliver them.
//
// # Invariants
//
//   - Every record is exactly one event, ignored or dead. Envelopes are opened
//     to a bounded depth, and a list counts its records one by one.
//   - A flow record is one direction of one window, seen from the machine that
//     reported it; its counters are estimates from sampling and marked so.
//     Nothing says whether the packets were let through: Flow.Action is absent.
//   - The event time of a flow is that of its last packet, never the export's.
//   - ID is the same for a record that is delivered twice. Of flows it is a
//     hash of what was measured, since two log names may carry the same record.
//   - User.ID is the principal's e-mail address or subject, [Anonymous] where the
//     log names nobody; it may do so for redacted callers too.
//   - An absent authorizationInfo.granted is a refusal, as is a status code.
//   - Share.Targets are projects of service accounts, e-mail addresses of users
//     and groups, and domains; Public is what allUsers or allAuthenticatedUsers
//     got.
//   - Of a long operation the entry that holds the request counts, the other is
//     ignored; the old form of BigQuery's audit data is ignored where the new one
//     says the same.
//
// What it cannot see: Cloud Storage logs no bytes for reads, so that only objects
// count; data access logs are off until they are switched on.
package gcp
