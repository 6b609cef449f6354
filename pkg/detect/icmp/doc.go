// Package icmp holds the detector icmp-tunnel: data in ICMP messages.
//
// An echo comes back as it was sent, and pings send the same again and again.
// For each host and peer outside the detector keeps an hour of messages, which
// begins with the first (on a grid of five minutes), and adds points for what
// echoes do not do (detections.md §4): replies that do not mirror a request or that
// nobody asked for, contents that change, ids and sequence numbers that stand
// still, types that no host uses. Signals are sent from 2 points, alert at 4.
//
// # What is left out
//
// Of each length one content is not counted as changing (up to 64 lengths):
// probes of the path's MTU send one pattern at many lengths. A reply shorter than
// its request counts as altered only with a content not seen before: some
// servers cut long echoes. Replies count as unasked only after two seconds of
// traffic, and only where requests of that pair are seen or the replies' contents
// change: one direction may pass elsewhere. The same message within a tenth of
// a second is a copy by the sensor. Errors quote packets of the peer and are
// not judged, with one exception: errors of the host with more than 128 bytes
// each, where by the end of the hour no other traffic with the peer was seen
// that they could quote, count like any content. Redirects, quench, parameter
// problems and neighbour messages that a host sends outside are types that no
// host uses.
//
// # From where
//
//   - Packets: all signs, IPv4 and IPv6.
//   - Zeek's connection log, flow logs: size, evenness and volume only. They
//     make at most 3 points, a signal to be joined, unless a record shows what
//     echoes cannot do: replies that outweigh the requests. Size counts only for
//     pairs that are known for less than seven days. The rule of the requirement
//     (65 000 bytes over 60 s, of stitched flows) is the named sign rule_volume:
//     one point from such records, none where packets are seen, since it finds
//     none of the tunnels and fires on large pings.
//
// # What it misses
//
// Less than twelve messages an hour, or contents of which fewer than two in five
// differ; a tunnel in the lengths, ids or times of messages; traffic between two
// hosts inside, of which request and reply belong to different keys; errors of
// up to 128 bytes, or to a peer with which there is other traffic; anything of a
// declared monitor. Tools that fill each echo anew (fping -R, hping3 --file,
// probes with a counter in their pattern) look the same on the wire and are false
// alarms until they are declared under monitors.
//
// # Invariants
//
//   - Counts are per observer, which is part of a signal's id.
//   - A host has at most maxPairs peers an hour, a side of a pair at most
//     maxContents contents (beyond it a sample, pkg/sketch) and maxAsked requests
//     that wait for a reply. What is dropped is counted, and replies that come
//     while requests were dropped are not called unasked.
package icmp
