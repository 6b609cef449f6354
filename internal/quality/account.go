package quality

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Account is what a false alarm of the benign hours rests on, so that each can
// be looked at.
type Account struct {
	// To is the destination's address and port, Name what it was known as.
	To   string `json:"to"`
	Name string `json:"name,omitempty"`
	// Observer is who saw what alerted.
	Observer string `json:"observer"`
	// Sent, Received, Ratio and PCR, the producer-consumer ratio, are the
	// alert's own, Records the connections or flow records that it rests on.
	Sent     uint64  `json:"sent"`
	Received uint64  `json:"received"`
	Ratio    float64 `json:"ratio"`
	PCR      float64 `json:"pcr"`
	Records  int     `json:"records"`
	// Parts are what was played between the two in the alert's window, as its
	// observer tells it, in order of time.
	Parts []Part `json:"parts"`
}

// Part is what one recording did between a false alarm's source and its
// destination.
type Part struct {
	Recording string  `json:"recording"`
	Minute    float64 `json:"minute"` // after the start of the window
	Sent      uint64  `json:"sent"`
	Received  uint64  `json:"received"`

	played string // tells two plays of one recording from one another
}

// account says what findings rest on.
func (p *prepared) account(list []Finding) error {
	for i := range list {
		f := &list[i]
		f.Account = f.stated()
		if err := p.parts(f); err != nil {
			return err
		}
	}
	return nil
}

// stated is what the alert itself says.
func (f *Finding) stated() *Account {
	s := &f.sig
	a := &Account{To: fmt.Sprintf("%s:%d", s.Destination.IP, s.Destination.Port), Name: s.Destination.Domain}
	if s.Bytes != nil {
		a.Sent = *s.Bytes
	}
	for _, v := range s.Values {
		switch v.Name {
		case "observer":
			a.Observer, _, _ = strings.Cut(v.Text, "/")
		case "bytes_received":
			a.Received = uint64(v.Value)
		case "ratio":
			a.Ratio = v.Value
		case "pcr":
			a.PCR = v.Value
		case "connections":
			a.Records = int(v.Value)
		}
	}
	return a
}

// parts looks for what was played between the two sides of an alert.
func (p *prepared) parts(f *Finding) error {
	s, a := &f.sig, f.Account
	var e event.Event
	for i := range p.feed {
		x := &p.feed[i]
		if x.Kind != event.KindConn && x.Kind != event.KindFlow || x.Observer.Type != a.Observer {
			continue
		}
		if err := event.Decode(x.Value, &e); err != nil {
			return err
		}
		from, to := e.Source.IP.String(), e.Destination.IP.String()
		sent, received := e.Source.Bytes.Or(0), e.Destination.Bytes.Or(0)
		port := e.Destination.Port
		if from != f.Entity {
			from, to, sent, received, port = to, from, received, sent, e.Source.Port
		}
		if from != f.Entity || to != s.Destination.IP || port.Or(0) != s.Destination.Port || e.Conn.Open || e.Time < s.Start || e.Time >= s.End {
			continue
		}
		at := slices.IndexFunc(a.Parts, func(p Part) bool { return p.played == x.played })
		if at < 0 {
			name, _, _ := strings.Cut(x.played, " ")
			minute := math.Round(float64(begins(&e)-s.Start)/float64(6*second)) / 10
			a.Parts, at = append(a.Parts, Part{Recording: name, Minute: minute, played: x.played}), len(a.Parts)
		}
		a.Parts[at].Sent += sent
		a.Parts[at].Received += received
	}
	slices.SortStableFunc(a.Parts, func(a, b Part) int { return cmp.Compare(a.Minute, b.Minute) })
	return nil
}

// notable is what a recording must have sent for it to count among the causes
// of an alert.
const notable = 1_000_000

// cause names an alert for its explanation: the detector and the recordings
// that sent most of it, in order of their names.
func (f *Finding) cause() string {
	if f.Account == nil {
		return f.Detector
	}
	var names []string
	for _, p := range f.Account.Parts {
		if p.Sent >= notable {
			names = append(names, p.Recording)
		}
	}
	slices.Sort(names)
	return f.Detector + ": " + strings.Join(slices.Compact(names), " ")
}

// String says what was played, in one line.
func (a *Account) String() string {
	parts := make([]string, 0, len(a.Parts))
	for _, p := range a.Parts {
		parts = append(parts, fmt.Sprintf("%s at %.1f min (%d B up, %d B down)", p.Recording, p.Minute, p.Sent, p.Received))
	}
	return strings.Join(parts, "; ")
}
