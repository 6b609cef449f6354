// Package resolver decodes the query logs of the Route 53 VPC Resolver: what
// the machines of a VPC ask the Amazon resolver, which flow logs never show
// (formats.md §1.3). The fields are those of docs.aws.amazon.com,
// Route53/latest/DeveloperGuide/resolver-query-logs-format.html, version 1.1.
//
// # Invariants
//
//   - One record is one question of one client with its answer. The source is
//     the client (srcaddr); the resolver's own address is not in the log, so
//     the destination is absent.
//   - A record is a JSON object, bare or in the envelope of a CloudWatch Logs
//     subscription or of Firehose (formats.md §8).
//   - Records have no identity at their source, and two equal ones are two
//     questions: ID is absent.
//
// # What it cannot see
//
// Sizes of messages and times to live are not in the log, and neither is what
// the resolver answers from its cache: a name that is asked again within its
// time to live is logged once. Names of a tunnel are new ones, and show.
package resolver
