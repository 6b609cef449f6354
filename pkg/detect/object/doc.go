// Package object judges reads of stored objects by who reads.
//
// # bulk-object-read
//
// What moves data out of a bucket is added up per principal over windows of an
// hour (pkg/window): distinct objects and bytes. The principal is the record
// key of the cloud topic: the role, never its session, so that many sessions
// are one reader. More than 500 objects or more than 1 GB is an alert
// (detections.md §6). Half of either is a weak signal, and what else is known
// (class, external source, presigned URL) adds to both but never turns half a
// limit into an alert.
//
// It sees:
//
//   - S3 (CloudTrail data events): GetObject, GetObjectTorrent and
//     SelectObjectContent with their bytes; CopyObject and UploadPartCopy, whose
//     object is the copy's source and whose size the log does not give;
//     RestoreObject, which only prepares a read and has no bytes. Several ranges
//     of one object are one object, and their bytes add. Bytes are those of
//     HTTP bodies.
//   - GCS (Data Access logs): storage.objects.get. There are no bytes, so only
//     the number of objects can be judged.
//
// Buckets of the classes CONFIDENTIAL, RESTRICTED and UNCLASSIFIED count
// together, whichever bucket they lie in: one reader of ten buckets is one
// finding, and what nobody has classified is sensitive until reviewed. PUBLIC
// and INTERNAL buckets are not counted at all: there 500 objects are any batch
// job, and to judge them by the reader's own past needs baselines. Principals
// that the classification lists for a bucket may read any number of its
// objects; their bytes count like everyone's.
//
// A finding stages data (role staging) as long as all reads came from inside:
// an internal address, a VPC endpoint, or an AWS service on the principal's
// behalf. With the first read from an external address it is exfiltration (role
// exfil), since what was read left with the answer. An organisation's own NAT
// and office addresses are external unless home_networks holds them.
//
// It misses:
//
//   - everything where data events are not recorded, which is the default of
//     CloudTrail and of Cloud Audit Logs: no event means not logged;
//   - reads through access to the storage below (EBS snapshots: snapshot-read),
//     exports and replication (bulk-export, foreign-share), writes into foreign
//     buckets (foreign-copy), and CloudTrail's five-minute aggregates, which name
//     no principal;
//   - who stays below the limits, or spreads a theft over several principals;
//   - sizes of copies and of objects in GCS.
//
// It also fires on readers that are meant to read all: scanners, analytics, a
// content network in front of an undeclared public bucket. The cure is the
// classification, and for the gigabyte an override of the principal.
//
// # Invariants
//
//   - What a window holds is a function of the set of its events, whatever the
//     order within the lateness of the source: sums are by pane, and sets that
//     are full keep the entries of the smallest hashes.
//   - Objects are counted exactly up to 1024 in a window; beyond that the count
//     is an estimate (error about 3 %).
//   - Each source of events is judged by itself and the strongest told, since
//     two trails may deliver the same read.
//   - A principal costs at most 3 MB (four sources, four windows of twelve
//     panes, 1024 hashes and 40 names of 128 bytes in each); a usual one some
//     kilobytes.
package object
