// Command generate writes the files that are made from the source: the JSON
// Schemas of the events, their canonical codec and the reference pages. "make generate" runs it,
// "make check" fails when its output differs from what is committed.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	root := flag.String("root", ".", "root of the project")
	flag.Parse()
	for name, content := range files() {
		path := filepath.Join(*root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // committed folders are for all to read
			fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil { //nolint:gosec // committed files are for all to read
			fatal(err)
		}
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "generate:", err)
	os.Exit(1)
}

// files are all generated files by their path in the project.
func files() map[string][]byte {
	out := map[string][]byte{
		"docs/reference/events.md": eventPage(), "docs/reference/config.md": configPage(), "docs/reference/detectors.md": detectorPage(), "docs/reference/metrics.md": metricPage(),
		codecFile: codecSource(),
	}
	for name, schema := range eventSchemas() {
		out["schemas/"+name+".json"] = schema
	}
	return out
}
