package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The committed files are those that the source makes.
func TestGeneratedFilesAreCommitted(t *testing.T) {
	t.Parallel()
	for name, want := range files() {
		got, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Errorf("%s: %v; run make generate", name, err)
			continue
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from what the source makes; run make generate", name)
		}
	}
}
