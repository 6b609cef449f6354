// Package entity says which identifiers meant the same machine, workload or
// principal at a given time: Falco knows a host name, a flow log an address,
// CloudTrail a principal (detections.md §7).
//
// # Claims
//
// A fact binds two identifiers. One of them is the narrower: address,
// interface, container, pod, instance, host, principal, in this order. A
// claim says "the narrow one belongs to the wide one", with the span in which
// that was seen. A narrow identifier belongs to at most one wide identifier
// of each type at a time: an address has one host, a host has many addresses.
//
// A claim seen from F to L holds from F − Slack, for events are older than
// the record that names their host, until L + TTL, or until its own end where
// the source gives one (a lease). A conflicting claim (another parent of the
// same type) that was seen later ends it at the moment it was first seen, and
// one that was seen earlier holds until then. So an address that DHCP gives to
// another machine belongs to the one before and to the other after, and a
// fact that arrives late changes only the span that it speaks of.
//
// # What does not bind
//
// An identifier that stands for many must not make one entity of a fleet:
//
//   - Conflicting claims that were seen by turns hold at the same time: the
//     identifier is shared then, and binds nothing (two hosts behind one
//     address, one node's address with many pods).
//   - A host name that several instances claim at once names none of them.
//   - A principal that was reached from a machine binds only while no other
//     machine reaches it: a role of a whole fleet says nothing about its
//     members. A signal that itself names the principal is about it.
//   - A parent of more than MaxChildren identifiers, and names such as
//     localhost, are nobody.
//
// Beyond that, two profiles that know different hosts, instances or pods
// never match whatever else they share ([Profile.Conflicts]). It makes the
// relation non-transitive, on purpose: a node's own traffic may belong to
// either of two pods on it, which does not make the pods one.
//
// The inventory of the site is declared truth: it wins over what was observed
// and does not age.
//
// # Bounds
//
// At most MaxClaims claims, maxSpans for one identifier. Where the graph is
// full, an identifier that was seen only once gives way before those that
// have been confirmed, the longest unheard first: a flood of forged facts
// evicts itself. Claims are forgotten Retain after they were last heard, in
// append time.
//
// # State
//
// Claims lie in buckets by their narrow identifier. The caller announces a
// bucket before it changes (operator.Context.Touch). The inventory is not
// part of the state: it comes with the site's epoch.
package entity
