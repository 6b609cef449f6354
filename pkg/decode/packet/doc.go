// Package packet decodes packets to events: connections, DNS transactions,
// ICMP messages, and TLS and QUIC client hellos.
//
// A [Reader] takes a pcap or pcapng stream apart and feeds a [Tracker], which
// is a pure state machine over packets: its only clock is the time of the
// packets (or [Tracker.Advance], where an interface is idle), and the same
// packets give the same events in the same order.
//
// Invariants:
//
//   - Every packet is tracked, ignored or dead ([Stats]), and counted once. A
//     packet that belongs to a flow is a record of that flow: what it carried
//     is in the counters of the flow's conn events.
//   - Bytes are counted by the lengths in the IP headers, bounded by the
//     length that the packet had on the wire, never by what was captured: a
//     snapped capture has the same volumes as a whole one. Content (names,
//     hashes, hellos) comes only from messages that were captured whole, but
//     for the name in a hello of which the rest is missing.
//   - Memory is bounded by [Config] whatever the input. What makes room is
//     the oldest of the least valuable: closed flows, then flows that nobody
//     answered, then datagram flows, then streams. A flood of forged packets
//     is unanswered and pushes out itself. What is evicted is reported first.
//   - A connection that goes on is reported each minute, and after each MiB or eighth more (Conn.Open), under the
//     same ID with counters so far: keep the largest, never sum.
//   - Strings of an event live in the Tracker's buffers and die with the call
//     (decode.Sink).
//
// What it does not see: data inside tunnels (GRE, IP in IP, VXLAN), which
// count as flows of their outer addresses; DNS on ports other than 53, 5353
// and 5355; a hello whose first segment was lost.
//
// The classic format is read by gopacket's pcapgo behind a guard that finds
// the next record after a damaged one. Pcapng is read here, since pcapgo's
// NgReader ends at the first damaged block, keeps name-resolution records
// without bound and allocates for each packet; tests hold the two together.
// Layers are taken apart by hand: eight protocols, no allocation.
package packet
