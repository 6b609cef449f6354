// Package identity reads identity facts out of events: which address,
// interface, instance, host, pod, container and principal meant one machine at
// the time of the event.
//
// It sees:
//
//   - flow records with an interface or instance id: address ↔ interface,
//     interface ↔ instance, of the side whose interface wrote the record;
//   - host events: host ↔ pod, host ↔ container, and host ↔ address where the
//     event is of a connection with a local address that can belong to one
//     machine only (not loopback, not link-local);
//   - cloud events of an instance's role: the session is named after the
//     instance, which binds principal ↔ instance, and the caller's address
//     where it is internal.
//
// It misses identities that no event names (a host whose sensor sees no
// connection): those stand in the site's inventory. A fact is sent when it is
// new for its key and again after an hour of event time while it is still seen.
package identity
