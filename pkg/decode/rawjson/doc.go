// Package rawjson reads what a decoder needs out of JSON that others wrote,
// without copying and without trusting it.
//
// # Invariants
//
//   - A [Value] is the text of one valid JSON value, or empty when there is
//     none. Accessors accept any Value: a wrong type reads as absent, it is
//     never an error, since one odd field must not cost the whole record.
//   - Strings alias the input unless they hold escapes.
//   - Nothing here recurses into the input except [Parse], whose recursion is
//     bounded by [MaxDepth]: a deeper document is refused before it is parsed.
//   - [Scan] finds where a value ends while the input still arrives, with
//     constant memory.
package rawjson
