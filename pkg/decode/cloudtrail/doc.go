// Package cloudtrail decodes the records of AWS CloudTrail; formats.md §5.
//
// A [Reader] reads a file of any size with bounded memory: {"Records":[…]} on
// one line, records one a line, arrays, EventBridge and CloudWatch Logs
// envelopes, or any of these behind one another. A [Decoder] does the same for
// input that arrives line by line.
//
// # Invariants
//
//   - Every record is exactly one event, ignored (digests, insights,
//     aggregates, notifications) or dead. A record that is too long, too deep
//     or malformed costs itself and, at worst, what stands before the next
//     place where a record begins.
//   - User.ID is the stable principal: the role, never its session
//     (formats.md §5.4).
//   - Bytes are those of HTTP bodies. Of a copy they are absent, since what
//     the log gives is the size of the XML answer, and of a failed call, which
//     transferred nothing.
//   - Share.Targets are who got access: account ids, organisation ids (o-…),
//     buckets as arn:aws:s3:::NAME, and where nothing better is known domains,
//     e-mail addresses, canonical ids, networks and VPC endpoints. The
//     account that owns the resource is not among them, nor are AWS services.
//     Beyond 31 the last one reads "and N more", which is nobody's account:
//     a long list of harmless ones hides nothing.
//   - Public is only what is open to everyone: a "*" that a condition
//     restricts is as public as the condition is weak.
//
// What it cannot see: an object written with a public ACL in its own request
// is an object event; requests beyond 100 kB are logged without parameters.
package cloudtrail
