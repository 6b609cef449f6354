package volume_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/detect/volume"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// pull is a download of one internal host from another.
func pull(i int, at int64, got uint64, o ...option) event.Event {
	return conn(fmt.Sprint("f", i, at), at, 1000, got, append([]option{to(fmt.Sprintf("10.0.3.%d", i+1)), port(22)}, o...)...)
}

// pushed is what a host receives from a peer that calls it, as its mirror.
func pushed(i int, at int64, sent uint64) event.Event {
	e := conn(fmt.Sprint("g", i, at), at, sent, 1000, from(fmt.Sprintf("10.0.3.%d", i+1)), to("10.0.0.5"), port(22))
	e.Role = event.RoleMirror
	return e
}

// logged is what the flow log says of data that five peers send to a host, at
// the interfaces given: at the peers' it is egress, at the host's ingress.
func logged(bytes uint64, directions ...string) (out []event.Event) {
	for i := range 5 {
		for _, d := range directions {
			e := flow(int64(i+2)*minute, bytes, from(fmt.Sprintf("10.0.3.%d", i+1)), to("10.0.0.5"), port(22))
			e.Role, e.Flow.Direction = event.RoleMirror, d
			if e.Flow.Interface = "eni-host"; d == "egress" {
				e.Flow.Interface = fmt.Sprint("eni-", i)
			}
			out = append(out, e)
		}
	}
	return out
}

func TestInternalFanIn(t *testing.T) {
	t.Parallel()
	many := func(n int, at int64, bytes uint64, o ...option) (out []event.Event) {
		for i := range n {
			out = append(out, pull(i, at+int64(i)*minute, bytes, o...))
		}
		return out
	}
	var busy []event.Event
	for h := range int64(15 * 24) {
		for i := range 3 {
			busy = append(busy, pull(i, h*hour+10*minute, 8e6))
		}
	}
	old := pull(9, -2*day, 70e3)
	for name, tc := range map[string]struct {
		site   string
		events []event.Event
		want   string
	}{
		"from many":              {"", append(many(5, minute, 12e6), old), "internal-fan-in! bytes_from_inside above_own_p95"},
		"it is new":              {"", many(5, minute, 12e6), "internal-fan-in~ bytes_from_inside above_own_p95"},
		"from two":               {"", append(many(2, minute, 30e6), old), ""},
		"from a share":           {"", append(many(1, minute, 60e6, port(445)), old), "internal-fan-in! bytes_from_inside above_own_p95"},
		"too little":             {"", append(many(5, minute, 9e6), old), ""},
		"cut by the clock":       {"", append(many(5, 57*minute, 12e6), old), "internal-fan-in! bytes_from_inside above_own_p95"},
		"as always":              {"", slices.Concat(busy, many(5, 14*day+20*minute, 8e6)), "internal-fan-in bytes_from_inside"},
		"far more":               {"", slices.Concat(busy, many(5, 14*day+20*minute, 40e6)), "internal-fan-in! bytes_from_inside above_own_p95"},
		"a backup server":        {"backup_sources: [10.0.0.5]\n", append(many(5, minute, 12e6), old), ""},
		"from outside":           {"", append(many(5, minute, 12e6, to("203.0.113.9")), old), ""},
		"mirrors of uploads":     {"", []event.Event{old, pushed(1, minute, 20e6), pushed(2, minute, 20e6), pushed(3, minute, 20e6)}, "internal-fan-in! bytes_from_inside above_own_p95"},
		"logged by the receiver": {"", append(logged(12e6, "ingress"), old), "internal-fan-in! bytes_from_inside above_own_p95"},
		"logged by the senders":  {"", append(logged(12e6, "egress"), old), "internal-fan-in! bytes_from_inside above_own_p95"},
		"logged by both":         {"", append(logged(12e6, "egress", "ingress"), old), "internal-fan-in! bytes_from_inside above_own_p95"},
		"half of it by both":     {"", append(logged(6e6, "egress", "ingress"), old), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slices.SortStableFunc(tc.events, func(a, b event.Event) int { return cmp.Compare(a.Time, b.Time) })
			st := parse(t, tc.site)
			rec := detecttest.Events(t, st, "s1", tc.events)
			for i := range rec {
				// The harness keys by who began; a mirror belongs to its peer.
				if strings.Contains(string(rec[i].Value), `"role":"mirror"`) {
					rec[i].Key = []byte("default|10.0.0.5")
				}
			}
			p := detecttest.NewPlayer(t, []byte(tc.site), volume.NewFanIn()).Play(rec)
			got := stands(p)
			for i := range got {
				got[i] = strings.Join(strings.Fields(got[i]), " ")
			}
			if d := gocmp.Diff(tc.want, strings.Join(got, "\n")); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestFanInCutAnywhere: a collector that is saved and loaded says the same.
func TestFanInCutAnywhere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var events []event.Event
		at := int64(0)
		for range rapid.IntRange(1, 40).Draw(rt, "events") {
			at += rapid.Int64Range(0, 30).Draw(rt, "gap") * minute
			events = append(events, pull(rapid.IntRange(0, 5).Draw(rt, "peer"), at, rapid.SampledFrom([]uint64{1000, 1e6, 20e6, 60e6}).Draw(rt, "bytes"), port(rapid.SampledFrom([]int{22, 445}).Draw(rt, "port"))))
		}
		rec := detecttest.Events(t, parse(t, ""), "s1", events)
		cut := rapid.IntRange(0, len(rec)).Draw(rt, "cut")
		whole := detecttest.NewPlayer(t, nil, volume.NewFanIn()).Play(rec)
		parts := detecttest.NewPlayer(t, nil, volume.NewFanIn())
		n := 0
		parts.Cut = func(p *detecttest.Player) {
			if n++; n == cut {
				p.Reload(nil, volume.NewFanIn())
			}
		}
		parts.Scribble = true
		parts.Play(rec)
		if d := gocmp.Diff(whole.Context.Signals, parts.Context.Signals); d != "" {
			rt.Fatalf("cut at %d (-whole +cut):\n%s", cut, d)
		}
		if d := gocmp.Diff(whole.Save(), parts.Save()); d != "" {
			rt.Fatalf("state after a cut at %d:\n%s", cut, d)
		}
	})
}
