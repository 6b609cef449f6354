package hunt

import (
	"fmt"
	"os"

	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
)

// Open finds the files to hunt in, and says which it does not read and why.
// A path that does not exist is an error of use.
func Open(paths []string) (inputs []Input, skipped []string, err error) {
	for _, p := range paths {
		if _, err := os.Stat(p); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", config.ErrUsage, err)
		}
	}
	found, left, err := input.Walk(paths, input.Options{})
	if err != nil {
		return nil, nil, err
	}
	for _, in := range found {
		inputs = append(inputs, in)
	}
	for _, s := range left {
		skipped = append(skipped, s.Path+": "+s.Reason)
	}
	return inputs, skipped, nil
}
