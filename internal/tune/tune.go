// Package tune compares what detection says of the same records under two site
// files: which alerts come, go and change, and by which measured values.
//
// Invariants:
//
//   - Both sides are whole runs of the operators: state, joins and budgets of
//     each are its own.
//   - An alert is the same on both sides if its id is. Where thresholds move the
//     signal that founds an alert, one of the same rule, entity and destination
//     at the same time is taken for it.
//   - Alerts are compared as they end. One that was retracted is none.
package tune

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// Side is what one run said.
type Side struct {
	alerts  map[string]*held
	signals map[string]weighed
}

type held struct {
	alert.Alert

	opened int64 // when its first revision was made, microseconds
}

// weighed is what a signal came to.
type weighed struct {
	score, threshold float64
	mode             string
	points           []signal.Point
}

// NewSide makes a side on which nothing was said.
func NewSide() *Side { return &Side{alerts: map[string]*held{}, signals: map[string]weighed{}} }

// Alert takes a revision of an alert.
func (s *Side) Alert(document []byte) error {
	var a alert.Alert
	if err := alert.Decode(document, &a); err != nil {
		return fmt.Errorf("an alert cannot be read back: %w", err)
	}
	s.add(a, a.Created)
	return nil
}

// Final takes the last revision of an alert whose first one was made at a time.
func (s *Side) Final(a *alert.Alert, opened int64) { s.add(*a, opened) }

func (s *Side) add(a alert.Alert, opened int64) {
	if known := s.alerts[a.ID]; known != nil {
		known.Alert = a
		return
	}
	s.alerts[a.ID] = &held{a, opened}
}

// Signal takes a revision of a signal.
func (s *Side) Signal(value []byte) {
	var sig signal.Signal
	if signal.Decode(value, &sig) != nil {
		return // of our own making: correlation would have refused it
	}
	s.signals[sig.ID] = weighed{sig.Score, sig.Threshold, sig.Mode, sig.Points}
}

// What becomes of an alert.
const (
	Comes   = "comes"
	Goes    = "goes"
	Changes = "changes"
	Stays   = "stays"
)

// Change is what becomes of one alert.
type Change struct {
	Change string `json:"change"`
	ID     string `json:"id"` // on the present side, where it is there
	// OtherID is the id on the other side where it differs.
	OtherID string `json:"other_id,omitempty"`
	Rule    string `json:"rule"`
	Entity  string `json:"entity"`
	Where   string `json:"where"`
	First   string `json:"first"`
	Last    string `json:"last"`
	Reason  string `json:"reason"`
	// Present and Other are absent where there is neither alert nor signal.
	Present *State  `json:"present,omitempty"`
	Other   *State  `json:"other,omitempty"`
	Points  []Point `json:"points"`

	at int64
}

// State is what an alert is on one side, or what its signal came to where it
// is none.
type State struct {
	Alert      bool   `json:"alert"`
	Severity   string `json:"severity,omitempty"`
	Confidence string `json:"confidence,omitempty"`
	Status     string `json:"status,omitempty"`
	Opened     string `json:"opened,omitempty"`
	// Score is that of the leading signal, Threshold from where it alerts
	// alone, Mode its detector's; 0 and empty where it was made before the range.
	Score     float64 `json:"score"`
	Threshold float64 `json:"threshold"`
	Mode      string  `json:"mode,omitempty"`
}

// Point is one reason on both sides.
type Point struct {
	Name    string   `json:"name"`
	Present *Measure `json:"present,omitempty"`
	Other   *Measure `json:"other,omitempty"`
}

// Measure is what was measured, against what, and what it counts.
type Measure struct {
	Value     float64 `json:"value"`
	Threshold float64 `json:"threshold"`
	Points    float64 `json:"points"`
}

// Comparison is the whole of it.
type Comparison struct {
	Counts  map[string]int `json:"counts"`
	Changes []Change       `json:"changes"`
}

// Compare compares. Alerts come in the order of their first event; those that
// stay as they are only with all.
func Compare(present, other *Side, all bool) *Comparison {
	c := &Comparison{Counts: map[string]int{Comes: 0, Goes: 0, Changes: 0, Stays: 0}, Changes: []Change{}}
	before, after := present.standing(), other.standing()
	partner := map[string]*held{} // by id on the present side
	taken := map[string]bool{}    // ids on the other side
	for _, a := range before {
		if b := other.alerts[a.ID]; b != nil && b.Status != alert.Retracted {
			partner[a.ID], taken[a.ID] = b, true
		}
	}
	for _, a := range before {
		if partner[a.ID] != nil {
			continue
		}
		for _, b := range after {
			if !taken[b.ID] && alike(a, b) {
				partner[a.ID], taken[b.ID] = b, true
				break
			}
		}
	}
	note := func(x Change) {
		c.Counts[x.Change]++
		if all || x.Change != Stays {
			c.Changes = append(c.Changes, x)
		}
	}
	for _, a := range before {
		b := partner[a.ID]
		x := describe(a)
		x.Present, x.Other = present.state(a), other.state(b)
		if b == nil {
			x.Change, x.Other = Goes, other.lead(a)
			x.Points = points(a.Points, other.signals[leading(a)].points)
		} else {
			x.Points = points(a.Points, b.Points)
			if x.Change = Stays; b.ID != a.ID {
				x.OtherID = b.ID
			}
			if p, o := *x.Present, *x.Other; p.Severity != o.Severity || p.Confidence != o.Confidence || p.Status != o.Status || p.Opened != o.Opened {
				x.Change = Changes
			}
		}
		note(x)
	}
	for _, b := range after {
		if taken[b.ID] {
			continue
		}
		x := describe(b)
		x.Change, x.Present, x.Other = Comes, present.lead(b), other.state(b)
		x.Points = points(present.signals[leading(b)].points, b.Points)
		note(x)
	}
	slices.SortStableFunc(c.Changes, func(x, y Change) int { return cmp.Or(cmp.Compare(x.at, y.at), strings.Compare(x.ID, y.ID)) })
	return c
}

// standing are the alerts that were not retracted, in the order of time.
func (s *Side) standing() (list []*held) {
	for _, a := range s.alerts {
		if a.Status != alert.Retracted {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b *held) int { return cmp.Or(cmp.Compare(a.First, b.First), strings.Compare(a.ID, b.ID)) })
	return list
}

// alike reports whether two alerts are of the same matter.
func alike(a, b *held) bool {
	return a.Detector == b.Detector && a.Entity.Name == b.Entity.Name && where(a) == where(b) && a.First <= b.Time && b.First <= a.Time
}

func where(a *held) string {
	return cmp.Or(a.Destination.Domain, a.Destination.IP, a.Subject)
}

// leading is the signal that an alert rests on first.
func leading(a *held) string {
	if len(a.Signals) == 0 {
		return ""
	}
	return a.Signals[0].ID
}

func describe(a *held) Change {
	return Change{
		ID: a.ID, Rule: a.Detector, Entity: a.Entity.Name, Where: where(a), First: clock(a.First), Last: clock(a.Time), Reason: a.Reason, at: a.First,
	}
}

// state is what an alert of this side is; nil for none.
func (s *Side) state(a *held) *State {
	if a == nil {
		return nil
	}
	w := s.signals[leading(a)]
	x := &State{Alert: true, Severity: a.Severity, Confidence: a.Confidence, Status: string(a.Status), Opened: clock(a.opened), Threshold: w.threshold, Mode: w.mode}
	if a.Status == alert.Updated {
		x.Status = string(alert.Open) // how many revisions it took is not the matter
	}
	if len(a.Signals) > 0 {
		x.Score = a.Signals[0].Score
	}
	return x
}

// lead is what the leading signal of an alert of the other side came to here.
func (s *Side) lead(a *held) *State {
	w, ok := s.signals[leading(a)]
	if !ok {
		return nil
	}
	return &State{Score: w.score, Threshold: w.threshold, Mode: w.mode}
}

// points joins the reasons of both sides, in the order of the present ones.
func points(present, other []signal.Point) (list []Point) {
	at := map[string]int{}
	take := func(from []signal.Point, to func(*Point) **Measure) {
		for _, p := range from {
			i, ok := at[p.Name]
			if !ok {
				i = len(list)
				at[p.Name] = i
				list = append(list, Point{Name: p.Name})
			}
			*to(&list[i]) = &Measure{p.Value, p.Threshold, p.Points}
		}
	}
	take(present, func(p *Point) **Measure { return &p.Present })
	take(other, func(p *Point) **Measure { return &p.Other })
	return list
}

func clock(micros int64) string { return time.UnixMicro(micros).UTC().Format(time.RFC3339) }
