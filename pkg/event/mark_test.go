package event_test

import (
	"bytes"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// equalMarks: both readings give the same mark, or both refuse it.
func equalMarks(t interface{ Fatalf(string, ...any) }, data []byte) {
	var fast, general event.Mark
	errFast, errGeneral := event.ParseMark(bytes.Clone(data), &fast), event.DecodeMark(data, &general)
	if (errFast == nil) != (errGeneral == nil) {
		t.Fatalf("ParseMark: %v, DecodeMark: %v of %q", errFast, errGeneral, data)
	}
	if len(fast.Sources) == 0 {
		fast.Sources = nil
	}
	if len(general.Sources) == 0 {
		general.Sources = nil
	}
	if d := cmp.Diff(general, fast); errFast == nil && d != "" {
		t.Fatalf("of %q\n%s", data, d)
	}
}

func TestMarksAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.StringMatching(`[a-z0-9./-]{0,12}`), rapid.String())
		m := event.Mark{Instance: text.Draw(t, "instance"), Full: rapid.Bool().Draw(t, "full"), Closing: rapid.Bool().Draw(t, "closing")}
		for range rapid.IntRange(0, 4).Draw(t, "sources") {
			m.Sources = append(m.Sources, event.SourceMark{
				Type: text.Draw(t, "type"), Name: text.Draw(t, "name"), Realm: text.Draw(t, "realm"), Stream: text.Draw(t, "stream"),
				Low: rapid.Int64().Draw(t, "low"), Records: rapid.Uint64().Draw(t, "records"), Promise: rapid.Bool().Draw(t, "promise"),
				Closed: rapid.Bool().Draw(t, "closed"), Expired: rapid.Bool().Draw(t, "expired"),
			})
		}
		data, err := m.Append(nil)
		if err != nil {
			t.Fatalf("append: %v", err)
		}
		equalMarks(t, data)
	})
}

func FuzzParseMark(f *testing.F) {
	f.Add([]byte(`{"kind":"mark","v":1,"instance":"i","sources":[{"type":"zeek","name":"a","realm":"r","stream":"dns","low":5,"records":7,"promise":true}],"full":true}`))
	f.Add([]byte(`{"kind":"mark","v":1,"instance":"i","sources":[{"type":"zeek","name":"a\\u00e9","realm":"","low":018,"records":99999999999999999999}],"closing":true} `))
	f.Add([]byte(`{"kind":"mark","v":1,"instance":"i","sources":null}`))
	f.Fuzz(func(t *testing.T, data []byte) { equalMarks(t, data) })
}
