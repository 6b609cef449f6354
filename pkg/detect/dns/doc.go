// Package dns holds the detectors of data that leaves in, or past, the DNS:
// dns-tunnel, dns-not-dns and encrypted-dns.
//
// # dns-tunnel
//
// Data in names carries a price that no encoding avoids: each name is new, and
// is asked for once. The detector keeps, for each client and registered domain
// (public suffix list, private section too), what an hour of names amounts to,
// and adds points for what names of hosts do not do (detections.md §3). The hour
// begins with the first question, on a grid of five minutes, so that a tunnel
// that takes an hour is not cut by the clock; the next begins with the first
// question after it. Signals are sent from 3 points, alert at 5. A second kind
// of signal, subject "several domains", is about one client that spreads such
// names over three domains or more.
//
// Beyond the table of detections.md §3 there are three additions, each for a
// way around it. Names that exist without records, are refused, or fail while
// other names do not, count like names that do not exist. Questions to a server
// outside that is neither declared nor a known public resolver weigh one point,
// where the site declares resolvers at all; to such a server nothing is exempt
// for being .local, NetBIOS or the site's own zone. An ACME challenge is judged
// by the name behind its first label.
//
// never_contacted compares look-ups with the client's connections from the same
// observer. A record of a connection comes at its end, so that a look-up is
// decided when the streams that show contacts are complete for two minutes and
// twenty seconds after it; TLS and HTTP show longer connections earlier. The sign
// is off for resolvers and aggregators of the site, for clients of which no
// traffic is seen, and for clients that contact less than a twentieth of what
// they look up elsewhere: those are undeclared resolvers, or their connections
// pass where the sensor does not look.
//
// # A day
//
// Windows that look like data at all (three names, asked once) are folded, as
// they end, into a sketch of the domain's day: the weighted distinct count of
// its names in constant memory, and the signs of an hour over it, with bounds of
// their own for the data (day_data_1 to day_data_4). A name that comes again
// counts once. Such a signal spans 24 hours from the first window, needs names
// in three hours at least, and is not sent where an hour has alerted already.
// It finds 0.7 B/s of name data whatever else is seen of it, and 0.1 B/s where
// the names lead nowhere.
//
// From where:
//
//   - Zeek: all signs but short_lived_answers for record types of which Zeek
//     does not log the data (NULL, KEY, private ones).
//   - Packets: all signs.
//   - Resolver logs, dns_exfil.log: names and types, hence all signs but those of
//     answers; never_contacted needs connections from the same observer.
//   - Behind a resolver the sensor sees the resolver as the client. The signal
//     says so; its log tells who asked.
//
// What it misses: less than 512 bytes of names an hour, or 4 KB a day; less than
// three names in every hour; names that an attacker
// asks for twice, ten seconds apart, lose the signs of names asked once; short A
// names of which each answer is contacted stay at 4 points up to 16 KB an hour;
// data spread over clients, or over more domains than names in each; data in
// addresses under in-addr.arpa and in names under declared look-up domains;
// answers in 127/8, or more than eight addresses an answer, are never "not
// contacted"; a client that looks up a hundred other domains without contacting
// them passes for a resolver. In a resolver's traffic, domains with few names
// are dropped beyond 8192 an hour (1024 of any other client).
//
// # dns-not-dns
//
// Five packets on port 53 between a client and a server outside that are not
// DNS, of which the client sent one at least. Packets show it directly; from
// Zeek's connection log it is data to port 53 in which Zeek, where it writes a
// dns.log, has recognised no DNS, with the beginning of the connection seen.
// Flow logs do not show it. Zeek's weird.log is not used: its names speak of
// single oddities of real DNS as well.
//
// # encrypted-dns
//
// Use of a resolver outside over TLS, HTTPS or QUIC: a breach of policy, and a
// place where dns-tunnel is blind. A resolver is known by its address or name
// (publicResolvers), by port 853, by ALPN "dot" or "doq"; one that only calls
// itself doh or dot, or that is asked for /dns-query, is a signal below the alert
// threshold. The policy alone is an alert of low severity. Volume, an upload
// that outweighs the download (ordinary answers outweigh questions), a long
// connection that sends steadily, and connections at regular intervals raise it
// to high: that is how a tunnel inside looks.
//
// The site's own resolvers may, and what is in sanctioned_destinations. Where a
// site declares no resolvers, it is not known whether its hosts should use any
// of its own: the alert comes all the same, at low confidence, since nobody who
// begins knows yet who does this; a site that allows it sets the mode to shadow.
//
// It misses resolvers on port 443 that are in no list and call themselves
// nothing, and those behind the front of a large CDN. From flow logs only
// addresses and port 853 are seen, and bytes are those of IP.
//
// # Invariants
//
//   - Counts are per observer, which is part of a signal's id.
//   - The last signal of a window is a function of the events in it and the
//     site: not of marks, nor of how streams were interleaved, as long as each
//     keeps its promise and none is more than panesKept panes ahead.
//   - A window holds at most maxSample names and as many labels; beyond it
//     counts are estimates over a sample by hash (pkg/sketch). A client holds at
//     most maxDomains windows and about maxEntries names and labels; what is
//     dropped is counted.
package dns
