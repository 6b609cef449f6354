// Package vpcflow decodes the text of AWS VPC flow logs (versions 2 to 11)
// and of transit gateway flow logs (version 6); formats.md §1.
//
// # Invariants
//
//   - Columns are mapped by name, never by a guess: from a header line, from
//     the configured format, or from the two formats that AWS writes when
//     nothing is configured. A line whose number of tokens is not the number
//     of columns is dead; columns are never shifted.
//   - One record is one direction of one window at one interface. The source
//     is who sent, and its Bytes and Packets are those of the record; the
//     destination has none. Counts are on the IP layer.
//   - "-" is absent, not zero. NODATA and SKIPDATA are no flows.
//   - The packet-level address (pkt-srcaddr, pkt-dstaddr) is the true one,
//     the interface's becomes NatIP where it differs (NAT, secondary
//     addresses, pods).
//   - Action is absent where the log has none, as in transit gateway logs.
//   - ID is the hash of what the record measures, formats.md §9.2: the same
//     record delivered twice has the same ID.
//
// A steady stream of lines is decoded without allocation: strings of an event
// alias the line, or the Decoder, and hold during the sink's call only.
package vpcflow
