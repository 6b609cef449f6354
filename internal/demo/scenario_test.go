package demo_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/demo"
)

func TestScenarioIsInOrderAndInTime(t *testing.T) {
	t.Parallel()
	dir, at := t.TempDir(), time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	if err := demo.Attack().Write(dir, at); err != nil {
		t.Fatal(err)
	}
	for name, least := range map[string]int{"conn": 2000, "dns": 2002, "ssl": 1} {
		f, err := os.Open(filepath.Join(dir, "zeek", name+".log"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		n, last := 0, 0.0
		for sc := bufio.NewScanner(f); sc.Scan(); n++ {
			var r struct{ TS, Duration, RTT float64 }
			if err := json.Unmarshal(sc.Bytes(), &r); err != nil {
				t.Fatal(err)
			}
			written := r.TS + r.Duration + r.RTT
			if written < last-0.001 {
				t.Errorf("%s.log line %d was written before the line above it", name, n+1)
			}
			last = written
		}
		if n < least {
			t.Errorf("%s.log has %d lines, want at least %d", name, n, least)
		}
		if end := time.Unix(int64(last), 0); end.Before(at.Add(-time.Second)) || end.After(at.Add(time.Minute)) {
			t.Errorf("%s.log ends at %s", name, end.UTC())
		}
	}
	falco, err := os.ReadFile(filepath.Join(dir, "falco", "events.json"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(falco)), "\n")
	if len(lines) != 5 || !strings.Contains(lines[0], `"time":"2026-11-24T08:51:00.000000000Z"`) || !strings.Contains(lines[4], "10.20.117.10:50188->203.0.113.117:443") {
		t.Errorf("falco half:\n%s", falco)
	}
}
