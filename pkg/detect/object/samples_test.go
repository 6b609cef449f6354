package object_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/decode/cloudtrail"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// TestSamples: records of other people's tests and of attacks of other kinds
// read some objects, and raise no alert.
func TestSamples(t *testing.T) {
	t.Parallel()
	root := decodetest.Sample(t, "cloudtrail")
	var events []event.Event
	r := decodetest.New(t)
	r.Quiet = true
	r.Each = func(e *event.Event) {
		data, err := e.Append(nil) // a copy: the event aliases the reader
		if err != nil {
			t.Fatal(err)
		}
		var own event.Event
		if err := event.Decode(data, &own); err != nil {
			t.Fatal(err)
		}
		events = append(events, own)
	}
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if filepath.Ext(path) == ".ndjson" {
			data = unwrapped(data)
		}
		in := cloudtrail.NewReader(bytes.NewReader(data), event.Origin{Name: filepath.Base(path)})
		for {
			if err := in.Next(r); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(events, func(a, b event.Event) int { return cmp.Compare(a.Time, b.Time) })
	objects := 0
	for i := range events {
		if events[i].Kind == event.KindObject {
			objects++
		}
	}
	if objects == 0 {
		t.Fatalf("no object event among %d", len(events))
	}
	p := detecttest.NewPlayer(t, nil, detectors()...).Play(detecttest.Events(t, parse(t, ""), "s1", events))
	for _, s := range p.Context.Final() {
		t.Errorf("%s: %s", brief(&s), s.Reason)
	}

	// The same records as reads in bulk are found: they do reach the detector.
	i := slices.IndexFunc(events, func(e event.Event) bool {
		return e.Kind == event.KindObject && e.Action == "GetObject" && e.Outcome == "success" && e.Cloud.ErrorCode == ""
	})
	if i < 0 {
		t.Skip("the samples hold no successful read")
	}
	e := events[i]
	e.Object.BytesOut = event.N(2_000_000_000)
	p = detecttest.NewPlayer(t, nil, detectors()...).Play(detecttest.Events(t, parse(t, ""), "s1", []event.Event{e}))
	if !slices.ContainsFunc(p.Context.Final(), func(s signal.Signal) bool { return s.Alert }) {
		t.Error("a read of 2 GB raises no alert")
	}
}

// unwrapped takes the records out of the lines of a hand-over file.
func unwrapped(data []byte) (out []byte) {
	for line := range bytes.Lines(data) {
		var doc struct{ Event json.RawMessage }
		if json.Unmarshal(line, &doc) == nil && len(doc.Event) > 0 {
			line = append(doc.Event, '\n')
		}
		out = append(out, line...)
	}
	return out
}
