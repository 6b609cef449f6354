// Package schemas embeds the JSON Schemas (2020-12) of all records that
// Ebbwatch writes: one file for each kind of record.
package schemas

import "embed"

// FS holds KIND.json for every kind.
//
//go:embed *.json
var FS embed.FS
