// Package identity reads identity facts out of events: which address,
// interface, instance, host, pod, container and principal meant one machine at
// the time of the event (DESIGN §4, "identity fact").
//
// It sees:
//
//   - flow records with an interface or instance id: address ↔ interface,
//     interface ↔ instance, of the side whose interface wrote the record. The
//     address is the interface's own: at a gateway the packet's is another
//     machine's. Without a flow direction only a record between inside and
//     outside tells which side that is; attachments of transit gateways have no
//     address at all;
//   - host events: pod ↔ host, container ↔ pod, container ↔ host, and, where the
//     event is of a connection, its local address ↔ the pod, the container or the
//     host, if that address can belong to one machine (not loopback, not
//     link-local, no declared aggregator);
//   - cloud events of an instance's role: the session is named after the
//     instance, which binds instance ↔ principal, and the caller's address where
//     it is internal.
//
// It misses identities that no event names (a host whose sensor sees no
// connection): those stand in the site's inventory.
//
// # When it speaks
//
// A fact is sent when it is new for its key, when it changes, and again after an
// hour of event time while it is still seen; From is the event's time. What
// changes by turns (two machines behind one address) is told at most every five
// minutes: pkg/entity needs to see that it does, not each time.
//
// # Bounds
//
// 512 bindings a key. Beyond that a new one waits until an old one was not seen
// for an hour: a flood of forged names costs at most 512 facts an hour.
package identity
