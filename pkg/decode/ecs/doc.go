// Package ecs decodes documents of the Elastic Common Schema: what shippers have
// normalised already, such as the flows of Suricata, Packetbeat and firewalls, DNS
// logs, and proxy logs; ECS 9, formats.md §7.1.
//
// # Invariants
//
//   - Nested objects, dotted keys and any mixture of both are read alike; an array
//     of one value is that value.
//   - Every document is one event, ignored or dead. What describes no network
//     traffic (host, process, authentication, …) is ignored.
//   - The kind is that of the most specific fields: dns.question, tls.client, email,
//     http or url, then endpoints with counters. A document with counters of both
//     sides is a connection, one with those of the source alone a flow.
//   - Bytes are taken for those of the IP layer, as Suricata, Packetbeat and
//     firewalls count them; those of http fields are bodies, or whole messages where
//     the source knows nothing else.
//   - A denied connection is a rejected flow: nothing was transferred.
//   - Observer.Type is ecs- and the module that the shipper names, so that one
//     transfer that two devices saw is never summed.
//   - Of DNS the client is the source, also where the document describes the
//     answer's packet. A source that logs question and answer apart gives two
//     events of one transaction: names count once, questions twice.
package ecs
