package detect

import (
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// paneMicros is how finely a key remembers when it was heard, in append time.
const paneMicros = 10 * 60 * 1_000_000

// Report implements operator.Reporter. It takes as long as Usage.
func (s *Set) Report() operator.Report {
	rep := operator.Report{Keys: s.Keys()}
	for _, u := range s.Usage() {
		rep.Parts = append(rep.Parts, operator.PartReport{Name: u.Detector, Keys: u.Keys, Bytes: u.Bytes})
		rep.Bytes += u.Bytes
	}
	for _, l := range [...]*list{&s.lru.probation, &s.lru.kept} {
		for src := l.head; src != nil; src = src.next {
			at := src.pane * paneMicros
			if rep.Oldest == 0 || at < rep.Oldest {
				rep.Oldest = at
			}
			rep.Newest = max(rep.Newest, at)
		}
	}
	for name, ob := range s.marks.byName {
		if len(ob.streams) == 0 {
			continue
		}
		src := operator.SourceReport{Name: name, Low: s.marks.low(name, event.KindUnknown)}
		if src.Low == Never {
			src.Low, src.Ended = 0, true
		}
		rep.Sources = append(rep.Sources, src)
	}
	slices.SortFunc(rep.Sources, func(a, b operator.SourceReport) int { return strings.Compare(a.Name, b.Name) })
	return rep
}
