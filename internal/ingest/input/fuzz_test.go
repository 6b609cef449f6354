package input_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// tally counts outcomes.
type tally struct{ n int }

func (c *tally) Event(*event.Event)                { c.n++ }
func (c *tally) Ignored(string)                    { c.n++ }
func (c *tally) Dead(string, []byte, event.Origin) { c.n++ }

// Whatever a file holds, reading it ends, and resuming it in the middle gives
// what was left.
func FuzzRead(f *testing.F) {
	seeds := []string{connJSON, zeekTSV, flowText + flowRecord, trail, alert, kernLog, "PAR1", "\xd4\xc3\xb2\xa1", "\x1f\x8b\x08\x00", "\x28\xb5\x2f\xfd\x00"}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	path := filepath.Join(f.TempDir(), "conn.log")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		read := func(at input.Position) (int, input.Position) {
			file, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			o := input.Options{Name: "conn.log", MaxLine: 4096, Limits: input.Limits{Bytes: 1 << 20}}
			k, err := input.Sniff(file, o)
			if err != nil {
				t.Fatal(err)
			}
			r, err := input.Open(file, k, o, at)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = r.Close() }()
			var c tally
			middle := r.Position()
			for range 3 {
				if r.Next(&c) != nil {
					break
				}
				middle = r.Position()
			}
			first := c.n
			if err := input.ReadAll(context.Background(), r, &c); err != nil {
				t.Fatal(err)
			}
			if at.Offset > 0 || at.Records > 0 {
				first = 0
			}
			return c.n - first, middle
		}
		left, middle := read(input.Position{})
		if middle.Offset == 0 && middle.Records == 0 {
			return
		}
		if again, _ := read(middle); again != left {
			t.Fatalf("%d records after the middle, %d when resumed", left, again)
		}
	})
}
