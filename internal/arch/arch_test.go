// Package arch holds the import law of the project: cmd → internal → pkg, and
// inside pkg the arrows follow the flow.
package arch

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/ebbwatch/ebbwatch/"

type goPackage struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// layer is the position of a package in the flow: it may import lower ones.
func layer(path string) int {
	rel := strings.TrimPrefix(path, module)
	for i, prefixes := range [][]string{
		{"schemas", "pkg/event", "pkg/operator"},
		{"pkg/decode", "pkg/signal", "pkg/sketch", "pkg/window"},
		{"pkg/site", "pkg/baseline"},
		{"pkg/detect", "pkg/entity", "pkg/alert", "pkg/survey"},
		{"pkg/correlate"},
		{"pkg/pipeline"},
		{"internal"},
		{"cmd"},
	} {
		for _, p := range prefixes {
			if rel == p || strings.HasPrefix(rel, p+"/") {
				return i
			}
		}
	}
	return -1
}

func TestArrowsFollowTheFlow(t *testing.T) {
	t.Parallel()
	list := packages(t)
	if len(list) < 10 {
		t.Fatalf("only %d packages found", len(list))
	}
	for _, p := range list {
		from := layer(p.ImportPath)
		if from < 0 {
			t.Errorf("%s has no place in the flow", p.ImportPath)
			continue
		}
		for _, imp := range p.Imports {
			if to := layer(imp); strings.HasPrefix(imp, module) && to > from {
				t.Errorf("%s imports %s, against the flow", p.ImportPath, imp)
			}
		}
	}
}

func TestPkgIsPure(t *testing.T) {
	t.Parallel()
	forbidden := []string{"os", "net", "net/http", "log", "log/slog", "math/rand", "math/rand/v2", "os/exec", "syscall"}
	for _, p := range packages(t) {
		if !strings.HasPrefix(p.ImportPath, module+"pkg/") {
			continue
		}
		for _, imp := range p.Imports {
			for _, f := range forbidden {
				if imp == f {
					t.Errorf("%s imports %s", p.ImportPath, imp)
				}
			}
			if strings.Contains(imp, "/franz-go/") || strings.Contains(imp, "/client_golang/") {
				t.Errorf("%s imports %s", p.ImportPath, imp)
			}
		}
	}
}
