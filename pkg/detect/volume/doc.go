// Package volume holds the detectors of data that leaves by its amount:
// external-transfer (weak, one half of a join) and upload-ratio
// (detections.md §2).
//
// # What they see
//
// Zeek and packet connections, with both directions, and flow records, which
// tell one direction each. Bytes are those that an internal address sent to an
// external one, whoever began: the originator's of an outbound connection, the
// responder's of an inbound one to a port on which no service listens (a
// reverse tunnel). What our own services answer is no transfer; of flow records
// that is a record from a service port to one that is none. Rejected traffic
// and attempts without data do not count.
//
// Payload comes from sequence numbers. Where the IP bytes and what the sensor
// missed cannot have carried it, or where it is absent, it is estimated from
// IP bytes less headers, and the signal says so.
//
// The destination is the registered domain of the name under which the client
// asked: the connection's own (SNI, Host), for flow records by the addresses and
// ports that both logs have; else the last name of the address that was said
// before the traffic began, or the first in its pane of five minutes (DNS answer,
// another connection's name); else the address. An address keeps its last four
// names, for flow records come when it may be called otherwise. Ports are told
// apart by upload-ratio only. A window of one hour starts with the first event of a source and
// destination (package window).
//
// # external-transfer
//
// Bytes within the hour, whatever came back: 10 MB, or 1 MB to a rare
// destination. Rare means here that this source did not send to it in an
// earlier window that is remembered (512 destinations, a day); how rare it is
// at the site is not known to one key. It never alerts alone. Addresses that
// stand for many (aggregators) are no source.
//
// # upload-ratio
//
// Three points, each an alert alone: at least 20:1 and 10 MB (one connection, or
// the pair within the hour; as required), 10:1 and 8 MB, 20:1 and 1 MB over 60 s
// of activity (as measured in the lab). Activity is the time that connections
// lasted, and ten seconds for each ten-second slot in which a shorter one ended:
// a chunk every ten seconds is a stream, two uploads half an hour apart are not.
// More than five minutes of it add a point and confidence. Half of the 8 MB or
// of the 1 MB makes a weak signal. The pair is judged as it stood at the end of
// each pane, so that downloads afterwards do not undo an upload. Behind an
// aggregator only single connections are judged. The producer-consumer ratio is
// among the values.
//
// A pair of flow records is judged when each outgoing record has its
// counterpart, or when the source is complete past the pane: until then the
// absence of an answer means nothing.
//
// Mail is one-sided by nature: without a declared relay 10 MB of it alert, at
// low confidence; a relay's mail does not count. ICMP has a detector of its own.
//
// Exempt from both: own domains, backup sources, sanctioned destinations for the
// sources that they are declared for, up to their cap for 24 hours (spent.go).
//
// # Who counts
//
// The same bytes are seen by several observers, and in flow logs at several
// interfaces. Each is judged by itself; the signal tells the strongest and which
// one that is. Snapshots of a connection count by their largest counters. What
// passes an interface on its way (NAT gateway, firewall, transit gateway) is a
// view apart from what leaves there, where the records tell their direction. The
// private address of a NAT gateway is a source of its own, unless declared as an
// aggregator.
//
// # When they speak
//
// When the set of points changes, at each doubling of the bytes, and at the end
// of the window. What was said is taken back (a revision with a score below the
// floor) where a name or an earlier event that comes late moves the bytes to
// another finding, and where the last word of a window falls below the floor.
// The final signals are a function of the events, whatever their order within
// their lateness. Two things make an exception: connections below 256 KiB whose
// own name comes after their record stay under the name that their address had,
// and what exceeds the bounds below.
//
// # What they miss
//
//   - Less than the limits in an hour, or spread over destinations, ports or
//     sources: slow-upload, distributed-upload.
//   - Uploads that are padded with as many downloads in the same five minutes,
//     unless one connection alone reaches 10 MB at 20:1. A DNS tunnel inside
//     HTTPS answers as much as it asks (1.0:1 in the lab): encrypted-dns.
//   - A flow record of a long connection without a name of its own (DNS and flow
//     logs alone) goes to what its address was called when the record begins.
//   - Whom the name protects: SNI and Host are the client's word. A program that
//     sends a sanctioned name to another address is exempt, as is one that
//     resolves it at a name server of its own choice.
//   - What is fetched from our own services at their ports.
//   - A destination that a small upload made known in an earlier hour is not
//     rare.
//   - An upload split by the end of its window, if neither part reaches the
//     limits.
//
// # Bounds
//
// Per key at most 256 pairs, 4 views a pair, 32 connections a view and 512 in
// all that are kept by themselves, 256 names of connections and 512 of addresses,
// of which the oldest that no connection used gives way first.
// Where pairs are too many, the quarter to which least was sent goes.
//
// # Meters
//
// Ten more detectors are judged from one state a source, the meter
// (NewMetered): volume-anomaly, volume-fixed, sustained-upload, slow-upload,
// new-destination-upload, no-dns-upload, sanctioned-abuse, foreign-tenant,
// mail-upload and distributed-upload. It holds what the source sends in all, in panes of ten minutes, a
// baseline for each kind of observer (package baseline), and its destinations
// by ten minutes, hours and six hours, for a week. What belongs to the site, who
// uses which destination since when, which addresses were looked up and what is
// usual in a role or subnet, is shared state of the partition.
//
// A meter judges at an event once a route grew by 1/64 or 256 KiB, the source by
// a megabyte, and everything when an hour and the hour of grace after it are
// over. An hour is any sixty minutes, in steps of ten, that end in one of the
// clock; a day is any 24 hours that end in one of the calendar, UTC. What stands
// then is a function of the events, but for names that come later than the
// record, transfers below 16 KiB to new destinations, and what the shared state
// knew.
//
// Of distributed-upload a meter judges one source: a share, from a megabyte in
// 24 hours to a destination that is new to the site. The correlator adds the
// shares of a destination up (pkg/correlate, ADR 10), for the sources lie in many
// partitions. What a partition has known for longer than new_days is no share
// there, though it were new to another. Flow records tell one direction each: a
// share of theirs waits for the first record of an answer, at most until its hour
// is over.
//
// What it misses: the pages of the ten. Records more than an hour late count
// for destinations only.
//
// Bounds of a meter: 3 kinds with two series of 640 bytes each at most, made with
// the first hour of a megabyte; 4 views of at most 18 panes; 64 destinations of
// typically 1 KiB, made with the first transfer of 16 KiB; 96 open connections; 10
// pieces of evidence. A source that sends little takes about 600 bytes, one that
// sends much to everywhere at most 200 KiB. The shared state takes at most 1.3 MB
// and 2 KB for each of 1 024 groups.
package volume
