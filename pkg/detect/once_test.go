package detect_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

const hour = 3600 * second

// cloudToy is a toy that takes what two trails may both write.
type cloudToy struct{ toy }

func (d *cloudToy) Info() detect.Info {
	i := d.toy.Info()
	i.Kinds = []event.Kind{event.KindObject, event.KindFinding}
	return i
}

func (w *world) trail(k event.Kind, sensor, id string) {
	w.tb.Helper()
	e := event.Event{Kind: k, Time: w.now, ID: id, Observer: event.Observer{Type: "cloudtrail", Name: sensor, Realm: "r"}}
	e.User.ID = "role"
	data, err := e.Append(nil)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.apply(k.String(), []byte("role"), data)
}

// The same CloudTrail event in two trails counts once within 24 hours, also
// when a restart lies between the two.
func TestTwoTrails(t *testing.T) {
	t.Parallel()
	fresh := func() detect.Detector { return &cloudToy{toy{id: "toy"}} }
	w := newWorld(t, detect.Config{}, fresh())
	want := func(n int64) {
		t.Helper()
		if got := w.counts["events_repeated/object"]; got != n {
			t.Errorf("%d repetitions, want %d", got, n)
		}
	}
	w.trail(event.KindObject, "account", "a/1")
	w.trail(event.KindObject, "organisation", "a/1")
	w.trail(event.KindObject, "account", "b/1")
	w.trail(event.KindObject, "account", "a/2") // another account's copy is an event of its own
	w.trail(event.KindObject, "account", "")
	w.trail(event.KindObject, "account", "") // without an identity nothing is known
	want(1)
	w.now += 24*hour - second
	w.reload(detect.Config{}, fresh())
	w.trail(event.KindObject, "organisation", "b/1")
	want(2)
	w.now += 72 * hour
	w.trail(event.KindObject, "organisation", "b/1")
	want(2)
	// A finding that has changed is told under its old name.
	w.trail(event.KindFinding, "scc", "f")
	w.trail(event.KindFinding, "scc", "f")
	if n := w.counts["events_repeated/finding"]; n != 0 {
		t.Errorf("%d findings were dropped", n)
	}
}

// Against a naive memory, with restarts anywhere: nothing that came within 24
// hours is taken for new, and nothing new for a repetition.
func TestOnceAgainstNaive(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		fresh := func() detect.Detector { return &cloudToy{toy{id: "toy"}} }
		w := newWorld(t, detect.Config{}, fresh())
		last := map[string]int64{} // when it was taken for new
		for range rapid.IntRange(1, 60).Draw(rt, "events") {
			w.now += rapid.Int64Range(0, 8*hour).Draw(rt, "pause")
			if rapid.IntRange(0, 9).Draw(rt, "restart") == 0 {
				w.reload(detect.Config{}, fresh())
			}
			id := fmt.Sprint(rapid.IntRange(0, 12).Draw(rt, "id"))
			before := w.counts["events_repeated/object"]
			w.trail(event.KindObject, "s", id)
			repeated := w.counts["events_repeated/object"] > before
			at, known := last[id]
			switch {
			case repeated && !known:
				rt.Fatalf("%s is new", id)
			case !repeated && known && w.now-at < 24*hour:
				rt.Fatalf("%s came %d hours ago", id, (w.now-at)/hour)
			}
			if !repeated {
				last[id] = w.now
			}
		}
	})
}

// A flood of events costs bounded memory, and hides nobody else's.
func TestOnceIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, detect.Config{}, &cloudToy{toy{id: "toy"}})
	for i := range 40_000 {
		w.trail(event.KindObject, "s", fmt.Sprint("id", i))
	}
	if n := w.counts["events_repeated/object"]; n != 0 {
		t.Fatalf("%d were taken for repetitions", n)
	}
	size := 0
	for b := range w.set.Buckets() {
		size += len(w.set.AppendBucket(nil, b))
	}
	if size > 200<<10 {
		t.Errorf("%d bytes for the events of one key", size)
	}
	w.trail(event.KindObject, "s", "id39999")
	if n := w.counts["events_repeated/object"]; n != 1 {
		t.Error("the newest is not known")
	}
}
