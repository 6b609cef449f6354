// Package event defines the normalised events that every ingest service
// writes and every detector reads, and their canonical JSON form.
//
// # Form
//
// One event is one JSON object in UTF-8 with flat, dotted keys
// ("source.ip", "dns.question.name"). The names are those of the Elastic
// Common Schema where ECS has one; Elasticsearch reads a dotted key and a
// nested object alike. The first two keys are always "kind" and "v".
//
// # Invariants
//
//   - Times are integer microseconds since the Unix epoch.
//   - Absent is not zero: a counter that the source did not give is an unset
//     [Count] and has no key in the JSON form. An unset string is "".
//   - Bytes of different layers are never added. Endpoint.Bytes is counted on
//     the layer that Network.Layer names; Endpoint.IPBytes always on IP.
//   - Strings and byte-backed fields of a decoded event alias the buffer that
//     was decoded. Clone what outlives the record (strings.Clone).
//   - Encoding is canonical: fields in the order of the table in fields.go,
//     no white space. Decode accepts any order; the canonical one is fast.
//
// The table in fields.go is the single source of the codec, of the JSON
// Schemas in schemas/ and of docs/reference/events.md.
package event
