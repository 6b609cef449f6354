package ingest

import "github.com/ebbwatch/ebbwatch/internal/ingest/input"

// The reading side without Kafka, for the hunt: see package input.
type (
	// Input is one recognised file, with the name of its sensor.
	Input = input.Input
	// Skipped is a file that is not read, and why.
	Skipped = input.Skipped
	// Format is what a file holds.
	Format = input.Format
	// Options say how files are read.
	Options = input.Options
)

// Walk finds the files that can be read below paths.
func Walk(paths []string, o Options) ([]*Input, []Skipped, error) { return input.Walk(paths, o) }

// Recognise tells what a file is from its name and its beginning, of which
// input.HeadBytes are enough.
func Recognise(name string, head []byte) Format {
	f, _ := input.Recognise(name, head)
	return f
}
