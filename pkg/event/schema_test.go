package event_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/schemas"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
)

// compile returns the schema of a kind.
func compile(tb testing.TB, kind string) *jsonschema.Schema {
	tb.Helper()
	f, err := schemas.FS.Open(kind + ".json")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	doc, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		tb.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(kind+".json", doc); err != nil {
		tb.Fatal(err)
	}
	s, err := c.Compile(kind + ".json")
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func validate(s *jsonschema.Schema, data []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// Whatever Append writes satisfies the schema of its kind.
func TestEncodedEventsSatisfyTheirSchemas(t *testing.T) {
	t.Parallel()
	all := map[event.Kind]*jsonschema.Schema{}
	for k := event.KindFlow; k < event.KindMark; k++ {
		all[k] = compile(t, k.String())
	}
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t)
		e.Observer.Type, e.Time = "test", 1
		data, err := e.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(all[e.Kind], data); err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
	})
}

// The samples in testdata say for each kind what is valid and what is not:
// valid ones decode and encode to themselves, invalid ones fail the schema.
func TestSamples(t *testing.T) {
	t.Parallel()
	for k := event.KindFlow; k <= event.KindMark; k++ {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			s := compile(t, k.String())
			for _, line := range lines(t, "valid", k.String()) {
				if err := validate(s, []byte(line)); err != nil {
					t.Errorf("valid sample fails: %v\n%s", err, line)
				}
				got, err := reencode(k, line)
				if err != nil || got != line {
					t.Errorf("sample changes: %v\n got %s\nwant %s", err, got, line)
				}
			}
			for _, line := range lines(t, "invalid", k.String()) {
				if err := validate(s, []byte(line)); err == nil {
					t.Errorf("invalid sample passes: %s", line)
				}
			}
		})
	}
}

func reencode(k event.Kind, line string) (string, error) {
	if k == event.KindMark {
		var m event.Mark
		if err := event.DecodeMark([]byte(line), &m); err != nil {
			return "", err
		}
		out, err := m.Append(nil)
		return string(out), err
	}
	var e event.Event
	if err := event.Decode([]byte(line), &e); err != nil {
		return "", err
	}
	out, err := e.Append(nil)
	return string(out), err
}

func lines(t *testing.T, which, kind string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", which, kind+".ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	out := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(out) == 0 || out[0] == "" {
		t.Fatal(fmt.Errorf("%s/%s.ndjson is empty", which, kind))
	}
	return out
}
