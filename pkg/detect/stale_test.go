package detect_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// idle speaks some time after a key's last event, so that its timer moves later
// with each.
type idle struct{ scale int64 }

func (idle) Info() detect.Info {
	return detect.Info{ID: "idle", Kinds: []event.Kind{event.KindConn}, Default: site.Setting{Mode: signal.ModeAlert}}
}

func (idle) Configure(*site.Site) {}

func (d idle) New() detect.State { return &idleState{scale: d.scale} }

type idleState struct{ scale, last int64 }

func (s *idleState) Apply(e *event.Event, _ *detect.Env) { s.last = e.Time }

func (s *idleState) Next() detect.Timer {
	if s.last == 0 {
		return detect.NoTimer
	}
	return detect.Timer{At: s.last/s.scale + 60*second}
}

func (s *idleState) Advance(env *detect.Env) {
	env.Emit(&signal.Signal{Start: s.last, Time: s.last, Reason: env.Key}, site.Subject{})
	s.last = 0
}

func (s *idleState) Expired(int64) bool { return false }

func (s *idleState) Append(dst []byte) []byte { return operator.AppendInt(dst, s.last) }

func (s *idleState) Load(data []byte) error {
	r := operator.NewReader(data)
	s.last = r.Int()
	return r.Err()
}

// TestStaleTimersDoNotOrder holds that timers run in the order of what their
// states wait for, not of what they once waited for: a set that was loaded from
// a snapshot knows the former only.
func TestStaleTimersDoNotOrder(t *testing.T) {
	t.Parallel()
	for name, scale := range map[string]int64{"in other slots": 1, "in one slot": 1000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := func(reload bool) (order []string) {
				w := newWorld(t, detect.Config{}, idle{scale})
				w.event(event.KindConn, "x", "a", 1000, "")
				w.event(event.KindConn, "x", "b", 1005, "")
				w.event(event.KindConn, "x", "a", 1010, "")
				if reload {
					w.reload(detect.Config{}, idle{scale})
				}
				w.mark("i", true, "x/=0")
				for _, s := range w.signals {
					order = append(order, s.Reason)
				}
				return order
			}
			if d := cmp.Diff([]string{"b", "a"}, run(false)); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(run(true), run(false)); d != "" {
				t.Errorf("after a reload: %s", d)
			}
		})
	}
}
