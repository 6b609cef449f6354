package detect

import (
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// ApplyEvent is Set.Apply of a record that is decoded already.
func ApplyEvent(s *Set, e *event.Event, r *operator.Record, ctx operator.Context) {
	s.applyEvent(e, r, ctx)
}

// Timers returns how many timers stand in the queues of a set.
func Timers(s *Set) (n int) {
	for _, q := range s.timers {
		n += q.n
	}
	return n
}
